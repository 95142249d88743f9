// SPDX-License-Identifier: BSD-3-Clause
//
// socket.hpp: owning descriptors and listening sockets.
//
// Threads    A Socket belongs to one thread at a time. Copies of a ListeningSocket may be held by any
//            threads; who closes it makes sure that no other thread accepts from it just then (a listener
//            that has answered Stop does not): the number of a closed descriptor may be given out again.
// Ownership  Socket owns its descriptor alone. ListeningSocket shares it: the descriptor closes with close(),
//            or when the last copy goes.
#pragma once

#include <squall/net/endpoint.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace squall {

/// An owned descriptor, closed when the object goes. Every descriptor that Squall makes is close-on-exec
/// (fork and exec of another program must not hand connections to it: rule of CVE-2024-21626).
class Socket {
public:
  Socket() noexcept = default;
  explicit Socket(int fd) noexcept : fd_{fd} {}
  Socket(Socket&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { reset(); }

  [[nodiscard]] int fd() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;

private:
  int fd_ = -1;
};

/// What bind_sockets and TCPServer::listen take beyond port and address.
struct BindOptions {
  AddressFamily family = AddressFamily::unspec; ///< unspec: every family that the address resolves to
  int backlog = 128;       ///< connections that wait in the kernel; 1 to 65535; see listen(2)
  bool reuse_port = false; ///< SO_REUSEPORT: several sockets share the port, see socket(7)
};

/// A bound, listening, non-blocking socket; copies share it.
class ListeningSocket {
public:
  ListeningSocket() noexcept = default; ///< empty: fd() is -1

  /// Takes over a descriptor that already listens and makes it non-blocking and close-on-exec.
  /// @throws std::system_error when it is no listening stream socket; the descriptor is closed then.
  explicit ListeningSocket(Socket socket);

  /// -1 once closed.
  [[nodiscard]] int fd() const noexcept;

  /// The bound address with the real port (where 0 was asked for, the one that the system chose).
  [[nodiscard]] const Endpoint& local_endpoint() const noexcept;

  /// Closes the descriptor for every copy; further calls do nothing.
  void close() noexcept;

  friend bool operator==(const ListeningSocket&, const ListeningSocket&) noexcept = default;

private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

/// Binds and listens on every address that `address` stands for, as Tornado's bind_sockets.
///
/// An empty `address` means every interface (0.0.0.0 and, where the machine has IPv6, [::] on the same port).
/// IPv6 sockets are always IPV6_V6ONLY. Port 0 lets the system choose; all sockets of the call share the
/// choice (retried a few times where the number is taken in the other family). A host name may block for its
/// lookup.
/// @throws std::system_error naming address and port (EADDRINUSE, EACCES, EADDRNOTAVAIL, a failed lookup, or
///         nothing that could be bound); sockets made until then are closed.
/// @throws std::invalid_argument for a backlog outside of 1 to 65535 or an address with a NUL byte.
std::vector<ListeningSocket> bind_sockets(std::uint16_t port, const std::string& address = {},
                                          const BindOptions& options = {});

} // namespace squall
