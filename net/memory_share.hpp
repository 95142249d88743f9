// SPDX-License-Identifier: BSD-3-Clause
//
// memory_share.hpp: what one stream has of a MemoryBudget.
//
// Threads    One thread at a time; the budget is shared with others.
#pragma once

#include <squall/net/memory_budget.hpp>

#include <memory>
#include <utility>

namespace squall {

class MemoryShare {
public:
  static constexpr std::size_t step = 4096;

  explicit MemoryShare(std::shared_ptr<MemoryBudget> budget) noexcept : budget_{std::move(budget)} {}
  MemoryShare(const MemoryShare&) = delete;
  MemoryShare& operator=(const MemoryShare&) = delete;
  ~MemoryShare() { hold(0); }

  /// The stream holds `size` bytes now. @returns whether that changes what counts
  bool hold(std::size_t size) noexcept {
    const std::size_t rounded = size / step * step;
    if (rounded == size_)
      return false;
    count(rounded);
    return true;
  }
  [[nodiscard]] std::size_t size() const noexcept { return size_; } ///< what counts

  /// The stream is to receive nothing now.
  [[nodiscard]] bool held_back() const noexcept {
    return size_ > 0 && budget_->passed() && (budget_->exhausted() || is_biggest());
  }
  /// Nobody's size has a higher power of two.
  [[nodiscard]] bool is_biggest() const noexcept;

  void count_close() noexcept { budget_->closed_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] const MemoryBudget& budget() const noexcept { return *budget_; }

private:
  void count(std::size_t rounded) noexcept;

  std::shared_ptr<MemoryBudget> budget_;
  std::size_t size_ = 0;
};

} // namespace squall
