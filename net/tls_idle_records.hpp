// SPDX-License-Identifier: BSD-3-Clause
//
// tls_idle_records.hpp: how many records without a byte of the application a peer may send.
//
// Each costs a decryption; a KeyUpdate (RFC 8446, 4.6.3) costs as much as many kilobytes of data,
// and OpenSSL counts none of them. Bytes between them give nothing back, since a single one is as cheap.
#pragma once

#include <algorithm>
#include <chrono>
#include <utility>

namespace squall {

/// So many at once, and again one for each tenth of a second that has passed; one more closes the connection.
inline constexpr int max_idle_records = 32;

class TLSIdleRecords {
public:
  using TimePoint = std::chrono::steady_clock::time_point;

  /// The next record begins; `now` is called when the one before it had no bytes. @returns false when that was one too many
  template <class Now>
  bool begin_record(Now now) noexcept {
    if (std::exchange(open_, true))
      flooded_ = flooded_ || !spend(now());
    return !flooded_;
  }
  /// The record had bytes of the application.
  void gave_bytes() noexcept { open_ = false; }

  [[nodiscard]] bool flooded() const noexcept { return flooded_; }

private:
  bool spend(TimePoint now) noexcept {
    constexpr std::chrono::milliseconds each{100};
    const auto passed = std::max<std::chrono::nanoseconds>(now - counted_at_, {}) / each;
    counted_at_ = passed < used_ ? counted_at_ + passed * each : now;
    used_ = passed < used_ ? used_ - static_cast<int>(passed) : 0;
    return ++used_ <= max_idle_records;
  }

  TimePoint counted_at_{};
  int used_ = 0;
  bool open_ = false; ///< a record has begun, and gave no bytes until now
  bool flooded_ = false;
};

} // namespace squall
