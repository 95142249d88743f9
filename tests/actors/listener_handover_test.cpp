// SPDX-License-Identifier: BSD-3-Clause
//
// listener_handover_test.cpp: a listener that is spawned in the place of one that died takes over what that has left.
#include "tests/actors/tls_client.hpp"

#include <atomic>
#include <thread>

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class HandoverTest : public ActorTest {
protected:
  void spawn(const ListenerLimits& limits = {}, const AcceptOptions& accept = {}) {
    listener_ = io_->spawn_listener(
        echo, {.stream = short_linger(), .accept = accept, .limits = limits, .handover = handover_});
    quiet_count_ = system_.registry().running();
  }
  void kill_listener(const caf::error& reason = caf::exit_reason::kill) {
    self()->send_exit(listener_, reason);
    self()->wait_for(listener_);
  }
  static bool served(Client& client) {
    client.send("hello\n");
    return client.receive_line() == "hello\n";
  }
  std::vector<ConnectionInfo> connections() {
    return ask<ConnectionList>(listener_, Connections{}).value.value_or(ConnectionList{}).connections;
  }

  std::shared_ptr<ListenerHandover> handover_ = std::make_shared<ListenerHandover>();
};

TEST_F(HandoverTest, TheNextListenerListsCountsAndClosesTheConnections) {
  spawn();
  const Endpoint server = listen_with(listener_);
  Client first{server};
  Client second{server};
  EXPECT_TRUE(served(first) && served(second));
  const auto before = connections();
  for (const caf::error& reason :
       {caf::error{caf::exit_reason::kill}, caf::error{caf::exit_reason::user_shutdown},
        caf::make_error(caf::sec::runtime_error)}) {
    kill_listener(reason);
    EXPECT_TRUE(served(first) && served(second)) << "nobody notices";
    spawn();
    EXPECT_EQ(info().connection_count, 2U);
    EXPECT_EQ(info().endpoints, std::vector{server});
    ASSERT_EQ(connections().size(), 2U);
  }
  EXPECT_EQ(connections()[0].id, before[0].id);
  EXPECT_TRUE(ask<Done>(listener_, CloseConnection{before[0].id}));
  EXPECT_TRUE(first.at_end());
  Client third{server};
  EXPECT_TRUE(served(third));
  wait_until([&] { return connections().size() == 2; });
  EXPECT_EQ(connections()[0].id, before[1].id);
  EXPECT_GT(connections()[1].id, before[1].id) << "no two connections ever have the same";
  EXPECT_EQ(info().accepted_count, 3U);
}

TEST_F(HandoverTest, ServesThoseWhoConnectedWhileThereWasNoListener) {
  spawn();
  const Endpoint server = listen_with(listener_);
  kill_listener();
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i)
    clients.emplace_back(server).send("hello\n");
  spawn();
  for (Client& client : clients)
    EXPECT_EQ(client.receive_line(), "hello\n");
}

TEST_F(HandoverTest, LosesNobodyWhileListenersDie) {
  spawn();
  const Endpoint server = listen_with(listener_);
  std::atomic<int> lines{0};
  std::atomic<bool> over{false};
  std::thread clients{[&] {
    while (!over) {
      Client client{server};
      EXPECT_TRUE(served(client));
      ++lines;
    }
  }};
  for (int i = 0; i < 50; ++i) {
    const int before = lines;
    kill_listener();
    spawn();
    wait_until([&] { return lines > before; });
  }
  over = true;
  clients.join();
}

TEST_F(HandoverTest, DrainsTheConnections) {
  spawn();
  Client first{listen_with(listener_)};
  EXPECT_TRUE(served(first));
  Client half{info().endpoints[0]};
  half.send("hel");
  wait_until([&] { return connections().size() == 2 && connections()[1].unread_size == 3; });
  kill_listener();
  spawn();
  const auto draining = begin(listener_, Drain{1h});
  EXPECT_TRUE(first.at_end());
  half.send("lo\n");
  EXPECT_EQ(half.receive_line(), "hello\n");
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 2, 0}));
}

TEST_F(HandoverTest, ADrainThatDiedWithItsListenerIsOver) {
  spawn();
  const Endpoint server = listen_with(listener_);
  Client half{server};
  half.send("hel");
  wait_until([&] { return connections().size() == 1 && connections()[0].unread_size == 3; });
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  kill_listener();
  EXPECT_FALSE(take<Drained>(draining));
  spawn();
  EXPECT_FALSE(info().draining);
  EXPECT_TRUE(info().endpoints.empty()) << "a drain closes them";
  Client other{listen_with(listener_)};
  EXPECT_TRUE(served(other));
  EXPECT_TRUE(served(other));
  EXPECT_EQ(info().connection_count, 2U);
}

TEST_F(HandoverTest, TheConnectionsCountForTheLimitsOfTheNextListener) {
  spawn();
  const Endpoint server = listen_with(listener_);
  Client first{server};
  Client second{server};
  EXPECT_TRUE(served(first) && served(second));
  kill_listener();
  spawn({.max_connections = 2});
  Client third{server};
  third.send("hello\n");
  wait_until([&] { return info().paused; });
  EXPECT_TRUE(served(first)) << "who is inside stays";
  EXPECT_EQ(info().accepted_count, 2U);
  first.close();
  EXPECT_EQ(third.receive_line(), "hello\n")
      << "the place that comes back is told to the listener that lives";
  kill_listener();
  spawn({.max_connections = 2, .when_full = WhenFull::reset});
  Client fourth{server};
  EXPECT_TRUE(fourth.at_end());
  EXPECT_EQ(info().rejected_count, 1U);
}

TEST_F(HandoverTest, SocketsKeepTheirOptions) {
  AcceptOptions secure;
  secure.tls = TLSContext{testing_support::server_options()};
  spawn({}, secure);
  const Endpoint server = listen_with(listener_);
  kill_listener();
  spawn();
  TLSClient client{server};
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.ask("hello\n"), "hello\n");
}

TEST_F(HandoverTest, ConnectionsThatWaitForTheirProxyHeaderGoOver) {
  AcceptOptions accept;
  accept.proxy_protocol.emplace();
  accept.proxy_protocol->from = {IPNetwork{"127.0.0.1"}};
  spawn({}, accept);
  const Endpoint server = listen_with(listener_);
  Client client{server};
  client.send("PROXY TCP4 192.0.2.7 198");
  Client other{server}; // behind it
  other.send("no header\n");
  wait_until([&] { return info().refused_count == 1; });
  kill_listener();
  client.send(".51.100.1 56324 443\r\nhello\n");
  spawn();
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_EQ(connections().at(0).peer.address, "192.0.2.7");
}

TEST_F(HandoverTest, StoppedSocketsStayClosed) {
  spawn();
  const Endpoint server = listen_with(listener_);
  Client client{server};
  EXPECT_TRUE(served(client));
  ASSERT_TRUE(ask<Done>(listener_, Stop{}));
  kill_listener();
  spawn();
  EXPECT_TRUE(info().endpoints.empty());
  EXPECT_EQ(info().connection_count, 1U);
  EXPECT_THROW(Client{server}, std::system_error);
}

TEST_F(HandoverTest, TheEndOfTheHandoverClosesTheSockets) {
  spawn();
  const Endpoint server = listen_with(listener_);
  const ListenerActor dead = listener_; // a handle keeps nothing open
  Client client{server};
  EXPECT_TRUE(served(client));
  kill_listener();
  Client waits{server};
  handover_.reset();
  EXPECT_TRUE(waits.at_end());
  EXPECT_THROW(Client{server}, std::system_error);
  EXPECT_TRUE(served(client)) << "connections outlive their listener";
}

TEST_F(HandoverTest, WithoutOneTheEndOfTheListenerClosesItsSockets) {
  handover_ = nullptr;
  spawn();
  const Endpoint server = listen_with(listener_);
  kill_listener();
  EXPECT_THROW(Client{server}, std::system_error);
}

TEST_F(HandoverTest, TheEndOfTheIOSystemClosesTheSockets) {
  spawn();
  const Endpoint server = listen_with(listener_);
  end_io();
  EXPECT_THROW(Client{server}, std::system_error);
  io_.emplace(system_);
  EXPECT_THROW(spawn(), std::invalid_argument) << "its connections are not of this one";
}

TEST_F(HandoverTest, IsForOneListenerAtATime) {
  spawn();
  const Endpoint server = listen_with(listener_);
  EXPECT_THROW(static_cast<void>(io_->spawn_listener(echo, {.handover = handover_})), std::invalid_argument);
  kill_listener();
  EXPECT_THROW(static_cast<void>(
                   io_->spawn_listener(echo, {.limits = {.accepts_per_turn = 0}, .handover = handover_})),
               std::invalid_argument);
  spawn();
  Client client{server};
  EXPECT_TRUE(served(client)) << "the sockets are there yet";
}

} // namespace

} // namespace squall::actor_tests
