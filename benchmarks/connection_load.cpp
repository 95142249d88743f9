// SPDX-License-Identifier: BSD-3-Clause
//
// connection_load.cpp: bench_connection_load, the load of connections that come and go on an echo server.
//
//     bench_connection_load short --port PORT --server-pid PID [--seconds S] [--warmup S] [--connections N]
//     bench_connection_load burst --port PORT [--connections N]
//
// short  so many connections at a time: each connects, sends a line, takes its echo and ends its side; when the server
//        has ended the other, the next one begins. Counts those that came to this end within the measured window, and
//        the server's processor time
// burst  connects all at once, sends a line on each as soon as it is connected, and prints how long the slowest
//        connection took to be made and to have its echo. It looks when it has begun all: an upper bound
//
// Figures go to stdout; a wrong byte, a refused or lost connection or a wait beyond its deadline ends the run with
// status 1 and a sentence on stderr.

#include "command_line.hpp"
#include "descriptor_limit.hpp"
#include "measured_window.hpp"
#include "message_pool.hpp"
#include "raw_socket.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using bench::checked;
using bench::Descriptor;
using bench::Duration;
using Clock = std::chrono::steady_clock;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr auto stall_timeout = std::chrono::seconds{10}; // of each wait for the server to get on
constexpr std::size_t line_size = 64;                    // its end included

struct Options {
  std::string_view mode;
  std::uint16_t port = 0;
  std::size_t connections = 64;
  Duration measured{std::chrono::seconds{3}};
  Duration warm_up{std::chrono::milliseconds{500}};
  pid_t server_pid = 0;
};

struct Connection {
  Descriptor socket;
  bool connected = false;
  std::string_view line;
  std::size_t received = 0; // of line
  Clock::time_point began;
};

class Load {
public:
  explicit Load(const Options& options) : options_{options}, connections_(options.connections) {}

  /// One after the other in each place, until the window is over.
  void run_short() {
    bench::MeasuredWindow window{options_.server_pid, options_.warm_up, options_.measured};
    for (Connection& connection : connections_)
      begin(connection);
    while (window.goes_on(ended_count_))
      turn();
    window.print("connections");
  }

  /// One in each place, all at once. They stay until the last has its echo.
  void run_burst() {
    holding_ = true;
    const auto began = Clock::now();
    for (Connection& connection : connections_)
      begin(connection);
    const Duration begun = Clock::now() - began;
    while (echoed_count_ < connections_.size())
      turn();
    std::printf("{\"connections\": %zu, \"all_begun_ms\": %.3f, \"slowest_connect_ms\": %.3f, "
                "\"slowest_echo_ms\": %.3f}\n",
                connections_.size(), milliseconds(begun), milliseconds(slowest_connect_),
                milliseconds(slowest_echo_));
  }

private:
  static double milliseconds(Duration time) {
    return std::chrono::duration<double, std::milli>(time).count();
  }

  void begin(Connection& connection) {
    connection = Connection{};
    connection.line = pool_.slice(static_cast<std::uint32_t>(begun_count_ * 2654435761u), 1);
    connection.began = Clock::now();
    connection.socket = Descriptor{socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    const int fd = checked(connection.socket.get(), "socket");
    // Ports of ended connections rest for a while, and one source address has too few.
    const int on = 1;
    checked(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on), "setsockopt");
    constexpr std::size_t addresses = 250;
    auto address = bench::loopback_address(0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(begun_count_++ % addresses));
    checked(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
    address = bench::loopback_address(options_.port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno != EINPROGRESS)
      checked(-1, "connect");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &connection;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }

  void turn() {
    std::array<epoll_event, 512> ready;
    constexpr int timeout = std::chrono::milliseconds{stall_timeout}.count();
    const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), timeout);
    if (count == 0)
      throw Failure("nothing moved for " + std::to_string(timeout) + " ms, with " +
                    std::to_string(echoed_count_) + " echoes so far");
    if (count < 0 && errno != EINTR)
      checked(count, "epoll_wait");
    for (int i = 0; i < count; ++i)
      handle(*static_cast<Connection*>(ready[static_cast<std::size_t>(i)].data.ptr));
  }

  void handle(Connection& connection) {
    const int fd = connection.socket.get();
    if (!connection.connected) {
      int error = 0;
      socklen_t size = sizeof error;
      checked(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt SO_ERROR");
      if (error != 0)
        throw Failure("connect: " + std::generic_category().message(error));
      connection.connected = true;
      slowest_connect_ = std::max<Duration>(slowest_connect_, Clock::now() - connection.began);
      if (send(fd, connection.line.data(), line_size, MSG_NOSIGNAL) != line_size)
        throw Failure("a connection does not take one line");
      return;
    }
    receive(connection);
  }

  void receive(Connection& connection) {
    std::array<char, 2 * line_size> buffer;
    for (;;) {
      const auto size = recv(connection.socket.get(), buffer.data(), buffer.size(), 0);
      if (size < 0 && errno == EAGAIN)
        return;
      checked(static_cast<int>(size), "recv");
      if (size == 0)
        return end(connection);
      const std::string_view bytes{buffer.data(), static_cast<std::size_t>(size)};
      if (bytes != connection.line.substr(connection.received, bytes.size()))
        throw Failure("an echo has wrong bytes");
      connection.received += bytes.size();
      if (connection.received == line_size) {
        ++echoed_count_;
        slowest_echo_ = std::max<Duration>(slowest_echo_, Clock::now() - connection.began);
        if (!holding_)
          checked(shutdown(connection.socket.get(), SHUT_WR), "shutdown");
      }
    }
  }

  void end(Connection& connection) {
    if (connection.received != line_size || holding_)
      throw Failure("the server closed a connection after " + std::to_string(connection.received) + " of " +
                    std::to_string(line_size) + " bytes");
    ++ended_count_;
    begin(connection);
  }

  Options options_;
  Descriptor epoll_{checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
  bench::MessagePool pool_{line_size, 1};
  std::vector<Connection> connections_; // never resized: epoll holds pointers into it
  bool holding_ = false;                // connections stay after their echo
  std::uint64_t begun_count_ = 0;
  std::uint64_t echoed_count_ = 0;
  std::uint64_t ended_count_ = 0;
  Duration slowest_connect_{};
  Duration slowest_echo_{};
};

Options parse(int argc, char** argv) {
  Options options;
  if (argc < 2 || argc % 2 != 0)
    throw bench::UsageError("a mode and pairs of option and value are expected");
  options.mode = argv[1];
  for (int i = 2; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view text = argv[i + 1];
    if (name == "--port")
      options.port = bench::number<std::uint16_t>(name, text, 1, 65535);
    else if (name == "--connections")
      options.connections = bench::number<std::size_t>(name, text, 1, 20'000);
    else if (name == "--seconds")
      options.measured = bench::seconds(name, text);
    else if (name == "--warmup")
      options.warm_up = bench::seconds(name, text);
    else if (name == "--server-pid")
      options.server_pid = bench::number<pid_t>(name, text, 1, 1 << 30);
    else
      throw bench::UsageError("unknown option `" + std::string{name} + "`");
  }
  if (options.port == 0)
    throw bench::UsageError("--port is missing");
  if (options.mode == "short" && options.server_pid == 0)
    throw bench::UsageError("--server-pid is missing");
  return options;
}

void run(const Options& options) {
  constexpr std::size_t other_descriptors = 16; // standard streams, epoll, and what was inherited
  bench::require_descriptors(options.connections + other_descriptors);
  Load load{options};
  if (options.mode == "short")
    load.run_short();
  else if (options.mode == "burst")
    load.run_burst();
  else
    throw bench::UsageError("`" + std::string{options.mode} + "` is neither short nor burst");
}

} // namespace

int main(int argc, char** argv) {
  try {
    run(parse(argc, argv));
    return 0;
  } catch (const bench::UsageError& error) {
    std::fprintf(stderr, "bench_connection_load: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_connection_load: %s\n", error.what());
    return 1;
  }
}
