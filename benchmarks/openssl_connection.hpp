// SPDX-License-Identifier: BSD-3-Clause
//
// openssl_connection.hpp: OpenSSL on a socket that does not block, as the raw server and the load use it.
#pragma once

#include "raw_socket.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace bench {

struct OpenSSLFree {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
};
using TlsContext = std::unique_ptr<SSL_CTX, OpenSSLFree>;

[[noreturn]] inline void throw_openssl(const std::string& what) {
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  throw std::runtime_error(what + ": " + (reason != nullptr ? reason : "no reason is given"));
}

inline void require_openssl(bool done, const char* what) {
  if (!done)
    throw_openssl(what);
}

/// What server and load agree on: TLS 1.3, buffers that are given back when they are empty, and one recv(2) for a
/// record with what follows it.
inline TlsContext make_tls_context(const SSL_METHOD* side) {
  TlsContext context{SSL_CTX_new(side)};
  require_openssl(context != nullptr, "SSL_CTX_new");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context.get(), 1);
  return context;
}

/// What an attempt came to: done, or wait until the socket is ready; the peer's close_notify counts as an end.
enum class Progress { done, wait, ended };

/// An SSL with its socket. Use it with edge-triggered epoll, for both directions from the start.
class TlsConnection {
public:
  TlsConnection() = default;
  /// Throws where memory or the context fails it.
  TlsConnection(SSL_CTX* context, Descriptor socket) : socket_{std::move(socket)}, ssl_{SSL_new(context)} {
    require_openssl(ssl_ != nullptr && SSL_set_fd(ssl_.get(), socket_.get()) == 1, "SSL_set_fd");
  }

  SSL* ssl() const { return ssl_.get(); }
  int fd() const { return socket_.get(); }
  bool handshaken() const { return SSL_is_init_finished(ssl_.get()) == 1; }

  Progress handshake() {
    ERR_clear_error();
    return outcome(SSL_do_handshake(ssl_.get()), "handshake");
  }

  /// At most one record. @param size  how much was read
  Progress read(char* buffer, std::size_t capacity, std::size_t& size) {
    size = 0;
    ERR_clear_error();
    return outcome(SSL_read_ex(ssl_.get(), buffer, capacity, &size), "read");
  }

  /// Until the socket is full. @param size  how much was written
  Progress write(std::string_view data, std::size_t& size) {
    for (size = 0; size < data.size();) {
      std::size_t count = 0;
      ERR_clear_error();
      const auto progress =
          outcome(SSL_write_ex(ssl_.get(), data.data() + size, data.size() - size, &count), "write");
      if (progress != Progress::done)
        return progress;
      size += count;
    }
    return Progress::done;
  }

  /// Tells the peer that nothing follows.
  void close_notify() {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
  }

private:
  Progress outcome(int returned, const char* what) {
    if (returned == 1)
      return Progress::done;
    switch (SSL_get_error(ssl_.get(), returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      return Progress::wait;
    case SSL_ERROR_ZERO_RETURN:
      return Progress::ended;
    default:
      throw_openssl(what);
    }
  }

  Descriptor socket_; // outlives the SSL
  std::unique_ptr<SSL, OpenSSLFree> ssl_;
};

} // namespace bench
