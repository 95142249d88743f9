// SPDX-License-Identifier: BSD-3-Clause
//
// drain_idle_test.cpp: whom a drain calls idle, and when, on a clock that the test moves.
#include "tests/actors/tls_client.hpp"

#include <atomic>
#include <future>
#include <linux/sockios.h>
#include <sys/ioctl.h>

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

/// A clock that only the test moves, for the loops of other threads.
class SharedClock final : public Clock {
public:
  [[nodiscard]] TimePoint now() const override { return TimePoint{Duration{count_.load()}}; }
  void advance(Duration duration) { count_ += duration.count(); }

private:
  std::atomic<std::int64_t> count_{Duration{1h}.count()};
};

class DrainIdleTest : public ActorTest {
protected:
  DrainIdleTest() { restart(2); }
  ~DrainIdleTest() override { io_.reset(); } // before its clock goes

  void restart(std::size_t threads) {
    io_.reset();
    io_.emplace(system_, IOOptions{threads, &clock_});
  }
  std::vector<ConnectionInfo> connections() {
    return ask<ConnectionList>(listener_, Connections{}).value.value_or(ConnectionList{}).connections;
  }
  /// The drain has come to its connections.
  void wait_for_drain() {
    wait_until([&] { return info().draining; });
    connections(); // asked on each loop, behind what the drain has asked there
  }
  /// Lets time pass until the drain is over.
  template <class Draining>
  void expect_over(const Draining& draining, const Drained& expected) {
    wait_until([&] {
      clock_.advance(100ms);
      return !info().draining;
    });
    EXPECT_EQ(take<Drained>(draining).value.value_or(Drained{}), expected);
  }

  SharedClock clock_;
};

TEST_F(DrainIdleTest, AClientThatIsSilentForASecondCountsAsIdle) {
  const Endpoint server = listen(echo);
  Client silent{server};
  wait_until([&] { return info().connection_count == 1; });
  clock_.advance(1h); // however long it was silent before
  const auto draining = begin(listener_, Drain{1h});
  wait_for_drain();
  clock_.advance(900ms);
  EXPECT_EQ(connections().size(), 1U);
  clock_.advance(200ms);
  EXPECT_TRUE(silent.at_end());
  expect_over(draining, {0, 1, 0});
}

TEST_F(DrainIdleTest, AClientOfTlsThatIsSilentForASecondCountsAsIdle) {
  TLSOptions options = testing_support::server_options();
  options.handshake_timeout = 1h;
  listener_ = io_->spawn_listener(echo, {.accept = {TLSContext{options}}});
  const Endpoint server = listen_with(listener_);
  Client never_began{server};
  TLSClient shook_hands{server, nullptr, "localhost"};
  wait_until([&] {
    const auto rows = connections();
    return rows.size() == 2 && !rows[1].tls_version.empty();
  });
  const auto draining = begin(listener_, Drain{1h});
  wait_for_drain();
  EXPECT_EQ(connections().size(), 2U);
  expect_over(draining, {0, 2, 0});
  EXPECT_TRUE(never_began.at_end());
  EXPECT_EQ(shook_hands.receive_line(), "");
  EXPECT_TRUE(shook_hands.told_of_end());
}

TEST_F(DrainIdleTest, OfTheGreatestDurationCutsNobody) {
  const Endpoint server = listen(echo);
  Client client{server};
  client.send("half");
  wait_until([&] {
    const auto rows = connections();
    return rows.size() == 1 && rows[0].unread_size == 4;
  });
  const auto draining = begin(listener_, Drain{std::chrono::milliseconds::max()});
  wait_for_drain();
  clock_.advance(24h * 365);
  client.send(" line\n");
  EXPECT_EQ(client.receive_line(), "half line\n");
  expect_over(draining, {0, 1, 0});
}

/// A thread that waits where a handler wants it to.
class Barrier {
public:
  void stop_here() {
    reached_.set_value();
    released_.get_future().wait();
  }
  void wait_until_reached() { ASSERT_EQ(reached_.get_future().wait_for(20s), std::future_status::ready); }
  void release() { released_.set_value(); }

private:
  std::promise<void> reached_;
  std::promise<void> released_;
};

TEST_F(DrainIdleTest, LooksOnceMoreWhetherARequestIsThere) {
  restart(1);
  std::array<Barrier, 2> barriers;
  std::atomic<std::size_t> next{0};
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    for (;;) {
      const Bytes line = co_await stream.read_until("\n");
      if (line.view() == "wait\n")
        barriers.at(next++).stop_here();
      co_await stream.write(line);
    }
  });
  std::vector<Client> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(server);
    clients[i].send("hello\n");
    EXPECT_EQ(clients[i].receive_line(), "hello\n");
  }
  // The loop is held twice: while the drain begins, and in the turn in which it looks for idle connections, behind
  // that turn's own look at what is ready.
  clients[0].send("wait\n");
  barriers[0].wait_until_reached();
  const auto draining = begin(listener_, Drain{1h});
  clients[1].send("wait\n");
  barriers[0].release();
  barriers[1].wait_until_reached();
  clients[2].send("request\n");
  wait_until([&] { // until the system has it on the server's side
    int not_acknowledged = 0;
    return ::ioctl(clients[2].fd(), SIOCOUTQ, &not_acknowledged) == 0 && not_acknowledged == 0;
  });
  barriers[1].release();
  EXPECT_EQ(clients[2].receive_line(), "request\n");
  expect_over(draining, {0, 3, 0});
}

// -- under load

/// A client in a closed loop: how often it got its answer, and whether its connection ended in an orderly way.
struct LoopOutcome {
  int answers = 0;
  std::string failure;
};

LoopOutcome ask_until_the_end(const Endpoint& server, bool tls, std::atomic<int>& served) {
  LoopOutcome outcome;
  try {
    Client plain{server};
    std::optional<TLSClient> secure;
    if (tls)
      secure.emplace(std::move(plain), nullptr, "localhost");
    for (;;) {
      std::string answer;
      if (tls) {
        answer = secure->ask("hello\n");
      } else {
        plain.send("hello\n");
        answer = plain.receive_line();
      }
      if (answer != "hello\n") {
        if (!answer.empty())
          outcome.failure = "a part of an answer";
        else if (tls && !secure->told_of_end())
          outcome.failure = "no close_notify";
        return outcome;
      }
      if (++outcome.answers == 10)
        ++served;
    }
  } catch (const std::system_error& error) {
    outcome.failure = error.what();
    return outcome;
  }
}

class DrainLoadTest : public ActorTest {
protected:
  void expect_orderly_ends(bool tls) {
    std::vector<std::future<LoopOutcome>> clients;
    std::atomic<int> served{0};
    const Endpoint server = listen_with(listener_);
    for (int i = 0; i < 20; ++i)
      clients.push_back(
          std::async(std::launch::async, [&] { return ask_until_the_end(server, tls, served); }));
    wait_until([&] { return served == 20; });
    EXPECT_TRUE(ask<Drained>(listener_, Drain{1h}));
    for (auto& client : clients)
      EXPECT_EQ(client.get().failure, "");
  }
};

TEST_F(DrainLoadTest, ResetsNoClientThatAsksAgainAndAgain) {
  listener_ = io_->spawn_listener(echo);
  expect_orderly_ends(false);
}

TEST_F(DrainLoadTest, ResetsNoClientOfTlsThatAsksAgainAndAgain) {
  listener_ = io_->spawn_listener(echo, {.accept = {TLSContext{testing_support::server_options()}}});
  expect_orderly_ends(true);
}

} // namespace

} // namespace squall::actor_tests
