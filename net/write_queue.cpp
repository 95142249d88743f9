// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue.cpp
#include "net/write_queue.hpp"

#include <algorithm>
#include <new>

namespace squall {

void WriteQueue::append(Bytes&& data) {
  if (data.empty())
    return;
  const std::size_t count = data.size();
  const bool changeable = data.changeable();
  const bool extended =
      first_ < pieces_.size() && !pieces_.back().file && pieces_.back().bytes.try_extend(data);
  if (!extended) {
    make_room();
    pieces_.push_back({std::move(data), nullptr});
  }
  size_ += count;
  if (changeable)
    changeable_size_ += count;
}

bool WriteQueue::copy_changeable(std::size_t most) noexcept {
  if (changeable_size_ > most)
    return false;
  try {
    for (std::size_t i = first_; i < pieces_.size(); ++i) {
      Bytes& bytes = pieces_[i].bytes;
      if (!bytes.changeable())
        continue;
      bytes = Bytes{bytes.view()};
      changeable_size_ -= bytes.size();
    }
    return true;
  } catch (const std::bad_alloc&) { // those that are copied stay so
    return false;
  }
}

void WriteQueue::append_file(FileRange range) {
  const std::size_t count = range.size;
  if (count == 0)
    return;
  auto file = std::make_unique<FileRange>(std::move(range));
  make_room();
  pieces_.push_back({{}, std::move(file)});
  size_ += count;
  file_size_ += count;
}

/// Sent pieces at the front make room before the vector grows: a queue that never drains stays bounded. Half of them
/// at least, so that moving the rest stays linear in total.
void WriteQueue::make_room() {
  if (pieces_.size() < pieces_.capacity() || first_ <= pieces_.size() / 2)
    return;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
  first_ = 0;
}

std::size_t WriteQueue::gather(IoSlice* slices, std::size_t max_count) const noexcept {
  const std::size_t most = std::min(max_count, pieces_.size() - first_);
  std::size_t count = 0;
  for (; count < most && !pieces_[first_ + count].file; ++count)
    slices[count] = {pieces_[first_ + count].bytes.data(), pieces_[first_ + count].bytes.size()};
  return count;
}

void WriteQueue::advance(std::size_t count) noexcept {
  size_ -= count;
  sent_ += count;
  while (first_ < pieces_.size()) {
    Piece& piece = pieces_[first_];
    const std::size_t part = std::min(count, piece.size());
    count -= part;
    if (piece.file) {
      file_size_ -= part;
      piece.file->offset += part;
      piece.file->size -= part;
    } else {
      if (changeable_size_ > 0 && piece.bytes.changeable())
        changeable_size_ -= part;
      piece.bytes.remove_prefix(part);
    }
    if (piece.size() > 0)
      return;
    piece = Piece{};
    ++first_;
  }
  constexpr std::size_t kept_capacity = 4;
  pieces_.clear();
  first_ = 0;
  if (pieces_.capacity() > kept_capacity)
    std::vector<Piece>{}.swap(pieces_);
}

void WriteQueue::truncate(std::uint64_t position) noexcept {
  std::size_t dropped = position >= end() ? 0 : static_cast<std::size_t>(end() - std::max(position, begin()));
  size_ -= dropped;
  while (dropped > 0) {
    Piece& last = pieces_.back();
    const std::size_t part = std::min(dropped, last.size());
    dropped -= part;
    if (last.file) {
      file_size_ -= part;
      last.file->size -= part;
    } else {
      if (last.bytes.changeable())
        changeable_size_ -= part;
      last.bytes = last.bytes.slice(0, last.bytes.size() - part);
    }
    if (last.size() == 0)
      pieces_.pop_back();
  }
}

} // namespace squall
