// SPDX-License-Identifier: BSD-3-Clause
//
// restart_limit_test.cpp: when a child is started anew.
#include "net/restart_limit.hpp"
#include "tests/net/support.hpp"

namespace squall {

namespace {

class RestartLimitTest : public testing::Test {
protected:
  /// The delay of a restart now, in milliseconds; -1: none.
  long long next(RestartLimit& limit) {
    const auto delay = limit.next(now);
    return delay ? std::chrono::duration_cast<std::chrono::milliseconds>(*delay).count() : -1;
  }
  TimePoint now{std::chrono::hours{1}};
};

TEST_F(RestartLimitTest, RestartsAtOnceAndThenBacksOff) {
  RestartLimit limit{100};
  for (const long long expected : {0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000})
    EXPECT_EQ(next(limit), expected);
  for (int i = 11; i < 100; ++i)
    EXPECT_EQ(next(limit), 1000);
}

TEST_F(RestartLimitTest, GivesUpBeyondMaxRestarts) {
  RestartLimit limit{3};
  for (int i = 0; i < 3; ++i)
    EXPECT_GE(next(limit), 0);
  EXPECT_EQ(next(limit), -1);
  EXPECT_EQ(limit.count(), 3u);
  RestartLimit none{0};
  EXPECT_EQ(next(none), -1);
}

TEST_F(RestartLimitTest, CountsWithinItsWindowOnly) {
  RestartLimit limit{3};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(next(limit), i == 0 ? 0 : 10 * i);
    now += std::chrono::minutes{1};
  }
  now += RestartLimit::window - std::chrono::minutes{3} - std::chrono::milliseconds{1};
  EXPECT_EQ(next(limit), -1); // the first is a millisecond too young to be forgotten
  now += std::chrono::milliseconds{1};
  EXPECT_EQ(next(limit), 20); // two are left
  now += RestartLimit::window;
  EXPECT_EQ(next(limit), 0);
  EXPECT_EQ(limit.count(), 1u);
}

TEST_F(RestartLimitTest, ASlowCrashLoopNeverGivesUp) {
  RestartLimit limit{10};
  for (int i = 0; i < 1000; ++i) {
    EXPECT_GE(next(limit), 0);
    now += RestartLimit::window / 10;
  }
}

} // namespace

} // namespace squall
