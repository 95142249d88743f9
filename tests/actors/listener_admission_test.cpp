// SPDX-License-Identifier: BSD-3-Clause
//
// listener_admission_test.cpp: limits and draining where TLS or a header of the PROXY protocol comes first.
#include "tests/actors/tls_client.hpp"

namespace squall::actor_tests {

namespace {

/// Tells the client who it is, then echoes.
Task<> tell_peer(IOStream stream, Endpoint peer) {
  co_await stream.write(to_string(peer) + "\n");
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

/// What a proxy sends for a client, 192.0.2.`host` (RFC 5737).
std::string header_of(int host) {
  return "PROXY TCP4 192.0.2." + std::to_string(host) + " 198.51.100.1 56324 443\r\n";
}

class AdmissionTest : public ActorTest {
protected:
  Endpoint listen_under(const ListenerLimits& limits, const AcceptOptions& accept) {
    listener_ = io_->spawn_listener(tell_peer, {.accept = accept, .limits = limits});
    quiet_count_ = system_.registry().running();
    return listen_with(listener_);
  }
  Endpoint listen_behind_proxy(const ListenerLimits& limits) {
    AcceptOptions accept;
    accept.proxy_protocol.emplace();
    accept.proxy_protocol->from = {IPNetwork{"127.0.0.1"}};
    accept.proxy_protocol->timeout = 0ms;
    return listen_under(limits, accept);
  }
  static Client send_header(const Endpoint& server, int host) {
    Client client{server};
    client.send(header_of(host));
    return client;
  }
  /// The listener has taken all who connected before.
  void wait_until_taken(const Endpoint& server, std::uint64_t refused) {
    Client{server}.send("no header\n");
    wait_until([&] { return info().refused_count == refused; });
  }
  static std::string line_of(int host) { return "192.0.2." + std::to_string(host) + ":56324\n"; }
};

// -- TLS

TEST_F(AdmissionTest, TheAnswerOfAFullListenerGoesThroughTls) {
  AcceptOptions accept;
  accept.tls = TLSContext{testing_support::server_options()};
  const Endpoint server = listen_under(
      {.max_connections = 1, .when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}}, accept);
  TLSClient first{server};
  EXPECT_EQ(first.receive_line(), first.plain().address() + "\n");
  for (int i = 0; i < 3; ++i) {
    TLSClient next{server};
    ASSERT_TRUE(next.connected());
    EXPECT_EQ(next.receive_line(), "busy\n");
    EXPECT_EQ(next.receive_line(), "") << "and its end";
  }
  EXPECT_EQ(first.ask("still here\n"), "still here\n");
  EXPECT_EQ(info().rejected_count, 3U);
  EXPECT_EQ(info().connection_count, 1U);
}

TEST_F(AdmissionTest, AnAnswerThatNobodyShakesHandsForIsGivenUp) {
  AcceptOptions accept;
  accept.tls = TLSContext{testing_support::server_options()};
  const Endpoint server = listen_under(
      {.max_connections = 1, .when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}}, accept);
  TLSClient first{server};
  EXPECT_EQ(first.receive_line(), first.plain().address() + "\n");
  Client silent{server};
  EXPECT_TRUE(silent.at_end());
  EXPECT_EQ(first.ask("still here\n"), "still here\n");
}

// -- the PROXY protocol

TEST_F(AdmissionTest, WhoWaitsForAHeaderHasAPlace) {
  const Endpoint server = listen_behind_proxy({.max_connections = 1});
  Client first{server};
  first.send(header_of(1).substr(0, 10));
  wait_until([&] { return info().paused; });
  Client second = send_header(server, 2);
  first.send(header_of(1).substr(10));
  EXPECT_EQ(first.receive_line(), line_of(1));
  EXPECT_EQ(info().accepted_count, 1U) << "the second waits in the kernel";
  first.close();
  EXPECT_EQ(second.receive_line(), line_of(2));
  EXPECT_EQ(info().rejected_count, 0U);
}

TEST_F(AdmissionTest, ARefusedHeaderGivesItsPlaceBack) {
  const Endpoint server = listen_behind_proxy({.max_connections = 1});
  Client first{server};
  wait_until([&] { return info().paused; });
  Client second = send_header(server, 2);
  first.send("no header\n");
  EXPECT_TRUE(first.at_end());
  EXPECT_EQ(second.receive_line(), line_of(2));
  EXPECT_EQ(info().refused_count, 1U);
}

TEST_F(AdmissionTest, TheRateCountsWhoWaitsForAHeader) {
  static testing_support::ManualClock clock; // which outlives the loops
  io_.reset();
  io_.emplace(system_, IOOptions{1, &clock});
  const Endpoint server = listen_behind_proxy({.max_accept_rate = 1});
  Client first{server};
  wait_until([&] { return info().paused; });
  first.send(header_of(1));
  EXPECT_EQ(first.receive_line(), line_of(1)) << "the header costs nothing more";
  EXPECT_TRUE(info().paused);
  EXPECT_EQ(info().pause_count, 1U);
}

TEST_F(AdmissionTest, TheAddressThatCountsIsTheClients) {
  const Endpoint server = listen_behind_proxy({.max_connections_per_ip = 1});
  Client first = send_header(server, 1);
  EXPECT_EQ(first.receive_line(), line_of(1));
  Client again = send_header(server, 1);
  EXPECT_TRUE(again.at_end());
  Client second = send_header(server, 2);
  EXPECT_EQ(second.receive_line(), line_of(2));
  EXPECT_EQ(info().rejected_count, 1U);
  first.close();
  wait_until([&] { return info().connection_count == 1; });
  Client third = send_header(server, 1);
  EXPECT_EQ(third.receive_line(), line_of(1));
}

/// Until its header came it had the last place.
TEST_F(AdmissionTest, WhoIsRejectedForItsAddressGivesItsPlaceBack) {
  const Endpoint server = listen_behind_proxy({.max_connections = 2, .max_connections_per_ip = 1});
  Client first = send_header(server, 1);
  EXPECT_EQ(first.receive_line(), line_of(1));
  Client again{server};
  wait_until([&] { return info().paused; });
  again.send(header_of(1));
  EXPECT_TRUE(again.at_end());
  Client second = send_header(server, 2);
  EXPECT_EQ(second.receive_line(), line_of(2)) << "there is a place";
}

TEST_F(AdmissionTest, DrainWaitsForAHeaderThatIsToCome) {
  const Endpoint server = listen_behind_proxy({});
  Client client{server};
  client.send(header_of(1).substr(0, 10));
  wait_until_taken(server, 1);
  const auto draining = begin(listener_, Drain{1h});
  wait_until([&] { return info().draining; });
  client.send(header_of(1).substr(10) + "hello\n");
  EXPECT_EQ(client.receive_line(), line_of(1));
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

TEST_F(AdmissionTest, DrainRefusesAtItsDeadlineWhoHasNoHeader) {
  const Endpoint server = listen_behind_proxy({});
  Client client{server};
  client.send(header_of(1).substr(0, 10));
  wait_until_taken(server, 1);
  EXPECT_EQ(ask<Drained>(listener_, Drain{1ms}).value.value_or(Drained{1, 1, 1}), Drained{});
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(info().refused_count, 2U);
  EXPECT_EQ(info().accepted_count, 0U);
}

// -- turns

TEST_F(AdmissionTest, WeakSpot28ATurnAcceptsAsManyAsTheLimitSays) {
  io_.reset();
  io_.emplace(system_, IOOptions{1, nullptr});
  std::vector<std::uint64_t> turns; // of the only loop
  listener_ = io_->spawn_listener([&](IOStream stream, Endpoint) -> Task<> {
    turns.push_back(stream.loop().turn());
    co_await stream.write("done\n");
  });
  const Endpoint server = listen_with(listener_);
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  std::vector<Client> clients;
  for (int i = 0; i < 12; ++i)
    clients.emplace_back(server);
  ASSERT_TRUE(ask<Done>(listener_, SetLimits{{.accepts_per_turn = 3}}));
  ASSERT_TRUE(ask<Done>(listener_, Resume{}));
  for (Client& client : clients)
    EXPECT_EQ(client.receive_line(), "done\n");
  end_io();
  ASSERT_EQ(turns.size(), 12U);
  for (const std::uint64_t turn : turns)
    EXPECT_LE(std::count(turns.begin(), turns.end(), turn), 3);
}

} // namespace

} // namespace squall::actor_tests
