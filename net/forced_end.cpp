// SPDX-License-Identifier: BSD-3-Clause
//
// forced_end.cpp
#include "net/forced_end.hpp"

#include "net/exit_status.hpp"
#include "net/log_output.hpp"
#include "net/unended.hpp"
#include <squall/net/log.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <string_view>
#include <unistd.h>

namespace squall {

namespace {

std::atomic<const char*> end_stage{"serving"};
static_assert(std::atomic<const char*>::is_always_lock_free);

constexpr std::string_view message = "the server did not end within drain_timeout and stop_timeout";

/// A line in static room; what is too long for it is cut.
class Line {
public:
  Line& operator<<(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), text_.size() - size_);
    std::copy_n(text.data(), size, text_.data() + size_);
    size_ += size;
    return *this;
  }
  /// With at least `digits` digits.
  Line& add(std::size_t number, std::size_t digits = 1) noexcept {
    std::array<char, 20> reversed;
    std::size_t count = 0;
    for (; number > 0 || count < digits; number /= 10)
      reversed[count++] = static_cast<char>('0' + number % 10);
    std::reverse(reversed.begin(), reversed.begin() + static_cast<std::ptrdiff_t>(count));
    return *this << std::string_view{reversed.data(), count};
  }
  [[nodiscard]] std::string_view text() const noexcept { return {text_.data(), size_}; }

private:
  std::array<char, 2048> text_; // less than PIPE_BUF
  std::size_t size_ = 0;
};

/// As utc_time of the log, without the C library's formatting, which a signal handler may not call.
void add_time(Line& line) noexcept {
  namespace chrono = std::chrono;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const chrono::sys_seconds seconds{chrono::seconds{now.tv_sec}};
  const auto day = chrono::floor<chrono::days>(seconds);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss clock{seconds - day};
  const auto two = [&](auto number, std::string_view before) {
    line << before;
    line.add(static_cast<std::size_t>(number), 2);
  };
  line.add(static_cast<std::size_t>(static_cast<int>(date.year())), 4);
  two(static_cast<unsigned>(date.month()), "-");
  two(static_cast<unsigned>(date.day()), "-");
  two(clock.hours().count(), "T");
  two(clock.minutes().count(), ":");
  two(clock.seconds().count(), ":");
  line << ".";
  line.add(static_cast<std::size_t>(now.tv_nsec / 1'000'000), 3) << "Z";
}

void add_busy_loops(Line& line) noexcept {
  bool first = true;
  for (std::size_t i = 0; i < unended::loops.size(); ++i) {
    if (!unended::loops[i].taken.load() || !unended::loops[i].busy.load())
      continue;
    line << (first ? "" : ",");
    line.add(i);
    first = false;
  }
}

} // namespace

void set_end_stage(const char* stage) noexcept { end_stage = stage; }

void end_by_force() noexcept {
  const bool json = log_format() == LogFormat::json;
  Line line;
  const auto field = [&](std::string_view name) -> Line& {
    return line << (json ? ",\"" : " ") << name << (json ? "\":\"" : "=\"");
  };
  line << (json ? "{\"time\":\"" : "");
  add_time(line);
  line << (json ? "\",\"level\":\"error\",\"event\":\"ended_by_force\",\"message\":\""
                : " error ended_by_force: ")
       << message << (json ? "\"" : "");
  field("stage") << end_stage.load() << "\"";
  field("busy_loops");
  add_busy_loops(line);
  line << "\"";
  field("connections").add(unended::connections) << "\"";
  field("handlers").add(unended::handlers) << "\"";
  field("lookups").add(unended::lookups) << "\"";
  line << (json ? "}\n" : "\n");
  if (log_enabled(LogLevel::error))
    write_at_once(STDERR_FILENO, line.text());
  _exit(status_ended_by_force);
}

} // namespace squall
