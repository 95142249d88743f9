// SPDX-License-Identifier: BSD-3-Clause
//
// listener_places_test.cpp: a connection counts for the limits of its listener, and for a drain, until its handler is gone.
#include "tests/actors/support.hpp"
#include "tests/net/support.hpp"

#include <atomic>

namespace squall::actor_tests {

namespace {

/// How many handlers there are, and were at most.
struct Gauge {
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::atomic<int> ever{0};
  std::atomic<bool> released{false}; ///< they may end
};

/// Lives as long as a handler.
class Counted {
public:
  explicit Counted(Gauge& gauge) : gauge_{gauge} {
    ++gauge.ever;
    const int now = ++gauge.running;
    int most = gauge.most;
    while (now > most && !gauge.most.compare_exchange_weak(most, now)) {
    }
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --gauge_.running; }

private:
  Gauge& gauge_;
};

/// Answers each message when the gauge is released.
caf::behavior gate(caf::event_based_actor* self, Gauge* gauge) {
  const auto waiting = std::make_shared<std::vector<caf::response_promise>>();
  self->delayed_send(self, 1ms, 0);
  return {[=](const std::string&) -> caf::result<int> {
            waiting->push_back(self->make_response_promise());
            return waiting->back();
          },
          [=](int) {
            if (gauge->released)
              for (caf::response_promise& promise : std::exchange(*waiting, {}))
                promise.deliver(0);
            self->delayed_send(self, 1ms, 0);
          }};
}

/// Looks whether it may end, and does not end before, whatever happens.
caf::behavior deaf(caf::event_based_actor* self, Gauge& gauge) {
  const auto counted = std::make_shared<Counted>(gauge);
  self->set_exit_handler([](const caf::exit_msg&) {});
  self->delayed_send(self, 1ms, 0);
  return {[=, &gauge](int) {
    static_cast<void>(counted);
    if (gauge.released)
      self->quit();
    else
      self->delayed_send(self, 1ms, 0);
  }};
}

class PlacesTest : public ActorTest {
protected:
  ~PlacesTest() override { gauge_.released = true; }

  Handler sleeping_coroutine() {
    return [this](IOStream, Endpoint) -> Task<> {
      const Counted counted{gauge_};
      while (!gauge_.released)
        co_await sleep_for(1ms);
    };
  }
  Handler awaiting_coroutine() {
    return [this](IOStream, Endpoint) -> Task<> {
      const Counted counted{gauge_};
      co_await request<int>(gate_, caf::infinite, std::string{"let me through"});
    };
  }
  Handler deaf_actor(HandlerPlacement placement) {
    return {[this](caf::event_based_actor* self, const StreamActor&, const Endpoint&) {
              return deaf(self, gauge_);
            },
            placement};
  }
  Handler busy_actor() {
    return {[this](caf::event_based_actor*, const StreamActor&, const Endpoint&) -> caf::behavior {
              const Counted counted{gauge_};
              while (!gauge_.released)
                ::poll(nullptr, 0, 1);
              return {[](int) {}};
            },
            HandlerPlacement::worker_pool};
  }
  Endpoint listen_under(Handler handler, const ListenerLimits& limits) {
    listener_ = io_->spawn_listener(std::move(handler), {.stream = short_linger(), .limits = limits});
    quiet_count_ = system_.registry().running();
    return listen_with(listener_);
  }
  /// A connection whose client is gone, and whose handler is not.
  void leave_a_handler(Handler handler) {
    const Endpoint server = listen_under(std::move(handler), {});
    Client client{server};
    wait_until([&] { return gauge_.running == 1; });
    client.reset();
    wait_until([&] { return info().connection_count == 0; });
    EXPECT_EQ(info().place_count, 1U);
  }
  auto begin_drain() {
    auto draining = begin(listener_, Drain{1h});
    wait_until([&] { return info().draining; });
    return draining;
  }
  /// The only place stays taken while clients come and go.
  void expect_one_handler_at_once(Handler handler) {
    const Endpoint server = listen_under(std::move(handler), {.max_connections = 1});
    for (int i = 0; i < 20; ++i)
      Client{server}.reset();
    wait_until([&] { return gauge_.running == 1 && info().paused; });
    for (int i = 0; i < 20; ++i)
      Client{server}.reset();
    EXPECT_EQ(info().place_count, 1U);
    EXPECT_EQ(gauge_.ever, 1);
    gauge_.released = true;
    wait_until([&] { return gauge_.running == 0 && gauge_.ever == 40 && info().place_count == 0; });
    EXPECT_EQ(gauge_.most, 1);
    EXPECT_EQ(info().accepted_count, 40U);
  }

  Gauge gauge_;
  caf::actor gate_ = system_.spawn(gate, &gauge_);

  void TearDown() override {
    gauge_.released = true;
    self()->send_exit(gate_, caf::exit_reason::kill);
    ActorTest::TearDown();
  }
};

TEST_F(PlacesTest, AClientInALoopOfResetsGetsOneCoroutineThatSleepsAfterTheOther) {
  expect_one_handler_at_once(sleeping_coroutine());
}

TEST_F(PlacesTest, AClientInALoopOfResetsGetsOneCoroutineThatAwaitsAnActorAfterTheOther) {
  expect_one_handler_at_once(awaiting_coroutine());
}

TEST_F(PlacesTest, AClientInALoopOfResetsGetsOneActorThatIgnoresExitsAfterTheOther) {
  expect_one_handler_at_once(deaf_actor(HandlerPlacement::connection_loop));
}

TEST_F(PlacesTest, AClientInALoopOfResetsGetsOneActorOfTheWorkersThatIgnoresExitsAfterTheOther) {
  expect_one_handler_at_once(deaf_actor(HandlerPlacement::worker_pool));
}

TEST_F(PlacesTest, AClientInALoopOfResetsGetsOneActorThatKeepsItsWorkerBusyAfterTheOther) {
  expect_one_handler_at_once(busy_actor());
}

TEST_F(PlacesTest, TheLimitOfAnAddressCountsHandlersToo) {
  const Endpoint server = listen_under(deaf_actor(HandlerPlacement::worker_pool),
                                       {.max_connections_per_ip = 2, .when_full = WhenFull::reset});
  for (int i = 0; i < 2; ++i) {
    Client client{server};
    wait_until([&] { return gauge_.running == i + 1; });
    client.reset();
  }
  wait_until([&] { return info().connection_count == 0; });
  Client third{server};
  EXPECT_TRUE(third.at_end());
  EXPECT_EQ(info().rejected_count, 1U);
  gauge_.released = true;
  wait_until([&] { return info().place_count == 0; });
  gauge_.released = false;
  Client fourth{server};
  wait_until([&] { return gauge_.running == 1; });
  EXPECT_EQ(info().rejected_count, 1U);
}

TEST_F(PlacesTest, ADrainWaitsForAHandlerThatOutlivesItsConnection) {
  leave_a_handler(deaf_actor(HandlerPlacement::worker_pool));
  const auto draining = begin_drain();
  EXPECT_EQ(gauge_.running, 1);
  EXPECT_TRUE(info().draining);
  gauge_.released = true;
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{1, 1, 1}), Drained{})
      << "the connection ended before";
  EXPECT_EQ(gauge_.running, 0);
}

TEST_F(PlacesTest, ADrainKillsAndCountsAHandlerThatOutlivesItsConnectionAtTheDeadline) {
  for (const auto placement : {HandlerPlacement::connection_loop, HandlerPlacement::worker_pool}) {
    leave_a_handler(deaf_actor(placement));
    EXPECT_EQ(ask<Drained>(listener_, Drain{1ms}).value.value_or(Drained{}), (Drained{0, 0, 1}));
    wait_for_quiet();
    EXPECT_EQ(info().place_count, 0U);
    EXPECT_EQ(ask<Drained>(listener_, Drain{1ms}).value.value_or(Drained{1, 1, 1}), Drained{});
  }
}

TEST_F(PlacesTest, ADrainDoesNotWaitBeyondItsDeadlineForAHandlerThatKeepsItsWorkerBusy) {
  leave_a_handler(busy_actor());
  EXPECT_EQ(ask<Drained>(listener_, Drain{1ms}).value.value_or(Drained{}), (Drained{0, 0, 1}));
  EXPECT_EQ(gauge_.running, 1);
  EXPECT_EQ(info().place_count, 1U) << "it counts until it ends";
  gauge_.released = true;
  wait_until([&] { return info().place_count == 0; });
}

TEST_F(PlacesTest, ADrainThatEndsAConnectionWaitsForItsHandler) {
  const Endpoint server =
      listen_under({[this](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
                     self->request(stream, caf::infinite, ReadUntil{"\n"})
                         .then(
                             [=](const Bytes& line) {
                               self->send(stream, Write{line});
                               self->send(stream, ReadUntil{"\n"});
                             },
                             [](const caf::error&) {});
                     return deaf(self, gauge_);
                   }},
                   {});
  Client client{server};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
  const auto draining = begin_drain();
  EXPECT_TRUE(client.at_end()) << "it was idle";
  EXPECT_TRUE(info().draining);
  gauge_.released = true;
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

class RateTest : public ActorTest {
protected:
  RateTest() {
    io_.reset();
    io_.emplace(system_, IOOptions{1, &clock()});
  }
  static testing_support::ManualClock& clock() {
    static testing_support::ManualClock clock; // which outlives the loops
    return clock;
  }
  void advance(Duration time) {
    clock().advance(time);
    static_cast<void>(info()); // wakes the loop
    static_cast<void>(info());
  }
  void set_rate(std::uint64_t rate) {
    ASSERT_TRUE(ask<Done>(listener_, SetLimits{{.max_accept_rate = rate}}));
  }
  /// Connections that nobody of the others waits for.
  void begin(std::uint64_t rate, int clients) {
    listener_ =
        io_->spawn_listener([](IOStream stream, Endpoint) -> Task<> { co_await stream.read_until("\n"); },
                            {.limits = {.max_accept_rate = rate}});
    server_ = listen_with(listener_);
    for (int i = 0; i < clients; ++i)
      clients_.emplace_back(server_);
  }
  [[nodiscard]] bool accepts(std::uint64_t count) {
    return wait_until([&] { return info().accepted_count == count; }) && info().accepted_count == count;
  }

  Endpoint server_;
  std::vector<Client> clients_;
};

TEST_F(RateTest, OtherLimitsDoNotLetAWholeSecondsConnectionsInAnew) {
  begin(3, 12);
  EXPECT_TRUE(accepts(3));
  for (const std::uint64_t rate : {4U, 3U, 5U, 3U}) {
    set_rate(rate);
    static_cast<void>(info());
    EXPECT_EQ(info().accepted_count, 3U);
  }
  advance(334ms); // a third of a second lets one in
  EXPECT_TRUE(accepts(4));
  set_rate(3);
  advance(1h);
  EXPECT_TRUE(accepts(7)) << "one second's may come at once";
}

TEST_F(RateTest, ALowerRateKeepsNoMoreThanOneSecondsOfIt) {
  begin(1000, 0);
  set_rate(2);
  for (int i = 0; i < 5; ++i)
    clients_.emplace_back(server_);
  EXPECT_TRUE(accepts(2));
  static_cast<void>(info());
  EXPECT_EQ(info().accepted_count, 2U);
}

TEST_F(RateTest, WhatPassedUntilTheChangeCountsUnderTheOldRate) {
  begin(10, 10);
  EXPECT_TRUE(accepts(10));
  clock().advance(300ms); // three of the old rate
  set_rate(100);
  for (int i = 0; i < 10; ++i)
    clients_.emplace_back(server_);
  EXPECT_TRUE(accepts(13));
  static_cast<void>(info());
  EXPECT_EQ(info().accepted_count, 13U);
}

TEST_F(RateTest, ARateWhereThereWasNoneLetsNobodyInAtOnce) {
  begin(0, 0);
  set_rate(2);
  for (int i = 0; i < 3; ++i)
    clients_.emplace_back(server_);
  wait_until([&] { return info().paused; });
  EXPECT_EQ(info().accepted_count, 0U);
  advance(500ms);
  EXPECT_TRUE(accepts(1));
}

/// With a clock that stands, so that the time for an answer is never over.
TEST_F(RateTest, ADrainWaitsForThoseThatGetTheirAnswer) {
  listener_ = io_->spawn_listener(
      [](IOStream stream, Endpoint) -> Task<> {
        for (;;)
          co_await stream.write(co_await stream.read_until("\n"));
      },
      {.limits = {.max_connections = 1, .when_full = WhenFull::answer, .full_answer = "busy\n"}});
  const Endpoint server = listen_with(listener_);
  Client first{server};
  first.send("hello\n");
  EXPECT_EQ(first.receive_line(), "hello\n");
  Client second{server};
  EXPECT_EQ(second.receive_all(), "busy\n");
  const auto draining = ActorTest::begin(listener_, Drain{1h});
  EXPECT_TRUE(first.at_end());
  first.close();
  wait_until([&] { return info().connection_count == 0; });
  for (int i = 0; i < 50; ++i) {
    advance(10ms);
    EXPECT_TRUE(info().draining);
  }
  second.close();
  wait_until([&] {
    advance(10ms);
    return !info().draining;
  });
  EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), (Drained{0, 1, 0}));
}

} // namespace

} // namespace squall::actor_tests
