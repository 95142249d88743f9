// SPDX-License-Identifier: BSD-3-Clause
//
// log_fuzz.cpp: whatever a value of a log line holds, the line is one line of printable ASCII, of bounded length; in its
// JSON form it is one object that gives text back as it was.
#include "tests/fuzz/require.hpp"
#include <squall/net/log.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fuzzer/FuzzedDataProvider.h>

namespace squall {
namespace {

constexpr std::size_t max_value_size = 128;

bool is_one_line(std::string_view line) {
  return !line.empty() && line.back() == '\n' &&
         std::all_of(line.begin(), line.end() - 1, [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool is_valid_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

void check_line(FuzzedDataProvider& data) {
  const std::string message = data.ConsumeRandomLengthString(300);
  const std::uint64_t suppressed = data.ConsumeIntegral<std::uint64_t>();
  const std::string first = data.ConsumeRandomLengthString(300);
  const std::string second = data.ConsumeRemainingBytesAsString();
  const LogFields fields{{"peer", first}, {"error", second}};
  const LogEvent event{LogLevel::warning, "handler_failed", message, fields, suppressed};

  const std::string text = format_log_event(event, LogFormat::text, {});
  require(is_one_line(text), "a line of text is one line of printable ASCII");
  require(text.size() < 200 + 4 * (message.size() + 2 * max_value_size), "values are cut");

  const std::string json = format_log_event(event, LogFormat::json, {});
  require(is_one_line(json), "a line of JSON is one line of printable ASCII");
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  require(parsed.is_object() && parsed.value("event", "") == "handler_failed", "a line of JSON is an object");
  for (const auto& [name, value] : {std::pair{"peer", first}, std::pair{"error", second}})
    if (value.size() <= max_value_size && is_valid_utf8(value))
      require(parsed.value(name, "") == value, "text comes back as it was");
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider provider{data, size};
  squall::check_line(provider);
  const std::string bytes{reinterpret_cast<const char*>(data), size};
  const std::string escaped = squall::escape_bytes(bytes);
  squall::require(squall::is_one_line(escaped + '\n'), "escaped bytes are printable ASCII");
  return 0;
}
