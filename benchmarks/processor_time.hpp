// SPDX-License-Identifier: BSD-3-Clause
//
// processor_time.hpp: reads the processor time of any process of this user.
//
// The kernel's own sum for the process, to the nanosecond: /proc/PID/stat counts in ticks of 10 ms, and the
// per-thread files lose what a thread did when it ends.
#pragma once

#include <cerrno>
#include <chrono>
#include <ctime>
#include <string>
#include <sys/types.h>
#include <system_error>

namespace bench {

/// The processor time of one process, all its threads, ended ones included.
class ProcessorTime {
public:
  explicit ProcessorTime(pid_t pid) {
    if (const int error = clock_getcpuclockid(pid, &clock_); error != 0)
      throw std::system_error(error, std::generic_category(),
                              "cannot read the processor time of process " + std::to_string(pid));
  }

  std::chrono::nanoseconds now() const {
    timespec time{};
    if (clock_gettime(clock_, &time) != 0)
      throw std::system_error(errno, std::generic_category(),
                              "cannot read a processor time, has its process ended?");
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
  }

private:
  clockid_t clock_{};
};

} // namespace bench
