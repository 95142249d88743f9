// SPDX-License-Identifier: BSD-3-Clause
//
// read_buffer.cpp
#include "net/read_buffer.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace squall {

namespace {

/// What is taken keeps at most so much, or so many times its size; see bytes.hpp.
constexpr std::size_t page_size = 2048;
constexpr std::size_t most_waste = 8;

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
  // block, so that a block of one's own grows by twice that, and not once more with the next byte.
  shared_block_prepared_ = this->size() < 4 * size;
  if (shared_block_prepared_)
    return receive_block.get(size).data();
  if (block_->capacity() - end_ < size)
    grow(this->size() + std::max(this->size() / 2, size));
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
  Bytes taken = peek(size);
  drop(size);
  return taken;
}

Bytes ReadBuffer::peek(std::size_t size) noexcept {
  if (size == 0)
    return {};
  if (block_->capacity() > page_size && block_->capacity() / most_waste > size) {
    try {
      return copy_front(size);
    } catch (const std::bad_alloc&) { // then it shares the block
    }
  }
  return {*block_, begin_, size};
}

void ReadBuffer::drop(std::size_t size) noexcept {
  begin_ += size;
  if (empty())
    release();
}

Bytes ReadBuffer::copy_front(std::size_t size) {
  if (this->size() <= page_size) { // so is what follows
    grow(this->size());
    return {*block_, begin_, size};
  }
  if (size > page_size / 2 || begin_ > std::numeric_limits<std::uint32_t>::max())
    return view().substr(0, size);
  if (page_ == nullptr || begin_ < page_begin_ || begin_ + size > page_begin_ + page_->capacity()) {
    detail::Block* page = detail::Block::make(page_size);
    std::memcpy(page->data(), block_->data() + begin_, page_size);
    if (page_ != nullptr)
      page_->deref();
    page_ = page;
    page_begin_ = static_cast<std::uint32_t>(begin_);
  }
  return {*page_, begin_ - page_begin_, size};
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
  if (page_ != nullptr)
    page_->deref();
  page_ = nullptr;
}

void ReadBuffer::append_copy(const char* data, std::size_t size) {
  if (block_ == nullptr)
    grow(size);
  else if (block_->capacity() - end_ < size)
    grow(this->size() + std::max(this->size() / 2, size));
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
