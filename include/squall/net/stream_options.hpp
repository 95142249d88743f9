// SPDX-License-Identifier: BSD-3-Clause
//
// stream_options.hpp: the limits of one stream.
//
// Units      Sizes are bytes.
// Lifetime   A stream takes a copy of its options when it is made; changing them later changes new streams only.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

namespace squall {

class MemoryBudget;

/// Probes of an idle TCP connection, so that a peer that vanished shows; see tcp(7). What is beyond a bound counts as
/// the bound.
struct KeepAlive {
  std::chrono::seconds idle{60};     ///< without traffic until the first probe (TCP_KEEPIDLE); 1 to 32767
  std::chrono::seconds interval{10}; ///< between two probes (TCP_KEEPINTVL); 1 to 32767
  int count = 5;                     ///< unanswered probes that break the connection (TCP_KEEPCNT); 1 to 127
  /// How long sent bytes may stay unacknowledged before the connection breaks (TCP_USER_TIMEOUT); 0: as the system
  /// has it, which is about 15 minutes.
  std::chrono::milliseconds user_timeout{0};

  friend bool operator==(const KeepAlive&, const KeepAlive&) = default;
};

struct StreamOptions {
  /// Upper bound of the unread bytes that a stream keeps; at least 2. A read that would need more fails and
  /// closes the stream (CloseReason::limit, real error StreamErrc::buffer_full).
  std::size_t max_buffer_size = 100 * 1024 * 1024;

  /// The max_bytes of a read_until or read_until_regex that names none, for protection against a peer that never
  /// ends its line; 0: max_buffer_size, as in Tornado.
  std::size_t default_max_bytes = 0;

  /// Size of one read from the transport; at least 1. The effective value is at most max_buffer_size / 2.
  std::size_t read_chunk_size = 64 * 1024;

  /// Upper bound of the unsent bytes that a stream keeps, and of what it costs to keep them beyond the first 16 KiB of
  /// that: a price for each piece and each write that is not answered. Waits for events are bounded alike, apart. At
  /// least 1. A write or a wait that would pass it is refused with StreamErrc::buffer_full: nothing of it is queued and
  /// the stream stays open.
  std::size_t max_write_buffer_size = 100 * 1024 * 1024;

  /// A stream with more unsent bytes than the high mark is not writable (IOStream::writable) until the low mark is
  /// reached: for producers that pause (IOStream::wait_writable). They limit nothing. The low mark counts as at most
  /// the high mark.
  std::size_t write_high_water_mark = 1024 * 1024;
  std::size_t write_low_water_mark = 256 * 1024;

  /// How long a closed stream goes on handing over bytes whose write was already answered (see IOStream::write) before
  /// it drops them, and takes what the peer still sends until its end (at most 16 MiB, and not after 2 s without); 0:
  /// not at all.
  std::chrono::milliseconds linger_timeout{10'000};

  /// What the end of the peer's side means. false, as in Tornado: the end of both sides; the stream closes.
  /// true: the end of input only; reads fail with CloseReason::peer_closed when everything is read, writes go
  /// on, and the stream closes when shutdown_write has ended its own side, too.
  bool half_close = false;

  /// Closes the stream (CloseReason::timed_out) when no byte has been received or sent for so long since it was
  /// connected; 0: never. Bytes that nobody reads are not received: who holds a peer back for longer is idle, too.
  std::chrono::milliseconds idle_timeout{0};

  /// TCP_NODELAY: true sends small writes at once. Squall gathers the writes of a turn itself, so that
  /// Nagle's algorithm would only add delay; Tornado's default is false. Ignored where the transport is not
  /// TCP.
  bool nodelay = true;

  /// Probes of an idle connection; none: no probes. Ignored where the transport is not TCP.
  std::optional<KeepAlive> keep_alive = std::nullopt;

  /// Where the stream counts what it holds, together with others; see memory_budget.hpp. None: nowhere.
  /// With g++ 12 name options that have one before a co_await (docs/decisions/0009).
  std::shared_ptr<MemoryBudget> memory_budget = nullptr;
};

/// Options that many streams share, which saves each a copy. @throws std::bad_alloc
[[nodiscard]] std::shared_ptr<const StreamOptions> share_options(const StreamOptions& options);

} // namespace squall
