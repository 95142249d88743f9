// SPDX-License-Identifier: BSD-3-Clause
//
// io_system.hpp: the I/O threads of an application, and the actors on them.
//
// Threads    spawn_listener, spawn_stream and spawn_client may be called from any thread. The destructor must not run
//            on one of the I/O threads.
// Ownership  The application owns the IOSystem; the actor_system must outlive it.
// Lifetime   The destructor ends every actor on the I/O threads: pending requests are answered with
//            CloseReason::shutting_down, streams close, coroutine handlers are destroyed where they wait,
//            handler actors are killed. It returns when the threads have ended; a handler that blocks its
//            thread delays it. Handles may outlive the IOSystem: requests to them fail.
// Setting    Of an idle CAF system with its default scheduler the workers poll; set "scheduler.policy" to "sharing" in
//            your actor_system_config, as TCPServer does.
#pragma once

#include <squall/client_actor.hpp>
#include <squall/listener_actor.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/tcp_client.hpp>

#include <cstddef>
#include <memory>

namespace squall {

struct IOOptions {
  /// I/O threads, at most 256; 0: one for each core that the process may use (sched_getaffinity(2)),
  /// divided by the number of processes that fork_processes made, at least one.
  std::size_t io_threads = 0;
  /// Where the loops get the time from; nullptr: the system's steady clock. Must outlive the IOSystem.
  const Clock* clock = nullptr;
};

class IOSystem {
public:
  /// @throws std::system_error when the system refuses a thread or a descriptor; std::invalid_argument for
  ///         more than 256 threads
  explicit IOSystem(caf::actor_system& system, const IOOptions& options = {});
  IOSystem(const IOSystem&) = delete;
  IOSystem& operator=(const IOSystem&) = delete;
  ~IOSystem();

  /// A listener that serves its connections with `handler`. It accepts nothing before it gets Listen,
  /// AddSockets or AddSocket, but from the sockets of a handover. @throws std::invalid_argument for options that cannot
  /// be, such as the handover of a listener that has not ended; std::system_error when a socket of the handover cannot
  /// be used
  [[nodiscard]] ListenerActor spawn_listener(Handler handler, const ListenerOptions& options = {});

  /// A stream actor, without a handler, on a connected stream socket: for connections that the application
  /// made itself.
  /// @throws std::system_error when the socket cannot be used
  [[nodiscard]] StreamActor spawn_stream(Socket socket, Endpoint peer, const StreamOptions& options = {});

  /// A stream actor, without a handler, that is not connected yet: send it Connect.
  [[nodiscard]] StreamActor spawn_stream(const StreamOptions& options = {});

  /// The same for a connection of TLS, as its client: Connect is answered after the handshake, and its server_hostname
  /// is what the server's certificate must be for. @throws std::invalid_argument for a server's context
  [[nodiscard]] StreamActor spawn_stream(const TLSContext& context, const StreamOptions& options = {});

  /// A client, which connects to hosts by name: send it Connect. Its streams are on its own loop; called on an I/O
  /// thread, that is the caller's.
  [[nodiscard]] ClientActor spawn_client(const ConnectOptions& options = ConnectOptions{},
                                         std::shared_ptr<Resolver> resolver = default_resolver());

  [[nodiscard]] std::size_t thread_count() const noexcept;
  [[nodiscard]] caf::actor_system& system() const noexcept;

private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace squall
