// SPDX-License-Identifier: BSD-3-Clause
//
// regex_test.cpp: what a pattern matches does not depend on how the bytes arrive, and finding it is linear.
#include "tests/net/regex_support.hpp"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace squall {
namespace {

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
                                           " [^\\n]*\\n\\n",
                                           "[a-z]+\\d+\\r\\n",
                                           "a.{12}b",
                                           "[]a]b",
                                           "\\141b",
                                           "[\\]x]y"};

TEST(Regex, EndsAtTheFirstByteThatCompletesAMatch) {
  EXPECT_EQ(found_in_whole("a+", "xaaa"), 2u);
  EXPECT_EQ(found_in_whole("a+b", "xaaab"), 5u);
  EXPECT_EQ(found_in_whole("a.*b", "xa..b.b"), 5u);
  EXPECT_EQ(found_in_whole("\\r?\\n\\r?\\n", "head\r\n\r\nbody\n\n"), 8u);
  EXPECT_EQ(found_in_whole("a", "xyz"), std::nullopt);
  EXPECT_EQ(found_in_whole(".", "\xff"), 1u) << "bytes, not UTF-8 characters";
  EXPECT_EQ(found_in_whole("\xe9|\xe9\xe9z", "a\xe9\xe9"), 2u) << "where RE2 2022-06-01 finds nothing";
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

} // namespace
} // namespace squall
