// SPDX-License-Identifier: BSD-3-Clause
//
// listener_test.cpp: the requests of a listener, and what becomes of its sockets and connections.
#include "tests/actors/support.hpp"

#include <set>

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

std::vector<ListeningSocket> bind_some(int count) {
  std::vector<ListeningSocket> sockets;
  for (int i = 0; i < count; ++i)
    sockets.push_back(bind_sockets(0, "127.0.0.1").front());
  return sockets;
}

void expect_served(const Endpoint& server) {
  Client client{server};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
}

void expect_refused(const Endpoint& server) {
  EXPECT_THROW(Client{server}, std::system_error) << to_string(server);
}

class ListenerTest : public ActorTest {
protected:
  ListenerTest() { listener_ = io_->spawn_listener(echo); }

  /// The code of a listener's error.
  static ListenerErrc code(const caf::error& error) {
    EXPECT_EQ(error.category(), caf::atom("squall-lis")) << error_text(error);
    return static_cast<ListenerErrc>(error.code());
  }
  static bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }
};

TEST_F(ListenerTest, WeakSpot30ListenOnPortZeroTellsTheRealPort) {
  const auto listening = ask<Listening>(listener_, Listen{0, "127.0.0.1", {}});
  ASSERT_TRUE(listening);
  ASSERT_EQ(listening.value->endpoints.size(), 1U);
  EXPECT_NE(listening.value->endpoints[0].port, 0);
  expect_served(listening.value->endpoints[0]);
}

TEST_F(ListenerTest, AcceptsNothingBeforeItIsToldTo) {
  const auto info = ask<ListenerInfo>(listener_, Info{});
  ASSERT_TRUE(info);
  EXPECT_TRUE(info.value->endpoints.empty());
  EXPECT_EQ(info.value->accepted_count, 0U);
}

TEST_F(ListenerTest, AddSocketsServesAllOfThem) {
  const auto sockets = bind_some(3);
  const auto listening = ask<Listening>(listener_, AddSockets{sockets});
  ASSERT_TRUE(listening);
  ASSERT_EQ(listening.value->endpoints.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(listening.value->endpoints[i], sockets[i].local_endpoint());
    expect_served(sockets[i].local_endpoint());
  }
  EXPECT_EQ(info().endpoints, listening.value->endpoints);
}

TEST_F(ListenerTest, AddSocketServesIt) {
  const auto sockets = bind_some(1);
  const auto listening = ask<Listening>(listener_, AddSocket{sockets[0]});
  ASSERT_TRUE(listening);
  EXPECT_EQ(listening.value->endpoints, std::vector{sockets[0].local_endpoint()});
  expect_served(sockets[0].local_endpoint());
}

TEST_F(ListenerTest, ASocketThatWasAddedBeforeRefusesTheWholeRequest) {
  const auto sockets = bind_some(2);
  ASSERT_TRUE(ask<Listening>(listener_, AddSocket{sockets[0]}));
  const auto refused = ask<Listening>(listener_, AddSockets{{sockets[1], sockets[0]}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(code(refused.error), ListenerErrc::already_listening);
  EXPECT_TRUE(contains(error_text(refused.error), to_string(sockets[0].local_endpoint())));
  EXPECT_EQ(info().endpoints, std::vector{sockets[0].local_endpoint()});
  const auto twice = ask<Listening>(listener_, AddSockets{{sockets[1], sockets[1]}});
  EXPECT_EQ(code(twice.error), ListenerErrc::already_listening);
  // The refused one is as it was, and may be added.
  ASSERT_TRUE(ask<Listening>(listener_, AddSocket{sockets[1]}));
  expect_served(sockets[1].local_endpoint());
}

TEST_F(ListenerTest, AClosedSocketRefusesTheWholeRequest) {
  auto sockets = bind_some(2);
  sockets[1].close();
  const auto refused = ask<Listening>(listener_, AddSockets{sockets});
  ASSERT_FALSE(refused);
  EXPECT_EQ(code(refused.error), ListenerErrc::cannot_listen);
  EXPECT_TRUE(contains(error_text(refused.error), to_string(sockets[1].local_endpoint())))
      << error_text(refused.error);
  EXPECT_TRUE(info().endpoints.empty());
  EXPECT_GE(sockets[0].fd(), 0);
  EXPECT_FALSE(ask<Listening>(listener_, AddSocket{ListeningSocket{}}));
}

TEST_F(ListenerTest, APortInUseIsNamed) {
  const auto sockets = bind_some(1);
  const auto refused = ask<Listening>(listener_, Listen{sockets[0].local_endpoint().port, "127.0.0.1", {}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(code(refused.error), ListenerErrc::cannot_listen);
  EXPECT_TRUE(contains(error_text(refused.error), to_string(sockets[0].local_endpoint())))
      << error_text(refused.error);
  EXPECT_TRUE(contains(error_text(refused.error), std::generic_category().message(EADDRINUSE)));
  EXPECT_EQ(refused.error, make_error(ListenerErrc::cannot_listen, ""));
}

TEST_F(ListenerTest, ABadBacklogIsRefused) {
  EXPECT_EQ(code(ask<Listening>(listener_, Listen{0, "127.0.0.1", {AddressFamily::unspec, 0, false}}).error),
            ListenerErrc::cannot_listen);
}

TEST_F(ListenerTest, StopClosesThePortsAndConnectionsGoOn) {
  const Endpoint server = listen_with(listener_);
  Client client{server};
  client.send("one\n");
  EXPECT_EQ(client.receive_line(), "one\n");
  EXPECT_TRUE(ask<Done>(listener_, Stop{}));
  expect_refused(server);
  client.send("two\n");
  EXPECT_EQ(client.receive_line(), "two\n");
  EXPECT_TRUE(ask<Done>(listener_, Stop{})); // harmless
  EXPECT_TRUE(info().endpoints.empty());
  EXPECT_EQ(info().connection_count, 1U);
}

TEST_F(ListenerTest, WeakSpot23ListensAgainAfterStop) {
  for (int i = 0; i < 3; ++i) {
    const Endpoint server = listen_with(listener_);
    expect_served(server);
    EXPECT_TRUE(ask<Done>(listener_, Stop{}));
    expect_refused(server);
  }
  EXPECT_EQ(info().accepted_count, 3U);
}

/// Tornado's test_stop_in_callback: a handler stops the server while connections wait.
TEST_F(ListenerTest, AHandlerMayStopItsListener) {
  const LogRecorder log;
  for (const bool in_coroutine : {true, false}) {
    ListenerActor stopped;
    Handler handler =
        in_coroutine ? Handler{[&](IOStream stream, Endpoint) -> Task<> {
          caf::anon_send(stopped, Stop{});
          co_await stream.read_until_close();
        }}
                     : Handler{[&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
                         self->send(stopped, Stop{});
                         self->request(stream, caf::infinite, ReadUntilClose{}).then([](const Bytes&) {});
                         return caf::behavior{};
                       }};
    stopped = io_->spawn_listener(handler);
    const ListeningSocket socket = bind_some(1).front();
    std::vector<Client> clients;
    for (int i = 0; i < 40; ++i)
      clients.emplace_back(socket.local_endpoint()); // they wait in the kernel
    ASSERT_TRUE(ask<Listening>(stopped, AddSocket{socket}));
    wait_until([&] { return ask<ListenerInfo>(stopped, Info{}).value->endpoints.empty(); });
    EXPECT_EQ(socket.fd(), -1);
    const auto info = *ask<ListenerInfo>(stopped, Info{}).value;
    EXPECT_GE(info.accepted_count, 1U);
    EXPECT_EQ(info.failed_count, 0U);
    for (Client& client : clients)
      client.end_sending();
    for (Client& client : clients)
      EXPECT_TRUE(client.at_end()); // served to the end, or reset
    wait_until([&] { return ask<ListenerInfo>(stopped, Info{}).value->connection_count == 0; });
  }
  EXPECT_EQ(log.count("listener_broken"), 0U);
  EXPECT_EQ(log.count("callback_failed"), 0U);
}

TEST_F(ListenerTest, InfoCountsConnections) {
  const Endpoint server = listen_with(listener_);
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i)
    clients.emplace_back(server);
  wait_until([&] { return info().connection_count == 10; });
  clients.resize(4);
  wait_until([&] { return info().connection_count == 4; });
  EXPECT_EQ(info().accepted_count, 10U);
  EXPECT_EQ(info().failed_count, 0U);
  EXPECT_EQ(info().endpoints, std::vector{server});
}

TEST_F(ListenerTest, ItsEndClosesItsPortsAndConnectionsOutliveIt) {
  for (const auto reason : {caf::exit_reason::kill, caf::exit_reason::user_shutdown}) {
    const ListenerActor listener = io_->spawn_listener(echo);
    const Endpoint server = listen_with(listener);
    Client client{server};
    client.send("one\n");
    EXPECT_EQ(client.receive_line(), "one\n");
    self()->send_exit(listener, reason);
    EXPECT_EQ(ask<ListenerInfo>(listener, Info{}).error, caf::sec::request_receiver_down);
    EXPECT_EQ(ask<Listening>(listener, Listen{0, "127.0.0.1", {}}).error, caf::sec::request_receiver_down);
    expect_refused(server);
    client.send("two\n");
    EXPECT_EQ(client.receive_line(), "two\n");
  }
}

TEST_F(ListenerTest, AnUnknownRequestIsRefused) {
  caf::error refused;
  self()
      ->request(caf::actor_cast<caf::actor>(listener_), caf::duration{test_deadline}, 42)
      .receive([] { FAIL(); }, [&](caf::error& error) { refused = std::move(error); });
  EXPECT_EQ(refused, caf::sec::unexpected_message);
}

TEST_F(ListenerTest, WeakSpot28ConnectionsGoToAllThreadsInTurn) {
  std::mutex mutex;
  std::map<EventLoop*, int> served;
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    {
      const std::lock_guard lock{mutex};
      ++served[EventLoop::current()];
    }
    co_await stream.write("hello\n");
  });
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(Client{server}.receive_all(), "hello\n");
  wait_for_quiet();
  EXPECT_EQ(served.size(), 2U);
  for (const auto& [loop, count] : served)
    EXPECT_EQ(count, 10);
}

TEST_F(ListenerTest, SeveralListenersServeSideBySide) {
  std::vector<Endpoint> servers;
  for (int i = 0; i < 5; ++i)
    servers.push_back(listen([i](IOStream stream, Endpoint) -> Task<> {
      const std::string text = std::to_string(i);
      co_await stream.write(text);
    }));
  for (int round = 0; round < 3; ++round)
    for (std::size_t i = 0; i < servers.size(); ++i)
      EXPECT_EQ(Client{servers[i]}.receive_all(), std::to_string(i));
}

TEST_F(ListenerTest, ReusedPortsShareTheConnections) {
  BindOptions reuse;
  reuse.reuse_port = true;
  const auto first = ask<Listening>(listener_, Listen{0, "127.0.0.1", reuse});
  ASSERT_TRUE(first);
  const auto second = ask<Listening>(listener_, Listen{first.value->endpoints[0].port, "127.0.0.1", reuse});
  ASSERT_TRUE(second) << error_text(second.error);
  for (int i = 0; i < 10; ++i)
    expect_served(first.value->endpoints[0]);
}

TEST_F(ListenerTest, AHandlerGetsThePeersAddress) {
  const Endpoint server = listen([](IOStream stream, Endpoint peer) -> Task<> {
    const std::string text = to_string(peer);
    co_await stream.write(text);
  });
  Client client{server};
  EXPECT_EQ(client.receive_all(), client.address());
}

} // namespace

} // namespace squall::actor_tests
