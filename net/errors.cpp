// SPDX-License-Identifier: BSD-3-Clause
//
// errors.cpp: texts of the errors, and the exception that fits each.
#include <squall/net/errors.hpp>

namespace squall {

namespace {

class StreamCategory : public std::error_category {
  const char* name() const noexcept override { return "squall"; }
  std::string message(int value) const override { return to_string(static_cast<StreamErrc>(value)); }
};

} // namespace

const char* to_string(StreamErrc code) noexcept {
  switch (code) {
  case StreamErrc::closed:
    return "stream is closed";
  case StreamErrc::already_reading:
    return "a read is pending on the stream already";
  case StreamErrc::buffer_full:
    return "more than the stream's buffer may hold";
  case StreamErrc::unsatisfiable_read:
    return "no match ends within max_bytes";
  case StreamErrc::invalid_argument:
    return "argument that can never work";
  case StreamErrc::timed_out:
    return "the time of the operation is over";
  case StreamErrc::cancelled:
    return "the read was cancelled";
  case StreamErrc::write_ended:
    return "writing was ended by shutdown_write";
  case StreamErrc::already_connected:
    return "the stream is connected, or connecting, already";
  case StreamErrc::file_failed:
    return "a file that cannot be sent";
  case StreamErrc::not_idle:
    return "the stream is not idle: TLS starts when no read or write is pending and both sides are open";
  case StreamErrc::server_hostname:
    return "TLS verifies its peer: give the server's name or address as server_hostname";
  case StreamErrc::unread_plaintext:
    return "unread bytes when TLS was to start: they came without its protection";
  case StreamErrc::lookup_failed:
    return "the host name could not be looked up";
  case StreamErrc::memory_budget:
    return "it held the most while the memory budget was passed";
  }
  return "unknown stream error";
}

const char* to_string(CloseReason reason) noexcept {
  switch (reason) {
  case CloseReason::none:
    return "open";
  case CloseReason::peer_closed:
    return "closed by the peer";
  case CloseReason::reset:
    return "connection broken";
  case CloseReason::local_close:
    return "closed here";
  case CloseReason::limit:
    return "limit passed";
  case CloseReason::transport_error:
    return "error of the transport";
  case CloseReason::handler_ended:
    return "its handler ended";
  case CloseReason::handler_failed:
    return "its handler failed";
  case CloseReason::shutting_down:
    return "shutting down";
  case CloseReason::aborted:
    return "aborted here";
  case CloseReason::timed_out:
    return "timed out";
  case CloseReason::tls_failed:
    return "TLS failed";
  case CloseReason::tls_truncated:
    return "ended without close_notify";
  case CloseReason::draining:
    return "its listener drains";
  case CloseReason::node_lost:
    return "the way to its node is lost";
  }
  return "unknown reason";
}

const std::error_category& stream_category() noexcept {
  static const StreamCategory category;
  return category;
}

std::string to_string(const StreamError& error) {
  std::string text = to_string(error.code);
  if (error.code == StreamErrc::closed && error.reason != CloseReason::none)
    text.append(": ").append(to_string(error.reason));
  if (error.real_error)
    text.append(" (").append(error.real_error.message()).append(")");
  return text;
}

void throw_error(const StreamError& error) { throw_error(error, to_string(error)); }

void throw_error(const StreamError& error, const std::string& message) {
  switch (error.code) {
  case StreamErrc::closed:
    throw StreamClosedError{error, message};
  case StreamErrc::unsatisfiable_read:
    throw UnsatisfiableReadError{error, message};
  case StreamErrc::timed_out:
    throw TimeoutError{error, message};
  case StreamErrc::cancelled:
    throw CancelledError{error, message};
  case StreamErrc::buffer_full:
    throw StreamBufferFullError{error, message};
  case StreamErrc::file_failed:
    throw FileError{error, message};
  case StreamErrc::lookup_failed:
    throw LookupError{error, message};
  case StreamErrc::already_reading:
  case StreamErrc::already_connected:
  case StreamErrc::invalid_argument:
  case StreamErrc::write_ended:
  case StreamErrc::not_idle:
  case StreamErrc::server_hostname:
  case StreamErrc::unread_plaintext:
  case StreamErrc::memory_budget:
    break;
  }
  throw StreamUsageError{error, message};
}

} // namespace squall
