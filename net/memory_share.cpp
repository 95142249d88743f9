// SPDX-License-Identifier: BSD-3-Clause
//
// memory_share.cpp
#include "net/memory_share.hpp"

#include <bit>

namespace squall {

namespace {

/// Of a size of at least one step.
std::size_t power_of(std::size_t size) noexcept {
  return static_cast<std::size_t>(std::bit_width(size / MemoryShare::step)) - 1;
}

} // namespace

void MemoryShare::count(std::size_t rounded) noexcept {
  budget_->used_.fetch_add(rounded - size_, // modulo 2^n: may also take
                           std::memory_order_relaxed);
  const bool moves = size_ == 0 || rounded == 0 || power_of(size_) != power_of(rounded);
  if (moves && rounded > 0)
    budget_->streams_[power_of(rounded)].fetch_add(1, std::memory_order_relaxed);
  if (moves && size_ > 0)
    budget_->streams_[power_of(size_)].fetch_sub(1, std::memory_order_relaxed);
  size_ = rounded;
}

bool MemoryShare::is_biggest() const noexcept {
  if (size_ == 0)
    return false;
  for (std::size_t power = power_of(size_) + 1; power < budget_->streams_.size(); ++power)
    if (budget_->streams_[power].load(std::memory_order_relaxed) > 0)
      return false;
  return true;
}

} // namespace squall
