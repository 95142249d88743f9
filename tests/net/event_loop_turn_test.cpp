// SPDX-License-Identifier: BSD-3-Clause
//
// event_loop_turn_test.cpp: no source of a loop starves another, and an exception that leaves one loses
// nothing.
#include "tests/net/support.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace squall {

namespace {

using namespace testing_support;

/// Reads and counts what comes on its own end of a socket pair.
class Counter final : public Watcher {
public:
  explicit Counter(EventLoop& loop) : loop_{loop}, ends_{make_socket_pair()} {
    loop_.watch(ends_.first.fd(), *this);
  }
  ~Counter() { loop_.unwatch(ends_.first.fd(), *this); }
  void on_ready(Readiness) override {
    std::array<char, 64> buffer;
    while (::recv(ends_.first.fd(), buffer.data(), buffer.size(), 0) > 0)
      ++count;
    if (then)
      then();
  }
  void send_one() { ASSERT_EQ(::send(ends_.second.fd(), "x", 1, 0), 1); }
  int count = 0;
  std::function<void()> then;

private:
  EventLoop& loop_;
  std::pair<Socket, Socket> ends_;
};

/// Every source runs within two turns, whatever else goes on.
void expect_all_served(EventLoop& loop, ManualClock& clock) {
  Counter counter{loop};
  run_turns(loop, 2);
  int timer_calls = 0;
  int posts = 0;
  int tasks = 0;
  Timer timer{[&] { ++timer_calls; }};
  TestTask task{[&] { ++tasks; }};
  for (int i = 1; i <= 5; ++i) {
    counter.send_one();
    timer.start(loop, clock.now());
    loop.post([&] { ++posts; });
    loop.defer(task);
    run_turns(loop, 2);
    EXPECT_EQ(counter.count, i);
    EXPECT_EQ(timer_calls, i);
    EXPECT_EQ(posts, i);
    EXPECT_EQ(tasks, i);
  }
}

TEST(EventLoopFairness, ATaskThatDefersItselfStarvesNothing) {
  ManualClock clock;
  EventLoop loop{&clock};
  TestTask greedy{[&] { loop.defer(greedy); }};
  loop.defer(greedy);
  expect_all_served(loop, clock);
}

TEST(EventLoopFairness, ATaskAtTheEndOfEachTurnStarvesNothing) {
  ManualClock clock;
  EventLoop loop{&clock};
  TestTask greedy{[&] { loop.at_end_of_turn(greedy); }};
  loop.at_end_of_turn(greedy);
  expect_all_served(loop, clock);
}

TEST(EventLoopFairness, AFunctionThatPostsItselfStarvesNothing) {
  ManualClock clock;
  EventLoop loop{&clock};
  std::function<void()> greedy = [&] { loop.post(greedy); };
  greedy();
  expect_all_served(loop, clock);
}

TEST(EventLoopFairness, ATimerThatIsAlwaysDueStarvesNothing) {
  ManualClock clock;
  EventLoop loop{&clock};
  Timer greedy{[&] { greedy.start(loop, clock.now() - 1h); }};
  greedy.start(loop, clock.now() - 1h);
  expect_all_served(loop, clock);
}

// -- exceptions

/// Runs turns, counting those that end with an exception.
int run_and_count_exceptions(EventLoop& loop, int turns = 10) {
  int exceptions = 0;
  for (int i = 0; i < turns; ++i) {
    try {
      loop.run_once();
    } catch (const std::runtime_error&) {
      ++exceptions;
    }
  }
  return exceptions;
}

TEST(EventLoopException, OfAPostedFunctionLeavesTheOthersInOrder) {
  EventLoop loop;
  std::string order;
  loop.post([&] { order += 'a'; });
  loop.post([&] {
    loop.post([&] { order += 'd'; });
    throw std::runtime_error{"posted"};
  });
  loop.post([&] { order += 'b'; });
  loop.post([&] { order += 'c'; });
  EXPECT_EQ(run_and_count_exceptions(loop), 1);
  EXPECT_EQ(order, "abcd");
}

TEST(EventLoopException, OfATaskLeavesTheOthersInOrder) {
  EventLoop loop;
  std::string order;
  TestTask a{[&] { order += 'a'; }};
  TestTask thrower{[&] { throw std::runtime_error{"deferred"}; }};
  TestTask b{[&] { order += 'b'; }};
  TestTask last{[&] { order += 'z'; }};
  loop.defer(a);
  loop.defer(thrower);
  loop.defer(b);
  loop.at_end_of_turn(last);
  EXPECT_EQ(run_and_count_exceptions(loop), 1);
  EXPECT_EQ(order, "abz");
}

TEST(EventLoopException, OfATimerLeavesTheOthersDue) {
  ManualClock clock;
  EventLoop loop{&clock};
  std::string order;
  Timer a{[&] { order += 'a'; }};
  Timer thrower{[&] { throw std::runtime_error{"timer"}; }};
  Timer b{[&] { order += 'b'; }};
  Timer gone{[&] { order += 'c'; }};
  a.start(loop, clock.now());
  thrower.start(loop, clock.now());
  b.start(loop, clock.now());
  gone.start(loop, clock.now());
  EXPECT_THROW(loop.run_once(), std::runtime_error);
  EXPECT_EQ(order, "a");
  EXPECT_TRUE(b.armed());
  gone.cancel();
  loop.run_once(1h); // b is due: no wait
  EXPECT_EQ(order, "ab");
}

TEST(EventLoopException, OfAWatcherLosesNoEventOfTheOthers) {
  EventLoop loop;
  std::vector<std::unique_ptr<Counter>> counters;
  for (int i = 0; i < 5; ++i)
    counters.push_back(std::make_unique<Counter>(loop));
  run_turns(loop, 2);
  for (auto& counter : counters) {
    counter->then = [] { throw std::runtime_error{"watcher"}; };
    counter->send_one();
  }
  EXPECT_EQ(run_and_count_exceptions(loop), 5);
  for (auto& counter : counters)
    EXPECT_EQ(counter->count, 1) << "told once only, since edge-triggered";
}

TEST(EventLoopException, OfAWatcherDoesNotBringBackOneThatWasTakenOut) {
  EventLoop loop;
  std::vector<std::unique_ptr<Counter>> counters;
  for (int i = 0; i < 5; ++i)
    counters.push_back(std::make_unique<Counter>(loop));
  run_turns(loop, 2);
  for (auto& counter : counters) {
    counter->then = [] { throw std::runtime_error{"watcher"}; };
    counter->send_one();
  }
  EXPECT_THROW(loop.run_once(), std::runtime_error);
  counters.clear(); // the turn's other events are still there: they must not be told any more
  EXPECT_EQ(run_and_count_exceptions(loop), 0);
}

TEST(EventLoopException, LetsTheLoopRunAgain) {
  EventLoop loop;
  loop.post([] { throw std::runtime_error{"posted"}; });
  EXPECT_THROW(loop.run(), std::runtime_error);
  EXPECT_FALSE(loop.in_loop());
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(ran);
}

} // namespace

} // namespace squall
