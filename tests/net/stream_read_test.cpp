// SPDX-License-Identifier: BSD-3-Clause
//
// stream_read_test.cpp: reading a number of bytes, and what holds for every read; on every transport.
#include "tests/net/stream_contract.hpp"

namespace squall {

namespace {

using namespace testing_support;

class ReadBytesTest : public StreamTest {};
SQUALL_STREAM_CONTRACT(ReadBytesTest);

TEST_P(ReadBytesTest, GivesExactlyTheBytesAskedFor) {
  TestRead read{stream(), ReadBytes{5}};
  peer().send("hello world");
  await(read);
  EXPECT_EQ(read.text(), "hello");
  TestRead next{stream(), ReadBytes{6}};
  await(next);
  EXPECT_EQ(next.text(), " world");
}

TEST_P(ReadBytesTest, WaitsForTheLastByte) {
  TestRead read{stream(), ReadBytes{5}};
  peer().send("hell");
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  EXPECT_TRUE(stream().reading());
  peer().send("o");
  await(read);
  EXPECT_EQ(read.text(), "hello");
  EXPECT_FALSE(stream().reading());
}

TEST_P(ReadBytesTest, GivesWhatIsThereToAPartialRead) {
  TestRead read{stream(), ReadBytes{50, true}};
  run_turns(loop);
  EXPECT_FALSE(read.answered()) << "never empty";
  peer().send("hello");
  await(read);
  EXPECT_EQ(read.text(), "hello");
}

TEST_P(ReadBytesTest, GivesAPartialReadNoMoreThanItAsksFor) {
  peer().send("world");
  TestRead read{stream(), ReadBytes{3, true}};
  await(read);
  EXPECT_EQ(read.text(), "wor");
  TestRead rest{stream(), ReadBytes{50, true}};
  await(rest);
  EXPECT_EQ(rest.text(), "ld");
}

TEST_P(ReadBytesTest, GivesZeroBytesAtOnceAlsoAfterTheClose) {
  for (const bool partial : {false, true}) {
    const TestRead read{stream(), ReadBytes{0, partial}};
    EXPECT_TRUE(read.succeeded());
    EXPECT_EQ(read.text(), "");
  }
  stream().close();
  const TestRead read{stream(), ReadBytes{0}};
  EXPECT_TRUE(read.succeeded());
}

TEST_P(ReadBytesTest, RefusesMoreThanTheBufferMayHoldAndLeavesTheStreamAlone) {
  relink({.max_buffer_size = 1000});
  const TestRead read{stream(), ReadBytes{1001}};
  EXPECT_EQ(read.error().code, StreamErrc::buffer_full);
  EXPECT_FALSE(stream().closed());
  EXPECT_FALSE(stream().reading());
  peer().send(pattern(1000));
  TestRead fits{stream(), ReadBytes{1000}};
  await(fits);
  EXPECT_EQ(fits.text(), pattern(1000));
}

TEST_P(ReadBytesTest, GivesEverySizeUpToTheBufferHoweverTheBytesArrive) {
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, std::size_t{500}, std::size_t{100'000}}) {
    relink({.max_buffer_size = 1000, .read_chunk_size = chunk});
    std::string all;
    for (const std::size_t size : {std::size_t{1}, std::size_t{999}, std::size_t{1000}, std::size_t{500}}) {
      TestRead read{stream(), ReadBytes{size}};
      peer().send(pattern(size));
      await(read);
      EXPECT_EQ(read.text(), pattern(size)) << "chunk " << chunk;
    }
  }
}

TEST_P(ReadBytesTest, FailsWhenThePeerEndsTooEarlyAndLeavesTheTailReadable) {
  TestRead read{stream(), ReadBytes{10}};
  peer().send("abc");
  peer().end();
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::peer_closed, {}}));
  EXPECT_TRUE(stream().closed());
  const TestRead tail{stream(), ReadBytes{3}};
  EXPECT_EQ(tail.text(), "abc");
}

TEST_P(ReadBytesTest, GivesWhatThePeerSentBeforeItEnded) {
  peer().send(pattern(512));
  TestRead first{stream(), ReadBytes{256}};
  await(first);
  peer().close();
  run_turns(loop);
  TestRead second{stream(), ReadBytes{256}};
  await(second);
  EXPECT_EQ(first.text() + second.text(), pattern(512)) << "the close must not overtake data";
}

TEST_P(ReadBytesTest, FailsAfterTheEndOnceNothingIsLeft) {
  peer().send("abcdef");
  peer().end();
  TestRead first{stream(), ReadBytes{2}};
  await(first);
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 4; }));
  TestRead second{stream(), ReadBytes{3}};
  await(second);
  EXPECT_EQ(second.text(), "cde");
  TestRead third{stream(), ReadBytes{2}}; // one byte is left
  await(third);
  EXPECT_EQ(third.error().code, StreamErrc::closed);
  TestRead fourth{stream(), ReadBytes{1}}; // the failed read took nothing
  await(fourth);
  EXPECT_EQ(fourth.text(), "f");
  const TestRead fifth{stream(), ReadBytes{1}};
  EXPECT_EQ(fifth.error().code, StreamErrc::closed);
}

// Edge-triggered readiness: an end that comes together with data is told once.
TEST_P(ReadBytesTest, SeesAnEndThatCameTogetherWithData) {
  constexpr std::size_t chunk = 1024;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, chunk - 1, chunk, chunk + 1, 2 * chunk, 5 * chunk}) {
    for (const bool read_before : {false, true}) {
      SCOPED_TRACE(std::to_string(size) + (read_before ? " bytes, read pending" : " bytes, read later"));
      relink({.read_chunk_size = chunk});
      int closes = 0;
      stream().set_close_callback([&] { ++closes; });
      run_turns(loop);
      TestRead read;
      if (read_before)
        read.start(stream(), ReadBytes{size});
      peer().send(pattern(size));
      peer().end();
      run_turns(loop);
      if (!read_before)
        read.start(stream(), ReadBytes{size});
      await(read);
      EXPECT_EQ(read.text(), pattern(size));
      ASSERT_TRUE(run_until([&] { return closes == 1; })) << "nobody reads any more, but everything is read";
      EXPECT_EQ(stream().error().reason, CloseReason::peer_closed);
    }
  }
}

TEST_P(ReadBytesTest, GetsDataThatComesInManySmallArrivals) {
  const std::string text = pattern(3000);
  for (const std::size_t chunk : {std::size_t{16}, std::size_t{100}, std::size_t{65536}}) {
    relink({.read_chunk_size = chunk});
    TestRead read{stream(), ReadBytes{text.size()}};
    for (std::size_t i = 0; i < text.size(); i += 100) {
      peer().send(text.substr(i, 100));
      loop.run_once();
    }
    await(read);
    EXPECT_EQ(read.text(), text);
  }
}

class AnyReadTest : public StreamTest {};
SQUALL_STREAM_CONTRACT(AnyReadTest);

TEST_P(AnyReadTest, IsRefusedWhileAnotherIsPendingWhichIsUnharmed) {
  TestRead first{stream(), ReadUntil{"\n", {}}};
  for (const ReadRequest& request :
       {ReadRequest{ReadBytes{1}}, ReadRequest{ReadUntil{"x", {}}}, ReadRequest{ReadUntilClose{}}}) {
    const TestRead second{stream(), request};
    EXPECT_EQ(second.error().code, StreamErrc::already_reading);
  }
  peer().send("line\n");
  await(first);
  EXPECT_EQ(first.text(), "line\n");
  EXPECT_EQ(first.answers, 1);
}

TEST_P(AnyReadTest, LosesNoByteWhenItIsCancelled) {
  TestRead cancelled{stream(), ReadBytes{10}};
  peer().send("abc");
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 3; }));
  EXPECT_TRUE(stream().reading());
  stream().forget_read(cancelled);
  EXPECT_FALSE(stream().reading());
  peer().send("def");
  run_turns(loop);
  EXPECT_FALSE(cancelled.answered());
  TestRead read{stream(), ReadBytes{6}};
  await(read);
  EXPECT_EQ(read.text(), "abcdef");
}

TEST_P(AnyReadTest, IsNotDisturbedByTheCancellationOfAnother) {
  TestRead pending{stream(), ReadBytes{3}};
  TestRead other;
  stream().forget_read(other);
  EXPECT_TRUE(stream().reading());
  peer().send("abc");
  await(pending);
  stream().forget_read(pending); // answered: nothing
  EXPECT_EQ(pending.text(), "abc");
  EXPECT_EQ(pending.answers, 1);
}

TEST_P(AnyReadTest, MayStartTheNextFromItsAnswer) {
  TestRead second;
  TestRead first;
  first.then = [&] { second.start(stream(), ReadBytes{3}); };
  first.start(stream(), ReadBytes{3});
  run_turns(loop, 2);
  peer().send("abcdef");
  await(first);
  await(second);
  EXPECT_EQ(second.text(), "def");
}

TEST_P(AnyReadTest, FindsBytesThatOverflowTheBufferUnread) {
  relink({.max_buffer_size = 1000, .read_chunk_size = 300});
  peer().send(pattern(5000));
  std::string all;
  while (all.size() < 5000) {
    TestRead read{stream(), ReadBytes{100}};
    await(read);
    ASSERT_TRUE(read.succeeded());
    all += read.text();
    EXPECT_LE(stream().unread_size(), 1000u) << "bounded reads hold the sender back";
  }
  EXPECT_EQ(all, pattern(5000));
}

TEST_P(AnyReadTest, LeavesTheKernelsWindowToThrottleThePeerOfAnIdleStream) {
  std::size_t sent = 0;
  while (true) {
    const std::size_t more = peer().send_some(pattern(65536));
    sent += more;
    if (more == 0)
      break;
    loop.run_once();
    ASSERT_LT(sent, 100u * 1024 * 1024) << "the stream reads although nobody asked";
  }
  EXPECT_EQ(stream().unread_size(), 0u);
}

} // namespace

} // namespace squall
