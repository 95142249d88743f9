// SPDX-License-Identifier: BSD-3-Clause
//
// timer_queue.cpp
#include "net/timer_queue.hpp"

namespace squall {

TimerQueue::~TimerQueue() {
  for (Timer* timer : heap_)
    timer->loop_ = nullptr;
}

void TimerQueue::add(EventLoop& loop, Timer& timer, TimePoint when) {
  heap_.push_back(&timer);
  timer.loop_ = &loop;
  timer.when_ = when;
  timer.index_ = heap_.size() - 1;
  sift_up(timer.index_);
}

void TimerQueue::remove(Timer& timer) noexcept {
  const std::size_t index = timer.index_;
  timer.loop_ = nullptr;
  Timer* last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size())
    return;
  place(index, last);
  sift_up(index);
  sift_down(last->index_);
}

void TimerQueue::run_due(TimePoint now) {
  // A callback may arm a timer that is due at once: no more calls than there are timers now, so that it cannot hold
  // the turn for ever.
  std::size_t budget = heap_.size();
  while (budget-- > 0 && !heap_.empty() && first() <= now) {
    Timer& timer = *heap_.front();
    remove(timer);
    const std::function<void()> callback = timer.callback_; // the timer may go while it runs
    callback();
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
    if (heap_[parent]->when_ <= timer->when_)
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
    if (child + 1 < heap_.size() && heap_[child + 1]->when_ < heap_[child]->when_)
      ++child;
    if (timer->when_ <= heap_[child]->when_)
      break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, timer);
}

} // namespace squall
