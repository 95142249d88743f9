// SPDX-License-Identifier: BSD-3-Clause
//
// memory_in_use.hpp: how much memory the process has from malloc(3), and whether that is known.
#pragma once

#include <cstddef>
#include <malloc.h>
#include <memory>

namespace squall::testing_support {

inline std::size_t memory_in_use() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

/// Not with the malloc of a sanitizer.
inline bool memory_is_told() {
  constexpr std::size_t size = 100'000;
  const std::size_t before = memory_in_use();
  const auto block = std::make_unique<char[]>(size);
  return memory_in_use() >= before + size;
}

} // namespace squall::testing_support
