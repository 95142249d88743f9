// SPDX-License-Identifier: BSD-3-Clause
//
// stream_example.hpp: what the examples of stream operations share: two connected streams, a program that ends, and a
// check of what came out.
#pragma once

#include <squall/net/acceptor.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>
#include <squall/net/pipe_io_stream.hpp>
#include <squall/net/task.hpp>

#include <chrono>
#include <coroutine>
#include <exception>
#include <functional>
#include <iostream>
#include <source_location>
#include <stdexcept>
#include <string>

namespace example {

using namespace std::chrono_literals;

/// How long a program may take before it fails.
inline constexpr squall::Duration deadline = 30s;

inline void check(bool right, std::source_location where = std::source_location::current()) {
  if (!right)
    throw std::runtime_error{std::string{where.file_name()} + ":" + std::to_string(where.line()) +
                             ": wrong outcome"};
}

/// Lets a coroutine wait until a callback has run: it goes on later in the loop, not inside the callback.
class Signal {
public:
  explicit Signal(squall::EventLoop& loop) : loop_{loop} {}
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void set() {
    set_ = true;
    if (waiter_)
      timer_.start_after(loop_, 0ms);
  }
  [[nodiscard]] bool await_ready() const noexcept { return set_; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { waiter_ = waiter; }
  void await_resume() const noexcept {}

private:
  squall::EventLoop& loop_;
  bool set_ = false;
  std::coroutine_handle<> waiter_;
  squall::Timer timer_{[this] { waiter_.resume(); }};
};

/// Two ends of one TCP connection over loopback, in one loop.
struct Pair {
  squall::IOStream stream; ///< the side that an example is about
  squall::IOStream peer;
};

/// Connects a pair.
inline squall::Task<Pair> connected(squall::EventLoop& loop, squall::StreamOptions options = {}) {
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  squall::IOStream accepted;
  Signal arrived{loop};
  squall::Acceptor acceptor{loop, listening, [&](squall::Socket socket, const squall::Endpoint&) {
                              accepted = squall::IOStream{loop, std::move(socket)};
                              arrived.set();
                            }};
  squall::IOStream stream{loop, options};
  co_await stream.connect(listening.local_endpoint());
  co_await arrived;
  co_return Pair{stream, accepted};
}

/// Runs `program` in a loop of its own to its end. @returns the exit status
inline int run(const std::function<squall::Task<>(squall::EventLoop&)>& program) try {
  squall::set_log_level(squall::LogLevel::warning); // that a read passed its limit is wanted here
  squall::EventLoop loop;
  squall::TaskContext context{loop};
  std::exception_ptr failure = std::make_exception_ptr(std::runtime_error{"it takes too long"});
  squall::Timer watchdog{[&] { loop.stop(); }};
  watchdog.start_after(loop, deadline);
  squall::RunningTask task{program(loop), [&](std::exception_ptr error) {
                             failure = error;
                             loop.stop();
                           }};
  task.start(context);
  loop.run();
  if (failure)
    std::rethrow_exception(failure);
  std::cout << "all operations done" << std::endl;
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}

} // namespace example
