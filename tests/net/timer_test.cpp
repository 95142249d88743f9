// SPDX-License-Identifier: BSD-3-Clause
//
// timer_test.cpp: timers on a clock that the test moves.
#include "tests/net/support.hpp"

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace squall {

namespace {

using namespace testing_support;

class TimerTest : public testing::Test {
protected:
  /// Moves the clock and runs one turn.
  void pass(Duration duration) {
    clock.advance(duration);
    loop.run_once();
  }

  ManualClock clock;
  EventLoop loop{&clock};
  std::string order;
};

TEST_F(TimerTest, RunsWhenItsTimeHasComeAndNotBefore) {
  int calls = 0;
  Timer timer{[&] { ++calls; }};
  EXPECT_FALSE(timer.armed());
  timer.start_after(loop, 10ms);
  EXPECT_TRUE(timer.armed());
  pass(0ms);
  pass(10ms - 1ns);
  EXPECT_EQ(calls, 0);
  pass(1ns);
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(timer.armed());
  pass(1h);
  EXPECT_EQ(calls, 1) << "once";
}

TEST_F(TimerTest, IsNeverEarlyOnTheSystemsClock) {
  EventLoop real;
  for (const Duration delay : {Duration{1ns}, Duration{1ms - 1ns}, Duration{1ms}, Duration{3ms + 1us}}) {
    TimePoint called{};
    Timer timer{[&] { called = std::chrono::steady_clock::now(); }};
    const TimePoint due = std::chrono::steady_clock::now() + delay;
    timer.start(real, due);
    ASSERT_TRUE(run_until(real, [&] { return called != TimePoint{}; }));
    EXPECT_GE(called, due);
  }
}

TEST_F(TimerTest, EndsALoopsWaitThatIsLonger) {
  EventLoop real;
  bool called = false;
  Timer timer{[&] {
    called = true;
    real.stop();
  }};
  timer.start_after(real, 2ms);
  real.run(); // without the timer it would wait for ever
  EXPECT_TRUE(called);
  EXPECT_LE(real.turn(), 10u) << "it waits, and does not look again and again";
}

TEST_F(TimerTest, RunsTheEarliestFirstAndEqualsInTheOrderOfArming) {
  const auto note = [&](char c) { return [this, c] { order += c; }; };
  Timer d{note('d')}, a{note('a')}, b{note('b')}, c{note('c')};
  d.start_after(loop, 20ms);
  b.start_after(loop, 10ms);
  c.start_after(loop, 10ms);
  a.start_after(loop, 5ms);
  pass(1h);
  EXPECT_EQ(order, "abcd");
}

TEST_F(TimerTest, RunsInTheNextTurnWhenItsTimeIsPast) {
  Timer timer{[&] { order += 'x'; }};
  timer.start(loop, clock.now() - 1h);
  loop.run_once(1h); // does not wait
  timer.start(loop, TimePoint::min());
  loop.run_once(1h);
  timer.start_after(loop, -1h);
  loop.run_once(1h);
  timer.start_after(loop, 0ms);
  loop.run_once(1h);
  EXPECT_EQ(order, "xxxx");
}

TEST_F(TimerTest, MayBeArmedForTheEndOfTime) {
  Timer timer{[&] { FAIL() << "not in this universe"; }};
  timer.start_after(loop, Duration::max());
  pass(24h * 365);
  EXPECT_TRUE(timer.armed());
  timer.start(loop, TimePoint::max());
  pass(24h * 365);
  EXPECT_TRUE(timer.armed());
}

TEST_F(TimerTest, DoesNotRunOnceCancelled) {
  Timer timer{[&] { order += 'x'; }};
  timer.start_after(loop, 1ms);
  timer.cancel();
  EXPECT_FALSE(timer.armed());
  timer.cancel(); // harmless
  pass(1h);
  EXPECT_EQ(order, "");
}

TEST_F(TimerTest, MovesWhenItIsStartedAgain) {
  Timer timer{[&] { order += 'x'; }};
  timer.start_after(loop, 10ms);
  timer.start_after(loop, 30ms);
  pass(20ms);
  EXPECT_EQ(order, "");
  timer.start_after(loop, 1ms);
  pass(1ms);
  EXPECT_EQ(order, "x");
  pass(1h);
  EXPECT_EQ(order, "x");
}

TEST_F(TimerTest, MayCancelAnotherThatIsDueInTheSameTurn) {
  Timer second{[&] { order += '2'; }};
  auto third = std::make_unique<Timer>([&] { order += '3'; });
  Timer first{[&] {
    order += '1';
    second.cancel();
    third.reset();
  }};
  first.start_after(loop, 1ms);
  second.start_after(loop, 2ms);
  third->start_after(loop, 3ms);
  pass(10ms);
  pass(10ms);
  EXPECT_EQ(order, "1");
  EXPECT_FALSE(second.armed());
}

TEST_F(TimerTest, MayMoveAnotherThatIsDueInTheSameTurn) {
  Timer second{[&] { order += '2'; }};
  Timer first{[&] {
    order += '1';
    second.start_after(loop, 5ms);
  }};
  first.start_after(loop, 1ms);
  second.start_after(loop, 2ms);
  pass(10ms);
  EXPECT_EQ(order, "1");
  pass(5ms);
  EXPECT_EQ(order, "12");
}

TEST_F(TimerTest, MayArmItselfAgain) {
  Timer timer{[] {}};
  Timer again{[&] {
    order += 'x';
    if (order.size() < 3)
      again.start_after(loop, 10ms);
  }};
  again.start_after(loop, 10ms);
  for (int i = 0; i < 10; ++i)
    pass(5ms);
  EXPECT_EQ(order, "xxx");
}

TEST_F(TimerTest, MayDestroyItselfInItsCallback) {
  auto timer = std::make_unique<Timer>([] {});
  std::string* seen = &order;
  timer = std::make_unique<Timer>([&timer, seen, text = std::string(100, 'x')] {
    timer.reset();
    *seen += text; // the callback outlives its timer
  });
  timer->start_after(loop, 1ms);
  pass(1ms);
  EXPECT_EQ(order.size(), 100u);
}

TEST_F(TimerTest, IsNotStarvedByOneThatIsAlwaysDue) {
  Timer greedy{[&] { greedy.start(loop, clock.now() - 1h); }}; // due before every other one
  Timer modest{[&] { order += 'x'; }};
  greedy.start(loop, clock.now() - 1h);
  modest.start(loop, clock.now());
  pass(0ms);
  EXPECT_EQ(order, "x");
}

TEST_F(TimerTest, RunsOnceATurnWhenItIsAlwaysDue) {
  int calls = 0;
  Timer timer{[&] {
    ++calls;
    timer.start_after(loop, 0ms);
  }};
  timer.start_after(loop, 0ms);
  for (int turn = 1; turn <= 3; ++turn) {
    loop.run_once(1h);
    EXPECT_EQ(calls, turn);
  }
}

TEST_F(TimerTest, IsDisarmedByTheEndOfItsLoop) {
  Timer timer{[] {}};
  {
    EventLoop short_lived{&clock};
    timer.start_after(short_lived, 1ms);
  }
  EXPECT_FALSE(timer.armed());
  timer.start_after(loop, 1ms); // fine on another loop
  EXPECT_TRUE(timer.armed());
}

TEST_F(TimerTest, KeepsTheOrderOfManyThatComeAndGo) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  std::vector<std::unique_ptr<Timer>> timers;
  std::vector<TimePoint> due(300);
  std::vector<TimePoint> called;
  std::size_t expected = 0;
  for (std::size_t i = 0; i < due.size(); ++i)
    timers.push_back(std::make_unique<Timer>([&, i] { called.push_back(due[i]); }));
  for (int round = 0; round < 2000; ++round) {
    const std::size_t i = random() % timers.size();
    if (random() % 4 == 0) {
      timers[i]->cancel();
    } else {
      due[i] = clock.now() + std::chrono::microseconds{random() % 100'000};
      timers[i]->start(loop, due[i]);
    }
  }
  for (const auto& timer : timers)
    expected += timer->armed() ? 1 : 0;
  while (called.size() < expected) {
    const std::size_t before = called.size();
    pass(10ms);
    for (std::size_t i = before; i < called.size(); ++i)
      ASSERT_LE(called[i], clock.now());
    ASSERT_LT(clock.now(), TimePoint{2h});
  }
  EXPECT_TRUE(std::is_sorted(called.begin(), called.end()));
}

} // namespace

} // namespace squall
