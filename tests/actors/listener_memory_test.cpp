// SPDX-License-Identifier: BSD-3-Clause
//
// listener_memory_test.cpp: whom a listener lets in while its memory budget is exhausted.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

constexpr std::size_t mib = 1024 * 1024;

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class ListenerMemoryTest : public ActorTest {
protected:
  [[nodiscard]] StreamOptions options() const {
    StreamOptions options = short_linger();
    options.memory_budget = budget_;
    return options;
  }
  Endpoint listen_under(const ListenerLimits& limits) {
    listener_ = io_->spawn_listener(echo, {.stream = options(), .limits = limits});
    return listen_with(listener_);
  }
  /// A stream whose peer does not read holds more than there is.
  void exhaust() {
    holder_ = connect(options(), 4096);
    self()->send(holder_.stream, Write{Bytes{pattern(8 * mib)}});
    ASSERT_TRUE(wait_until([&] { return budget_->exhausted(); }));
  }
  static bool served(Client& client) {
    client.send("hello\n");
    return client.receive_line() == "hello\n";
  }

  std::shared_ptr<MemoryBudget> budget_ = std::make_shared<MemoryBudget>(mib, 1h);
  Connected holder_;
};

TEST_F(ListenerMemoryTest, NewConnectionsWaitUntilThereIsMemory) {
  const LogRecorder log;
  const Endpoint server = listen_under({});
  Client before{server};
  EXPECT_TRUE(served(before));
  exhaust();
  EXPECT_EQ(info().pause_count, 0U);
  std::vector<Client> waiting;
  for (int i = 0; i < 5; ++i)
    waiting.emplace_back(server).send("hello\n");
  wait_until([&] { return info().paused; });
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(served(before)) << "who is inside goes on";
  EXPECT_EQ(info().accepted_count, 1U);
  EXPECT_EQ(info().pause_count, 1U);
  EXPECT_EQ(info().memory_budget, mib);
  EXPECT_GT(info().memory_used, mib + mib / 8);
  EXPECT_EQ(holder_.client.receive(8 * mib), pattern(8 * mib));
  for (Client& client : waiting)
    EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_EQ(info().accepted_count, 6U);
  EXPECT_EQ(info().rejected_count, 0U);
  EXPECT_FALSE(info().paused);
  wait_until([&] { return info().memory_used == 0; });
  ASSERT_EQ(log.count("accept_paused"), 1U);
  EXPECT_EQ(log.events("accept_paused")[0].fields.at("limit"), "memory_budget");
}

TEST_F(ListenerMemoryTest, WhatNobodyReadsAnyMoreGoesWithTheHandler) {
  StreamOptions options;
  options.memory_budget = budget_;
  options.linger_timeout = 1h;
  const Endpoint server = listen_with(listener_ = io_->spawn_listener(
                                          [](IOStream stream, Endpoint) -> Task<> {
                                            co_await stream.read(Peek{100'000});
                                            co_await stream.write("no\n");
                                          },
                                          {.stream = options}));
  Client client{server};
  client.send(pattern(100'000));
  EXPECT_EQ(client.receive_line(), "no\n");
  EXPECT_TRUE(wait_until([&] { return info().connection_count == 0; }));
  EXPECT_EQ(info().memory_used, 0U);
  EXPECT_EQ(info().place_count, 1U) << "it lingers";
}

TEST_F(ListenerMemoryTest, BeyondItAConnectionIsReset) {
  const LogRecorder log;
  const Endpoint server = listen_under({.when_full = WhenFull::reset});
  exhaust();
  Client second{server};
  EXPECT_TRUE(second.at_end());
  EXPECT_EQ(info().rejected_count, 1U);
  EXPECT_EQ(info().connection_count, 0U);
  ASSERT_EQ(log.count("connection_rejected"), 1U);
  EXPECT_EQ(log.events("connection_rejected")[0].fields.at("limit"), "memory_budget");
  holder_.client.reset();
  wait_until([&] { return budget_->used() == 0; });
  Client third{server};
  EXPECT_TRUE(served(third));
}

TEST_F(ListenerMemoryTest, BeyondItAConnectionIsAnswered) {
  const Endpoint server = listen_under({.when_full = WhenFull::answer, .full_answer = Bytes{"too busy\n"}});
  exhaust();
  Client second{server};
  EXPECT_EQ(second.receive_all(), "too busy\n");
  EXPECT_EQ(info().rejected_count, 1U);
}

TEST_F(ListenerMemoryTest, OtherLimitsWhileItWaitsLetThemIn) {
  const Endpoint server = listen_under({});
  exhaust();
  Client waiting{server};
  wait_until([&] { return info().paused; });
  ask<Done>(listener_, SetLimits{{.when_full = WhenFull::reset}});
  EXPECT_TRUE(waiting.at_end());
  EXPECT_FALSE(info().paused);
}

TEST_F(ListenerMemoryTest, AListenerThatWaitsCanBeStopped) {
  const Endpoint server = listen_under({});
  exhaust();
  Client waiting{server};
  wait_until([&] { return info().paused; });
  EXPECT_TRUE(ask<Done>(listener_, Stop{}));
  EXPECT_TRUE(waiting.at_end());
  EXPECT_TRUE(info().endpoints.empty());
  EXPECT_FALSE(info().paused);
  const Endpoint again = listen_with(listener_);
  Client next{again};
  next.send("hello\n");
  wait_until([&] { return info().paused; });
  holder_.client.reset();
  EXPECT_EQ(next.receive_line(), "hello\n");
}

TEST_F(ListenerMemoryTest, WhoHoldsTheMostClosesAndMakesRoom) {
  budget_ = std::make_shared<MemoryBudget>(mib, 1ms);
  const Endpoint server = listen_under({});
  exhaust();
  Client waiting{server};
  EXPECT_TRUE(served(waiting));
  EXPECT_EQ(budget_->closed_count(), 1U);
  holder_.client.receive_all();
}

TEST(ServerMemoryTest, ABudgetIsOfTheWholeServer) {
  TCPServer server{[](IOStream stream, Endpoint) -> Task<> {
                     const Bytes line = co_await stream.read_until("\n");
                     const Bytes answer{line.str() == "much\n" ? pattern(8 * mib) : line.str()};
                     co_await stream.write(answer);
                     co_await stream.read_until("\n");
                   },
                   {.memory_budget = mib}};
  const Endpoint address = server.listen(0, "127.0.0.1").at(0);
  EXPECT_EQ(server.info().memory_budget, mib);
  Client greedy{address, 4096};
  greedy.send("much\n");
  wait_until([&] { return server.info().memory_used > mib + mib / 8; });
  Client waiting{address};
  waiting.send("hello\n");
  wait_until([&] { return server.info().paused; });
  greedy.reset();
  EXPECT_EQ(waiting.receive_line(), "hello\n");
  wait_until([&] { return server.info().memory_used == 0; });
}

} // namespace

} // namespace squall::actor_tests
