// SPDX-License-Identifier: BSD-3-Clause
//
// timer_queue.cpp
#include "net/timer_queue.hpp"

#include "net/memory_reserve.hpp"

#include <algorithm>
#include <new>

namespace squall {

namespace {

/// Between two looks whether there is memory for the timers that have no place.
constexpr std::chrono::milliseconds place_time{10};

} // namespace

TimerQueue::~TimerQueue() {
  for (Timer* timer : heap_)
    timer->loop_ = nullptr;
  for (auto* timers : {&due_, &unplaced_})
    while (Timer* timer = timers->pop_front())
      timer->loop_ = nullptr;
}

bool TimerQueue::before(const Timer& a, const Timer& b) noexcept {
  return a.when_ != b.when_ ? a.when_ < b.when_ : a.sequence_ < b.sequence_;
}

void TimerQueue::add(EventLoop& loop, Timer& timer, TimePoint when) noexcept {
  timer.loop_ = &loop;
  timer.when_ = when;
  timer.sequence_ = sequence_++;
  if (!push(timer))
    unplaced_.push_back_if_unlinked(timer);
}

/// @returns false when there is no memory for it
bool TimerQueue::push(Timer& timer) noexcept {
  if (heap_.size() == heap_.capacity()) {
    const ReserveUse use; // of what is put off and must come
    try {
      heap_.reserve(std::max<std::size_t>(2 * heap_.size(), 8));
    } catch (const std::bad_alloc&) {
      return false;
    }
  }
  heap_.push_back(&timer);
  timer.index_ = heap_.size() - 1;
  sift_up(timer.index_);
  return true;
}

/// Finds a place for the timers that have none; those that are due need none.
void TimerQueue::place_rest(TimePoint now) noexcept {
  IntrusiveList<Timer> rest;
  rest.append(unplaced_);
  while (Timer* timer = rest.pop_front())
    if (!push(*timer))
      (timer->when_ <= now ? due_ : unplaced_).push_back_if_unlinked(*timer);
}

void TimerQueue::remove(Timer& timer) noexcept {
  timer.loop_ = nullptr;
  if (timer.linked())
    timer.unlink();
  else
    remove_from_heap(timer.index_);
}

void TimerQueue::remove_from_heap(std::size_t index) noexcept {
  Timer* last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size())
    return;
  place(index, last);
  sift_up(index);
  sift_down(last->index_);
}

Duration TimerQueue::wait_time(TimePoint now, Duration most) const noexcept {
  if (!due_.empty())
    return Duration::zero();
  if (!unplaced_.empty())
    most = std::min<Duration>(most, place_time);
  if (heap_.empty())
    return most;
  const TimePoint first = heap_.front()->when_;
  return first <= now ? Duration{} : std::min<Duration>(most, first - now);
}

void TimerQueue::run_due(TimePoint now) {
  collect_due(now);
  while (Timer* timer = due_.pop_front()) {
    std::function<void()> callback; // the timer may go while it runs
    try {
      callback = timer->callback_;
    } catch (...) {
      due_.push_back_if_unlinked(*timer);
      throw;
    }
    timer->loop_ = nullptr;
    callback();
  }
}

void TimerQueue::collect_due(TimePoint now) noexcept {
  if (!unplaced_.empty())
    place_rest(now);
  while (!heap_.empty() && heap_.front()->when_ <= now) {
    Timer* timer = heap_.front();
    remove_from_heap(0);
    due_.push_back_if_unlinked(*timer);
  }
}

void TimerQueue::place(std::size_t index, Timer* timer) noexcept {
  heap_[index] = timer;
  timer->index_ = index;
}

void TimerQueue::sift_up(std::size_t index) noexcept {
  Timer* timer = heap_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (before(*heap_[parent], *timer))
      break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, timer);
}

void TimerQueue::sift_down(std::size_t index) noexcept {
  Timer* timer = heap_[index];
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size())
      break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child]))
      ++child;
    if (before(*timer, *heap_[child]))
      break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, timer);
}

} // namespace squall
