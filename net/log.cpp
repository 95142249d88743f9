// SPDX-License-Identifier: BSD-3-Clause
//
// log.cpp: levels, rate, escaping and the default sink of the log.
//
// One thread at a time is with the sink. What others have to say meanwhile they leave to it, in a queue of limited length: so
// none of them ever waits.

#include "net/log_limiter.hpp"
#include "net/log_output.hpp"
#include "net/memory_reserve.hpp"
#include "net/never_destroyed.hpp"
#include <squall/net/log.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <unistd.h>

namespace squall {

namespace {

constexpr std::size_t max_value_size = 128;

std::atomic<LogLevel> current_level{LogLevel::info};
std::atomic<LogFormat> current_format{LogFormat::text};

/// How many events wait for the sink at most.
constexpr std::size_t max_waiting = 256;

/// An event that waits for its turn.
struct KeptEvent {
  explicit KeptEvent(const LogEvent& event)
      : level{event.level}, name{event.name}, message{event.message}, fields{event.fields},
        suppressed{event.suppressed} {}
  [[nodiscard]] LogEvent view() const noexcept { return {level, name, message, fields, suppressed}; }

  LogLevel level;
  std::string name;
  std::string message;
  LogFields fields;
  std::uint64_t suppressed;
};

struct LogState {
  std::mutex limiter_mutex;
  RateLimiter limiter{10, 20};

  std::mutex mutex; ///< of all below, but for what the thread that is `busy` alone uses; held for moments
  std::shared_ptr<const LogSink> sink; ///< null: the default one
  bool busy = false;                   ///< a thread hands events to the sink
  const LogSink* running = nullptr;    ///< a sink of the user's that is being called
  std::condition_variable returned;    ///< `running` has changed
  std::list<KeptEvent> waiting;        ///< not a deque, which allocates when it is made
  std::uint64_t dropped = 0;           ///< events that nobody got, and of which nobody was told

  LineOutput output{STDERR_FILENO}; ///< the busy thread's
};

/// Never destroyed: destructors of static objects may log. The first event of a program may be that it has no memory.
LogState& log_state() noexcept {
  static NeverDestroyed<LogState> state;
  return *state;
}

/// True in the thread that runs the sink.
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

bool write_to_stderr(const LogEvent& event) {
  return log_state().output.write(format_log_event(event, log_format(), std::chrono::system_clock::now()));
}

// -- the way of an event

std::optional<std::uint64_t> admit(std::string_view name) {
  LogState& state = log_state();
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock{state.limiter_mutex};
  return state.limiter.admit(name, now);
}

/// @returns whether it arrived
bool pass(const LogSink* sink, const LogEvent& event) noexcept {
  const InSink mark;
  try {
    if (sink == nullptr)
      return write_to_stderr(event);
    const ReserveUse none{false}; // who logs may use the reserve, code of users not
    (*sink)(event);
    return true;
  } catch (...) { // a sink that throws, or no memory for a line
    return false;
  }
}

bool tell_dropped(const LogSink* sink, std::uint64_t count) noexcept {
  try {
    const LogFields fields{{"count", std::to_string(count)}};
    return pass(sink, {LogLevel::warning, "log_lines_dropped", "lines of the log were dropped", fields, 0});
  } catch (const std::bad_alloc&) {
    return false;
  }
}

/// The caller is the busy thread; `lock` is open while the sink has the event.
void deliver(LogState& state, std::unique_lock<std::mutex>& lock, const LogEvent& event) noexcept {
  std::shared_ptr<const LogSink> sink = state.sink;
  state.running = sink.get();
  const std::uint64_t dropped = std::exchange(state.dropped, 0);
  lock.unlock();
  const bool told = dropped == 0 || tell_dropped(sink.get(), dropped);
  const bool passed = told && pass(sink.get(), event);
  lock.lock();
  state.dropped += (told ? 0 : dropped) + (passed ? 0 : 1);
  state.running = nullptr;
  state.returned.notify_all();
  if (sink.use_count() == 1) { // it was replaced; its destructor may log
    lock.unlock();
    {
      const ReserveUse none{false};
      sink.reset();
    }
    lock.lock();
  }
}

void keep(LogState& state, const LogEvent& event) noexcept {
  try {
    if (state.waiting.size() < max_waiting) {
      state.waiting.emplace_back(event);
      return;
    }
  } catch (const std::bad_alloc&) {
  }
  ++state.dropped;
}

void hand_over(const LogEvent& event) noexcept {
  LogState& state = log_state();
  std::unique_lock lock{state.mutex};
  if (state.busy)
    return keep(state, event);
  state.busy = true;
  deliver(state, lock, event);
  while (!state.waiting.empty()) {
    const KeptEvent next = std::move(state.waiting.front());
    state.waiting.pop_front();
    deliver(state, lock, next.view());
  }
  state.busy = false;
}

} // namespace

void set_log_level(LogLevel level) noexcept { current_level.store(level, std::memory_order_relaxed); }

LogLevel log_level() noexcept { return current_level.load(std::memory_order_relaxed); }

void set_log_format(LogFormat format) noexcept { current_format.store(format, std::memory_order_relaxed); }

LogFormat log_format() noexcept { return current_format.load(std::memory_order_relaxed); }

void set_log_sink(LogSink sink) {
  LogState& state = log_state();
  auto next = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  std::unique_lock lock{state.mutex};
  state.sink.swap(next); // the old one goes behind the lock: its destructor may log
  if (next != nullptr && !in_sink)
    state.returned.wait(lock, [&] { return state.running != next.get(); });
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
      hand_over(LogEvent{level, name, message, fields, *suppressed});
  } catch (const std::bad_alloc&) { // for a new name of the rate limit
    const std::lock_guard lock{log_state().mutex};
    ++log_state().dropped;
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
