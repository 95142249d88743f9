// SPDX-License-Identifier: BSD-3-Clause
//
// pattern_survey.cpp: a recursive descent over RE2's syntax, in which each atom matches one byte (Latin-1) or
// none.
#include "net/pattern_survey.hpp"

#include <algorithm>
#include <charconv>

namespace squall {

namespace {

/// Lengths saturate here: what is longer counts as unbounded.
constexpr std::size_t unbounded = 1024 * 1024;

class Surveyor {
public:
  explicit Surveyor(std::string_view pattern) : rest_{pattern} {}

  PatternSurvey run() {
    const std::size_t length = alternation();
    PatternSurvey survey;
    if (rest_.empty() && length < unbounded)
      survey.max_length = length;
    survey.looks_ahead = looks_ahead_;
    return survey;
  }

private:
  [[nodiscard]] bool at(char c) const noexcept { return !rest_.empty() && rest_.front() == c; }
  char take() noexcept {
    const char c = rest_.empty() ? '\0' : rest_.front();
    rest_.remove_prefix(rest_.empty() ? 0 : 1);
    return c;
  }
  bool take_if(std::string_view text) noexcept {
    if (!rest_.starts_with(text))
      return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  void skip_past(char c) noexcept { rest_.remove_prefix(std::min(rest_.find(c), rest_.size() - 1) + 1); }

  std::size_t alternation() {
    std::size_t longest = concatenation();
    while (take_if("|"))
      longest = std::max(longest, concatenation());
    return longest;
  }

  std::size_t concatenation() {
    std::size_t length = 0;
    while (!rest_.empty() && !at('|') && !at(')')) {
      const std::size_t one = atom();
      length = std::min(unbounded, length + repeated(one));
    }
    return length;
  }

  std::size_t atom() {
    switch (const char c = take()) {
    case '(':
      return group();
    case '[':
      skip_class();
      return 1;
    case '\\':
      return escape();
    case '$':
      looks_ahead_ = true;
      return 0;
    case '^':
      return 0;
    default:
      static_cast<void>(c);
      return 1;
    }
  }

  std::size_t group() {
    if (take_if("?")) {
      if (take_if("P<") || take_if("<")) {
        skip_past('>');
      } else {
        // Flags: of the rest of the group around this one ("(?s)"), or of this one ("(?s:").
        while (!rest_.empty() && !at(':') && !at(')'))
          take();
        if (take_if(")"))
          return 0;
        take();
      }
    }
    const std::size_t length = alternation();
    take_if(")");
    return length;
  }

  void skip_class() {
    take_if("^");
    take_if("]"); // at the front it is a member
    while (!rest_.empty() && !take_if("]")) {
      if (take_if("[:"))
        skip_past(']');
      else if (take() == '\\')
        take();
    }
  }

  std::size_t escape() {
    switch (const char c = take()) {
    case 'b':
    case 'B':
    case 'z':
      looks_ahead_ = true;
      return 0;
    case 'A':
      return 0;
    case 'Q':
      return quoted();
    case 'p':
    case 'P':
      if (take() == '{')
        skip_past('}');
      return 1;
    case 'x':
      if (take() == '{')
        skip_past('}');
      else
        take();
      return 1;
    default:
      // An octal code has up to three digits.
      for (int i = 0;
           c >= '0' && c <= '7' && i < 2 && !rest_.empty() && rest_.front() >= '0' && rest_.front() <= '7';
           ++i)
        take();
      return 1;
    }
  }

  /// \Q...\E: each byte is literal.
  std::size_t quoted() {
    const std::size_t length = std::min(rest_.find("\\E"), rest_.size());
    rest_.remove_prefix(length);
    take_if("\\E");
    return std::min(unbounded, length);
  }

  std::size_t repeated(std::size_t length) {
    for (;;) {
      if (take_if("*") || take_if("+"))
        length = unbounded;
      else if (at('{') && is_count())
        length = counted(length);
      else if (!take_if("?"))
        return length;
    }
  }

  /// "{3}", "{3,}" or "{3,5}"; anything else in braces is literal.
  [[nodiscard]] bool is_count() const noexcept {
    const std::string_view inside = rest_.substr(1, rest_.find('}') == rest_.npos ? 0 : rest_.find('}') - 1);
    return !inside.empty() && inside.front() >= '0' && inside.front() <= '9' &&
           inside.find_first_not_of("0123456789,") == inside.npos;
  }

  std::size_t counted(std::size_t length) {
    const std::string_view inside = rest_.substr(1, rest_.find('}') - 1);
    skip_past('}');
    const std::size_t comma = inside.find(',');
    const std::string_view last = comma == inside.npos ? inside : inside.substr(comma + 1);
    std::size_t most = 0;
    if (std::from_chars(last.data(), last.data() + last.size(), most).ec != std::errc{})
      return unbounded; // "{3,}"
    return most != 0 && length > unbounded / most ? unbounded : length * most;
  }

  std::string_view rest_;
  bool looks_ahead_ = false;
};

} // namespace

PatternSurvey survey_pattern(std::string_view pattern) { return Surveyor{pattern}.run(); }

} // namespace squall
