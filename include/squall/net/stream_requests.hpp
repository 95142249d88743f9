// SPDX-License-Identifier: BSD-3-Clause
//
// stream_requests.hpp: what can be asked of a stream, as plain structs: the same for a call on an IOStream
// and for a message to a stream actor.
//
// Ownership  Requests own their bytes.
// Units      Sizes are bytes.
#pragma once

#include <squall/net/bytes.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/regex.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace squall {

/// How long an operation may take, from its start; absolute, however many bytes arrive meanwhile. 0 or less:
/// only what can be done at once.
using Timeout = std::optional<Duration>;
inline constexpr Timeout no_timeout = std::nullopt;

/// What a read does when it passes its max_bytes.
enum class LimitPolicy : std::uint8_t {
  close, ///< the stream closes (CloseReason::limit); protection against a peer that floods. The default
  keep,  ///< the read fails with StreamErrc::unsatisfiable_read; the stream stays open, every byte unread
};

// Errors of every read: StreamErrc::closed; already_reading; timed_out after `timeout` and cancelled by a
// cancel_read: then every byte stays unread and the stream is idle.

/// Reads exactly `num_bytes`, or, with `partial`, as soon as there is at least one byte and at most
/// `num_bytes`. 0 bytes are there at once, also on a closed stream.
/// @error StreamErrc::buffer_full when more than StreamOptions::max_buffer_size are asked for without
///         `partial`; nothing was started
struct ReadBytes {
  std::size_t num_bytes = 0;
  bool partial = false;
  Timeout timeout = no_timeout;

  friend bool operator==(const ReadBytes&, const ReadBytes&) = default;
};

/// Reads into a buffer of the caller, without a copy where nothing is unread: the whole buffer, or, with
/// `partial`, at least one byte. The outcome is the filled front of the buffer. The stream shares the buffer
/// while it reads, so that it may be let go at any time; bytes of a read that fails are unread again, and
/// what is in the buffer then means nothing.
struct ReadInto {
  MutableBytes buffer;
  bool partial = false;
  Timeout timeout = no_timeout;
};

/// Reads up to and including the first `delimiter`.
/// @error StreamErrc::closed with CloseReason::limit when it does not end within `max_bytes` (real error
///        StreamErrc::unsatisfiable_read) or within StreamOptions::max_buffer_size (StreamErrc::buffer_full):
///        the stream closes, the bytes stay readable; with LimitPolicy::keep just these codes
/// @error StreamErrc::invalid_argument for an empty delimiter; nothing was started
struct ReadUntil {
  std::string delimiter;                               ///< at least one byte
  std::optional<std::size_t> max_bytes = std::nullopt; ///< none: bounded by StreamOptions::max_buffer_size
  Timeout timeout = no_timeout;
  LimitPolicy on_limit = LimitPolicy::close;

  friend bool operator==(const ReadUntil&, const ReadUntil&) = default;
};

/// Reads up to and including the first match of `regex`; see Regex for what that is.
/// @error as ReadUntil
struct ReadUntilRegex {
  Regex regex;
  std::optional<std::size_t> max_bytes = std::nullopt; ///< none: bounded by StreamOptions::max_buffer_size
  Timeout timeout = no_timeout;
  LimitPolicy on_limit = LimitPolicy::close;

  friend bool operator==(const ReadUntilRegex&, const ReadUntilRegex&) = default;
};

/// Reads until the peer ends its side in an orderly way; may be empty. On a stream that is closed already it
/// takes what is still unread.
/// @error StreamErrc::closed when the stream closes otherwise: what arrived stays readable, so that cut data
///         cannot be taken for whole
struct ReadUntilClose {
  Timeout timeout = no_timeout;

  friend bool operator==(const ReadUntilClose&, const ReadUntilClose&) = default;
};

/// Waits until `num_bytes` are unread and gives them without taking them: the next read gets them again.
/// @error StreamErrc::buffer_full when more than StreamOptions::max_buffer_size are asked for; nothing was
/// started
struct Peek {
  std::size_t num_bytes = 0;
  Timeout timeout = no_timeout;

  friend bool operator==(const Peek&, const Peek&) = default;
};

/// Any read.
using ReadRequest = std::variant<ReadBytes, ReadUntil, ReadUntilClose, ReadUntilRegex, ReadInto, Peek>;

/// Queues `data` behind what is unsent. Its answer is how a producer keeps pace with a slow peer: while the
/// system takes all it is given, and at most 64 KiB wait for the end of the turn, it comes at once, and the
/// stream answers for those bytes: it hands them over also after a close (StreamOptions::linger_timeout).
/// Otherwise it comes when the system took the last byte of `data`; that is never to say that the peer did.
/// An empty write is answered when all before it is.
/// @error StreamErrc::buffer_full beyond StreamOptions::max_write_buffer_size; nothing was queued, the stream
///         is as it was
/// @error StreamErrc::closed with CloseReason::timed_out after `timeout`, which counts while the answer
///         waits: the stream closes, since a part of `data` may be sent
/// @error StreamErrc::write_ended after a ShutdownWrite; nothing was queued
struct Write {
  Bytes data;
  Timeout timeout = no_timeout;

  friend bool operator==(const Write&, const Write&) = default;
};

} // namespace squall
