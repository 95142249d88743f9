// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue.cpp
#include "net/write_queue.hpp"

#include <algorithm>

namespace squall {

void WriteQueue::append(Bytes data) {
  if (data.empty())
    return;
  const std::size_t count = data.size();
  if (first_ == pieces_.size() || !pieces_.back().try_extend(data)) {
    // Sent pieces at the front make room before the vector grows: a queue that never drains stays bounded.
    // Half of them at least, so that moving the rest stays linear in total.
    if (pieces_.size() == pieces_.capacity() && first_ > pieces_.size() / 2) {
      pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
      first_ = 0;
    }
    pieces_.push_back(std::move(data));
  }
  size_ += count;
}

std::size_t WriteQueue::gather(IoSlice* slices, std::size_t max_count) const noexcept {
  const std::size_t count = std::min(max_count, pieces_.size() - first_);
  for (std::size_t i = 0; i < count; ++i)
    slices[i] = {pieces_[first_ + i].data(), pieces_[first_ + i].size()};
  return count;
}

void WriteQueue::advance(std::size_t count) noexcept {
  size_ -= count;
  sent_ += count;
  while (first_ < pieces_.size() && count >= pieces_[first_].size()) {
    count -= pieces_[first_].size();
    pieces_[first_++] = Bytes{};
  }
  if (first_ < pieces_.size()) {
    pieces_[first_].remove_prefix(count);
    return;
  }
  constexpr std::size_t kept_capacity = 4;
  pieces_.clear();
  first_ = 0;
  if (pieces_.capacity() > kept_capacity)
    std::vector<Bytes>{}.swap(pieces_);
}

void WriteQueue::truncate(std::uint64_t position) noexcept {
  std::size_t dropped = position >= end() ? 0 : static_cast<std::size_t>(end() - std::max(position, begin()));
  size_ -= dropped;
  while (dropped > 0) {
    Bytes& last = pieces_.back();
    if (dropped < last.size()) {
      last = last.slice(0, last.size() - dropped);
      return;
    }
    dropped -= last.size();
    pieces_.pop_back();
  }
}

} // namespace squall
