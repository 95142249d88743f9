// SPDX-License-Identifier: BSD-3-Clause
//
// automaton.cpp
#include "net/automaton.hpp"

#include <algorithm>
#include <limits>
#include <map>

namespace squall {

namespace {

constexpr std::uint32_t found = std::numeric_limits<std::uint32_t>::max();

/// Beyond either a pattern is not tabulated: what it may cost in memory (64 KiB) and in time (some
/// milliseconds).
constexpr std::size_t greatest_table = 16 * 1024;
constexpr std::size_t greatest_effort = 1024 * 1024;

} // namespace

/// Collects the branches that go on from one position of the text.
class Automaton::Reach {
public:
  explicit Reach(const PatternProgram& program) : code_{program.code}, seen_(code_.size()) {}

  void at(bool text_begin, bool line_begin) {
    text_begin_ = text_begin;
    line_begin_ = line_begin;
    branches.clear();
    std::fill(seen_.begin(), seen_.end(), false);
  }

  /// Follows the program from `first` until it needs a byte. A match ends here: true.
  bool add(std::uint32_t first) {
    todo_.assign(1, first);
    while (!todo_.empty()) {
      const std::uint32_t at = todo_.back();
      todo_.pop_back();
      if (at == code_.size())
        return true;
      if (seen_[at])
        continue;
      seen_[at] = true;
      const Instruction& instruction = code_[at];
      const std::uint32_t target = at + static_cast<std::uint32_t>(instruction.argument);
      switch (instruction.kind) {
      case Instruction::Kind::byte:
        branches.push_back(at);
        break;
      case Instruction::Kind::split:
        todo_.push_back(at + 1);
        todo_.push_back(target);
        break;
      case Instruction::Kind::jump:
        todo_.push_back(target);
        break;
      case Instruction::Kind::text_begin:
        if (text_begin_)
          todo_.push_back(at + 1);
        break;
      case Instruction::Kind::line_begin:
        if (line_begin_)
          todo_.push_back(at + 1);
        break;
      }
    }
    return false;
  }

  Branches branches;

private:
  const std::vector<Instruction>& code_;
  std::vector<bool> seen_;
  std::vector<std::uint32_t> todo_;
  bool text_begin_ = false;
  bool line_begin_ = false;
};

Automaton::Automaton(PatternProgram program) : program_{std::move(program)} {
  classify();
  tabulate();
  if (!table_.empty())
    find_only_begin();
}

void Automaton::classify() {
  const bool tells_lines_apart =
      std::any_of(program_.code.begin(), program_.code.end(), [](const Instruction& instruction) {
        return instruction.kind == Instruction::Kind::line_begin;
      });
  std::map<std::vector<bool>, std::uint8_t> classes;
  for (std::size_t byte = 0; byte < class_of_.size(); ++byte) {
    std::vector<bool> alike{tells_lines_apart && byte == '\n'};
    for (const ByteSet& set : program_.sets)
      alike.push_back(set[byte]);
    class_of_[byte] =
        classes.try_emplace(std::move(alike), static_cast<std::uint8_t>(classes.size())).first->second;
  }
  class_count_ = classes.size();
}

/// The subset construction: a row for each set of branches that a search can follow at one time.
void Automaton::tabulate() {
  std::array<unsigned char, 256> byte_of_class{};
  for (std::size_t byte = 0; byte < class_of_.size(); ++byte)
    byte_of_class[class_of_[byte]] = static_cast<unsigned char>(byte);

  std::map<Branches, std::uint32_t> row_of;
  std::vector<const Branches*> rows;
  const auto row = [&](Branches branches) {
    std::sort(branches.begin(), branches.end());
    const std::uint32_t next = static_cast<std::uint32_t>(rows.size() * class_count_);
    const auto [known, is_new] = row_of.try_emplace(std::move(branches), next);
    if (is_new)
      rows.push_back(&known->first);
    return known->second;
  };

  Reach reach{program_};
  reach.at(true, true);
  static_cast<void>(reach.add(0)); // an empty match is refused by Regex
  row(reach.branches);
  std::size_t effort = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    effort += (rows[i]->size() + 1) * class_count_;
    if (rows.size() * class_count_ > greatest_table || effort > greatest_effort) {
      table_.clear();
      table_.shrink_to_fit();
      return;
    }
    for (std::size_t c = 0; c < class_count_; ++c)
      table_.push_back(step(*rows[i], byte_of_class[c], reach) ? found : row(reach.branches));
  }
}

void Automaton::find_only_begin() {
  std::string begins;
  for (std::size_t byte = 0; byte < class_of_.size(); ++byte)
    if (table_[class_of_[byte]] != 0)
      begins += static_cast<char>(byte);
  if (begins.size() == 1)
    only_begin_ = begins.front();
}

/// Where `byte` leads from the branches `from`, and a match that begins behind it. A match ends with it: true.
bool Automaton::step(const Branches& from, unsigned char byte, Reach& reach) const {
  reach.at(false, byte == '\n');
  for (const std::uint32_t at : from)
    if (program_.sets[static_cast<std::size_t>(program_.code[at].argument)][byte] && reach.add(at + 1))
      return true;
  static_cast<void>(reach.add(0));
  return false;
}

std::optional<std::size_t> Automaton::find_end(std::string_view piece, RegexProgress& progress) const {
  if (table_.empty())
    return follow(piece, progress);
  std::uint32_t row = progress.row_;
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (row == 0 && only_begin_ && (i = piece.find(*only_begin_, i)) == piece.npos)
      break;
    row = table_[row + class_of_[static_cast<unsigned char>(piece[i])]];
    if (row == found)
      return i + 1;
  }
  progress.row_ = row;
  return std::nullopt;
}

std::optional<std::size_t> Automaton::follow(std::string_view piece, RegexProgress& progress) const {
  Reach reach{program_};
  if (!progress.branches_) {
    reach.at(true, true);
    static_cast<void>(reach.add(0));
    progress.branches_ = std::make_unique<std::vector<std::uint32_t>>(reach.branches);
  }
  for (std::size_t i = 0; i < piece.size(); ++i) {
    if (step(*progress.branches_, static_cast<unsigned char>(piece[i]), reach))
      return i + 1;
    progress.branches_->swap(reach.branches);
  }
  return std::nullopt;
}

} // namespace squall
