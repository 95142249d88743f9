// SPDX-License-Identifier: BSD-3-Clause
//
// stream_half_close_test.cpp: the two sides of a connection that end one after the other, on every transport.
#include "tests/net/stream_sides.hpp"

namespace squall {

namespace {

using namespace testing_support;

class HalfCloseTest : public SidesTest {
protected:
  void SetUp() override { relink({.half_close = true}); }

  /// The peer ends its side, and the stream has seen it.
  void end_input() {
    peer().end();
    TestRead read{stream(), ReadBytes{1}};
    await(read);
    ASSERT_EQ(read.error(), closed_by(CloseReason::peer_closed));
    ASSERT_FALSE(stream().closed());
  }
};
class ShutdownWriteTest : public SidesTest {};
SQUALL_STREAM_CONTRACT(SidesTest);
SQUALL_STREAM_CONTRACT(HalfCloseTest);
SQUALL_STREAM_CONTRACT(ShutdownWriteTest);

// -- half_close

TEST_P(HalfCloseTest, AnswersAClientThatEndedItsSide) {
  const std::string answer = pattern(3 * 1024 * 1024);
  const auto body = [&]() -> Task<> {
    const Bytes request = co_await stream().read_until_close();
    EXPECT_EQ(request, "request");
    co_await sleep_for(1h);
    co_await stream().write(Bytes{answer});
    co_await stream().shutdown_write();
  };
  start(body());
  peer().send("request");
  peer().end();
  run_turns(loop);
  EXPECT_FALSE(stream().closed());
  pass(1h);
  receive_all();
  EXPECT_EQ(peer().received, answer);
  EXPECT_TRUE(peer().saw_end);
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_TRUE(stream().closed()) << "both sides ended";
  EXPECT_EQ(stream().error(), closed_by(CloseReason::peer_closed));
}

TEST_P(HalfCloseTest, FailsReadsAfterTheEndWhileWritesWork) {
  TestRead pending{stream(), ReadBytes{10}};
  peer().send("abc");
  peer().end();
  await(pending);
  EXPECT_EQ(pending.error(), closed_by(CloseReason::peer_closed));
  EXPECT_FALSE(stream().closed());
  EXPECT_EQ(stream().error().reason, CloseReason::none);
  const TestRead unread{stream(), ReadBytes{2}};
  EXPECT_EQ(unread.text(), "ab");
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), "c");
  const TestRead nothing{stream(), ReadUntilClose{}};
  EXPECT_TRUE(nothing.succeeded()) << "an empty rest";
  for (const ReadRequest& request : std::vector<ReadRequest>{
           ReadBytes{1}, ReadBytes{1, true}, ReadUntil{"\n", {}}, ReadUntilRegex{Regex{"a"}},
           ReadInto{MutableBytes{1}}, Peek{1}, ReadBytes{1, false, 0ms}}) {
    const TestRead failed{stream(), request};
    EXPECT_EQ(failed.error(), closed_by(CloseReason::peer_closed)) << request.index();
  }
  for (int i = 0; i < 3; ++i) {
    TestWrite write{stream(), "x"};
    await(write);
    EXPECT_TRUE(write.succeeded());
  }
  receive(3);
  EXPECT_EQ(peer().received, "xxx");
  EXPECT_FALSE(peer().saw_end);
}

TEST_P(HalfCloseTest, PutsBytesBackThatWentToABuffer) {
  TestRead into{stream(), ReadInto{MutableBytes{10}}};
  peer().send("abc");
  run_turns(loop);
  peer().end();
  await(into);
  EXPECT_EQ(into.error(), closed_by(CloseReason::peer_closed));
  const TestRead rest{stream(), ReadBytes{3}};
  EXPECT_EQ(rest.text(), "abc");
}

TEST_P(HalfCloseTest, TellsTheEndOnceAfterThePendingRead) {
  std::string order;
  TestRead pending;
  pending.then = [&] { order += "read "; };
  pending.start(stream(), ReadBytes{1});
  stream().set_end_callback([&] { order += "end "; });
  stream().set_close_callback([&] { order += "close "; });
  peer().end();
  ASSERT_TRUE(run_until([&] { return order.find("end") != std::string::npos; }));
  run_turns(loop);
  EXPECT_EQ(order, "read end ");
  EXPECT_FALSE(stream().closed());
  stream().close();
  run_turns(loop);
  EXPECT_EQ(order, "read end close ");
}

TEST_P(HalfCloseTest, TellsTheEndThoughNobodyReads) {
  count_callbacks();
  peer().end();
  ASSERT_TRUE(run_until([&] { return ends == 1; }));
  EXPECT_FALSE(stream().closed());
  EXPECT_EQ(closes, 0);
  pass(1h);
  EXPECT_FALSE(stream().closed()) << "it stays until its own side ends, too";
  EXPECT_EQ(ends, 1);
}

TEST_P(HalfCloseTest, TellsTheEndWhenEverythingBeforeItIsRead) {
  count_callbacks();
  peer().send("abc");
  peer().end();
  run_turns(loop);
  EXPECT_EQ(ends, 0);
  TestRead read{stream(), ReadBytes{3}};
  await(read);
  EXPECT_EQ(read.text(), "abc");
  ASSERT_TRUE(run_until([&] { return ends == 1; }));
  EXPECT_FALSE(stream().closed());
}

TEST_P(HalfCloseTest, ClosesAfterAFlushWithoutWaitingForAnEndThatWasSeen) {
  end_input();
  const std::string written = fill_connection();
  count_callbacks();
  static_cast<void>(stream().close_after_flush(5s));
  receive_all();
  EXPECT_EQ(peer().received, written);
  EXPECT_FALSE(peer().saw_error);
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  EXPECT_EQ(stream().error(), closed_by(CloseReason::local_close));
}

TEST_P(HalfCloseTest, TellsTheEndToOneWhoAsksLate) {
  end_input();
  run_turns(loop);
  count_callbacks();
  EXPECT_EQ(ends, 0) << "from the loop";
  run_turns(loop);
  EXPECT_EQ(ends, 1);
}

TEST_P(HalfCloseTest, ClosesWhenBothSidesEnded) {
  count_callbacks();
  end_input();
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  await(shutdown);
  EXPECT_TRUE(shutdown.succeeded());
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  EXPECT_EQ(stream().error(), closed_by(CloseReason::peer_closed));
  EXPECT_EQ(ends, 1);
  receive_all();
  EXPECT_TRUE(peer().saw_end);
}

TEST_P(HalfCloseTest, ClosesWhenItsOwnSideEndedFirst) {
  count_callbacks();
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  await(shutdown);
  EXPECT_FALSE(stream().closed());
  TestRead read{stream(), ReadUntilClose{}};
  peer().send("late");
  peer().end();
  await(read);
  EXPECT_EQ(read.text(), "late");
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  EXPECT_EQ(stream().error(), closed_by(CloseReason::peer_closed));
  EXPECT_EQ(ends, 1);
}

TEST_P(HalfCloseTest, ClosesOnlyWhenTheUnsentIsSent) {
  const std::string written = fill_connection();
  end_input();
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  run_turns(loop);
  EXPECT_FALSE(stream().closed());
  EXPECT_FALSE(shutdown.answered());
  receive_all();
  EXPECT_EQ(peer().received, written);
  await(shutdown);
  EXPECT_TRUE(shutdown.succeeded());
  EXPECT_TRUE(stream().closed());
}

TEST_P(HalfCloseTest, HearsOfABreakAfterTheEnd) {
  count_callbacks();
  end_input();
  fill_connection();
  peer().reset();
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  EXPECT_EQ(stream().error().reason, CloseReason::reset);
  EXPECT_EQ(ends, 1);
}

TEST_P(HalfCloseTest, HearsOfABreakAfterTheEndWithNothingToSend) {
  if (!is("Tcp") && !is("Memory"))
    GTEST_SKIP() << "knows no reset without unread bytes";
  count_callbacks();
  end_input();
  peer().reset();
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  EXPECT_EQ(stream().error().reason, CloseReason::reset);
}

TEST_P(HalfCloseTest, EndsItsSideWhenTheLastHandleGoes) {
  end_input();
  stream() = IOStream{};
  receive_all();
  EXPECT_TRUE(peer().saw_end);
}

TEST_P(SidesTest, TellTheEndWithTheCloseWithoutHalfClose) {
  std::string order;
  TestRead pending;
  pending.then = [&] { order += "read "; };
  pending.start(stream(), ReadBytes{1});
  stream().set_end_callback([&] { order += "end "; });
  peer().end();
  ASSERT_TRUE(run_until([&] { return stream().closed(); }));
  run_turns(loop);
  EXPECT_EQ(order, "read end ");
  stream().set_end_callback([&] { order += "late "; });
  run_turns(loop);
  EXPECT_EQ(order, "read end late ");
}

TEST_P(SidesTest, TellTheEndToOneWhoAsksAfterTheCloseAndGoes) {
  stream().close();
  run_turns(loop);
  stream().set_end_callback([this] { ++ends; });
  link.stream = IOStream{};
  run_turns(loop);
  EXPECT_EQ(ends, 1);
}

TEST_P(SidesTest, TellTheEndToOneWhoAsksInTheLastAnswerAndGoes) {
  static_cast<void>(fill_connection());
  TestWrite pending{stream(), "more"};
  pending.then = [this] {
    stream().set_end_callback([this] { ++ends; });
    link.stream = IOStream{};
  };
  stream().close();
  run_turns(loop);
  EXPECT_EQ(pending.error(), closed_by(CloseReason::local_close));
  EXPECT_EQ(ends, 1);
}

TEST_P(SidesTest, TellTheEndWhenTheStreamIsClosedHere) {
  count_callbacks();
  stream().close();
  EXPECT_EQ(ends, 0);
  run_turns(loop);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(closes, 1);
}

// -- shutdown_write

TEST_P(ShutdownWriteTest, GivesThePeerEverythingAndThenTheEnd) {
  const std::string written = fill_connection();
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  run_turns(loop);
  EXPECT_FALSE(shutdown.answered());
  receive_all();
  EXPECT_EQ(peer().received, written);
  EXPECT_TRUE(peer().saw_end);
  await(shutdown);
  EXPECT_TRUE(shutdown.succeeded());
  EXPECT_FALSE(stream().closed());
}

TEST_P(ShutdownWriteTest, SendsWhatTheSameTurnWrote) {
  static_cast<void>(stream().write("last"));
  static_cast<void>(stream().shutdown_write());
  receive_all();
  EXPECT_EQ(peer().received, "last");
  EXPECT_TRUE(peer().saw_end);
}

TEST_P(ShutdownWriteTest, RefusesFurtherWrites) {
  const StreamError write_ended{StreamErrc::write_ended, CloseReason::none, {}};
  static_cast<void>(stream().shutdown_write());
  const TestWrite at_once{stream(), "x"};
  EXPECT_EQ(at_once.error(), write_ended);
  receive_all();
  const TestWrite later{stream(), "x"};
  EXPECT_EQ(later.error(), write_ended);
  const TestWrite empty{stream(), ""};
  EXPECT_EQ(empty.error(), write_ended);
  std::optional<StreamError> called;
  stream().write("x", [&](Result<void> result) { called = result.error(); });
  EXPECT_FALSE(called);
  run_turns(loop);
  EXPECT_EQ(called, write_ended);
  const auto body = [&]() -> Task<> { co_await stream().write("x"); };
  start(body());
  EXPECT_THROW(std::rethrow_exception(failure), StreamUsageError);
  EXPECT_FALSE(stream().closed());
  EXPECT_EQ(peer().received, "");
}

TEST_P(ShutdownWriteTest, LeavesReadsGoingOn) {
  static_cast<void>(stream().shutdown_write());
  receive_all();
  TestRead read{stream(), ReadUntilClose{}};
  peer().send("still ");
  run_turns(loop);
  peer().send("here");
  peer().end();
  await(read);
  EXPECT_EQ(read.text(), "still here");
  EXPECT_TRUE(stream().closed());
}

TEST_P(ShutdownWriteTest, MayBeRepeated) {
  for (int i = 0; i < 3; ++i) {
    TestEnd shutdown;
    shutdown.take(stream().start_shutdown_write(shutdown));
    await(shutdown);
    EXPECT_TRUE(shutdown.succeeded());
    EXPECT_EQ(shutdown.answers, 1);
  }
  stream().close();
  TestEnd closed;
  closed.take(stream().start_shutdown_write(closed));
  EXPECT_EQ(closed.error(), closed_by(CloseReason::local_close));
}

TEST_P(ShutdownWriteTest, WorksInACoroutineAndWithACallback) {
  const std::string written = fill_connection();
  bool called = false;
  stream().shutdown_write([&](const Result<void>& result) { called = result.has_value(); });
  const auto body = [&]() -> Task<> {
    co_await stream().shutdown_write();
    const Result<void> again = co_await stream().shutdown_write().as_result();
    EXPECT_TRUE(again);
  };
  start(body());
  run_turns(loop);
  EXPECT_FALSE(ended);
  EXPECT_FALSE(called);
  receive_all();
  ASSERT_TRUE(run_until([&] { return ended && called; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(peer().received, written);
}

TEST_P(ShutdownWriteTest, FailsWhenTheConnectionBreaks) {
  fill_connection();
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  peer().reset();
  await(shutdown);
  EXPECT_EQ(shutdown.error().reason, CloseReason::reset);
  EXPECT_EQ(shutdown.answers, 1);
}

} // namespace

} // namespace squall
