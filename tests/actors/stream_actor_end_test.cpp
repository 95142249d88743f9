// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor_end_test.cpp: how a stream actor ends, and what its pending and later requests get.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

class StreamActorEnd : public ActorTest {
protected:
  StreamActorEnd()
      : connected_{connect(short_linger(), 4096)}, stream_{connected_.stream}, client_{connected_.client} {}
  void TearDown() override {
    connected_ = {};
    stream_ = nullptr;
    ActorTest::TearDown();
  }

  using PendingRead = decltype(std::declval<StreamActorEnd>().begin(StreamActor{}, ReadUntil{}));
  using PendingWrite = decltype(std::declval<StreamActorEnd>().begin(StreamActor{}, Write{}));

  /// A read and three writes that cannot be answered while the peer does nothing.
  void begin_operations() {
    read_.emplace(begin(stream_, ReadUntil{"\n", {}}));
    for (int i = 0; i < 3; ++i)
      writes_.push_back(begin(stream_, Write{std::string(8'000'000, 'x')}));
    sync(stream_);
  }

  /// All of them are answered with `reason`.
  void expect_failed(CloseReason reason) {
    EXPECT_EQ(take<Bytes>(*read_).reason(), reason);
    for (const auto& write : writes_)
      EXPECT_EQ(take<Done>(write).reason(), reason);
  }

  /// Every request after the end is answered with `reason`; twice, since an ended actor stays one.
  void expect_refused(CloseReason reason) {
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(ask<Bytes>(stream_, ReadUntil{"\n", {}}).reason(), reason);
      EXPECT_EQ(ask<Bytes>(stream_, ReadBytes{1, true}).reason(), reason);
      EXPECT_EQ(ask<Bytes>(stream_, ReadUntilClose{}).reason(), reason);
      EXPECT_EQ(ask<Done>(stream_, Write{"x"}).reason(), reason);
      EXPECT_EQ(ask<StreamInfo>(stream_, Info{}).reason(), reason);
    }
    EXPECT_FALSE(self()->has_next_message());
  }

  /// The reason in the down message of the stream.
  caf::error await_down() {
    caf::error reason;
    bool down = false;
    self()->receive(
        [&](caf::down_msg& message) {
          EXPECT_EQ(message.source, stream_.address());
          reason = message.reason;
          down = true;
        },
        caf::after(test_deadline) >> [] { ADD_FAILURE() << "no down message"; });
    return reason;
  }

  Connected connected_;
  StreamActor stream_;
  Client& client_;
  std::optional<PendingRead> read_;
  std::vector<PendingWrite> writes_;
};

TEST_F(StreamActorEnd, PeerCloseAnswersAPendingRead) {
  const auto pending = begin(stream_, ReadUntil{"\n", {}});
  client_.send("no line");
  client_.close();
  const auto outcome = take<Bytes>(pending);
  EXPECT_EQ(outcome.reason(), CloseReason::peer_closed);
  EXPECT_FALSE(outcome.stream()->real_error);
}

TEST_F(StreamActorEnd, AResetIsToldWithItsErrno) {
  const auto pending = begin(stream_, ReadUntil{"\n", {}});
  sync(stream_);
  client_.reset();
  const auto outcome = take<Bytes>(pending);
  EXPECT_EQ(outcome.reason(), CloseReason::reset);
  EXPECT_EQ(outcome.stream()->real_error, std::error_code(ECONNRESET, std::generic_category()));
  EXPECT_EQ(error_text(outcome.error), to_string(*outcome.stream()));
  expect_refused(CloseReason::reset);
}

TEST_F(StreamActorEnd, AResetAnswersPendingWrites) {
  begin_operations();
  client_.reset();
  expect_failed(CloseReason::reset);
  expect_refused(CloseReason::reset);
}

TEST_F(StreamActorEnd, CloseAnswersPendingOperations) {
  begin_operations();
  EXPECT_TRUE(ask<Done>(stream_, Close{}));
  expect_failed(CloseReason::local_close);
  expect_refused(CloseReason::local_close);
  EXPECT_TRUE(ask<Done>(stream_, Close{}) || true); // a closed stream answers, one way or the other
}

TEST_F(StreamActorEnd, CloseThatNobodyWaitsForCloses) {
  self()->send(stream_, Close{});
  EXPECT_TRUE(client_.at_end());
  expect_refused(CloseReason::local_close);
}

TEST_F(StreamActorEnd, CloseDeliversWhatTheSystemTakesAtOnce) {
  self()->send(stream_, Write{"bye\n"});
  EXPECT_TRUE(ask<Done>(stream_, Close{}));
  EXPECT_EQ(client_.receive_all(), "bye\n");
}

TEST_F(StreamActorEnd, KillAnswersPendingOperations) {
  self()->monitor(stream_);
  begin_operations();
  self()->send_exit(stream_, caf::exit_reason::kill);
  expect_failed(CloseReason::shutting_down);
  EXPECT_EQ(await_down(), caf::exit_reason::kill);
  expect_refused(CloseReason::shutting_down);
  client_.receive_all(); // what was under way, then the end
}

TEST_F(StreamActorEnd, BeingToldToExitAnswersPendingOperations) {
  self()->monitor(stream_);
  begin_operations();
  self()->send_exit(stream_, caf::exit_reason::user_shutdown);
  expect_failed(CloseReason::shutting_down);
  EXPECT_EQ(await_down(), caf::exit_reason::user_shutdown);
  expect_refused(CloseReason::shutting_down);
}

TEST_F(StreamActorEnd, AnExitWithoutAReasonIsIgnored) {
  self()->send_exit(stream_, caf::exit_reason::normal);
  client_.send("line\n");
  EXPECT_EQ(text(ask<Bytes>(stream_, ReadUntil{"\n", {}})), "line\n");
}

TEST_F(StreamActorEnd, TheEndOfTheIOSystemAnswersPendingOperations) {
  self()->monitor(stream_);
  begin_operations();
  end_io();
  expect_failed(CloseReason::shutting_down);
  EXPECT_EQ(await_down(), caf::exit_reason::user_shutdown);
  expect_refused(CloseReason::shutting_down);
  client_.receive_all();
}

TEST_F(StreamActorEnd, UnreadBytesStayReadableAfterThePeerClosed) {
  self()->monitor(stream_);
  client_.send("one\ntwo\nrest");
  client_.close();
  EXPECT_EQ(text(ask<Bytes>(stream_, ReadUntil{"\n", {}})), "one\n");
  EXPECT_EQ(text(ask<Bytes>(stream_, ReadUntil{"\n", {}})), "two\n");
  EXPECT_EQ(ask<Bytes>(stream_, ReadUntil{"\n", {}}).reason(), CloseReason::peer_closed);
  EXPECT_EQ(text(ask<Bytes>(stream_, ReadUntilClose{})), "rest");
  const auto closed = stream_closed(await_down()); // nothing is unread any more
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->reason(), CloseReason::peer_closed);
  expect_refused(CloseReason::peer_closed);
}

TEST_F(StreamActorEnd, AClosedStreamWithUnreadBytesTellsSo) {
  client_.send("unread");
  client_.close();
  EXPECT_EQ(ask<Bytes>(stream_, ReadUntil{"\n", {}}).reason(), CloseReason::peer_closed);
  const auto info = ask<StreamInfo>(stream_, Info{});
  ASSERT_TRUE(info);
  EXPECT_TRUE(info.value->closed);
  EXPECT_EQ(info.value->unread_size, 6U);
  EXPECT_EQ(ask<Done>(stream_, Write{"x"}).reason(), CloseReason::peer_closed);
  EXPECT_TRUE(ask<Done>(stream_, Close{})); // and what is unread goes
  expect_refused(CloseReason::peer_closed);
}

TEST_F(StreamActorEnd, AMonitorHearsOfAPeerCloseWithNothingPending) {
  self()->monitor(stream_);
  client_.close();
  const auto closed = stream_closed(await_down());
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->reason(), CloseReason::peer_closed);
}

TEST_F(StreamActorEnd, AMonitorOfAnEndedActorHearsAtOnce) {
  self()->send(stream_, Close{});
  expect_refused(CloseReason::local_close);
  self()->monitor(stream_);
  const auto closed = stream_closed(await_down());
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->reason(), CloseReason::local_close);
}

TEST_F(StreamActorEnd, ALinkedActorDiesWithTheStream) {
  const caf::actor linked = system_.spawn([](caf::event_based_actor*) { return caf::behavior{[](int) {}}; });
  self()->monitor(linked);
  linked->add_link(caf::actor_cast<caf::strong_actor_ptr>(stream_)->get());
  client_.close();
  caf::error reason;
  self()->receive([&](const caf::down_msg& down) { reason = down.reason; },
                  caf::after(test_deadline) >> [] { FAIL(); });
  ASSERT_TRUE(stream_closed(reason)) << error_text(reason);
  EXPECT_EQ(stream_closed(reason)->reason(), CloseReason::peer_closed);
}

TEST_F(StreamActorEnd, AStreamDiesWithALinkedActor) {
  const caf::actor linked = system_.spawn([](caf::event_based_actor*) { return caf::behavior{[](int) {}}; });
  linked->add_link(caf::actor_cast<caf::strong_actor_ptr>(stream_)->get());
  self()->send_exit(linked, caf::exit_reason::user_shutdown);
  EXPECT_TRUE(client_.at_end());
  expect_refused(CloseReason::shutting_down);
}

TEST_F(StreamActorEnd, AHandleDoesNotKeepTheConnection) {
  const auto weak = caf::actor_cast<caf::weak_actor_ptr>(stream_);
  client_.close();
  wait_until([&] { return !ask<StreamInfo>(stream_, Info{}); });
  connected_.stream = nullptr;
  stream_ = nullptr;
  wait_until([&] { return caf::actor_cast<caf::strong_actor_ptr>(weak) == nullptr; });
}

TEST_F(StreamActorEnd, TheDescriptorIsClosedWithTheActor) {
  const std::size_t before = descriptor_count();
  self()->send_exit(stream_, caf::exit_reason::kill);
  EXPECT_TRUE(client_.at_end());
  EXPECT_TRUE(wait_until([&] { return descriptor_count() == before - 1; })); // our side ended before
}

} // namespace

} // namespace squall::actor_tests
