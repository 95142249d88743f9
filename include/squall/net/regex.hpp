// SPDX-License-Identifier: BSD-3-Clause
//
// regex.hpp: a compiled pattern for read_until_regex, in RE2's syntax: no back-references. Searching looks at each
// byte once, however the bytes arrive and whatever the pattern.
//
// What a read matches depends on nothing but the pattern and the bytes of the stream, never on how they
// arrived: it ends with the first byte at which some match of the pattern ends. So `a+` takes one "a" of
// "aaa", and `a+b` all of "aaab". Patterns whose match depends on what follows it ($, \z, \b, \B) can never
// be decided so and are refused.
//
// `^` and `\A` mean the place where the read begins: the first unread byte. With (?m) `^` means behind a newline, too.
//
// A pattern is matched against bytes, not UTF-8 characters; `.` matches every byte but a newline ((?s): every
// byte).
//
// Compiling a pattern takes some ten microseconds, of a large one up to some ten milliseconds: build a Regex
// once and copy it. Searching costs a few nanoseconds a byte; more where a match may begin at many places that
// have to be told apart, as in `a.{20}b`: there, in the worst case, as much for each of the pattern's bytes and
// branches.
//
// Threads    May be shared by threads.
// Ownership  Copies share the compiled pattern.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace squall {

/// Where a search stands in a text that arrives in pieces. A new one stands before the first byte.
class RegexProgress {
  friend class Automaton;
  std::unique_ptr<std::vector<std::uint32_t>> branches_;
  std::uint32_t row_ = 0;
};

class Regex {
public:
  Regex() noexcept = default; ///< no pattern: a read refuses it with StreamErrc::invalid_argument

  /// @throws std::invalid_argument with what is wrong with the pattern: RE2's text; a look-ahead; that it
  ///         matches nothing but the empty string or also the empty string (a read takes at least one byte);
  ///         that it is too large: its counted repetitions are written out, and 10,000 bytes and branches are
  ///         the limit
  explicit Regex(std::string_view pattern);

  [[nodiscard]] const std::string& pattern() const noexcept; ///< empty: there is none

  /// How many bytes of `piece` complete the first match, or nothing: the search goes on with the next piece of
  /// the text. Expects a pattern.
  [[nodiscard]] std::optional<std::size_t> find_end(std::string_view piece, RegexProgress& progress) const;

  friend bool operator==(const Regex& a, const Regex& b) noexcept { return a.pattern() == b.pattern(); }

private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

} // namespace squall
