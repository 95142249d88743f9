// SPDX-License-Identifier: BSD-3-Clause
//
// process_test.cpp: fork_processes, in processes of their own (tests/process_helper.cpp).
//
// Tornado's test test_multi_process (tornado/test/process_test.py) is ForkProcesses.TestMultiProcess.
//
// | Weak spot of Tornado's fork_processes | Here                                                                      |
// | ------------------------------------- | ------------------------------------------------------------------------- |
// | signals reach the parent only         | ForkProcesses.WeakSpot29ForwardsSignalsToEachChild                        |
// | children outlive their parent         | ForkProcesses.WeakSpot29ChildrenDieWithTheirParent                        |
// | a crash loop restarts without pause   | RestartLimitTest.RestartsAtOnceAndThenBacksOff,                           |
// |                                       | ForkProcesses.WeakSpot29BacksOff                                          |
// | one counter for all, for ever         | ForkProcesses.WeakSpot29CountsTheRestartsOfEachChildByItself,             |
// |                                       | RestartLimitTest.CountsWithinItsWindowOnly                                |
// | giving up leaves the others behind    | ForkProcesses.WeakSpot29GivingUpEndsAllChildren                           |
#include "tests/process_support.hpp"
#include <squall/net/process.hpp>

#include <set>

namespace squall {

namespace {

using namespace testing_support;
using Lines = std::vector<std::string>;

class ForkProcesses : public testing::Test {
protected:
  EventLoop loop;
};

TEST_F(ForkProcesses, GivesEachChildItsTaskId) {
  Helper helper{loop, {"ids", "4", "100"}};
  EXPECT_EQ(helper.rest(), (Lines{"0", "1", "2", "3"}));
  EXPECT_EQ(helper.returncode(), 0);
  EXPECT_EQ(helper.errors(), "");
}

TEST_F(ForkProcesses, ForksOneChild) {
  Helper helper{loop, {"ids", "1", "0"}};
  EXPECT_EQ(helper.rest(), Lines{"0"});
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, ForksOneChildForEachCoreByDefault) {
  for (const char* number : {"0", "-1"}) {
    Helper helper{loop, {"ids", number, "100"}};
    EXPECT_EQ(helper.rest().size(), static_cast<std::size_t>(cpu_count()));
    EXPECT_EQ(helper.returncode(), 0);
  }
}

TEST_F(ForkProcesses, TellsOfNoTaskElsewhere) {
  Helper helper{loop, {"count"}};
  EXPECT_EQ(helper.line(), std::to_string(cpu_count()));
  EXPECT_GE(cpu_count(), 1);
  EXPECT_EQ(helper.line(), "no task");
  EXPECT_EQ(helper.line(), "1");
}

TEST_F(ForkProcesses, TellsEachChildTheirNumber) {
  Helper helper{loop, {"process_counts"}};
  EXPECT_EQ(helper.rest(), (Lines{"3", "3", "3"}));
}

TEST_F(ForkProcesses, ReplacesAChildThatExitsWithAnotherStatus) {
  Helper helper{loop, {"fail", "2", "100", "4", "2"}};
  EXPECT_EQ(helper.rest(), (Lines{"0 started 3 times", "1 started 3 times"}));
  EXPECT_EQ(helper.returncode(), 0);
  const std::string log = helper.errors();
  EXPECT_EQ(occurrences(log, "warning child_ended"), 4u) << log;
  EXPECT_EQ(occurrences(log, R"(end="status 4")"), 4u) << log;
}

TEST_F(ForkProcesses, ReplacesAChildThatASignalEnds) {
  Helper helper{loop, {"fail", "2", "100", std::to_string(-SIGKILL), "1"}};
  EXPECT_EQ(helper.rest(), (Lines{"0 started 2 times", "1 started 2 times"}));
  EXPECT_EQ(helper.returncode(), 0);
  EXPECT_EQ(occurrences(helper.errors(), "end=\"signal 9 (Killed)\""), 2u);
}

TEST_F(ForkProcesses, WeakSpot29BacksOff) {
  Helper helper{loop, {"fail", "1", "100", "1", "4"}};
  EXPECT_EQ(helper.rest(), Lines{"0 started 5 times"});
  const std::string log = helper.errors();
  for (const char* delay : {"0", "10", "20", "40"})
    EXPECT_EQ(occurrences(log, "delay_ms=\"" + std::string{delay} + '"'), 1u) << log;
}

TEST_F(ForkProcesses, WeakSpot29CountsTheRestartsOfEachChildByItself) {
  Helper helper{loop, {"fail", "3", "2", "1", "2"}}; // six restarts, with two allowed
  EXPECT_EQ(helper.rest(), (Lines{"0 started 3 times", "1 started 3 times", "2 started 3 times"}));
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, WeakSpot29GivingUpEndsAllChildren) {
  Helper helper{loop, {"give_up", "0"}};
  const Lines output = helper.rest(); // which the children hold open while they live
  ASSERT_EQ(output.size(), 1u);
  EXPECT_EQ(output[0],
            "child 0 ended abnormally again (status 5) after 0 restarts within ten minutes, the most that "
            "max_restarts allows; all children were ended");
  EXPECT_EQ(helper.returncode(), 3);
}

TEST_F(ForkProcesses, GivesUpBeyondMaxRestarts) {
  Helper helper{loop, {"give_up", "2"}};
  EXPECT_EQ(helper.rest().size(), 1u);
  EXPECT_EQ(helper.returncode(), 3);
  EXPECT_EQ(occurrences(helper.errors(), "child_ended"), 2u);
}

TEST_F(ForkProcesses, WeakSpot29ForwardsSignalsToEachChild) {
  for (const int number : {SIGTERM, SIGINT}) {
    Helper helper{loop, {"signals", "0"}};
    EXPECT_EQ(helper.lines(2), (Lines{"ready 0", "ready 1"}));
    for (int i = 0; i < 2; ++i) { // to read a configuration again, say
      EXPECT_TRUE(helper.process().kill(SIGHUP));
      EXPECT_EQ(helper.lines(2), (Lines{"0 got 1", "1 got 1"}));
    }
    EXPECT_TRUE(helper.process().kill(number));
    const std::string got = " got " + std::to_string(number);
    EXPECT_EQ(helper.rest(), (Lines{"0" + got, "1" + got}));
    EXPECT_EQ(helper.returncode(), 0);
    EXPECT_EQ(helper.errors(), "");
  }
}

TEST_F(ForkProcesses, EndsWithStatus1WhenAChildDoesNotEndWell) {
  Helper helper{loop, {"signals", "7"}};
  helper.lines(2);
  helper.process().kill(SIGTERM);
  EXPECT_EQ(helper.rest().size(), 2u); // none was started anew
  EXPECT_EQ(helper.returncode(), 1);
}

TEST_F(ForkProcesses, ChildrenWithoutAHandlerDieOfTheForwardedSignal) {
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
    Helper helper{loop, {"stay"}};
    helper.lines(2);
    helper.process().kill(number);
    EXPECT_EQ(helper.rest(), Lines{});
    EXPECT_EQ(helper.returncode(), 0);
    EXPECT_EQ(helper.errors(), "");
  }
}

TEST_F(ForkProcesses, EndsAlsoWhenTheSignalOfAChildsEndIsLost) {
  Helper helper{loop, {"deaf"}};
  helper.lines(2);
  helper.process().kill(SIGTERM);
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, ReplacesAChildThatSomebodyElseEnds) {
  Helper helper{loop, {"stay"}};
  const Lines pids = helper.lines(2);
  ASSERT_EQ(::kill(std::stoi(pids[0]), SIGTERM), 0);
  const std::string third = helper.line();
  EXPECT_EQ(std::count(pids.begin(), pids.end(), third), 0);
  helper.process().kill(SIGTERM);
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, LeavesAnIgnoredSignalIgnored) {
  Helper helper{loop, {"ignored_hang_up"}};
  helper.lines(2);
  helper.process().kill(SIGHUP);
  helper.process().kill(SIGTERM);
  EXPECT_EQ(helper.rest(), Lines{});
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, WeakSpot29ChildrenDieWithTheirParent) {
  Helper helper{loop, {"stay"}};
  helper.lines(2);
  helper.process().kill(SIGKILL);
  EXPECT_EQ(helper.rest(), Lines{}); // its end: no child is left that holds it
  EXPECT_EQ(helper.returncode(), -SIGKILL);
}

TEST_F(ForkProcesses, GivesChildrenTheStateOfTheirParentOnce) {
  Helper helper{loop, {"state"}};
  const Lines output = helper.rest();
  const auto count = [&](const std::string& text) { return std::count(output.begin(), output.end(), text); };
  EXPECT_EQ(count("written once"), 1);
  EXPECT_EQ(count("this too"), 1);
  EXPECT_EQ(count("same signals"), 3);
  EXPECT_EQ(count("death signal " + std::to_string(SIGTERM)), 3);
  std::set<std::string> random;
  for (const std::string& line : output)
    if (line.starts_with("random"))
      random.insert(line);
  EXPECT_EQ(random.size(), 3u);
  EXPECT_EQ(output.size(), 11u);
}

TEST_F(ForkProcesses, AChildWhoseParentDiedAtOnceEnds) {
  Helper helper{loop, {"early_orphan"}};
  EXPECT_EQ(helper.rest(), Lines{});
  EXPECT_EQ(helper.returncode(), -SIGKILL);
}

TEST_F(ForkProcesses, EndsTheFirstChildrenWhenAnotherCannotBeMade) {
  Helper helper{loop, {"fork_fails", "2"}};
  Lines output = helper.rest(); // child 0 may have ended before it could say that it is there
  std::erase(output, "0");
  EXPECT_EQ(output, Lines{"fork: Resource temporarily unavailable"});
  EXPECT_EQ(helper.returncode(), 3);
}

TEST_F(ForkProcesses, TriesAgainWhenAChildCannotBeReplaced) {
  Helper helper{loop, {"fork_fails", "3"}};
  EXPECT_EQ(helper.rest(), (Lines{"0", "0", "1"}));
  EXPECT_EQ(helper.returncode(), 0);
  const std::string log = helper.errors();
  EXPECT_EQ(occurrences(log, "end=\"fork: Resource temporarily unavailable\""), 1u) << log;
  EXPECT_EQ(occurrences(log, "child_ended"), 2u) << log;
}

TEST_F(ForkProcesses, LeavesChildrenAloneThatItDidNotMake) {
  Helper helper{loop, {"other_child"}};
  EXPECT_EQ(helper.rest(), Lines{"child"});
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(ForkProcesses, IsRefusedWhereOtherThreadsRun) {
  Helper helper{loop, {"refused_thread"}};
  EXPECT_EQ(
      helper.rest(),
      (Lines{"fork_processes must come first in a process: 2 threads run, and only this one would be in the "
             "children; make the actor_system, the server that listens and every other thread after the fork",
             "forked", "forked"}));
}

TEST_F(ForkProcesses, IsRefusedWhereAnEventLoopIs) {
  Helper helper{loop, {"refused_loop"}};
  EXPECT_EQ(
      helper.rest(),
      (Lines{"fork_processes must come first in a process: an EventLoop exists, which its children would "
             "share; make it after the fork",
             "forked", "forked"}));
}

TEST_F(ForkProcesses, IsRefusedInAChild) {
  Helper helper{loop, {"refused_child"}};
  EXPECT_EQ(helper.line(), "fork_processes must come first in a process: this one is its child 0 already");
}

TEST_F(ForkProcesses, RefusesANegativeNumberOfRestarts) {
  Helper helper{loop, {"refused_number"}};
  EXPECT_EQ(helper.line(), "max_restarts is -1, but must be 0 or more");
}

TEST_F(ForkProcesses, TestMultiProcess) {
  Helper helper{loop, {"multi_process"}};
  EXPECT_EQ(helper.rest(), Lines{"all served"});
  EXPECT_EQ(helper.returncode(), 0);
  const std::string log = helper.errors();
  EXPECT_EQ(occurrences(log, "child_ended"), 3u) << log;
}

} // namespace

} // namespace squall
