// SPDX-License-Identifier: BSD-3-Clause
//
// automaton_test.cpp: which patterns are tabulated, which are followed branch by branch, which are refused.
#include "net/automaton.hpp"
#include "tests/net/regex_support.hpp"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace squall {
namespace {

std::size_t rows(std::string_view pattern) { return Automaton{compile_pattern(pattern)}.row_count(); }

TEST(Automaton, TabulatesUsualPatterns) {
  EXPECT_EQ(rows("abc"), 3u);
  EXPECT_EQ(rows("a.*b"), 2u);
  EXPECT_EQ(rows("(?s)a.*b"), 2u);
  EXPECT_EQ(rows("\\r?\\n\\r?\\n"), 3u);
  EXPECT_EQ(rows("a{500}"), 500u);
  EXPECT_GT(rows("[a-z]+\\d+\\r\\n"), 0u);
  EXPECT_GT(rows("(?i)content-length: *\\d{1,10}\\r\\n"), 0u);
}

TEST(Automaton, FollowsTheBranchesOfAPatternWithTooManyRows) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  for (const std::string pattern : {"a.{20}b", "(?m)^a[^c]{18}(?:b|a{2}){2,}\\n", "(a|b)*a(a|b){20}c"}) {
    ASSERT_EQ(rows(pattern), 0u) << pattern;
    const Regex regex{pattern};
    for (int round = 0; round < 200; ++round) {
      std::string text;
      for (std::size_t i = random() % 100 + 1; i > 0; --i)
        text += "aaaaabbbbbb\nc"[random() % 13];
      ASSERT_EQ(found_in_pieces(regex, text, random_ends(text.size(), 30, random)), first_end(pattern, text))
          << pattern << " on " << text;
    }
  }
}

TEST(Automaton, RefusesAPatternThatIsTooLarge) {
  EXPECT_NO_THROW(Regex{"(abcdefghij){1000}"});
  try {
    Regex{"(abcdefghijk){1000}"};
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(),
                 "regex \"(abcdefghijk){1000}\": too large: with its repetitions written out it "
                 "matches more than 10000 bytes, or has as many branches");
  }
  std::string deep(1'100'000, '(');
  std::fill(deep.begin() + 550'000, deep.end(), ')');
  EXPECT_THROW(Regex{deep}, std::invalid_argument) << "not a stack overflow";
  std::string nested = std::string(201, '(') + 'a' + std::string(201, ')');
  EXPECT_THROW(Regex{nested}, std::invalid_argument);
  EXPECT_NO_THROW(Regex{nested.substr(1, nested.size() - 2)});
}

} // namespace
} // namespace squall
