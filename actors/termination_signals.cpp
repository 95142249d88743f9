// SPDX-License-Identifier: BSD-3-Clause
//
// termination_signals.cpp
#include "actors/termination_signals.hpp"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

std::atomic<int> signal_event{-1}; // what the handler may use: lock-free, see signal-safety(7)
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  const int saved = errno;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(signal_event.load(), &one, sizeof one);
  errno = saved;
}

} // namespace

TerminationSignals::TerminationSignals() : event_{eventfd(0, EFD_CLOEXEC)} {
  if (!event_)
    throw std::system_error{errno, std::generic_category(), "eventfd"};
  int none = -1;
  if (!signal_event.compare_exchange_strong(none, event_.fd()))
    throw std::logic_error{"another server of this process waits for the signals already"};
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &old_int_);
  sigaction(SIGTERM, &action, &old_term_);
}

TerminationSignals::~TerminationSignals() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  signal_event.store(-1);
}

void TerminationSignals::wait() {
  std::uint64_t count = 0;
  while (read(event_.fd(), &count, sizeof count) < 0 && errno == EINTR) {
  }
}

} // namespace squall
