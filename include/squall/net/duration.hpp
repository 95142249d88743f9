// SPDX-License-Identifier: BSD-3-Clause
//
// duration.hpp: the points and spans of time that the library reckons with.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>

namespace squall {

using TimePoint = std::chrono::steady_clock::time_point;

/// A span of the steady clock's time, as one says how long something may take. Any std::chrono::duration of whole
/// units converts to it, and none overflows: what is longer than a century counts as one, forwards and backwards, so
/// that milliseconds::max() means "for ever" and a sum with a point of time never wraps. It is a
/// std::chrono::duration and does all that one does.
class Duration : public std::chrono::steady_clock::duration {
public:
  using Base = std::chrono::steady_clock::duration;
  /// Twice as much, and the age of a machine, fit into Base.
  static constexpr Base longest = std::chrono::hours{24 * 36525};

  constexpr Duration() noexcept : Base{Base::zero()} {}
  constexpr explicit Duration(std::int64_t count) noexcept : Duration{Base{count}} {}
  template <class Rep, class Period>
  requires std::convertible_to<std::chrono::duration<Rep, Period>, Base>
  constexpr Duration(const std::chrono::duration<Rep, Period>& time) noexcept : Base{clamped(time)} {}

  [[nodiscard]] static constexpr Duration max() noexcept { return longest; }
  [[nodiscard]] static constexpr Duration min() noexcept { return -longest; }

  /// The same of any duration, as of std::chrono::duration<double>: rounded towards zero; what is not a number
  /// counts as the longest that has passed.
  template <class Rep, class Period>
  [[nodiscard]] static constexpr Duration of(const std::chrono::duration<Rep, Period>& time) noexcept {
    return Duration{clamped(time)};
  }

private:
  template <class Rep, class Period>
  [[nodiscard]] static constexpr Base clamped(const std::chrono::duration<Rep, Period>& time) noexcept {
    // The comparison itself must not overflow.
    using Wide = std::chrono::duration<double>;
    if (!(Wide{time} > Wide{-longest}))
      return -longest;
    return Wide{time} < Wide{longest} ? std::chrono::duration_cast<Base>(time) : longest;
  }
  [[nodiscard]] static constexpr Base clamped(const Base& time) noexcept {
    return time > longest ? longest : time < -longest ? -longest : time;
  }
};

} // namespace squall
