// SPDX-License-Identifier: BSD-3-Clause
//
// log_recorder.hpp: what a test sees of the log.
#pragma once

#include <squall/net/log.hpp>

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace squall::testing_support {

/// Records what is logged while it lives.
class LogRecorder {
public:
  struct Event {
    LogLevel level;
    std::string name;
    std::map<std::string, std::string> fields;
  };
  LogRecorder() {
    set_log_rate(0, 1);
    set_log_sink([this](const LogEvent& event) {
      const std::lock_guard lock{mutex_};
      events_.push_back({event.level, std::string{event.name}, {event.fields.begin(), event.fields.end()}});
    });
  }
  LogRecorder(const LogRecorder&) = delete;
  LogRecorder& operator=(const LogRecorder&) = delete;
  ~LogRecorder() { set_log_sink({}); }

  [[nodiscard]] std::vector<Event> events(std::string_view name) const {
    const std::lock_guard lock{mutex_};
    std::vector<Event> found;
    std::copy_if(events_.begin(), events_.end(), std::back_inserter(found),
                 [&](const Event& event) { return event.name == name; });
    return found;
  }
  [[nodiscard]] std::size_t count(std::string_view name) const { return events(name).size(); }

private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

} // namespace squall::testing_support
