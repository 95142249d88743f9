// SPDX-License-Identifier: BSD-3-Clause
//
// stream_requests.hpp: what can be asked of a stream, as plain structs: the same for a call on an IOStream
// and for a message to a stream actor.
//
// Requests that own something have constructors, so that they can be made inside a co_await: there g++ 12 destroys the
// members of a temporary aggregate twice (docs/decisions/0009-requests-have-constructors.md).
//
// Ownership  Requests own their bytes.
// Units      Sizes are bytes.
#pragma once

#include <squall/net/bytes.hpp>
#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/file.hpp>
#include <squall/net/regex.hpp>
#include <squall/net/tls_context.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

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
  ReadInto() = default;
  explicit ReadInto(MutableBytes buffer_, bool partial_ = false, Timeout timeout_ = no_timeout)
      : buffer{std::move(buffer_)}, partial{partial_}, timeout{timeout_} {}

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
  ReadUntil() = default;
  explicit ReadUntil(std::string delimiter_, std::optional<std::size_t> max_bytes_ = std::nullopt,
                     Timeout timeout_ = no_timeout, LimitPolicy on_limit_ = LimitPolicy::close)
      : delimiter{std::move(delimiter_)}, max_bytes{max_bytes_}, timeout{timeout_}, on_limit{on_limit_} {}

  std::string delimiter;                               ///< at least one byte
  std::optional<std::size_t> max_bytes = std::nullopt; ///< none: StreamOptions::default_max_bytes
  Timeout timeout = no_timeout;
  LimitPolicy on_limit = LimitPolicy::close;

  friend bool operator==(const ReadUntil&, const ReadUntil&) = default;
};

/// Reads up to and including the first match of `regex`; see Regex for what that is.
/// @error as ReadUntil
struct ReadUntilRegex {
  ReadUntilRegex() = default;
  explicit ReadUntilRegex(Regex regex_, std::optional<std::size_t> max_bytes_ = std::nullopt,
                          Timeout timeout_ = no_timeout, LimitPolicy on_limit_ = LimitPolicy::close)
      : regex{std::move(regex_)}, max_bytes{max_bytes_}, timeout{timeout_}, on_limit{on_limit_} {}

  Regex regex;
  std::optional<std::size_t> max_bytes = std::nullopt; ///< none: StreamOptions::default_max_bytes
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

/// Reads in chunks of at least one byte, each delivered when the last was accepted: no more than one is held.
/// @error StreamErrc::closed when the stream ends before `num_bytes` were delivered; without `num_bytes`, when it
///        closes other than by an orderly end of the peer
/// @error StreamErrc::timed_out when a chunk does not come within `timeout`, already_reading when another read was
///        started between two chunks: what was not delivered is unread
struct ReadChunks {
  std::optional<std::uint64_t> num_bytes = std::nullopt; ///< in all; none: until the peer ends its side
  std::size_t chunk_size = 64 * 1024;                    ///< the most that one chunk has; at least 1
  Timeout timeout = no_timeout;                          ///< of each chunk

  /// How many bytes the next chunk may have; 0: all were delivered.
  [[nodiscard]] std::size_t next_size() const noexcept {
    const std::size_t most = chunk_size > 0 ? chunk_size : 1;
    return num_bytes && *num_bytes < most ? static_cast<std::size_t>(*num_bytes) : most;
  }
  /// What it means when the read of a chunk failed so.
  [[nodiscard]] Result<void> outcome(const StreamError& error) const {
    const bool whole = error.code == StreamErrc::closed && error.reason == CloseReason::peer_closed;
    return !num_bytes && whole ? Result<void>{} : Result<void>{error};
  }

  friend bool operator==(const ReadChunks&, const ReadChunks&) = default;
};

/// Any read that has one answer.
using ReadRequest = std::variant<ReadBytes, ReadUntil, ReadUntilClose, ReadUntilRegex, ReadInto, Peek>;

/// Queues `data` behind what is unsent. Its answer is how a producer keeps pace with a slow peer: while the
/// system takes all it is given, and at most 64 KiB wait for the end of the turn, it comes at once, and the
/// stream answers for those bytes, which it copies where they are a MutableBytes' (more than 16 KiB of these wait for
/// the system): it hands them over also after a close (StreamOptions::linger_timeout). Otherwise it comes when the
/// system took the last byte of `data`; that is never to say that the peer did. An empty write is answered when all
/// before it is.
/// @error StreamErrc::buffer_full beyond StreamOptions::max_write_buffer_size; nothing was queued, the stream
///         is as it was
/// @error StreamErrc::closed with CloseReason::timed_out after `timeout`, which counts while the answer
///         waits: the stream closes, since a part of `data` may be sent
/// @error StreamErrc::write_ended after a ShutdownWrite; nothing was queued
struct Write {
  Write() = default;
  explicit Write(Bytes data_, Timeout timeout_ = no_timeout) : data{std::move(data_)}, timeout{timeout_} {}

  Bytes data;
  Timeout timeout = no_timeout;

  friend bool operator==(const Write&, const Write&) = default;
};

/// Several pieces as one write: all of them are queued, or none; answered as Write of the last.
/// @error as Write
struct WritePieces {
  WritePieces() = default;
  explicit WritePieces(std::vector<Bytes> pieces_, Timeout timeout_ = no_timeout)
      : pieces{std::move(pieces_)}, timeout{timeout_} {}

  std::vector<Bytes> pieces;
  Timeout timeout = no_timeout;

  friend bool operator==(const WritePieces&, const WritePieces&) = default;
};

/// Queues a part of a regular file behind what is unsent; its bytes go from the system's cache to the connection
/// (sendfile(2)) where the transport can do that, and take no place in the write buffer. Answered when the system took
/// the last byte. Reading may wait for the disk, and the loop with it. The file must not be written in place meanwhile,
/// nor until the peer has it (replace it by rename); one whose size the system does not tell (under /proc) counts as
/// empty.
/// @error StreamErrc::file_failed when it cannot be opened or read (real error: the errno), or is no regular file
///        (EINVAL), or ends before the part does (ENODATA); nothing was queued
/// @error StreamErrc::closed with CloseReason::transport_error when reading fails later (ENODATA: the file became
///        shorter), since a part may be sent
/// @error StreamErrc::closed and write_ended as Write
struct WriteFile {
  WriteFile() = default;
  explicit WriteFile(std::variant<std::string, File> file_, std::uint64_t offset_ = 0,
                     std::optional<std::uint64_t> count_ = std::nullopt, Timeout timeout_ = no_timeout)
      : file{std::move(file_)}, offset{offset_}, count{count_}, timeout{timeout_} {}

  std::variant<std::string, File> file;              ///< a path, or an open file
  std::uint64_t offset = 0;                          ///< where the part begins
  std::optional<std::uint64_t> count = std::nullopt; ///< of bytes; none: up to the end that the file has now
  Timeout timeout = no_timeout;

  friend bool operator==(const WriteFile&, const WriteFile&) = default;
};

/// Connects a stream that is not connected. Writes may be queued and a read be started before: they wait. `address`
/// is a number ("192.0.2.1", "::1") or a path, never a name. `server_hostname` is the name that TLS verifies; other
/// transports ignore it.
/// @error StreamErrc::closed with the errno (such as ECONNREFUSED) as real error, or with CloseReason::timed_out: the
///        stream closed
/// @error StreamErrc::closed with CloseReason::tls_failed: the handshake failed (real error of tls_category())
/// @error StreamErrc::already_connected, invalid_argument for what is no such address, and server_hostname where TLS
///        verifies its peer and `server_hostname` is no name; nothing was started
struct Connect {
  Connect() = default;
  explicit Connect(Endpoint address_, std::string server_hostname_ = {}, Timeout timeout_ = no_timeout)
      : address{std::move(address_)}, server_hostname{std::move(server_hostname_)}, timeout{timeout_} {}

  Endpoint address;
  std::string server_hostname = {};
  Timeout timeout = no_timeout;

  friend bool operator==(const Connect&, const Connect&) = default;
};

/// Turns a connected stream to TLS, in place: the stream goes on with its limits and callbacks, and reads and writes
/// wait for the handshake. What is written before is sent before. Bytes that the stream has received and nobody has
/// read are not protected by TLS but would pass for it (STARTTLS injection, CVE-2011-0411, CVE-2021-23214): they close
/// the stream. Those that the system still holds belong to the handshake.
/// @error StreamErrc::closed with CloseReason::tls_failed: the handshake failed (real error of tls_category()), its
///        time was over (ETIMEDOUT), or there were unread bytes (StreamErrc::unread_plaintext): the stream closed
/// @error StreamErrc::not_idle when a read or a write is pending, the system does not take what is unsent, one side has
///        ended, or the stream is not connected, or speaks TLS already; StreamErrc::invalid_argument when `context` is
///        for the other side, or the transport knows no TLS; StreamErrc::server_hostname when the context verifies a
///        name and `server_hostname` is none. The stream is as it was
struct StartTLS {
  StartTLS() = default;
  StartTLS(bool server_side_, TLSContext context_, std::string server_hostname_ = {},
           Timeout timeout_ = no_timeout)
      : server_side{server_side_}, context{std::move(context_)},
        server_hostname{std::move(server_hostname_)}, timeout{timeout_} {}

  bool server_side = false;
  TLSContext context;
  std::string server_hostname = {}; ///< of the server: what its certificate must be for; clients only
  Timeout timeout = no_timeout;     ///< of the handshake; none: TLSOptions::handshake_timeout

  friend bool operator==(const StartTLS&, const StartTLS&) = default;
};

/// What one can wait for on a stream.
enum class StreamEvent : std::uint8_t {
  connected,  ///< it is connected, and the handshake, if there is one, is done
  writable,   ///< IOStream::writable
  ended,      ///< the peer ended its side, or the stream closed
  closed,     ///< the stream closed, and everything that was pending is answered
  draining,   ///< IOStream::draining: its listener ends, and so should what the handler does
  handshaken, ///< the handshake of TLS is done, or there is none; also later, when the stream has closed
};

} // namespace squall
