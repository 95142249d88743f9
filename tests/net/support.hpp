// SPDX-License-Identifier: BSD-3-Clause
//
// support.hpp: what the tests of the net layer share: waiting with a deadline, a clock that is set by hand,
// completions that remember, connected sockets.
#pragma once

#include <squall/net/event_loop.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/socket.hpp>

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace squall::testing_support {

using namespace std::chrono_literals;

/// How long any wait may last in real time before its test fails. Sanitizers on a loaded machine need much, that of threads
/// most: it looks at each race that is suppressed, which takes it from a millisecond to seconds.
#ifdef __SANITIZE_THREAD__
constexpr std::chrono::seconds test_deadline{100};
#else
constexpr std::chrono::seconds test_deadline{20};
#endif

/// Runs turns until `predicate` holds; fails the test, and returns false, at the deadline.
template <class Predicate>
[[nodiscard]] bool run_until(EventLoop& loop, Predicate predicate) {
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "deadline of a wait passed";
      return false;
    }
    loop.run_once(1ms); // not longer: what the predicate looks at may be no event of the loop
  }
  return true;
}

/// Some turns, for what must not happen.
inline void run_turns(EventLoop& loop, int count = 8) {
  for (int i = 0; i < count; ++i)
    loop.run_once();
}

/// A clock that only the test moves.
class ManualClock final : public Clock {
public:
  [[nodiscard]] TimePoint now() const override { return now_; }
  void advance(Duration duration) { now_ += duration; }

private:
  TimePoint now_{std::chrono::hours{1}};
};

/// A task that calls a function.
struct TestTask final : LoopTask {
  explicit TestTask(std::function<void()> given) : function{std::move(given)} {}
  void run_task() override { function(); }
  std::function<void()> function;
};

/// A watcher that counts, and calls a function.
struct TestWatcher final : Watcher {
  explicit TestWatcher(std::function<void(Readiness)> given = {}) : function{std::move(given)} {}
  void on_ready(Readiness readiness) override {
    ++calls;
    last = readiness;
    if (function)
      function(readiness);
  }
  void on_loop_end() noexcept override { ++ends; }
  std::function<void(Readiness)> function;
  Readiness last;
  int calls = 0;
  int ends = 0;
};

/// A read that remembers its outcome, whether it came inside the call or later.
struct TestRead final : ReadCompletion {
  TestRead() = default;
  TestRead(IOStream& stream, ReadRequest request) { start(stream, std::move(request)); }

  void start(IOStream& stream, ReadRequest request) {
    outcome.reset();
    if (auto result = stream.start_read(std::move(request), *this))
      take(std::move(*result));
  }
  void on_read(Result<Bytes> result) override { take(std::move(result)); }
  void take(Result<Bytes> result) {
    ++answers;
    outcome.emplace(std::move(result));
    if (then)
      then();
  }

  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] std::string text() const { return succeeded() ? (**outcome).str() : "(no value)"; }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }

  std::optional<Result<Bytes>> outcome;
  std::function<void()> then; ///< called at each answer
  int answers = 0;
};

/// A wait for an event, or a connect, that remembers its outcome.
struct TestWait final : EventCompletion {
  TestWait() = default;
  TestWait(IOStream& stream, StreamEvent event, Timeout timeout = no_timeout) {
    take(stream.start_wait(event, *this, timeout));
  }
  TestWait(IOStream& stream, const Connect& request) { take(stream.start_connect(request, *this)); }
  TestWait(IOStream& stream, const StartTLS& request) { take(stream.start_tls(request, *this)); }

  void on_event(Result<void> result) override {
    ++answers;
    outcome.emplace(std::move(result));
    if (then)
      then();
  }
  void take(const std::optional<Result<void>>& result) {
    if (result)
      on_event(*result);
  }

  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }

  std::optional<Result<void>> outcome;
  std::function<void()> then; ///< called at each answer
  int answers = 0;
};

/// A write that remembers its outcome; a refusal is its outcome as well.
struct TestWrite final : WriteCompletion {
  TestWrite() = default;
  TestWrite(IOStream& stream, Bytes data) { start(stream, std::move(data)); }

  void start(IOStream& stream, Bytes data) {
    outcome.reset();
    if (const auto refused = stream.start_write(std::move(data), *this))
      on_write(*refused);
  }
  void on_write(Result<void> result) override {
    ++answers;
    outcome.emplace(std::move(result));
    if (then)
      then();
  }

  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }

  std::optional<Result<void>> outcome;
  std::function<void()> then;
  int answers = 0;
};

inline Socket checked_socket(int fd, const char* call) {
  if (fd < 0)
    throw std::system_error{errno, std::generic_category(), call};
  return Socket{fd};
}

inline std::pair<Socket, Socket> make_socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
    throw std::system_error{errno, std::generic_category(), "socketpair"};
  return {Socket{fds[0]}, Socket{fds[1]}};
}

/// A non-blocking socket, connected to `listener`: the connection waits there to be accepted.
inline Socket connect_to(const ListeningSocket& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::system_error{errno, std::generic_category(), "getsockname"};
  // Connecting blocks no longer than loopback takes; from then on the socket is non-blocking.
  Socket socket = checked_socket(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    throw std::system_error{errno, std::generic_category(), "connect"};
  Socket nonblocking = checked_socket(::fcntl(socket.fd(), F_DUPFD_CLOEXEC, 0), "fcntl");
  if (::fcntl(nonblocking.fd(), F_SETFL, O_RDWR | O_NONBLOCK) != 0)
    throw std::system_error{errno, std::generic_category(), "fcntl"};
  return nonblocking;
}

/// Gives a TCP socket buffers of a size that the system does not change, so that a connection takes no more
/// than about a megabyte that nobody reads.
inline void fix_buffers(const Socket& socket) {
  const int size = 128 * 1024; // the system doubles it (socket(7))
  EXPECT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
  EXPECT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
}

/// Two ends of a TCP connection on loopback.
inline std::pair<Socket, Socket> make_tcp_pair() {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  Socket client = connect_to(listener);
  int accepted = -1;
  do // the listener does not block; the connection is there when connect(2) returns, or very soon
    accepted = ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (accepted < 0 && (errno == EAGAIN || errno == EINTR));
  Socket server = checked_socket(accepted, "accept4");
  fix_buffers(server);
  fix_buffers(client);
  return {std::move(server), std::move(client)};
}

/// Readable text of `size` bytes that differs from place to place, so that lost, doubled and swapped bytes
/// show. It repeats itself after a prime number of bytes, so that no two blocks of a round size are equal.
inline std::string pattern(std::size_t size, std::size_t seed = 0) {
  constexpr std::size_t period = 10'007;
  static const std::string block = [] {
    std::string text(period, 'x');
    for (std::size_t i = 0; i < period; ++i)
      text[i] = static_cast<char>('a' + (i + i / 26 + i / 701) % 26);
    return text;
  }();
  std::string text;
  text.reserve(size);
  while (text.size() < size)
    text.append(block, (text.size() + seed) % period, size - text.size());
  return text;
}

} // namespace squall::testing_support
