// SPDX-License-Identifier: BSD-3-Clause
//
// config_test.cpp: every key of the configuration, its bounds, and every mistake with its message.

#include <squall/config.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

constexpr std::size_t one_mib = std::size_t{1} << 20;
constexpr std::size_t one_tib = std::size_t{1} << 40;

/// The problems of a configuration, one line each; none for a valid one.
Lines problems_of(std::string_view json) {
  Lines lines;
  try {
    parse_config(json);
  } catch (const ConfigError& error) {
    for (const ConfigProblem& problem : error.problems())
      lines.push_back(to_string(problem));
    EXPECT_FALSE(lines.empty());
  }
  return lines;
}

bool is_valid(const std::string& json) { return problems_of(json).empty(); }

/// What is allowed, from the only problem of `json`.
std::string allowed_by(const std::string& json) {
  try {
    parse_config(json);
  } catch (const ConfigError& error) {
    return error.problems().size() == 1 ? error.problems()[0].allowed : "more than one problem";
  }
  return "no problem";
}

std::string listen_with(const std::string& key, const std::string& value) {
  return R"({"listen": [{")" + key + R"(": )" + value + "}]}";
}
std::string stream_with(const std::string& key, const std::string& value) {
  return R"({"stream": {")" + key + R"(": )" + value + "}}";
}
std::string log_with(const std::string& key, const std::string& value) {
  return R"({"log": {")" + key + R"(": )" + value + "}}";
}
std::string root_with(const std::string& key, const std::string& value) {
  return "{\"" + key + "\": " + value + "}";
}

/// What problems_of gives where there is one problem; an empty pointer is that of the whole document.
Lines problem(const std::string& pointer, const std::string& found, const std::string& allowed) {
  return {(pointer.empty() ? "" : pointer + ": ") + "found " + found + ", allowed: " + allowed};
}

std::string repeated(std::string_view text, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i)
    out += text;
  return out;
}

const std::string listen_allowed = "a list of 1 to 1024 objects";
const std::string io_threads_allowed = "a whole number from 0 to 256 (0: one per core)";
const std::string port_allowed = "a whole number from 0 to 65535 (0: the system chooses)";
const std::string backlog_allowed = "a whole number from 1 to 65535";
const std::string address_allowed = "an address or a host name: a string without NUL bytes";
const std::string family_allowed = R"(one of "unspec", "ipv4", "ipv6")";
const std::string level_allowed = R"(one of "debug", "info", "warning", "error", "off")";
const std::string format_allowed = R"(one of "text", "json")";
const std::string time_allowed =
    R"(a time from "0ms" to "24h": a string with one of the units ms, s, m, h, like "250ms" or "10s")";
const std::string seconds_allowed =
    R"(whole seconds from "1s" to "9h": a string with one of the units ms, s, m, h, like "60s" or "2m")";
const std::string root_keys =
    R"(one of "listen", "tls", "io_threads", "processes", "max_restarts", "stream", "limits", "memory_budget", "drain_timeout", "stop_timeout", "log")";

std::string size_allowed(std::size_t least) {
  return "a size from " + std::to_string(least) +
         R"(B to 1TiB: a whole number of bytes, or a string with one of the units )" +
         R"(B, KiB, MiB, GiB, TiB, like "64KiB")";
}

/// Every kind of value but the one that a key takes, with how a message shows it.
const std::vector<std::pair<std::string, std::string>> values_of_every_type{
    {"null", "null"},  {"true", "true"},     {"false", "false"},
    {"7", "7"},        {R"("x")", R"("x")"}, {"[]", "an empty list"},
    {"[1]", "a list"}, {"{}", "an object"},  {R"({"a": 1})", "an object"}};

void expect_wrong_types(const std::function<std::string(const std::string&)>& json_with,
                        const std::string& pointer, const std::string& allowed, const Lines& right) {
  for (const auto& [value, found] : values_of_every_type) {
    if (std::find(right.begin(), right.end(), value) == right.end()) {
      EXPECT_EQ(problems_of(json_with(value)), problem(pointer, found, allowed));
    }
  }
}

// -- what is valid

TEST(ParseConfig, KeepsEveryDefaultOfAnEmptyObject) {
  const ServerConfig config = parse_config("{}");
  ASSERT_EQ(config.listen.size(), 1u);
  EXPECT_EQ(config.listen[0].address, "127.0.0.1");
  EXPECT_EQ(config.listen[0].port, 8888);
  EXPECT_EQ(config.listen[0].bind.family, AddressFamily::unspec);
  EXPECT_EQ(config.listen[0].bind.backlog, 128);
  EXPECT_FALSE(config.listen[0].bind.reuse_port);
  EXPECT_EQ(config.io_threads, 0u);
  EXPECT_EQ(config.stream.max_buffer_size, 104'857'600u);
  EXPECT_EQ(config.stream.read_chunk_size, 65'536u);
  EXPECT_EQ(config.stream.max_write_buffer_size, 104'857'600u);
  EXPECT_EQ(config.stream.linger_timeout, 10s);
  EXPECT_TRUE(config.stream.nodelay);
  EXPECT_EQ(config.log.level, LogLevel::info);
  EXPECT_EQ(config.log.format, LogFormat::text);
}

TEST(ParseConfig, KeepsEveryDefaultOfEmptyParts) {
  const ServerConfig config = parse_config(R"({"listen": [{}], "stream": {}, "log": {}})");
  ASSERT_EQ(config.listen.size(), 1u);
  EXPECT_EQ(config.listen[0].address, "127.0.0.1");
  EXPECT_EQ(config.listen[0].port, 8888);
  EXPECT_EQ(config.stream.read_chunk_size, 65'536u);
  EXPECT_EQ(config.log.level, LogLevel::info);
}

TEST(ParseConfig, KeepsTheDefaultsOfTheProgramForWhatIsNotThere) {
  ServerConfig defaults;
  defaults.listen.resize(2);
  defaults.listen[1].port = 4711;
  defaults.listen[1].accept.proxy_protocol.emplace();
  defaults.io_threads = 3;
  defaults.max_restarts = 7;
  defaults.stream.max_buffer_size = 1000;
  defaults.stream.half_close = true;
  defaults.stream.keep_alive = KeepAlive{7s, 8s, 9, 10s};
  defaults.limits = {.max_connections = 5, .when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}};
  defaults.memory_budget = 12'345;
  defaults.drain_timeout = 1s;
  defaults.log = {LogLevel::debug, LogFormat::json};

  const ServerConfig same = parse_config("{}", "configuration", defaults);
  ASSERT_EQ(same.listen.size(), 2U);
  EXPECT_EQ(same.listen[1].port, 4711);
  EXPECT_TRUE(same.listen[1].accept.proxy_protocol);
  EXPECT_EQ(same.io_threads, 3U);
  EXPECT_EQ(same.max_restarts, 7);
  EXPECT_EQ(same.memory_budget, 12'345U);
  EXPECT_EQ(same.drain_timeout, 1s);

  const ServerConfig some = parse_config(
      R"({"io_threads": 2, "stream": {"nodelay": false, "keep_alive": {"count": 3}},
          "limits": {"max_connections": 6}, "log": {"level": "error"}})",
      "configuration", defaults);
  EXPECT_EQ(some.io_threads, 2U);
  EXPECT_FALSE(some.stream.nodelay);
  EXPECT_EQ(some.stream.max_buffer_size, 1000U);
  EXPECT_TRUE(some.stream.half_close);
  EXPECT_EQ(some.stream.keep_alive, (KeepAlive{7s, 8s, 3, 10s}));
  EXPECT_EQ(some.limits.max_connections, 6U);
  EXPECT_EQ(some.limits.when_full, WhenFull::answer);
  EXPECT_EQ(some.limits.full_answer, "busy\n");
  EXPECT_EQ(some.log.level, LogLevel::error);
  EXPECT_EQ(some.log.format, LogFormat::json);
}

TEST(ParseConfig, TakesPartsOfTheProgramsLimitsBack) {
  ServerConfig defaults;
  defaults.limits = {.when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}};
  const auto limits = [&](const char* json) { return parse_config(json, "configuration", defaults).limits; };
  EXPECT_EQ(limits(R"({"limits": {"full_answer": "full\n"}})").full_answer, "full\n");
  const ListenerLimits queue = limits(R"({"limits": {"when_full": "queue"}})");
  EXPECT_EQ(queue.when_full, WhenFull::queue);
  EXPECT_TRUE(queue.full_answer.empty());
  EXPECT_THROW(limits(R"({"limits": {"when_full": "queue", "full_answer": "full\n"}})"), ConfigError);
}

TEST(ParseConfig, AListReplacesTheProgramsListAndItsTLS) {
  ServerConfig defaults;
  defaults.listen.resize(3);
  defaults.listen[0].port = 1;
  defaults.listen[0].accept.proxy_protocol.emplace();
  const ServerConfig config = parse_config(R"({"listen": [{"port": 2}]})", "configuration", defaults);
  ASSERT_EQ(config.listen.size(), 1U);
  EXPECT_EQ(config.listen[0].port, 2);
  EXPECT_FALSE(config.listen[0].accept.proxy_protocol);
}

TEST(ParseConfig, ReadsEveryKey) {
  const ServerConfig config = parse_config(R"({
    "listen": [
      {"address": "", "port": 0, "family": "ipv6", "backlog": 1000, "reuse_port": true},
      {"port": 9999, "family": "ipv4"}
    ],
    "io_threads": 2,
    "stream": {"max_buffer_size": 1000, "default_max_bytes": "1KiB", "read_chunk_size": "64B", "max_write_buffer_size": "2KiB",
               "write_high_water_mark": 0, "write_low_water_mark": "1KiB", "half_close": true,
               "linger_timeout": "250ms", "idle_timeout": "2m", "nodelay": false,
               "keep_alive": {"idle": "1s", "interval": "9h", "count": 127, "user_timeout": "5s"}},
    "memory_budget": "512MiB",
    "log": {"level": "debug", "format": "json"}
  })");
  ASSERT_EQ(config.listen.size(), 2u);
  EXPECT_EQ(config.listen[0].address, "");
  EXPECT_EQ(config.listen[0].port, 0);
  EXPECT_EQ(config.listen[0].bind.family, AddressFamily::ipv6);
  EXPECT_EQ(config.listen[0].bind.backlog, 1000);
  EXPECT_TRUE(config.listen[0].bind.reuse_port);
  EXPECT_EQ(config.listen[1].address, "127.0.0.1");
  EXPECT_EQ(config.listen[1].port, 9999);
  EXPECT_EQ(config.listen[1].bind.family, AddressFamily::ipv4);
  EXPECT_EQ(config.listen[1].bind.backlog, 128);
  EXPECT_FALSE(config.listen[1].bind.reuse_port);
  EXPECT_EQ(config.io_threads, 2u);
  EXPECT_EQ(config.stream.max_buffer_size, 1000u);
  EXPECT_EQ(config.stream.default_max_bytes, 1024u);
  EXPECT_EQ(config.stream.read_chunk_size, 64u);
  EXPECT_EQ(config.stream.max_write_buffer_size, 2048u);
  EXPECT_EQ(config.stream.linger_timeout, 250ms);
  EXPECT_EQ(config.stream.write_high_water_mark, 0u);
  EXPECT_EQ(config.stream.write_low_water_mark, 1024u);
  EXPECT_TRUE(config.stream.half_close);
  EXPECT_EQ(config.stream.idle_timeout, 2min);
  EXPECT_FALSE(config.stream.nodelay);
  EXPECT_EQ(config.stream.keep_alive, (KeepAlive{1s, 9h, 127, 5s}));
  EXPECT_EQ(config.memory_budget, 512U * 1024 * 1024);
  EXPECT_EQ(config.log.level, LogLevel::debug);
  EXPECT_EQ(config.log.format, LogFormat::json);
}

TEST(ParseConfig, ReadsEveryNameOfAChoice) {
  const auto family = [](const char* name) {
    return parse_config(listen_with("family", name)).listen[0].bind.family;
  };
  EXPECT_EQ(family(R"("unspec")"), AddressFamily::unspec);
  EXPECT_EQ(family(R"("ipv4")"), AddressFamily::ipv4);
  EXPECT_EQ(family(R"("ipv6")"), AddressFamily::ipv6);
  const auto level = [](const char* name) { return parse_config(log_with("level", name)).log.level; };
  EXPECT_EQ(level(R"("debug")"), LogLevel::debug);
  EXPECT_EQ(level(R"("info")"), LogLevel::info);
  EXPECT_EQ(level(R"("warning")"), LogLevel::warning);
  EXPECT_EQ(level(R"("error")"), LogLevel::error);
  EXPECT_EQ(level(R"("off")"), LogLevel::off);
  const auto format = [](const char* name) { return parse_config(log_with("format", name)).log.format; };
  EXPECT_EQ(format(R"("text")"), LogFormat::text);
  EXPECT_EQ(format(R"("json")"), LogFormat::json);
}

TEST(ParseConfig, ReadsEveryUnitOfASize) {
  const auto size = [](const std::string& value) {
    return parse_config(stream_with("max_buffer_size", value)).stream.max_buffer_size;
  };
  EXPECT_EQ(size("512"), 512u);
  EXPECT_EQ(size(R"("512B")"), 512u);
  EXPECT_EQ(size(R"("64KiB")"), 65'536u);
  EXPECT_EQ(size(R"("100MiB")"), 104'857'600u);
  EXPECT_EQ(size(R"("3GiB")"), 3'221'225'472u);
  EXPECT_EQ(size(R"("1TiB")"), one_tib);
  EXPECT_EQ(size(R"("007KiB")"), 7168u);
}

TEST(ParseConfig, ReadsEveryUnitOfATime) {
  const auto time = [](const std::string& value) {
    return parse_config(stream_with("linger_timeout", value)).stream.linger_timeout;
  };
  EXPECT_EQ(time(R"("250ms")"), 250ms);
  EXPECT_EQ(time(R"("5s")"), 5s);
  EXPECT_EQ(time(R"("2m")"), 2min);
  EXPECT_EQ(time(R"("1h")"), 1h);
  EXPECT_EQ(time(R"("0s")"), 0ms);
}

TEST(ParseConfig, AcceptsAByteOrderMark) {
  EXPECT_EQ(parse_config("\xef\xbb\xbf{\"io_threads\": 3}").io_threads, 3u);
}

TEST(ParseConfig, AcceptsMinusZeroAndEscapesInKeys) {
  EXPECT_EQ(parse_config(R"({"io_threads": -0})").io_threads, 0u);
  EXPECT_EQ(parse_config(R"({"io\u005fthreads": 4})").io_threads, 4u);
}

TEST(ParseConfig, AcceptsAChunkGreaterThanHalfOfTheBuffer) {
  const StreamOptions stream =
      parse_config(R"({"stream": {"max_buffer_size": 100, "read_chunk_size": 1000}})").stream;
  EXPECT_EQ(stream.max_buffer_size, 100u);
  EXPECT_EQ(stream.read_chunk_size, 1000u);
}

// -- bounds

TEST(ConfigBounds, OfPort) {
  EXPECT_EQ(parse_config(listen_with("port", "0")).listen[0].port, 0);
  EXPECT_EQ(parse_config(listen_with("port", "65535")).listen[0].port, 65535);
  EXPECT_EQ(problems_of(listen_with("port", "-1")), problem("/listen/0/port", "-1", port_allowed));
  EXPECT_EQ(problems_of(listen_with("port", "65536")), problem("/listen/0/port", "65536", port_allowed));
}

TEST(ConfigBounds, OfBacklog) {
  EXPECT_EQ(parse_config(listen_with("backlog", "1")).listen[0].bind.backlog, 1);
  EXPECT_EQ(parse_config(listen_with("backlog", "65535")).listen[0].bind.backlog, 65535);
  EXPECT_EQ(problems_of(listen_with("backlog", "0")), problem("/listen/0/backlog", "0", backlog_allowed));
  EXPECT_EQ(problems_of(listen_with("backlog", "65536")),
            problem("/listen/0/backlog", "65536", backlog_allowed));
}

TEST(ConfigBounds, OfIoThreads) {
  EXPECT_EQ(parse_config(root_with("io_threads", "0")).io_threads, 0u);
  EXPECT_EQ(parse_config(root_with("io_threads", "256")).io_threads, 256u);
  EXPECT_EQ(problems_of(root_with("io_threads", "-1")), problem("/io_threads", "-1", io_threads_allowed));
  EXPECT_EQ(problems_of(root_with("io_threads", "257")), problem("/io_threads", "257", io_threads_allowed));
}

void expect_size_bounds(const std::string& key, std::size_t least) {
  const auto in_bytes = [](std::size_t size) { return '"' + std::to_string(size) + "B\""; };
  const std::string valid[] = {std::to_string(least), in_bytes(least), std::to_string(one_tib),
                               in_bytes(one_tib), R"("1024GiB")"};
  for (const std::string& value : valid)
    EXPECT_EQ(problems_of(stream_with(key, value)), Lines{});
  const std::string invalid[] = {std::to_string(least - 1), in_bytes(least - 1), std::to_string(one_tib + 1),
                                 in_bytes(one_tib + 1), R"("1025GiB")"};
  for (const std::string& value : invalid)
    EXPECT_EQ(problems_of(stream_with(key, value)), problem("/stream/" + key, value, size_allowed(least)));
}

TEST(ConfigBounds, OfMaxBufferSize) {
  expect_size_bounds("max_buffer_size", 2);
  EXPECT_EQ(parse_config(stream_with("max_buffer_size", "2")).stream.max_buffer_size, 2u);
}
TEST(ConfigBounds, OfReadChunkSize) {
  expect_size_bounds("read_chunk_size", 1);
  EXPECT_EQ(parse_config(stream_with("read_chunk_size", R"("1TiB")")).stream.read_chunk_size, one_tib);
}
TEST(ConfigBounds, OfMaxWriteBufferSize) {
  expect_size_bounds("max_write_buffer_size", 1);
  EXPECT_EQ(parse_config(stream_with("max_write_buffer_size", "1")).stream.max_write_buffer_size, 1u);
}

TEST(ConfigBounds, OfMemoryBudget) {
  EXPECT_EQ(parse_config("{}").memory_budget, 0U);
  EXPECT_EQ(parse_config(root_with("memory_budget", "0")).memory_budget, 0U);
  EXPECT_EQ(parse_config(root_with("memory_budget", R"("1TiB")")).memory_budget, one_tib);
  for (const std::string value : {"-1", R"("1025GiB")", "true"})
    EXPECT_EQ(problems_of(root_with("memory_budget", value)),
              problem("/memory_budget", value, size_allowed(0)));
}

TEST(ConfigBounds, OfLingerTimeout) {
  const auto time = [](const std::string& value) {
    return parse_config(stream_with("linger_timeout", value)).stream.linger_timeout;
  };
  EXPECT_EQ(time(R"("0ms")"), 0ms);
  EXPECT_EQ(time(R"("86400000ms")"), 24h);
  EXPECT_EQ(time(R"("24h")"), 24h);
  for (const std::string value : {R"("86400001ms")", R"("86401s")", R"("1441m")", R"("25h")", R"("-1s")"})
    EXPECT_EQ(problems_of(stream_with("linger_timeout", value)),
              problem("/stream/linger_timeout", value, time_allowed));
}

TEST(ConfigBounds, OfIdleTimeoutAndMarks) {
  for (const std::string key : {"idle_timeout", "linger_timeout"})
    EXPECT_EQ(problems_of(stream_with(key, R"("86400001ms")")),
              problem("/stream/" + key, R"("86400001ms")", time_allowed));
  for (const std::string key : {"write_high_water_mark", "write_low_water_mark", "default_max_bytes"}) {
    EXPECT_EQ(problems_of(stream_with(key, "0")), Lines{});
    EXPECT_EQ(problems_of(stream_with(key, R"("1TiB")")), Lines{});
    EXPECT_EQ(problems_of(stream_with(key, R"("1025GiB")")),
              problem("/stream/" + key, R"("1025GiB")", size_allowed(0)));
  }
}

TEST(ConfigBounds, OfKeepAlive) {
  const auto keep_alive_with = [](const std::string& key, const std::string& value) {
    return stream_with("keep_alive", "{\"" + key + "\": " + value + "}");
  };
  EXPECT_EQ(parse_config(stream_with("keep_alive", "{}")).stream.keep_alive, KeepAlive{});
  EXPECT_EQ(parse_config("{}").stream.keep_alive, std::nullopt);
  for (const std::string key : {"idle", "interval"}) {
    for (const std::string value : {R"("1s")", R"("1000ms")", R"("9h")"})
      EXPECT_EQ(problems_of(keep_alive_with(key, value)), Lines{});
    for (const std::string value : {R"("0s")", R"("999ms")", R"("1001ms")", R"("32401s")", "60", "true"})
      EXPECT_EQ(problems_of(keep_alive_with(key, value)),
                problem("/stream/keep_alive/" + key, value, seconds_allowed));
    EXPECT_EQ(problems_of(keep_alive_with(key, R"("60")")),
              problem("/stream/keep_alive/" + key, R"("60" without a unit)", seconds_allowed));
  }
  EXPECT_EQ(problems_of(keep_alive_with("count", "127")), Lines{});
  for (const std::string value : {"0", "128"})
    EXPECT_EQ(problems_of(keep_alive_with("count", value)),
              problem("/stream/keep_alive/count", value, "a whole number from 1 to 127"));
  EXPECT_EQ(problems_of(keep_alive_with("user_timeout", R"("25h")")),
            problem("/stream/keep_alive/user_timeout", R"("25h")", time_allowed));
  EXPECT_EQ(problems_of(keep_alive_with("idel", R"("1s")")),
            problem("/stream/keep_alive/idel", "an unknown key", R"("idle", the nearest known key)"));
  expect_wrong_types([](const std::string& value) { return stream_with("keep_alive", value); },
                     "/stream/keep_alive", "an object", {"{}", R"({"a": 1})"});
}

// Each would be in bounds if numbers wrapped at 2^64.
TEST(ConfigBounds, OfQuantitiesThatOverflow) {
  for (const std::string value :
       {R"("18446744073709551716B")", R"("18014398509481985KiB")", R"("16777217TiB")"})
    EXPECT_EQ(problems_of(stream_with("max_buffer_size", value)),
              problem("/stream/max_buffer_size", value, size_allowed(2)));
  for (const std::string value : {R"("18446744073709551716ms")", R"("18446744073709552s")"})
    EXPECT_EQ(problems_of(stream_with("linger_timeout", value)),
              problem("/stream/linger_timeout", value, time_allowed));
}

TEST(ConfigBounds, OfListen) {
  const auto listen = [](std::size_t count) {
    return R"({"listen": [{})" + repeated(", {}", count - 1) + "]}";
  };
  EXPECT_EQ(parse_config(listen(1)).listen.size(), 1u);
  EXPECT_EQ(parse_config(listen(1024)).listen.size(), 1024u);
  EXPECT_EQ(problems_of(R"({"listen": []})"), problem("/listen", "an empty list", listen_allowed));
  EXPECT_EQ(problems_of(listen(1025)), problem("/listen", "a list of 1025", listen_allowed));
}

TEST(ConfigBounds, OfDepth) {
  const auto nested = [](std::size_t depth) { return repeated("[", depth) + repeated("]", depth); };
  const std::string too_deep = ": found a value nested more than 32 levels deep, allowed: at most 32 levels";
  EXPECT_EQ(problems_of(nested(32)), Lines{"found a list, allowed: an object"});
  EXPECT_EQ(problems_of(nested(33)), Lines{repeated("/0", 32) + too_deep});
  EXPECT_EQ(problems_of(repeated("[", 1'000'000)), Lines{repeated("/0", 32) + too_deep});
  EXPECT_EQ(problems_of(repeated("{\"a\":", 200'000)), Lines{repeated("/a", 32) + too_deep});
  EXPECT_EQ(problems_of(R"({"stream": [1, {"x/y": )" + repeated("[", 30)),
            Lines{"/stream/1/x~1y" + repeated("/0", 29) + too_deep});
}

TEST(ConfigBounds, OfSize) {
  const Lines too_large{"found a document of more than 1MiB, allowed: at most 1MiB (1048576 bytes)"};
  EXPECT_TRUE(is_valid("{}" + std::string(one_mib - 2, ' ')));
  EXPECT_EQ(problems_of("{}" + std::string(one_mib - 1, ' ')), too_large);
  EXPECT_EQ(problems_of(repeated("{\"a\":", 1'000'000)), too_large);
}

// -- wrong types

template <class With>
auto at_key(With with, const std::string& key) {
  return [with, key](const std::string& value) { return with(key, value); };
}

TEST(ConfigTypes, OfTheWhole) {
  expect_wrong_types([](const std::string& value) { return value; }, "", "an object", {"{}", R"({"a": 1})"});
}

TEST(ConfigTypes, OfObjects) {
  const Lines objects{"{}", R"({"a": 1})"};
  expect_wrong_types(at_key(root_with, "stream"), "/stream", "an object", objects);
  expect_wrong_types(at_key(root_with, "log"), "/log", "an object", objects);
  const auto second_listener = [](const std::string& value) {
    return root_with("listen", "[{}, " + value + "]");
  };
  expect_wrong_types(second_listener, "/listen/1", "an object", objects);
}

TEST(ConfigTypes, OfListen) {
  expect_wrong_types(at_key(root_with, "listen"), "/listen", listen_allowed, {"[1]"});
}

TEST(ConfigTypes, OfWholeNumbers) {
  expect_wrong_types(at_key(root_with, "io_threads"), "/io_threads", io_threads_allowed, {"7"});
  expect_wrong_types(at_key(listen_with, "port"), "/listen/0/port", port_allowed, {"7"});
  expect_wrong_types(at_key(listen_with, "backlog"), "/listen/0/backlog", backlog_allowed, {"7"});
}

TEST(ConfigTypes, OfFlags) {
  const Lines flags{"true", "false"};
  expect_wrong_types(at_key(listen_with, "reuse_port"), "/listen/0/reuse_port", "true or false", flags);
  expect_wrong_types(at_key(stream_with, "nodelay"), "/stream/nodelay", "true or false", flags);
}

TEST(ConfigTypes, OfTheAddress) {
  expect_wrong_types(at_key(listen_with, "address"), "/listen/0/address", address_allowed, {R"("x")"});
}

TEST(ConfigTypes, OfChoices) {
  expect_wrong_types(at_key(listen_with, "family"), "/listen/0/family", family_allowed, {});
  expect_wrong_types(at_key(log_with, "level"), "/log/level", level_allowed, {});
  expect_wrong_types(at_key(log_with, "format"), "/log/format", format_allowed, {});
}

TEST(ConfigTypes, OfSizes) {
  expect_wrong_types(at_key(stream_with, "max_buffer_size"), "/stream/max_buffer_size", size_allowed(2),
                     {"7"});
  expect_wrong_types(at_key(stream_with, "read_chunk_size"), "/stream/read_chunk_size", size_allowed(1),
                     {"7"});
  expect_wrong_types(at_key(stream_with, "max_write_buffer_size"), "/stream/max_write_buffer_size",
                     size_allowed(1), {"7"});
}

TEST(ConfigTypes, OfTimes) {
  expect_wrong_types(at_key(stream_with, "linger_timeout"), "/stream/linger_timeout", time_allowed, {"7"});
}

// -- values that are nearly right

TEST(ConfigMistakes, NumbersThatAreNotWholeAreShownAsTheyAreWritten) {
  for (const std::string value :
       {"1.5", "2.0", "1e2", "-1", "-9223372036854775808", "-9223372036854775809", "9223372036854775808",
        "18446744073709551615", "18446744073709551616", "1e999"})
    EXPECT_EQ(problems_of(root_with("io_threads", value)), problem("/io_threads", value, io_threads_allowed));
}

TEST(ConfigMistakes, NumbersOfManyDigitsAreCut) {
  EXPECT_EQ(problems_of(root_with("io_threads", '1' + std::string(5000, '0'))),
            problem("/io_threads", '1' + std::string(39, '0') + "...", io_threads_allowed));
}

TEST(ConfigMistakes, ANumberBeyondEveryTypeEndsTheReadingAfterWhatCameBefore) {
  EXPECT_EQ(problems_of(R"({"io_threads": 300, "listen": [{"port": -1e999, "port": 1}], "x": 1})"),
            (Lines{"/io_threads: found 300, allowed: " + io_threads_allowed,
                   "/listen/0/port: found -1e999, allowed: " + port_allowed}));
}

TEST(ConfigMistakes, SizesNeedAKnownUnit) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"("64KB")", R"(the unknown unit "KB" in "64KB")"},
      {R"("64kib")", R"(the unknown unit "kib" in "64kib")"},
      {R"("64K")", R"(the unknown unit "K" in "64K")"},
      {R"("5s")", R"(the unknown unit "s" in "5s")"},
      {R"("65536")", R"("65536" without a unit)"},
      {R"("")", R"("")"},
      {R"("KiB")", R"("KiB")"},
      {R"("64 KiB")", R"("64 KiB")"},
      {R"(" 64KiB")", R"(" 64KiB")"},
      {R"("1.5GiB")", R"("1.5GiB")"},
      {R"("-1KiB")", R"("-1KiB")"},
      {R"("+1KiB")", R"("+1KiB")"},
      {R"("0x10B")", R"("0x10B")"},
      {R"("64KiB\u0000")", R"("64KiB\x00")"}};
  for (const auto& [value, found] : cases)
    EXPECT_EQ(problems_of(stream_with("max_buffer_size", value)),
              problem("/stream/max_buffer_size", found, size_allowed(2)));
}

TEST(ConfigMistakes, FractionsOfBytesAreNoSize) {
  EXPECT_EQ(problems_of(stream_with("read_chunk_size", "1024.5")),
            problem("/stream/read_chunk_size", "1024.5", size_allowed(1)));
}

TEST(ConfigMistakes, TimesNeedAKnownUnit) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"10", "10 without a unit"},
      {"0", "0 without a unit"},
      {"1.5", "1.5 without a unit"},
      {R"("10")", R"("10" without a unit)"},
      {R"("10sec")", R"(the unknown unit "sec" in "10sec")"},
      {R"("10S")", R"(the unknown unit "S" in "10S")"},
      {R"("1KiB")", R"(the unknown unit "KiB" in "1KiB")"},
      {R"("1h30m")", R"("1h30m")"},
      {R"("1.5s")", R"("1.5s")"},
      {R"("ms")", R"("ms")"}};
  for (const auto& [value, found] : cases)
    EXPECT_EQ(problems_of(stream_with("linger_timeout", value)),
              problem("/stream/linger_timeout", found, time_allowed));
}

TEST(ConfigMistakes, NamesOfAChoiceMatchExactly) {
  EXPECT_EQ(problems_of(log_with("level", R"("Info")")), problem("/log/level", R"("Info")", level_allowed));
  EXPECT_EQ(problems_of(log_with("format", R"("json ")")),
            problem("/log/format", R"("json ")", format_allowed));
  EXPECT_EQ(problems_of(listen_with("family", R"("unix")")),
            problem("/listen/0/family", R"("unix")", family_allowed));
}

TEST(ConfigMistakes, NulBytesInAnAddress) {
  EXPECT_EQ(problems_of(listen_with("address", R"("127.0.0.1\u0000.example")")),
            problem("/listen/0/address", R"("127.0.0.1\x00.example")", address_allowed));
}

TEST(ConfigMistakes, LongAndStrangeStringsAreCutAndEscaped) {
  const std::string forty(40, 'x');
  EXPECT_EQ(problems_of(log_with("format", '"' + forty + '"')),
            problem("/log/format", '"' + forty + '"', format_allowed));
  EXPECT_EQ(problems_of(log_with("format", '"' + forty + "x\"")),
            problem("/log/format", '"' + forty + "...\"", format_allowed));
  EXPECT_EQ(problems_of(log_with("format", R"("a\"\n\u001b\u00e9")")),
            problem("/log/format", R"("a\"\n\x1b\xc3\xa9")", format_allowed));
}

// -- limits

std::string limits_with(const std::string& members) { return R"({"limits": {)" + members + "}}"; }

TEST(LimitsConfig, ReadsEveryKey) {
  const ListenerLimits limits =
      parse_config(limits_with(R"("max_connections": 1, "max_connections_per_ip": 2, "max_accept_rate": 3,
                                  "accepts_per_turn": 4, "when_full": "answer", "full_answer": "busy\n")"))
          .limits;
  EXPECT_EQ(limits.max_connections, 1U);
  EXPECT_EQ(limits.max_connections_per_ip, 2U);
  EXPECT_EQ(limits.max_accept_rate, 3U);
  EXPECT_EQ(limits.accepts_per_turn, 4U);
  EXPECT_EQ(limits.when_full, WhenFull::answer);
  EXPECT_EQ(limits.full_answer, Bytes{"busy\n"});
  EXPECT_EQ(parse_config(limits_with(R"("when_full": "reset")")).limits.when_full, WhenFull::reset);
  EXPECT_EQ(parse_config(limits_with(R"("when_full": "queue")")).limits.when_full, WhenFull::queue);
}

TEST(LimitsConfig, KnowsTheBounds) {
  for (const std::string key : {"max_connections", "max_connections_per_ip", "max_accept_rate"}) {
    for (const char* good : {"0", "1", "1000000000"})
      EXPECT_TRUE(is_valid(limits_with('"' + key + "\": " + good))) << key << good;
    for (const char* wrong : {"-1", "1000000001", "1.5", "\"1\"", "null"})
      EXPECT_FALSE(is_valid(limits_with('"' + key + "\": " + wrong))) << key << wrong;
  }
  for (const char* good : {"1", "65536"})
    EXPECT_TRUE(is_valid(limits_with(R"("accepts_per_turn": )" + std::string{good})));
  for (const char* wrong : {"0", "65537"})
    EXPECT_FALSE(is_valid(limits_with(R"("accepts_per_turn": )" + std::string{wrong})));
  EXPECT_FALSE(is_valid(limits_with(R"("when_full": "drop")")));
}

TEST(LimitsConfig, AnAnswerAndItsWishGoTogether) {
  EXPECT_EQ(
      problems_of(limits_with(R"("when_full": "answer")")),
      problem("/limits", R"("when_full": "answer" without "full_answer")", R"("full_answer": what to send)"));
  for (const char* with : {R"("full_answer": "busy")", R"("when_full": "reset", "full_answer": "busy")"})
    EXPECT_EQ(problems_of(limits_with(with)),
              problem("/limits/full_answer", R"("full_answer" without "when_full": "answer")",
                      R"("when_full": "answer" beside it, or neither)"));
}

TEST(LimitsConfig, AnEndLastsTwoDaysAtMost) {
  EXPECT_EQ(parse_config(root_with("drain_timeout", "\"0s\"")).drain_timeout, 0ms);
  EXPECT_EQ(parse_config(root_with("drain_timeout", "\"24h\"")).drain_timeout, 24h);
  EXPECT_EQ(parse_config("{}").stop_timeout, 5s);
  EXPECT_EQ(parse_config(root_with("stop_timeout", "\"0s\"")).stop_timeout, 0ms);
  EXPECT_EQ(parse_config(root_with("stop_timeout", "\"24h\"")).stop_timeout, 24h);
  for (const std::string key : {"drain_timeout", "stop_timeout"})
    for (const std::string wrong : {R"("86400001ms")", R"("-1ms")"})
      EXPECT_EQ(problems_of(root_with(key, wrong)), problem("/" + key, wrong, time_allowed));
}

// -- unknown and repeated keys

std::string the_nearest(const std::string& key) { return '"' + key + "\", the nearest known key"; }

TEST(ConfigKeys, AnUnknownOneNamesTheNearest) {
  const std::vector<std::pair<std::string, std::string>> near{
      {"lisen", "listen"},   // one missing
      {"listens", "listen"}, // one too many
      {"lixten", "listen"},  // another
      {"lsiten", "listen"},  // swapped
      {"LISTEN", "listen"},  // case does not count
      {"io-threads", "io_threads"}, {"threads", "io_threads"}, {"lag", "log"}, {"steam", "stream"}};
  for (const auto& [key, nearest] : near)
    EXPECT_EQ(problems_of(root_with(key, "1")), problem("/" + key, "an unknown key", the_nearest(nearest)));
}

TEST(ConfigKeys, AnUnknownOneIsComparedWithThoseOfItsObject) {
  EXPECT_EQ(allowed_by(listen_with("prot", "1")), the_nearest("port"));
  EXPECT_EQ(allowed_by(stream_with("max_buffersize", "1")), the_nearest("max_buffer_size"));
  EXPECT_EQ(allowed_by(stream_with("max_write_buffer", "1")), the_nearest("max_write_buffer_size"));
  EXPECT_EQ(allowed_by(stream_with("max_wribuffer_size", "1")),
            the_nearest("max_buffer_size")); // first of two
  EXPECT_EQ(allowed_by(stream_with("no_delay", "1")), the_nearest("nodelay"));
  EXPECT_EQ(allowed_by(log_with("lvl", "1")), R"(one of "level", "format")");
  EXPECT_EQ(allowed_by(log_with("port", "1")), R"(one of "level", "format")");
  EXPECT_EQ(
      allowed_by(listen_with("host", "1")),
      R"(one of "address", "port", "family", "backlog", "reuse_port", "unix", "mode", "inherited", "tls", )"
      R"("proxy_protocol")");
  EXPECT_EQ(
      allowed_by(stream_with("x", "1")),
      R"(one of "max_buffer_size", "default_max_bytes", "read_chunk_size", "max_write_buffer_size", "write_high_water_mark", )"
      R"("write_low_water_mark", "linger_timeout", "half_close", "idle_timeout", "nodelay", "keep_alive")");
}

TEST(ConfigKeys, AnUnknownOneWithNothingNearNamesAllKnown) {
  for (const std::string key : {"$schema", "_comment", "", "host", "listen_address"})
    EXPECT_EQ(problems_of(root_with(key, "1")), problem("/" + key, "an unknown key", root_keys));
  EXPECT_EQ(allowed_by(R"({"lo": 1})"), the_nearest("log")); // one letter is near enough
  EXPECT_EQ(allowed_by(R"({"lx": 1})"), root_keys);          // two are not
}

TEST(ConfigKeys, AnUnknownOneKeepsItsValueUnread) {
  EXPECT_EQ(problems_of(R"({"xyz": {"a": [null, {"port": -1}], "a": 1e999999}})"),
            problem("/xyz", "an unknown key", root_keys));
}

TEST(ConfigKeys, PointersAreEscapedAsRfc6901Says) {
  try {
    parse_config(R"({"a/b~c\n": 1})");
    FAIL();
  } catch (const ConfigError& error) {
    ASSERT_EQ(error.problems().size(), 1u);
    EXPECT_EQ(error.problems()[0], (ConfigProblem{"/a~1b~0c\n", "an unknown key", root_keys}));
    EXPECT_EQ(to_string(error.problems()[0]), "/a~1b~0c\\n: found an unknown key, allowed: " + root_keys);
  }
}

TEST(ConfigKeys, LongOnesAreCutInTheMessageAndWholeInThePointer) {
  const std::string key(100'000, 'k');
  try {
    parse_config("{\"" + key + "\": 1}");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.problems().at(0).pointer, "/" + key);
    EXPECT_EQ(to_string(error.problems().at(0)),
              "/" + std::string(127, 'k') + "...: found an unknown key, allowed: " + root_keys);
  }
}

TEST(ConfigKeys, ARepeatedOneIsRefused) {
  const std::string again = ": found the same key again, allowed: each key once";
  EXPECT_EQ(problems_of(R"({"io_threads": 1, "io_threads": 1})"), Lines{"/io_threads" + again});
  EXPECT_EQ(problems_of(R"({"log": {}, "stream": {}, "log": {}, "log": {}})"),
            (Lines{"/log" + again, "/log" + again}));
  EXPECT_EQ(problems_of(R"({"listen": [{"port": 1, "\u0070ort": 2}]})"), Lines{"/listen/0/port" + again});
  EXPECT_EQ(problems_of(R"({"stream": {"nodelay": true, "nodelay": false}})"),
            Lines{"/stream/nodelay" + again});
  EXPECT_EQ(problems_of(R"({"log": {"level": "info", "level": 1}})"),
            (Lines{"/log/level" + again, "/log/level: found 1, allowed: " + level_allowed}));
}

TEST(ConfigKeys, TheSameOneInTwoObjectsIsNotRepeated) {
  EXPECT_TRUE(is_valid(R"({"listen": [{"port": 1}, {"port": 1}]})"));
}

// -- all at once

TEST(ParseConfig, ReportsEveryMistakeInTheOrderOfTheDocument) {
  EXPECT_EQ(
      problems_of(R"({"stream": {"nodelay": 1, "linger_timeout": 10}, "listen": [{}, {"port": 70000}, 5],
                            "io_thread": 2, "log": null})"),
      (Lines{"/stream/nodelay: found 1, allowed: true or false",
             "/stream/linger_timeout: found 10 without a unit, allowed: " + time_allowed,
             "/listen/1/port: found 70000, allowed: " + port_allowed,
             "/listen/2: found 5, allowed: an object",
             R"(/io_thread: found an unknown key, allowed: "io_threads", the nearest known key)",
             "/log: found null, allowed: an object"}));
}

TEST(ParseConfig, ReportsMistakesOfAListThatIsTooLong) {
  const Lines lines = problems_of(R"({"listen": [{"port": 1.5})" + repeated(", {}", 1024) + "]}");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "/listen: found a list of 1025, allowed: " + listen_allowed);
  EXPECT_EQ(lines[1], "/listen/0/port: found 1.5, allowed: " + port_allowed);
}

TEST(ParseConfig, ReportsAsManyMistakesAsADocumentHolds) {
  const std::size_t count = 100'000;
  const Lines lines = problems_of("{\"0\":0" + repeated(",\"1\":0", count - 1) + "}");
  EXPECT_EQ(lines.size(), count + count - 2); // each one unknown, all but two a repetition
}

// -- text that is no JSON

TEST(ConfigText, EmptyDocuments) {
  const Lines empty{"found an empty document, allowed: a JSON object; {} when every default will do"};
  for (const std::string text : {"", " ", "\n\t \r\n", "\xef\xbb\xbf", "\xef\xbb\xbf \n"})
    EXPECT_EQ(problems_of(text), empty);
}

TEST(ConfigText, SyntaxErrorsNameLineAndColumn) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"{\"io_threads\": 1,}",
       "line 1, column 18 while parsing object key - unexpected '}'; expected string literal"},
      {"{\n  \"io_threads\": 1\n  \"log\": {}\n}",
       "line 3, column 7 while parsing object - unexpected string literal; expected '}'"},
      {"{\"a\" 1}",
       "line 1, column 6 while parsing object separator - unexpected number literal; expected ':'"},
      {"{", "line 1, column 2 while parsing object key - unexpected end of input; expected string literal"},
      {"{\n", "line 2, column 1 while parsing object key - unexpected end of input; expected string literal"},
      {"[1 2]", "line 1, column 4 while parsing array - unexpected number literal; expected ']'"},
      {"{} {}", "line 1, column 4 while parsing value - unexpected '{'; expected end of input"},
      {"\xef\xbb\xbf}",
       "line 1, column 1 while parsing value - unexpected '}'; expected '[', '{', or a literal"}};
  for (const auto& [text, place] : cases)
    EXPECT_EQ(problems_of(text), problem("", "a syntax error at " + place, "JSON text in UTF-8"));
}

/// The parser words the reason; its place is ours.
void expect_syntax_error(std::string_view text, const std::string& place) {
  const Lines lines = problems_of(text);
  ASSERT_EQ(lines.size(), 1u) << text;
  const std::string start = "found a syntax error at " + place + " while parsing ";
  EXPECT_EQ(lines[0].substr(0, start.size()), start);
}

TEST(ConfigText, WhatIsNoTokenOfJson) {
  expect_syntax_error("{} x", "line 1, column 4");
  expect_syntax_error("{'log': 1}", "line 1, column 2");
  expect_syntax_error("{\"io_threads\": tru}", "line 1, column 19");
  expect_syntax_error("NaN", "line 1, column 1");
  expect_syntax_error("{\"io_threads\": 01}", "line 1, column 17");
  expect_syntax_error("{\"io_threads\": +1}", "line 1, column 16");
  expect_syntax_error("{\"io_threads\": 1.}", "line 1, column 18");
  expect_syntax_error("\"open", "line 1, column 6");
  expect_syntax_error("{\"a\": \"line\nend\"}", "line 1, column 12");
  expect_syntax_error("\xef\xbb\xbf\xef\xbb\xbf{}", "line 1, column 1");
}

TEST(ConfigText, InvalidUtf8) {
  expect_syntax_error("{\"a\": \"\xff\"}", "line 1, column 8");
  expect_syntax_error("{\"a\": \"\xc0\x80\"}", "line 1, column 8");
  expect_syntax_error("{\"a\": \"\xed\xa0\x80\"}", "line 1, column 9");
  expect_syntax_error("{\"a\": \"\xe2\x82\"}", "line 1, column 10");
  expect_syntax_error("{\"a\": \"\\ud800\"}", "line 1, column 14");
  expect_syntax_error("{\xff}", "line 1, column 2");
}

TEST(ConfigText, ReasonsAreEscapedAndCut) {
  const Lines lines = problems_of("{\"a\": \"" + std::string(10'000, 'x') + "\x1b");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_LT(lines[0].size(), 400u);
  EXPECT_TRUE(std::all_of(lines[0].begin(), lines[0].end(), [](char c) { return c >= 0x20 && c < 0x7f; }));
}

TEST(ConfigText, CommentsAreNamed) {
  const auto comment_at = [](const std::string& place) {
    return Lines{"found a comment at " + place + ", allowed: JSON, which has no comments"};
  };
  EXPECT_EQ(problems_of("// all defaults\n{}"), comment_at("line 1, column 1"));
  EXPECT_EQ(problems_of("{\n  /* none */\n}"), comment_at("line 2, column 3"));
  EXPECT_EQ(problems_of("{\"io_threads\": 1 // one\n}"), comment_at("line 1, column 18"));
  EXPECT_EQ(problems_of("{} // end"), comment_at("line 1, column 4"));
  expect_syntax_error("{/}", "line 1, column 2");
  expect_syntax_error("\"\\u12//\"", "line 1, column 6");
}

TEST(ConfigText, NulBytesAreNotTheEnd) {
  using std::string_literals::operator""s;
  const auto nul_at = [](const std::string& place) {
    return Lines{"found a NUL byte at " + place + ", allowed: JSON text in UTF-8"};
  };
  EXPECT_EQ(problems_of("{}\0"s), nul_at("line 1, column 3"));
  EXPECT_EQ(problems_of("{}\n\0 x"s), nul_at("line 2, column 1"));
  EXPECT_EQ(problems_of("{\0\"\0a\0"s), nul_at("line 1, column 2")); // UTF-16
}

TEST(ConfigText, RandomBytesAreRefusedAndNothingElseHappens) {
  const std::string valid =
      R"({"listen": [{"address": "::1", "port": 1}], "stream": {"linger_timeout": "1s"}})";
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    std::mt19937 random{seed};
    std::string text = valid;
    for (unsigned i = 0; i <= seed % 4; ++i)
      text[random() % text.size()] = static_cast<char>(random() % 256);
    for (const std::string& line : problems_of(text.substr(0, text.size() - seed % 3)))
      ASSERT_TRUE(std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; }))
          << "seed " << seed;
  }
}

// -- ConfigError

TEST(ConfigErrorText, HasALineForEachProblemBehindItsSource) {
  const ConfigError error{"squall.json", {{"/log", "null", "an object"}, {"", "a list", "an object"}}};
  EXPECT_STREQ(error.what(), "squall.json: /log: found null, allowed: an object\n"
                             "squall.json: found a list, allowed: an object");
  EXPECT_EQ(error.problems(),
            (std::vector<ConfigProblem>{{"/log", "null", "an object"}, {"", "a list", "an object"}}));
}

TEST(ConfigErrorText, NamesTheSourceThatWasGivenOrItsDefault) {
  try {
    parse_config("[]", "the command line");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "the command line: found an empty list, allowed: an object");
  }
  try {
    parse_config("[]");
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "configuration: found an empty list, allowed: an object");
  }
}

TEST(ConfigErrorText, IsCopiedWithoutThrowing) {
  static_assert(std::is_nothrow_copy_constructible_v<ConfigError>);
  std::vector<ConfigError> errors{{"x", {{"/log", "null", "an object"}}}};
  errors.push_back(errors.front());
  EXPECT_STREQ(errors[1].what(), "x: /log: found null, allowed: an object");
  EXPECT_EQ(errors[1].problems(), errors[0].problems());
}

// -- files

class LoadConfig : public testing::Test {
protected:
  ~LoadConfig() override { std::remove(path.c_str()); }

  void write(const std::string& text) const { std::ofstream{path, std::ios::binary} << text; }

  std::string what_of(const std::string& name) const {
    try {
      load_config(name);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no problem";
  }

  const std::string path = testing::TempDir() + "squall_config_test_" + std::to_string(::getpid()) + ".json";
};

TEST_F(LoadConfig, ReadsAFile) {
  write(R"({"io_threads": 7, "listen": [{"address": "::1"}]})");
  const ServerConfig config = load_config(path);
  EXPECT_EQ(config.io_threads, 7u);
  EXPECT_EQ(config.listen.at(0).address, "::1");
}

TEST_F(LoadConfig, NamesTheFileInFrontOfEveryProblem) {
  write(R"({"io_threads": 300, "log": []})");
  EXPECT_EQ(what_of(path),
            path + ": /io_threads: found 300, allowed: a whole number from 0 to 256 (0: one per core)\n" +
                path + ": /log: found an empty list, allowed: an object");
}

TEST_F(LoadConfig, SaysWhyAFileCannotBeRead) {
  EXPECT_EQ(what_of("/nowhere/squall.json"),
            "/nowhere/squall.json: found a file that cannot be read (No such "
            "file or directory), allowed: a readable file");
  EXPECT_EQ(what_of("/"), "/: found a file that cannot be read (is a directory), allowed: a readable file");
  EXPECT_EQ(what_of(""),
            ": found a file that cannot be read (No such file or directory), allowed: a readable file");
}

/// A FIFO would wait for its writer, a device would not end.
TEST_F(LoadConfig, RefusesWhatIsNoRegularFile) {
  EXPECT_EQ(what_of("/dev/zero"),
            "/dev/zero: found a file that cannot be read (is a device), allowed: a readable file");
  const std::string fifo = path + ".fifo\n";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(what_of(fifo),
            path + R"(.fifo\n: found a file that cannot be read (is a FIFO), allowed: a readable file)");
  std::remove(fifo.c_str());
}

TEST_F(LoadConfig, RefusesANameWithANulByte) {
  write("{}");
  const std::string name = path + std::string{"\0.old", 5};
  EXPECT_THROW(load_config(name), ConfigError);
}

TEST_F(LoadConfig, ReadsFilesUpToOneMebibyteAndNoFurther) {
  write("{}" + std::string(one_mib - 2, '\n'));
  EXPECT_EQ(what_of(path), "no problem");
  write("{}" + std::string(one_mib - 1, '\n'));
  EXPECT_EQ(what_of(path),
            path +
                ": found a file that cannot be read (has more than 1048576 bytes), allowed: a readable file");
}

TEST_F(LoadConfig, RefusesAnEmptyFile) {
  write("");
  EXPECT_EQ(what_of(path),
            path + ": found an empty document, allowed: a JSON object; {} when every default will do");
}

} // namespace

} // namespace squall
