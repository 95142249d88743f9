// SPDX-License-Identifier: BSD-3-Clause
//
// load.cpp: bench_load, the load on an echo server.
//
// Raw epoll in one thread, one receive and one send per batch, so that the load is not dearer than the server
// it measures. Closed loop: a connection sends its next batch when the answer to its last is complete, so a
// slow answer delays what follows, and latencies are those of that many well-behaved clients.
//
// Every answered byte is compared with what was sent. A wrong byte, a byte too many, a lost connection or a
// wait beyond its deadline ends the run with status 1 and a sentence on stderr. Figures go to stdout.

#include "descriptor_limit.hpp"
#include "latency_histogram.hpp"
#include "load_options.hpp"
#include "message_pool.hpp"
#include "processor_time.hpp"
#include "raw_socket.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::chrono::nanoseconds;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using bench::checked;
using bench::Descriptor;

struct Connection {
  Descriptor socket;
  bool connected = false;
  std::string_view batch;   // what is under way; all of it sent and received: nothing is
  std::size_t sent = 0;     // of batch
  std::size_t received = 0; // of batch
  Clock::time_point began;  // of batch
  std::uint64_t random = 0;

  std::uint32_t next_random() {
    random = random * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(random >> 32);
  }
};

enum class Stage { opening, warming_up, measuring, draining, idle };

struct Figures {
  std::uint64_t messages = 0;
  Nanoseconds elapsed{};
  Nanoseconds load_cpu{};
  std::optional<Nanoseconds> server_cpu;
  bench::LatencyHistogram latency; // of a batch
};

class Load {
public:
  explicit Load(const bench::LoadOptions& options)
      : options_{options}, pool_{options.size, options.depth}, epoll_{checked(epoll_create1(EPOLL_CLOEXEC),
                                                                              "epoll_create1")},
        connections_(options.connections) {
    peer_.sin_family = AF_INET;
    peer_.sin_port = htons(options.port);
    if (inet_pton(AF_INET, options.address.c_str(), &peer_.sin_addr) != 1)
      throw bench::UsageError("--address: `" + options.address + "` is not a numeric IPv4 address");
    // What is measured is the cost of a server on this machine; a network has no part in it.
    if ((ntohl(peer_.sin_addr.s_addr) >> 24) != IN_LOOPBACKNET)
      throw bench::UsageError("--address: `" + options.address + "` is not a loopback address");
    for (std::size_t i = 0; i < connections_.size(); ++i)
      connections_[i].random = i;
  }

  void open() {
    auto last_progress = Clock::now();
    for (auto seen = idle_count_; idle_count_ < connections_.size();) {
      while (begun_count_ < connections_.size() && begun_count_ - idle_count_ < max_opening)
        begin_opening(connections_[begun_count_++]);
      turn(last_progress + options_.timeout);
      if (std::exchange(seen, idle_count_) != idle_count_)
        last_progress = Clock::now();
      else if (Clock::now() >= last_progress + options_.timeout)
        throw Failure(late("the server echoed the first message on " + std::to_string(idle_count_) + " of " +
                           std::to_string(connections_.size()) + " connections, then nothing"));
    }
  }

  Figures measure() {
    stage_ = Stage::warming_up;
    idle_count_ = 0;
    for (auto& connection : connections_)
      begin_batch(connection, options_.depth, Clock::now());
    turn_until(Clock::now() + options_.warm_up);
    measure_window();
    drain();
    return figures_;
  }

  /// Keeps the connections until stdin closes.
  void hold() {
    stage_ = Stage::idle;
    const auto deadline = Clock::now() + options_.max_hold;
    for (;;) {
      pollfd ready[] = {{STDIN_FILENO, POLLIN, 0}, {epoll_.get(), POLLIN, 0}};
      if (poll(ready, 2, milliseconds_until(deadline)) < 0 && errno != EINTR)
        checked(-1, "poll");
      if (ready[1].revents != 0)
        turn(Clock::now());
      char ignored[256];
      if (ready[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
        return;
      if (Clock::now() >= deadline)
        throw Failure("stdin did not close within the time given by --max-hold");
    }
  }

private:
  // Below the smallest listen backlog in common use (128): a connection that overflows it waits a second for
  // its handshake to be repeated.
  static constexpr std::size_t max_opening = 64;

  void begin_opening(Connection& connection) {
    connection.socket = Descriptor{socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    const int fd = checked(connection.socket.get(), "socket");
    bench::set_nodelay(fd);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&peer_), sizeof peer_) < 0 && errno != EINPROGRESS)
      throw_failed(connection, "connect", errno);
    epoll_event event{};
    // EPOLLOUT from the start: edge-triggered, it costs nothing until a send falls short.
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &connection;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
  }

  void turn_until(Clock::time_point end) {
    while (Clock::now() < end)
      turn(end);
  }

  void measure_window() {
    std::optional<bench::ProcessorTime> server;
    if (options_.server_pid != 0)
      server.emplace(options_.server_pid);
    const bench::ProcessorTime load{getpid()};
    stage_ = Stage::measuring;
    const auto load_before = load.now();
    const auto server_before = server ? server->now() : Nanoseconds{};
    const auto began = Clock::now();
    turn_until(began + options_.measured);
    figures_.elapsed = Clock::now() - began;
    if (server)
      figures_.server_cpu = server->now() - server_before;
    figures_.load_cpu = load.now() - load_before;
    stage_ = Stage::draining;
    if (figures_.messages == 0)
      throw Failure("not one batch was answered within the measured window");
  }

  void drain() {
    const auto deadline = Clock::now() + options_.timeout;
    while (idle_count_ < connections_.size()) {
      turn(deadline);
      if (Clock::now() >= deadline)
        throw Failure(late("the server left the last batch of " +
                           std::to_string(connections_.size() - idle_count_) + " of " +
                           std::to_string(connections_.size()) + " connections unanswered"));
    }
    turn(Clock::now()); // sees bytes that nobody asked for
  }

  void turn(Clock::time_point deadline) {
    std::array<epoll_event, 512> ready;
    const int count =
        epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), milliseconds_until(deadline));
    if (count < 0 && errno != EINTR)
      checked(count, "epoll_wait");
    for (int i = 0; i < count; ++i) {
      const auto& event = ready[static_cast<std::size_t>(i)];
      handle(*static_cast<Connection*>(event.data.ptr), event.events);
    }
  }

  void handle(Connection& connection, std::uint32_t events) {
    if (!connection.connected) {
      finish_connecting(connection);
      return begin_batch(connection, 1, Clock::now());
    }
    if ((events & EPOLLOUT) != 0)
      send_rest(connection);
    if ((events & ~std::uint32_t{EPOLLOUT}) != 0)
      receive(connection, events);
  }

  void finish_connecting(Connection& connection) {
    int error = 0;
    socklen_t size = sizeof error;
    checked(getsockopt(connection.socket.get(), SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt SO_ERROR");
    if (error != 0)
      throw_failed(connection, "connect", error);
    connection.connected = true;
  }

  void begin_batch(Connection& connection, std::size_t depth, Clock::time_point now) {
    connection.batch = pool_.slice(connection.next_random(), depth);
    connection.sent = 0;
    connection.received = 0;
    connection.began = now;
    send_rest(connection);
  }

  void send_rest(Connection& connection) {
    while (connection.sent < connection.batch.size()) {
      const auto rest = connection.batch.substr(connection.sent);
      const auto size = send(connection.socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (size < 0 && errno == EAGAIN)
        return;
      if (size < 0)
        throw_failed(connection, "send", errno);
      connection.sent += static_cast<std::size_t>(size);
    }
  }

  void receive(Connection& connection, std::uint32_t events) {
    for (;;) {
      const auto size = recv(connection.socket.get(), buffer_->data(), buffer_->size(), 0);
      if (size < 0 && errno == EAGAIN)
        return;
      if (size < 0)
        throw_failed(connection, "recv", errno);
      if (size == 0)
        throw Failure(name(connection) + " was closed by the server after " +
                      std::to_string(connection.received) + " of " + std::to_string(connection.batch.size()) +
                      " bytes of an answer");
      take_answer(connection, {buffer_->data(), static_cast<std::size_t>(size)});
      // A short read has drained the socket, but the end of the stream may hide behind it without an edge of
      // its own.
      if (static_cast<std::size_t>(size) < buffer_->size() && (events & EPOLLRDHUP) == 0)
        return;
    }
  }

  void take_answer(Connection& connection, std::string_view bytes) {
    if (bytes.size() > connection.sent - connection.received)
      throw Failure(name(connection) + " got more bytes than it had sent");
    const auto expected = connection.batch.substr(connection.received, bytes.size());
    if (bytes != expected)
      throw_wrong_byte(connection, bytes, expected);
    connection.received += bytes.size();
    if (connection.received == connection.batch.size())
      finish_batch(connection);
  }

  void finish_batch(Connection& connection) {
    const auto now = Clock::now();
    if (stage_ == Stage::measuring) {
      figures_.latency.record(now - connection.began);
      figures_.messages += options_.depth;
    }
    if (stage_ == Stage::warming_up || stage_ == Stage::measuring)
      begin_batch(connection, options_.depth, now);
    else
      ++idle_count_;
  }

  // Rounded up: rounded down, the last millisecond before a deadline would be spent polling.
  static int milliseconds_until(Clock::time_point deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
  }

  std::string name(const Connection& connection) const {
    return "connection " + std::to_string(&connection - connections_.data());
  }

  std::string late(const std::string& what) const {
    const auto timeout = std::chrono::duration_cast<std::chrono::milliseconds>(options_.timeout);
    return what + " within " + std::to_string(timeout.count()) + " ms (--timeout)";
  }

  [[noreturn]] void throw_failed(const Connection& connection, const char* call, int error) const {
    const auto reason = std::generic_category().message(error);
    throw Failure(name(connection) + " failed: " + call + ": " + reason);
  }

  [[noreturn]] void throw_wrong_byte(const Connection& connection, std::string_view bytes,
                                     std::string_view expected) const {
    const auto [wrong, right] = std::mismatch(bytes.begin(), bytes.end(), expected.begin());
    char text[160];
    const auto offset = connection.received + static_cast<std::size_t>(wrong - bytes.begin());
    std::snprintf(text, sizeof text, " got a wrong byte at %zu of %zu in an answer: 0x%02x instead of 0x%02x",
                  offset, connection.batch.size(), static_cast<unsigned char>(*wrong),
                  static_cast<unsigned char>(*right));
    throw Failure(name(connection) + text);
  }

  using Buffer = std::array<char, 65'536>;

  bench::LoadOptions options_;
  bench::MessagePool pool_;
  sockaddr_in peer_{};
  Descriptor epoll_;
  std::vector<Connection> connections_; // never resized: epoll holds pointers into it
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
  Stage stage_ = Stage::opening;
  std::size_t begun_count_ = 0; // connections that were asked to connect
  std::size_t idle_count_ = 0;  // connections with nothing under way; kept while opening and draining
  Figures figures_;
};

double microseconds(Nanoseconds time) { return std::chrono::duration<double, std::micro>(time).count(); }

void print(const bench::LoadOptions& options, const Figures& figures) {
  const auto seconds = std::chrono::duration<double>(figures.elapsed).count();
  const auto& latency = figures.latency;
  std::printf("{\"connections\": %zu, \"size\": %zu, \"depth\": %zu, ", options.connections, options.size,
              options.depth);
  std::printf("\"messages\": %llu, \"seconds\": %.6f, \"messages_per_second\": %.1f, ",
              static_cast<unsigned long long>(figures.messages), seconds, double(figures.messages) / seconds);
  std::printf("\"p50_us\": %.3f, \"p90_us\": %.3f, \"p99_us\": %.3f, \"p999_us\": %.3f, \"max_us\": %.3f, ",
              microseconds(latency.percentile(0.5)), microseconds(latency.percentile(0.9)),
              microseconds(latency.percentile(0.99)), microseconds(latency.percentile(0.999)),
              microseconds(latency.max()));
  if (figures.server_cpu)
    std::printf("\"server_cpu_ns\": %lld, ", static_cast<long long>(figures.server_cpu->count()));
  std::printf("\"load_cpu_ns\": %lld}\n", static_cast<long long>(figures.load_cpu.count()));
}

void run(const bench::LoadOptions& options) {
  constexpr std::size_t other_descriptors = 16; // standard streams, epoll, and what was inherited
  bench::require_descriptors(options.connections + other_descriptors);
  Load load{options};
  load.open();
  if (options.mode == bench::LoadMode::echo) {
    print(options, load.measure());
  } else {
    std::printf("idle %zu\n", options.connections);
    std::fflush(stdout);
    load.hold();
  }
}

} // namespace

int main(int argc, char** argv) {
  try {
    run(bench::parse_load_options(argc, argv));
    return 0;
  } catch (const bench::UsageError& error) {
    std::fprintf(stderr, "bench_load: %s\n%s", error.what(), bench::load_usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_load: %s\n", error.what());
    return 1;
  }
}
