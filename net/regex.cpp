// SPDX-License-Identifier: BSD-3-Clause
//
// regex.cpp
#include "net/pattern_survey.hpp"
#include <squall/net/regex.hpp>

#include <re2/re2.h>

#include <algorithm>
#include <stdexcept>

namespace squall {

struct Regex::Compiled {
  Compiled(std::string_view pattern, PatternSurvey surveyed)
      : text{pattern}, survey{surveyed}, machine{re2::StringPiece{pattern.data(), pattern.size()},
                                                 options()} {}

  static re2::RE2::Options options() {
    re2::RE2::Options result{re2::RE2::Latin1};
    result.set_log_errors(false);
    result.set_never_capture(true);
    return result;
  }

  /// A match lies in text[from, to).
  [[nodiscard]] bool matches(std::string_view in, std::size_t from, std::size_t to) const {
    return machine.Match({in.data(), in.size()}, from, to, re2::RE2::UNANCHORED, nullptr, 0);
  }

  std::string text;
  PatternSurvey survey;
  re2::RE2 machine;
};

Regex::Regex(std::string_view pattern) {
  const auto refuse = [&](const std::string& why) {
    throw std::invalid_argument{"regex \"" + std::string{pattern} + "\": " + why};
  };
  const PatternSurvey survey = survey_pattern(pattern);
  auto compiled = std::make_shared<const Compiled>(pattern, survey);
  if (!compiled->machine.ok())
    refuse(compiled->machine.error());
  if (survey.looks_ahead)
    refuse("$, \\z, \\b and \\B depend on bytes that have not arrived; leave them out");
  if (compiled->matches({}, 0, 0))
    refuse("it matches the empty string; a read takes at least one byte");
  compiled_ = std::move(compiled);
}

const std::string& Regex::pattern() const noexcept {
  static const std::string none;
  return compiled_ == nullptr ? none : compiled_->text;
}

std::optional<std::size_t> Regex::find_end(std::string_view text, std::size_t searched) const {
  const Compiled& regex = *compiled_;
  // A new match ends in the new bytes, so it begins at most its greatest length before them.
  std::size_t from = 0;
  if (regex.survey.max_length && searched > *regex.survey.max_length)
    from = searched - *regex.survey.max_length;
  if (!regex.matches(text, from, text.size()))
    return std::nullopt;
  // Whether text[from, end) holds a match can only turn true as `end` grows: the first such end is found by
  // halving.
  std::size_t without = std::max(from, searched);
  std::size_t with = text.size();
  // Most matches end soon: look near the front first, doubling.
  for (std::size_t step = 64; without + step < with; step *= 2) {
    if (regex.matches(text, from, without + step)) {
      with = without + step;
      break;
    }
    without += step;
  }
  while (with - without > 1) {
    const std::size_t middle = without + (with - without) / 2;
    (regex.matches(text, from, middle) ? with : without) = middle;
  }
  return with;
}

} // namespace squall
