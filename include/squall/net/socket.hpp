// SPDX-License-Identifier: BSD-3-Clause
//
// socket.hpp: owning descriptors and listening sockets.
//
// Threads    A Socket belongs to one thread at a time. Copies of a ListeningSocket may be held by any
//            threads; who closes it makes sure that no other thread accepts from it just then (a listener
//            that has answered Stop does not): the number of a closed descriptor may be given out again.
// Ownership  Socket owns its descriptor alone. ListeningSocket shares it: the descriptor closes with close(),
//            or when the last copy goes; the file of bind_unix_socket goes with it.
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

struct UnixOptions;

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

  /// Closes the descriptor for every copy, and removes the file that bind_unix_socket made; further calls do nothing.
  void close() noexcept;

  friend bool operator==(const ListeningSocket&, const ListeningSocket&) noexcept = default;

private:
  friend ListeningSocket bind_unix_socket(const std::string&, const UnixOptions&);
  friend void close_listening_sockets() noexcept;
  static void close_all() noexcept;
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

/// What bind_unix_socket takes beyond the path.
struct UnixOptions {
  std::uint32_t mode =
      0600;          ///< permission bits of the file, at most 0777; to connect takes the right to write
  int backlog = 128; ///< as BindOptions::backlog
};

/// Binds and listens on a unix socket, as Tornado's bind_unix_socket. "@name" is an abstract name (unix(7)): it has
/// no file, so `mode` means nothing, and any process of the network namespace may connect; look at
/// IOStream::peer_credentials.
///
/// The file has `mode`, whatever the umask, before anybody can connect (rule of CVE-2023-45145). A socket file on
/// which nobody answers is replaced; one that answers, a symbolic link and any other file are left alone. Two
/// servers that start at the same time do not replace each other where they may read the directory (flock(2)).
/// close(), and the end of the last copy, remove the file, if it still is the one that was made here and this is the
/// process that made it.
/// @throws std::system_error naming the path: EADDRINUSE when somebody listens there, EEXIST when what is there is no
///         socket, EACCES, ENOENT and other errors of the system; nothing is left behind
/// @throws std::invalid_argument for a path that is empty, has a NUL byte or more than 107 bytes (unix(7)), for a mode
///         above 0777 and for a backlog outside of 1 to 65535
ListeningSocket bind_unix_socket(const std::string& path, const UnixOptions& options = {});

} // namespace squall
