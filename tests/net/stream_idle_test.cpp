// SPDX-License-Identifier: BSD-3-Clause
//
// stream_idle_test.cpp: closes by time: idle_timeout and the timeout of a write, on every transport.
#include "tests/net/stream_sides.hpp"

namespace squall {

namespace {

using namespace testing_support;

class IdleTimeoutTest : public SidesTest {};
class WriteTimeoutTest : public SidesTest {};
SQUALL_STREAM_CONTRACT(IdleTimeoutTest);
SQUALL_STREAM_CONTRACT(WriteTimeoutTest);

// -- idle_timeout

TEST_P(IdleTimeoutTest, ClosesAStreamWithoutTraffic) {
  relink({.idle_timeout = 10s});
  count_callbacks();
  TestRead read{stream(), ReadBytes{1}};
  pass(10s - 1ms);
  EXPECT_FALSE(stream().closed());
  pass(1ms);
  EXPECT_EQ(read.error(), closed_by(CloseReason::timed_out));
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
  run_turns(loop);
  EXPECT_EQ(closes, 1);
  receive_all();
}

TEST_P(IdleTimeoutTest, BeginsAnewWithEveryByteReceived) {
  relink({.idle_timeout = 10s});
  for (const bool into : {false, true}) {
    TestRead read;
    if (into)
      read.start(stream(), ReadInto{MutableBytes{10}});
    else
      read.start(stream(), ReadBytes{10});
    for (int i = 0; i < 10; ++i) {
      pass(9s);
      ASSERT_FALSE(stream().closed());
      EXPECT_FALSE(read.answered());
      peer().send("x");
      run_turns(loop);
    }
    await(read);
    EXPECT_TRUE(read.succeeded());
  }
  pass(10s);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
}

TEST_P(IdleTimeoutTest, BeginsAnewWithEveryByteSent) {
  relink({.idle_timeout = 10s});
  for (int i = 0; i < 5; ++i) {
    pass(9s);
    ASSERT_FALSE(stream().closed());
    static_cast<void>(stream().write("x"));
    run_turns(loop);
  }
  pass(9s);
  EXPECT_FALSE(stream().closed());
  pass(1s);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
}

TEST_P(IdleTimeoutTest, IsNotHeldUpByBytesThatAreOnlyQueued) {
  relink({.idle_timeout = 10s});
  fill_connection();
  TestWrite write{stream(), "x"};
  pass(5s);
  static_cast<void>(stream().write("x"));
  pass(5s);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
  await(write);
  EXPECT_EQ(write.error(), closed_by(CloseReason::timed_out));
}

TEST_P(IdleTimeoutTest, OfZeroNeverCloses) {
  pass(24h * 365);
  EXPECT_FALSE(stream().closed());
}

TEST_P(IdleTimeoutTest, ComesNotAfterAClose) {
  relink({.idle_timeout = 10s});
  stream().close();
  pass(10s);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::local_close));
}

// -- the timeout of a write

TEST_P(WriteTimeoutTest, ClosesTheStream) {
  fill_connection();
  count_callbacks();
  TestWrite before{stream(), "before"};
  TestWrite write;
  ASSERT_FALSE(stream().start_write("late", write, 5s));
  pass(5s - 1ms);
  EXPECT_FALSE(stream().closed());
  pass(1ms);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
  await(write);
  EXPECT_EQ(before.error(), closed_by(CloseReason::timed_out));
  EXPECT_EQ(write.error(), closed_by(CloseReason::timed_out));
  run_turns(loop);
  EXPECT_EQ(write.answers, 1);
  EXPECT_EQ(closes, 1);
}

TEST_P(WriteTimeoutTest, DoesNothingToAWriteThatIsSentInTime) {
  std::string expected = fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_write("in time", write, 5s));
  expected += "in time";
  receive(expected.size());
  await(write);
  EXPECT_TRUE(write.succeeded());
  pass(1h);
  EXPECT_FALSE(stream().closed());
  EXPECT_EQ(peer().received, expected);
}

TEST_P(WriteTimeoutTest, OfTheFirstToBeLateCounts) {
  fill_connection();
  TestWrite patient;
  TestWrite hasty;
  ASSERT_FALSE(stream().start_write("patient", patient, 20s));
  ASSERT_FALSE(stream().start_write("hasty", hasty, 5s));
  pass(5s);
  await(hasty);
  EXPECT_EQ(patient.error(), hasty.error());
  EXPECT_EQ(stream().error(), closed_by(CloseReason::timed_out));
}

TEST_P(WriteTimeoutTest, IsForgottenWithItsWrite) {
  fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_write("late", write, 5s));
  stream().cancel_write(write);
  pass(1h);
  EXPECT_FALSE(stream().closed());
  EXPECT_FALSE(write.answered());
}

TEST_P(WriteTimeoutTest, OfZeroSendsWhatCanBeSentAtOnce) {
  TestWrite write;
  ASSERT_FALSE(stream().start_write("now", write, 0ms));
  EXPECT_FALSE(write.answered()) << "not inside the call";
  await(write);
  EXPECT_TRUE(write.succeeded());
  EXPECT_FALSE(stream().closed());
  receive(3);
  EXPECT_EQ(peer().received, "now");
  fill_connection();
  TestWrite late;
  ASSERT_FALSE(stream().start_write("late", late, 0ms));
  await(late);
  EXPECT_EQ(late.error(), closed_by(CloseReason::timed_out));
}

TEST_P(WriteTimeoutTest, IsThrownInACoroutineAndToldToACallback) {
  fill_connection();
  const auto body = [&]() -> Task<> { co_await stream().write("late", 5s); };
  start(body());
  std::optional<StreamError> called;
  stream().write(
      "late, too", [&](Result<void> result) { called = result.error(); }, 5s);
  pass(5s);
  ASSERT_TRUE(run_until([&] { return ended && called; }));
  EXPECT_EQ(called, closed_by(CloseReason::timed_out));
  try {
    std::rethrow_exception(failure);
  } catch (const StreamClosedError& error) {
    EXPECT_EQ(error.reason(), CloseReason::timed_out);
  }
}

TEST_P(WriteTimeoutTest, OfAPacedWriteCountsWhileItWaits) {
  fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_paced_write("late", write, 5s));
  pass(5s);
  await(write);
  EXPECT_EQ(write.error(), closed_by(CloseReason::timed_out));
}

} // namespace

} // namespace squall
