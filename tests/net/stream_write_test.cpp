// SPDX-License-Identifier: BSD-3-Clause
//
// stream_write_test.cpp: queueing writes and their answers; on every transport.
#include "tests/net/stream_contract.hpp"

#include <random>

namespace squall {

namespace {

using namespace testing_support;

class WriteTest : public StreamTest {
protected:
  /// Waits until the peer has `size` bytes.
  void receive(std::size_t size) {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().received.size() >= size;
    }));
  }
};
SQUALL_STREAM_CONTRACT(WriteTest);

TEST_P(WriteTest, IsAnsweredWhenTheSystemTookItAndNotBefore) {
  TestWrite write{stream(), "hello"};
  EXPECT_FALSE(write.answered()) << "never inside the call";
  EXPECT_TRUE(stream().writing());
  EXPECT_EQ(stream().unsent_size(), 5u);
  loop.run_once();
  EXPECT_TRUE(write.succeeded()) << "at the end of the turn, though the peer has not read";
  EXPECT_FALSE(stream().writing());
  receive(5);
  EXPECT_EQ(peer().received, "hello");
}

TEST_P(WriteTest, LeavesInTheOrderOfQueueingAndIsAnsweredInIt) {
  std::string answers;
  std::vector<std::unique_ptr<TestWrite>> writes;
  std::string expected;
  for (char c = 'a'; c <= 'z'; ++c) {
    writes.push_back(std::make_unique<TestWrite>());
    writes.back()->then = [&answers, c] { answers += c; };
    writes.back()->start(stream(), Bytes{std::string(3, c)});
    expected += std::string(3, c);
  }
  receive(expected.size());
  EXPECT_EQ(peer().received, expected);
  EXPECT_EQ(answers, "abcdefghijklmnopqrstuvwxyz");
}

TEST_P(WriteTest, WaitsWhileThePeerDoesNotRead) {
  std::string expected = fill_connection();
  std::string answers;
  TestWrite first;
  TestWrite second;
  first.then = [&] { answers += '1'; };
  second.then = [&] { answers += '2'; };
  first.start(stream(), "first");
  second.start(stream(), "second");
  run_turns(loop);
  EXPECT_EQ(answers, "");
  expected += "firstsecond";
  receive(expected.size());
  await(first);
  await(second);
  EXPECT_EQ(answers, "12");
  EXPECT_EQ(peer().received, expected);
}

TEST_P(WriteTest, MayBeEmpty) {
  TestWrite idle{stream(), ""};
  EXPECT_FALSE(idle.answered());
  await(idle);
  EXPECT_TRUE(idle.succeeded());
  const std::string expected = fill_connection();
  TestWrite behind{stream(), ""};
  run_turns(loop);
  EXPECT_FALSE(behind.answered()) << "not before what was queued before it";
  receive(expected.size());
  await(behind);
  EXPECT_TRUE(behind.succeeded());
  EXPECT_EQ(peer().received, expected);
}

TEST_P(WriteTest, IsRefusedBeyondTheLimitAndQueuesNothing) {
  relink({.max_write_buffer_size = 1000});
  const TestWrite above{stream(), Bytes{pattern(1001)}};
  EXPECT_EQ(above.error(), (StreamError{StreamErrc::buffer_full, CloseReason::none, {}}));
  EXPECT_EQ(stream().unsent_size(), 0u);
  EXPECT_FALSE(stream().closed());
  std::string expected;
  for (const std::size_t size : {std::size_t{999}, std::size_t{1000}}) {
    TestWrite fits{stream(), Bytes{pattern(size)}};
    await(fits);
    EXPECT_TRUE(fits.succeeded());
    expected += pattern(size);
  }
  receive(expected.size());
  EXPECT_EQ(peer().received, expected);
}

TEST_P(WriteTest, IsRefusedBeyondTheLimitOfWhatIsUnsent) {
  constexpr std::size_t limit = 1024 * 1024;
  relink({.max_write_buffer_size = limit});
  std::string expected;
  for (std::size_t size = 100'000; size > 0;) { // smaller and smaller, until nothing fits
    TestWrite write{stream(), Bytes{pattern(size, expected.size())}};
    if (write.answered()) {
      EXPECT_EQ(write.error(), (StreamError{StreamErrc::buffer_full, CloseReason::none, {}}));
      EXPECT_FALSE(stream().closed());
      size /= 2;
      continue;
    }
    stream().cancel_write(write);
    expected += pattern(size, expected.size());
    loop.run_once();
    EXPECT_LE(stream().unsent_size(), limit);
  }
  TestWrite empty{stream(), ""};
  EXPECT_FALSE(empty.answered()) << "an empty write fits always";
  receive(expected.size());
  EXPECT_EQ(peer().received, expected) << "nothing of a refused write was sent";
  await(empty);
}

TEST_P(WriteTest, MakesRoomWithinATurnWhereTheSystemTakesIt) {
  relink({.max_write_buffer_size = 1000});
  std::string expected;
  for (std::size_t i = 0; i < 10; ++i) { // all before the loop runs
    TestWrite write{stream(), Bytes{pattern(600, i)}};
    EXPECT_FALSE(write.answered()) << "not refused";
    stream().cancel_write(write);
    expected += pattern(600, i);
  }
  receive(expected.size());
  EXPECT_EQ(peer().received, expected);
}

TEST_P(WriteTest, IsAnsweredThoughWhatFollowsFillsTheConnectionAgain) {
  constexpr std::size_t limit = 2 * 1024 * 1024;
  relink({.max_write_buffer_size = limit});
  while (stream().unsent_size() == 0) {
    static_cast<void>(stream().write(Bytes{pattern(50'000)}));
    loop.run_once();
  }
  TestWrite write{stream(), Bytes{pattern(1000)}};
  static_cast<void>(stream().write(Bytes{pattern(limit / 2)}));
  peer().receive(); // there is room again, which the loop has not told
  TestWrite refused{stream(), Bytes{pattern(limit)}};
  EXPECT_EQ(refused.error().code, StreamErrc::buffer_full);
  run_turns(loop);
  EXPECT_TRUE(write.succeeded()) << "it is sent, and the peer need not read on";
  stream().cancel_write(write);
}

TEST_P(WriteTest, IsSentAllTheSameWhenItsAnswerIsCancelled) {
  TestWrite first{stream(), "one "};
  TestWrite second{stream(), "two "};
  TestWrite third{stream(), "three"};
  stream().cancel_write(second);
  receive(13);
  EXPECT_EQ(peer().received, "one two three");
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(second.answers, 0);
  EXPECT_EQ(third.answers, 1);
  stream().cancel_write(first); // answered: nothing
}

TEST_P(WriteTest, FailsOnAClosedStreamWithItsReason) {
  stream().close(CloseReason::handler_ended);
  const TestWrite write{stream(), "x"};
  EXPECT_EQ(write.error(), (StreamError{StreamErrc::closed, CloseReason::handler_ended, {}}));
  const TestWrite empty{stream(), ""};
  EXPECT_EQ(empty.error().code, StreamErrc::closed);
}

TEST_P(WriteTest, FailsWhenThePeerEndsWhileItIsPendingAndNothingLingers) {
  relink({.linger_timeout = std::chrono::milliseconds{0}});
  fill_connection();
  TestWrite write{stream(), "last"};
  peer().end();
  await(write);
  EXPECT_EQ(write.error(), (StreamError{StreamErrc::closed, CloseReason::peer_closed, {}}));
  EXPECT_EQ(stream().unsent_size(), 0u);
}

TEST_P(WriteTest, FailsWhenTheConnectionBreaksWhileItIsPending) {
  fill_connection();
  TestWrite first{stream(), "one"};
  TestWrite second{stream(), ""};
  peer().reset();
  await(first);
  await(second);
  EXPECT_EQ(first.error().reason, CloseReason::reset);
  EXPECT_TRUE(first.error().real_error);
  EXPECT_EQ(second.error(), first.error());
  EXPECT_EQ(first.answers + second.answers, 2);
}

TEST_P(WriteTest, FailsAfterThePeerHasGone) {
  peer().close();
  TestWrite write{stream(), "x"};
  ASSERT_TRUE(run_until([&] { // the first ones may reach the system
    if (write.succeeded())
      write.start(stream(), "x");
    return write.answered() && !write.succeeded();
  }));
  EXPECT_EQ(write.error().code, StreamErrc::closed);
}

TEST_P(WriteTest, MayStartTheNextFromItsAnswer) {
  TestWrite write;
  int left = 20;
  write.then = [&] {
    if (--left > 0)
      write.start(stream(), "abc");
  };
  write.start(stream(), "abc");
  receive(60);
  EXPECT_EQ(write.answers, 20);
  EXPECT_EQ(peer().received.size(), 60u);
}

TEST_P(WriteTest, DeliversEveryByteOfManyRandomWrites) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto up_to = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{0, most}(random);
  };
  const Bytes source{pattern(200'000)};
  std::vector<std::unique_ptr<TestWrite>> writes;
  std::string expected;
  for (int i = 0; i < 300; ++i) {
    const std::size_t size = up_to(up_to(20) == 0 ? 100'000 : 2000);
    const Bytes data = source.slice(up_to(100'000), size);
    expected += data;
    writes.push_back(std::make_unique<TestWrite>(stream(), data));
    if (up_to(3) == 0)
      loop.run_once();
    if (up_to(9) == 0)
      peer().receive();
  }
  receive(expected.size());
  EXPECT_EQ(peer().received, expected);
  for (const auto& write : writes)
    EXPECT_EQ(write->answers, 1);
}

TEST_P(WriteTest, GoesOnWhileDataArrives) {
  TestRead read{stream(), ReadBytes{3}};
  const std::string expected = fill_connection() + "end";
  TestWrite write{stream(), "end"};
  peer().send("abc");
  await(read);
  EXPECT_EQ(read.text(), "abc");
  receive(expected.size());
  await(write);
  EXPECT_EQ(peer().received, expected);
}

} // namespace

} // namespace squall
