// SPDX-License-Identifier: BSD-3-Clause
//
// command_line.hpp: values of command line options.
#pragma once

#include <charconv>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

namespace bench {

using Duration = std::chrono::nanoseconds;

/// The command line is not a complete, sensible one.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class T>
T number(std::string_view name, std::string_view text, T low, T high) {
  T value{};
  const auto [parsed, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Written so that NaN is out of range too.
  if (error != std::errc{} || parsed != text.data() + text.size() || !(value >= low && value <= high))
    throw UsageError(std::string{name} + ": `" + std::string{text} + "` is not a number from " +
                     std::to_string(low) + " to " + std::to_string(high));
  return value;
}

inline Duration seconds(std::string_view name, std::string_view text) {
  const std::chrono::duration<double> value{number<double>(name, text, 0, 86400)};
  return std::chrono::duration_cast<Duration>(value);
}

} // namespace bench
