// SPDX-License-Identifier: BSD-3-Clause
//
// raw_socket.hpp: the system calls that the raw programs share: loopback sockets and the request to end.
#pragma once

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace bench {

/// The result of a system call. @throws std::system_error when it failed
inline int checked(int result, const char* call) {
  if (result < 0)
    throw std::system_error(errno, std::generic_category(), call);
  return result;
}

/// An owned descriptor, closed when the object goes.
class Descriptor {
public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_{fd} {}
  Descriptor(Descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0)
      close(fd_);
  }

  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

private:
  int fd_ = -1;
};

inline sockaddr_in loopback_address(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// A listening socket that does not block; port 0: any free one.
inline Descriptor listen_on_loopback(std::uint16_t port) {
  Descriptor listener{checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket")};
  const int on = 1;
  checked(setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt SO_REUSEADDR");
  const auto address = loopback_address(port);
  checked(bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  checked(listen(listener.get(), SOMAXCONN), "listen");
  return listener;
}

inline std::uint16_t local_port(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  checked(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  return ntohs(address.sin_port);
}

inline void set_nodelay(int fd) {
  const int on = 1;
  checked(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt TCP_NODELAY");
}

inline void set_nonblocking(int fd) {
  const int status = checked(fcntl(fd, F_GETFL), "fcntl F_GETFL");
  checked(fcntl(fd, F_SETFL, status | O_NONBLOCK), "fcntl F_SETFL");
}

/// A connected socket, which blocks.
inline Descriptor connect_to_loopback(std::uint16_t port) {
  Descriptor connection{checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  const auto address = loopback_address(port);
  checked(connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
  set_nodelay(connection.get());
  return connection;
}

/// Becomes readable when the process is asked to end.
inline Descriptor termination_signal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  checked(sigprocmask(SIG_BLOCK, &signals, nullptr), "sigprocmask");
  return Descriptor{checked(signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC), "signalfd")};
}

} // namespace bench
