// SPDX-License-Identifier: BSD-3-Clause
//
// regex_syntax_test.cpp: RE2 is the reference of what a pattern matches.
#include "tests/net/regex_support.hpp"

#include <gtest/gtest.h>

#include <random>
#include <stdexcept>

namespace squall {
namespace {

std::string readable(std::string_view text) {
  std::string result;
  for (const char c : text) {
    char code[5];
    std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned char>(c));
    result += c >= ' ' && c <= '~' ? std::string{c} : code;
  }
  return result;
}

/// Compares with RE2 on random texts over `alphabet` in random pieces.
void expect_as_re2(const std::string& pattern, std::string_view alphabet, int rounds, std::mt19937& random) {
  const Regex regex{pattern};
  for (int round = 0; round < rounds; ++round) {
    std::string text;
    for (std::size_t i = random() % 24 + 1; i > 0; --i)
      text += alphabet[random() % alphabet.size()];
    ASSERT_EQ(found_in_pieces(regex, text, random_ends(text.size(), 8, random)), first_end(pattern, text))
        << readable(pattern) << " on " << readable(text);
  }
}

/// Compares each pattern on texts of many bytes, and on some in which it is likelier to match.
void expect_all_as_re2(std::initializer_list<const char*> patterns) {
  using namespace std::string_view_literals;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  for (const char* pattern : patterns) {
    expect_as_re2(pattern, "abcdAB019 .\n{}[]\\(,\t\xe9\xc9\xb5\0"sv, 150, random);
    expect_as_re2(pattern, "ab\n", 50, random);
    expect_as_re2(pattern, "abcAB1", 50, random);
    expect_as_re2(pattern, "a{1,2}0", 20, random);
  }
}

TEST(RegexSyntax, AlternationsAndGroupsMatchAsInRE2) {
  expect_all_as_re2({"a|bb|aba", "(a|ab)(c|bcd)", "((a)(b|(c)))b", "(?:a|(?:b))c", "(?P<name>a)b", "(|a)b",
                     "()a", "(?:)a|b()c", "a(|b|)c"});
}

TEST(RegexSyntax, RepetitionsMatchAsInRE2) {
  expect_all_as_re2({"a*b",           "a+b",      "a?b",       "a*?b",       "a+?b",
                     "a??b",          "a{2}b",    "a{2,}b",    "a{1,3}b",    "a{0}b",
                     "a{0,2}b",       "a{2,3}?b", "(ab){2}c",  "(a|b*){2}c", "(a*)*b",
                     "(a*)+b",        "(a?){3}b", "(^a)*b",    "(?:^)*b",    "((a{2}){2}|b){2}c",
                     "(a|b){1,2}c|d", "ab*c",     "[ab]{2,3}c"});
}

TEST(RegexSyntax, LiteralBracesMatchAsInRE2) {
  expect_all_as_re2({"a{,3}", "a{b", "a{1", "a{1,b", "a{1,2,3}", "a{01}", "{a}", "a{}"});
}

TEST(RegexSyntax, ClassesMatchAsInRE2) {
  expect_all_as_re2({"[a-c]b", "[^a]b", "[]a]b", "[^]a]b", "[a\\]]b", "[[:alpha:]]b", "[[:^alpha:]]b",
                     "[[:]a", "[a[:digit:]b]c", "[\\d.]a", "[\\]\\\\]b", "[a-]b", "[\\x61\\x{62}]c",
                     "[^\\n]*b", "[\\pL]b", "[[a]b", "[\\pN\\p{Lu}]a", "[^\\D]a"});
}

TEST(RegexSyntax, EscapesMatchAsInRE2) {
  expect_all_as_re2({"\\d\\D", "\\s\\S", "\\w\\W", "\\x61\\x{62}", "\\141b", "\\0", "\\012", "\\1418",
                     "\\x0ab", "\\.", "\\Ca", "\\t|\\f\\v", "\\\\", "\\{", "\\x{e9}a",
                     "\xe9"
                     "a",
                     "[\xe0-\xef]a"});
}

TEST(RegexSyntax, UnicodeClassesMatchAsInRE2) {
  expect_all_as_re2({"\\pNa", "\\PNb", "\\p{Lu}a", "\\p{^Lu}a", "\\P{Lu}b", "\\p{Greek}|b", "\\p{Latin}1"});
}

TEST(RegexSyntax, QuotesMatchAsInRE2) {
  expect_all_as_re2({"\\Qa.b\\E", "\\Qa", "\\Qab\\E*c", "a\\Q\\E*b", "\\Q\\\\E", "\\Q[(\\Ea", "(?i)\\Qa.\\E",
                     "\\Q\\E\\Q.\\Eb", "a*\\Q\\E*b"});
}

TEST(RegexSyntax, FlagsMatchAsInRE2) {
  expect_all_as_re2({"(?i)aB",     "(?i:a)B",      "a(?i)b|c",         "(a(?i)b)a",  "(?i)a(?-i)b",
                     "(?i)[a-b]c", "(?i)[^a]b",    "(?i)\\x61",        "(?i)\\xe9",  "(?i)\xe9",
                     "(?i)k",      "(?i)\xb5",     "(?s).a",           ".a",         "(?s)a.*b",
                     "(?s:a.)b",   "(?s)a(?-s).b", "(?is)A.B",         "(?i-s:A.)b", "(?U)a+b",
                     "(?U:a*)b",   "a(?i)*b",      "(?i)(?:a(?-i:b)a)"});
}

TEST(RegexSyntax, BeginsOfTextsAndLinesMatchAsInRE2) {
  expect_all_as_re2({"^a", "\\Aa", "(?m)^a", "(?m)\\Aa", "(?m)^a|b", "(?m)(^a|\\n)b", "a(?m)^b", "(?m)a\\n^b",
                     "^^a", "(^|a)b", "(?m)(^|a)*b", "(?m:^)a", "(?m)(^a\\n)+b", "(?m)\\s^\\s", "(^a|b)c",
                     "x^a"});
}

/// Random patterns, most of them valid.
class Grammar {
public:
  explicit Grammar(std::mt19937& random) : random_{random} {}

  std::string alternation(int depth) {
    std::string text = concatenation(depth);
    while (chance(4))
      text += '|' + concatenation(depth);
    return text;
  }

private:
  [[nodiscard]] bool chance(unsigned one_in) { return random_() % one_in == 0; }

  std::string concatenation(int depth) {
    std::string text;
    for (unsigned i = random_() % 4; i > 0; --i)
      text += item(depth);
    return text;
  }

  std::string item(int depth) {
    static const std::vector<std::string> repetitions = {
        "*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}", "{,2}", "{1,", "{2}?"};
    std::string text = depth > 0 && chance(3) ? group(depth - 1) : atom();
    if (chance(3))
      text += repetitions[random_() % repetitions.size()];
    return text;
  }

  std::string group(int depth) {
    static const std::vector<std::string> openings = {
        "(", "(", "(?:", "(?i:", "(?-i:", "(?s:", "(?m:", "(?-m:", "(?im:", "(?P<n>", "(?i)("};
    return openings[random_() % openings.size()] + alternation(depth) + ')';
  }

  std::string atom() {
    static const std::vector<std::string> atoms = {
        "a",    "a",     "b",       "b",     "A",      "c",       "1",        ".",          "\\n",
        "[ab]", "[^a]",  "[]b]",    "[^]]",  "[a-c1]", "[\\]a]",  "\\d",      "\\w",        "\\s",
        "\\C",  "\\x61", "\\x{62}", "\\141", "\\pL",   "\\P{Lu}", "\\Qa+\\E", "\\Q\\E",     "[[:alpha:]b]",
        "^",    "\\A",   "(?i)",    "(?m)",  "(?s)",   "(?-i)",   "\\]",      "\\Q]\\\\Eb", "{",
        "}",    ",",     "\n",      "\xe9"};
    return atoms[random_() % atoms.size()];
  }

  std::mt19937& random_;
};

TEST(RegexSyntax, RandomPatternsMatchAsInRE2) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  re2::RE2::Options quiet{re2::RE2::Latin1};
  quiet.set_log_errors(false);
  int compared = 0;
  for (int round = 0; round < 1000 && !testing::Test::HasFatalFailure(); ++round) {
    const std::string pattern = Grammar{random}.alternation(3);
    const re2::RE2 reference{pattern, quiet};
    if (!reference.ok() || re2::RE2::PartialMatch("", reference)) {
      EXPECT_THROW(Regex{pattern}, std::invalid_argument) << readable(pattern);
      continue;
    }
    ++compared;
    expect_as_re2(pattern, "abA\n", 10, random);
    expect_as_re2(pattern, "aabbAcC1 {,}]+\n\\\xe9", 10, random);
  }
  EXPECT_GT(compared, 200);
}

} // namespace
} // namespace squall
