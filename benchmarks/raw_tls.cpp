// SPDX-License-Identifier: BSD-3-Clause
//
// raw_tls.cpp: the reference of benchmarks/run-tls, the least that TLS costs on this machine.
//
//     bench_raw_tls echo|sink|source CERTIFICATE KEY
//
// OpenSSL on edge-triggered epoll, no lines; one object for each connection, which holds its SSL.

#include "descriptor_limit.hpp"
#include "openssl_connection.hpp"
#include "server_program.hpp"
#include "stream_protocol.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using bench::checked;
using bench::Descriptor;
using bench::Progress;

std::array<char, bench::buffer_size> buffer;

/// One connection. What throws ends it.
class Session {
public:
  Session(SSL_CTX* context, Descriptor socket) : tls{context, std::move(socket)} {
    SSL_set_accept_state(tls.ssl());
  }
  virtual ~Session() = default;

  /// False when it is over.
  bool on_ready() {
    if (!tls.handshaken() && tls.handshake() == Progress::wait)
      return true;
    return advance();
  }

protected:
  virtual bool advance() = 0;
  bench::TlsConnection tls;
};

class Echo final : public Session {
public:
  using Session::Session;

private:
  bool advance() override {
    std::size_t size = 0;
    if (!stalled_.empty()) {
      const bool written = tls.write(stalled_, size) == Progress::done;
      stalled_.erase(0, size);
      if (!written)
        return true;
    }
    for (;;) {
      const Progress progress = tls.read(buffer.data(), buffer.size(), size);
      if (progress == Progress::wait)
        return true;
      if (progress == Progress::ended) {
        tls.close_notify();
        return false;
      }
      const std::string_view line{buffer.data(), size};
      if (tls.write(line, size) != Progress::done) {
        stalled_ = line.substr(size); // reading waits with it
        return true;
      }
    }
  }

  std::string stalled_;
};

class Sink final : public Session {
public:
  using Session::Session;

private:
  bool advance() override {
    for (;;) {
      std::size_t size = 0;
      const Progress progress = tls.read(buffer.data(), buffer.size(), size);
      received_ += size;
      if (progress == Progress::wait)
        return true;
      if (progress == Progress::ended) {
        tls.write(bench::to_bytes(received_), size);
        tls.close_notify();
        return false;
      }
    }
  }

  std::uint64_t received_ = 0;
};

class Source final : public Session {
public:
  using Session::Session;

private:
  bool advance() override {
    std::size_t size = 0;
    Progress progress = Progress::done;
    while ((progress = tls.read(buffer.data(), buffer.size(), size)) == Progress::done) {
      requests_.append(buffer.data(), size);
      for (; requests_.size() >= sizeof wanted_; requests_.erase(0, sizeof wanted_))
        wanted_ += bench::word_at(requests_.data());
    }
    if (progress == Progress::ended) {
      tls.close_notify();
      return false;
    }
    while (wanted_ > 0) {
      const auto rest = std::string_view{piece_}.substr(offset_, wanted_);
      progress = tls.write(rest, size);
      wanted_ -= size;
      offset_ = (offset_ + size) % piece_.size();
      if (progress != Progress::done)
        return true;
    }
    return true;
  }

  std::string requests_; // a part of a word
  std::uint64_t wanted_ = 0;
  std::string piece_ = bench::make_piece();
  std::size_t offset_ = 0;
};

class Server {
public:
  Server(std::string_view mode, const char* certificate, const char* key) : mode_{mode} {
    bench::require_openssl(SSL_CTX_use_certificate_chain_file(context_.get(), certificate) == 1, certificate);
    bench::require_openssl(SSL_CTX_use_PrivateKey_file(context_.get(), key, SSL_FILETYPE_PEM) == 1, key);
    SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_OFF); // tickets only
    watch(termination_.get(), EPOLLIN, &termination_);
    watch(listener_.get(), EPOLLIN, &listener_);
  }

  std::uint16_t port() const { return bench::local_port(listener_.get()); }

  void run() {
    std::array<epoll_event, 512> ready;
    for (;;) {
      const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), -1);
      if (count < 0 && errno != EINTR)
        checked(count, "epoll_wait");
      for (int i = 0; i < count; ++i) {
        void* const of = ready[static_cast<std::size_t>(i)].data.ptr;
        if (of == &termination_)
          return;
        if (of == &listener_)
          accept_all();
        else
          serve(static_cast<Session*>(of));
      }
    }
  }

private:
  void watch(int fd, std::uint32_t events, void* of) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = of;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }

  void accept_all() {
    for (;;) {
      Descriptor socket{accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
      if (socket.get() < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return; // the listener is level-triggered: what is left comes back in the next turn
      const int fd = checked(socket.get(), "accept4");
      bench::set_nodelay(fd);
      auto session = make_session(std::move(socket));
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, session.get());
      session.release(); // epoll has it now: serve() frees it
    }
  }

  std::unique_ptr<Session> make_session(Descriptor socket) {
    if (mode_ == "echo")
      return std::make_unique<Echo>(context_.get(), std::move(socket));
    if (mode_ == "sink")
      return std::make_unique<Sink>(context_.get(), std::move(socket));
    return std::make_unique<Source>(context_.get(), std::move(socket));
  }

  static void serve(Session* session) {
    try {
      if (session->on_ready())
        return;
    } catch (const std::exception&) { // it costs this connection only, and shows at the load
    }
    delete session;
  }

  std::string_view mode_;
  bench::TlsContext context_ = bench::make_tls_context(TLS_server_method());
  Descriptor epoll_{checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
  Descriptor termination_ = bench::termination_signal();
  Descriptor listener_ = bench::listen_on_loopback(0);
};

} // namespace

int main(int argc, char** argv) {
  try {
    const std::string_view mode = argc == 4 ? argv[1] : "";
    if (mode != "echo" && mode != "sink" && mode != "source")
      throw std::invalid_argument("usage: bench_raw_tls echo|sink|source CERTIFICATE KEY");
    std::signal(SIGPIPE, SIG_IGN);
    bench::raise_descriptor_limit();
    Server server{mode, argv[2], argv[3]};
    bench::announce(server.port());
    server.run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_raw_tls: %s\n", error.what());
    return 1;
  }
}
