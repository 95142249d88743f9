// SPDX-License-Identifier: BSD-3-Clause
//
// custom_transport.cpp: streams over a transport of one's own, in squall::net, without actors: an echo server whose
// every byte on the wire is masked with a key, as WebSocket masks its frames. It hides nothing from anybody; it keeps
// proxies from taking the bytes for something that they know.
#include <squall/net/acceptor.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/pipe_io_stream.hpp>
#include <squall/net/task.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <iostream>
#include <list>
#include <sys/signalfd.h>

// [transport]
/// XORs each byte of a direction with the key's byte of its position, over a socket.
class MaskedTransport final : public squall::Transport {
public:
  MaskedTransport(squall::Socket socket, std::string key)
      : socket_{squall::make_socket_transport(std::move(socket))}, key_{std::move(key)} {}

  [[nodiscard]] int fileno() const noexcept override { return socket_->fileno(); }
  void close_fd() noexcept override { socket_->close_fd(); }
  [[nodiscard]] std::error_code get_fd_error() noexcept override { return socket_->get_fd_error(); }

  squall::IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    const squall::IoResult result = socket_->read_from_fd(buffer, size);
    mask(buffer, buffer, result.size, received_);
    received_ += result.size;
    return result;
  }

  squall::IoResult write_to_fd(const squall::IoSlice* pieces, std::size_t count) noexcept override {
    std::array<char, 16 * 1024> masked;
    std::size_t size = 0;
    for (std::size_t i = 0; i < count && size < masked.size(); ++i) {
      const std::size_t part = std::min(pieces[i].size, masked.size() - size);
      mask(masked.data() + size, static_cast<const char*>(pieces[i].data), part, sent_ + size);
      size += part;
    }
    const squall::IoSlice slice{masked.data(), size};
    const squall::IoResult result = socket_->write_to_fd(&slice, 1);
    sent_ += result.size; // what was not taken comes again, unmasked, with the next call
    return result;
  }

  // Without these the peer would see no half-close and no reset, and a close would not wait for its end.
  bool shutdown_write() noexcept override { return socket_->shutdown_write(); }
  [[nodiscard]] bool half_closes() const noexcept override { return socket_->half_closes(); }
  void set_abort() noexcept override { socket_->set_abort(); }
  void set_nodelay(bool value) noexcept override { socket_->set_nodelay(value); }
  [[nodiscard]] squall::Endpoint peer_endpoint() const override { return socket_->peer_endpoint(); }

private:
  void mask(char* to, const char* from, std::size_t size, std::size_t position) const noexcept {
    for (std::size_t i = 0; i < size; ++i)
      to[i] = static_cast<char>(from[i] ^ key_[(position + i) % key_.size()]);
  }

  std::unique_ptr<squall::Transport> socket_;
  std::string key_;
  std::size_t received_ = 0; ///< bytes, which is the position in the key's repetition
  std::size_t sent_ = 0;
};
// [transport]

// [server]
squall::Task<> echo(squall::IOStream stream) {
  try {
    for (;;)
      co_await stream.write(co_await stream.read_bytes(64 * 1024, true));
  } catch (const squall::StreamClosedError&) {
  }
}

/// Serves connections until it goes.
class MaskedEcho {
public:
  MaskedEcho(squall::EventLoop& loop, const squall::ListeningSocket& listening)
      : loop_{loop}, context_{loop}, acceptor_{loop, listening,
                                               [this](squall::Socket socket, const squall::Endpoint&) {
                                                 serve(std::move(socket));
                                               }} {}

private:
  void serve(squall::Socket socket) {
    squall::IOStream stream{loop_, std::make_unique<MaskedTransport>(std::move(socket), "squall")};
    const auto place = connections_.emplace(connections_.end());
    place->emplace(echo(std::move(stream)),
                   [this, place](const std::exception_ptr&) { connections_.erase(place); });
    (*place)->start(context_);
  }

  squall::EventLoop& loop_;
  squall::TaskContext context_;
  std::list<std::optional<squall::RunningTask>> connections_;
  squall::Acceptor acceptor_;
};
// [server]

/// SIGINT and SIGTERM as something to read (signalfd(2)).
squall::Socket termination_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return squall::Socket{signalfd(-1, &signals, SFD_CLOEXEC)};
}

int main() try {
  squall::EventLoop loop;
  squall::PipeIOStream signals{loop, termination_signals()};
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  const MaskedEcho server{loop, listening};
  std::cout << "listening on " << to_string(listening.local_endpoint()) << std::endl;
  signals.read(squall::ReadBytes{sizeof(signalfd_siginfo)},
               [&](const squall::Result<squall::Bytes>&) { loop.stop(); });
  loop.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
