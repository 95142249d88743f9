// SPDX-License-Identifier: BSD-3-Clause
//
// memory_budget.hpp: one bound for the buffers of many streams, such as all those of a server.
//
// Streams whose StreamOptions name the same budget count there what they hold, in steps of 4 KiB rounded down, so that
// those that hold less count nothing, cost nothing and are never held back. Unread bytes count as themselves, or as two
// thirds of their block where that is more; unsent bytes as the memory that they keep; and each queued piece, each
// write and each wait that is not answered has a price (docs/streams.md, Memory). What a read has handed out, buffers
// of a ReadInto, files and the state of TLS do not count.
//
// The more is held, the more is done about it:
//   - beyond limit(), the biggest receive nothing: those whose size has the highest power of two that there is. Their
//     peers wait, as TCP has it; everybody else goes on, and they do, too, as soon as the rest is within the limit, or
//     they are not among the biggest any more.
//   - beyond limit() and an eighth of it, no stream that counts receives, and listeners let nobody in: see
//     ListenerLimits::when_full.
//   - a stream that is held back for patience() and is one of the biggest closes (CloseReason::limit, real error
//     StreamErrc::memory_budget): its unread bytes and those of its unsent ones that it does not answer for are
//     dropped. So nothing waits for ever for bytes, or for a peer, that never come. This is so for one that only
//     writes, too.
// What handlers write is bounded by StreamOptions::max_write_buffer_size, not by the budget.
//
// A budget should be several times the largest message: a stream that needs more than all of it for one read closes.
//
// Threads    Any; its streams may be of several loops.
// Ownership  Shared by whoever made it and its streams.
// Units      Sizes are bytes.
#pragma once

#include <squall/net/event_loop.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace squall {

class MemoryBudget {
public:
  static constexpr Duration default_patience = std::chrono::seconds{10};

  /// @param limit  0: streams that hold a step or more are held back at once
  explicit MemoryBudget(std::size_t limit, Duration patience = default_patience) noexcept
      : limit_{limit}, patience_{patience} {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] Duration patience() const noexcept { return patience_; }
  [[nodiscard]] std::size_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  /// Beyond the limit.
  [[nodiscard]] bool passed() const noexcept { return used() > limit_; }
  /// Beyond the limit and an eighth of it.
  [[nodiscard]] bool exhausted() const noexcept {
    const std::size_t used_now = used();
    return used_now > limit_ && used_now - limit_ > limit_ / 8;
  }
  /// Streams that were closed for it, ever.
  [[nodiscard]] std::uint64_t closed_count() const noexcept {
    return closed_.load(std::memory_order_relaxed);
  }

private:
  friend class MemoryShare;

  const std::size_t limit_;
  const Duration patience_;
  std::atomic<std::size_t> used_{0};
  std::atomic<std::uint64_t> closed_{0};
  std::array<std::atomic<std::uint32_t>, 64> streams_{}; ///< how many hold so many steps, by powers of two
};

} // namespace squall
