// SPDX-License-Identifier: BSD-3-Clause
//
// stream_requests.hpp: what can be asked of a stream, as plain structs: the same for a call on an IOStream and for a
// message to a stream actor.
//
// Ownership  Requests own their bytes.
// Units      Sizes are bytes.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <variant>

#include <squall/net/bytes.hpp>

namespace squall {

/// Reads exactly `num_bytes`, or, with `partial`, as soon as there is at least one byte and at most `num_bytes`.
/// 0 bytes are there at once, also on a closed stream.
/// @error StreamErrc::buffer_full when more than StreamOptions::max_buffer_size are asked for without `partial`;
///        nothing was started
struct ReadBytes {
  std::size_t num_bytes = 0;
  bool partial = false;

  friend bool operator==(const ReadBytes&, const ReadBytes&) = default;
};

/// Reads up to and including the first `delimiter`.
/// @error StreamErrc::closed with CloseReason::limit when it does not end within `max_bytes` (real error
///        StreamErrc::unsatisfiable_read) or within StreamOptions::max_buffer_size (StreamErrc::buffer_full): the
///        stream closes, the bytes stay readable
/// @error StreamErrc::invalid_argument for an empty delimiter; nothing was started
struct ReadUntil {
  std::string delimiter;                               ///< at least one byte
  std::optional<std::size_t> max_bytes = std::nullopt; ///< none: bounded by StreamOptions::max_buffer_size

  friend bool operator==(const ReadUntil&, const ReadUntil&) = default;
};

/// Reads until the peer ends its side in an orderly way; may be empty. On a stream that is closed already it takes
/// what is still unread.
/// @error StreamErrc::closed when the stream closes otherwise: what arrived stays readable, so that cut data cannot
///        be taken for whole
struct ReadUntilClose {
  friend bool operator==(const ReadUntilClose&, const ReadUntilClose&) = default;
};

/// Any read.
using ReadRequest = std::variant<ReadBytes, ReadUntil, ReadUntilClose>;

/// Queues `data` behind what is unsent. The answer says that the system took its last byte, not that the peer did.
/// An empty write is answered when all before it is.
/// @error StreamErrc::buffer_full beyond StreamOptions::max_write_buffer_size; nothing was queued, the stream is as
///        it was
struct Write {
  Bytes data;

  friend bool operator==(const Write&, const Write&) = default;
};

} // namespace squall
