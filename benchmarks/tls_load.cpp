// SPDX-License-Identifier: BSD-3-Clause
//
// tls_load.cpp: bench_tls_load, the load on a server that speaks TLS.
//
//     bench_tls_load echo|full|resumed|sink|source --port PORT --server-pid PID [--seconds S] [--warmup S]
//                    [--connections N] [--size BYTES]
//     bench_tls_load idle --port PORT [--connections N] [--size BYTES]
//
// echo     lines, one under way on each connection; every answered byte is checked
// full     connections that only shake hands: each goes on when the server's first ticket says that the server is
//          done, too; then both sides end it, and the next one begins
// resumed  the same with the ticket of the connection before it
// sink, source  one connection in bulk; see stream_protocol.hpp. A sink's end is a close_notify
// idle     echoes one line on each connection, prints `idle N` and holds them until stdin closes
//
// It counts what is done within the measured window and the server's processor time. TLS 1.3,
// TLS_AES_128_GCM_SHA256 and X25519, whatever the server would choose. Figures go to stdout; a wrong byte, a lost
// connection or a wait beyond its deadline ends the run with status 1 and a sentence on stderr.

#include "command_line.hpp"
#include "descriptor_limit.hpp"
#include "measured_window.hpp"
#include "message_pool.hpp"
#include "openssl_connection.hpp"
#include "stream_protocol.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using bench::checked;
using bench::Descriptor;
using bench::Duration;
using bench::Progress;

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr auto stall_timeout = std::chrono::seconds{10}; // of each wait for the server to get on

struct Options {
  std::string_view mode;
  std::uint16_t port = 0;
  std::size_t connections = 64;
  std::size_t size = 64; ///< of a line, its end included
  Duration measured{std::chrono::seconds{3}};
  Duration warm_up{std::chrono::milliseconds{500}};
  pid_t server_pid = 0;
};

std::array<char, bench::buffer_size> buffer;

class Client {
public:
  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  virtual ~Client() = default;
  virtual void on_ready() = 0;
};

/// The loop, and what makes connections.
class Load {
public:
  explicit Load(const Options& options) : options_{options} {
    SSL_CTX* context = context_.get();
    bench::require_openssl(SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") == 1 &&
                               SSL_CTX_set1_groups_list(context, "X25519") == 1,
                           "the cipher and the group");
    // So that a client's callback gets each ticket; it is kept nowhere else.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, &Load::take_ticket);
  }

  const Options& options() const { return options_; }

  /// Begins to connect, and hands the connection's readiness to `client`.
  /// @param slot  gives the source address: ports of ended connections rest for a while, and one address has too few
  bench::TlsConnection connect(std::size_t slot, Client& client) {
    Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    const int fd = checked(socket.get(), "socket");
    bench::set_nodelay(fd);
    const int on = 1;
    checked(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on), "setsockopt");
    auto address = bench::loopback_address(0);
    constexpr std::size_t addresses = 64;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(slot % addresses));
    checked(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
    address = bench::loopback_address(options_.port);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 &&
        errno != EINPROGRESS)
      checked(-1, "connect");
    bench::TlsConnection connection{context_.get(), std::move(socket)};
    SSL_set_connect_state(connection.ssl());
    SSL_set_app_data(connection.ssl(), &client);
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &client;
    checked(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    return connection;
  }

  /// Waits for readiness and handles it.
  void turn() {
    std::array<epoll_event, 512> ready;
    constexpr int timeout = std::chrono::milliseconds{stall_timeout}.count();
    const int count = epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), timeout);
    if (count == 0)
      throw Failure("nothing moved for " + std::to_string(timeout) + " ms");
    if (count < 0 && errno != EINTR)
      checked(count, "epoll_wait");
    for (int i = 0; i < count; ++i)
      static_cast<Client*>(ready[static_cast<std::size_t>(i)].data.ptr)->on_ready();
  }

  /// Turns until the window is over. @param count  of what has been done
  bench::MeasuredWindow measure(const std::uint64_t& count) {
    bench::MeasuredWindow window{options_.server_pid, options_.warm_up, options_.measured};
    while (window.goes_on(count))
      turn();
    return window;
  }

  /// Gets each ticket of a Handshakes client.
  static int take_ticket(SSL* ssl, SSL_SESSION* session);

private:
  Options options_;
  bench::TlsContext context_ = bench::make_tls_context(TLS_client_method());
  Descriptor epoll_{checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")};
};

/// Lines and their answers.
class Echo final : public Client {
public:
  Echo(Load& load, std::size_t slot, const bench::MessagePool& pool, std::uint64_t& answered, bool once)
      : pool_{pool}, answered_{answered}, once_{once}, random_{slot}, tls_{load.connect(slot, *this)} {}

  void on_ready() override {
    if (line_.empty()) {
      if (tls_.handshake() != Progress::done)
        return;
      begin_line();
    }
    send_rest();
    std::size_t size = 0;
    Progress progress = Progress::done;
    while ((progress = tls_.read(buffer.data(), buffer.size(), size)) == Progress::done)
      take_answer({buffer.data(), size});
    if (progress == Progress::ended)
      throw Failure("the server ended a connection");
  }

private:
  void begin_line() {
    random_ = random_ * 6364136223846793005u + 1442695040888963407u;
    line_ = pool_.slice(static_cast<std::uint32_t>(random_ >> 32), 1);
    sent_ = received_ = 0;
  }

  void send_rest() {
    std::size_t size = 0;
    if (sent_ < line_.size() && tls_.write(line_.substr(sent_), size) == Progress::ended)
      throw Failure("the server ended a connection");
    sent_ += size;
  }

  void take_answer(std::string_view bytes) {
    if (received_ + bytes.size() > sent_ || line_.substr(received_, bytes.size()) != bytes)
      throw Failure("an answer is not what was sent");
    received_ += bytes.size();
    if (received_ < line_.size())
      return;
    ++answered_;
    if (once_)
      return;
    begin_line();
    send_rest();
  }

  const bench::MessagePool& pool_;
  std::uint64_t& answered_;
  bool once_;
  std::uint64_t random_;
  std::string_view line_; // under way; empty before the end of the handshake
  std::size_t sent_ = 0;
  std::size_t received_ = 0;
  bench::TlsConnection tls_;
};

/// Connections one after the other, each for its handshake only.
class Handshakes final : public Client {
public:
  Handshakes(Load& load, std::size_t slot, bool resume, std::uint64_t& done)
      : load_{load}, slot_{slot}, resume_{resume}, done_{done} {
    begin();
  }

  void on_ready() override {
    if (!tls_.handshaken()) {
      if (tls_.handshake() != Progress::done)
        return;
      if ((SSL_session_reused(tls_.ssl()) == 1) != resumes_)
        throw Failure(resumes_ ? "a session was not resumed" : "a session was resumed");
    }
    std::size_t size = 0;
    const Progress progress = tls_.read(buffer.data(), buffer.size(), size);
    if (progress == Progress::done)
      throw Failure("the server sent bytes that nobody asked for");
    if (progress == Progress::wait) {
      if (ticket_ != nullptr && !notified_) {
        tls_.close_notify();
        checked(shutdown(tls_.fd(), SHUT_WR), "shutdown");
        notified_ = true;
      }
      return;
    }
    if (!notified_)
      throw Failure("the server ended a connection, or sends no tickets");
    ++done_;
    ended_ = last_;
    if (!last_)
      begin();
  }

  void take_ticket(SSL_SESSION* session) { ticket_.reset(session); }

  /// No other connection follows this one.
  void finish() { last_ = true; }
  bool ended() const { return ended_; }

private:
  void begin() {
    notified_ = false;
    tls_ = load_.connect(slot_, *this);
    resumes_ = resume_ && ticket_ != nullptr;
    if (resumes_)
      bench::require_openssl(SSL_set_session(tls_.ssl(), ticket_.get()) == 1, "SSL_set_session");
    ticket_ = nullptr;
  }

  Load& load_;
  std::size_t slot_;
  bool resume_;
  std::uint64_t& done_;
  bool last_ = false;
  bool ended_ = false;
  bool resumes_ = false;  // this connection
  bool notified_ = false; // close_notify was sent
  std::unique_ptr<SSL_SESSION, bench::OpenSSLFree> ticket_;
  bench::TlsConnection tls_;
};

int Load::take_ticket(SSL* ssl, SSL_SESSION* session) {
  auto* client = dynamic_cast<Handshakes*>(static_cast<Client*>(SSL_get_app_data(ssl)));
  if (client == nullptr)
    return 0;
  client->take_ticket(session);
  return 1; // the session is ours now
}

/// One connection in bulk, in either direction.
class Bulk final : public Client {
public:
  Bulk(Load& load, bool sends) : sends_{sends}, tls_{load.connect(0, *this)} {}

  void on_ready() override {
    if (!tls_.handshaken() && tls_.handshake() != Progress::done)
      return;
    if (sends_)
      send();
    receive();
    if (!sends_)
      ask();
  }

  const std::uint64_t& moved() const { return sends_ ? sent_ : received_; }
  bool ended() const { return ended_; }
  /// It stopped though the socket is ready; edges come once.
  bool take_more() { return std::exchange(more_, false); }
  void end() {
    ending_ = true;
    on_ready();
  }
  void check() const {
    if (sends_ ? answer_ != bench::to_bytes(sent_) : received_ != requested_)
      throw Failure("the server has not moved all bytes");
  }

private:
  static constexpr std::uint64_t request = 64 * bench::piece_size;

  void send() {
    if (notified_)
      return;
    // A bounded part at a time, so that the window's end is seen; a record that OpenSSL has begun comes first.
    for (std::size_t part = 0; part < 16 || pending_ > 0; ++part) {
      if (pending_ == 0 && ending_) {
        tls_.close_notify();
        notified_ = true;
        return;
      }
      const std::size_t offset = sent_ % piece_.size();
      if (pending_ == 0)
        pending_ = std::min<std::size_t>(piece_.size() - offset, bench::buffer_size);
      std::size_t size = 0;
      const auto progress = tls_.write({piece_.data() + offset, pending_}, size);
      sent_ += size;
      pending_ -= size;
      if (progress != Progress::done)
        return;
    }
    more_ = true;
  }

  void ask() {
    if (ending_ && received_ == requested_ && !notified_) {
      tls_.close_notify();
      notified_ = true;
    }
    std::size_t size = 0;
    if (!ending_ && requested_ - received_ <= request) { // the server always has another one
      if (tls_.write(bench::to_bytes(request), size) != Progress::done)
        throw Failure("a request could not be sent");
      requested_ += request;
    }
  }

  void receive() {
    std::size_t size = 0;
    Progress progress = Progress::done;
    for (int part = 0; part < 64; ++part) {
      progress = tls_.read(buffer.data(), buffer.size(), size);
      if (progress != Progress::done)
        break;
      if (sends_)
        answer_.append(buffer.data(), size);
      else if (!bench::belongs_at(received_, {buffer.data(), size}))
        throw Failure("what arrived behind " + std::to_string(received_) + " bytes does not belong there");
      received_ += size;
    }
    ended_ = progress == Progress::ended;
    more_ = more_ || progress == Progress::done;
    if (ended_ && !notified_)
      throw Failure("the server ended the connection");
  }

  bool sends_;
  bool ending_ = false;
  bool notified_ = false;
  bool ended_ = false;
  bool more_ = false;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t requested_ = 0;
  std::size_t pending_ = 0; // of the write that is under way
  std::string answer_;
  std::string piece_ = bench::make_piece();
  bench::TlsConnection tls_;
};

void run_echo(Load& load) {
  const Options& options = load.options();
  const bool idle = options.mode == "idle";
  const bench::MessagePool pool{options.size, 1};
  std::uint64_t answered = 0;
  std::vector<std::unique_ptr<Echo>> clients;
  constexpr std::size_t most_opening = 64; // below the smallest listen backlog in common use
  while (clients.size() < options.connections) {
    if (!idle || clients.size() < answered + most_opening)
      clients.push_back(std::make_unique<Echo>(load, clients.size(), pool, answered, idle));
    else
      load.turn();
  }
  if (!idle)
    return load.measure(answered).print("messages");
  while (answered < options.connections)
    load.turn();
  std::printf("idle %zu\n", options.connections);
  std::fflush(stdout);
  char ignored = 0;
  while (read(STDIN_FILENO, &ignored, 1) > 0)
    continue;
}

void run_handshakes(Load& load) {
  const Options& options = load.options();
  std::uint64_t done = 0;
  std::vector<std::unique_ptr<Handshakes>> clients;
  for (std::size_t slot = 0; slot < options.connections; ++slot)
    clients.push_back(std::make_unique<Handshakes>(load, slot, options.mode == "resumed", done));
  const auto window = load.measure(done);
  for (const auto& client : clients)
    client->finish();
  for (const auto& client : clients)
    while (!client->ended())
      load.turn();
  window.print("handshakes");
}

void run_bulk(Load& load) {
  const Options& options = load.options();
  Bulk client{load, options.mode == "sink"};
  const auto turn = [&] {
    if (client.take_more())
      client.on_ready();
    else
      load.turn();
  };
  bench::MeasuredWindow window{options.server_pid, options.warm_up, options.measured};
  while (window.goes_on(client.moved()))
    turn();
  client.end();
  while (!client.ended())
    turn();
  client.check();
  window.print("bytes");
}

constexpr const char* usage = "usage: bench_tls_load echo|full|resumed|sink|source|idle --port PORT\n"
                              "                      [--server-pid PID] [--seconds S] [--warmup S]\n"
                              "                      [--connections N] [--size BYTES]\n";

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
    else if (name == "--connections")
      options.connections = bench::number<std::size_t>(name, argv[i + 1], 1, 20'000);
    else if (name == "--size")
      options.size = bench::number<std::size_t>(name, argv[i + 1], 1, 1 << 20);
    else if (name == "--seconds")
      options.measured = bench::seconds(name, argv[i + 1]);
    else if (name == "--warmup")
      options.warm_up = bench::seconds(name, argv[i + 1]);
    else
      throw bench::UsageError("unknown option `" + std::string{name} + "`");
  }
  if (options.port == 0 || (options.server_pid == 0 && options.mode != "idle"))
    throw bench::UsageError("--port or --server-pid is missing");
  return options;
}

void run(const Options& options) {
  constexpr std::size_t other_descriptors = 16; // standard streams, epoll, and what was inherited
  bench::require_descriptors(options.connections + other_descriptors);
  Load load{options};
  if (options.mode == "echo" || options.mode == "idle")
    run_echo(load);
  else if (options.mode == "full" || options.mode == "resumed")
    run_handshakes(load);
  else if (options.mode == "sink" || options.mode == "source")
    run_bulk(load);
  else
    throw bench::UsageError("`" + std::string{options.mode} + "` is none of the modes");
}

} // namespace

int main(int argc, char** argv) {
  try {
    std::signal(SIGPIPE, SIG_IGN);
    run(parse(argc, argv));
    return 0;
  } catch (const bench::UsageError& error) {
    std::fprintf(stderr, "bench_tls_load: %s\n%s", error.what(), usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_tls_load: %s\n", error.what());
    return 1;
  }
}
