// SPDX-License-Identifier: BSD-3-Clause
//
// stream_load.cpp: bench_stream_load, the load on a stream server: one connection, as fast as it goes.
//
//     bench_stream_load sink|source|relay --port PORT --server-pid PID [--seconds S] [--warmup S]
//
// It counts the bytes that pass within the measured window and the server's processor time. What was under way
// at its edges is in the socket buffers, a few MiB of gigabytes. Then it lets the server finish, and checks that
// not a byte is missing, and where each receive belongs. Figures go to stdout; a wrong byte, a lost connection or
// a wait beyond its deadline ends the run with status 1 and a sentence on stderr.

#include "command_line.hpp"
#include "measured_window.hpp"
#include "raw_socket.hpp"
#include "stream_protocol.hpp"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using bench::checked;
using bench::Descriptor;
using bench::Duration;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr auto stall_timeout = std::chrono::seconds{10}; // of each wait for the server to get on

struct Options {
  std::string_view mode; ///< sink, source or relay
  std::uint16_t port = 0;
  Duration measured{std::chrono::seconds{3}};
  Duration warm_up{std::chrono::milliseconds{500}};
  pid_t server_pid = 0;
};

void require_equal(std::uint64_t found, std::uint64_t wanted, const char* what) {
  if (found != wanted)
    throw Failure(std::string{what} + " " + std::to_string(found) + " bytes of " + std::to_string(wanted));
}

/// A connection that does not block, and what has passed on it.
class Connection {
public:
  explicit Connection(Descriptor socket) : socket_{std::move(socket)} {
    bench::set_nonblocking(socket_.get());
  }

  int fd() const { return socket_.get(); }
  std::uint64_t sent() const { return sent_; }
  std::uint64_t received() const { return received_; }
  bool ended() const { return ended_; }

  /// Sends what comes next in the sequence. @returns false when nothing is taken now
  bool send_next(const std::string& piece) {
    const auto rest = std::string_view{piece}.substr(sent_ % piece.size());
    const auto count = send(fd(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count < 0 && errno == EAGAIN)
      return false;
    sent_ += static_cast<std::uint64_t>(checked_count(count, "send"));
    return true;
  }

  void send_word(std::uint64_t word) {
    const auto bytes = bench::to_bytes(word);
    if (send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
      throw Failure("a request could not be sent");
  }

  /// Receives what comes next in the sequence. @returns false when nothing is there now
  bool receive_next() {
    const auto count = recv(fd(), buffer_.data(), buffer_.size(), 0);
    if (count < 0 && errno == EAGAIN)
      return false;
    const auto size = static_cast<std::size_t>(checked_count(count, "recv"));
    ended_ = size == 0;
    if (!bench::belongs_at(received_, {buffer_.data(), size}))
      throw Failure("what arrived behind " + std::to_string(received_) + " bytes does not belong there");
    received_ += size;
    return true;
  }

  std::uint64_t receive_word() {
    std::string bytes;
    while (bytes.size() < sizeof(std::uint64_t)) {
      wait(POLLIN);
      const auto count = recv(fd(), buffer_.data(), sizeof(std::uint64_t) - bytes.size(), 0);
      if (checked_count(count, "recv") == 0)
        throw Failure("the server ended the connection without an answer");
      bytes.append(buffer_.data(), static_cast<std::size_t>(count));
    }
    return bench::word_at(bytes.data());
  }

  void end() { checked(shutdown(fd(), SHUT_WR), "shutdown"); }

  void wait(short events) const {
    pollfd waiting{fd(), events, 0};
    wait_for(&waiting, 1);
  }

  static void wait_for(pollfd* waiting, nfds_t count) {
    constexpr int timeout = std::chrono::milliseconds{stall_timeout}.count();
    if (checked(poll(waiting, count, timeout), "poll") == 0)
      throw Failure("nothing moved for " + std::to_string(timeout) + " ms");
  }

private:
  static ssize_t checked_count(ssize_t count, const char* call) {
    if (count < 0)
      throw std::system_error(errno, std::generic_category(), call);
    return count;
  }

  Descriptor socket_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  bool ended_ = false;
  std::vector<char> buffer_ = std::vector<char>(256 * 1024);
};

void load_sink(const Options& options) {
  const auto piece = bench::make_piece();
  Connection connection{bench::connect_to_loopback(options.port)};
  bench::MeasuredWindow window{options.server_pid, options.warm_up, options.measured};
  while (window.goes_on(connection.sent()))
    if (!connection.send_next(piece))
      connection.wait(POLLOUT);
  connection.end();
  require_equal(connection.receive_word(), connection.sent(), "the server has read");
  window.print("bytes");
}

void load_source(const Options& options) {
  constexpr std::uint64_t request = 64 * bench::piece_size;
  Connection connection{bench::connect_to_loopback(options.port)};
  bench::MeasuredWindow window{options.server_pid, options.warm_up, options.measured};
  std::uint64_t requested = 0;
  const auto receive = [&] {
    if (!connection.receive_next())
      connection.wait(POLLIN);
    if (connection.ended())
      throw Failure("the server ended the connection");
  };
  while (window.goes_on(connection.received())) {
    while (requested - connection.received() <= request) { // the server always has another one
      connection.send_word(request);
      requested += request;
    }
    receive();
  }
  while (connection.received() < requested)
    receive();
  connection.end();
  while (!connection.ended())
    if (!connection.receive_next())
      connection.wait(POLLIN);
  require_equal(connection.received(), requested, "the server has sent");
  window.print("bytes");
}

Connection accept_within(const Descriptor& listener) {
  pollfd waiting{listener.get(), POLLIN, 0};
  Connection::wait_for(&waiting, 1);
  return Connection{Descriptor{checked(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept4")}};
}

void load_relay(const Options& options) {
  const auto piece = bench::make_piece();
  const Descriptor listener = bench::listen_on_loopback(0);
  Connection near{bench::connect_to_loopback(options.port)};
  near.send_word(bench::local_port(listener.get()));
  Connection far = accept_within(listener);
  bench::MeasuredWindow window{options.server_pid, options.warm_up, options.measured};
  const auto wait_for_both = [&] {
    pollfd waiting[] = {{near.fd(), POLLOUT, 0}, {far.fd(), POLLIN, 0}};
    Connection::wait_for(waiting, 2);
  };
  while (window.goes_on(far.received())) {
    const bool sent = near.send_next(piece);
    const bool received = far.receive_next();
    if (far.ended())
      throw Failure("the relay ended the connection");
    if (!sent && !received)
      wait_for_both();
  }
  near.end();
  while (!far.ended())
    if (!far.receive_next())
      far.wait(POLLIN);
  require_equal(far.received(), near.sent(), "the relay has handed on");
  far.end();
  while (!near.ended())
    if (!near.receive_next())
      near.wait(POLLIN);
  require_equal(near.received(), 0, "the relay has sent back");
  window.print("bytes");
}

constexpr const char* usage = "usage: bench_stream_load sink|source|relay --port PORT --server-pid PID\n"
                              "                         [--seconds S] [--warmup S]\n";

Options parse(int argc, char** argv) {
  Options options;
  options.mode = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; i += 2) {
    const std::string_view name = argv[i];
    if (i + 1 == argc)
      throw bench::UsageError("`" + std::string{name} + "` has no value");
    if (name == "--port")
      options.port = bench::number<std::uint16_t>(name, argv[i + 1], 1, 65535);
    else if (name == "--server-pid")
      options.server_pid = bench::number<pid_t>(name, argv[i + 1], 1, 1 << 30);
    else if (name == "--seconds")
      options.measured = bench::seconds(name, argv[i + 1]);
    else if (name == "--warmup")
      options.warm_up = bench::seconds(name, argv[i + 1]);
    else
      throw bench::UsageError("unknown option `" + std::string{name} + "`");
  }
  if (options.port == 0 || options.server_pid == 0)
    throw bench::UsageError("--port or --server-pid is missing");
  return options;
}

void run(const Options& options) {
  if (options.mode == "sink")
    load_sink(options);
  else if (options.mode == "source")
    load_source(options);
  else if (options.mode == "relay")
    load_relay(options);
  else
    throw bench::UsageError("`" + std::string{options.mode} + "` is neither sink nor source nor relay");
}

} // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const bench::UsageError& error) {
    std::fprintf(stderr, "bench_stream_load: %s\n%s", error.what(), usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_stream_load: %s\n", error.what());
    return 1;
  }
}
