// SPDX-License-Identifier: BSD-3-Clause
//
// memory_reserve.hpp: memory that a loop keeps for what must be done when there is no other: an answer, a close, a line
// of the log, the end.
//
// std::set_new_handler(3) is the way to it: the reserve lives while a loop does, and where an allocation of its thread fails
// inside a ReserveUse, a part of the reserve is given back to the heap and the allocation tried again. A handler that was set
// before is called in all other cases.
//
// Threads    The loop's; a ReserveUse on any thread, where without a loop it changes nothing.
#pragma once

#include <array>
#include <cstddef>

namespace squall {

/// A loop's.
class MemoryReserve {
public:
  /// @throws std::bad_alloc
  MemoryReserve();
  MemoryReserve(const MemoryReserve&) = delete;
  MemoryReserve& operator=(const MemoryReserve&) = delete;
  ~MemoryReserve();

  /// Takes what was given back, as far as there is memory. Costs a comparison where nothing was.
  void refill() noexcept {
    if (count_ < parts_.size())
      take_parts();
  }
  /// Gives a part back to the heap. @returns false when none is left
  bool release() noexcept;

  /// For what may be refused, so that the reserve is filled again: a new connection needs it whole, a receive half of it.
  /// @throws std::bad_alloc when the thread's reserve has less, and cannot be filled
  static void require_whole() { require(part_count); }
  static void require_half() { require(part_count / 2); }

  /// Makes `reserve`, or none, that of the thread. @returns the one before
  static MemoryReserve* set_current(MemoryReserve* reserve) noexcept;

private:
  static constexpr std::size_t part_size = 4096;
  static constexpr std::size_t part_count = 16;
  static void require(std::size_t count);
  void take_parts() noexcept;

  std::array<void*, part_count> parts_{};
  std::size_t count_ = 0; ///< parts that are there
};

/// While it lives, what the thread allocates may use the reserve of its loop; or, with `allowed` false, may not: for code of
/// users that runs inside.
class ReserveUse {
public:
  explicit ReserveUse(bool allowed = true) noexcept;
  ReserveUse(const ReserveUse&) = delete;
  ReserveUse& operator=(const ReserveUse&) = delete;
  ~ReserveUse();

private:
  bool before_;
};

} // namespace squall
