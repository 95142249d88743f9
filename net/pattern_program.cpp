// SPDX-License-Identifier: BSD-3-Clause
//
// pattern_program.cpp: a recursive descent over the structure of a pattern. RE2 decides what is a valid pattern,
// and which bytes an atom (a literal, a class, an escape) matches: in Latin-1 each matches one byte or none.
#include "net/pattern_program.hpp"

#include <re2/re2.h>

#include <charconv>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace squall {

namespace {

using Code = std::vector<Instruction>;
using Kind = Instruction::Kind;

re2::StringPiece piece(std::string_view text) { return {text.data(), text.size()}; }

re2::RE2::Options options() {
  re2::RE2::Options result{re2::RE2::Latin1};
  result.set_log_errors(false);
  result.set_never_capture(true);
  return result;
}

struct Flags {
  bool fold_case = false;
  bool dot_newline = false;
  bool multi_line = false;
};

/// How often an operand may follow itself.
struct Times {
  static constexpr std::size_t unbounded = -1;
  std::size_t least;
  std::size_t most;
};

void append(Code& code, const Code& more) {
  if (code.size() + more.size() > PatternProgram::greatest_size)
    throw std::invalid_argument{"too large: with its repetitions written out it matches more than " +
                                std::to_string(PatternProgram::greatest_size) +
                                " bytes, or has as many branches"};
  code.insert(code.end(), more.begin(), more.end());
}

/// An instruction whose target lies as far ahead as `code` is long, and `more` further.
Instruction over(Kind kind, const Code& code, std::int32_t more) {
  return {kind, static_cast<std::int32_t>(code.size()) + more};
}

Instruction back(Kind kind, const Code& code) { return {kind, -static_cast<std::int32_t>(code.size())}; }

Code either(const Code& left, const Code& right) {
  Code code{over(Kind::split, left, 2)};
  append(code, left);
  append(code, {over(Kind::jump, right, 1)});
  append(code, right);
  return code;
}

Code repeated(const Code& operand, Times times) {
  Code code;
  for (std::size_t i = 0; i < times.least; ++i)
    append(code, operand);
  if (times.most == Times::unbounded) {
    if (times.least > 0) {
      append(code, {back(Kind::split, operand)});
      return code;
    }
    append(code, {over(Kind::split, operand, 2)});
    append(code, operand);
    append(code, {back(Kind::jump, code)});
    return code;
  }
  // Each further one may be the last: x{0,2} is (x(x)?)?.
  Code optional;
  for (std::size_t i = times.least; i < times.most; ++i) {
    Code longer = operand;
    append(longer, optional);
    optional = {over(Kind::split, longer, 1)};
    append(optional, longer);
  }
  append(code, optional);
  return code;
}

class Compiler {
public:
  explicit Compiler(std::string_view pattern) : rest_{pattern} {}

  PatternProgram run() {
    PatternProgram program;
    program.code = alternation();
    if (!rest_.empty())
      misread();
    program.sets = std::move(sets_);
    return program;
  }

private:
  /// RE2 took the pattern for valid, but not for what is read here: a mistake of this file, or a newer RE2.
  [[noreturn]] static void misread() { throw std::invalid_argument{"its syntax is not supported"}; }

  [[nodiscard]] bool at(char c) const noexcept { return !rest_.empty() && rest_.front() == c; }
  char take() {
    if (rest_.empty())
      misread();
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  bool take_if(std::string_view text) noexcept {
    if (!rest_.starts_with(text))
      return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  void skip_past(char c) {
    while (take() != c) {
    }
  }

  Code alternation() {
    Code code = concatenation();
    while (take_if("|"))
      code = either(code, concatenation());
    return code;
  }

  Code concatenation() {
    Code code;
    std::size_t last = 0; // where the operand of a repetition would begin
    const auto push = [&](const Code& more) {
      last = code.size();
      append(code, more);
    };
    while (!rest_.empty() && !at('|') && !at(')')) {
      if (const auto times = take_times()) {
        const Code operand{code.begin() + static_cast<std::ptrdiff_t>(last), code.end()};
        code.resize(last);
        append(code, repeated(operand, *times));
      } else if (take_if("\\Q")) {
        while (!rest_.empty() && !take_if("\\E"))
          push(literal(take()));
      } else if (!take_if("(")) {
        push(atom());
      } else if (const auto grouped = group()) {
        push(*grouped);
      }
    }
    return code;
  }

  /// None: an operand begins here. The laziness of an operator does not change what ends first.
  std::optional<Times> take_times() {
    std::optional<Times> times;
    if (take_if("*"))
      times = {0, Times::unbounded};
    else if (take_if("+"))
      times = {1, Times::unbounded};
    else if (take_if("?"))
      times = {0, 1};
    else if (at('{'))
      times = take_count();
    if (times)
      take_if("?");
    return times;
  }

  /// "{3}", "{3,}" or "{3,5}"; anything else in braces is literal.
  std::optional<Times> take_count() {
    const std::string_view before = std::exchange(rest_, rest_.substr(1));
    if (const auto least = take_number()) {
      Times times{*least, *least};
      if (take_if(","))
        times.most = take_number().value_or(Times::unbounded);
      if (take_if("}"))
        return times;
    }
    rest_ = before;
    return std::nullopt;
  }

  std::optional<std::size_t> take_number() noexcept {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), number);
    const std::size_t length = static_cast<std::size_t>(end - rest_.data());
    if (error != std::errc{} || (length > 1 && rest_.front() == '0'))
      return std::nullopt;
    rest_.remove_prefix(length);
    return number;
  }

  /// Behind its "(". None: it sets flags of the rest of the group around it, as in "(?s)".
  std::optional<Code> group() {
    constexpr int greatest_depth = 200;
    const Flags outer = flags_;
    if (take_if("?")) {
      if (take_if("P<") || take_if("<"))
        skip_past('>');
      else if (!take_flags())
        return std::nullopt;
    }
    if (++depth_ > greatest_depth)
      throw std::invalid_argument{"groups are nested more than " + std::to_string(greatest_depth) + " deep"};
    Code code = alternation();
    if (take() != ')')
      misread();
    --depth_;
    flags_ = outer;
    return code;
  }

  /// A group follows.
  bool take_flags() {
    bool on = true;
    for (;;)
      switch (take()) {
      case 'i':
        flags_.fold_case = on;
        break;
      case 's':
        flags_.dot_newline = on;
        break;
      case 'm':
        flags_.multi_line = on;
        break;
      case 'U': // swaps lazy and greedy
        break;
      case '-':
        on = false;
        break;
      case ':':
        return true;
      case ')':
        return false;
      default:
        misread();
      }
  }

  Code atom() {
    const std::string_view before = rest_;
    switch (const char c = take()) {
    case '^':
      return {{flags_.multi_line ? Kind::line_begin : Kind::text_begin}};
    case '$':
      look_ahead();
    case '[':
      return character_class(before);
    case '\\':
      if (take_if("A"))
        return {{Kind::text_begin}};
      skip_escape();
      break;
    case '.':
      break;
    default:
      return literal(c);
    }
    return bytes_of(before.substr(0, before.size() - rest_.size()));
  }

  [[noreturn]] static void look_ahead() {
    throw std::invalid_argument{"$, \\z, \\b and \\B depend on bytes that have not arrived; leave them out"};
  }

  void skip_escape() {
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    const char c = take();
    if (c == 'b' || c == 'B' || c == 'z') {
      look_ahead();
    } else if (c == 'p' || c == 'P' || c == 'x') {
      if (take() == '{')
        skip_past('}');
      else if (c == 'x')
        take();
    } else if (is_octal(c)) {
      for (int i = 0; i < 2 && !rest_.empty() && is_octal(rest_.front()); ++i)
        take();
    }
  }

  /// `text` begins with the class. It ends at the first "]" with which RE2 has a whole class.
  Code character_class(std::string_view text) {
    for (std::size_t end = text.find(']'); end != text.npos; end = text.find(']', end + 1)) {
      const std::string_view whole = text.substr(0, end + 1);
      if (re2::RE2{piece(whole), options()}.ok()) {
        rest_ = text.substr(whole.size());
        return bytes_of(whole);
      }
    }
    misread();
  }

  Code literal(char c) {
    if (flags_.fold_case)
      return bytes_of(re2::RE2::QuoteMeta({&c, 1}));
    const auto [known, is_new] = set_of_.try_emplace(std::string{c}, sets_.size());
    if (is_new)
      sets_.emplace_back().set(static_cast<unsigned char>(c));
    return {{Kind::byte, static_cast<std::int32_t>(known->second)}};
  }

  Code bytes_of(std::string_view atom) {
    std::string text{"(?"};
    text += flags_.fold_case ? "i" : "";
    text += flags_.dot_newline ? "s:" : ":";
    text.append(atom).append(")");
    const auto [known, is_new] = set_of_.try_emplace(text, sets_.size());
    if (is_new)
      sets_.push_back(matched_bytes(text));
    return {{Kind::byte, static_cast<std::int32_t>(known->second)}};
  }

  /// Repeated over all bytes in their order, an atom matches each range of its bytes at once.
  static ByteSet matched_bytes(const std::string& atom) {
    const re2::RE2 machine{atom + '+', options()};
    if (!machine.ok())
      misread();
    ByteSet set;
    std::string all;
    for (std::size_t byte = 0; byte < set.size(); ++byte)
      all += static_cast<char>(byte);
    std::size_t from = 0;
    re2::StringPiece range;
    while (machine.Match(all, from, all.size(), re2::RE2::UNANCHORED, &range, 1)) {
      for (const char c : range)
        set.set(static_cast<unsigned char>(c));
      from = static_cast<std::size_t>(range.data() + range.size() - all.data());
    }
    return set;
  }

  std::string_view rest_;
  Flags flags_;
  int depth_ = 0;
  std::vector<ByteSet> sets_;
  std::map<std::string, std::size_t> set_of_; ///< of an atom with its flags
};

} // namespace

PatternProgram compile_pattern(std::string_view pattern) try {
  const re2::RE2 machine{piece(pattern), options()};
  if (!machine.ok())
    throw std::invalid_argument{machine.error()};
  PatternProgram program = Compiler{pattern}.run();
  if (machine.Match({}, 0, 0, re2::RE2::UNANCHORED, nullptr, 0))
    throw std::invalid_argument{"it matches the empty string; a read takes at least one byte"};
  return program;
} catch (const std::invalid_argument& why) {
  throw std::invalid_argument{"regex \"" + std::string{pattern} + "\": " + why.what()};
}

} // namespace squall
