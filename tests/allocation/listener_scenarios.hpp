// SPDX-License-Identifier: BSD-3-Clause
//
// listener_scenarios.hpp: what listeners and I/O threads do besides serving, for tours of failing allocations.
#pragma once

#include "tests/allocation/scenarios.hpp"

#include <array>
#include <thread>

namespace squall::allocation_tests {

/// A listener that listens, takes another socket, serves a client, and ends.
class StartAndStop final : public Scenario {
public:
  StartAndStop() : baseline_{server_} { run(); }

  void run() override {
    try {
      server_.listener = server_.io->spawn_listener(echo_in(Form::coroutine));
    } catch (const std::bad_alloc&) { // as its documentation says
      return;
    }
    const auto listening = server_.ask<Listening>(Listen{0, "127.0.0.1", {}});
    const auto added = server_.ask<Listening>(AddSockets{sockets_});
    if (lost(listening) || lost(added))
      complain("a request to listen waits for ever");
    if (listening && ask_plainly(listening.value->endpoints.at(0)) == Met::nothing)
      complain("its client waits for ever");
    if (lost(server_.ask<actor_tests::Done>(Stop{})))
      complain("a request to stop waits for ever");
    server_.self->send_exit(server_.listener, caf::exit_reason::user_shutdown);
    server_.listener = nullptr;
    sockets_ = bind_sockets(0, "127.0.0.1"); // they were closed, or belong to nobody
  }

  void check() override { baseline_.check(); }

private:
  Server server_;
  std::vector<ListeningSocket> sockets_ = bind_sockets(0, "127.0.0.1");
  Baseline baseline_;
};

/// A listener of one place, which is taken: who comes then is told, and its limits change.
class Limits final : public Scenario {
public:
  Limits()
      : address_{server_.listen(echo_in(Form::coroutine), {.limits = of(1)})}, first_{ask_and_stay(address_)},
        baseline_{server_} {
    if (!serves_first() || ask_plainly(address_) != Met::refused)
      complain("the limit does not hold");
  }

  void run() override {
    if (ask_plainly(address_) == Met::nothing)
      complain("who is refused waits for ever");
    if (lost(server_.ask<actor_tests::Done>(SetLimits{of(2)})))
      complain("a change of the limits waits for ever");
    if (ask_plainly(address_) == Met::nothing)
      complain("its client waits for ever");
    if (lost(server_.ask<actor_tests::Done>(SetLimits{of(1)})))
      complain("a change of the limits waits for ever");
  }

  void check() override {
    if (!server_.ask<actor_tests::Done>(SetLimits{of(1)}) || !serves_first())
      complain("the one that has the place is not served any more");
    if (!soon([&] { return ask_plainly(address_) == Met::refused; }))
      complain("the limit does not hold any more");
    baseline_.check();
  }

private:
  static ListenerLimits of(std::uint64_t connections) {
    ListenerLimits limits;
    limits.max_connections = connections;
    limits.when_full = WhenFull::answer;
    limits.full_answer = full_answer;
    return limits;
  }
  bool serves_first() {
    try {
      first_.send("hello\n");
      return first_.receive_line() == "hello\n";
    } catch (const std::system_error&) {
      return false;
    }
  }

  Server server_;
  Endpoint address_;
  Client first_;
  Baseline baseline_;
};

/// Two connections, on two loops, are listed, and one of them is closed.
class Inspection final : public Scenario {
public:
  Inspection() : address_{server_.listen(echo_in(Form::pinned_actor))}, baseline_{server_} {}

  void prepare() override {
    for (Client& client : clients_)
      client = ask_and_stay(address_);
  }

  void run() override {
    if (lost(server_.ask<ListenerInfo>(Info{})))
      complain("a request for information waits for ever");
    const auto list = server_.ask<ConnectionList>(Connections{});
    const std::uint64_t id = list && !list.value->connections.empty() ? list.value->connections[0].id : 0;
    if (lost(list) || lost(server_.ask<actor_tests::Done>(CloseConnection{id})))
      complain("a request about connections waits for ever");
  }

  void check() override {
    for (Client& client : clients_)
      client.close();
    if (!soon([&] {
          const auto list = server_.ask<ConnectionList>(Connections{});
          return list && list.value->connections.empty();
        }))
      complain("connections are listed that are gone");
    baseline_.check();
  }

private:
  Server server_{2};
  Endpoint address_;
  std::array<Client, 2> clients_;
  Baseline baseline_;
};

/// What clients do whose server ends their connections.
enum class Clients : unsigned char { leave, stay };

/// Two idle connections, on two loops, are drained.
class Draining final : public Scenario {
public:
  Draining(Duration deadline, Clients how)
      : deadline_{deadline}, how_{how}, address_{server_.listen(echo_in(Form::pinned_actor))}, baseline_{
                                                                                                   server_} {}

  void prepare() override {
    for (Client& client : clients_)
      client = ask_and_stay(address_);
  }

  void run() override {
    std::jthread leaving;
    if (how_ == Clients::leave)
      leaving = std::jthread{[this](const std::stop_token& stop) { leave_when_ended(stop); }};
    if (lost(server_.ask<Drained>(Drain{deadline_})))
      complain("a drain waits for ever");
  }

  void check() override {
    const auto drained = server_.ask<Drained>(Drain{0ms}); // where the first could not begin
    if (!drained)
      complain("a drain fails with memory: " + error_text(drained.error));
    for (Client& client : clients_) {
      if (client.fd() >= 0 && !ends(client))
        complain("a client that was drained waits for ever");
      client.close();
    }
    const auto listening = server_.ask<Listening>(Listen{0, "127.0.0.1", {}});
    if (listening)
      address_ = listening.value->endpoints.at(0);
    else
      complain("it does not listen again: " + error_text(listening.error));
    baseline_.check();
  }

private:
  /// Each client goes when its server has ended the connection: the server waits for that until its deadline.
  void leave_when_ended(const std::stop_token& stop) {
    for (std::size_t left = clients_.size(); left > 0 && !stop.stop_requested();)
      for (Client& client : clients_) {
        pollfd ready{client.fd(), POLLIN, 0}; // of a client that has left: -1, which poll(2) skips
        if (::poll(&ready, 1, 1) <= 0 || !ends(client))
          continue;
        client.close();
        --left;
      }
  }

  Duration deadline_;
  Clients how_;
  Server server_{2};
  Endpoint address_;
  std::array<Client, 2> clients_;
  Baseline baseline_;
};

/// The I/O threads end with two connections that are served.
class End final : public Scenario {
public:
  explicit End(Form form) : form_{form} {}

  void prepare() override {
    server_.io.emplace(server_.system, IOOptions{2, nullptr});
    const Endpoint address = server_.listen(echo_in(form_));
    server_.self->monitor(server_.listener);
    for (Client& client : clients_)
      client = ask_and_stay(address);
  }

  void run() override { server_.end(); }

  void check() override {
    bool told = false;
    server_.self->receive([&](const caf::down_msg&) { told = true; }, caf::after(patience) >> [] {});
    if (!told)
      complain("who monitors the listener does not hear of its end");
    for (Client& client : clients_) {
      if (!ends(client))
        complain("a client waits for ever");
      client.close();
    }
    baseline_.check();
  }

private:
  struct WithoutThreads : Server {
    WithoutThreads() { end(); }
  };

  Form form_;
  WithoutThreads server_;
  std::array<Client, 2> clients_;
  Baseline baseline_{server_};
};

} // namespace squall::allocation_tests
