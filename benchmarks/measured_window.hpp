// SPDX-License-Identifier: BSD-3-Clause
//
// measured_window.hpp: what a load and its server do within a window of time.
#pragma once

#include "command_line.hpp"
#include "processor_time.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <sys/types.h>
#include <unistd.h>

namespace bench {

/// The warm-up, then the measured window.
class MeasuredWindow {
public:
  MeasuredWindow(pid_t server, Duration warm_up, Duration measured)
      : server_{server}, load_{getpid()}, begin_{Clock::now() + warm_up}, end_{begin_ + measured} {}

  /// To be told how much has been done. @returns false when the window is over
  bool goes_on(std::uint64_t count) {
    const auto now = Clock::now();
    if (!measuring_ && now >= begin_) {
      measuring_ = true;
      began_ = {now, count, server_.now(), load_.now()};
    }
    if (now < end_)
      return true;
    ended_ = {now, count, server_.now(), load_.now()};
    return false;
  }

  /// What was done, named `unit`, in how long, as JSON on stdout.
  void print(const char* unit) const {
    std::printf("{\"%s\": %llu, \"seconds\": %.6f, \"server_cpu_ns\": %lld, \"load_cpu_ns\": %lld}\n", unit,
                static_cast<unsigned long long>(ended_.count - began_.count),
                std::chrono::duration<double>(ended_.time - began_.time).count(),
                static_cast<long long>((ended_.server_cpu - began_.server_cpu).count()),
                static_cast<long long>((ended_.load_cpu - began_.load_cpu).count()));
  }

private:
  using Clock = std::chrono::steady_clock;
  struct Point {
    Clock::time_point time;
    std::uint64_t count = 0;
    Duration server_cpu{};
    Duration load_cpu{};
  };
  ProcessorTime server_;
  ProcessorTime load_;
  Clock::time_point begin_;
  Clock::time_point end_;
  bool measuring_ = false;
  Point began_;
  Point ended_;
};

} // namespace bench
