// SPDX-License-Identifier: BSD-3-Clause
//
// timer_queue.hpp: the armed timers of a loop, in a binary heap; each knows its place, so that arming and
// cancelling cost O(log n) and never search.
//
// Threads    The loop's.
#pragma once

#include <squall/net/event_loop.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace squall {

class TimerQueue {
public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  ~TimerQueue();

  /// @throws std::bad_alloc; the timer is not armed then
  void add(EventLoop& loop, Timer& timer, TimePoint when);
  void remove(Timer& timer) noexcept;

  [[nodiscard]] bool empty() const noexcept { return heap_.empty() && due_.empty(); }
  /// Whether run_due(now) would call one.
  [[nodiscard]] bool due(TimePoint now) const noexcept {
    return !due_.empty() || (!heap_.empty() && heap_.front()->when_ <= now);
  }
  /// How long it is from `now` until the first timer is due, at most `most`.
  [[nodiscard]] Duration wait_time(TimePoint now, Duration most) const noexcept;

  /// Calls the timers that are due at `now`, the earliest first. Those that a callback arms wait for the next
  /// call, so that it can neither hold the turn for ever nor overtake the others. After an exception the rest
  /// stays due.
  void run_due(TimePoint now);

private:
  [[nodiscard]] static bool before(const Timer& a, const Timer& b) noexcept;
  void collect_due(TimePoint now);
  void remove_from_heap(std::size_t index) noexcept;
  void place(std::size_t index, Timer* timer) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  std::vector<Timer*> heap_;
  std::vector<Timer*> due_;  ///< in the order of their times; nullptr where one was cancelled
  std::size_t next_due_ = 0; ///< those before it were called
  std::uint64_t sequence_ = 0;
};

} // namespace squall
