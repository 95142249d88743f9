// SPDX-License-Identifier: BSD-3-Clause
//
// latency_histogram.hpp: counts durations in buckets whose width grows with the value.
//
// Every power of two is cut into 128 equal buckets, so a percentile is at most 1/128 too high at any
// magnitude, recording is a few instructions, and the size does not depend on how much is recorded.
//
// Units  Nanoseconds.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace bench {

class LatencyHistogram {
public:
  void record(std::chrono::nanoseconds latency) {
    const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(latency.count(), 0));
    ++counts_[bucket_of(value)];
    ++count_;
    max_ = std::max(max_, value);
  }

  std::uint64_t count() const { return count_; }

  std::chrono::nanoseconds max() const { return as_duration(max_); }

  /// The value that the fraction `part` (0 to 1) of all records does not exceed; zero when there are none.
  std::chrono::nanoseconds percentile(double part) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(part * double(count_)));
    const auto rank = std::max<std::uint64_t>(wanted, 1);
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
      seen += counts_[bucket];
      if (seen >= rank)
        return as_duration(std::min(highest_in(bucket), max_));
    }
    return max();
  }

private:
  static constexpr unsigned precision_bits = 7;
  static constexpr std::size_t half = std::size_t{1} << precision_bits;
  static constexpr std::size_t bucket_count = (64 - precision_bits + 1) * half;

  // Values below 2 * half are their own bucket; above, the top precision_bits + 1 bits and the number of bits
  // dropped make the bucket.
  static std::size_t bucket_of(std::uint64_t value) {
    const unsigned width = static_cast<unsigned>(std::bit_width(value));
    const unsigned dropped = width > precision_bits + 1 ? width - precision_bits - 1 : 0;
    return half * dropped + static_cast<std::size_t>(value >> dropped);
  }

  static std::uint64_t highest_in(std::size_t bucket) {
    const std::size_t dropped = bucket < 2 * half ? 0 : bucket / half - 1;
    const std::uint64_t top = bucket - half * dropped;
    return ((top + 1) << dropped) - 1;
  }

  static std::chrono::nanoseconds as_duration(std::uint64_t value) {
    return std::chrono::nanoseconds{static_cast<std::int64_t>(value)};
  }

  std::array<std::uint64_t, bucket_count> counts_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

} // namespace bench
