// SPDX-License-Identifier: BSD-3-Clause
//
// stream_flush_test.cpp: closes that hand over what is unsent, and aborts, on every transport.
#include "tests/net/stream_sides.hpp"

namespace squall {

namespace {

using namespace testing_support;

class CloseAfterFlushTest : public SidesTest {};
class AbortTest : public SidesTest {};
SQUALL_STREAM_CONTRACT(CloseAfterFlushTest);
SQUALL_STREAM_CONTRACT(AbortTest);

// -- close_after_flush

TEST_P(CloseAfterFlushTest, HandsOverEverything) {
  const std::string written = fill_connection();
  count_callbacks();
  TestWrite queued{stream(), "last"};
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  EXPECT_TRUE(stream().closed());
  EXPECT_EQ(stream().unsent_size(), 0u);
  run_turns(loop);
  EXPECT_FALSE(close.answered());
  EXPECT_FALSE(queued.answered());
  receive_all();
  EXPECT_EQ(peer().received, written + "last");
  EXPECT_TRUE(peer().saw_end);
  await(close);
  EXPECT_TRUE(queued.succeeded());
  EXPECT_TRUE(close.succeeded());
  EXPECT_EQ(closes, 0) << "it waits for the peer's end";
  peer().end();
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  pass(1h);
  EXPECT_EQ(close.answers, 1);
  EXPECT_EQ(queued.answers, 1);
  EXPECT_EQ(closes, 1);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::local_close));
}

TEST_P(CloseAfterFlushTest, EndsReadsAsACloseDoes) {
  TestRead pending{stream(), ReadBytes{10}};
  peer().send("abc");
  run_turns(loop);
  static_cast<void>(stream().close_after_flush(5s));
  await(pending);
  EXPECT_EQ(pending.error(), closed_by(CloseReason::local_close));
  const TestRead rest{stream(), ReadBytes{3}};
  EXPECT_EQ(rest.text(), "abc");
  const TestWrite write{stream(), "x"};
  EXPECT_EQ(write.error(), closed_by(CloseReason::local_close));
}

TEST_P(CloseAfterFlushTest, IsCutAtItsDeadline) {
  const std::string written = fill_connection();
  count_callbacks();
  TestWrite queued{stream(), "last"};
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  pass(5s - 1ms);
  EXPECT_FALSE(close.answered());
  pass(1ms);
  await(close);
  EXPECT_EQ(close.error(), closed_by(CloseReason::timed_out));
  EXPECT_EQ(queued.error(), closed_by(CloseReason::timed_out));
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  pass(1h);
  EXPECT_EQ(close.answers, 1);
  receive_all();
  EXPECT_LT(peer().received.size(), written.size());
}

TEST_P(CloseAfterFlushTest, WithoutTimeSendsOnlyWhatTheSystemTakesNow) {
  static_cast<void>(stream().write("hello"));
  TestEnd quick;
  quick.take(stream().start_close_after_flush(0ms, quick));
  await(quick);
  EXPECT_TRUE(quick.succeeded());
  receive_all();
  EXPECT_EQ(peer().received, "hello");
  relink({});
  fill_connection();
  TestEnd cut;
  cut.take(stream().start_close_after_flush(0ms, cut));
  await(cut);
  EXPECT_EQ(cut.error(), closed_by(CloseReason::timed_out));
}

TEST_P(CloseAfterFlushTest, IsAnsweredWithNothingUnsent) {
  count_callbacks();
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  EXPECT_FALSE(close.answered()) << "not inside the call";
  await(close);
  EXPECT_TRUE(close.succeeded());
  receive_all();
  EXPECT_TRUE(peer().saw_end);
  pass(5s);
  EXPECT_EQ(closes, 1) << "the peer never ended its side";
  EXPECT_EQ(close.answers, 1);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::local_close));
}

TEST_P(CloseAfterFlushTest, SendsNoResetToAPeerThatStillSends) {
  const std::string written = fill_connection();
  static_cast<void>(stream().close_after_flush(5s));
  std::string more = pattern(500'000);
  ASSERT_TRUE(run_until([&] {
    more.erase(0, peer().send_some(std::string_view{more}.substr(0, 10'000)));
    peer().receive();
    return peer().saw_end || peer().saw_error;
  }));
  EXPECT_FALSE(peer().saw_error);
  EXPECT_EQ(peer().received, written);
  ASSERT_TRUE(run_until([&] {
    more.erase(0, peer().send_some(more));
    return more.empty();
  })) << "what it sends is thrown away";
  peer().receive();
  EXPECT_FALSE(peer().saw_error);
}

TEST_P(CloseAfterFlushTest, IsAnsweredWhenTheConnectionBreaks) {
  fill_connection();
  count_callbacks();
  TestWrite queued{stream(), "last"};
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  run_turns(loop);
  peer().reset();
  await(close);
  EXPECT_EQ(close.error().code, StreamErrc::closed);
  EXPECT_EQ(close.error().reason, CloseReason::reset);
  EXPECT_EQ(queued.error(), close.error());
  ASSERT_TRUE(run_until([&] { return closes == 1; }));
  pass(1h);
  EXPECT_EQ(close.answers, 1);
  EXPECT_EQ(queued.answers, 1);
}

TEST_P(CloseAfterFlushTest, SaysThatTheConnectionIsBrokenAlready) {
  peer().reset();
  static_cast<void>(stream().write("lost"));
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  await(close);
  EXPECT_EQ(close.error().reason, CloseReason::reset);
  EXPECT_EQ(close.answers, 1);
}

TEST_P(CloseAfterFlushTest, IsAnsweredOnceWhenItIsAwaitedLate) {
  fill_connection();
  auto cut = stream().close_after_flush(5s);
  pass(5s);
  run_turns(loop);
  const auto body = [&]() -> Task<> { co_await std::move(cut); };
  start(body());
  ASSERT_TRUE(run_until([&] { return ended; }));
  try {
    std::rethrow_exception(failure);
  } catch (const StreamClosedError& error) {
    EXPECT_EQ(error.reason(), CloseReason::timed_out);
  }
}

TEST_P(CloseAfterFlushTest, SucceedsWhenItIsAwaitedLate) {
  static_cast<void>(stream().write("last"));
  auto done = stream().close_after_flush(5s);
  receive_all();
  peer().close();
  run_turns(loop);
  const auto body = [&]() -> Task<> { co_await std::move(done); };
  start(body());
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(peer().received, "last");
}

TEST_P(CloseAfterFlushTest, AnswersAWriteThatIsAwaitedAfterIt) {
  const std::string sent = pattern(4'000'000);
  bool written = false;
  auto run = [](IOStream out, Bytes data, bool& done) -> Task<> {
    WriteAwaitable write = out.write(std::move(data));
    WriteAwaitable flush = out.close_after_flush(10s);
    co_await std::move(write);
    done = true;
    co_await std::move(flush);
  };
  start(run(stream(), Bytes{sent}, written));
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().saw_end;
  }));
  EXPECT_EQ(peer().received, sent);
  peer().close();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_TRUE(written);
}

TEST_P(CloseAfterFlushTest, WorksInACoroutineAndWithACallback) {
  const std::string written = fill_connection();
  const auto body = [&]() -> Task<> { co_await stream().close_after_flush(5s); };
  start(body());
  run_turns(loop);
  EXPECT_FALSE(ended);
  receive_all();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(peer().received, written);
  running.reset();
  std::optional<StreamError> refused;
  stream().close_after_flush(5s, [&](Result<void> result) { refused = result.error(); });
  ASSERT_TRUE(run_until([&] { return refused.has_value(); }));
  EXPECT_EQ(refused, closed_by(CloseReason::local_close)) << "it is closed already";
  relink({});
  int answers = 0;
  static_cast<void>(stream().write("last"));
  stream().close_after_flush(5s, [&](const Result<void>& result) { answers += result ? 1 : 100; });
  receive_all();
  run_turns(loop);
  EXPECT_EQ(answers, 1);
  EXPECT_EQ(peer().received, "last");
}

TEST_P(CloseAfterFlushTest, GoesOnWithoutAHandle) {
  const std::string written = fill_connection();
  static_cast<void>(stream().close_after_flush(5s));
  stream() = IOStream{};
  receive_all();
  EXPECT_EQ(peer().received, written);
  EXPECT_TRUE(peer().saw_end);
}

TEST_P(CloseAfterFlushTest, IsCutByAnAbort) {
  fill_connection();
  TestEnd close;
  close.take(stream().start_close_after_flush(5s, close));
  run_turns(loop);
  stream().abort();
  await(close);
  EXPECT_EQ(close.error(), closed_by(CloseReason::aborted));
  receive_all();
  pass(1h);
  EXPECT_EQ(close.answers, 1);
}

TEST_P(CloseAfterFlushTest, IsAnsweredWhenTheLoopEnds) {
  TestEnd close;
  {
    EventLoop own_loop{&clock};
    Link own = GetParam().make(own_loop, {});
    static_cast<void>(own.stream.write(Bytes{pattern(4 * 1024 * 1024)}));
    own_loop.run_once();
    close.take(own.stream.start_close_after_flush(5s, close));
    own_loop.run_once();
    EXPECT_FALSE(close.answered());
    own_loop.end();
    EXPECT_EQ(close.error(), closed_by(CloseReason::shutting_down));
  }
  EXPECT_EQ(close.answers, 1);
}

// -- abort

TEST_P(AbortTest, ShowsThePeerAReset) {
  count_callbacks();
  stream().abort();
  EXPECT_TRUE(stream().closed());
  EXPECT_EQ(stream().error(), closed_by(CloseReason::aborted));
  receive_all();
  EXPECT_EQ(peer().saw_error, shows_resets() && !is("Unix")) << "a unix socket knows no reset";
  run_turns(loop);
  EXPECT_EQ(closes, 1);
}

TEST_P(AbortTest, FailsWhatIsPendingAndDropsWhatIsUnsent) {
  const std::string written = fill_connection();
  TestRead read{stream(), ReadBytes{1}};
  TestWrite write{stream(), "last"};
  TestEnd shutdown;
  shutdown.take(stream().start_shutdown_write(shutdown));
  stream().abort();
  await(write);
  EXPECT_EQ(read.error(), closed_by(CloseReason::aborted));
  EXPECT_EQ(write.error(), closed_by(CloseReason::aborted));
  EXPECT_EQ(shutdown.error(), closed_by(CloseReason::aborted));
  const TestWrite later{stream(), "x"};
  EXPECT_EQ(later.error(), closed_by(CloseReason::aborted));
  receive_all();
  EXPECT_LT(peer().received.size(), written.size());
  run_turns(loop);
  EXPECT_EQ(read.answers + write.answers + shutdown.answers, 3);
}

TEST_P(AbortTest, DropsWhatTheTurnWrote) {
  static_cast<void>(stream().write("lost"));
  stream().abort();
  receive_all();
  EXPECT_EQ(peer().received, "");
}

TEST_P(AbortTest, EndsWhatLingers) {
  fill_connection();
  static_cast<void>(stream().close_after_flush(1h));
  stream().abort();
  stream().abort();
  receive_all();
  if (is("Tcp")) {
    EXPECT_TRUE(peer().saw_error);
  }
}

} // namespace

} // namespace squall
