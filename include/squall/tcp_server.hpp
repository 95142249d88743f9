// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_server.hpp: a whole TCP server in one object, as Tornado's TCPServer: an actor system, I/O threads and
// a listener.
//
// Inside an application that has an actor system of its own, use IOSystem::spawn_listener instead.
//
// Threads    Everything but handle_stream belongs to the thread that made the server; stop() and the queries
//            may be called from any thread. handle_stream runs on the I/O threads, for several connections at
//            once: what its coroutines share must be thread-safe, or io_threads be 1.
// Ownership  The server owns its listening sockets, its threads and its connections.
// Lifetime   run() returns, and shutdown() too, when every connection is closed, every coroutine destroyed
//            and no thread is left that could call handle_stream. A class that derives from TCPServer, is
//            used without run() and has members that its coroutines use, calls shutdown() in its destructor.
#pragma once

#include <squall/io_system.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace squall {

struct ServerOptions {
  std::size_t io_threads = 0; ///< as IOOptions::io_threads
  StreamOptions stream = {};  ///< of every connection
  AcceptOptions accept = {};  ///< of every socket that is added without its own
  ListenerLimits limits = {};
  /// Bytes that the buffers of all connections may hold: the limit of a MemoryBudget for `stream`. 0: what `stream`
  /// says.
  std::size_t memory_budget = 0;
  /// How long run() lets connections come to their end at SIGINT and SIGTERM; see drain(). 0: not at all.
  std::chrono::milliseconds drain_timeout{10'000};
  /// How long run() may take after that, from SIGINT or SIGTERM on drain_timeout + stop_timeout in all. Then the
  /// process is ended, whatever holds it up.
  std::chrono::milliseconds stop_timeout{5'000};
};

class TCPServer {
public:
  /// Serves each connection with handle_stream, which a derived class overrides.
  explicit TCPServer(const ServerOptions& options = {});

  /// Serves each connection with `handler`.
  explicit TCPServer(Handler handler, const ServerOptions& options = {});

  TCPServer(const TCPServer&) = delete;
  TCPServer& operator=(const TCPServer&) = delete;
  virtual ~TCPServer();

  /// Serves one connection. Its end closes the stream. An exception is logged as `handler_failed`; a StreamClosedError
  /// or a TimeoutError of its own stream, which just says that the connection is over, as `connection_ended` at level
  /// info (docs/logging.md). Without an override the stream closes at once, with an
  /// error in the log.
  virtual Task<> handle_stream(IOStream stream, Endpoint peer);

  /// Replaces the options; before the first of the calls below. @throws std::logic_error after it
  void configure(const ServerOptions& options);

  /// Binds as bind_sockets does, which waits for the lookup of a host name, and accepts at once; may be called
  /// repeatedly.
  /// @returns the bound addresses
  /// @throws std::system_error naming the address; std::invalid_argument; std::runtime_error for an `accept` that
  /// cannot be
  std::vector<Endpoint> listen(std::uint16_t port, const std::string& address = {},
                               const BindOptions& options = {},
                               const std::optional<AcceptOptions>& accept = std::nullopt);

  /// Binds as bind_sockets does. Until start() connections wait in the kernel; after it they are accepted at once. May
  /// be called repeatedly. @returns the bound addresses @throws as listen; for `accept`, start() does
  std::vector<Endpoint> bind(std::uint16_t port, const std::string& address = {},
                             const BindOptions& options = {},
                             const std::optional<AcceptOptions>& accept = std::nullopt);

  /// Accepts from what bind() bound: with `num_processes` 1 in this process; else in as many children, 0 and less: one
  /// for each core, as fork_processes says. It then returns in each child, and never in this process. A fork must come
  /// before listen(), add_sockets() and every thread and actor system of the program.
  /// @throws std::logic_error when it was called before, or when fork_processes refuses: then nothing was started; and
  ///         what fork_processes throws in the parent
  void start(int num_processes = 1, int max_restarts = 100);

  /// Accepts from listening sockets, which the server closes when it stops.
  /// @throws std::runtime_error when one cannot be used or was added before: then none was added
  void add_sockets(const std::vector<ListeningSocket>& sockets,
                   const std::optional<AcceptOptions>& accept = std::nullopt);
  void add_socket(const ListeningSocket& socket) { add_sockets({socket}); }

  /// Reads the certificates, keys and authorities of TLS again, for the connections that come later; see ReloadTLS. Not
  /// for handle_stream. @throws std::runtime_error naming the file: nothing has changed
  void reload_tls();

  /// Closes the listening sockets; connections go on. Harmless when nothing listens; listen() may follow.
  /// When called by handle_stream, it may return before the sockets are closed.
  void stop();

  /// Leaves connections in the kernel, and goes on; see Pause. When called by handle_stream, it may return before it is
  /// done.
  void pause();
  void resume();

  /// Ends the work in an orderly way and waits for that; see Drain. Not for handle_stream.
  Drained drain(Duration deadline);

  /// Changes the limits, also before the first of the calls above. Not for handle_stream. @throws
  /// std::invalid_argument; nothing has changed
  void set_limits(const ListenerLimits& limits);

  /// A row for each connection, by age. Not for handle_stream.
  [[nodiscard]] std::vector<ConnectionInfo> connections() const;

  /// Ends one of them; see CloseConnection. @returns false when there is none. Not for handle_stream.
  bool close_connection(std::uint64_t id, bool abort = false);

  /// Waits for SIGINT or SIGTERM, then drains, for at most ServerOptions::drain_timeout, and shuts down; SIGHUP is
  /// reload_tls(), and what it says goes to the log. Until it returns, and not before, it holds the handlers of the
  /// three signals, and lets the calling thread have them, also where the process was started with them blocked; a
  /// SIGINT that is ignored stays so. A second SIGINT or SIGTERM ends the process at once, unless it comes less than
  /// 100 ms after the first. Where drain_timeout and stop_timeout are over and it has not returned, since a handler or
  /// a worker of CAF does not end, it says so on standard error (ended_by_force), and the process ends with status 70;
  /// no destructor runs then.
  /// @returns the exit status: 0 @throws std::logic_error when another server of the process runs
  int run();

  /// Closes the listening sockets and every connection, and ends the threads. Doing it twice is harmless. Not
  /// for handle_stream.
  void shutdown();

  /// The addresses that are listened on, with their ports, and what was counted.
  [[nodiscard]] ListenerInfo info() const;

private:
  friend void run_until_terminated(TCPServer& server, const class ProcessSignals& signals,
                                   std::chrono::milliseconds drain_timeout);
  void begin_reload_tls(); ///< as reload_tls, without waiting; the log tells what came of it
  class Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace squall
