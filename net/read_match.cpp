// SPDX-License-Identifier: BSD-3-Clause
//
// read_match.cpp
#include "net/read_match.hpp"

#include <squall/net/log.hpp>

#include <algorithm>

namespace squall {

namespace {

/// A delimiter up to this size is compared at each place where its first byte is, and what may begin it is looked at
/// again with each arrival: both cost this factor at most. A longer one is followed byte by byte.
constexpr std::size_t longest_compared = 64;

} // namespace

std::optional<StreamErrc> ReadMatch::check(const ReadRequest& request, std::size_t max_buffer_size) noexcept {
  if (const auto* bytes = std::get_if<ReadBytes>(&request)) {
    if (!bytes->partial && bytes->num_bytes > max_buffer_size)
      return StreamErrc::buffer_full;
  } else if (const auto* peek = std::get_if<Peek>(&request)) {
    if (peek->num_bytes > max_buffer_size)
      return StreamErrc::buffer_full;
  } else if (const auto* until = std::get_if<ReadUntil>(&request)) {
    if (until->delimiter.empty())
      return StreamErrc::invalid_argument;
  } else if (const auto* match = std::get_if<ReadUntilRegex>(&request)) {
    if (match->regex.pattern().empty())
      return StreamErrc::invalid_argument;
  }
  return std::nullopt;
}

template <class Request>
void ReadMatch::bound(Request& request, std::size_t max_buffer_size) noexcept {
  limit_policy_ = request.on_limit;
  if (request.max_bytes && *request.max_bytes <= max_buffer_size)
    return;
  request.max_bytes = max_buffer_size;
  limit_error_ = StreamErrc::buffer_full;
}

void ReadMatch::start(ReadRequest&& request, std::size_t max_buffer_size) {
  borders_ = nullptr;
  const auto* long_until = std::get_if<ReadUntil>(&request);
  if (long_until != nullptr && long_until->delimiter.size() > longest_compared &&
      long_until->delimiter.size() <= max_buffer_size)
    borders_ = std::make_unique<Borders>(long_until->delimiter);
  request_ = std::move(request);
  searched_ = 0;
  regex_progress_ = {};
  limit_error_ = StreamErrc::unsatisfiable_read;
  limit_policy_ = LimitPolicy::close;
  if (auto* until = std::get_if<ReadUntil>(&request_))
    bound(*until, max_buffer_size);
  else if (auto* match = std::get_if<ReadUntilRegex>(&request_))
    bound(*match, max_buffer_size);
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
  } else if (const auto* match = std::get_if<ReadUntilRegex>(&request_)) {
    return find_match(*match, unread);
  } else if (const auto* peek = std::get_if<Peek>(&request_)) {
    if (unread.size() >= peek->num_bytes)
      return {Kind::satisfied, peek->num_bytes};
  }
  return {Kind::wants_more};
}

ReadMatch::Outcome ReadMatch::find_delimiter(const ReadUntil& request, std::string_view unread) {
  using Kind = Outcome::Kind;
  const std::string_view delimiter = request.delimiter;
  // A match counts only when it ends within max_bytes, so nothing behind that is searched.
  const std::string_view window = unread.substr(0, *request.max_bytes);
  const std::size_t found =
      borders_ != nullptr ? find_long_delimiter(delimiter, window) : window.find(delimiter, searched_);
  if (found != std::string_view::npos)
    return {Kind::satisfied, found + delimiter.size()};
  if (window.size() < unread.size())
    return {Kind::unsatisfiable};
  if (borders_ == nullptr && window.size() >= delimiter.size())
    searched_ = window.size() - (delimiter.size() - 1);
  return {Kind::wants_more};
}

/// By Knuth, Morris and Pratt: what was searched is not looked at again, whatever the bytes are.
std::size_t ReadMatch::find_long_delimiter(std::string_view delimiter, std::string_view window) noexcept {
  for (; searched_ < window.size(); ++searched_) {
    if (borders_->matched == 0) {
      searched_ = std::min(window.find(delimiter.front(), searched_), window.size());
      if (searched_ == window.size())
        break;
    }
    borders_->follow(delimiter, window[searched_]);
    if (borders_->matched == delimiter.size())
      return searched_ + 1 - delimiter.size();
  }
  return std::string_view::npos;
}

ReadMatch::Borders::Borders(std::string_view delimiter) : of(delimiter.size()) {
  for (std::size_t i = 1; i < delimiter.size(); ++i) {
    follow(delimiter, delimiter[i]);
    of[i] = matched;
  }
  matched = 0;
}

/// `byte` comes behind what was searched, which did not end with the whole delimiter.
void ReadMatch::Borders::follow(std::string_view delimiter, char byte) noexcept {
  while (matched > 0 && delimiter[matched] != byte)
    matched = of[matched - 1];
  matched += delimiter[matched] == byte ? 1 : 0;
}

ReadMatch::Outcome ReadMatch::find_match(const ReadUntilRegex& request, std::string_view unread) {
  using Kind = Outcome::Kind;
  const std::string_view window = unread.substr(0, *request.max_bytes);
  if (const auto end = request.regex.find_end(window.substr(searched_), regex_progress_))
    return {Kind::satisfied, searched_ + *end};
  if (window.size() < unread.size())
    return {Kind::unsatisfiable};
  searched_ = window.size();
  return {Kind::wants_more};
}

namespace {

struct Describe {
  std::string operator()(const ReadBytes& read) const {
    return (read.partial ? "read_bytes up to " : "read_bytes ") + std::to_string(read.num_bytes);
  }
  std::string operator()(const ReadInto& read) const {
    return "read_into " + std::to_string(read.buffer.size());
  }
  std::string operator()(const ReadUntil& read) const {
    return "read_until \"" + escape_bytes(read.delimiter) + '"';
  }
  std::string operator()(const ReadUntilRegex& read) const {
    return "read_until_regex \"" + escape_bytes(read.regex.pattern()) + '"';
  }
  std::string operator()(const ReadUntilClose&) const { return "read_until_close"; }
  std::string operator()(const Peek& read) const { return "peek " + std::to_string(read.num_bytes); }
};

} // namespace

std::string ReadMatch::describe() const { return std::visit(Describe{}, request_); }

} // namespace squall
