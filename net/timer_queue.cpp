// SPDX-License-Identifier: BSD-3-Clause
//
// timer_queue.cpp
#include "net/timer_queue.hpp"

#include "net/memory_reserve.hpp"

#include <algorithm>

namespace squall {

TimerQueue::~TimerQueue() {
  for (Timer* timer : heap_)
    timer->loop_ = nullptr;
  for (Timer* timer : due_)
    if (timer != nullptr)
      timer->loop_ = nullptr;
}

bool TimerQueue::before(const Timer& a, const Timer& b) noexcept {
  return a.when_ != b.when_ ? a.when_ < b.when_ : a.sequence_ < b.sequence_;
}

void TimerQueue::add(EventLoop& loop, Timer& timer, TimePoint when) {
  const ReserveUse use; // of what is put off and must come
  heap_.push_back(&timer);
  timer.loop_ = &loop;
  timer.when_ = when;
  timer.sequence_ = sequence_++;
  timer.index_ = heap_.size() - 1;
  timer.due_ = false;
  sift_up(timer.index_);
}

void TimerQueue::remove(Timer& timer) noexcept {
  timer.loop_ = nullptr;
  if (timer.due_)
    due_[timer.index_] = nullptr;
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
  if (heap_.empty())
    return most;
  const TimePoint first = heap_.front()->when_;
  return first <= now ? Duration{} : std::min<Duration>(most, first - now);
}

void TimerQueue::run_due(TimePoint now) {
  collect_due(now);
  while (next_due_ < due_.size()) {
    Timer* timer = due_[next_due_];
    if (timer == nullptr) {
      ++next_due_;
      continue;
    }
    const std::function<void()> callback = timer->callback_; // the timer may go while it runs
    remove(*timer);
    ++next_due_;
    callback();
  }
  due_.clear();
  next_due_ = 0;
}

void TimerQueue::collect_due(TimePoint now) {
  const ReserveUse use;
  while (!heap_.empty() && heap_.front()->when_ <= now) {
    Timer* timer = heap_.front();
    due_.push_back(timer);
    remove_from_heap(0);
    timer->due_ = true;
    timer->index_ = due_.size() - 1;
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
