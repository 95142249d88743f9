// SPDX-License-Identifier: BSD-3-Clause
//
// support.hpp: what the tests of the actor layer share: a blocking client, an actor system with I/O threads,
// requests with a deadline.
#pragma once

#include "tests/log_recorder.hpp"
#include <squall/squall.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <dirent.h>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace squall::actor_tests {

using namespace std::chrono_literals;

/// How long any wait may last in real time before its test fails. Sanitizers on a loaded machine need much, that of threads
/// most: it looks at each race that is suppressed, which takes it from a millisecond to seconds.
#ifdef __SANITIZE_THREAD__
constexpr std::chrono::seconds test_deadline{100};
#else
constexpr std::chrono::seconds test_deadline{20};
#endif

/// Waits until `predicate` holds; fails the test, and returns false, at the deadline.
template <class Predicate>
bool wait_until(Predicate predicate) {
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > deadline) {
      ADD_FAILURE() << "deadline of a wait passed";
      return false;
    }
    ::poll(nullptr, 0, 1);
  }
  return true;
}

[[noreturn]] inline void throw_errno(const char* call) {
  throw std::system_error{errno, std::generic_category(), call};
}

inline Socket checked_socket(int fd, const char* call) {
  if (fd < 0)
    throw_errno(call);
  return Socket{fd};
}

/// How many descriptors the process has.
inline std::size_t descriptor_count() {
  DIR* const directory = ::opendir("/proc/self/fd");
  std::size_t count = 0;
  while (::readdir(directory) != nullptr)
    ++count;
  ::closedir(directory);
  return count - 3; // ".", ".." and the directory's own
}

/// Readable text that differs from place to place, so that lost, doubled and swapped bytes show.
inline std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + (i + i / 26 + i / 701) % 26);
  return text;
}

/// A blocking TCP client; every call has the deadline and throws std::system_error.
class Client {
public:
  Client() = default;
  explicit Client(Socket socket) : socket_{std::move(socket)} { set_deadline(); }
  /// `receive_buffer`: SO_RCVBUF, for a peer that soon takes no more; 0: the system's.
  explicit Client(const Endpoint& server, int receive_buffer = 0)
      : socket_{checked_socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")} {
    set_deadline();
    if (receive_buffer != 0)
      ::setsockopt(socket_.fd(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server.port);
    ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    if (::connect(socket_.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      return;
    if (errno != EINTR) // a signal, such as SIGCHLD: the connect goes on (connect(2))
      throw_errno("connect");
    pollfd done{socket_.fd(), POLLOUT, 0};
    while (::poll(&done, 1, static_cast<int>(test_deadline.count()) * 1000) < 0 && errno == EINTR) {
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0)
      throw std::system_error{error, std::generic_category(), "connect"};
  }

  void send(std::string_view data) {
    while (!data.empty()) {
      const auto sent = ::send(socket_.fd(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent < 0)
        throw_errno("send");
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  /// Exactly `size` bytes, or less at the end.
  std::string receive(std::size_t size) {
    while (received_.size() < size && receive_more()) {
    }
    return take(size);
  }
  /// A line with its end, or what is there at the end.
  std::string receive_line() {
    std::size_t end;
    while ((end = received_.find('\n')) == std::string::npos && receive_more()) {
    }
    return take(end == std::string::npos ? received_.size() : end + 1);
  }
  std::string receive_all() {
    while (receive_more()) {
    }
    return take(received_.size());
  }
  /// The peer closed, and nothing came before; a reset counts.
  bool at_end() {
    try {
      return received_.empty() && !receive_more();
    } catch (const std::system_error& error) {
      return error.code().value() == ECONNRESET;
    }
  }

  void end_sending() { ::shutdown(socket_.fd(), SHUT_WR); }
  void close() { socket_.reset(); }
  /// Closes with RST.
  void reset() {
    const linger none{1, 0};
    ::setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close();
  }
  [[nodiscard]] int fd() const { return socket_.fd(); }
  /// "127.0.0.1:port", as the server sees it.
  [[nodiscard]] std::string address() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(socket_.fd(), reinterpret_cast<sockaddr*>(&address), &size);
    return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  }

private:
  void set_deadline() {
    const timeval deadline{test_deadline.count(), 0};
    ::setsockopt(socket_.fd(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    ::setsockopt(socket_.fd(), SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof deadline);
  }
  bool receive_more() {
    std::array<char, 16384> chunk;
    ssize_t size;
    do // with a deadline it is interrupted by any signal, also by an ignored one (SIGCHLD; signal(7))
      size = ::recv(socket_.fd(), chunk.data(), chunk.size(), 0);
    while (size < 0 && errno == EINTR);
    if (size < 0)
      throw_errno("recv");
    received_.append(chunk.data(), static_cast<std::size_t>(size));
    return size > 0;
  }
  std::string take(std::size_t size) {
    std::string text = received_.substr(0, size);
    received_.erase(0, size);
    return text;
  }

  Socket socket_;
  std::string received_;
};

using testing_support::LogRecorder;

/// The outcome of a request to a stream actor or a listener.
template <class T>
struct Outcome {
  std::optional<T> value;
  caf::error error;

  explicit operator bool() const { return value.has_value(); }
  [[nodiscard]] std::optional<StreamError> stream() const { return stream_error(error); }
  /// For messages of failed expectations, and for comparing.
  [[nodiscard]] CloseReason reason() const {
    const auto found = stream_closed(error);
    return found ? found->reason() : CloseReason::none;
  }
  [[nodiscard]] StreamErrc code() const {
    const auto found = stream_error(error);
    return found ? found->code : StreamErrc{};
  }
};

/// What came, as text.
inline std::string text(const Outcome<Bytes>& outcome) {
  return outcome ? outcome.value->str() : "(error: " + error_text(outcome.error) + ")";
}

struct Done {}; ///< the value of a request without one

/// Takes the response of a request that a scoped_actor made.
template <class T, class Response>
Outcome<T> take(Response response) {
  Outcome<T> outcome;
  const auto on_error = [&](caf::error& error) { outcome.error = std::move(error); };
  if constexpr (std::is_same_v<T, Done>)
    response.receive([&] { outcome.value.emplace(); }, on_error);
  else
    response.receive([&](T& value) { outcome.value = std::move(value); }, on_error);
  return outcome;
}

/// Asks and waits.
template <class T, class Handle, class Message>
Outcome<T> ask(caf::scoped_actor& self, const Handle& target, Message message) {
  return take<T>(self->request(target, caf::duration{test_deadline}, std::move(message)));
}

class Config : public caf::actor_system_config {
public:
  Config() {
    set("scheduler.policy", caf::atom("sharing"));
    set("scheduler.max-threads", 2);
    init_messages(*this);
  }
};

/// A stream actor and the client at its other end.
struct Connected {
  StreamActor stream;
  Client client;
  int server_fd; ///< the stream's
};

/// For streams that nobody reads: how soon they notice that their peer is gone.
inline StreamOptions short_linger() {
  StreamOptions options;
  options.linger_timeout = 20ms;
  return options;
}

/// An actor system with two I/O threads, and an actor for the test itself.
class ActorTest : public ::testing::Test {
protected:
  void TearDown() override {
    self_.reset();
    io_.reset();
    // Nothing of ours may be left, or the system would never end.
    wait_until([&] { return system_.registry().running() == 0; });
  }

  /// Ends the I/O threads, and all on them.
  void end_io() { io_.reset(); }

  /// A stream actor without a handler.
  Connected connect(const StreamOptions& options = {}, int receive_buffer = 0) {
    const ListeningSocket listening = bind_sockets(0, "127.0.0.1").front();
    Client client{listening.local_endpoint(), receive_buffer};
    int accepted = -1;
    wait_until([&] { return (accepted = ::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0; });
    return {io_->spawn_stream(checked_socket(accepted, "accept4"), {"127.0.0.1", 4711, AddressFamily::ipv4},
                              options),
            std::move(client), accepted};
  }

  /// A listener with `handler` that listens on a port of the system's choice.
  Endpoint listen(Handler handler, const StreamOptions& options = {}) {
    listener_ = io_->spawn_listener(std::move(handler), {.stream = options});
    quiet_count_ = system_.registry().running();
    return listen_with(listener_);
  }
  Endpoint listen_with(const ListenerActor& listener) {
    const auto listening = ask<Listening>(self_.value(), listener, Listen{0, "127.0.0.1", {}});
    return listening ? listening.value->endpoints.at(0) : Endpoint{};
  }

  ListenerInfo info() { return *ask<ListenerInfo>(self_.value(), listener_, Info{}).value; }
  /// Waits until every connection of the listener is gone.
  void wait_for_no_connection() {
    wait_until([&] { return info().connection_count == 0; });
  }

  /// Waits until no more actors are left than when listen() was called: stream actors and handlers are gone.
  void wait_for_quiet() {
    wait_until([&] { return system_.registry().running() <= quiet_count_; });
  }

  template <class T, class Handle, class Message>
  Outcome<T> ask(const Handle& target, Message message) {
    return actor_tests::ask<T>(self_.value(), target, std::move(message));
  }
  template <class T, class Handle, class Message>
  Outcome<T> ask(caf::scoped_actor& self, const Handle& target, Message message) {
    return actor_tests::ask<T>(self, target, std::move(message));
  }
  /// Asks and does not wait: the answer is for take().
  template <class Handle, class Message>
  auto begin(const Handle& target, Message message) {
    return self()->request(target, caf::duration{test_deadline}, std::move(message));
  }
  /// Returns when the actor has handled what was sent to it before.
  template <class Handle>
  void sync(const Handle& target) {
    take_any(begin(target, Info{}));
  }

  caf::scoped_actor& self() { return self_.value(); }

  Config config_;
  caf::actor_system system_{config_};
  std::optional<IOSystem> io_{std::in_place, system_, IOOptions{2, nullptr}};
  std::optional<caf::scoped_actor> self_{std::in_place, system_};
  ListenerActor listener_;
  std::size_t quiet_count_ = 0;

private:
  static void
  take_any(caf::response_handle<caf::blocking_actor, caf::detail::type_list<StreamInfo>, true> response) {
    actor_tests::take<StreamInfo>(response);
  }
  static void
  take_any(caf::response_handle<caf::blocking_actor, caf::detail::type_list<ListenerInfo>, true> response) {
    actor_tests::take<ListenerInfo>(response);
  }
};

} // namespace squall::actor_tests
