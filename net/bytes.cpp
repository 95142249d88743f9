// SPDX-License-Identifier: BSD-3-Clause
//
// bytes.cpp: blocks and slices of them.
#include <squall/net/bytes.hpp>

#include <algorithm>
#include <cstring>
#include <new>

namespace squall {

namespace detail {

Block* Block::make(std::size_t capacity) {
  void* memory = ::operator new(sizeof(Block) + capacity);
  return new (memory) Block{capacity};
}

void Block::destroy(Block* block) noexcept {
  block->~Block();
  ::operator delete(block);
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
    : block_{size == 0 ? nullptr : detail::Block::make(size)}, size_{size} {}

} // namespace squall
