// SPDX-License-Identifier: BSD-3-Clause
//
// regex.cpp
#include "net/automaton.hpp"
#include <squall/net/regex.hpp>

namespace squall {

struct Regex::Compiled {
  explicit Compiled(std::string_view pattern) : text{pattern}, automaton{compile_pattern(pattern)} {}

  std::string text;
  Automaton automaton;
};

Regex::Regex(std::string_view pattern) : compiled_{std::make_shared<const Compiled>(pattern)} {}

const std::string& Regex::pattern() const noexcept {
  static const std::string none;
  return compiled_ == nullptr ? none : compiled_->text;
}

std::optional<std::size_t> Regex::find_end(std::string_view piece, RegexProgress& progress) const {
  return compiled_->automaton.find_end(piece, progress);
}

} // namespace squall
