// SPDX-License-Identifier: BSD-3-Clause
//
// scenarios.hpp: servers and their clients, for tours of failing allocations.
#pragma once

#include "tests/actors/tls_client.hpp"
#include "tests/allocation/allocation_faults.hpp"

#include <caf/scheduler/abstract_coordinator.hpp>

namespace squall::allocation_tests {

using namespace std::chrono_literals;
using actor_tests::Client;
using testing_support::complain;
using testing_support::FailingThreads;
using testing_support::Scenario;
using testing_support::Shortage;

/// How long a client has patience, and anything that must end. What does not hold costs a tour so long at each point.
inline constexpr std::chrono::seconds patience{5};

enum class Form : unsigned char { coroutine, pinned_actor, pool_actor };

inline Task<> echo_in_coroutine(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

inline void echo_next(caf::event_based_actor* self, const StreamActor& stream) {
  const auto end = [self](const caf::error& error) { self->quit(error); };
  self->request(stream, caf::infinite, ReadUntil{"\n"})
      .then(
          [=](const Bytes& line) {
            self->request(stream, caf::infinite, Write{line}).then([=] { echo_next(self, stream); }, end);
          },
          end);
}

inline caf::behavior echo_in_actor(caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
  echo_next(self, stream);
  return {[](int) {}};
}

inline Handler echo_in(Form form) {
  switch (form) {
  case Form::coroutine:
    return Handler{echo_in_coroutine};
  case Form::pinned_actor:
    return Handler{echo_in_actor};
  case Form::pool_actor:
    break;
  }
  return {echo_in_actor, HandlerPlacement::worker_pool};
}

/// What a client made of a server.
enum class Met : unsigned char { answered, refused, closed, nothing };

inline constexpr const char* full_answer = "full\n"; ///< to who is refused

inline Met met(const std::string& line) {
  return line == "hello\n"     ? Met::answered
         : line == full_answer ? Met::refused
         : line.empty()        ? Met::closed
                               : Met::nothing;
}

inline Client connect_to(const Endpoint& server) {
  Client client{server};
  const timeval deadline{patience.count(), 0};
  ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
  return client;
}

/// Sends a line to an echo and waits for the answer, or the end.
inline Met ask_plainly(const Endpoint& server) {
  try {
    Client client = connect_to(server);
    client.send("hello\n");
    return met(client.receive_line());
  } catch (const std::system_error& error) {
    return error.code().value() == EAGAIN ? Met::nothing : Met::closed;
  }
}

/// A client that was answered, and waits.
inline Client ask_and_stay(const Endpoint& server) {
  Client client = connect_to(server);
  client.send("hello\n");
  static_cast<void>(client.receive_line());
  return client;
}

/// The client's connection ends, sooner or later.
inline bool ends(Client& client) {
  try {
    return client.at_end();
  } catch (const std::system_error&) {
    return false;
  }
}

inline Met ask_by_tls(const Endpoint& server) {
  try {
    actor_tests::TLSClient client{connect_to(server)};
    if (!client.connected()) {
      static_cast<void>(client.plain().receive_all()); // throws when it has to wait for long
      return Met::closed;
    }
    return met(client.ask("hello\n"));
  } catch (const std::system_error& error) {
    return error.code().value() == EAGAIN ? Met::nothing : Met::closed;
  }
}

/// A listener with its actor system and `threads` I/O threads.
struct Server {
  explicit Server(std::size_t threads = 1) : io{std::in_place, system, IOOptions{threads, nullptr}} {}

  Endpoint listen(const Handler& handler, const ListenerOptions& options = {}) {
    listener = io->spawn_listener(handler, options);
    const auto listening = ask<Listening>(Listen{0, "127.0.0.1", {}});
    return listening ? listening.value->endpoints.at(0) : Endpoint{};
  }
  template <class T, class Message>
  actor_tests::Outcome<T> ask(Message message) {
    return actor_tests::take<T>(self->request(listener, caf::duration{patience}, std::move(message)));
  }
  /// Ends the I/O threads, and whatever lives on them.
  void end() {
    listener = nullptr;
    io.reset();
  }

  actor_tests::Config config;
  caf::actor_system system{config};
  std::optional<IOSystem> io;
  caf::scoped_actor self{system};
  ListenerActor listener;
};

/// The response did not come: it was lost, and its requester would have waited for ever.
template <class T>
bool lost(const actor_tests::Outcome<T>& outcome) {
  return !outcome && outcome.error == caf::sec::request_timeout;
}

template <class Predicate>
bool soon(Predicate predicate) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() > deadline)
      return false;
    ::poll(nullptr, 0, 1);
  }
  return true;
}

/// What a process has without connections.
class Baseline {
public:
  explicit Baseline(Server& server) : server_{server} {}

  /// It has no more by now.
  void check() {
    if (!soon([&] { return actor_tests::descriptor_count() <= descriptors_; })) {
      complain("descriptors are left: " + std::to_string(actor_tests::descriptor_count() - descriptors_));
      descriptors_ = actor_tests::descriptor_count();
    }
    if (!soon([&] { return server_.system.registry().running() <= actors_; })) {
      complain("actors are left: " + std::to_string(server_.system.registry().running() - actors_));
      actors_ = server_.system.registry().running();
    }
  }

private:
  Server& server_;
  std::size_t descriptors_ = actor_tests::descriptor_count();
  std::size_t actors_ = server_.system.registry().running();
};

/// A server that serves one client in each run.
class ServeOne final : public Scenario {
public:
  ServeOne(const Handler& handler, const ListenerOptions& options, bool tls)
      : tls_{tls}, address_{server_.listen(handler, options)} {
    sigset_t sigpipe; // of the client: OpenSSL's socket BIO raises it
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, nullptr);
    if (meet() != Met::answered)
      complain("the server does not serve at all");
  }

  void run() override {
    if (meet() == Met::nothing)
      complain("its client waits for ever");
  }

  void check() override {
    if (meet() != Met::answered)
      complain("the next client is not served");
    if (!soon([&] { return server_.ask<ListenerInfo>(Info{}).value->connection_count == 0; }))
      complain("connections are counted that are gone");
    baseline_.check();
  }

private:
  Met meet() { return tls_ ? ask_by_tls(address_) : ask_plainly(address_); }

  bool tls_;
  Server server_;
  Endpoint address_;
  Baseline baseline_{server_};
};

} // namespace squall::allocation_tests
