// SPDX-License-Identifier: BSD-3-Clause
//
// stream_close_test.cpp: how a stream closes, and who hears of it; on every transport.
#include "tests/net/stream_contract.hpp"

namespace squall {

namespace {

using namespace testing_support;

class CloseTest : public StreamTest {
protected:
  void note_close() {
    stream().set_close_callback([this] { order += "closed "; });
  }
  [[nodiscard]] bool peer_sees_end() {
    return run_until([&] {
      peer().receive();
      return peer().saw_end || peer().saw_error;
    });
  }

  std::string order;
};
SQUALL_STREAM_CONTRACT(CloseTest);

TEST_P(CloseTest, ShowsInTheStateOfTheStreamAndToThePeer) {
  EXPECT_FALSE(stream().closed());
  EXPECT_EQ(stream().error(), (StreamError{StreamErrc::closed, CloseReason::none, {}}));
  stream().close();
  EXPECT_TRUE(stream().closed());
  EXPECT_FALSE(stream().reading());
  EXPECT_FALSE(stream().writing());
  EXPECT_EQ(stream().error().reason, CloseReason::local_close);
  EXPECT_TRUE(peer_sees_end());
}

TEST_P(CloseTest, KeepsTheReasonOfTheFirst) {
  const std::error_code real = std::make_error_code(std::errc::timed_out);
  stream().close(CloseReason::handler_failed, real);
  stream().close(CloseReason::local_close);
  EXPECT_EQ(stream().error(), (StreamError{StreamErrc::closed, CloseReason::handler_failed, real}));
}

TEST_P(CloseTest, AnswersThePendingReadThenTheWritesThenTheCloseCallback) {
  fill_connection();
  TestRead read;
  TestWrite first;
  TestWrite second;
  read.then = [&] { order += "read "; };
  first.then = [&] { order += "first "; };
  second.then = [&] { order += "second "; };
  note_close();
  first.start(stream(), "1");
  second.start(stream(), "2");
  read.start(stream(), ReadBytes{1});
  stream().close();
  run_turns(loop);
  EXPECT_EQ(order, "read first second closed ");
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::local_close, {}}));
  EXPECT_EQ(first.error(), read.error());
  EXPECT_EQ(second.error(), read.error());
}

TEST_P(CloseTest, HandsOverWhatIsUnsentWhenThePeerEndsItsSide) {
  const std::string written = fill_connection();
  TestWrite write;
  TestRead read;
  write.start(stream(), "last");
  read.start(stream(), ReadBytes{1});
  peer().end();
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.error().reason, CloseReason::peer_closed);
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return write.answered();
  }));
  EXPECT_TRUE(write.succeeded());
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().received.size() >= written.size() + 4;
  }));
  EXPECT_EQ(peer().received, written + "last");
}

TEST_P(CloseTest, AnswersInThatOrderAlsoWhenThePeerEnds) {
  relink({.linger_timeout = std::chrono::milliseconds{0}});
  fill_connection();
  TestRead read;
  TestWrite write;
  read.then = [&] { order += "read "; };
  write.then = [&] { order += "write "; };
  note_close();
  write.start(stream(), "1");
  read.start(stream(), ReadBytes{1});
  peer().end();
  ASSERT_TRUE(run_until([&] { return order.ends_with("closed "); }));
  EXPECT_EQ(order, "read write closed ");
}

TEST_P(CloseTest, RunsTheCloseCallbackOnceAndFromTheLoop) {
  note_close();
  stream().close();
  EXPECT_EQ(order, "") << "never inside the call";
  stream().close();
  run_turns(loop);
  EXPECT_EQ(order, "closed ");
}

TEST_P(CloseTest, RunsACloseCallbackThatIsSetAfterTheClose) {
  stream().close();
  run_turns(loop);
  note_close();
  EXPECT_EQ(order, "");
  run_turns(loop);
  EXPECT_EQ(order, "closed ");
  note_close(); // and another
  run_turns(loop);
  EXPECT_EQ(order, "closed closed ");
}

TEST_P(CloseTest, RunsOnlyTheLastCloseCallbackThatWasSet) {
  stream().set_close_callback([&] { order += "first "; });
  stream().set_close_callback([&] { order += "second "; });
  stream().close();
  stream().set_close_callback([&] { order += "third "; });
  run_turns(loop);
  EXPECT_EQ(order, "third ");
  stream().set_close_callback([&] { order += "fourth "; });
  stream().set_close_callback({});
  run_turns(loop);
  EXPECT_EQ(order, "third ");
}

TEST_P(CloseTest, MayBeAskedForInTheCloseCallback) {
  stream().set_close_callback([&] {
    order += "closed ";
    stream().close();
    stream().set_close_callback([&] { order += "again "; });
  });
  stream().close();
  run_turns(loop);
  EXPECT_EQ(order, "closed again ");
}

TEST_P(CloseTest, MayBeAskedForInAReadsAnswer) {
  TestRead read;
  note_close();
  read.then = [&] {
    order += "read ";
    stream().close();
  };
  read.start(stream(), ReadBytes{1});
  peer().send("ab");
  ASSERT_TRUE(run_until([&] { return order == "read closed "; }));
  EXPECT_EQ(read.text(), "a");
}

TEST_P(CloseTest, MayBeAskedForInAWritesAnswer) {
  TestWrite first;
  TestWrite second;
  note_close();
  first.then = [&] {
    order += "first ";
    stream().close();
  };
  second.then = [&] { order += "second "; };
  first.start(stream(), "1");
  second.start(stream(), "2");
  run_turns(loop);
  EXPECT_EQ(order, "first second closed ");
  EXPECT_TRUE(second.succeeded()) << "the system had taken it";
}

TEST_P(CloseTest, HappensWithTheLastHandle) {
  IOStream copy = stream();
  stream() = IOStream{};
  run_turns(loop);
  EXPECT_FALSE(copy.closed());
  copy = IOStream{};
  EXPECT_TRUE(peer_sees_end());
}

TEST_P(CloseTest, HappensWithTheLastHandleThatGoesInAReadsAnswer) {
  TestRead read;
  note_close();
  read.then = [&] { stream() = IOStream{}; };
  read.start(stream(), ReadUntil{"\n", {}});
  peer().send("line\nrest");
  ASSERT_TRUE(run_until([&] { return order == "closed "; }));
  EXPECT_EQ(read.text(), "line\n");
  EXPECT_TRUE(peer_sees_end());
}

TEST_P(CloseTest, HappensWithTheLastHandleThatGoesInAWritesAnswer) {
  TestWrite write;
  TestWrite behind;
  write.then = [&] { stream() = IOStream{}; };
  write.start(stream(), "1");
  behind.start(stream(), "2");
  ASSERT_TRUE(run_until([&] { return write.answered() && behind.answered(); }));
  EXPECT_TRUE(peer_sees_end());
  EXPECT_EQ(peer().received, "12");
}

TEST_P(CloseTest, HappensWithTheLastHandleThatGoesInTheCloseCallback) {
  stream().set_close_callback([&] {
    stream() = IOStream{};
    order += "closed ";
  });
  stream().close();
  run_turns(loop);
  EXPECT_EQ(order, "closed ");
}

TEST_P(CloseTest, AnswersAPendingReadWhenTheLastHandleGoes) {
  TestRead read{stream(), ReadBytes{1}};
  stream() = IOStream{};
  run_turns(loop);
  EXPECT_EQ(read.error().reason, CloseReason::local_close);
  EXPECT_EQ(read.answers, 1);
}

TEST_P(CloseTest, SendsWhatWasWrittenInTheSameTurn) {
  static_cast<void>(stream().write("goodbye"));
  stream().close();
  EXPECT_TRUE(peer_sees_end());
  EXPECT_EQ(peer().received, "goodbye");
}

TEST_P(CloseTest, IsNoticedByAnIdleStreamAtOnceWhenThePeerEndsAndThereIsACloseCallback) {
  note_close();
  run_turns(loop);
  peer().end();
  ASSERT_TRUE(run_until([&] { return stream().closed(); })) << "without a read";
}

TEST_P(CloseTest, LeavesTimeForAnAnswerWhenThePeerEndsItsSideAndNobodyReads) {
  TestRead request{stream(), ReadUntil{"\n"}};
  peer().send("question\n");
  await(request);
  peer().end();
  run_turns(loop);
  ASSERT_FALSE(stream().closed());
  TestWrite answer{stream(), "answer"};
  await(answer);
  EXPECT_TRUE(answer.succeeded());
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().received == "answer";
  }));
}

TEST_P(CloseTest, IsNoticedByAnIdleStreamAfterTheLingerTimeoutWhenThePeerEnds) {
  relink({.linger_timeout = std::chrono::milliseconds{1}});
  run_turns(loop);
  peer().close();
  run_turns(loop);
  EXPECT_FALSE(stream().closed());
  clock.advance(std::chrono::milliseconds{1});
  ASSERT_TRUE(run_until([&] { return stream().closed(); })) << "without a read and without a close callback";
  EXPECT_EQ(stream().error(), (StreamError{StreamErrc::closed, CloseReason::peer_closed, {}}));
}

TEST_P(CloseTest, IsNoticedByAnIdleStreamWhenTheConnectionBreaks) {
  if (!shows_resets())
    GTEST_SKIP() << "an end, which leaves time for an answer";
  static_cast<void>(stream().write("unread by the peer"));
  run_turns(loop);
  peer().reset();
  ASSERT_TRUE(run_until([&] { return stream().closed(); }));
  EXPECT_EQ(stream().error().reason, CloseReason::reset);
}

TEST_P(CloseTest, WaitsUntilReceivedBytesAreRead) {
  note_close();
  peer().send("ab");
  peer().close();
  run_turns(loop);
  EXPECT_FALSE(stream().closed());
  TestRead first{stream(), ReadBytes{1}};
  await(first);
  run_turns(loop);
  EXPECT_FALSE(stream().closed());
  TestRead second{stream(), ReadBytes{1}};
  await(second);
  EXPECT_EQ(first.text() + second.text(), "ab");
  ASSERT_TRUE(run_until([&] { return order == "closed "; }));
}

TEST_P(CloseTest, RunsTheCallbackWhileAReadIsPending) {
  note_close();
  peer().send("OK\r\n");
  TestRead line{stream(), ReadUntil{"\r\n", {}}};
  await(line);
  TestRead next{stream(), ReadUntil{"\r\n", {}}};
  peer().close();
  ASSERT_TRUE(run_until([&] { return order == "closed "; }));
  EXPECT_EQ(next.error().reason, CloseReason::peer_closed);
}

TEST_P(CloseTest, LeavesNodelayWithoutEffect) {
  stream().set_nodelay(true);
  stream().set_nodelay(false);
  stream().close();
  stream().set_nodelay(true);
  EXPECT_TRUE(stream().closed());
}

} // namespace

} // namespace squall
