// SPDX-License-Identifier: BSD-3-Clause
//
// errors.hpp: why an operation on a stream failed, as a value and as an exception.
//
// Every operation has exactly one outcome: Result<T> holds its value or a StreamError. A coroutine that
// awaits the operation gets the value or the exception that throw_error makes of the error; a request to a
// stream actor gets it as caf::error (stream_messages.hpp).
//
// Ownership  Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

namespace squall {

/// What kind of failure. The numbers are fixed: they travel in messages.
enum class StreamErrc : std::uint8_t {
  closed = 1,          ///< the stream closed before the operation was done; CloseReason says why
  already_reading = 2, ///< a read is pending on the stream; that one is unharmed
  buffer_full = 3, ///< a write or a wait beyond max_write_buffer_size, or a read of more than max_buffer_size
  unsatisfiable_read = 4, ///< no match ends within max_bytes; with LimitPolicy::keep: the stream is as it was
  invalid_argument = 5,  ///< an argument that can never work, such as an empty delimiter; nothing was started
  timed_out = 6,         ///< the operation's time is over; a read left every byte unread
  cancelled = 7,         ///< the read was cancelled; every byte stays unread
  write_ended = 8,       ///< a write after shutdown_write; nothing was queued
  already_connected = 9, ///< a connect on a stream that is connected, or connecting; it is as it was
  file_failed = 10, ///< the file of a write_file cannot be opened or has not the bytes; nothing was queued
  not_idle = 11,    ///< a start_tls while something is pending, or a side has ended; the stream is as it was
  server_hostname = 12,  ///< TLS verifies its peer and was not told a name or an address; nothing was started
  unread_plaintext = 13, ///< bytes were unread when TLS was to start: the real error behind tls_failed
  lookup_failed = 14,    ///< a host name has no address, or looking it up failed: see the real error
  memory_budget = 15, ///< the stream held the most while its MemoryBudget was passed: the real error behind
                      ///< limit
};

/// Why a stream closed. The numbers are fixed: they travel in messages.
enum class CloseReason : std::uint8_t {
  none = 0,            ///< it is open
  peer_closed = 1,     ///< the peer ended its side in an orderly way
  reset = 2,           ///< the connection broke: ECONNRESET, ECONNABORTED, EPIPE, ETIMEDOUT
  local_close = 3,     ///< close() here
  limit = 4,           ///< a limit was passed: max_bytes, max_buffer_size or a MemoryBudget
  transport_error = 5, ///< another error of the system; see the real error
  handler_ended = 6,   ///< the handler returned, or its actor ended
  handler_failed = 7,  ///< the handler threw, or its actor died of an error
  shutting_down = 8,   ///< the stream actor was told to exit, or its event loop ends
  aborted = 9,         ///< abort() here: unsent bytes were dropped, the peer sees a reset
  timed_out = 10,      ///< a connect's, a write's or a close's time was over, or nothing moved for
                       ///< StreamOptions::idle_timeout
  tls_failed = 11,     ///< TLS failed: the handshake, the peer's certificate, or a record
  tls_truncated = 12,  ///< the connection ended without the close_notify of TLS: data may be cut
  draining = 13,       ///< its listener drains, and it was idle, or the time for that was over
  node_lost = 14,      ///< of a stream actor on another node: the way there is lost
};

[[nodiscard]] const char* to_string(StreamErrc code) noexcept;
[[nodiscard]] const char* to_string(CloseReason reason) noexcept;

[[nodiscard]] const std::error_category& stream_category() noexcept;
[[nodiscard]] inline std::error_code make_error_code(StreamErrc code) noexcept {
  return {static_cast<int>(code), stream_category()};
}

/// A failed operation.
struct StreamError {
  StreamError() = default;
  StreamError(StreamErrc code_, CloseReason reason_, std::error_code real_error_,
              std::uint32_t stream_ = 0) noexcept
      : code{code_}, reason{reason_}, stream{stream_}, real_error{real_error_} {}

  StreamErrc code = StreamErrc::closed;
  CloseReason reason = CloseReason::none; ///< with StreamErrc::closed
  std::uint32_t stream = 0;               ///< IOStream::id() of the stream that it is of; 0: of none
  std::error_code real_error; ///< what lies behind it: an errno, or a StreamErrc for a limit; or none

  /// They say the same, of whatever streams.
  friend bool operator==(const StreamError& one, const StreamError& other) noexcept {
    return one.code == other.code && one.reason == other.reason && one.real_error == other.real_error;
  }
};

/// One sentence: "stream is closed: reset (Connection reset by peer)".
[[nodiscard]] std::string to_string(const StreamError& error);

/// What throw_error throws; catch one of the classes below, or this for all.
class StreamException : public std::runtime_error {
public:
  explicit StreamException(StreamError error) : StreamException{error, to_string(error)} {}
  StreamException(StreamError error, const std::string& message)
      : std::runtime_error{message}, error_{error} {}
  [[nodiscard]] const StreamError& error() const noexcept { return error_; }
  [[nodiscard]] StreamErrc code() const noexcept { return error_.code; }
  /// IOStream::id() of the stream that failed, such as one of two that a relay joins; 0: no stream.
  [[nodiscard]] std::uint32_t stream() const noexcept { return error_.stream; }

private:
  StreamError error_;
};

/// The stream closed before the operation was done.
class StreamClosedError : public StreamException {
public:
  using StreamException::StreamException;
  [[nodiscard]] CloseReason reason() const noexcept { return error().reason; }
  /// StreamErrc::unsatisfiable_read, buffer_full or memory_budget behind CloseReason::limit, an errno behind a broken
  /// connection; none behind an orderly close.
  [[nodiscard]] const std::error_code& real_error() const noexcept { return error().real_error; }
};

/// A write beyond max_write_buffer_size, or a read of more than max_buffer_size; the stream is as it was.
class StreamBufferFullError : public StreamException {
public:
  using StreamException::StreamException;
};

/// No match ends within max_bytes of a read with LimitPolicy::keep; the stream is as it was.
class UnsatisfiableReadError : public StreamException {
public:
  using StreamException::StreamException;
};

/// The time of an operation is over. After a read the stream is idle with every byte unread.
class TimeoutError : public StreamException {
public:
  using StreamException::StreamException;
};

/// The read was cancelled; the stream is idle with every byte unread.
class CancelledError : public StreamException {
public:
  using StreamException::StreamException;
};

/// The file of a write_file cannot be opened or has not the bytes; the stream is as it was.
class FileError : public StreamException {
public:
  using StreamException::StreamException;
};

/// A host name has no address, or looking it up failed; real_error() is one of lookup_category() (resolver.hpp).
class LookupError : public StreamException {
public:
  using StreamException::StreamException;
  [[nodiscard]] const std::error_code& real_error() const noexcept { return error().real_error; }
};

/// A second read while one is pending, a connect of a connected stream, a write after shutdown_write, a start_tls that
/// is refused, or an argument that can never work; the stream is as it was.
class StreamUsageError : public StreamException {
public:
  using StreamException::StreamException;
};

/// Throws the class above that fits `error`; its what() is to_string(error), or `message`.
[[noreturn]] void throw_error(const StreamError& error);
[[noreturn]] void throw_error(const StreamError& error, const std::string& message);

/// A value or a StreamError.
template <class T>
class [[nodiscard]] Result {
public:
  Result(T value) : state_{std::in_place_index<0>, std::move(value)} {}
  Result(StreamError error) : state_{std::in_place_index<1>, error} {}

  [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// @throws the exception of throw_error where there is no value
  T& value() & {
    if (!has_value())
      throw_error(error());
    return *std::get_if<0>(&state_);
  }
  T&& value() && { return std::move(value()); }

  T& operator*() noexcept { return *std::get_if<0>(&state_); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  const T& operator*() const noexcept { return *std::get_if<0>(&state_); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  [[nodiscard]] const StreamError& error() const noexcept { return *std::get_if<1>(&state_); }

private:
  std::variant<T, StreamError> state_;
};

/// Success, or a StreamError.
template <>
class [[nodiscard]] Result<void> {
public:
  Result() = default;
  Result(StreamError error) : error_{error} {}

  [[nodiscard]] bool has_value() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (error_)
      throw_error(*error_);
  }
  [[nodiscard]] const StreamError& error() const noexcept { return *error_; }

private:
  std::optional<StreamError> error_;
};

} // namespace squall

template <>
struct std::is_error_code_enum<squall::StreamErrc> : std::true_type {};
