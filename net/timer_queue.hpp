// SPDX-License-Identifier: BSD-3-Clause
//
// timer_queue.hpp: the armed timers of a loop, in a binary heap; each knows its place, so that arming and cancelling
// cost O(log n) and never search.
//
// Threads    The loop's.
#pragma once

#include <cstddef>
#include <vector>

#include <squall/net/event_loop.hpp>

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

  [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }
  /// When the first timer is due; the queue must not be empty.
  [[nodiscard]] TimePoint first() const noexcept { return heap_.front()->when_; }

  /// Calls the timers that are due at `now`, at most as many as are armed when it begins.
  void run_due(TimePoint now);

private:
  void place(std::size_t index, Timer* timer) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  std::vector<Timer*> heap_;
};

} // namespace squall
