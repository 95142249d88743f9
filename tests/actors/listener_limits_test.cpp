// SPDX-License-Identifier: BSD-3-Clause
//
// listener_limits_test.cpp: whom a listener lets in, at each limit: one below it, at it, and one above.
#include "actors/listener_state.hpp"
#include "tests/actors/support.hpp"
#include "tests/net/support.hpp"

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class LimitsTest : public ActorTest {
protected:
  Endpoint listen_under(const ListenerLimits& limits, const StreamOptions& options = short_linger()) {
    listener_ = io_->spawn_listener(echo, {.stream = options, .limits = limits});
    quiet_count_ = system_.registry().running();
    return listen_with(listener_);
  }
  static bool served(Client& client) {
    client.send("hello\n");
    return client.receive_line() == "hello\n";
  }
  /// Waits until so many connections are open.
  bool wait_for_connections(std::uint64_t count) {
    return wait_until([&] { return info().connection_count == count; });
  }
};

TEST_F(LimitsTest, WeakSpot2AsManyAsTheLimitAreServedAndTheNextWaitsInTheKernel) {
  const Endpoint server = listen_under({.max_connections = 2});
  Client first{server};
  EXPECT_TRUE(served(first));
  EXPECT_EQ(info().pause_count, 0U) << "one below is no reason";
  Client second{server};
  EXPECT_TRUE(served(second));
  Client third{server}; // the kernel accepts it
  third.send("hello\n");
  wait_until([&] { return info().paused; });
  EXPECT_TRUE(served(first)) << "those inside go on";
  EXPECT_EQ(info().connection_count, 2U);
  EXPECT_EQ(info().accepted_count, 2U);
  second.close();
  EXPECT_EQ(third.receive_line(), "hello\n") << "served as soon as there is a place";
  EXPECT_EQ(info().rejected_count, 0U);
}

TEST_F(LimitsTest, NewLimitsDuringAPauseAreNoOtherPause) {
  const ListenerLimits limits{.max_accept_rate = 1};
  Client client{listen_under(limits)};
  EXPECT_TRUE(served(client));
  ASSERT_TRUE(wait_until([&] { return info().pause_count == 1; }));
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(ask<Done>(listener_, SetLimits{limits}));
  EXPECT_EQ(info().pause_count, 1U);
}

TEST_F(LimitsTest, ManyWhoWaitAreServedOneAfterTheOther) {
  const Endpoint server = listen_under({.max_connections = 1});
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i)
    clients.emplace_back(server).send("hello\n");
  for (Client& client : clients) {
    EXPECT_EQ(client.receive_line(), "hello\n");
    client.close();
  }
  wait_for_no_connection();
  EXPECT_GE(info().pause_count, 1U);
}

TEST_F(LimitsTest, WeakSpot2BeyondTheLimitAConnectionIsReset) {
  const LogRecorder log;
  const Endpoint server = listen_under({.max_connections = 1, .when_full = WhenFull::reset});
  Client first{server};
  EXPECT_TRUE(served(first));
  Client second{server};
  EXPECT_TRUE(second.at_end());
  EXPECT_TRUE(served(first));
  EXPECT_EQ(info().rejected_count, 1U);
  ASSERT_EQ(log.count("connection_rejected"), 1U);
  EXPECT_EQ(log.events("connection_rejected")[0].fields.at("limit"), "max_connections");
  first.close();
  wait_for_connections(0);
  Client third{server};
  EXPECT_TRUE(served(third));
}

TEST_F(LimitsTest, BeyondTheLimitAConnectionIsAnswered) {
  const Endpoint server =
      listen_under({.max_connections = 1, .when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}});
  Client first{server};
  EXPECT_TRUE(served(first));
  Client second{server};
  EXPECT_EQ(second.receive_all(), "busy\n");
  EXPECT_EQ(info().rejected_count, 1U);
  EXPECT_EQ(info().connection_count, 1U);
}

TEST_F(LimitsTest, SoManyAreAnsweredAtATimeAndTheNextIsReset) {
  static testing_support::ManualClock clock; // which outlives the loops; the time of an answer is never over
  io_.reset();
  io_.emplace(system_, IOOptions{1, &clock});
  const Endpoint server =
      listen_under({.max_connections = 1, .when_full = WhenFull::answer, .full_answer = Bytes{"busy\n"}});
  Client first{server};
  EXPECT_TRUE(served(first));
  std::vector<Client> waiting; // for their end, with the answer, since they do not end their side
  for (int i = 0; i < 256; ++i)
    ASSERT_EQ(waiting.emplace_back(server).receive_line(), "busy\n") << i;
  Client beyond{server};
  EXPECT_TRUE(beyond.at_end());
  waiting.pop_back();
  wait_until([&] {
    Client next{server};
    return !next.at_end();
  });
  EXPECT_TRUE(served(first));
}

TEST_F(LimitsTest, AClosedStreamThatStillSendsHoldsItsPlace) {
  // The handler is done at once, what it wrote is not: its client does not read.
  const std::string much = pattern(8 << 20);
  listener_ = io_->spawn_listener(
      [&](IOStream stream, Endpoint) -> Task<> {
        static_cast<void>(stream.write(much));
        static_cast<void>(stream.close_after_flush(1h));
        co_return;
      },
      {.limits = {.max_connections = 1, .when_full = WhenFull::reset}});
  const Endpoint server = listen_with(listener_);
  Client first{server, 4096};
  EXPECT_EQ(first.receive(1), "a");
  wait_for_connections(0);
  Client second{server};
  EXPECT_TRUE(second.at_end());
  EXPECT_EQ(first.receive_all().size(), much.size() - 1);
  first.close();
  wait_until([&] {
    Client next{server};
    return !next.at_end();
  });
}

TEST_F(LimitsTest, WeakSpot2OfOneAddressOnlySoManyAreServed) {
  const Endpoint server = listen_under({.max_connections_per_ip = 2});
  Client first{server};
  Client second{server};
  EXPECT_TRUE(served(first));
  EXPECT_TRUE(served(second));
  Client third{server};
  EXPECT_TRUE(third.at_end());
  EXPECT_EQ(info().rejected_count, 1U);
  first.close();
  wait_for_connections(1);
  Client fourth{server};
  EXPECT_TRUE(served(fourth));
}

TEST_F(LimitsTest, TheRateLetsSoManyInAtOnceAndTheOthersWait) {
  static testing_support::ManualClock clock; // which outlives the loops
  io_.reset();
  io_.emplace(system_, IOOptions{1, &clock});
  const Endpoint server = listen_under({.max_accept_rate = 2});
  std::vector<Client> clients;
  for (int i = 0; i < 3; ++i)
    clients.emplace_back(server).send("hello\n");
  EXPECT_EQ(clients[0].receive_line(), "hello\n");
  EXPECT_EQ(clients[1].receive_line(), "hello\n");
  wait_until([&] { return info().paused; });
  EXPECT_EQ(info().accepted_count, 2U);
  clock.advance(499ms);
  static_cast<void>(ask<ListenerInfo>(listener_, Info{})); // wakes the loop
  EXPECT_EQ(info().accepted_count, 2U);
  clock.advance(1ms); // half a second lets one in
  static_cast<void>(ask<ListenerInfo>(listener_, Info{}));
  EXPECT_EQ(clients[2].receive_line(), "hello\n");
}

TEST_F(LimitsTest, TheRateLetsAllInAfterAWhile) {
  const Endpoint server = listen_under({.max_accept_rate = 100});
  for (int i = 0; i < 120; ++i) {
    Client client{server};
    EXPECT_TRUE(served(client));
  }
  EXPECT_EQ(info().rejected_count, 0U);
}

TEST_F(LimitsTest, ChangeWhileTheListenerRuns) {
  const Endpoint server = listen_under({.max_connections = 1});
  Client first{server};
  EXPECT_TRUE(served(first));
  Client second{server};
  ASSERT_TRUE(ask<Done>(listener_, SetLimits{{.max_connections = 2}}));
  EXPECT_TRUE(served(second));
  EXPECT_EQ(info().limits.max_connections, 2U);
  ASSERT_TRUE(ask<Done>(listener_, SetLimits{{.max_connections = 1, .when_full = WhenFull::reset}}));
  EXPECT_TRUE(served(second)) << "who is inside stays";
  Client third{server};
  EXPECT_TRUE(third.at_end());
}

TEST_F(LimitsTest, ThatContradictThemselvesAreRefused) {
  listener_ = io_->spawn_listener(echo);
  for (const ListenerLimits& limits :
       {ListenerLimits{.accepts_per_turn = 0}, ListenerLimits{.accepts_per_turn = 65537},
        ListenerLimits{.max_accept_rate = 1'000'000'001}, ListenerLimits{.when_full = WhenFull::answer}}) {
    const auto refused = ask<Done>(listener_, SetLimits{limits});
    EXPECT_FALSE(refused);
    EXPECT_EQ(static_cast<ListenerErrc>(refused.error.code()), ListenerErrc::invalid_limits);
    EXPECT_THROW(static_cast<void>(io_->spawn_listener(echo, {.limits = limits})), std::invalid_argument);
  }
  EXPECT_TRUE(ask<Done>(listener_, SetLimits{{.max_accept_rate = 1'000'000'000, .accepts_per_turn = 65536}}));
}

TEST_F(LimitsTest, PauseLeavesConnectionsInTheKernelUntilResume) {
  const Endpoint server = listen_under({});
  Client first{server};
  EXPECT_TRUE(served(first));
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  EXPECT_TRUE(info().paused);
  Client second{server};
  second.send("hello\n");
  EXPECT_TRUE(served(first));
  EXPECT_EQ(info().accepted_count, 1U);
  ASSERT_TRUE(ask<Done>(listener_, Resume{}));
  EXPECT_EQ(second.receive_line(), "hello\n");
  EXPECT_FALSE(info().paused);
  ASSERT_TRUE(ask<Done>(listener_, Pause{}));
  listen_with(listener_);
  EXPECT_TRUE(info().paused) << "a socket that is added is paused, too";
}

TEST(ClientNetworkTest, IsAnAddressOrASubscribersPrefix) {
  const auto of = [](const char* address) { return ClientNetwork::of({address, 1, AddressFamily::unspec}); };
  EXPECT_NE(of("192.0.2.1"), of("192.0.2.2"));
  EXPECT_EQ(of("192.0.2.1"), of("::ffff:192.0.2.1"));
  EXPECT_EQ(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
  EXPECT_NE(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
  EXPECT_EQ(of("fe80::1%eth0"), of("fe80::2"));
  EXPECT_NE(of("::1"), of("0.0.0.1"));
  EXPECT_EQ(of("/run/x.sock"), std::nullopt);
  EXPECT_EQ(ClientNetwork::of({"192.0.2.1", 0, AddressFamily::unix_domain}), std::nullopt) << "a path";
  EXPECT_EQ(of(""), std::nullopt);
}

} // namespace

} // namespace squall::actor_tests
