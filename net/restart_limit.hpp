// SPDX-License-Identifier: BSD-3-Clause
//
// restart_limit.hpp: when a child process that ended abnormally is started anew, and when no more.
#pragma once

#include <squall/net/event_loop.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

namespace squall {

/// Counts the restarts of one child within a window that ends now.
class RestartLimit {
public:
  static constexpr std::chrono::minutes window{10};
  static constexpr std::chrono::milliseconds first_delay{10};
  static constexpr std::chrono::milliseconds longest_delay{1000};

  explicit RestartLimit(std::size_t max_restarts) noexcept : max_restarts_{max_restarts} {}

  /// The child ended abnormally. @returns how long its restart, which counts from now on, waits; nothing: give up
  std::optional<Duration> next(TimePoint now) {
    while (!restarts_.empty() && now - restarts_.front() >= window)
      restarts_.pop_front();
    if (restarts_.size() >= max_restarts_)
      return std::nullopt;
    const Duration delay = delay_after(restarts_.size());
    restarts_.push_back(now);
    return delay;
  }

  /// Restarts within the window, as of the last call of next().
  [[nodiscard]] std::size_t count() const noexcept { return restarts_.size(); }

private:
  static Duration delay_after(std::size_t restarts) noexcept {
    constexpr std::size_t doublings = 7; // the delay is at its longest then
    if (restarts == 0)
      return Duration::zero();
    return std::min<Duration>(longest_delay, first_delay * (1 << std::min(restarts - 1, doublings)));
  }

  std::size_t max_restarts_;
  std::deque<TimePoint> restarts_;
};

} // namespace squall
