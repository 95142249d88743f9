// SPDX-License-Identifier: BSD-3-Clause
//
// log_limiter.hpp: how many events of one name pass to the log.
//
// A token bucket for each name. It starts full, an event takes one token, an event that finds none is
// swallowed and counted, and the next one that passes tells the count.
//
// Threads    One at a time: the caller locks.
// Order      Times may come out of order, as threads read the clock before they lock: an earlier one adds
//            nothing.
// Lifetime   Names are kept for good, at most max_name_count of them; further ones share one bucket.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace squall {

class RateLimiter {
public:
  using TimePoint = std::chrono::steady_clock::time_point;

  static constexpr std::size_t max_name_count = 256;

  RateLimiter(double per_second, double burst) { set_rate(per_second, burst); }

  /// A rate that is not above 0, or not finite, lets everything pass; a burst below 1 counts as 1. Fills
  /// every bucket and forgets no count.
  void set_rate(double per_second, double burst) {
    limited_ = std::isfinite(per_second) && per_second > 0;
    per_second_ = per_second;
    burst_ = std::max(1.0, burst); // 1 for NaN too: max returns its first argument then
    for (auto& entry : buckets_)
      entry.second.tokens = burst_;
    others_.tokens = burst_;
  }

  /// None: swallow this event. Else how many of its name were swallowed since the last that passed.
  std::optional<std::uint64_t> admit(std::string_view name, TimePoint now) {
    Bucket& bucket = bucket_of(name, now);
    refill(bucket, now);
    if (limited_ && bucket.tokens < 1) {
      ++bucket.suppressed;
      return std::nullopt;
    }
    bucket.tokens -= limited_ ? 1 : 0;
    return std::exchange(bucket.suppressed, 0);
  }

private:
  struct Bucket {
    double tokens;
    TimePoint filled;
    std::uint64_t suppressed = 0;
  };

  Bucket& bucket_of(std::string_view name, TimePoint now) {
    if (const auto found = buckets_.find(name); found != buckets_.end())
      return found->second;
    if (buckets_.size() >= max_name_count)
      return others_;
    return buckets_.emplace(name, Bucket{burst_, now}).first->second;
  }

  void refill(Bucket& bucket, TimePoint now) const {
    if (now <= bucket.filled)
      return;
    const std::chrono::duration<double> passed = now - bucket.filled;
    bucket.filled = now;
    if (limited_)
      bucket.tokens = std::min(burst_, bucket.tokens + passed.count() * per_second_);
  }

  bool limited_ = true;
  double per_second_ = 0;
  double burst_ = 1;
  std::map<std::string, Bucket, std::less<>> buckets_;
  Bucket others_{1, TimePoint{}};
};

} // namespace squall
