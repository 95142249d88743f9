// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue.cpp
#include "net/write_queue.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace squall {

namespace {

/// Pieces of this size are joined where there are so many, or where they stay.
constexpr std::size_t small_size = 512;
constexpr std::size_t many_pieces = 8;

constexpr std::size_t least_joint = 512;
constexpr std::size_t most_joint = 4096 - 32; // with its head no more than a page of the system

/// Slices up to this size are copied when they stay, since they may keep a block that is much larger.
constexpr std::size_t most_copied = 16 * 1024;

} // namespace

void WriteQueue::append(Bytes&& data, bool stays) {
  if (data.empty())
    return;
  const std::size_t count = data.size();
  const bool changeable = data.changeable();
  const std::size_t pieces = pieces_.size() - first_;
  if (pieces > 0 && !pieces_.back().file && pieces_.back().bytes.try_extend(data)) {
    changeable_size_ += changeable ? count : 0;
  } else if (count <= small_size && pieces > 0 && (stays || pieces >= many_pieces) && ends_small()) {
    join(data);
  } else {
    const bool copied = stays && count <= most_copied;
    if (copied)
      data = Bytes{data.view()};
    make_room();
    pieces_.push_back({std::move(data), nullptr});
    joint_ = nullptr;
    changeable_size_ += changeable && !copied ? count : 0;
  }
  size_ += count;
}

void WriteQueue::copy(Piece& piece) {
  const bool changeable = piece.bytes.changeable();
  piece.bytes = Bytes{piece.bytes.view()};
  changeable_size_ -= changeable ? piece.bytes.size() : 0;
  if (&piece == &pieces_[first_]) // what was sent of it is not kept any more
    front_sent_ = 0;
}

bool WriteQueue::copy_changeable(std::size_t most) noexcept {
  if (changeable_size_ > most)
    return false;
  try {
    for (std::size_t i = first_; i < pieces_.size(); ++i)
      if (pieces_[i].bytes.changeable())
        copy(pieces_[i]);
    return true;
  } catch (const std::bad_alloc&) { // those that are copied stay so
    return false;
  }
}

/// The last piece is a joint block, or one for which it pays to begin one.
bool WriteQueue::ends_small() const noexcept {
  return joint_ != nullptr || (!pieces_.back().file && pieces_.back().bytes.size() <= small_size);
}

/// Copies bytes behind the last piece, where that is a joint block with room, or into a new one.
void WriteQueue::join(std::string_view small) {
  if (joint_room() < small.size()) {
    const std::size_t capacity = std::max(
        small.size(), joint_ == nullptr ? least_joint : std::min(2 * joint_->capacity(), most_joint));
    make_room();
    detail::Block* block = detail::Block::make(capacity);
    Piece joint{Bytes{*block, 0, 0}, nullptr};
    block->deref(); // the piece has a reference
    pieces_.push_back(std::move(joint));
    joint_ = block;
    joint_used_ = 0;
  }
  std::memcpy(joint_->data() + joint_used_, small.data(), small.size());
  pieces_.back().bytes.try_extend(Bytes{*joint_, joint_used_, small.size()});
  joint_used_ += static_cast<std::uint32_t>(small.size());
}

void WriteQueue::tighten() noexcept {
  const auto copy_at = [this](std::size_t place) {
    const bool is_joint = place + 1 == pieces_.size() && joint_ != nullptr;
    try {
      if (!is_joint)
        copy(pieces_[place]);
    } catch (const std::bad_alloc&) { // it stays as it is
    }
  };
  // What is left of the first piece is copied when three quarters are sent: a copy whenever it is halved would be too dear.
  if (first_ < pieces_.size() && front_sent_ > 3 * pieces_[first_].bytes.size() + 64)
    copy_at(first_);
  for (tight_ = std::max(tight_, first_); tight_ < pieces_.size(); ++tight_)
    if (pieces_[tight_].bytes.size() <= most_copied && !pieces_[tight_].file)
      copy_at(tight_);
}

void WriteQueue::append_file(FileRange range) {
  const std::size_t count = range.size;
  if (count == 0)
    return;
  auto file = std::make_unique<FileRange>(std::move(range));
  make_room();
  pieces_.push_back({{}, std::move(file)});
  joint_ = nullptr;
  size_ += count;
  file_size_ += count;
}

/// Sent pieces at the front make room before the vector grows: a queue that never drains stays bounded. Half of them
/// at least, so that moving the rest stays linear in total.
void WriteQueue::make_room() {
  if (pieces_.size() < pieces_.capacity() || first_ <= pieces_.size() / 2)
    return;
  pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(first_));
  tight_ = std::max(tight_, first_) - first_;
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
      front_sent_ = static_cast<std::uint32_t>(
          std::min<std::size_t>(front_sent_ + part, std::numeric_limits<std::uint32_t>::max()));
    }
    if (piece.size() > 0)
      return;
    piece = Piece{};
    front_sent_ = 0;
    ++first_;
  }
  constexpr std::size_t kept_capacity = 4;
  pieces_.clear();
  first_ = tight_ = 0;
  joint_ = nullptr;
  if (pieces_.capacity() > kept_capacity)
    std::vector<Piece>{}.swap(pieces_);
}

void WriteQueue::truncate(std::uint64_t position) noexcept {
  std::size_t dropped = position >= end() ? 0 : static_cast<std::size_t>(end() - std::max(position, begin()));
  size_ -= dropped;
  joint_ = nullptr;
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
  tight_ = std::min(tight_, static_cast<std::uint32_t>(pieces_.size()));
  if (empty())
    front_sent_ = 0;
}

} // namespace squall
