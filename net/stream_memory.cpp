// SPDX-License-Identifier: BSD-3-Clause
//
// stream_memory.cpp: what a stream has of a memory budget, and what it does when that is passed.
#include "net/stream_core.hpp"
#include "net/tell.hpp"

#include <algorithm>
#include <new>

namespace squall {

namespace {

/// How often a stream that counts looks whether it is one that must not stay: handlers may not read for long.
constexpr std::chrono::seconds look_time{1};

/// The same for one that is held back: after as long as it was, within these bounds.
constexpr std::chrono::milliseconds shortest_wait{10};
constexpr std::chrono::milliseconds longest_wait{100};

} // namespace

StreamCore::Memory::Memory(StreamCore& core, std::shared_ptr<MemoryBudget> budget)
    : share{std::move(budget)}, timer{[&core] { core.check_memory(); }} {}

void StreamCore::update_memory() noexcept {
  if (!memory_->share.hold(unread_.kept_size() + unsent_.kept_size() + writers_price() + waits_price()) ||
      memory_->share.size() == 0)
    return;
  if (transport_ == nullptr) // the loop may be gone
    return;
  if (!memory_->held_since && memory_->share.held_back())
    memory_->held_since = loop_.turn_time();
  if (!memory_->timer.armed())
    static_cast<void>(look_at_memory(look_time));
}

/// @returns false when there is no memory even for that
bool StreamCore::look_at_memory(Duration delay) noexcept {
  const TimePoint when = loop_.turn_time() + delay;
  if (memory_->timer.armed() && memory_->timer.when() <= when)
    return true;
  try {
    memory_->timer.start(loop_, when);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

/// A read must not receive now; it goes on by itself. Nothing more comes on a broken connection, and what it takes is
/// freed with it.
bool StreamCore::held_by_memory() noexcept {
  if (broken_ || !memory_->share.held_back())
    return false;
  const TimePoint now = loop_.turn_time();
  if (!memory_->held_since)
    memory_->held_since = now;
  return look_at_memory(std::clamp<Duration>(now - *memory_->held_since, shortest_wait, longest_wait));
}

/// The timer rings.
void StreamCore::check_memory() {
  const Guard guard{*this};
  const MemoryShare& share = memory_->share;
  const TimePoint now = loop_.now();
  if (!share.held_back())
    memory_->held_since.reset();
  else if (!memory_->held_since)
    memory_->held_since = now;
  else if (now - *memory_->held_since >= share.budget().patience() && share.is_biggest())
    return close_for_memory();
  if (share.size() > 0)
    static_cast<void>(look_at_memory(look_time));
  go_on(); // a read that is still held back makes the next look come sooner
}

/// The stream gives back what it holds.
void StreamCore::close_for_memory() {
  tell(LogLevel::warning, "memory_budget",
       "a stream closes: it held the most while the memory budget was passed", [&] {
         return LogFields{{"peer", to_string(peer_endpoint())},
                          {"held", std::to_string(memory_->share.size())},
                          {"used", std::to_string(memory_->share.budget().used())},
                          {"limit", std::to_string(memory_->share.budget().limit())}};
       });
  memory_->share.count_close();
  ReadCompletion* reader = reader_;
  leave_read();
  if (!unread_.empty()) {
    unread_.drop(unread_.size());
    read_ended_ = false; // what is cut must not pass for whole
    if (closed_) {
      reason_ = CloseReason::limit;
      real_error_ = StreamErrc::memory_budget;
    }
  }
  if (closed_)
    end_linger(CloseReason::limit);
  else
    shut(CloseReason::limit, StreamErrc::memory_budget);
  count_memory();
  if (reader != nullptr)
    reader->on_read(error());
}

} // namespace squall
