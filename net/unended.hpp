// SPDX-License-Identifier: BSD-3-Clause
//
// unended.hpp: what of the process has not ended, so that it can be told when the process is ended by force.
//
// Threads    Any, and signal handlers: everything is lock-free, in static storage, and never goes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

namespace squall::unended {

inline std::atomic<std::size_t> connections{0}; ///< of listeners
inline std::atomic<std::size_t> handlers{0};    ///< that are actors
inline std::atomic<std::size_t> lookups{0};     ///< of names, that the system has not answered
static_assert(std::atomic<std::size_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

/// Counts one while it lives.
class Counted {
public:
  explicit Counted(std::atomic<std::size_t>& count) noexcept : count_{count} { ++count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count_; }

private:
  std::atomic<std::size_t>& count_;
};

/// A loop, in a cache line of its own: it is written twice in each turn.
struct alignas(64) Loop {
  std::atomic<bool> taken{false};
  std::atomic<bool> busy{false}; ///< it is in a turn, and does not wait
};

inline std::array<Loop, 256> loops; ///< those that were made first; further ones are not told of

/// The place of a loop.
class LoopPlace {
public:
  LoopPlace() noexcept {
    for (Loop& loop : loops) {
      bool expected = false;
      if (!loop.taken.compare_exchange_strong(expected, true))
        continue;
      loop_ = &loop;
      return;
    }
  }
  LoopPlace(const LoopPlace&) = delete;
  LoopPlace& operator=(const LoopPlace&) = delete;
  ~LoopPlace() {
    if (loop_ != nullptr)
      loop_->taken = false;
  }
  void set_busy(bool busy) noexcept {
    if (loop_ != nullptr)
      loop_->busy.store(busy, std::memory_order_relaxed);
  }

private:
  Loop* loop_ = nullptr;
};

} // namespace squall::unended
