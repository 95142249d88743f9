// SPDX-License-Identifier: BSD-3-Clause
//
// bytes.cpp: blocks and slices of them.
#include <squall/net/bytes.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace squall {

namespace detail {

namespace {

/// The system copies to and from whole cache lines faster; worth the padding where much is copied.
constexpr std::size_t cache_line = 64;
constexpr std::size_t padding_of(std::size_t capacity) noexcept {
  return capacity >= 16 * 1024 ? cache_line - sizeof(Block) : 0;
}

} // namespace

Block* Block::make(std::size_t capacity, bool changeable) {
  if (capacity > std::numeric_limits<std::size_t>::max() / 4) // with its head it would wrap
    throw std::bad_alloc{};
  const std::size_t padding = padding_of(capacity);
  char* memory =
      static_cast<char*>(padding == 0 ? ::operator new(sizeof(Block) + capacity)
                                      : ::operator new (cache_line + capacity, std::align_val_t{cache_line}));
  return new (memory + padding) Block{capacity, changeable};
}

void Block::destroy(Block* block) noexcept {
  const std::size_t padding = padding_of(block->capacity());
  char* memory = reinterpret_cast<char*>(block) - padding;
  block->~Block();
  if (padding == 0)
    ::operator delete(memory);
  else
    ::operator delete (memory, std::align_val_t{cache_line});
}

} // namespace detail

Bytes::Bytes(std::string_view text) : size_{text.size()} {
  if (text.empty())
    return;
  block_ = detail::Block::make(text.size());
  std::memcpy(block_->data(), text.data(), text.size());
  data_ = block_->data();
}

Bytes Bytes::slice(std::size_t offset, std::size_t count) const noexcept {
  Bytes result{*this};
  const std::size_t start = std::min(offset, size_);
  result.remove_prefix(start);
  result.size_ = std::min(count, result.size_);
  return result;
}

MutableBytes::MutableBytes(std::size_t size)
    : block_{size == 0 ? nullptr : detail::Block::make(size, true)}, size_{size} {}

} // namespace squall
