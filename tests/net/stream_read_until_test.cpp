// SPDX-License-Identifier: BSD-3-Clause
//
// stream_read_until_test.cpp: reading up to a delimiter and up to the end; on every transport.
#include "tests/net/stream_contract.hpp"

namespace squall {

namespace {

using namespace testing_support;

class ReadUntilTest : public StreamTest {
protected:
  void expect_limit_passed(const TestRead& read, StreamErrc limit) {
    EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::limit, limit}));
    EXPECT_TRUE(stream().closed());
    EXPECT_EQ(stream().error(), read.error());
  }
};
SQUALL_STREAM_CONTRACT(ReadUntilTest);

TEST_P(ReadUntilTest, GivesEverythingUpToTheDelimiterAndLeavesTheRest) {
  peer().send("one\ntwo\nthree");
  TestRead first{stream(), ReadUntil{"\n", {}}};
  await(first);
  EXPECT_EQ(first.text(), "one\n");
  TestRead second{stream(), ReadUntil{"\n", {}}};
  await(second);
  EXPECT_EQ(second.text(), "two\n");
  TestRead third{stream(), ReadUntil{"\n", {}}};
  run_turns(loop);
  EXPECT_FALSE(third.answered());
  peer().send("\n");
  await(third);
  EXPECT_EQ(third.text(), "three\n");
}

TEST_P(ReadUntilTest, FindsADelimiterSplitAcrossArrivals) {
  const std::string text = "one\r\r\ntwo\r\n--END";
  for (std::size_t split = 1; split < text.size(); ++split) {
    relink({});
    TestRead read{stream(), ReadUntil{"\r\n--END", {}}};
    peer().send(text.substr(0, split));
    run_turns(loop, 2);
    peer().send(text.substr(split));
    await(read);
    EXPECT_EQ(read.text(), text) << "split at " << split;
  }
}

TEST_P(ReadUntilTest, FindsADelimiterAcrossChunks) {
  for (std::size_t chunk = 1; chunk <= 12; ++chunk) {
    relink({.read_chunk_size = chunk});
    peer().send("aaaaaab\nxx");
    TestRead read{stream(), ReadUntil{"aab\n", {}}};
    await(read);
    EXPECT_EQ(read.text(), "aaaaaab\n");
  }
}

TEST_P(ReadUntilTest, SucceedsWhenTheDelimiterEndsAtExactlyMaxBytes) {
  for (const std::size_t max_bytes : {std::size_t{6}, std::size_t{7}, std::size_t{50}}) {
    relink({});
    peer().send("abcdef");
    TestRead read{stream(), ReadUntil{"def", max_bytes}};
    await(read);
    EXPECT_EQ(read.text(), "abcdef");
  }
}

TEST_P(ReadUntilTest, FailsBeyondMaxBytesAlthoughTheDelimiterIsThere) {
  int closes = 0;
  stream().set_close_callback([&] { ++closes; });
  peer().send("abcdef");
  TestRead read{stream(), ReadUntil{"def", 5}};
  await(read);
  expect_limit_passed(read, StreamErrc::unsatisfiable_read);
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  const TestRead rest{stream(), ReadBytes{6}};
  EXPECT_EQ(rest.text(), "abcdef") << "the bytes stay readable";
}

TEST_P(ReadUntilTest, FailsBeyondMaxBytesWithoutADelimiter) {
  peer().send("123456");
  TestRead read{stream(), ReadUntil{"def", 5}};
  await(read);
  expect_limit_passed(read, StreamErrc::unsatisfiable_read);
}

TEST_P(ReadUntilTest, FailsBeyondMaxBytesWhenTheyComeLater) {
  TestRead read{stream(), ReadUntil{"def", 5}};
  peer().send("12345");
  run_turns(loop);
  EXPECT_FALSE(read.answered()) << "max_bytes without a match may still be...";
  EXPECT_FALSE(stream().closed());
  peer().send("6");
  await(read);
  expect_limit_passed(read, StreamErrc::unsatisfiable_read);
}

TEST_P(ReadUntilTest, FailsOnTheFirstByteWithinZeroBytes) {
  TestRead read{stream(), ReadUntil{"\n", 0}};
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  peer().send("\n");
  await(read);
  expect_limit_passed(read, StreamErrc::unsatisfiable_read);
}

TEST_P(ReadUntilTest, FailsWhenTheBufferWouldGrowBeyondItsLimit) {
  relink({.max_buffer_size = 1000, .read_chunk_size = 64});
  TestRead read{stream(), ReadUntil{"\n", {}}};
  peer().send(pattern(1000));
  run_turns(loop, 40);
  EXPECT_FALSE(read.answered()) << "exactly the limit";
  peer().send("x");
  await(read);
  expect_limit_passed(read, StreamErrc::buffer_full);
  const TestRead rest{stream(), ReadBytes{1000}};
  EXPECT_EQ(rest.text(), pattern(1000));
}

TEST_P(ReadUntilTest, FindsADelimiterThatEndsAtTheLimitOfTheBuffer) {
  for (const std::size_t chunk : {std::size_t{64}, std::size_t{333}, std::size_t{500}}) {
    relink({.max_buffer_size = 1000, .read_chunk_size = chunk});
    TestRead read{stream(), ReadUntil{"\n", 5000}}; // max_bytes beyond the buffer do not raise it
    peer().send(pattern(999) + "\nmore");
    await(read);
    EXPECT_EQ(read.text(), pattern(999) + "\n");
  }
  relink({.max_buffer_size = 1000});
  peer().send(pattern(1000) + "\n");
  TestRead read{stream(), ReadUntil{"\n", 5000}};
  await(read);
  expect_limit_passed(read, StreamErrc::buffer_full);
}

TEST_P(ReadUntilTest, RefusesAnEmptyDelimiterAndLeavesTheStreamAlone) {
  const TestRead read{stream(), ReadUntil{"", {}}};
  EXPECT_EQ(read.error().code, StreamErrc::invalid_argument);
  EXPECT_FALSE(stream().reading());
  peer().send("ab");
  TestRead next{stream(), ReadUntil{"b", {}}};
  await(next);
  EXPECT_EQ(next.text(), "ab");
}

TEST_P(ReadUntilTest, FailsWhenThePeerEndsWithoutTheDelimiter) {
  TestRead read{stream(), ReadUntil{"\n", 100}};
  peer().send("no newline");
  peer().end();
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::peer_closed, {}}));
  EXPECT_EQ(stream().unread_size(), 10u);
}

TEST_P(ReadUntilTest, FindsADelimiterThatCameRightBeforeTheEnd) {
  TestRead read{stream(), ReadUntil{"done", {}}};
  peer().send(std::string(2048, 'x'));
  run_turns(loop);
  peer().send("done");
  peer().close();
  await(read);
  EXPECT_EQ(read.text(), std::string(2048, 'x') + "done");
}

TEST_P(ReadUntilTest, GivesManyLinesOfASmallBuffer) {
  relink({.max_buffer_size = 10 * 1024});
  std::string line(1023, 'a');
  line += '\n';
  std::string unsent;
  for (int i = 0; i < 100; ++i)
    unsent += line;
  for (int i = 0; i < 100; ++i) {
    TestRead read{stream(), ReadUntil{"\n", 4096}};
    ASSERT_TRUE(run_until([&] {
      unsent.erase(0, peer().send_some(unsent));
      return read.answered();
    }));
    ASSERT_EQ(read.text(), line);
  }
}

TEST_P(ReadUntilTest, GivesALargeMessageThatComesInSmallPieces) {
  TestRead read{stream(), ReadUntil{"\r\n", {}}};
  const std::string piece(1024, 'A');
  int pieces = 4096;
  ASSERT_TRUE(run_until([&] {
    while (pieces > 0 && peer().send_some(piece) == piece.size())
      --pieces;
    // What did not fit whole is sent on as bytes of the same kind; the exact count does not matter here.
    return pieces == 0;
  }));
  ASSERT_TRUE(run_until([&] { return peer().send_some("\r\n") == 2; }));
  await(read);
  EXPECT_GE(read.text().size(), 4096u * 1024 + 2);
  EXPECT_TRUE(read.text().ends_with("A\r\n"));
}

class ReadUntilCloseTest : public StreamTest {};
SQUALL_STREAM_CONTRACT(ReadUntilCloseTest);

TEST_P(ReadUntilCloseTest, GivesEverythingWhenThePeerEnds) {
  TestRead read{stream(), ReadUntilClose{}};
  peer().send("hello ");
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  peer().send("world");
  peer().end();
  await(read);
  EXPECT_EQ(read.text(), "hello world");
  EXPECT_TRUE(stream().closed());
}

TEST_P(ReadUntilCloseTest, MayBeEmpty) {
  TestRead read{stream(), ReadUntilClose{}};
  peer().end();
  await(read);
  EXPECT_TRUE(read.succeeded());
  EXPECT_EQ(read.text(), "");
}

TEST_P(ReadUntilCloseTest, GivesTheRestWhenThePeerHasEnded) {
  peer().send("1234");
  TestRead first{stream(), ReadBytes{1}};
  await(first);
  peer().close();
  run_turns(loop);
  TestRead rest{stream(), ReadUntilClose{}};
  await(rest);
  EXPECT_EQ(rest.text(), "234");
  const TestRead after{stream(), ReadBytes{1}};
  EXPECT_EQ(after.error().code, StreamErrc::closed);
}

TEST_P(ReadUntilCloseTest, FailsWhenTheConnectionBreaksAndLeavesTheBytesReadable) {
  if (!shows_resets())
    GTEST_SKIP() << "an end, which no reader can tell from a whole";
  static_cast<void>(stream().write("unread by the peer")); // with that, a close of a unix socket breaks
  run_turns(loop);
  TestRead read{stream(), ReadUntilClose{}};
  peer().send("cut");
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 3; }));
  peer().reset();
  await(read);
  EXPECT_EQ(read.error().code, StreamErrc::closed);
  EXPECT_EQ(read.error().reason, CloseReason::reset);
  EXPECT_EQ(read.error().real_error, std::errc::connection_reset);
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), "cut") << "a read that begins after the close takes what is there";
}

TEST_P(ReadUntilCloseTest, FailsWhenTheStreamIsClosedHere) {
  TestRead read{stream(), ReadUntilClose{}};
  peer().send("cut");
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 3; }));
  stream().close();
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::local_close, {}}));
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), "cut");
  const TestRead nothing{stream(), ReadUntilClose{}};
  EXPECT_EQ(nothing.error().reason, CloseReason::local_close) << "nothing is left";
}

TEST_P(ReadUntilCloseTest, FailsBeyondTheBuffer) {
  relink({.max_buffer_size = 1000});
  TestRead read{stream(), ReadUntilClose{}};
  peer().send(pattern(1001));
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::buffer_full}));
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), pattern(1001));
}

TEST_P(ReadUntilCloseTest, GivesExactlyAsMuchAsTheBufferMayHold) {
  relink({.max_buffer_size = 1000, .read_chunk_size = 300});
  TestRead read{stream(), ReadUntilClose{}};
  peer().send(pattern(1000));
  peer().end();
  await(read);
  EXPECT_EQ(read.text(), pattern(1000));
}

} // namespace

} // namespace squall
