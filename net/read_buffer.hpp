// SPDX-License-Identifier: BSD-3-Clause
//
// read_buffer.hpp: the unread bytes of a stream, first of its four parts.
//
// An empty buffer holds no memory: the system reads into a block of the thread, and what arrived moves to a
// block of its own size (or, where it fills the thread's block by half, keeps that block). Growth is
// geometric, so that the cost of receiving is linear however the bytes arrive.
//
// What is taken is a slice of the block, unless it would keep much more than itself: then it is a copy. Small ones are
// slices of a page, into which they are copied together, so that a thousand lines cost no thousand allocations.
//
// Threads    One thread; prepare() and commit() in one go, with no other buffer's prepare() between them.
#pragma once

#include <squall/net/bytes.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace squall {

class ReadBuffer {
public:
  ReadBuffer() noexcept = default;
  ReadBuffer(const ReadBuffer&) = delete;
  ReadBuffer& operator=(const ReadBuffer&) = delete;
  ~ReadBuffer() { release(); }

  [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
  [[nodiscard]] bool empty() const noexcept { return begin_ == end_; }
  [[nodiscard]] std::string_view view() const noexcept {
    return block_ == nullptr ? std::string_view{} : std::string_view{block_->data() + begin_, size()};
  }

  /// Where `size` bytes can be received. @throws std::bad_alloc
  char* prepare(std::size_t size);
  /// Takes in the first `size` bytes of what prepare() gave; 0 is fine. @throws std::bad_alloc
  void commit(std::size_t size);

  /// Takes the first `size` bytes out, at most all.
  Bytes take(std::size_t size) noexcept;

  /// The first `size` bytes, at most all, which stay unread.
  [[nodiscard]] Bytes peek(std::size_t size) noexcept;

  /// Drops the first `size` bytes, at most all.
  void drop(std::size_t size) noexcept;

  /// A fair price of the memory that it keeps: of a block, its bytes or two thirds of it, since it grows by a half.
  [[nodiscard]] std::size_t kept_size() const noexcept {
    const std::size_t block = block_ == nullptr ? 0 : block_->capacity();
    return std::max(size(), block / 3 * 2) + (page_ == nullptr ? 0 : page_->capacity());
  }

  /// Puts bytes back to the front. @throws std::bad_alloc
  void put_back(std::string_view bytes);

  /// Gives back memory that is large for what is unread; for a stream that is about to wait. Keeps everything
  /// where there is no memory for a smaller block.
  void shrink() noexcept;

private:
  void release() noexcept;
  void append_copy(const char* data, std::size_t size);
  void grow(std::size_t capacity);
  Bytes copy_front(std::size_t size);

  detail::Block* block_ = nullptr;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  detail::Block* page_ = nullptr; ///< a copy of the block's bytes from page_begin_ on, to its own end
  std::uint32_t page_begin_ = 0;
  bool shared_block_prepared_ = false; ///< prepare() gave the thread's block
};

} // namespace squall
