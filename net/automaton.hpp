// SPDX-License-Identifier: BSD-3-Clause
//
// automaton.hpp: runs a PatternProgram over bytes that arrive in pieces, each byte once.
//
// Of most patterns all that a search can have seen is a few hundred cases: they are tabulated when the pattern is
// compiled, and a byte costs one look into the table. Of the others (`a.{20}b`: the places of all "a" among the
// last 20 bytes) a search keeps the branches of the program that it follows, at most as many as there are
// instructions.
//
// Threads    Immutable; searches are independent.
#pragma once

#include "net/pattern_program.hpp"
#include <squall/net/regex.hpp>

#include <array>

namespace squall {

class Automaton {
public:
  explicit Automaton(PatternProgram program);

  /// See Regex.
  [[nodiscard]] std::optional<std::size_t> find_end(std::string_view piece, RegexProgress& progress) const;

  /// Of the table; 0: there is none.
  [[nodiscard]] std::size_t row_count() const noexcept { return table_.size() / class_count_; }

private:
  using Branches = std::vector<std::uint32_t>; ///< the `byte` instructions that wait for the next byte
  class Reach;

  void classify();
  void tabulate();
  void find_only_begin();
  [[nodiscard]] bool step(const Branches& from, unsigned char byte, Reach& reach) const;
  [[nodiscard]] std::optional<std::size_t> follow(std::string_view piece, RegexProgress& progress) const;

  PatternProgram program_;
  std::array<std::uint8_t, 256> class_of_{}; ///< bytes of one class are alike to every instruction
  std::size_t class_count_ = 0;
  std::optional<char> only_begin_;   ///< the only byte that leaves the first row, if there is just one
  std::vector<std::uint32_t> table_; ///< for each row and class of byte where the next row begins, or `found`
};

} // namespace squall
