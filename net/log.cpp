// SPDX-License-Identifier: BSD-3-Clause
//
// log.cpp: levels, rate, escaping and the default sink of the log.

#include "net/log_limiter.hpp"
#include <squall/net/log.hpp>

#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>
#include <optional>

namespace squall {

namespace {

constexpr std::size_t max_value_size = 128;

std::atomic<LogLevel> current_level{LogLevel::info};
std::atomic<LogFormat> current_format{LogFormat::text};

struct LogState {
  std::mutex limiter_mutex; // apart from the sink's, so that swallowed events do not wait for a slow sink
  RateLimiter limiter{10, 20};
  std::mutex sink_mutex;
  std::shared_ptr<const LogSink> sink; // null: the default one
};

/// Never destroyed: destructors of static objects may log.
LogState& log_state() {
  static LogState* const state = new LogState;
  return *state;
}

/// True in the thread that runs the sink, and so holds sink_mutex.
thread_local bool in_sink = false;

struct InSink {
  InSink() noexcept { in_sink = true; }
  ~InSink() { in_sink = false; }
  InSink(const InSink&) = delete;
  InSink& operator=(const InSink&) = delete;
};

// -- text

void append_hex(std::string& out, std::string_view prefix, unsigned value, int digits) {
  out += prefix;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(value >> shift) & 0xf];
}

bool is_printable_ascii(char c) noexcept { return c >= 0x20 && c < 0x7f; }

void append_escaped(std::string& out, char c) {
  switch (c) {
  case '\n':
    out += "\\n";
    break;
  case '\r':
    out += "\\r";
    break;
  case '\t':
    out += "\\t";
    break;
  case '"':
  case '\\':
    out += '\\';
    out += c;
    break;
  default:
    if (is_printable_ascii(c))
      out += c;
    else
      append_hex(out, "\\x", static_cast<unsigned char>(c), 2);
  }
}

/// For what the program itself says: as it is, but never more than one line.
void append_own_text(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (is_printable_ascii(c))
      out += c;
    else
      append_escaped(out, c);
  }
}

// -- JSON

struct CodePoint {
  unsigned value;
  std::size_t size; // in bytes; 0: what stands here is not valid UTF-8
};

/// The code point at the start of `bytes`, which is not empty. Strict: shortest form, no surrogates.
CodePoint decode_utf8(std::string_view bytes) noexcept {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const unsigned first = at(0);
  if (first < 0x80)
    return {first, 1};
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || bytes.size() < size)
    return {0, 0};
  unsigned value = first & (0x7fu >> size);
  for (std::size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80)
      return {0, 0};
    value = (value << 6) | (at(i) & 0x3f);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  const bool surrogate = value >= 0xd800 && value < 0xe000;
  return overlong || surrogate || value > 0x10ffff ? CodePoint{0, 0} : CodePoint{value, size};
}

/// Everything outside printable ASCII as \uNNNN: no terminal or line splitter takes it for anything else.
void append_json_code_point(std::string& out, unsigned value) {
  if (value >= 0x10000) {
    append_hex(out, "\\u", 0xd800 + ((value - 0x10000) >> 10), 4);
    append_hex(out, "\\u", 0xdc00 + ((value - 0x10000) & 0x3ff), 4);
  } else if (value == '"' || value == '\\' || value == '\n' || value == '\r' || value == '\t') {
    append_escaped(out, static_cast<char>(value));
  } else if (value >= 0x20 && value < 0x7f) {
    out += static_cast<char>(value);
  } else {
    append_hex(out, "\\u", value, 4);
  }
}

void append_json_string(std::string& out, std::string_view bytes,
                        std::size_t max_size = std::string_view::npos) {
  out += '"';
  std::size_t i = 0;
  while (i < bytes.size()) {
    const CodePoint point = decode_utf8(bytes.substr(i));
    const std::size_t size = point.size == 0 ? 1 : point.size;
    if (size > max_size - i)
      break;
    if (point.size == 0)
      append_hex(out, "\\\\x", static_cast<unsigned char>(bytes[i]), 2);
    else
      append_json_code_point(out, point.value);
    i += size;
  }
  out += i < bytes.size() ? "...\"" : "\"";
}

// -- lines

std::string_view level_name(LogLevel level) noexcept {
  switch (level) {
  case LogLevel::debug:
    return "debug";
  case LogLevel::info:
    return "info";
  case LogLevel::warning:
    return "warning";
  case LogLevel::error:
    return "error";
  case LogLevel::off:
    break;
  }
  return "off";
}

std::string utc_time(std::chrono::system_clock::time_point time) {
  namespace chrono = std::chrono;
  const auto day = chrono::floor<chrono::days>(time);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss clock{chrono::floor<chrono::milliseconds>(time - day)};
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return text;
}

std::string text_line(const LogEvent& event, std::chrono::system_clock::time_point time) {
  std::string line = utc_time(time);
  line += ' ';
  line += level_name(event.level);
  line += ' ';
  append_own_text(line, event.name);
  line += ": ";
  append_own_text(line, event.message);
  for (const auto& [name, value] : event.fields) {
    line += ' ';
    append_own_text(line, name);
    line += "=\"" + escape_bytes(value, max_value_size) + '"';
  }
  if (event.suppressed > 0)
    line += " suppressed=" + std::to_string(event.suppressed);
  line += '\n';
  return line;
}

std::string json_line(const LogEvent& event, std::chrono::system_clock::time_point time) {
  std::string line = "{\"time\":\"" + utc_time(time) + "\",\"level\":\"";
  line += level_name(event.level);
  line += "\",\"event\":";
  append_json_string(line, event.name);
  line += ",\"message\":";
  append_json_string(line, event.message);
  for (const auto& [name, value] : event.fields) {
    line += ',';
    append_json_string(line, name);
    line += ':';
    append_json_string(line, value, max_value_size);
  }
  if (event.suppressed > 0)
    line += ",\"suppressed\":" + std::to_string(event.suppressed);
  line += "}\n";
  return line;
}

/// Standard error has no buffer: the line leaves in one write, whole even where processes share the file.
void write_to_stderr(const LogEvent& event) {
  const auto format = current_format.load(std::memory_order_relaxed);
  const std::string line = format_log_event(event, format, std::chrono::system_clock::now());
  std::fwrite(line.data(), 1, line.size(), stderr);
}

// -- the way of an event

std::optional<std::uint64_t> admit(std::string_view name) {
  LogState& state = log_state();
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock{state.limiter_mutex};
  return state.limiter.admit(name, now);
}

void call_sink(const LogEvent& event) {
  LogState& state = log_state();
  std::shared_ptr<const LogSink> sink; // outlives the lock: a sink that replaces itself goes behind it
  const std::lock_guard lock{state.sink_mutex};
  const InSink mark;
  sink = state.sink;
  if (sink)
    (*sink)(event);
  else
    write_to_stderr(event);
}

} // namespace

void set_log_level(LogLevel level) noexcept { current_level.store(level, std::memory_order_relaxed); }

LogLevel log_level() noexcept { return current_level.load(std::memory_order_relaxed); }

void set_log_format(LogFormat format) noexcept { current_format.store(format, std::memory_order_relaxed); }

void set_log_sink(LogSink sink) {
  LogState& state = log_state();
  auto next = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  std::unique_lock lock{state.sink_mutex, std::defer_lock};
  if (!in_sink)
    lock.lock();
  state.sink.swap(next); // the old one goes behind the lock: its destructor may log
}

void set_log_rate(double per_second, double burst) {
  LogState& state = log_state();
  const std::lock_guard lock{state.limiter_mutex};
  state.limiter.set_rate(per_second, burst);
}

bool log_enabled(LogLevel level) noexcept { return level >= log_level() && level != LogLevel::off; }

void log_event(LogLevel level, std::string_view name, std::string_view message,
               const LogFields& fields) noexcept {
  if (!log_enabled(level) || in_sink)
    return;
  try {
    if (const auto suppressed = admit(name))
      call_sink(LogEvent{level, name, message, fields, *suppressed});
  } catch (...) { // a sink that throws, or no memory for a line
  }
}

std::string escape_bytes(std::string_view bytes, std::size_t max_size) {
  std::string out;
  for (const char c : bytes.substr(0, max_size))
    append_escaped(out, c);
  if (bytes.size() > max_size)
    out += "...";
  return out;
}

std::string format_log_event(const LogEvent& event, LogFormat format,
                             std::chrono::system_clock::time_point time) {
  return format == LogFormat::json ? json_line(event, time) : text_line(event, time);
}

} // namespace squall
