// SPDX-License-Identifier: BSD-3-Clause
//
// stream_timeout_test.cpp: reads that end by time or by cancel_read, and what they leave; on every transport.
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

class TimeoutTest : public StreamTest {
protected:
  /// Runs turns until the loop's timers of that time have run.
  void pass(Duration duration) {
    clock.advance(duration);
    run_turns(loop, 3);
  }

  void expect_idle_with(std::string_view unread) {
    EXPECT_FALSE(stream().reading());
    EXPECT_FALSE(stream().closed());
    EXPECT_EQ(stream().unread_size(), unread.size());
    TestRead read{stream(), ReadBytes{unread.size()}};
    await(read);
    EXPECT_EQ(read.text(), unread);
  }

  /// Every kind of read that "abcdef" does not satisfy.
  static std::vector<ReadRequest> unsatisfied(Timeout timeout) {
    return {ReadBytes{10, false, timeout},
            ReadUntil{"\n", {}, timeout},
            ReadUntilRegex{Regex{"[0-9]"}, {}, timeout},
            ReadUntilClose{timeout},
            ReadInto{MutableBytes{10}, false, timeout},
            Peek{10, timeout}};
  }

  TaskContext context{loop};
};
SQUALL_STREAM_CONTRACT(TimeoutTest);

const StreamError timed_out{StreamErrc::timed_out, CloseReason::none, {}};
const StreamError cancelled{StreamErrc::cancelled, CloseReason::none, {}};

TEST_P(TimeoutTest, LeavesEveryByteUnreadAndTheStreamIdle) {
  for (const ReadRequest& request : unsatisfied(5s)) {
    SCOPED_TRACE(request.index());
    relink({});
    TestRead read{stream(), request};
    peer().send("abcdef");
    run_turns(loop);
    pass(5s - 1ms);
    EXPECT_FALSE(read.answered());
    pass(1ms);
    ASSERT_TRUE(read.answered());
    EXPECT_EQ(read.error(), timed_out);
    expect_idle_with("abcdef");
    pass(1h);
    EXPECT_EQ(read.answers, 1);
  }
}

TEST_P(TimeoutTest, IsAbsoluteThoughBytesKeepArriving) {
  for (const ReadRequest& request : unsatisfied(10s)) {
    SCOPED_TRACE(request.index());
    relink({});
    TestRead read{stream(), request};
    for (int second = 1; second < 7; ++second) {
      peer().send("x");
      run_turns(loop);
      pass(1500ms);
      EXPECT_FALSE(read.answered());
    }
    pass(1s);
    EXPECT_EQ(read.error(), timed_out);
    expect_idle_with("xxxxxx");
  }
}

TEST_P(TimeoutTest, DoesNotEndAReadThatIsSatisfiedInTime) {
  TestRead read{stream(), ReadUntil{"\n", {}, 5s}};
  pass(4s);
  peer().send("line\n");
  await(read);
  EXPECT_EQ(read.text(), "line\n");
  TestRead next{stream(), ReadBytes{1}};
  pass(1h);
  EXPECT_FALSE(next.answered()) << "the timer was of the first";
  peer().send("x");
  await(next);
  EXPECT_EQ(next.text(), "x");
}

TEST_P(TimeoutTest, BelongsToOneReadOnly) {
  TestRead first{stream(), ReadBytes{1, false, 5s}};
  pass(5s);
  EXPECT_EQ(first.error(), timed_out);
  TestRead second{stream(), ReadBytes{1, false, 20s}};
  pass(19s);
  EXPECT_FALSE(second.answered());
  pass(1s);
  EXPECT_EQ(second.error(), timed_out);
}

TEST_P(TimeoutTest, OfTheGreatestDurationNeverComes) {
  TestRead read{stream(), ReadBytes{1, false, Duration::max()}};
  fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_write("x", write, Duration::max()));
  pass(24h * 365);
  EXPECT_FALSE(read.answered());
  EXPECT_FALSE(write.answered());
  EXPECT_FALSE(stream().closed());
  stream().forget_read(read);
  stream().cancel_write(write);
}

TEST_P(TimeoutTest, OfZeroPolls) {
  for (const Duration nothing : {Duration{0ms}, Duration{-1s}, Duration::min()}) {
    TestRead read{stream(), ReadBytes{3, false, nothing}};
    ASSERT_TRUE(read.answered()) << "inside the call";
    EXPECT_EQ(read.error(), timed_out);
    EXPECT_FALSE(stream().reading());
  }
  peer().send("ab");
  ASSERT_TRUE(run_until([&] {
    const TestRead poll{stream(), Peek{2, 0ms}};
    EXPECT_TRUE(poll.answered());
    return poll.succeeded();
  }));
  const TestRead short_of{stream(), ReadBytes{3, false, 0ms}};
  EXPECT_EQ(short_of.error(), timed_out);
  const TestRead both{stream(), ReadBytes{2, false, 0ms}};
  EXPECT_EQ(both.text(), "ab");
}

TEST_P(TimeoutTest, OfZeroTakesAllThatIsUnreadHoweverOftenItPollsInATurn) {
  constexpr std::size_t size = 1000;
  peer().send(pattern(size));
  TestRead all{stream(), Peek{size}};
  await(all);
  std::string polled;
  for (std::size_t i = 0; i < size; ++i)
    polled += TestRead{stream(), ReadBytes{1, false, 0ms}}.text();
  EXPECT_EQ(polled, pattern(size));
}

TEST_P(TimeoutTest, OfZeroPutsBackWhatWentToABuffer) {
  peer().send("abcdef");
  ASSERT_TRUE(run_until([&] {
    const TestRead poll{stream(), ReadInto{MutableBytes{10}, false, 0ms}};
    EXPECT_EQ(poll.error(), timed_out);
    return stream().unread_size() == 6;
  }));
  expect_idle_with("abcdef");
}

TEST_P(TimeoutTest, IsThrownInACoroutineWhichMayReadOn) {
  std::string order;
  MutableBytes buffer{10};
  const auto body = [&]() -> Task<> {
    const auto expect_timeout = [&](auto&& read) -> Task<> {
      try {
        co_await read;
        order += "?";
      } catch (const TimeoutError& error) {
        EXPECT_EQ(error.error(), timed_out);
        order += ".";
      }
    };
    co_await expect_timeout(stream().read_bytes(10, false, 1s));
    co_await expect_timeout(stream().read_into(buffer, false, 1s));
    co_await expect_timeout(stream().read_until("\n", {}, 1s));
    co_await expect_timeout(stream().read_until_regex(Regex{"[0-9]"}, {}, 1s));
    co_await expect_timeout(stream().read_until_close(1s));
    co_await expect_timeout(stream().peek(10, 1s));
    co_await expect_timeout(stream().read(ReadBytes{10, false, 1s}));
    const auto result = co_await stream().read_bytes(10, false, 1s).as_result();
    order += !result && result.error() == timed_out ? "." : "?";
    const auto into = co_await stream().read_into(buffer, false, 1s).as_result();
    order += !into && into.error() == timed_out ? "." : "?";
    order += (co_await stream().read_bytes(6)).str();
  };
  bool ended = false;
  RunningTask running{body(), [&](std::exception_ptr failure) { ended = failure == nullptr; }};
  running.start(context);
  peer().send("abcdef");
  run_turns(loop);
  for (std::size_t i = 1; i <= 9; ++i) {
    pass(1s - 1ms);
    EXPECT_EQ(order.size(), i - 1);
    pass(1ms);
  }
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, ".........abcdef");
}

TEST_P(TimeoutTest, IsToldToACallbackFromTheLoop) {
  std::vector<StreamError> errors;
  const auto callback = [&](const Result<Bytes>& result) {
    ASSERT_FALSE(result);
    errors.push_back(result.error());
  };
  stream().read(ReadBytes{1, false, 0ms}, callback);
  EXPECT_TRUE(errors.empty()) << "never inside the call";
  run_turns(loop);
  EXPECT_EQ(errors, std::vector{timed_out});
  stream().read(ReadBytes{1, false, 1s}, callback);
  pass(1s);
  EXPECT_EQ(errors, (std::vector{timed_out, timed_out}));
}

TEST_P(TimeoutTest, MayBeginTheNextReadInItsAnswer) {
  TestRead read;
  int rounds = 0;
  read.then = [&] {
    if (++rounds < 4)
      read.start(stream(), ReadBytes{10, false, 1s});
  };
  read.start(stream(), ReadBytes{10, false, 1s});
  peer().send("ab");
  for (int i = 0; i < 5; ++i)
    pass(1s);
  EXPECT_EQ(rounds, 4);
  expect_idle_with("ab");
}

TEST_P(TimeoutTest, MayDropTheLastHandleInItsAnswer) {
  TestRead read;
  read.then = [&] { stream() = IOStream{}; };
  read.start(stream(), ReadBytes{10, false, 1s});
  pass(1s);
  EXPECT_EQ(read.error(), timed_out);
}

TEST_P(TimeoutTest, IsNotHeardAfterAClose) {
  TestRead read{stream(), ReadInto{MutableBytes{10}, false, 1s}};
  peer().send("abc");
  run_turns(loop);
  stream().close();
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::local_close, {}}));
  pass(1s);
  EXPECT_EQ(read.answers, 1);
  const TestRead rest{stream(), ReadBytes{3}};
  EXPECT_EQ(rest.text(), "abc");
}

TEST_P(TimeoutTest, OfAReadAfterTheCloseIsNeverNeeded) {
  stream().close();
  run_turns(loop);
  const TestRead read{stream(), ReadBytes{1, false, 1s}};
  EXPECT_EQ(read.error().code, StreamErrc::closed);
  const TestRead poll{stream(), ReadBytes{1, false, 0ms}};
  EXPECT_EQ(poll.error().code, StreamErrc::closed);
}

TEST_P(TimeoutTest, CancelReadAnswersWithCancelled) {
  for (const ReadRequest& request : unsatisfied(5s)) {
    SCOPED_TRACE(request.index());
    relink({});
    TestRead read{stream(), request};
    peer().send("abcdef");
    run_turns(loop);
    stream().cancel_read();
    EXPECT_FALSE(read.answered()) << "not inside the call";
    EXPECT_FALSE(stream().reading());
    TestRead next{stream(), Peek{7}}; // the stream is idle already
    stream().forget_read(next);
    await(read);
    EXPECT_EQ(read.error(), cancelled);
    EXPECT_FALSE(next.answered());
    expect_idle_with("abcdef");
    pass(1h);
    EXPECT_EQ(read.answers, 1);
  }
}

TEST_P(TimeoutTest, CancelReadOfAnIdleStreamDoesNothing) {
  stream().cancel_read();
  peer().send("x");
  TestRead read{stream(), ReadBytes{1}};
  await(read);
  stream().cancel_read();
  EXPECT_EQ(read.text(), "x");
  EXPECT_EQ(read.answers, 1);
}

TEST_P(TimeoutTest, CancelReadIsThrownInACoroutineAndToldToACallback) {
  std::string order;
  const auto body = [&]() -> Task<> {
    try {
      co_await stream().read_bytes(1);
    } catch (const CancelledError&) {
      order += "thrown ";
    }
    const auto result = co_await stream().read_until("\n").as_result();
    order += result ? "?" : to_string(result.error().code);
  };
  RunningTask running{body(), [](std::exception_ptr) {}};
  running.start(context);
  stream().cancel_read();
  EXPECT_EQ(order, "");
  run_turns(loop);
  EXPECT_EQ(order, "thrown ");
  stream().cancel_read();
  run_turns(loop);
  EXPECT_EQ(order, std::string{"thrown "} + to_string(StreamErrc::cancelled));
  std::vector<StreamError> errors;
  stream().read(ReadBytes{1}, [&](const Result<Bytes>& result) { errors.push_back(result.error()); });
  stream().cancel_read();
  EXPECT_TRUE(errors.empty());
  run_turns(loop);
  EXPECT_EQ(errors, std::vector{cancelled});
}

TEST_P(TimeoutTest, ACancelledReadMayBeForgottenBeforeItIsTold) {
  TestRead first{stream(), ReadBytes{1}};
  stream().cancel_read();
  TestRead second{stream(), ReadBytes{1}};
  stream().cancel_read();
  stream().forget_read(first);
  TestRead third{stream(), ReadBytes{1}};
  await(second);
  EXPECT_EQ(second.error(), cancelled);
  peer().send("x");
  await(third);
  EXPECT_EQ(third.text(), "x");
  EXPECT_EQ(first.answers, 0);
}

TEST_P(TimeoutTest, ACancelledReadIsToldAlsoWhenTheLastHandleGoes) {
  TestRead read{stream(), ReadBytes{1}};
  stream().cancel_read();
  link.stream = IOStream{};
  await(read);
  EXPECT_EQ(read.error(), cancelled);
  run_turns(loop);
  EXPECT_EQ(read.answers, 1);
}

TEST_P(TimeoutTest, ForgetReadLeavesBytesUnreadWithoutAnAnswer) {
  for (const ReadRequest& request : unsatisfied(5s)) {
    SCOPED_TRACE(request.index());
    relink({});
    TestRead read{stream(), request};
    TestRead other;
    peer().send("abcdef");
    run_turns(loop);
    stream().forget_read(other);
    EXPECT_TRUE(stream().reading()) << "it is not the other's";
    stream().forget_read(read);
    pass(1h);
    EXPECT_FALSE(read.answered());
    expect_idle_with("abcdef");
  }
}

// Polls have no share of a turn that could be used up for good.
TEST_P(TimeoutTest, OfZeroGoesOnBeyondTheShareOfATurn) {
  const std::string sent = pattern(1'000'000);
  std::size_t given = 0;
  std::string got;
  ASSERT_TRUE(run_until([&] {
    given += peer().send_some(std::string_view{sent}.substr(given));
    const TestRead poll{stream(), ReadBytes{1000, true, 0s}};
    if (poll.succeeded())
      got += poll.text();
    return got.size() == sent.size();
  }));
  EXPECT_EQ(got, sent);
}

} // namespace

} // namespace squall
