// SPDX-License-Identifier: BSD-3-Clause
//
// process_signals.cpp
#include "actors/process_signals.hpp"

#include "net/descriptor.hpp"
#include "net/forced_end.hpp"
#include "net/parent_process.hpp"
#include "net/tell.hpp"
#include <squall/tcp_server.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <poll.h>
#include <stdexcept>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

// What the handler may use is lock-free, see signal-safety(7).
std::atomic<int> signal_event{-1};
std::atomic<std::int64_t> first_signal{
    0};                          ///< that terminates; milliseconds of the monotonic clock; 0: none came
std::atomic<bool> hangup{false}; ///< a SIGHUP that wait() has not told
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

/// Who sends a signal to a process and to its group (timeout(1) does) sends it twice: that is no second
/// signal.
constexpr std::int64_t second_signal_after = 100;

std::int64_t monotonic_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000 + 1;
}

void wake() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(signal_event.load(), &one, sizeof one);
}

void on_hangup(int) {
  const int saved = errno;
  hangup.store(true);
  wake();
  errno = saved;
}

// The timer of the end, and what it is set to; written before the handlers are there.
timer_t end_timer;
itimerspec end_time{};

void on_termination(int number, siginfo_t* info, void*) {
  if (info->si_code == SI_TIMER && info->si_value.sival_ptr == &end_timer)
    end_by_force();
  const int saved = errno;
  std::int64_t first = 0;
  const std::int64_t now = monotonic_milliseconds();
  if (first_signal.compare_exchange_strong(first, now)) {
    timer_settime(end_timer, 0, &end_time, nullptr);
    wake();
  } else if (now - first >= second_signal_after) {
    std::signal(number, SIG_DFL);
    std::raise(number); // delivered when this handler returns
  }
  errno = saved;
}

void make_end_timer(const EndTimes& times) {
  constexpr std::chrono::milliseconds shortest{1}; // 0 would disarm the timer
  constexpr std::chrono::milliseconds longest = std::chrono::hours{24 * 3650};
  const auto all = std::clamp(std::clamp(times.drain, {}, longest) + std::clamp(times.stop, {}, longest),
                              shortest, longest);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(all);
  end_time.it_value.tv_sec = seconds.count();
  end_time.it_value.tv_nsec = std::chrono::nanoseconds{all - seconds}.count();
  tell_parent_how_long_an_end_takes(all);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGTERM;
  event.sigev_value.sival_ptr = &end_timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &end_timer) != 0)
    throw std::system_error{errno, std::generic_category(), "timer_create"};
}

/// SIGINT, SIGTERM and SIGHUP.
sigset_t handled_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGHUP, SIGINT, SIGTERM})
    sigaddset(&set, number);
  return set;
}

} // namespace

ProcessSignals::ProcessSignals(const EndTimes& times) : event_{above_standard(eventfd(0, EFD_CLOEXEC))} {
  if (!event_)
    throw std::system_error{errno, std::generic_category(), "eventfd"};
  int none = -1;
  if (!signal_event.compare_exchange_strong(none, event_.fd()))
    throw std::logic_error{"another server of this process waits for the signals already"};
  try {
    make_end_timer(times);
  } catch (...) {
    signal_event.store(-1);
    throw;
  }
  first_signal.store(0);
  hangup.store(false);
  struct sigaction action {};
  action.sa_sigaction = on_termination;
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  sigaction(SIGINT, nullptr, &old_int_);
  handles_int_ = (old_int_.sa_flags & SA_SIGINFO) != 0 || old_int_.sa_handler != SIG_IGN;
  if (handles_int_)
    sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, &old_term_);
  action.sa_handler = on_hangup;
  action.sa_flags = SA_RESTART;
  sigaction(SIGHUP, &action, &old_hup_);
  const sigset_t handled = handled_signals();
  pthread_sigmask(SIG_UNBLOCK, &handled, &old_mask_);
}

ProcessSignals::~ProcessSignals() {
  pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  timer_delete(end_timer);
  sigaction(SIGHUP, &old_hup_, nullptr);
  if (handles_int_)
    sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGTERM, &old_term_, nullptr);
  signal_event.store(-1);
}

ProcessSignals::Wish ProcessSignals::wait() const {
  for (;;) {
    if (first_signal.load() != 0)
      return Wish::terminate;
    if (hangup.exchange(false))
      return Wish::reload;
    // poll(2) is never restarted after a handler (signal(7)); ThreadSanitizer runs a handler only when a call
    // returns.
    pollfd ready{event_.fd(), POLLIN, 0};
    while (poll(&ready, 1, -1) < 0 && errno == EINTR) {
    }
    std::uint64_t count = 0;
    while (read(event_.fd(), &count, sizeof count) < 0 && errno == EINTR) {
    }
  }
}

ProcessSignalsBlocked::ProcessSignalsBlocked() noexcept {
  const sigset_t handled = handled_signals();
  pthread_sigmask(SIG_BLOCK, &handled, &previous_);
}

ProcessSignalsBlocked::~ProcessSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }

void run_until_terminated(TCPServer& server, const ProcessSignals& signals,
                          std::chrono::milliseconds drain_timeout) {
  while (signals.wait() == ProcessSignals::Wish::reload)
    server.begin_reload_tls(); // a file may hold up the reload, but not the end
  if (drain_timeout > std::chrono::milliseconds::zero()) {
    set_end_stage("draining");
    try {
      const Drained drained = server.drain(drain_timeout);
      tell(drained.cut > 0 ? LogLevel::warning : LogLevel::debug, "drained",
           drained.cut > 0 ? "the time for draining was over; what was left is cut"
                           : "the server has drained",
           [&] {
             return LogFields{{"finished", std::to_string(drained.finished)},
                              {"idle", std::to_string(drained.idle)},
                              {"cut", std::to_string(drained.cut)}};
           });
    } catch (const std::exception& error) { // the end comes all the same
      tell(LogLevel::error, "drain_failed", "the server could not drain; its connections are cut", [&] {
        return LogFields{{"error", error.what()}};
      });
    }
  }
  set_end_stage("closing connections");
  server.shutdown();
}

} // namespace squall
