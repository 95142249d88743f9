// SPDX-License-Identifier: BSD-3-Clause
//
// stream_half_close_test.cpp: the two sides of a connection that end one after the other, closes that hand
// over what is unsent, aborts, and closes by time; on every transport.
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

StreamError closed_by(CloseReason reason) { return {StreamErrc::closed, reason, {}}; }

/// Remembers the outcome of a shutdown_write or a close_after_flush; a refusal is its outcome as well.
struct TestEnd final : WriteCompletion {
  void on_write(Result<void> result) override {
    ++answers;
    outcome.emplace(std::move(result));
  }
  void take(const std::optional<StreamError>& refused) {
    if (refused)
      on_write(*refused);
  }
  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }

  std::optional<Result<void>> outcome;
  int answers = 0;
};

class SidesTest : public StreamTest {
protected:
  void start(Task<> task) {
    running = std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ended = true;
      failure = error;
    });
    running->start(context);
  }

  ~SidesTest() override { // the stream goes with the base: its callbacks must not outlive what they count
    if (!stream())
      return;
    stream().set_end_callback(nullptr);
    stream().set_close_callback(nullptr, EndNotice::lenient);
  }

  void pass(Duration duration) {
    clock.advance(duration);
    run_turns(loop, 3);
  }

  /// Reads until the stream's side ends.
  void receive_all() {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().saw_end || peer().saw_error;
    }));
  }

  void receive(std::size_t size) {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().received.size() >= size;
    }));
  }

  /// Counts the ends and closes that the stream tells.
  void count_callbacks() {
    stream().set_end_callback([this] { ++ends; });
    stream().set_close_callback([this] { ++closes; }, EndNotice::lenient);
  }

  [[nodiscard]] bool is(std::string_view name) const { return GetParam().name == name; }

  int ends = 0;
  int closes = 0;
  TaskContext context{loop};
  bool ended = false;
  std::exception_ptr failure;
  std::unique_ptr<RunningTask> running;
};

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
class CloseAfterFlushTest : public SidesTest {};
class AbortTest : public SidesTest {};
class IdleTimeoutTest : public SidesTest {};
class WriteTimeoutTest : public SidesTest {};
SQUALL_STREAM_CONTRACT(SidesTest);
SQUALL_STREAM_CONTRACT(HalfCloseTest);
SQUALL_STREAM_CONTRACT(ShutdownWriteTest);
SQUALL_STREAM_CONTRACT(CloseAfterFlushTest);
SQUALL_STREAM_CONTRACT(AbortTest);
SQUALL_STREAM_CONTRACT(IdleTimeoutTest);
SQUALL_STREAM_CONTRACT(WriteTimeoutTest);

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
           ReadBytes{1}, ReadBytes{1, true}, ReadUntil{"\n", {}}, ReadUntilRegex{.regex = Regex{"a"}},
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
  EXPECT_EQ(peer().saw_error, !is("Unix")) << "a unix socket knows no reset";
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
