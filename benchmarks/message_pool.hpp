// SPDX-License-Identifier: BSD-3-Clause
//
// message_pool.hpp: the messages that bench_load sends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace bench {

/// All message texts, made once and shared by all connections: a batch is a slice of it, nothing is copied.
/// Many different slices, so that an answer given to the wrong connection, or twice, is seen as wrong bytes.
class MessagePool {
public:
  MessagePool(std::size_t size, std::size_t depth) : size_{size} {
    constexpr std::size_t max_slices = 1024;
    constexpr std::size_t max_bytes = std::size_t{4} << 20;
    slice_count_ = std::clamp<std::size_t>(max_bytes / size, 1, max_slices);
    std::mt19937 random{20'011}; // fixed: every run sends the same
    std::uniform_int_distribution<int> printable{'!', '~'};
    text_.resize((slice_count_ + depth - 1) * size);
    for (std::size_t i = 0; i < text_.size(); ++i)
      text_[i] = (i + 1) % size == 0 ? '\n' : static_cast<char>(printable(random));
  }

  std::string_view slice(std::uint32_t random, std::size_t depth) const {
    const auto first = static_cast<std::size_t>((std::uint64_t{random} * slice_count_) >> 32);
    return std::string_view{text_}.substr(first * size_, depth * size_);
  }

private:
  std::size_t size_;
  std::size_t slice_count_;
  std::string text_;
};

} // namespace bench
