// SPDX-License-Identifier: BSD-3-Clause
//
// read_buffer.cpp
#include "net/read_buffer.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace squall {

namespace {

/// The block into which a thread receives; one for all its streams.
class ReceiveBlock {
public:
  ~ReceiveBlock() { reset(nullptr); }
  detail::Block& get(std::size_t size) {
    if (block_ == nullptr || block_->capacity() < size)
      reset(detail::Block::make(size));
    return *block_;
  }
  detail::Block* adopt() noexcept { return std::exchange(block_, nullptr); }

private:
  void reset(detail::Block* block) noexcept {
    if (block_ != nullptr)
      block_->deref();
    block_ = block;
  }
  detail::Block* block_ = nullptr;
};

thread_local ReceiveBlock receive_block;

} // namespace

char* ReadBuffer::prepare(std::size_t size) {
  // Bytes that accumulate beyond one read go straight to their place; everything smaller takes the thread's
  // block.
  shared_block_prepared_ = this->size() < size;
  if (shared_block_prepared_)
    return receive_block.get(size).data();
  if (block_->capacity() - end_ < size)
    grow(std::max(2 * this->size(), this->size() + size));
  return block_->data() + end_;
}

void ReadBuffer::commit(std::size_t size) {
  if (size == 0)
    return;
  if (!shared_block_prepared_) {
    end_ += size;
    return;
  }
  detail::Block& received = receive_block.get(size);
  if (empty() && size > received.capacity() / 2) {
    release();
    block_ = receive_block.adopt();
    end_ = size;
    return;
  }
  append_copy(received.data(), size);
}

Bytes ReadBuffer::take(std::size_t size) noexcept {
  if (size == 0)
    return {};
  Bytes taken{*block_, begin_, size};
  begin_ += size;
  if (empty())
    release();
  return taken;
}

Bytes ReadBuffer::peek(std::size_t size) const noexcept {
  return size == 0 ? Bytes{} : Bytes{*block_, begin_, size};
}

void ReadBuffer::put_back(std::string_view bytes) {
  if (bytes.empty())
    return;
  detail::Block* joined = detail::Block::make(bytes.size() + size());
  std::memcpy(joined->data(), bytes.data(), bytes.size());
  if (!empty())
    std::memcpy(joined->data() + bytes.size(), block_->data() + begin_, size());
  const std::size_t unread = bytes.size() + size();
  release();
  block_ = joined;
  end_ = unread;
}

void ReadBuffer::shrink() noexcept {
  constexpr std::size_t small = 512;
  if (block_ == nullptr || block_->capacity() <= small || block_->capacity() / 4 < size())
    return;
  try {
    grow(size());
  } catch (const std::bad_alloc&) {
  }
}

void ReadBuffer::release() noexcept {
  if (block_ != nullptr)
    block_->deref();
  block_ = nullptr;
  begin_ = end_ = 0;
}

void ReadBuffer::append_copy(const char* data, std::size_t size) {
  if (block_ == nullptr)
    grow(size);
  else if (block_->capacity() - end_ < size)
    grow(std::max(2 * this->size(), this->size() + size));
  std::memcpy(block_->data() + end_, data, size);
  end_ += size;
}

void ReadBuffer::grow(std::size_t capacity) {
  detail::Block* larger = detail::Block::make(capacity);
  const std::size_t unread = size();
  if (unread > 0)
    std::memcpy(larger->data(), block_->data() + begin_, unread);
  release();
  block_ = larger;
  end_ = unread;
}

} // namespace squall
