// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_server.cpp
#include "actors/listener.hpp"
#include "actors/process_signals.hpp"
#include "net/forced_end.hpp"
#include <squall/net/log.hpp>
#include <squall/net/memory_budget.hpp>
#include <squall/net/process.hpp>
#include <squall/tcp_server.hpp>

#include <atomic>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <thread>

namespace squall {

namespace {

class SystemConfig : public caf::actor_system_config {
public:
  SystemConfig() {
    init_messages(*this);
    // The default policy polls: an idle process would wake hundreds of times a second.
    set("scheduler.policy", caf::atom("sharing"));
  }
};

std::vector<Endpoint> endpoints_of(const std::vector<ListeningSocket>& sockets) {
  std::vector<Endpoint> endpoints;
  for (const ListeningSocket& socket : sockets)
    endpoints.push_back(socket.local_endpoint());
  return endpoints;
}

StreamOptions stream_options(const ServerOptions& options) {
  StreamOptions stream = options.stream;
  if (options.memory_budget > 0)
    stream.memory_budget = std::make_shared<MemoryBudget>(options.memory_budget);
  return stream;
}

} // namespace

class TCPServer::Impl {
public:
  explicit Impl(const ServerOptions& given) : options{given} {}

  ServerOptions options;
  std::optional<Handler> handler; ///< none: handle_stream of the server
  std::vector<std::pair<std::vector<ListeningSocket>, std::optional<AcceptOptions>>>
      bound; ///< and not started
  bool started = false;

  /// Everything that runs. Made by the first call that needs it.
  struct Running {
    Running(Handler with, const ServerOptions& options)
        : io{system, {options.io_threads, nullptr}}, listener{io.spawn_listener(
                                                         std::move(with), {stream_options(options),
                                                                           options.accept, options.limits})} {
      // Actors that handlers made and that live on must not keep the process.
      system.await_actors_before_shutdown(false);
    }
    struct Workers {
      ~Workers() { set_end_stage("waiting for handlers on CAF's workers"); }
    };

    SystemConfig config;
    caf::actor_system system{config};
    Workers workers; ///< its end comes before that of `system`
    IOSystem io;
    ListenerActor listener;
  };

  /// Asks the listener and waits. The caller holds a shared lock of `mutex`.
  template <class Reply, class... Message>
  Reply ask(Message&&... message) {
    caf::scoped_actor self{running->system};
    std::optional<caf::error> failure;
    if constexpr (std::is_void_v<Reply>) {
      self->request(running->listener, caf::infinite, std::forward<Message>(message)...)
          .receive([] {}, [&](caf::error& error) { failure = std::move(error); });
      throw_if(failure);
    } else {
      Reply reply;
      self->request(running->listener, caf::infinite, std::forward<Message>(message)...)
          .receive([&](Reply& got) { reply = std::move(got); },
                   [&](caf::error& error) { failure = std::move(error); });
      throw_if(failure);
      return reply;
    }
  }

  /// Tells the listener, and waits until it has done that, where this thread may wait.
  template <class Message>
  void tell(Message message) {
    const auto lock = lock_shared();
    if (!lock || !running)
      return;
    if (EventLoop::current() !=
        nullptr) // this thread must not wait for the listener: it may be the one that runs it
      caf::anon_send(running->listener, message);
    else
      ask<void>(message);
  }

  static void throw_if(const std::optional<caf::error>& failure) {
    if (failure)
      throw std::runtime_error{error_text(*failure)};
  }

  /// A shared lock of `mutex`; none when the server shuts down, perhaps waiting for the calling thread.
  std::shared_lock<std::shared_mutex> lock_shared() {
    std::shared_lock lock{mutex, std::defer_lock};
    while (!lock.try_lock() && !ending.load())
      std::this_thread::yield(); // the others hold it for a moment only
    return lock;
  }

  std::shared_mutex mutex; ///< guards `running`: shared while it is used, exclusive while it is made or ended
  std::unique_ptr<Running> running;
  std::atomic<bool> ending{false}; ///< shutdown() has the lock, or will get it
};

TCPServer::TCPServer(const ServerOptions& options) : impl_{std::make_unique<Impl>(options)} {}

TCPServer::TCPServer(Handler handler, const ServerOptions& options) : TCPServer{options} {
  impl_->handler.emplace(std::move(handler));
}

TCPServer::~TCPServer() { shutdown(); }

Task<> TCPServer::handle_stream(IOStream, Endpoint) {
  throw std::logic_error{"TCPServer::handle_stream is not overridden"};
}

void TCPServer::configure(const ServerOptions& options) {
  const std::unique_lock lock{impl_->mutex};
  if (impl_->running)
    throw std::logic_error{"configure() comes before listen(), add_sockets() and run()"};
  impl_->options = options;
}

std::vector<Endpoint> TCPServer::listen(std::uint16_t port, const std::string& address,
                                        const BindOptions& options,
                                        const std::optional<AcceptOptions>& accept) {
  const std::vector<ListeningSocket> sockets = bind_sockets(port, address, options);
  add_sockets(sockets, accept);
  return endpoints_of(sockets);
}

std::vector<Endpoint> TCPServer::bind(std::uint16_t port, const std::string& address,
                                      const BindOptions& options,
                                      const std::optional<AcceptOptions>& accept) {
  const std::vector<ListeningSocket> sockets = bind_sockets(port, address, options);
  if (impl_->started)
    add_sockets(sockets, accept);
  else
    impl_->bound.push_back({sockets, accept});
  return endpoints_of(sockets);
}

void TCPServer::start(int num_processes, int max_restarts) {
  if (impl_->started)
    throw std::logic_error{"start() was called before"};
  if (num_processes != 1)
    fork_processes(num_processes, max_restarts);
  impl_->started = true;
  for (const auto& [sockets, accept] : std::exchange(impl_->bound, {}))
    add_sockets(sockets, accept);
}

void TCPServer::add_sockets(const std::vector<ListeningSocket>& sockets,
                            const std::optional<AcceptOptions>& accept) {
  {
    const std::unique_lock lock{impl_->mutex};
    if (!impl_->running) {
      Handler handler = impl_->handler ? *impl_->handler : Handler{[this](IOStream stream, Endpoint peer) {
        return handle_stream(std::move(stream), std::move(peer));
      }};
      impl_->running = std::make_unique<Impl::Running>(std::move(handler), impl_->options);
    }
  }
  const std::shared_lock lock{impl_->mutex};
  impl_->ask<Listening>(AddSockets{sockets, accept});
}

void TCPServer::reload_tls() {
  const auto lock = impl_->lock_shared();
  if (lock && impl_->running)
    impl_->ask<void>(ReloadTLS{});
}

void TCPServer::begin_reload_tls() {
  const auto lock = impl_->lock_shared();
  if (lock && impl_->running)
    caf::anon_send(impl_->running->listener, ReloadTLS{});
}

void TCPServer::stop() { impl_->tell(Stop{}); }

void TCPServer::pause() { impl_->tell(Pause{}); }

void TCPServer::resume() { impl_->tell(Resume{}); }

Drained TCPServer::drain(Duration deadline) {
  const auto lock = impl_->lock_shared();
  return lock && impl_->running ? impl_->ask<Drained>(Drain{deadline}) : Drained{};
}

void TCPServer::set_limits(const ListenerLimits& limits) {
  if (const std::string problem = check_limits(limits); !problem.empty())
    throw std::invalid_argument{problem};
  {
    const std::unique_lock lock{impl_->mutex};
    impl_->options.limits = limits;
  }
  const auto lock =
      impl_->lock_shared(); // handlers, on which the answer may wait, may use the server meanwhile
  if (lock && impl_->running)
    impl_->ask<void>(SetLimits{limits});
}

std::vector<ConnectionInfo> TCPServer::connections() const {
  const auto lock = impl_->lock_shared();
  return lock && impl_->running ? impl_->ask<ConnectionList>(Connections{}).connections
                                : std::vector<ConnectionInfo>{};
}

bool TCPServer::close_connection(std::uint64_t id, bool abort) {
  const auto lock = impl_->lock_shared();
  if (!lock || !impl_->running)
    return false;
  try {
    impl_->ask<void>(CloseConnection{id, abort});
    return true;
  } catch (const std::runtime_error&) { // there is no other failure
    return false;
  }
}

int TCPServer::run() {
  const ProcessSignals signals{{impl_->options.drain_timeout, impl_->options.stop_timeout}};
  run_until_terminated(*this, signals, impl_->options.drain_timeout);
  return 0;
}

void TCPServer::shutdown() {
  impl_->ending = true;
  const std::unique_lock lock{impl_->mutex};
  impl_->running = nullptr;
  impl_->ending = false;
}

ListenerInfo TCPServer::info() const {
  const auto lock = impl_->lock_shared();
  if (!lock || !impl_->running)
    return {};
  // Not a request: an I/O thread must not wait for another.
  return static_cast<const Listener*>(caf::actor_cast<caf::abstract_actor*>(impl_->running->listener))
      ->info();
}

} // namespace squall
