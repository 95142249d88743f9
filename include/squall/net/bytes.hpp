// SPDX-License-Identifier: BSD-3-Clause
//
// bytes.hpp: an immutable, reference-counted run of bytes.
//
// A read hands out a slice of the block that the system filled; a write and an actor message take one without
// copying it.
//
// Threads    Distinct Bytes may be used by distinct threads, also when they share a block.
// Ownership  A slice keeps its whole block alive. What a read hands out keeps at most eight times its size, or 2 KiB
//            where that is more, so that a short line cannot hold a large buffer. Who keeps much less than it was
//            handed copies: Bytes{part.view()}.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

namespace squall {

namespace detail {

/// Reference-counted storage; the bytes follow the header.
class Block {
public:
  /// Storage for `capacity` bytes, with one reference. @throws std::bad_alloc
  static Block* make(std::size_t capacity, bool changeable = false);

  void ref() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void deref() noexcept {
    if (references_.load(std::memory_order_acquire) == 1 ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1)
      destroy(this);
  }
  [[nodiscard]] bool unique() const noexcept { return references_.load(std::memory_order_acquire) == 1; }
  [[nodiscard]] char* data() noexcept { return reinterpret_cast<char*>(this + 1); }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_ >> 1; }
  /// A MutableBytes shares it: its bytes may change while slices of it are held.
  [[nodiscard]] bool changeable() const noexcept { return (capacity_ & 1) != 0; }

private:
  Block(std::size_t capacity, bool changeable) noexcept : capacity_{capacity << 1 | (changeable ? 1 : 0)} {}
  static void destroy(Block* block) noexcept;

  std::atomic<std::size_t> references_{1};
  std::size_t capacity_; ///< times 2; plus 1 where it is changeable, so that the header stays small
};

} // namespace detail

class Bytes {
public:
  Bytes() noexcept = default;

  /// Copies `text`. @throws std::bad_alloc
  Bytes(std::string_view text);
  Bytes(const char* text) : Bytes{std::string_view{text}} {}
  Bytes(const std::string& text) : Bytes{std::string_view{text}} {}

  Bytes(const Bytes& other) noexcept : block_{other.block_}, data_{other.data_}, size_{other.size_} {
    if (block_ != nullptr)
      block_->ref();
  }
  Bytes(Bytes&& other) noexcept
      : block_{std::exchange(other.block_, nullptr)}, data_{std::exchange(other.data_, nullptr)},
        size_{std::exchange(other.size_, 0)} {}
  Bytes& operator=(Bytes other) noexcept {
    swap(other);
    return *this;
  }
  ~Bytes() {
    if (block_ != nullptr)
      block_->deref();
  }

  [[nodiscard]] const char* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::string_view view() const noexcept { return {data_, size_}; }
  operator std::string_view() const noexcept { return view(); }
  [[nodiscard]] std::string str() const { return std::string{view()}; }

  /// The bytes from `offset`, at most `count`, sharing the block; empty when `offset` is past the end.
  [[nodiscard]] Bytes slice(std::size_t offset, std::size_t count = std::string_view::npos) const noexcept;

  void swap(Bytes& other) noexcept {
    std::swap(block_, other.block_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  friend bool operator==(const Bytes& a, const Bytes& b) noexcept { return a.view() == b.view(); }
  template <class Text>
  requires std::convertible_to<const Text&, std::string_view>
  friend bool operator==(const Bytes& a, const Text& b) noexcept { return a.view() == std::string_view{b}; }

  /// For the library: a slice of `block`, adding a reference to it.
  Bytes(detail::Block& block, std::size_t offset, std::size_t size) noexcept
      : block_{&block}, data_{block.data() + offset}, size_{size} {
    block.ref();
  }

  /// For the library: takes in `next` when its bytes follow ours in the same block.
  bool try_extend(const Bytes& next) noexcept {
    if (block_ == nullptr || block_ != next.block_ || data_ + size_ != next.data_)
      return false;
    size_ += next.size_;
    return true;
  }

  /// For the library: whether somebody may change the bytes while they are held (MutableBytes::front).
  [[nodiscard]] bool changeable() const noexcept { return block_ != nullptr && block_->changeable(); }

  /// For the library: drops the first `count` bytes, at most all.
  void remove_prefix(std::size_t count) noexcept {
    data_ += count;
    size_ -= count;
  }

private:
  detail::Block* block_ = nullptr;
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A buffer of fixed size to read into; copies share it.
///
/// Ownership  The memory lives as long as one of its holders: the caller, or the stream that reads into it.
/// Threads    Who writes to it while a stream reads into it races with the stream.
/// Lifetime   A write of its bytes needs them until it is answered; then they may be changed, by a read, too.
class MutableBytes {
public:
  MutableBytes() noexcept = default; ///< of size 0
  /// @throws std::bad_alloc
  explicit MutableBytes(std::size_t size);
  MutableBytes(const MutableBytes& other) noexcept : block_{other.block_}, size_{other.size_} {
    if (block_ != nullptr)
      block_->ref();
  }
  MutableBytes(MutableBytes&& other) noexcept
      : block_{std::exchange(other.block_, nullptr)}, size_{std::exchange(other.size_, 0)} {}
  MutableBytes& operator=(MutableBytes other) noexcept {
    std::swap(block_, other.block_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~MutableBytes() {
    if (block_ != nullptr)
      block_->deref();
  }

  [[nodiscard]] char* data() const noexcept { return block_ == nullptr ? nullptr : block_->data(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// The first `count` bytes, at most all, sharing the memory: they change when the buffer is written again. A stream
  /// knows that of them and of every slice and copy, and answers a write of them only when they are copied or sent.
  [[nodiscard]] Bytes front(std::size_t count) const noexcept {
    return block_ == nullptr ? Bytes{} : Bytes{*block_, 0, count < size_ ? count : size_};
  }

private:
  detail::Block* block_ = nullptr;
  std::size_t size_ = 0;
};

} // namespace squall
