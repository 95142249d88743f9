// SPDX-License-Identifier: BSD-3-Clause
//
// event_loop_test.cpp: descriptors, posted functions, deferred tasks, and the order of a turn.
#include "tests/net/support.hpp"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace squall {

namespace {

using namespace testing_support;

void send_byte(const Socket& socket) { ASSERT_EQ(::send(socket.fd(), "x", 1, MSG_NOSIGNAL), 1); }

// -- posted functions

TEST(EventLoopPost, RunsFunctionsInTheOrderOfPosting) {
  EventLoop loop;
  std::string order;
  for (char c : {'a', 'b', 'c'})
    loop.post([&order, c] { order += c; });
  EXPECT_EQ(order, "") << "never inside the call";
  loop.run_once();
  EXPECT_EQ(order, "abc");
}

TEST(EventLoopPost, RunsWhatAFunctionPostsInTheNextTurnWithoutWaiting) {
  EventLoop loop;
  std::string order;
  loop.post([&] {
    order += 'a';
    loop.post([&] { order += 'b'; });
  });
  loop.run_once(1h);
  EXPECT_EQ(order, "a");
  loop.run_once(1h);
  EXPECT_EQ(order, "ab");
}

TEST(EventLoopPost, KeepsTheOrderOfEachThreadAndLosesNothing) {
  EventLoop loop;
  constexpr int threads = 3;
  constexpr int each = 2000;
  std::vector<std::vector<int>> seen(threads);
  int total = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t)
    posters.emplace_back([&, t] {
      for (int i = 0; i < each; ++i)
        loop.post([&, t, i] {
          seen[static_cast<std::size_t>(t)].push_back(i);
          if (++total == threads * each)
            loop.stop();
        });
    });
  // Waits without a limit: a lost wake-up hangs here, and the deadline of the test run tells.
  loop.run();
  for (std::thread& poster : posters)
    poster.join();
  for (const auto& numbers : seen) {
    ASSERT_EQ(numbers.size(), static_cast<std::size_t>(each));
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
  }
}

TEST(EventLoopPost, WakesALoopThatWaits) {
  EventLoop loop;
  std::atomic<int> rounds{0};
  std::thread runner{[&] { loop.run(); }};
  for (int i = 0; i < 200; ++i) { // each time the loop may wait already, or not yet
    loop.post([&] { ++rounds; });
    const auto deadline = std::chrono::steady_clock::now() + test_deadline;
    while (rounds.load() <= i && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    ASSERT_EQ(rounds.load(), i + 1);
  }
  loop.stop();
  runner.join();
}

TEST(EventLoopPost, DropsFunctionsThatDidNotRunWithTheLoop) {
  auto held = std::make_shared<int>(1);
  {
    EventLoop loop;
    loop.post([held] { FAIL() << "the loop has ended"; });
  }
  EXPECT_EQ(held.use_count(), 1);
}

// -- stop

TEST(EventLoopStop, EndsARunThatBeginsLater) {
  EventLoop loop;
  bool ran = false;
  loop.stop();
  loop.post([&] { ran = true; });
  loop.run();
  EXPECT_FALSE(ran);
  loop.post([&] { loop.stop(); });
  loop.run(); // stop() counts once
  EXPECT_TRUE(ran);
}

TEST(EventLoopStop, LetsTheTurnFinish) {
  EventLoop loop;
  std::string order;
  TestTask task{[&] { order += "deferred "; }};
  TestTask last{[&] { order += "end"; }};
  loop.defer(task);
  loop.at_end_of_turn(last);
  loop.post([&] {
    loop.stop();
    order += "posted ";
  });
  loop.run();
  EXPECT_EQ(order, "posted deferred end");
}

// -- deferred tasks

TEST(EventLoopDefer, RunsThePhasesOfATurnInTheirOrder) {
  ManualClock clock;
  EventLoop loop{&clock};
  std::string order;
  auto [ours, theirs] = make_socket_pair();
  TestTask last{[&] { order += "end "; }};
  TestTask deferred{[&] {
    order += "deferred ";
    loop.at_end_of_turn(last);
  }};
  Timer timer{[&] {
    order += "timer ";
    loop.defer(deferred);
  }};
  TestWatcher watcher{[&](Readiness) {
    order += "ready ";
    loop.post([&] {
      order += "posted ";
      timer.start(loop, clock.now());
    });
  }};
  loop.watch(ours.fd(), watcher);
  loop.run_once();
  EXPECT_EQ(order, "ready posted ") << "a timer is due in a turn that begins at its time or later";
  loop.run_once();
  loop.unwatch(ours.fd(), watcher);
  EXPECT_EQ(order, "ready posted timer deferred end ");
}

TEST(EventLoopDefer, RunsATaskThatDefersItselfOnceATurn) {
  EventLoop loop;
  int runs = 0;
  TestTask task{[&] {
    ++runs;
    loop.defer(task);
  }};
  loop.defer(task);
  loop.defer(task); // it is queued already
  for (int turn = 1; turn <= 5; ++turn) {
    loop.run_once(1h); // does not wait
    EXPECT_EQ(runs, turn);
  }
}

TEST(EventLoopDefer, RunsATaskThatPutsItselfAtTheEndOnceATurn) {
  EventLoop loop;
  int runs = 0;
  TestTask task{[&] {
    ++runs;
    loop.at_end_of_turn(task);
  }};
  loop.at_end_of_turn(task);
  for (int turn = 1; turn <= 5; ++turn) {
    loop.run_once(1h);
    EXPECT_EQ(runs, turn);
  }
}

TEST(EventLoopDefer, ForgetsATaskThatIsDestroyed) {
  EventLoop loop;
  int runs = 0;
  auto second = std::make_unique<TestTask>([&] { ++runs; });
  TestTask first{[&] { second.reset(); }}; // in the same phase
  loop.defer(first);
  loop.defer(*second);
  run_turns(loop);
  EXPECT_EQ(runs, 0);
}

TEST(EventLoopDefer, LetsATaskDestroyItself) {
  EventLoop loop;
  std::unique_ptr<TestTask> task;
  task = std::make_unique<TestTask>([&] {
    const auto self = std::move(task);
    loop.defer(*self);
  });
  loop.defer(*task);
  run_turns(loop);
  EXPECT_EQ(task, nullptr);
}

// -- descriptors

TEST(EventLoopWatch, TellsReadinessThatIsThereAlready) {
  EventLoop loop;
  auto [ours, theirs] = make_socket_pair();
  send_byte(theirs);
  TestWatcher watcher;
  loop.watch(ours.fd(), watcher);
  ASSERT_TRUE(run_until(loop, [&] { return watcher.calls > 0; }));
  EXPECT_TRUE(watcher.last.readable);
  EXPECT_TRUE(watcher.last.writable);
  EXPECT_FALSE(watcher.last.hang_up);
  loop.unwatch(ours.fd(), watcher);
}

TEST(EventLoopWatch, TellsTheEndOfThePeer) {
  EventLoop loop;
  auto [ours, theirs] = make_tcp_pair();
  TestWatcher watcher;
  loop.watch(ours.fd(), watcher);
  ASSERT_EQ(::shutdown(theirs.fd(), SHUT_WR), 0);
  ASSERT_TRUE(run_until(loop, [&] { return watcher.last.hang_up; }));
  EXPECT_TRUE(watcher.last.readable);
  loop.unwatch(ours.fd(), watcher);
}

TEST(EventLoopWatch, TellsOncePerEdge) {
  EventLoop loop;
  auto [ours, theirs] = make_socket_pair();
  TestWatcher watcher;
  loop.watch(ours.fd(), watcher);
  send_byte(theirs);
  ASSERT_TRUE(run_until(loop, [&] { return watcher.last.readable; }));
  const int calls = watcher.calls;
  run_turns(loop);
  EXPECT_EQ(watcher.calls, calls) << "nobody read, but nothing came either";
  send_byte(theirs);
  ASSERT_TRUE(run_until(loop, [&] { return watcher.calls > calls; }));
  loop.unwatch(ours.fd(), watcher);
}

TEST(EventLoopWatch, RefusesADescriptorThatIsNone) {
  EventLoop loop;
  TestWatcher watcher;
  EXPECT_THROW(loop.watch(-1, watcher), std::system_error);
}

TEST(EventLoopWatch, DropsAnEventThatTheTurnCollectedBeforeUnwatch) {
  EventLoop loop;
  auto [one, peer_of_one] = make_socket_pair();
  auto [two, peer_of_two] = make_socket_pair();
  // Both are ready in the first turn; whichever comes first takes the other one out.
  std::unique_ptr<TestWatcher> watchers[2];
  for (int i = 0; i < 2; ++i) {
    watchers[i] = std::make_unique<TestWatcher>([&, i](Readiness) {
      if (watchers[1 - i] == nullptr)
        return;
      loop.unwatch(i == 0 ? two.fd() : one.fd(), *watchers[1 - i]);
      watchers[1 - i].reset(); // a call from now on is a use after free
    });
    loop.watch(i == 0 ? one.fd() : two.fd(), *watchers[i]);
  }
  ASSERT_TRUE(run_until(loop, [&] { return !watchers[0] || !watchers[1]; }));
  run_turns(loop);
  const bool first_left = watchers[0] != nullptr;
  loop.unwatch(first_left ? one.fd() : two.fd(), *watchers[first_left ? 0 : 1]);
}

// -- identity and time

TEST(EventLoop, KnowsTheThreadThatRunsIt) {
  EventLoop loop;
  EventLoop other;
  EXPECT_FALSE(loop.in_loop());
  EXPECT_EQ(EventLoop::current(), nullptr);
  bool asked = false;
  loop.post([&] {
    asked = true;
    EXPECT_TRUE(loop.in_loop());
    EXPECT_FALSE(other.in_loop());
    EXPECT_EQ(EventLoop::current(), &loop);
  });
  loop.run_once();
  EXPECT_TRUE(asked);
  EXPECT_EQ(EventLoop::current(), nullptr);
}

TEST(EventLoop, TellsTheClocksTimeAlsoInALongTurn) {
  ManualClock clock;
  EventLoop loop{&clock};
  EXPECT_EQ(loop.now(), clock.now());
  TimePoint first;
  TimePoint second;
  loop.post([&] {
    first = loop.now();
    clock.advance(5ms);
    second = loop.now();
  });
  loop.run_once();
  EXPECT_EQ(second - first, 5ms);
  EXPECT_EQ(loop.now(), clock.now());
}

} // namespace

} // namespace squall
