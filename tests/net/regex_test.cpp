// SPDX-License-Identifier: BSD-3-Clause
//
// regex_test.cpp: what a pattern matches does not depend on how the bytes arrive, and finding it is linear.
#include "net/pattern_survey.hpp"
#include <squall/net/regex.hpp>

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <random>
#include <stdexcept>

namespace squall {
namespace {

/// The definition: the smallest end for which text[0, end) holds a match.
std::optional<std::size_t> first_end(const std::string& pattern, const std::string& text) {
  const re2::RE2 machine{pattern, re2::RE2::Latin1};
  for (std::size_t end = 1; end <= text.size(); ++end)
    if (machine.Match(text, 0, end, re2::RE2::UNANCHORED, nullptr, 0))
      return end;
  return std::nullopt;
}

/// What a stream finds that gets `text` in pieces: after each piece it looks once.
std::optional<std::size_t> found_in_pieces(const Regex& regex, const std::string& text,
                                           const std::vector<std::size_t>& ends) {
  std::size_t searched = 0;
  for (const std::size_t end : ends) {
    if (const auto found = regex.find_end(std::string_view{text}.substr(0, end), searched))
      return found;
    searched = end;
  }
  return std::nullopt;
}

const std::vector<std::string> patterns = {"def",
                                           "\\r?\\n\\r?\\n",
                                           "a+",
                                           "a+b",
                                           "(a|ab)(c|bcd)",
                                           "[a-c]{2,3}d",
                                           "x.*y",
                                           "(?s)x.*y",
                                           "^ab",
                                           "(?m)^b",
                                           "(?i)AB",
                                           "\\d+;",
                                           "[^a]a",
                                           "(?:ab)+c",
                                           "a{3}",
                                           "a{2,}b",
                                           "\\Qa.b\\E",
                                           "\\x61\\x{62}",
                                           "[[:alpha:]]\\d",
                                           "a|bb|ccc",
                                           "(?P<n>a)b?c",
                                           "[]a]b",
                                           "\\141b",
                                           "[\\]x]y"};

TEST(Regex, EndsAtTheFirstByteThatCompletesAMatch) {
  EXPECT_EQ(Regex{"a+"}.find_end("xaaa", 0), 2u);
  EXPECT_EQ(Regex{"a+b"}.find_end("xaaab", 0), 5u);
  EXPECT_EQ(Regex{"\\r?\\n\\r?\\n"}.find_end("head\r\n\r\nbody\n\n", 0), 8u);
  EXPECT_EQ(Regex{"a"}.find_end("xyz", 0), std::nullopt);
  EXPECT_EQ(Regex{"."}.find_end(std::string_view{"\xff", 1}, 0), 1u) << "bytes, not UTF-8 characters";
}

TEST(Regex, FindsTheSameForEverySplitOfAShortText) {
  for (const std::string& pattern : patterns) {
    const Regex regex{pattern};
    for (const std::string text : {"abcabd1;", "xaby\nab", "aaab3c", "a.babc", "\r\n\r\nx", "bbccc]y"}) {
      const auto wanted = first_end(pattern, text);
      for (unsigned mask = 0; mask < 1u << (text.size() - 1); ++mask) {
        std::vector<std::size_t> ends;
        for (std::size_t i = 1; i < text.size(); ++i)
          if (mask >> (i - 1) & 1)
            ends.push_back(i);
        ends.push_back(text.size());
        ASSERT_EQ(found_in_pieces(regex, text, ends), wanted)
            << pattern << " on " << text << " split by " << mask;
      }
    }
  }
}

TEST(Regex, FindsTheSameForRandomSplitsOfLongTexts) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  for (int round = 0; round < 300; ++round) {
    const std::string& pattern = patterns[random() % patterns.size()];
    std::string text;
    for (std::size_t i = random() % 400 + 1; i > 0; --i)
      text += "aabbccdxy1;\r\n]."[random() % 15];
    std::vector<std::size_t> ends;
    for (std::size_t end = 0; end < text.size();)
      ends.push_back(end = std::min(text.size(), end + random() % 40 + 1));
    ASSERT_EQ(found_in_pieces(Regex{pattern}, text, ends), first_end(pattern, text))
        << pattern << " on " << text;
  }
}

TEST(Regex, RefusesWhatCanNeverBeDecided) {
  for (const char* pattern :
       {"a$", "a\\b", "\\Ba", "a\\z", "(?m)a$", "a*", "", "a|", "(", "a(?=b)", "(a)\\1", "[a"})
    EXPECT_THROW(Regex{pattern}, std::invalid_argument) << pattern;
  for (const char* pattern : {"[$]", "\\$", "\\Q$\\E", "a\\\\b"}) {
    ASSERT_TRUE(re2::RE2(pattern, re2::RE2::Quiet).ok()) << pattern;
    EXPECT_NO_THROW(Regex{pattern}) << pattern;
  }
}

TEST(Regex, SaysWhatIsWrongWithAPattern) {
  try {
    Regex{"a(b"};
    FAIL() << "accepted";
  } catch (const std::invalid_argument& error) {
    EXPECT_STREQ(error.what(), "regex \"a(b\": missing ): a(b");
  }
}

TEST(Regex, EqualsAnotherWithTheSamePattern) {
  EXPECT_EQ(Regex{"a"}, Regex{"a"});
  EXPECT_FALSE(Regex{"a"} == Regex{"b"});
  EXPECT_EQ(Regex{}.pattern(), "");
}

TEST(PatternSurvey, KnowsTheGreatestLengthOfBoundedPatterns) {
  const std::vector<std::pair<const char*, std::size_t>> bounded = {
      {"abc", 3},       {"a|bcd", 3},     {"\\r?\\n\\r?\\n", 4}, {"a{2,5}", 5}, {"(ab){3}", 6},
      {"[a-z]{2}x", 3}, {"^a", 1},        {"\\x{41}b", 2},       {"\\x41b", 2}, {"\\101b", 2},
      {"(?i:ab)c", 3},  {"(?P<n>ab)", 2}, {"\\Qa+b\\E", 3},      {"\\pL", 1},   {"\\p{Greek}", 1},
      {"a{,3}", 5},     {"(?i)ab", 2},    {"[[:digit:]]x", 2}};
  for (const auto& [pattern, length] : bounded)
    EXPECT_EQ(survey_pattern(pattern).max_length, length) << pattern;
  for (const char* pattern : {"a*", "a+b", "a{2,}", "(a|b+)c", "(a{1000}){1000}(a{1000}){1000}"})
    EXPECT_EQ(survey_pattern(pattern).max_length, std::nullopt) << pattern;
}

} // namespace
} // namespace squall
