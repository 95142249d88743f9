// SPDX-License-Identifier: BSD-3-Clause
//
// squall_streams.cpp: what bench_raw_streams does, on IOStream: coroutines on an event loop, no actors.
//
//     bench_squall_streams sink|sink_into|source|relay
//     bench_squall_streams sink|source CERTIFICATE KEY
//
// With certificate and key it speaks TLS, as bench_raw_tls does.

#include "raw_socket.hpp"
#include "server_program.hpp"
#include "stream_protocol.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/task.hpp>
#include <squall/net/tls_context.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <list>
#include <stdexcept>
#include <string_view>

namespace {

using namespace std::chrono_literals;
using squall::Bytes;
using squall::IOStream;
using squall::Task;

/// The peer ends its side, and is answered then.
const squall::StreamOptions stream_options{.half_close = true};

void require_end(const squall::StreamError& error) {
  if (error.reason != squall::CloseReason::peer_closed)
    throw std::runtime_error("a connection broke");
}

Task<> answer_size(IOStream stream, std::uint64_t received) {
  co_await stream.write(bench::to_bytes(received));
  co_await stream.close_after_flush(10s);
}

Task<> sink(IOStream stream) {
  std::uint64_t received = 0;
  for (;;) {
    const auto bytes = co_await stream.read_bytes(bench::buffer_size, true).as_result();
    if (!bytes) {
      require_end(bytes.error());
      break;
    }
    received += bytes->size();
  }
  co_await answer_size(stream, received);
}

Task<> sink_into(IOStream stream) {
  const squall::MutableBytes buffer{bench::buffer_size};
  std::uint64_t received = 0;
  for (;;) {
    const auto size = co_await stream.read_into(buffer, true).as_result();
    if (!size) {
      require_end(size.error());
      break;
    }
    received += *size;
  }
  co_await answer_size(stream, received);
}

Task<> source(IOStream stream) {
  const Bytes piece{bench::make_piece()};
  std::size_t offset = 0;
  for (;;) {
    const auto request = co_await stream.read_bytes(sizeof(std::uint64_t)).as_result();
    if (!request) {
      require_end(request.error());
      break;
    }
    for (auto wanted = bench::word_at(request->data()); wanted > 0;) {
      const Bytes next = piece.slice(offset, wanted);
      co_await stream.write(next);
      wanted -= next.size();
      offset = (offset + next.size()) % piece.size();
    }
  }
  co_await stream.close_after_flush(10s);
}

/// One direction of a relay.
Task<> pump(IOStream from, IOStream to) {
  for (;;) {
    auto bytes = co_await from.read_bytes(bench::buffer_size, true).as_result();
    if (!bytes) {
      require_end(bytes.error());
      break;
    }
    co_await to.write(std::move(*bytes));
  }
  co_await to.shutdown_write();
}

/// Stops the loop when the process is asked to end.
class Termination final : squall::Watcher {
public:
  explicit Termination(squall::EventLoop& loop) : loop_{loop} { loop_.watch(signal_.get(), *this); }
  Termination(const Termination&) = delete;
  Termination& operator=(const Termination&) = delete;
  ~Termination() { loop_.unwatch(signal_.get(), *this); }

private:
  void on_ready(squall::Readiness) override { loop_.stop(); }

  squall::EventLoop& loop_;
  bench::Descriptor signal_ = bench::termination_signal();
};

class Server {
public:
  /// @param tls  empty: without TLS
  Server(std::string_view mode, squall::TLSContext tls) : mode_{mode}, tls_{std::move(tls)} {}

  std::uint16_t port() const { return acceptor_.socket().local_endpoint().port; }

  /// True when every connection went as it should.
  bool run() {
    loop_.run();
    return !failed_;
  }

private:
  void accept(squall::Socket socket) {
    const IOStream stream = tls_ ? IOStream{loop_, std::move(socket), tls_, stream_options}
                                 : IOStream{loop_, std::move(socket), stream_options};
    if (mode_ == "sink") {
      start(sink(stream));
    } else if (mode_ == "sink_into") {
      start(sink_into(stream));
    } else if (mode_ == "source") {
      start(source(stream));
    } else {
      start(relay(stream));
    }
  }

  Task<> relay(IOStream stream) {
    const Bytes port = co_await stream.read_bytes(sizeof(std::uint64_t));
    auto connection = bench::connect_to_loopback(static_cast<std::uint16_t>(bench::word_at(port.data())));
    const IOStream target{loop_, squall::Socket{connection.release()}, stream_options};
    start(pump(target, stream));
    co_await pump(stream, target);
  }

  void start(Task<> task) {
    tasks_.emplace_back(std::move(task), [this](std::exception_ptr error) { report(error); });
    tasks_.back().start(context_);
  }

  void report(const std::exception_ptr& error) {
    try {
      if (error)
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
      std::fprintf(stderr, "bench_squall_streams: %s\n", failure.what());
      failed_ = true;
    }
  }

  std::string_view mode_;
  squall::TLSContext tls_;
  bool failed_ = false;
  squall::EventLoop loop_;
  Termination termination_{loop_};
  squall::TaskContext context_{loop_};
  std::list<squall::RunningTask> tasks_; // a run opens one connection: what has ended is left here
  squall::Acceptor acceptor_{
      loop_, squall::bind_sockets(0, "127.0.0.1").front(),
      [this](squall::Socket socket, const squall::Endpoint&) { accept(std::move(socket)); }};
};

} // namespace

int main(int argc, char** argv) {
  try {
    const bool secure = argc == 4;
    const std::string_view mode = argc == 2 || secure ? argv[1] : "";
    const bool plain_only = mode == "sink_into" || mode == "relay";
    if (mode != "sink" && mode != "source" && (secure || !plain_only))
      throw std::invalid_argument("usage: bench_squall_streams sink|sink_into|source|relay\n"
                                  "       bench_squall_streams sink|source CERTIFICATE KEY");
    Server server{mode, secure ? squall::TLSContext{squall::tls_server_options(argv[2], argv[3])}
                               : squall::TLSContext{}};
    bench::announce(server.port());
    return server.run() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_squall_streams: %s\n", error.what());
    return 1;
  }
}
