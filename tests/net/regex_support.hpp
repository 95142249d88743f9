// SPDX-License-Identifier: BSD-3-Clause
//
// regex_support.hpp: what a search finds, and what it should find, by RE2.
#pragma once

#include <squall/net/regex.hpp>

#include <re2/re2.h>

#include <string>
#include <vector>

namespace squall {

/// The definition: the smallest end for which text[0, end) holds a match. The empty group keeps RE2 from a shortcut
/// for patterns whose alternatives all begin with the same bytes, which takes them for UTF-8 (RE2 2022-06-01).
inline std::optional<std::size_t> first_end(const std::string& pattern, const std::string& text) {
  const re2::RE2 machine{"()" + pattern, re2::RE2::Latin1};
  for (std::size_t end = 1; end <= text.size(); ++end)
    if (machine.Match(text, 0, end, re2::RE2::UNANCHORED, nullptr, 0))
      return end;
  return std::nullopt;
}

/// What is found in a text that arrives in the pieces that end at `ends`.
inline std::optional<std::size_t> found_in_pieces(const Regex& regex, std::string_view text,
                                                  const std::vector<std::size_t>& ends) {
  RegexProgress progress;
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    if (const auto found = regex.find_end(text.substr(begin, end - begin), progress))
      return begin + *found;
    begin = end;
  }
  return std::nullopt;
}

inline std::optional<std::size_t> found_in_whole(const std::string& pattern, std::string_view text) {
  return found_in_pieces(Regex{pattern}, text, {text.size()});
}

/// Ends of random pieces of `size` bytes, each of at most `greatest`.
template <class Random>
std::vector<std::size_t> random_ends(std::size_t size, std::size_t greatest, Random& random) {
  std::vector<std::size_t> ends;
  for (std::size_t end = 0; end < size;)
    ends.push_back(end = std::min(size, end + random() % greatest + 1));
  return ends;
}

} // namespace squall
