// SPDX-License-Identifier: BSD-3-Clause
//
// raw_streams.cpp: the references of benchmarks/run-streams, the least that moving bytes costs on this machine.
//
//     bench_raw_streams sink|source|relay
//
// Edge-triggered epoll, a buffer of 64 KiB, system calls until one falls short; nothing between them.

#include "raw_socket.hpp"
#include "server_program.hpp"
#include "stream_protocol.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using bench::checked;
using bench::Descriptor;

/// Takes what one recv(2) gives. @returns its size, 0 at the end of input, -1 when nothing is there
ssize_t receive(int fd, char* buffer, std::size_t size) {
  const auto count = recv(fd, buffer, size, 0);
  if (count < 0 && errno != EAGAIN)
    throw std::system_error(errno, std::generic_category(), "recv");
  return count;
}

/// @returns how much of `data` the system took
std::size_t send_some(int fd, std::string_view data) {
  const auto count = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
  if (count < 0 && errno != EAGAIN)
    throw std::system_error(errno, std::generic_category(), "send");
  return count < 0 ? 0 : static_cast<std::size_t>(count);
}

/// The word that a relay is sent first; waits for it.
std::uint16_t receive_port(int fd) {
  std::array<char, sizeof(std::uint64_t)> word;
  if (recv(fd, word.data(), word.size(), MSG_WAITALL) != static_cast<ssize_t>(word.size()))
    throw std::runtime_error("no port to connect to was sent");
  return static_cast<std::uint16_t>(bench::word_at(word.data()));
}

class Session {
public:
  virtual ~Session() = default;
  virtual void on_ready(std::uint32_t events) = 0;
};

class Epoll {
public:
  void watch(int fd, std::uint32_t events, Session* session) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = session;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }

  /// EPOLLOUT from the start: edge-triggered, it costs nothing until a write falls short.
  void watch_connection(int fd, Session* session) {
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, session);
  }

  std::size_t wait(std::array<epoll_event, 16>& ready) {
    const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), -1);
    if (count < 0 && errno != EINTR)
      checked(count, "epoll_wait");
    return count < 0 ? 0 : static_cast<std::size_t>(count);
  }

private:
  Descriptor epoll_{checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
};

using Buffer = std::array<char, bench::buffer_size>;

class Sink final : public Session {
public:
  explicit Sink(Descriptor connection) : connection_{std::move(connection)} {}

  void on_ready(std::uint32_t events) override {
    for (;;) {
      const auto size = receive(connection_.get(), buffer_->data(), buffer_->size());
      if (size < 0)
        return;
      if (size == 0) {
        send_some(connection_.get(), bench::to_bytes(received_));
        connection_ = {};
        return;
      }
      received_ += static_cast<std::uint64_t>(size);
      // A short read has drained the socket, but the end of input may hide behind it without an edge of its
      // own.
      if (static_cast<std::size_t>(size) < buffer_->size() && (events & EPOLLRDHUP) == 0)
        return;
    }
  }

private:
  Descriptor connection_;
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
  std::uint64_t received_ = 0;
};

class Source final : public Session {
public:
  explicit Source(Descriptor connection) : connection_{std::move(connection)} {}

  void on_ready(std::uint32_t events) override {
    if ((events & EPOLLIN) != 0)
      take_requests();
    if (connection_.get() >= 0)
      send_wanted();
  }

private:
  void take_requests() {
    for (;;) {
      const auto size = receive(connection_.get(), buffer_.data(), buffer_.size());
      if (size < 0)
        return;
      if (size == 0) {
        connection_ = {};
        return;
      }
      requests_.append(buffer_.data(), static_cast<std::size_t>(size));
      for (; requests_.size() >= sizeof wanted_; requests_.erase(0, sizeof wanted_))
        wanted_ += bench::word_at(requests_.data());
    }
  }

  void send_wanted() {
    while (wanted_ > 0) {
      const auto rest = std::string_view{piece_}.substr(offset_, wanted_);
      const auto sent = send_some(connection_.get(), rest);
      wanted_ -= sent;
      offset_ = (offset_ + sent) % piece_.size();
      if (sent < rest.size())
        return;
    }
  }

  Descriptor connection_;
  std::array<char, 512> buffer_;
  std::string requests_; // a part of a word
  std::uint64_t wanted_ = 0;
  std::string piece_ = bench::make_piece();
  std::size_t offset_ = 0;
};

/// One direction of a relay.
class Pump {
public:
  Pump(int from, int to) : from_{from}, to_{to} {}

  void run() {
    while (!ended_) {
      if (begin_ < end_) {
        begin_ += send_some(to_, {buffer_->data() + begin_, end_ - begin_});
        if (begin_ < end_)
          return;
      }
      if (drained_)
        return;
      const auto size = receive(from_, buffer_->data(), buffer_->size());
      if (size < 0) {
        drained_ = true;
        return;
      }
      if (size == 0) {
        ended_ = true;
        shutdown(to_, SHUT_WR);
        return;
      }
      begin_ = 0;
      end_ = static_cast<std::size_t>(size);
      drained_ = end_ < buffer_->size() && !hung_up_;
    }
  }

  void on_source(std::uint32_t events) {
    if ((events & EPOLLIN) != 0)
      drained_ = false;
    hung_up_ = hung_up_ || (events & EPOLLRDHUP) != 0;
  }

  bool ended() const { return ended_; }

private:
  int from_;
  int to_;
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool drained_ = true;
  bool hung_up_ = false;
  bool ended_ = false;
};

class Relay {
public:
  Relay(Epoll& epoll, Descriptor client, Descriptor target)
      : client_{std::move(client)}, target_{std::move(target)} {
    epoll.watch_connection(client_.get(), &from_client_);
    epoll.watch_connection(target_.get(), &from_target_);
  }

private:
  struct Side final : Session {
    Side(Relay& of, Pump& source, Pump& destination) : relay{of}, out_of{source}, in_to{destination} {}
    void on_ready(std::uint32_t events) override {
      out_of.on_source(events);
      out_of.run();
      if ((events & EPOLLOUT) != 0)
        in_to.run();
      relay.close_if_ended();
    }
    Relay& relay;
    Pump& out_of;
    Pump& in_to;
  };

  void close_if_ended() {
    if (!there_.ended() || !back_.ended())
      return;
    client_ = {};
    target_ = {};
  }

  Descriptor client_;
  Descriptor target_;
  Pump there_{client_.get(), target_.get()};
  Pump back_{target_.get(), client_.get()};
  Side from_client_{*this, there_, back_};
  Side from_target_{*this, back_, there_};
};

class Server {
public:
  explicit Server(std::string_view mode) : mode_{mode} {
    epoll_.watch(termination_.get(), EPOLLIN, nullptr);
    epoll_.watch(listener_.get(), EPOLLIN, &acceptor_);
  }

  std::uint16_t port() const { return bench::local_port(listener_.get()); }

  void run() {
    std::array<epoll_event, 16> ready;
    for (;;) {
      const std::size_t count = epoll_.wait(ready);
      for (std::size_t i = 0; i < count; ++i) {
        auto* session = static_cast<Session*>(ready[i].data.ptr);
        if (session == nullptr)
          return;
        session->on_ready(ready[i].events);
      }
    }
  }

private:
  struct Acceptor final : Session {
    explicit Acceptor(Server& of) : server{of} {}
    void on_ready(std::uint32_t) override { server.accept_one(); }
    Server& server;
  };

  void accept_one() {
    Descriptor connection{checked(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4")};
    bench::set_nodelay(connection.get());
    if (mode_ == "relay") {
      auto target = bench::connect_to_loopback(receive_port(connection.get()));
      bench::set_nonblocking(target.get());
      bench::set_nonblocking(connection.get());
      relays_.push_back(std::make_unique<Relay>(epoll_, std::move(connection), std::move(target)));
      return;
    }
    const int fd = connection.get();
    bench::set_nonblocking(fd);
    if (mode_ == "sink")
      sessions_.push_back(std::make_unique<Sink>(std::move(connection)));
    else
      sessions_.push_back(std::make_unique<Source>(std::move(connection)));
    epoll_.watch_connection(fd, sessions_.back().get());
  }

  std::string_view mode_;
  Epoll epoll_;
  Descriptor termination_ = bench::termination_signal();
  Descriptor listener_ = bench::listen_on_loopback(0);
  Acceptor acceptor_{*this};
  // A run opens one connection: what has ended is left here.
  std::vector<std::unique_ptr<Session>> sessions_;
  std::vector<std::unique_ptr<Relay>> relays_;
};

} // namespace

int main(int argc, char** argv) {
  try {
    const std::string_view mode = argc == 2 ? argv[1] : "";
    if (mode != "sink" && mode != "source" && mode != "relay")
      throw std::invalid_argument("usage: bench_raw_streams sink|source|relay");
    Server server{mode};
    bench::announce(server.port());
    server.run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_raw_streams: %s\n", error.what());
    return 1;
  }
}
