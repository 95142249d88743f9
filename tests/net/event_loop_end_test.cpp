// SPDX-License-Identifier: BSD-3-Clause
//
// event_loop_end_test.cpp: what the end of a loop tells, runs and drops.
#include "tests/net/support.hpp"

#include <memory>
#include <stdexcept>
#include <string>

namespace squall {

namespace {

using namespace testing_support;

TEST(EventLoopEnd, TellsEveryWatcherOnce) {
  auto [one, peer_of_one] = make_socket_pair();
  auto [two, peer_of_two] = make_socket_pair();
  TestWatcher first;
  TestWatcher second;
  TestWatcher left_before;
  {
    EventLoop loop;
    loop.watch(one.fd(), first);
    loop.watch(two.fd(), second);
    loop.watch(peer_of_one.fd(), left_before);
    loop.unwatch(peer_of_one.fd(), left_before);
  }
  EXPECT_EQ(first.ends, 1);
  EXPECT_EQ(second.ends, 1);
  EXPECT_EQ(left_before.ends, 0);
}

TEST(EventLoopEnd, RunsDeferredTasksALastTimeAndSurvivesTheirExceptions) {
  std::string order;
  auto loop = std::make_unique<EventLoop>();
  TestTask first{[&] {
    order += "first ";
    throw std::runtime_error{"from a task"};
  }};
  TestTask second{[&] { order += "second"; }};
  loop->defer(first);
  loop->defer(second);
  loop.reset();
  EXPECT_EQ(order, "first second");
}

TEST(EventLoopEnd, MayComeBeforeTheLoopGoes) {
  auto [one, peer_of_one] = make_socket_pair();
  TestWatcher watcher;
  TestWatcher without_descriptor;
  int runs = 0;
  TestTask task{[&] { ++runs; }};
  EventLoop loop;
  loop.watch(one.fd(), watcher);
  loop.watch_end(without_descriptor);
  loop.defer(task);
  loop.post([&] { ++runs; });
  loop.end();
  loop.end();
  EXPECT_EQ(watcher.ends + without_descriptor.ends, 2);
  EXPECT_EQ(runs, 1) << "what was posted did not run";
  loop.run_posted();
  EXPECT_EQ(runs, 2);
}

TEST(EventLoopEnd, TellsAWatcherThatComesWhileTheLoopEnds) {
  auto [one, peer_of_one] = make_socket_pair();
  auto loop = std::make_unique<EventLoop>();
  TestWatcher late;
  TestTask task{{}};
  EventLoop& ending = *loop;
  loop->defer(task);
  task.function = [&ending, &late, fd = one.fd()] { ending.watch(fd, late); };
  loop.reset();
  EXPECT_EQ(late.ends, 1);
}

TEST(EventLoopEnd, TakesWhatDroppedFunctionsLetGo) {
  struct Poster {
    EventLoop& loop;
    ~Poster() {
      loop.post([] { FAIL() << "the loop has ended"; });
    }
  };
  auto loop = std::make_unique<EventLoop>();
  loop->post([poster = std::make_shared<Poster>(Poster{*loop})] { FAIL() << "the loop has ended"; });
  loop.reset(); // a use after free would show here
}

} // namespace

} // namespace squall
