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

  /// Needs memory where there were never so many timers; without any the timer waits outside of the heap.
  void add(EventLoop& loop, Timer& timer, TimePoint when) noexcept;
  void remove(Timer& timer) noexcept;

  [[nodiscard]] bool empty() const noexcept { return heap_.empty() && due_.empty() && unplaced_.empty(); }
  /// Whether run_due(now) would call one.
  [[nodiscard]] bool due(TimePoint now) const noexcept {
    return !due_.empty() || !unplaced_.empty() || (!heap_.empty() && heap_.front()->when_ <= now);
  }
  /// How long it is from `now` until the first timer is due, at most `most`.
  [[nodiscard]] Duration wait_time(TimePoint now, Duration most) const noexcept;

  /// Calls the timers that are due at `now`, the earliest first. Those that a callback arms wait for the next
  /// call, so that it can neither hold the turn for ever nor overtake the others. After an exception the rest
  /// stays due.
  void run_due(TimePoint now);

private:
  [[nodiscard]] static bool before(const Timer& a, const Timer& b) noexcept;
  bool push(Timer& timer) noexcept;
  void place_rest(TimePoint now) noexcept;
  void collect_due(TimePoint now) noexcept;
  void remove_from_heap(std::size_t index) noexcept;
  void place(std::size_t index, Timer* timer) noexcept;
  void sift_up(std::size_t index) noexcept;
  void sift_down(std::size_t index) noexcept;

  std::vector<Timer*> heap_;
  IntrusiveList<Timer> due_;      ///< in the order of their times
  IntrusiveList<Timer> unplaced_; ///< for which the heap had no memory
  std::uint64_t sequence_ = 0;
};

} // namespace squall
