// SPDX-License-Identifier: BSD-3-Clause
//
// raw_epoll_echo.cpp: the reference server, the least that an echo costs on this machine.
//
// Edge-triggered epoll, one read and one write per readiness, no framing, no object per connection. What
// another server costs beyond this is the price of its framework.

#include "descriptor_limit.hpp"
#include "raw_socket.hpp"
#include "server_program.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace {

using bench::checked;

class RawEcho {
public:
  explicit RawEcho(std::uint16_t port)
      : epoll_{checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")},
        termination_{bench::termination_signal()}, listener_{bench::listen_on_loopback(port)} {
    watch(termination_.get(), EPOLLIN);
    watch(listener_.get(), EPOLLIN);
  }

  std::uint16_t port() const { return bench::local_port(listener_.get()); }

  void run() {
    std::array<epoll_event, 512> ready;
    for (;;) {
      const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), -1);
      if (count < 0 && errno != EINTR)
        checked(count, "epoll_wait");
      for (int i = 0; i < count; ++i) {
        const auto& event = ready[static_cast<std::size_t>(i)];
        if (event.data.fd == termination_.get())
          return;
        if (event.data.fd == listener_.get())
          accept_all();
        else
          echo(event.data.fd, event.events);
      }
    }
  }

private:
  void watch(int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }

  void accept_all() {
    for (;;) {
      const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return; // the listener is level-triggered: what is left comes back in the next turn
      checked(fd, "accept4");
      bench::set_nodelay(fd);
      // EPOLLOUT from the start: edge-triggered, it costs nothing until a write falls short.
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    }
  }

  void echo(int fd, std::uint32_t events) {
    if (!stalled_.empty() && !resume_stalled(fd))
      return;
    for (;;) {
      const auto size = recv(fd, buffer_->data(), buffer_->size(), 0);
      if (size < 0 && errno == EAGAIN)
        return;
      if (size <= 0)
        return forget(fd);
      if (!send_or_stall(fd, {buffer_->data(), static_cast<std::size_t>(size)}))
        return;
      // A short read has drained the socket, but the end of the stream may hide behind it without an edge of
      // its own.
      if (static_cast<std::size_t>(size) < buffer_->size() && !(events & EPOLLRDHUP))
        return;
    }
  }

  /// False when the connection has to wait until it is writable; reading waits with it, so a peer that does
  /// not read cannot make this process grow.
  bool send_or_stall(int fd, std::string_view data) {
    const auto size = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (size == static_cast<ssize_t>(data.size()))
      return true;
    if (size < 0 && errno != EAGAIN) {
      forget(fd);
      return false;
    }
    stalled_[fd] = data.substr(size < 0 ? 0 : static_cast<std::size_t>(size));
    return false;
  }

  bool resume_stalled(int fd) {
    const auto found = stalled_.find(fd);
    if (found == stalled_.end())
      return true;
    const auto rest = std::move(found->second);
    stalled_.erase(found);
    return send_or_stall(fd, rest);
  }

  void forget(int fd) {
    stalled_.erase(fd);
    close(fd);
  }

  using Buffer = std::array<char, 65'536>;

  bench::Descriptor epoll_;
  bench::Descriptor termination_;
  bench::Descriptor listener_;
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
  std::unordered_map<int, std::string> stalled_; // what a short write left over, by descriptor
};

} // namespace

int main(int argc, char** argv) {
  try {
    const auto port = bench::port_argument(argc, argv);
    bench::raise_descriptor_limit();
    RawEcho server{port};
    bench::announce(server.port());
    server.run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_raw_epoll_echo: %s\n", error.what());
    return 1;
  }
}
