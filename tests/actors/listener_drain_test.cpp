// SPDX-License-Identifier: BSD-3-Clause
//
// listener_drain_test.cpp: the orderly end of a listener, and what it says of its connections.
#include "tests/actors/tls_client.hpp"

#include <atomic>
#include <random>
#include <thread>

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class DrainTest : public ActorTest {
protected:
  Drained drain(Duration deadline) {
    const auto drained = ask<Drained>(listener_, Drain{deadline});
    EXPECT_TRUE(drained) << error_text(drained.error);
    return drained.value.value_or(Drained{});
  }
  Client served(const Endpoint& server) {
    Client client{server};
    client.send("hello\n");
    EXPECT_EQ(client.receive_line(), "hello\n");
    return client;
  }
  std::vector<ConnectionInfo> connections() {
    return ask<ConnectionList>(listener_, Connections{}).value.value_or(ConnectionList{}).connections;
  }
};

TEST_F(DrainTest, WithoutConnectionsIsOverAtOnce) {
  const Endpoint server = listen(echo);
  EXPECT_EQ(drain(1h), Drained{});
  EXPECT_THROW(Client{server}, std::system_error);
  EXPECT_FALSE(info().draining);
  Client client{listen_with(listener_)}; // sockets may be added again
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
}

TEST_F(DrainTest, ClosesIdleConnectionsAtOnce) {
  const Endpoint server = listen(echo);
  Client first = served(server);
  Client second = served(server);
  EXPECT_EQ(drain(1h), (Drained{0, 2, 0}));
  EXPECT_TRUE(first.at_end());
  EXPECT_TRUE(second.at_end());
}

TEST_F(DrainTest, WeakSpot23LetsARequestThatHasBegunFinish) {
  const Endpoint server = listen(echo);
  Client client = served(server);
  client.send("half");
  wait_until([&] { return connections().at(0).unread_size == 4; });
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  EXPECT_THROW(Client{server}, std::system_error) << "nobody else is accepted";
  client.send(" line\n");
  EXPECT_EQ(client.receive_line(), "half line\n");
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

TEST_F(DrainTest, WaitsForAClientThatHasJustConnected) {
  const Endpoint server = listen(echo);
  Client client{server};
  wait_until([&] { return info().connection_count == 1; });
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

TEST_F(DrainTest, WeakSpot23TakesThoseWhoWaitInTheKernel) {
  const Endpoint server = listen(echo);
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  Client client{server};
  client.send("hello\n");
  const auto draining = begin(listener_, Drain{1h});
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

TEST_F(DrainTest, TellsHandlersWhoThenEnd) {
  const Endpoint server = listen([](IOStream stream, Endpoint) -> Task<> {
    co_await stream.write("welcome\n");
    const bool before = stream.draining();
    co_await stream.wait_draining();
    co_await stream.write(!before && stream.draining() ? "bye\n" : "wrong\n");
  });
  Client client{server};
  EXPECT_EQ(client.receive_line(), "welcome\n");
  EXPECT_EQ(drain(1h), (Drained{1, 0, 0}));
  EXPECT_EQ(client.receive_all(), "bye\n");
}

TEST_F(DrainTest, TellsActorsWhoAsk) {
  const Endpoint server =
      listen([](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) -> caf::behavior {
        self->request(stream, caf::infinite, AwaitDrain{}).then([self, stream] {
          self->request(stream, caf::infinite, Write{"bye\n"}).then([self] { self->quit(); });
        });
        return {[](int) {}};
      });
  Client client{server};
  wait_until([&] { return info().connection_count == 1; });
  EXPECT_EQ(drain(1h), (Drained{1, 0, 0}));
  EXPECT_EQ(client.receive_all(), "bye\n");
}

TEST_F(DrainTest, WeakSpot23CutsWhatIsLeftAtTheDeadlineAndSaysHowMuch) {
  std::atomic<int> destroyed{0};
  struct Counts {
    std::atomic<int>& count;
    ~Counts() { ++count; }
  };
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    const Counts counts{destroyed};
    co_await stream.read_bytes(100);
  });
  Client first{server};
  Client second{server};
  first.send("part");
  wait_until([&] { return info().connection_count == 2; });
  EXPECT_EQ(drain(1ms), (Drained{0, 0, 2}));
  EXPECT_EQ(destroyed, 2) << "their handlers are gone, too";
  EXPECT_TRUE(first.at_end());
  EXPECT_TRUE(second.at_end());
}

TEST_F(DrainTest, CutsAHandlerThatWaitsForSomethingElse) {
  const Endpoint server =
      listen([](caf::event_based_actor*, const StreamActor&, const Endpoint&) -> caf::behavior {
        return {[](int) {}}; // never reads, never ends
      });
  Client client{server};
  wait_until([&] { return info().connection_count == 1; });
  EXPECT_EQ(drain(1ms), (Drained{0, 0, 1}));
  wait_for_quiet();
}

/// Relays and chat rooms do this: the end of one connection is that of others.
TEST_F(DrainTest, AnIdleConnectionThatClosesMayEndTheOthers) {
  io_.reset();
  io_.emplace(system_, IOOptions{1, nullptr});
  std::vector<StreamActor> streams; // of the only loop
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) -> caf::behavior {
        streams.push_back(stream);
        self->send(self, caf::ok_atom_v);
        return {[=, &streams](caf::ok_atom) {
          self->request(stream, caf::infinite, ReadUntil{"\n"})
              .then(
                  [=](const Bytes& line) {
                    self->send(stream, Write{line});
                    self->send(self, caf::ok_atom_v);
                  },
                  [=, &streams](const caf::error&) {
                    for (const StreamActor& other : streams)
                      if (other != stream)
                        self->send(other, Close{});
                    self->quit();
                  });
        }};
      });
  std::vector<Client> clients;
  for (int i = 0; i < 3; ++i)
    clients.push_back(served(server));
  const Drained drained = drain(1h);
  EXPECT_EQ(drained.finished + drained.idle, 3U);
  EXPECT_GE(drained.idle, 1U);
  EXPECT_EQ(drained.cut, 0U);
  for (Client& client : clients)
    EXPECT_TRUE(client.at_end());
  streams.clear();
}

/// A write of 32 MiB is under way, to a client that has read nothing.
TEST_F(DrainTest, FinishesAWriteOf32MiBByteForByte) {
  const std::string much = pattern(32 << 20);
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> { co_await stream.write(much); });
  Client client{server, 4096};
  EXPECT_EQ(client.receive(1), much.substr(0, 1));
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  EXPECT_TRUE(client.receive_all() == much.substr(1));
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{1, 0, 0}));
}

TEST_F(DrainTest, ACutWriteCountsThoughItsHandlerIsDone) {
  const std::string much = pattern(32 << 20);
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> { co_await stream.write(much); });
  Client client{server, 4096};
  EXPECT_EQ(client.receive(1), much.substr(0, 1));
  EXPECT_EQ(drain(1ms), (Drained{0, 0, 1}));
}

/// The handler waits for the end of its flush when the deadline comes, or has ended long before.
TEST_F(DrainTest, CutsAndCountsWhatIsStillSent) {
  const std::string much = pattern(32 << 20);
  for (const bool waits : {true, false}) {
    SCOPED_TRACE(waits);
    const Endpoint server = listen([&, waits](IOStream stream, Endpoint) -> Task<> {
      stream.write(much, [](Result<void>) {});
      if (waits)
        co_await stream.close_after_flush(1h);
      else
        stream.close_after_flush(1h, [](Result<void>) {});
    });
    Client client{server, 4096};
    EXPECT_EQ(client.receive(1), much.substr(0, 1));
    if (!waits)
      wait_until([&] { return info().connection_count == 0; });
    EXPECT_EQ(drain(1ms), (Drained{0, 0, 1}));
    std::size_t received = 1;
    try {
      while (!client.receive(1).empty())
        ++received;
    } catch (const std::system_error&) { // a reset
    }
    EXPECT_LT(received, much.size());
  }
}

TEST_F(DrainTest, ARequestIsUnderWayUntilItIsAnswered) {
  const Endpoint server = listen([](IOStream stream, Endpoint) -> Task<> {
    for (;;) {
      co_await stream.read_until("\n");
      MutableBytes body{8};
      co_await stream.read_into(body);
      co_await stream.write(std::string{body.data(), body.size()} + "\n");
    }
  });
  Client client{server};
  client.send("head\n");
  wait_until(
      [&] { return info().connection_count == 1 && connections().at(0).pending.starts_with("read_into"); });
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  EXPECT_EQ(connections().size(), 1U);
  client.send("half");
  wait_until([&] { return connections().at(0).bytes_received == 9; });
  EXPECT_EQ(connections().size(), 1U);
  client.send("done");
  EXPECT_EQ(client.receive_line(), "halfdone\n");
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

TEST_F(DrainTest, WithoutTimeCutsAllThatWaitInTheKernelAndOnTheirWayToAnotherLoop) {
  const Endpoint server = listen(echo);
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i)
    clients.emplace_back(server);
  const Drained drained = drain(0ms);
  EXPECT_EQ(drained.finished + drained.idle + drained.cut, 100U);
  EXPECT_EQ(info().connection_count, 0U);
  for (Client& client : clients)
    EXPECT_TRUE(client.at_end());
}

TEST_F(DrainTest, AHandlerMayStopTheListenerMeanwhile) {
  io_.reset();
  io_.emplace(system_, IOOptions{1, nullptr}); // the handlers run inside the draining
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    caf::anon_send(listener_, Stop{});
    co_await stream.write("served\n");
  });
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i)
    clients.emplace_back(server);
  const Drained drained = drain(1h);
  EXPECT_GE(drained.finished, 1U);
  EXPECT_EQ(clients[0].receive_all(), "served\n");
}

TEST_F(DrainTest, TakesMoreThanTheRateLetsInAndOwesNothing) {
  listener_ = io_->spawn_listener(echo, {.limits = {.max_accept_rate = 1}});
  const Endpoint server = listen_with(listener_);
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  std::vector<Client> clients;
  for (int i = 0; i < 100; ++i) // as many as 100 seconds let in
    clients.emplace_back(server);
  EXPECT_EQ(drain(0ms).cut, 100U);
  ASSERT_TRUE(ask<Done>(listener_, Resume{}));
  served(listen_with(listener_));
}

TEST_F(DrainTest, SeveralAreAnsweredTogetherAtTheEarliestDeadline) {
  const Endpoint server = listen(echo);
  Client client{server};
  client.send("part");
  wait_until([&] { return info().connection_count == 1; });
  const auto late = begin(listener_, Drain{1h});
  const auto early = begin(listener_, Drain{1ms});
  EXPECT_EQ(take<Drained>(early).value.value_or(Drained{}).cut, 1U);
  EXPECT_EQ(take<Drained>(late).value.value_or(Drained{}).cut, 1U);
}

TEST_F(DrainTest, RefusesNewSocketsMeanwhile) {
  const Endpoint server = listen(echo);
  Client client{server};
  client.send("part");
  wait_until([&] { return info().connection_count == 1; });
  const auto draining = begin(listener_, Drain{1h});
  EXPECT_FALSE(ask<Listening>(listener_, Listen{0, "127.0.0.1", {}}));
  client.close();
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}).cut, 0U);
}

TEST_F(DrainTest, AListenerThatEndsMeanwhileAnswers) {
  const Endpoint server = listen(echo);
  Client client{server};
  client.send("part");
  wait_until([&] { return info().connection_count == 1; });
  const auto draining = begin(listener_, Drain{1h});
  self()->send_exit(listener_, caf::exit_reason::user_shutdown);
  EXPECT_FALSE(take<Drained>(draining));
}

// -- connections

TEST_F(DrainTest, ConnectionsTellsWhatEachDoes) {
  const Endpoint server = listen(echo);
  Client first = served(server);
  Client second{server};
  second.send("half");
  std::vector<ConnectionInfo> rows;
  wait_until([&] {
    rows = connections();
    return rows.size() == 2 && rows[1].unread_size == 4;
  });
  EXPECT_EQ(rows[0].id, 1U);
  EXPECT_EQ(rows[1].id, 2U);
  EXPECT_EQ(to_string(rows[0].peer), first.address());
  EXPECT_EQ(rows[0].bytes_received, 6U);
  EXPECT_EQ(rows[0].bytes_sent, 6U);
  EXPECT_EQ(rows[0].unsent_size, 0U);
  EXPECT_EQ(rows[0].pending, R"(read_until "\n")");
  EXPECT_GE(rows[0].age, rows[0].idle);
  EXPECT_FALSE(rows[0].closed);
  EXPECT_EQ(rows[0].tls_version, "");
}

TEST_F(DrainTest, ConnectionsTellsOfTls) {
  TLSOptions options = testing_support::server_options();
  listener_ = io_->spawn_listener(echo, {.accept = {TLSContext{options}}});
  const Endpoint server = listen_with(listener_);
  Client silent{server};
  wait_until([&] { return connections().size() == 1; });
  EXPECT_NE(connections()[0].pending.find("handshake"), std::string::npos) << connections()[0].pending;
  TLSClient client{server, nullptr, "localhost"};
  EXPECT_EQ(client.ask("hello\n"), "hello\n");
  const auto rows = connections();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[1].tls_version, "TLSv1.3");
  EXPECT_EQ(rows[1].tls_server_name, "localhost");
}

TEST_F(DrainTest, CloseConnectionEndsThatOne) {
  const Endpoint server = listen(echo);
  Client first = served(server);
  Client second = served(server);
  ASSERT_TRUE(ask<Done>(listener_, CloseConnection{1}));
  EXPECT_TRUE(first.at_end());
  ASSERT_TRUE(ask<Done>(listener_, CloseConnection{2, true}));
  EXPECT_TRUE(second.at_end());
  const auto refused = ask<Done>(listener_, CloseConnection{2});
  EXPECT_FALSE(refused);
  EXPECT_EQ(static_cast<ListenerErrc>(refused.error.code()), ListenerErrc::no_such_connection);
}

TEST_F(DrainTest, AServerObjectTellsClosesPausesAndDrains) {
  TCPServer server{Handler{echo}, {.io_threads = 2}};
  EXPECT_EQ(server.drain(1h), Drained{});
  EXPECT_TRUE(server.connections().empty());
  const Endpoint endpoint = server.listen(0, "127.0.0.1").front();
  Client first = served(endpoint);
  Client second = served(endpoint);
  EXPECT_EQ(server.connections().size(), 2U);
  EXPECT_TRUE(server.close_connection(1));
  EXPECT_FALSE(server.close_connection(1));
  server.set_limits({.max_connections = 7});
  EXPECT_EQ(server.info().limits.max_connections, 7U);
  EXPECT_THROW(server.set_limits({.accepts_per_turn = 0}), std::invalid_argument);
  server.pause();
  EXPECT_TRUE(server.info().paused);
  server.resume();
  EXPECT_FALSE(server.info().paused);
  EXPECT_EQ(server.drain(1h), (Drained{0, 1, 0}));
}

// -- supervision

TEST_F(DrainTest, AListenerEndsWithTheActorThatIsLinkedToIt) {
  const Endpoint server = listen(echo);
  const caf::actor owner = system_.spawn([listener = listener_](caf::event_based_actor* own) {
    own->link_to(caf::actor_cast<caf::actor_addr>(listener));
    return caf::behavior{[own](int) { own->quit(caf::exit_reason::user_shutdown); }};
  });
  Client client = served(server);
  self()->send(owner, 1);
  wait_until([&] {
    try {
      Client{server};
      return false;
    } catch (const std::system_error&) {
      return true;
    }
  });
  client.send("still here\n");
  EXPECT_EQ(client.receive_line(), "still here\n") << "connections outlive it";
}

/// Stream actors and handlers die at random under load: the listener lives, nothing is left over.
TEST_F(DrainTest, RandomKillingLeavesNothingBehind) {
  std::mutex mutex;
  std::vector<caf::actor_addr> alive;
  listener_ = io_->spawn_listener(
      [&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) -> caf::behavior {
        {
          const std::lock_guard lock{mutex};
          alive.push_back(self->address());
          alive.push_back(stream.address());
        }
        const auto read = [=](const auto& again) -> void {
          self->request(stream, caf::infinite, ReadUntil{"\n"}).then([=](const Bytes& line) {
            self->request(stream, caf::infinite, Write{line}).then([=] { again(again); });
          });
        };
        read(read);
        return {[](int) {}};
      });
  const Endpoint server = listen_with(listener_);
  ask<ListenerInfo>(listener_, Info{});
  quiet_count_ = system_.registry().running();
  const std::size_t descriptors = descriptor_count();
  std::atomic<bool> over{false};
  std::atomic<int> lines{0};
  const auto load = [&] {
    while (!over) {
      try {
        Client client{server};
        for (int i = 0; i < 20; ++i) {
          client.send("hello\n");
          if (client.receive_line() != "hello\n")
            break;
          ++lines;
        }
      } catch (const std::system_error&) { // it was killed
      }
    }
  };
  std::thread one{load};
  std::thread two{load};
  std::mt19937 random{4711};
  const auto end = std::chrono::steady_clock::now() + 10s;
  int killed = 0;
  while (std::chrono::steady_clock::now() < end) {
    caf::actor_addr victim;
    {
      const std::lock_guard lock{mutex};
      if (!alive.empty()) {
        const std::size_t youngest =
            std::min<std::size_t>(alive.size(), 4); // the others are gone by themselves
        const std::size_t i = alive.size() - 1 - random() % youngest;
        victim = alive[i];
        alive.resize(i);
      }
    }
    if (const auto actor = caf::actor_cast<caf::actor>(victim)) {
      caf::anon_send_exit(actor, caf::exit_reason::kill);
      ++killed;
    }
    ::poll(nullptr, 0, 1);
  }
  over = true;
  one.join();
  two.join();
  EXPECT_GT(killed, 100);
  EXPECT_GT(lines, 100);
  wait_for_no_connection();
  wait_for_quiet();
  wait_until([&] { return descriptor_count() == descriptors; });
  Client client = served(server);
}

} // namespace

} // namespace squall::actor_tests
