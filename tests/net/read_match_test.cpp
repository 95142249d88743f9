// SPDX-License-Identifier: BSD-3-Clause
//
// read_match_test.cpp: when is a read satisfied, and by how much.
#include "net/read_match.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

namespace squall {

namespace {

/// Of the stream: no read of these tests reaches it.
constexpr std::size_t greatest_buffer = 64 * 1024 * 1024;

using Kind = ReadMatch::Outcome::Kind;

/// Feeds `input` in the pieces that end at `ends`; the outcome of the first call that does not want more.
ReadMatch::Outcome match(const ReadRequest& request, std::string_view input,
                         const std::vector<std::size_t>& ends) {
  ReadMatch matcher;
  matcher.start(ReadRequest{request}, greatest_buffer);
  ReadMatch::Outcome outcome{Kind::wants_more};
  for (std::size_t end : ends) {
    outcome = matcher.find(input.substr(0, end));
    if (outcome.kind != Kind::wants_more)
      break;
  }
  return outcome;
}

/// What a read_until finds in the end, by the definition.
ReadMatch::Outcome expected(std::string_view input, std::string_view delimiter, std::size_t max_bytes) {
  const std::size_t found = input.find(delimiter);
  if (found != std::string_view::npos && found + delimiter.size() <= max_bytes)
    return {Kind::satisfied, found + delimiter.size()};
  return {input.size() > max_bytes ? Kind::unsatisfiable : Kind::wants_more};
}

void expect_same(const ReadMatch::Outcome& outcome, const ReadMatch::Outcome& wanted) {
  EXPECT_EQ(outcome.kind, wanted.kind);
  EXPECT_EQ(outcome.size, wanted.size);
}

TEST(ReadMatch, FindsADelimiterHoweverItArrives) {
  struct Case {
    const char* input;
    const char* delimiter;
  };
  for (const auto& [input, delimiter] :
       {Case{"abc\ndef", "\n"}, Case{"one\r\ntwo\r\n", "\r\n"}, Case{"\r\r\n", "\r\n"}, Case{"aaab", "aab"},
        Case{"ababac", "abac"}, Case{"xxEND", "END"}, Case{"END", "END"}, Case{"none", "END"},
        Case{"ENEND", "END"}}) {
    const std::string_view text{input};
    const std::size_t gaps = text.size() - 1;
    for (unsigned mask = 0; mask < (1u << gaps); ++mask) { // every way to split the input
      std::vector<std::size_t> ends;
      for (std::size_t i = 0; i < gaps; ++i)
        if ((mask >> i & 1u) != 0)
          ends.push_back(i + 1);
      ends.push_back(text.size());
      for (std::size_t max_bytes = 0; max_bytes <= text.size() + 1; ++max_bytes) {
        SCOPED_TRACE(std::string{input} + " until " + delimiter + " within " + std::to_string(max_bytes) +
                     ", split " + std::to_string(mask));
        expect_same(match(ReadUntil{delimiter, max_bytes}, text, ends), expected(text, delimiter, max_bytes));
      }
    }
  }
}

TEST(ReadMatch, FindsARandomDelimiterInRandomPieces) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto between = [&](std::size_t least, std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{least, most}(random);
  };
  const auto random_text = [&](std::size_t size) {
    std::string text(size, 'a');
    for (char& c : text)
      c = between(0, 3) == 0 ? 'b' : 'a';
    return text;
  };
  for (int round = 0; round < 1000; ++round) {
    // Every second delimiter is long, and begins anew in itself; its beginnings stand in front of it.
    std::string delimiter = random_text(between(1, 9));
    std::string input = random_text(between(1, 400));
    if (round % 2 == 0) {
      while (delimiter.size() < 60)
        delimiter += delimiter + random_text(1);
      for (int i = 0; i < 5; ++i)
        input += delimiter.substr(0, between(1, delimiter.size() - 1)) + random_text(1);
      input += delimiter + input;
    }
    const std::size_t max_bytes = between(0, input.size() + 50);
    std::vector<std::size_t> ends;
    for (std::size_t end = 0; end < input.size();)
      ends.push_back(end = std::min(input.size(), end + between(1, 20)));
    SCOPED_TRACE(input + " until " + delimiter + " within " + std::to_string(max_bytes));
    expect_same(match(ReadUntil{delimiter, max_bytes}, input, ends), expected(input, delimiter, max_bytes));
  }
}

TEST(ReadMatch, EndsADelimiterAtExactlyMaxBytes) {
  expect_same(match(ReadUntil{"\n", 3}, "ab\n", {3}), {Kind::satisfied, 3});
  expect_same(match(ReadUntil{"\n", 2}, "ab\n", {3}), {Kind::unsatisfiable, 0});
  expect_same(match(ReadUntil{"\n", 2}, "ab", {2}), {Kind::wants_more, 0});
  expect_same(match(ReadUntil{"\n", 4}, "ab\n", {3}), {Kind::satisfied, 3});
}

TEST(ReadMatch, FailsADelimiterThatIsThereButEndsTooLate) {
  expect_same(match(ReadUntil{"def", 5}, "abcdef", {6}), {Kind::unsatisfiable, 0});
}

TEST(ReadMatch, SearchesNoByteTwiceBeyondTheDelimitersLength) {
  // Linear cost: with the end of 4 MiB arriving byte by byte, a search from the start would take hours.
  ReadMatch matcher;
  matcher.start(ReadUntil{"\r\n", std::nullopt}, greatest_buffer);
  const std::string input(4 * 1024 * 1024, 'a');
  for (std::size_t size = input.size() - 100'000; size < input.size(); ++size)
    ASSERT_EQ(matcher.find(std::string_view{input}.substr(0, size)).kind, Kind::wants_more);
}

TEST(ReadMatch, ALongDelimiterCostsNoMoreThanItsBytes) {
  // It begins at every byte of the input. Compared at each of them, it would take hours.
  const std::string delimiter = std::string(4 * 1024 * 1024, 'a') + 'b';
  std::string input(48 * 1024 * 1024, 'a');
  expect_same(match(ReadUntil{delimiter}, input, {input.size() / 2, input.size()}), {Kind::wants_more});
  input += 'b';
  expect_same(match(ReadUntil{delimiter}, input, {input.size()}), {Kind::satisfied, input.size()});
}

TEST(ReadMatch, ALongDelimiterMayArriveByteByByte) {
  // Searched again from where it may begin, with each byte, it would take hours.
  const std::string delimiter = std::string(1024 * 1024, 'a') + 'b';
  const std::string input(4 * 1024 * 1024, 'a');
  ReadMatch matcher;
  matcher.start(ReadUntil{delimiter}, greatest_buffer);
  for (std::size_t size = 0; size <= input.size(); ++size)
    ASSERT_EQ(matcher.find(std::string_view{input}.substr(0, size)).kind, Kind::wants_more);
  expect_same(matcher.find(input + 'b'), {Kind::satisfied, input.size() + 1});
}

TEST(ReadMatch, LooksAtEachByteOnceForARegex) {
  // Linear cost: what was searched may change under the search, and nothing is found anew or lost.
  for (const std::string pattern :
       {"ab", "a{3}b", "a.*b", "[a-z]+\\d+\\r\\n", " [^\\n]*\\n\\n", "(?m)^a.*b", "a.{20}b"}) {
    const Regex regex{pattern};
    const std::string_view input = "aa b12\r\nac abab aaab\n\nabcdefghijklmnopqrstab1\r\n";
    const auto whole = match(ReadUntilRegex{regex}, input, {input.size()});
    ASSERT_EQ(whole.kind, Kind::satisfied);
    for (const char other : {'b', '\n', '1'}) {
      ReadMatch matcher;
      matcher.start(ReadUntilRegex{regex}, greatest_buffer);
      std::string unread;
      ReadMatch::Outcome outcome{Kind::wants_more};
      while (outcome.kind == Kind::wants_more && unread.size() < input.size()) {
        std::fill(unread.begin(), unread.end(), other);
        unread += input[unread.size()];
        outcome = matcher.find(unread);
      }
      SCOPED_TRACE(pattern + " over " + other);
      expect_same(outcome, whole);
    }
  }
}

TEST(ReadMatch, EndsAMatchOfARegexWithinMaxBytes) {
  for (const char* pattern : {"bc+d", "b.*d", "b.{2}d"})
    for (const std::vector<std::size_t>& ends : {std::vector<std::size_t>{6}, {1, 2, 3, 4, 5, 6}, {4, 6}}) {
      SCOPED_TRACE(pattern);
      expect_same(match(ReadUntilRegex{Regex{pattern}, 5}, "abccde", ends), {Kind::satisfied, 5});
      expect_same(match(ReadUntilRegex{Regex{pattern}, 4}, "abccde", ends), {Kind::unsatisfiable, 0});
    }
  expect_same(match(ReadUntilRegex{Regex{"b.*d"}, 5}, "abccc", {5}), {Kind::wants_more, 0});
}

TEST(ReadMatch, TakesExactlyTheBytesAskedFor) {
  expect_same(match(ReadBytes{4}, "abc", {3}), {Kind::wants_more, 0});
  expect_same(match(ReadBytes{4}, "abcd", {4}), {Kind::satisfied, 4});
  expect_same(match(ReadBytes{4}, "abcdef", {6}), {Kind::satisfied, 4});
}

TEST(ReadMatch, TakesAtMostTheBytesAskedForPartially) {
  expect_same(match(ReadBytes{4, true}, "", {0}), {Kind::wants_more, 0});
  expect_same(match(ReadBytes{4, true}, "a", {1}), {Kind::satisfied, 1});
  expect_same(match(ReadBytes{4, true}, "abcdef", {6}), {Kind::satisfied, 4});
}

TEST(ReadMatch, TakesZeroBytesAtOnce) {
  expect_same(match(ReadBytes{0}, "", {0}), {Kind::satisfied, 0});
  expect_same(match(ReadBytes{0, true}, "abc", {3}), {Kind::satisfied, 0});
}

TEST(ReadMatch, WantsEverythingUntilTheClose) {
  expect_same(match(ReadUntilClose{}, "abcdef", {0, 3, 6}), {Kind::wants_more, 0});
  ReadMatch matcher;
  matcher.start(ReadUntilClose{}, greatest_buffer);
  EXPECT_TRUE(matcher.satisfied_by_end());
  matcher.start(ReadBytes{1}, greatest_buffer);
  EXPECT_FALSE(matcher.satisfied_by_end());
}

TEST(ReadMatch, ForgetsTheLastReadWhenTheNextBegins) {
  ReadMatch matcher;
  matcher.start(ReadUntil{"\n", std::nullopt}, greatest_buffer);
  EXPECT_EQ(matcher.find("abcdef").kind, Kind::wants_more);
  matcher.start(ReadUntil{"b", std::nullopt}, greatest_buffer);
  expect_same(matcher.find("abcdef"), {Kind::satisfied, 2});
  for (const char* pattern : {"b.*f", "b.{20}f"}) {
    matcher.start(ReadUntilRegex{Regex{pattern}}, greatest_buffer);
    EXPECT_EQ(matcher.find("abcde").kind, Kind::wants_more);
    matcher.start(ReadUntilRegex{Regex{pattern}}, greatest_buffer);
    EXPECT_EQ(matcher.find("f").kind, Kind::wants_more);
  }
}

TEST(ReadMatch, RefusesAnEmptyDelimiter) {
  EXPECT_EQ(ReadMatch::check(ReadUntil{"", std::nullopt}, 100), StreamErrc::invalid_argument);
  EXPECT_EQ(ReadMatch::check(ReadUntil{"\n", 0}, 100), std::nullopt);
}

TEST(ReadMatch, RefusesMoreBytesThanTheStreamMayKeep) {
  EXPECT_EQ(ReadMatch::check(ReadBytes{99}, 100), std::nullopt);
  EXPECT_EQ(ReadMatch::check(ReadBytes{100}, 100), std::nullopt);
  EXPECT_EQ(ReadMatch::check(ReadBytes{101}, 100), StreamErrc::buffer_full);
  EXPECT_EQ(ReadMatch::check(ReadBytes{101, true}, 100), std::nullopt);
  EXPECT_EQ(ReadMatch::check(ReadUntilClose{}, 100), std::nullopt);
}

TEST(ReadMatch, LetsTheBufferOfAReadThatIsOverGo) {
  ReadMatch match;
  match.start(ReadInto{MutableBytes{4}}, 1000);
  EXPECT_EQ(match.release_buffer().size(), 4u);
  EXPECT_EQ(match.into()->buffer.size(), 0u);
  match.start(ReadBytes{1}, 1000);
  EXPECT_EQ(match.release_buffer().size(), 0u);
}

} // namespace

} // namespace squall
