// SPDX-License-Identifier: BSD-3-Clause
//
// memory_reserve.cpp
#include "net/memory_reserve.hpp"

#include <new>
#include <utility>

namespace squall {

namespace {

thread_local bool may_use = false;
thread_local MemoryReserve* current = nullptr;

std::new_handler handler_before = nullptr;

void find_memory() {
  if (may_use && current != nullptr && current->release())
    return; // and operator new tries again
  if (handler_before == nullptr)
    throw std::bad_alloc{};
  handler_before();
}

void install_handler() noexcept {
  static const bool installed = [] {
    handler_before = std::get_new_handler();
    std::set_new_handler(&find_memory);
    return true;
  }();
  static_cast<void>(installed);
}

} // namespace

MemoryReserve::MemoryReserve() {
  install_handler();
  take_parts();
  if (count_ < parts_.size()) {
    while (release()) {
    }
    throw std::bad_alloc{};
  }
}

MemoryReserve::~MemoryReserve() {
  while (release()) {
  }
}

void MemoryReserve::take_parts() noexcept {
  const ReserveUse none{false};
  while (count_ < parts_.size()) {
    void* const part = ::operator new(part_size, std::nothrow);
    if (part == nullptr)
      return;
    parts_[count_++] = part;
  }
}

bool MemoryReserve::release() noexcept {
  if (count_ == 0)
    return false;
  ::operator delete(std::exchange(parts_[--count_], nullptr));
  return true;
}

void MemoryReserve::require(std::size_t count) {
  if (current == nullptr || current->count_ >= count)
    return;
  current->refill();
  if (current->count_ < count)
    throw std::bad_alloc{};
}

MemoryReserve* MemoryReserve::set_current(MemoryReserve* reserve) noexcept {
  return std::exchange(current, reserve);
}

ReserveUse::ReserveUse(bool allowed) noexcept : before_{std::exchange(may_use, allowed)} {}

ReserveUse::~ReserveUse() { may_use = before_; }

} // namespace squall
