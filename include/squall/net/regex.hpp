// SPDX-License-Identifier: BSD-3-Clause
//
// regex.hpp: a compiled pattern for read_until_regex, on RE2: linear time, no back-references.
//
// What a read matches depends on nothing but the pattern and the bytes of the stream, never on how they
// arrived: it ends with the first byte at which some match of the pattern ends. So `a+` takes one "a" of
// "aaa", and `a+b` all of "aaab". Patterns whose match depends on what follows it ($, \z, \b, \B) can never
// be decided so and are refused.
//
// A pattern is matched against bytes, not UTF-8 characters; `.` matches every byte but a newline ((?s): every
// byte).
//
// Threads    May be shared by threads.
// Ownership  Copies share the compiled pattern.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace squall {

class Regex {
public:
  Regex() noexcept = default; ///< no pattern: a read refuses it with StreamErrc::invalid_argument

  /// @throws std::invalid_argument with what is wrong with the pattern: RE2's text, a look-ahead, or a
  ///         pattern that matches nothing but the empty string or also the empty string (a read takes at
  ///         least one byte)
  explicit Regex(std::string_view pattern);

  [[nodiscard]] const std::string& pattern() const noexcept; ///< empty: there is none

  /// The end of the first match that ends behind `searched`, or nothing: the smallest `end` for which text[0,
  /// end) holds a match. `searched` bytes at the front are known to hold none.
  [[nodiscard]] std::optional<std::size_t> find_end(std::string_view text, std::size_t searched) const;

  friend bool operator==(const Regex& a, const Regex& b) noexcept { return a.pattern() == b.pattern(); }

private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

} // namespace squall
