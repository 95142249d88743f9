// SPDX-License-Identifier: BSD-3-Clause
//
// stream_event_test.cpp: waiting for a stream to be writable, for the peer's end and for the close; on every
// transport.
#include "tests/net/stream_sides.hpp"

#include <algorithm>

namespace squall {

namespace {

using namespace testing_support;

class WritableTest : public SidesTest {
protected:
  void SetUp() override { relink({.write_high_water_mark = 1000, .write_low_water_mark = 100}); }
};
class EventTest : public SidesTest {};
SQUALL_STREAM_CONTRACT(WritableTest);
SQUALL_STREAM_CONTRACT(EventTest);

TEST_P(WritableTest, IsSoUpToTheHighMark) {
  static_cast<void>(stream().write(Bytes{pattern(1000)}));
  EXPECT_TRUE(stream().writable()) << "exactly at it";
  TestWait at_once{stream(), StreamEvent::writable};
  EXPECT_TRUE(at_once.succeeded());
  static_cast<void>(stream().write("x"));
  EXPECT_FALSE(stream().writable()) << "one above";
  TestWait wait{stream(), StreamEvent::writable};
  EXPECT_FALSE(wait.answered());
  await(wait); // the end of the turn sends everything
  EXPECT_TRUE(wait.succeeded());
  EXPECT_TRUE(stream().writable());
}

TEST_P(WritableTest, ComesBackAtTheLowMarkAndNotBefore) {
  const std::string filled = fill_connection();
  EXPECT_FALSE(stream().writable());
  int told = 0;
  TestWait wait{stream(), StreamEvent::writable};
  wait.then = [&] {
    ++told;
    EXPECT_LE(stream().unsent_size(), 100u);
  };
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    if (stream().unsent_size() > 100) {
      EXPECT_FALSE(stream().writable());
    }
    return wait.answered();
  }));
  EXPECT_TRUE(wait.succeeded());
  EXPECT_EQ(told, 1);
}

TEST_P(WritableTest, AnswersEveryoneOnce) {
  fill_connection();
  std::vector<std::unique_ptr<TestWait>> waits;
  for (int i = 0; i < 5; ++i)
    waits.push_back(std::make_unique<TestWait>(stream(), StreamEvent::writable));
  stream().forget_wait(*waits[3]);
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return waits[4]->answered();
  }));
  run_turns(loop);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(waits[i]->answers, i == 3 ? 0 : 1);
}

TEST_P(WritableTest, FailsWhenTheStreamCloses) {
  fill_connection();
  TestWait wait{stream(), StreamEvent::writable};
  stream().close();
  EXPECT_FALSE(wait.answered());
  await(wait);
  EXPECT_EQ(wait.error(), closed_by(CloseReason::local_close));
  EXPECT_FALSE(stream().writable());
  TestWait late{stream(), StreamEvent::writable};
  EXPECT_EQ(late.error(), closed_by(CloseReason::local_close));
}

TEST_P(WritableTest, EndsAtItsTimeoutAndLeavesTheStream) {
  fill_connection();
  TestWait poll{stream(), StreamEvent::writable, 0s};
  EXPECT_EQ(poll.error().code, StreamErrc::timed_out);
  TestWait wait{stream(), StreamEvent::writable, 5s};
  pass(5s - 1ms);
  EXPECT_FALSE(wait.answered());
  pass(1ms);
  EXPECT_EQ(wait.error().code, StreamErrc::timed_out);
  EXPECT_FALSE(stream().closed());
  run_turns(loop);
  EXPECT_EQ(wait.answers, 1);
}

TEST_P(WritableTest, HoldsAProducerNearTheHighMark) {
  std::size_t most = 0;
  const std::string piece = pattern(700);
  auto produce = [](IOStream out, std::string text, std::size_t& highest) -> Task<> {
    for (int i = 0; i < 6000; ++i) {
      co_await out.wait_writable();
      static_cast<void>(out.write(Bytes{text}));
      highest = std::max(highest, out.unsent_size());
    }
  };
  start(produce(stream(), piece, most));
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().received.size() == 6000 * piece.size();
  }));
  EXPECT_TRUE(ended);
  EXPECT_EQ(failure, nullptr);
  EXPECT_GT(most, 1000u) << "it had to pause";
  EXPECT_LE(most, 1000 + piece.size());
}

TEST_P(WritableTest, CountsALowMarkAboveTheHighOneAsThat) {
  relink({.write_high_water_mark = 10, .write_low_water_mark = 1000});
  static_cast<void>(stream().write(Bytes{pattern(11)}));
  EXPECT_FALSE(stream().writable());
  TestWait wait{stream(), StreamEvent::writable};
  await(wait);
  EXPECT_TRUE(wait.succeeded());
}

TEST_P(EventTest, TellsTheEndOfThePeer) {
  relink({.half_close = true});
  TestWait end{stream(), StreamEvent::ended};
  TestWait closed{stream(), StreamEvent::closed};
  run_turns(loop);
  EXPECT_FALSE(end.answered());
  peer().end();
  await(end);
  EXPECT_TRUE(end.succeeded());
  EXPECT_FALSE(closed.answered());
  TestWait late{stream(), StreamEvent::ended};
  EXPECT_TRUE(late.succeeded());
  stream().close();
  await(closed);
  EXPECT_TRUE(closed.succeeded());
}

TEST_P(EventTest, TellsTheCloseAfterEverythingElse) {
  std::string order;
  fill_connection();
  TestRead read{stream(), ReadBytes{1}};
  TestWrite write{stream(), "x"};
  TestWait end{stream(), StreamEvent::ended};
  TestWait closed{stream(), StreamEvent::closed};
  read.then = [&] { order += "read "; };
  write.then = [&] { order += "write "; };
  end.then = [&] { order += "end "; };
  closed.then = [&] { order += "closed "; };
  stream().set_close_callback([&] { order += "callback "; });
  stream().close();
  await(closed);
  EXPECT_EQ(order, "read end write callback closed ");
  TestWait late{stream(), StreamEvent::closed};
  EXPECT_TRUE(late.succeeded()) << "also after the close";
  EXPECT_EQ(stream().error().reason, CloseReason::local_close);
}

TEST_P(EventTest, AreAwaitedInACoroutineAndToldToACallback) {
  std::string order;
  auto watch = [](IOStream watched, std::string& told) -> Task<> {
    co_await watched.wait_end();
    told += "end ";
    co_await watched.wait_closed();
    told += to_string(watched.error().reason);
    EXPECT_FALSE((co_await watched.wait_writable().as_result()).has_value());
  };
  start(watch(stream(), order));
  int calls = 0;
  stream().wait(StreamEvent::closed, [&](Result<void> result) {
    ++calls;
    EXPECT_TRUE(result.has_value());
  });
  TestRead read{stream(), ReadBytes{1}};
  peer().close();
  ASSERT_TRUE(run_until([&] { return ended && calls == 1; }));
  EXPECT_EQ(order, "end closed by the peer");
  EXPECT_EQ(failure, nullptr);
}

TEST_P(EventTest, ManyMayWaitForItAndForgetIt) {
  // Each looked for among all others, they would take minutes.
  constexpr int count = 100'000;
  std::vector<TestWait> closed(count);
  std::vector<TestWait> at_end(count);
  for (int i = 0; i < count; ++i) {
    closed[i].take(stream().start_wait(StreamEvent::closed, closed[i]));
    at_end[i].take(stream().start_wait(StreamEvent::ended, at_end[i]));
  }
  for (int i = count; i-- > 0;)
    if (i % 3 != 0)
      stream().forget_wait(at_end[i]);
  stream().close();
  await(closed.back());
  EXPECT_TRUE(
      std::all_of(closed.begin(), closed.end(), [](const TestWait& wait) { return wait.answers == 1; }));
  for (int i = 0; i < count; ++i)
    ASSERT_EQ(at_end[i].answers, i % 3 == 0 ? 1 : 0) << i;
}

TEST_P(EventTest, MayBeAskedForAndForgottenInsideAnAnswer) {
  TestWait second;
  TestWait third{stream(), StreamEvent::closed};
  TestWait first{stream(), StreamEvent::ended};
  first.then = [&] {
    stream().forget_wait(third);
    second.take(stream().start_wait(StreamEvent::closed, second));
  };
  stream().close();
  await(second);
  EXPECT_TRUE(first.succeeded());
  EXPECT_TRUE(second.succeeded());
  EXPECT_EQ(third.answers, 0);
}

} // namespace

} // namespace squall
