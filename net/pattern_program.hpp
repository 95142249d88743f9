// SPDX-License-Identifier: BSD-3-Clause
//
// pattern_program.hpp: a regex as a small program (Thompson's construction), for the Automaton that runs it over
// bytes as they arrive. RE2 has such a program, too, but keeps it private, and runs it over whole texts only.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace squall {

using ByteSet = std::bitset<256>;

/// A run begins at the first instruction and follows every branch at once; a match ends where one of them gets
/// behind the last. Targets are relative, so that code can be copied.
struct Instruction {
  enum class Kind : unsigned char {
    byte,       ///< takes a byte of sets[argument], then the next instruction
    split,      ///< the next instruction, and also the one `argument` further
    jump,       ///< the instruction that is `argument` further
    text_begin, ///< the next instruction, before the first byte only
    line_begin, ///< the next instruction, before the first byte and behind each newline only
  };
  Kind kind;
  std::int32_t argument = 0;
};

struct PatternProgram {
  /// Counted repetitions are written out: `(ab){500}` has 1000 instructions.
  static constexpr std::size_t greatest_size = 10'000;

  std::vector<Instruction> code;
  std::vector<ByteSet> sets;
};

/// @throws std::invalid_argument as Regex's constructor
PatternProgram compile_pattern(std::string_view pattern);

} // namespace squall
