// SPDX-License-Identifier: BSD-3-Clause
//
// log_test.cpp: the log: levels, rate, escaping, both forms of a line, sinks.

#include "net/log_limiter.hpp"
#include "net/memory_reserve.hpp"
#include <squall/net/log.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace squall {

namespace {

using namespace std::chrono_literals;
using std::chrono::system_clock;

constexpr auto none = std::nullopt;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
const LogLevel level_at_start = log_level(); // before any test changes it

/// What the sink was given, owned.
struct Seen {
  LogLevel level;
  std::string name;
  std::string message;
  std::vector<std::pair<std::string, std::string>> fields;
  std::uint64_t suppressed;
};

Seen copy_of(const LogEvent& event) {
  Seen seen{event.level, std::string{event.name}, std::string{event.message}, {}, event.suppressed};
  for (const auto& [name, value] : event.fields)
    seen.fields.emplace_back(name, value);
  return seen;
}

std::size_t count(const std::string& text, char c) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), c));
}

bool is_one_printable_line(const std::string& line) {
  const bool printable =
      std::all_of(line.begin(), line.end() - 1, [](char c) { return c >= 0x20 && c < 0x7f; });
  return printable && line.back() == '\n';
}

/// Runs `work` with 'a' to 'd', at once.
template <class Work>
void in_four_threads(Work work) {
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (char letter = 'a'; letter <= 'd'; ++letter)
    threads.emplace_back(work, letter);
  for (std::thread& thread : threads)
    thread.join();
}

/// Every test begins and ends with the defaults, but for the rate: everything passes.
class Log : public testing::Test {
protected:
  Log() { reset(0); }
  ~Log() override { reset(10); }

  void keep_events() {
    set_log_sink([this](const LogEvent& event) { seen.push_back(copy_of(event)); });
  }

  std::vector<Seen> seen;

private:
  static void reset(double per_second) {
    set_log_level(LogLevel::info);
    set_log_format(LogFormat::text);
    set_log_sink([](const LogEvent&) {});
    set_log_rate(0, 20);
    log_event(LogLevel::error, "reset", "tells what a test before has dropped");
    set_log_sink({});
    set_log_rate(per_second, 20);
  }
};

// 123 ms past 2026-11-20T12:00:00Z
const system_clock::time_point noon{std::chrono::sys_days{std::chrono::year{2026} / 11 / 20} + 12h + 123ms};

std::string line_of(const LogFields& fields, LogFormat format, std::uint64_t suppressed = 0,
                    std::string_view message = "the handler threw") {
  return format_log_event({LogLevel::warning, "handler_failed", message, fields, suppressed}, format, noon);
}

/// The value as the json form writes it, without its quotes.
std::string json_value(const std::string& bytes) {
  const std::string line = line_of({{"v", bytes}}, LogFormat::json);
  const std::size_t start = line.find("\"v\":\"") + 5;
  return line.substr(start, line.size() - start - 3);
}

// The first test: none has changed the rate.
TEST(LogDefaults, LimitTheRateFromTheStart) {
  int passed = 0;
  set_log_sink([&passed](const LogEvent&) { ++passed; });
  for (int i = 0; i < 20; ++i)
    log_event(LogLevel::info, "log_defaults", "m");
  EXPECT_EQ(passed, 20);
  for (int i = 0; i < 1000; ++i)
    log_event(LogLevel::info, "log_defaults", "m");
  EXPECT_LT(passed, 1000);
  set_log_sink({});
}

// -- RateLimiter

const RateLimiter::TimePoint start{1000s};

TEST(RateLimiter, PassesABurstAndSwallowsTheNext) {
  RateLimiter limiter{10, 3};
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(limiter.admit("a", start), 0u) << i;
  EXPECT_EQ(limiter.admit("a", start), none);
}

TEST(RateLimiter, TellsTheCountWithTheNextThatPassesAndOnlyOnce) {
  RateLimiter limiter{10, 1};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start), none);
  EXPECT_EQ(limiter.admit("a", start), none);
  EXPECT_EQ(limiter.admit("a", start + 100ms), 2u);
  EXPECT_EQ(limiter.admit("a", start + 200ms), 0u);
}

TEST(RateLimiter, GivesATokenBackAfterItsTimeAndNotBefore) {
  RateLimiter limiter{10, 1};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start + 99ms), none);
  EXPECT_EQ(limiter.admit("a", start + 101ms), 1u);
}

TEST(RateLimiter, NeverSavesMoreThanABurst) {
  RateLimiter limiter{10, 2};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start + 24h), 0u);
  EXPECT_EQ(limiter.admit("a", start + 24h), 0u);
  EXPECT_EQ(limiter.admit("a", start + 24h), none);
}

TEST(RateLimiter, PassesItsRateInTheLongRun) {
  RateLimiter limiter{10, 20};
  int passed = 0;
  for (int i = 0; i < 100'000; ++i) // 100 seconds, one event each millisecond
    passed += limiter.admit("a", start + i * 1ms) ? 1 : 0;
  EXPECT_NEAR(passed, 20 + 100 * 10, 1);
}

TEST(RateLimiter, KeepsNamesApart) {
  RateLimiter limiter{10, 1};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("b", start), 0u);
  EXPECT_EQ(limiter.admit("a", start), none);
  EXPECT_EQ(limiter.admit("b", start + 100ms), 0u);
  EXPECT_EQ(limiter.admit("a", start + 100ms), 1u);
}

TEST(RateLimiter, AddsNothingForATimeThatGoesBack) {
  RateLimiter limiter{10, 1};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start - 1h), none);
  EXPECT_EQ(limiter.admit("a", start + 99ms), none);
}

TEST(RateLimiter, LetsEverythingPassWithoutARate) {
  for (const double rate : {0.0, -1.0, infinity, not_a_number}) {
    RateLimiter limiter{rate, 1};
    for (int i = 0; i < 100; ++i)
      ASSERT_EQ(limiter.admit("a", start), 0u) << rate;
  }
}

TEST(RateLimiter, CountsABurstBelowOneAsOne) {
  for (const double burst : {0.0, -5.0, 0.5, not_a_number}) {
    RateLimiter limiter{10, burst};
    EXPECT_EQ(limiter.admit("a", start), 0u) << burst;
    EXPECT_EQ(limiter.admit("a", start), none) << burst;
  }
}

TEST(RateLimiter, FillsBucketsAndKeepsCountsWhenTheRateChanges) {
  RateLimiter limiter{10, 1};
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start), none);
  limiter.set_rate(10, 2);
  EXPECT_EQ(limiter.admit("a", start), 1u);
  EXPECT_EQ(limiter.admit("a", start), 0u);
  EXPECT_EQ(limiter.admit("a", start), none);
}

TEST(RateLimiter, SharesOneBucketAmongNamesBeyondItsLimit) {
  RateLimiter limiter{10, 1};
  for (std::size_t i = 0; i < RateLimiter::max_name_count; ++i)
    ASSERT_EQ(limiter.admit(std::to_string(i), start), 0u) << i;
  EXPECT_EQ(limiter.admit("one more", start), 0u);
  EXPECT_EQ(limiter.admit("and another", start), none);
  EXPECT_EQ(limiter.admit("0", start + 100ms), 0u);
  EXPECT_EQ(limiter.admit("a third", start + 100ms), 1u);
}

// -- escape_bytes

TEST(EscapeBytes, KeepsPrintableAsciiAndNothingElse) {
  for (int value = 0; value < 256; ++value) {
    const std::string in(1, static_cast<char>(value));
    const std::string out = escape_bytes(in);
    if (value >= 0x20 && value < 0x7f && value != '"' && value != '\\')
      EXPECT_EQ(out, in);
    else
      EXPECT_EQ(out[0], '\\') << value;
  }
}

TEST(EscapeBytes, WritesEachKindInItsWay) {
  EXPECT_EQ(escape_bytes(""), "");
  EXPECT_EQ(escape_bytes("a 'b'"), "a 'b'");
  EXPECT_EQ(escape_bytes("\n\r\t\"\\"), "\\n\\r\\t\\\"\\\\");
  EXPECT_EQ(escape_bytes(std::string{"\0\x1b\x7f", 3}), "\\x00\\x1b\\x7f");
  EXPECT_EQ(escape_bytes("\x80\xc3\xa9\xff"), "\\x80\\xc3\\xa9\\xff");
}

TEST(EscapeBytes, CutsBeyondItsSize) {
  EXPECT_EQ(escape_bytes("abc", 4), "abc");
  EXPECT_EQ(escape_bytes("abc", 3), "abc");
  EXPECT_EQ(escape_bytes("abc", 2), "ab...");
  EXPECT_EQ(escape_bytes("abc", 0), "...");
  EXPECT_EQ(escape_bytes("\n\n\n", 2), "\\n\\n...");
  EXPECT_EQ(escape_bytes(std::string(128, 'x')), std::string(128, 'x'));
  EXPECT_EQ(escape_bytes(std::string(129, 'x')), std::string(128, 'x') + "...");
}

// -- format_log_event

TEST(TextLine, HoldsTimeLevelNameMessageAndFields) {
  EXPECT_EQ(line_of({{"peer", "127.0.0.1:4711"}, {"what", "no \"luck\"\n"}}, LogFormat::text),
            "2026-11-20T12:00:00.123Z warning handler_failed: the handler threw "
            "peer=\"127.0.0.1:4711\" what=\"no \\\"luck\\\"\\n\"\n");
}

TEST(TextLine, EndsWithTheSuppressedCount) {
  EXPECT_EQ(line_of({{"peer", "p"}}, LogFormat::text, 42),
            "2026-11-20T12:00:00.123Z warning handler_failed: the handler threw peer=\"p\" suppressed=42\n");
}

TEST(TextLine, CutsAValue) {
  const std::string line = line_of({{"v", std::string(129, 'x')}}, LogFormat::text);
  EXPECT_NE(line.find("v=\"" + std::string(128, 'x') + "...\"\n"), std::string::npos);
}

TEST(TextLine, KeepsAMessageWithLineEndsOnOneLine) {
  EXPECT_NE(line_of({}, LogFormat::text, 0, "say \"hi\"\r\n\x1b").find(": say \"hi\"\\r\\n\\x1b\n"),
            std::string::npos);
}

TEST(JsonLine, HoldsTimeLevelNameMessageAndFields) {
  EXPECT_EQ(
      line_of({{"peer", "127.0.0.1:4711"}, {"what", "no \"luck\"\n"}}, LogFormat::json),
      "{\"time\":\"2026-11-20T12:00:00.123Z\",\"level\":\"warning\",\"event\":\"handler_failed\","
      "\"message\":\"the handler threw\",\"peer\":\"127.0.0.1:4711\",\"what\":\"no \\\"luck\\\"\\n\"}\n");
}

TEST(JsonLine, EndsWithTheSuppressedCountAsANumber) {
  EXPECT_EQ(line_of({}, LogFormat::json, 42),
            "{\"time\":\"2026-11-20T12:00:00.123Z\",\"level\":\"warning\",\"event\":\"handler_failed\","
            "\"message\":\"the handler threw\",\"suppressed\":42}\n");
}

TEST(JsonLine, EscapesTheMessage) {
  EXPECT_NE(line_of({}, LogFormat::json, 0, "say \"hi\"\n").find("\"message\":\"say \\\"hi\\\"\\n\"}"),
            std::string::npos);
}

TEST(JsonLine, WritesControlCharactersAsJsonDoes) {
  EXPECT_EQ(json_value("\n\r\t\"\\/"), "\\n\\r\\t\\\"\\\\/");
  EXPECT_EQ(json_value(std::string{"\0\x1f\x7f", 3}), "\\u0000\\u001f\\u007f");
}

TEST(JsonLine, WritesValidUtf8AsItsCodePoints) {
  EXPECT_EQ(json_value("\xc2\x80\xc3\xa9\xdf\xbf"), "\\u0080\\u00e9\\u07ff");
  EXPECT_EQ(json_value("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"), "\\u0800\\ud7ff\\ue000\\uffff");
  EXPECT_EQ(json_value("\xf0\x90\x80\x80\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf"),
            "\\ud800\\udc00\\ud83d\\ude00\\udbff\\udfff");
}

TEST(JsonLine, WritesBytesThatAreNotUtf8AsTheirNumbers) {
  EXPECT_EQ(json_value("\x80\xff"), "\\\\x80\\\\xff");                       // no lead bytes
  EXPECT_EQ(json_value("\xc0\x80\xc1\xbf"), "\\\\xc0\\\\x80\\\\xc1\\\\xbf"); // too long a form
  EXPECT_EQ(json_value("\xe0\x9f\xbf"), "\\\\xe0\\\\x9f\\\\xbf");
  EXPECT_EQ(json_value("\xf0\x8f\xbf\xbf"), "\\\\xf0\\\\x8f\\\\xbf\\\\xbf");
  EXPECT_EQ(json_value("\xed\xa0\x80"), "\\\\xed\\\\xa0\\\\x80");            // a surrogate
  EXPECT_EQ(json_value("\xf4\x90\x80\x80"), "\\\\xf4\\\\x90\\\\x80\\\\x80"); // beyond U+10FFFF
  EXPECT_EQ(json_value("\xf5\x80\x80\x80"), "\\\\xf5\\\\x80\\\\x80\\\\x80");
  EXPECT_EQ(json_value("\xc3("), "\\\\xc3(");            // a lead byte without its continuation
  EXPECT_EQ(json_value("a\xe2\x82"), "a\\\\xe2\\\\x82"); // ends early
  EXPECT_EQ(json_value("\xf0\x9f\x98"), "\\\\xf0\\\\x9f\\\\x98");
}

TEST(JsonLine, DoesNotReadBeyondTheEndOfAView) {
  const std::string_view euro = "\xe2\x82\xac";
  EXPECT_NE(line_of({}, LogFormat::json, 0, euro.substr(0, 2)).find("\"message\":\"\\\\xe2\\\\x82\"}"),
            std::string::npos);
}

TEST(JsonLine, CutsAValueBetweenCodePoints) {
  const std::string full(127, 'x');
  EXPECT_EQ(json_value(full + "y"), full + "y");
  EXPECT_EQ(json_value(full + "yz"), full + "y...");
  EXPECT_EQ(json_value(full + "\xc3\xa9"), full + "...");
  EXPECT_EQ(json_value(full + "\xc3"), full + "\\\\xc3");
}

TEST(FormatLogEvent, IsOnePrintableLineWhateverTheBytes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes{static_cast<char>(first), static_cast<char>(second)};
      const LogFields fields{{bytes, bytes}};
      const LogEvent event{LogLevel::info, bytes, bytes, fields, 0};
      ASSERT_TRUE(is_one_printable_line(format_log_event(event, LogFormat::text, noon)))
          << first << ' ' << second;
      ASSERT_TRUE(is_one_printable_line(format_log_event(event, LogFormat::json, noon)))
          << first << ' ' << second;
    }
  }
}

TEST(FormatLogEvent, WritesEveryLevel) {
  const auto begin = [](LogLevel level) {
    return format_log_event({level, "e", "m", {}, 0}, LogFormat::text, noon).substr(25);
  };
  EXPECT_EQ(begin(LogLevel::debug), "debug e: m\n");
  EXPECT_EQ(begin(LogLevel::info), "info e: m\n");
  EXPECT_EQ(begin(LogLevel::warning), "warning e: m\n");
  EXPECT_EQ(begin(LogLevel::error), "error e: m\n");
}

TEST(FormatLogEvent, WritesTimesInUtcWithMilliseconds) {
  const auto time_of = [](system_clock::time_point time) {
    return format_log_event({LogLevel::info, "e", "m", {}, 0}, LogFormat::text, time).substr(0, 24);
  };
  EXPECT_EQ(time_of(system_clock::time_point{}), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(time_of(system_clock::time_point{-1ms}), "1969-12-31T23:59:59.999Z");
  EXPECT_EQ(time_of(system_clock::time_point{1'709'251'199'999ms}), "2024-02-29T23:59:59.999Z");
  EXPECT_EQ(time_of(system_clock::time_point{1ms} + 999'999ns), "1970-01-01T00:00:00.001Z");
}

// -- log_event

TEST_F(Log, PassesEventsFromItsLevelOn) {
  const std::vector levels{LogLevel::debug, LogLevel::info, LogLevel::warning, LogLevel::error};
  keep_events();
  for (const LogLevel limit : levels) {
    set_log_level(limit);
    EXPECT_EQ(log_level(), limit);
    for (const LogLevel level : levels) {
      seen.clear();
      log_event(level, "e", "m");
      EXPECT_EQ(seen.size(), level >= limit ? 1u : 0u);
      EXPECT_EQ(log_enabled(level), level >= limit);
    }
  }
}

TEST_F(Log, BeginsAtInfo) { EXPECT_EQ(level_at_start, LogLevel::info); }

TEST_F(Log, StopsEverythingAtOffAndNeverPassesAnEventOfThatLevel) {
  keep_events();
  log_event(LogLevel::off, "e", "m");
  set_log_level(LogLevel::off);
  log_event(LogLevel::off, "e", "m");
  log_event(LogLevel::error, "e", "m");
  EXPECT_TRUE(seen.empty());
  EXPECT_FALSE(log_enabled(LogLevel::off));
}

TEST_F(Log, HandsEverythingToTheSinkUnescaped) {
  keep_events();
  log_event(LogLevel::error, "handler_failed", "the handler threw", {{"peer", "p"}, {"what", "\n\xff"}});
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].level, LogLevel::error);
  EXPECT_EQ(seen[0].name, "handler_failed");
  EXPECT_EQ(seen[0].message, "the handler threw");
  ASSERT_EQ(seen[0].fields.size(), 2u);
  EXPECT_EQ(seen[0].fields[0], (std::pair<std::string, std::string>{"peer", "p"}));
  EXPECT_EQ(seen[0].fields[1], (std::pair<std::string, std::string>{"what", "\n\xff"}));
  EXPECT_EQ(seen[0].suppressed, 0u);
}

TEST_F(Log, LimitsTheRateOfANameAndTellsWhatItSwallowed) {
  keep_events();
  set_log_rate(1e-9, 2); // a token in thirty years
  for (int i = 0; i < 5; ++i)
    log_event(LogLevel::info, "limited", "m");
  log_event(LogLevel::info, "other", "m");
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[2].name, "other");
  EXPECT_EQ(seen[2].suppressed, 0u);
  set_log_rate(0, 1);
  log_event(LogLevel::info, "limited", "m");
  EXPECT_EQ(seen.back().suppressed, 3u);
}

TEST_F(Log, TakesNoTokenForAnEventBelowItsLevel) {
  keep_events();
  set_log_rate(1e-9, 1);
  log_event(LogLevel::debug, "below", "m");
  log_event(LogLevel::info, "below", "m");
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].suppressed, 0u);
}

TEST_F(Log, SwallowsAnExceptionOfItsSink) {
  int calls = 0;
  set_log_sink([&calls](const LogEvent&) {
    ++calls;
    throw std::runtime_error{"the disk is full"};
  });
  log_event(LogLevel::info, "e", "m");
  log_event(LogLevel::info, "e", "m");
  EXPECT_EQ(calls, 2);
}

/// What an allocation does that fails (operator new). @returns whether a part of the thread's reserve went to it
bool takes_from_reserve() {
  try {
    std::get_new_handler()();
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

/// The reserve is for the library's own last steps: a sink that uses much memory would leave nothing to them.
TEST_F(Log, KeepsItsSinkFromTheReserveOfMemory) {
  MemoryReserve reserve;
  MemoryReserve* const before = MemoryReserve::set_current(&reserve);
  struct Sink {
    std::shared_ptr<std::vector<bool>> took;
    std::shared_ptr<void> end{nullptr, [seen = took](void*) { seen->push_back(takes_from_reserve()); }};
    void operator()(const LogEvent&) const {
      took->push_back(takes_from_reserve());
      set_log_sink({}); // which goes when this has returned
    }
  };
  const auto took = std::make_shared<std::vector<bool>>();
  took->reserve(2);
  set_log_sink(Sink{took});
  {
    const ReserveUse use;
    log_event(LogLevel::error, "name", "message");
    EXPECT_TRUE(takes_from_reserve()) << "who logs has it as before";
  }
  MemoryReserve::set_current(before);
  EXPECT_EQ(*took, (std::vector<bool>{false, false}));
}

TEST_F(Log, DropsWhatItsSinkLogs) {
  set_log_sink([this](const LogEvent& event) {
    seen.push_back(copy_of(event));
    log_event(LogLevel::error, "from_the_sink", "m");
  });
  log_event(LogLevel::info, "first", "m");
  log_event(LogLevel::info, "second", "m");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].name, "first");
  EXPECT_EQ(seen[1].name, "second");
}

TEST_F(Log, LetsASinkReplaceItself) {
  const auto alive = std::make_shared<int>(1);
  set_log_sink([this, alive](const LogEvent& event) {
    keep_events();
    seen.push_back(copy_of(event));
    EXPECT_EQ(*alive, 1); // the running sink is still whole
  });
  log_event(LogLevel::info, "old", "m");
  EXPECT_EQ(alive.use_count(), 1);
  log_event(LogLevel::info, "new", "m");
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[1].name, "new");
}

TEST_F(Log, LetsTheDestructorOfASinkLog) {
  struct LogsAtItsEnd {
    ~LogsAtItsEnd() { log_event(LogLevel::info, "last_words", "m"); }
  };
  set_log_sink([words = std::make_shared<LogsAtItsEnd>()](const LogEvent&) {});
  keep_events();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].name, "last_words");
}

TEST_F(Log, CallsTheSinkFromOneThreadAtATime) {
  int calls = 0;
  int dropped = 0;                          // what was more than waits for the sink
  set_log_sink([&](const LogEvent& event) { // no lock of its own
    if (event.name == "log_lines_dropped")
      dropped += std::stoi(event.fields[0].second);
    else
      ++calls;
  });
  in_four_threads([](char) {
    for (int i = 0; i < 1000; ++i)
      log_event(LogLevel::info, "e", "m", {{"v", "x"}});
  });
  log_event(LogLevel::info, "e", "m"); // tells of those that were dropped last
  EXPECT_EQ(calls + dropped, 4001);
}

TEST_F(Log, DoesNotCallASinkThatWasReplaced) {
  std::atomic<bool> done{false};
  std::atomic<int> late{0};
  set_log_sink([](const LogEvent&) {});
  std::thread logging{[&done] {
    while (!done.load())
      log_event(LogLevel::info, "e", "m");
  }};
  for (int i = 0; i < 500; ++i) {
    std::atomic<bool> called{false};
    auto replaced = std::make_shared<std::atomic<bool>>(false);
    set_log_sink([&late, &called, replaced](const LogEvent&) {
      called = true;
      std::this_thread::yield();
      late += replaced->load() ? 1 : 0;
    });
    while (!called.load())
      std::this_thread::yield();
    set_log_sink([](const LogEvent&) {});
    *replaced = true;
  }
  done = true;
  logging.join();
  EXPECT_EQ(late.load(), 0);
}

// -- the default sink

TEST_F(Log, WritesALineToStandardErrorByDefault) {
  testing::internal::CaptureStderr();
  log_event(LogLevel::warning, "handler_failed", "the handler threw", {{"peer", "p\n"}});
  const std::string output = testing::internal::GetCapturedStderr();
  ASSERT_EQ(count(output, '\n'), 1u);
  EXPECT_EQ(output.substr(23), "Z warning handler_failed: the handler threw peer=\"p\\n\"\n");
}

TEST_F(Log, WritesJsonWhenAsked) {
  testing::internal::CaptureStderr();
  set_log_format(LogFormat::json);
  log_event(LogLevel::warning, "handler_failed", "the handler threw");
  const std::string output = testing::internal::GetCapturedStderr();
  EXPECT_EQ(output.substr(0, 9), "{\"time\":\"");
  EXPECT_EQ(output.substr(32),
            "Z\",\"level\":\"warning\",\"event\":\"handler_failed\",\"message\":\"the handler threw\"}\n");
}

TEST_F(Log, BringsTheDefaultSinkBack) {
  keep_events();
  set_log_sink({});
  testing::internal::CaptureStderr();
  log_event(LogLevel::info, "e", "m");
  EXPECT_EQ(count(testing::internal::GetCapturedStderr(), '\n'), 1u);
  EXPECT_TRUE(seen.empty());
}

TEST_F(Log, WritesLinesOfManyThreadsWhole) {
  testing::internal::CaptureStderr();
  in_four_threads([](char letter) {
    for (int i = 0; i < 60; ++i) // of three threads that is less than waits for the fourth
      log_event(LogLevel::info, "e", "m", {{"v", std::string(100, letter)}});
  });
  const std::string output = testing::internal::GetCapturedStderr();
  ASSERT_EQ(count(output, '\n'), 240u);
  for (std::size_t begin = 0; begin < output.size();) {
    const std::size_t end = output.find('\n', begin);
    const std::string line = output.substr(begin, end - begin);
    ASSERT_EQ(line.substr(24), " info e: m v=\"" + std::string(100, line[38]) + '"');
    begin = end + 1;
  }
}

} // namespace

} // namespace squall
