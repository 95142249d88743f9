// SPDX-License-Identifier: BSD-3-Clause
//
// pattern_survey.hpp: what can be told of a regex from its text: how long its matches may be, and whether
// they depend on what follows. RE2's own parse tree is not public.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace squall {

struct PatternSurvey {
  std::optional<std::size_t> max_length; ///< bytes of the longest match; none: unbounded, or beyond 1 MiB
  bool looks_ahead = false;              ///< holds $, \z, \b or \B
};

/// Expects a pattern that RE2 compiles; of any other the result means nothing.
PatternSurvey survey_pattern(std::string_view pattern);

} // namespace squall
