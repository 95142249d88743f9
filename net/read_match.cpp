// SPDX-License-Identifier: BSD-3-Clause
//
// read_match.cpp
#include "net/read_match.hpp"

#include <algorithm>

namespace squall {

std::optional<StreamErrc> ReadMatch::check(const ReadRequest& request, std::size_t max_buffer_size) noexcept {
  if (const auto* bytes = std::get_if<ReadBytes>(&request)) {
    if (!bytes->partial && bytes->num_bytes > max_buffer_size)
      return StreamErrc::buffer_full;
  } else if (const auto* until = std::get_if<ReadUntil>(&request)) {
    if (until->delimiter.empty())
      return StreamErrc::invalid_argument;
  }
  return std::nullopt;
}

void ReadMatch::start(ReadRequest request) noexcept {
  request_ = std::move(request);
  searched_ = 0;
}

ReadMatch::Outcome ReadMatch::find(std::string_view unread) {
  using Kind = Outcome::Kind;
  if (const auto* until = std::get_if<ReadUntil>(&request_))
    return find_delimiter(*until, unread);
  if (const auto* bytes = std::get_if<ReadBytes>(&request_)) {
    if (unread.size() >= bytes->num_bytes)
      return {Kind::satisfied, bytes->num_bytes};
    if (bytes->partial && !unread.empty())
      return {Kind::satisfied, unread.size()};
  }
  return {Kind::wants_more};
}

ReadMatch::Outcome ReadMatch::find_delimiter(const ReadUntil& request, std::string_view unread) {
  using Kind = Outcome::Kind;
  const std::string_view delimiter = request.delimiter;
  // A match counts only when it ends within max_bytes, so nothing behind that is searched.
  const std::string_view window = unread.substr(0, request.max_bytes.value_or(unread.size()));
  const std::size_t found = window.find(delimiter, searched_);
  if (found != std::string_view::npos)
    return {Kind::satisfied, found + delimiter.size()};
  if (window.size() < unread.size())
    return {Kind::unsatisfiable};
  if (window.size() >= delimiter.size())
    searched_ = window.size() - (delimiter.size() - 1);
  return {Kind::wants_more};
}

} // namespace squall
