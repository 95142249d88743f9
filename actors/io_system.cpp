// SPDX-License-Identifier: BSD-3-Clause
//
// io_system.cpp: the I/O threads.
#include "actors/client.hpp"
#include "actors/listener.hpp"
#include "net/signals_blocked.hpp"
#include "net/tell.hpp"
#include <squall/io_system.hpp>
#include <squall/net/process.hpp>

#include <algorithm>
#include <atomic>
#include <future>
#include <pthread.h>
#include <stdexcept>
#include <thread>

namespace squall {

namespace {

constexpr std::size_t most_threads = 256;

/// One for each core; the processes that fork_processes made share the cores.
std::size_t default_thread_count() noexcept {
  return static_cast<std::size_t>(
      std::clamp(cpu_count() / process_count(), 1, static_cast<int>(most_threads)));
}

/// A callback of a stream or a timer may throw: that is logged, and the loop goes on.
template <class F>
void run_logged(F step) {
  for (;;) {
    try {
      step();
      return;
    } catch (...) {
      tell(LogLevel::error, "callback_failed", "an exception left a callback on an I/O thread", [&] {
        return LogFields{{"error", describe(std::current_exception())}};
      });
    }
  }
}

void run_thread(LoopUnit& unit) {
  unit.set_thread(true);
  run_logged([&] { unit.loop().run(); });
  run_logged([&] { unit.end_actors(); });
  unit.set_thread(false);
}

} // namespace

class IOSystem::Impl {
public:
  Impl(caf::actor_system& system, const IOOptions& options) : system_{system} {
    if (options.io_threads > most_threads)
      throw std::invalid_argument{"io_threads is " + std::to_string(options.io_threads) +
                                  ": at most 256 are allowed"};
    const std::size_t count = options.io_threads == 0 ? default_thread_count() : options.io_threads;
    for (std::size_t i = 0; i < count; ++i)
      units_->push_back(std::make_shared<LoopUnit>(system, options.clock));
    const SignalsBlocked guard;
    try {
      for (const auto& unit : *units_) {
        threads_.emplace_back([&unit] { run_thread(*unit); });
        pthread_setname_np(threads_.back().native_handle(), "squall-io"); // for top -H and debuggers
      }
    } catch (...) {
      end();
      throw;
    }
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { end(); }

  ListenerActor spawn_listener(Handler handler, const ListenerOptions& options) {
    return spawn_on_loop<ListenerActor>([=, this, handler = std::move(handler)](const auto& unit) {
      return make_loop_actor<Listener>(unit, units_, handler, options)->strong_ref();
    });
  }

  StreamActor spawn_stream(Socket socket, Endpoint peer, const StreamOptions& options) {
    const auto shared = std::make_shared<Socket>(std::move(socket));
    return spawn_on_loop<StreamActor>([=](const auto& unit) {
      IOStream stream{unit->loop(), std::move(*shared), options};
      return make_loop_actor<Connection>(unit, std::move(stream), peer)->strong_ref();
    });
  }

  StreamActor spawn_stream(const TLSContext& context, const StreamOptions& options) {
    return spawn_on_loop<StreamActor>([&](const auto& unit) {
      auto transport = context ? make_unconnected_tls_transport(context) : make_unconnected_transport();
      IOStream stream{unit->loop(), std::move(transport), options};
      return make_loop_actor<Connection>(unit, std::move(stream), Endpoint{})->strong_ref();
    });
  }

  ClientActor spawn_client(const ConnectOptions& options, const std::shared_ptr<Resolver>& resolver) {
    return spawn_on_loop<ClientActor>(
        [&](const auto& unit) { return make_loop_actor<Client>(unit, options, resolver)->strong_ref(); });
  }

  [[nodiscard]] std::size_t thread_count() const noexcept { return units_->size(); }
  [[nodiscard]] caf::actor_system& system() const noexcept { return system_; }

private:
  /// Makes an actor on the thread of the next loop and waits for it; on an I/O thread it makes it on the
  /// caller's own.
  template <class Handle, class F>
  Handle spawn_on_loop(F make) {
    for (const auto& unit : *units_)
      if (unit->loop().in_loop())
        return caf::actor_cast<Handle>(make(unit));
    const auto& unit = (*units_)[next_unit_++ % units_->size()];
    std::promise<caf::strong_actor_ptr> made;
    unit->post([&] {
      try {
        made.set_value(make(unit));
      } catch (...) {
        made.set_exception(std::current_exception());
      }
    });
    return caf::actor_cast<Handle>(made.get_future().get());
  }

  void end() noexcept {
    for (const auto& unit : *units_)
      unit->loop().stop();
    for (std::thread& thread : threads_)
      thread.join();
    threads_.clear();
    for (const auto& unit : *units_)
      unit->close();
  }

  caf::actor_system& system_;
  std::shared_ptr<LoopUnits> units_ = std::make_shared<LoopUnits>();
  std::vector<std::thread> threads_;
  std::atomic<std::size_t> next_unit_{0};
};

IOSystem::IOSystem(caf::actor_system& system, const IOOptions& options)
    : impl_{std::make_unique<Impl>(system, options)} {}

IOSystem::~IOSystem() = default;

ListenerActor IOSystem::spawn_listener(Handler handler, const ListenerOptions& options) {
  return impl_->spawn_listener(std::move(handler), options);
}

StreamActor IOSystem::spawn_stream(Socket socket, Endpoint peer, const StreamOptions& options) {
  return impl_->spawn_stream(std::move(socket), std::move(peer), options);
}

StreamActor IOSystem::spawn_stream(const StreamOptions& options) {
  return spawn_stream(TLSContext{}, options);
}

StreamActor IOSystem::spawn_stream(const TLSContext& context, const StreamOptions& options) {
  return impl_->spawn_stream(context, options);
}

ClientActor IOSystem::spawn_client(const ConnectOptions& options, std::shared_ptr<Resolver> resolver) {
  if (resolver == nullptr)
    throw std::invalid_argument{"a client without a resolver"};
  return impl_->spawn_client(options, resolver);
}

std::size_t IOSystem::thread_count() const noexcept { return impl_->thread_count(); }

caf::actor_system& IOSystem::system() const noexcept { return impl_->system(); }

} // namespace squall
