// SPDX-License-Identifier: BSD-3-Clause
//
// stream_orderly_close_test.cpp: a close that lets what was sent arrive: our side ends, and what still comes is taken until
// the peer's end; on every transport.
#include "net/descriptor_guest.hpp"
#include "tests/net/stream_sides.hpp"
#include <squall/net/memory_budget.hpp>

namespace squall {

namespace {

using namespace testing_support;

class OrderlyCloseTest : public SidesTest {
protected:
  /// Of the stream's descriptor: expires when that is closed.
  std::weak_ptr<DescriptorGuest> watch_descriptor() {
    struct Guest final : DescriptorGuest {};
    const auto guest = std::make_shared<Guest>();
    DescriptorGuest::join(stream(), guest);
    return guest;
  }
  [[nodiscard]] static bool is_open(const std::weak_ptr<DescriptorGuest>& descriptor) {
    return !descriptor.expired();
  }

  void write_all(const std::string& data) {
    TestWrite write{stream(), Bytes{data}};
    ASSERT_TRUE(run_until([&] {
      if (!write.answered())
        peer().receive();
      return write.answered();
    }));
    ASSERT_TRUE(write.succeeded());
  }
};
SQUALL_STREAM_CONTRACT(OrderlyCloseTest);

TEST_P(OrderlyCloseTest, WhatWasAwaitedArrivesThoughThePeerSendsMore) {
  for (const CloseReason reason : {CloseReason::handler_ended, CloseReason::handler_failed,
                                   CloseReason::local_close, CloseReason::draining}) {
    relink({});
    const std::string written = pattern(5'000'000);
    peer().send("one byte more than was read");
    write_all(written);
    stream().close(reason);
    run_turns(loop);
    peer().send("and more");
    receive_all();
    EXPECT_TRUE(peer().received == written) << to_string(reason) << ": " << peer().received.size();
    EXPECT_TRUE(peer().saw_end) << to_string(reason);
    EXPECT_FALSE(peer().saw_error) << to_string(reason);
  }
}

TEST_P(OrderlyCloseTest, KeepsTheDescriptorUntilThePeersEnd) {
  const auto descriptor = watch_descriptor();
  count_callbacks();
  write_all("answer");
  stream().close();
  run_turns(loop);
  EXPECT_EQ(closes, 1) << "the stream is closed at once";
  EXPECT_TRUE(is_open(descriptor));
  receive_all();
  EXPECT_TRUE(peer().saw_end);
  peer().end();
  ASSERT_TRUE(run_until([&] { return !is_open(descriptor); }));
  peer().receive();
  EXPECT_FALSE(peer().saw_error);
}

TEST_P(OrderlyCloseTest, WaitsTwoSecondsForAPeerThatSendsNothing) {
  const auto descriptor = watch_descriptor();
  write_all("answer");
  stream().close();
  pass(2s - 1ms);
  EXPECT_TRUE(is_open(descriptor));
  pass(1ms);
  EXPECT_FALSE(is_open(descriptor));
}

TEST_P(OrderlyCloseTest, TheSilenceBeginsWithTheCloseHoweverLongItsTurnIsThen) {
  const auto descriptor = watch_descriptor();
  peer().send("a question");
  TestTask answers{[&] {
    static_cast<void>(loop.turn_time()); // as any receive asks for it
    clock.advance(3s);                   // a handler that computes
    static_cast<void>(stream().write("answer"));
    stream().close(CloseReason::handler_ended);
  }};
  loop.defer(answers);
  run_turns(loop);
  EXPECT_TRUE(is_open(descriptor));
  receive_all();
  EXPECT_EQ(peer().received, "answer");
  EXPECT_FALSE(peer().saw_error);
}

TEST_P(OrderlyCloseTest, WaitsNoLongerThanItsLingerTimeout) {
  const auto descriptor = watch_descriptor();
  write_all("answer");
  stream().close();
  for (Duration passed{}; passed < 9s; passed += 1s) {
    ASSERT_TRUE(is_open(descriptor));
    peer().send("more");
    pass(1s);
  }
  peer().send("more");
  ASSERT_TRUE(is_open(descriptor));
  pass(1s);
  EXPECT_FALSE(is_open(descriptor));
}

TEST_P(OrderlyCloseTest, TakesNoMoreThan16MiB) {
  const auto descriptor = watch_descriptor();
  write_all("answer");
  stream().close();
  constexpr std::size_t bound = 16 * 1024 * 1024;
  const std::string much = pattern(100'000);
  std::size_t sent = 0;
  ASSERT_TRUE(run_until([&] {
    if (is_open(descriptor))
      sent += peer().send_some(much);
    return !is_open(descriptor);
  }));
  EXPECT_GE(sent, bound);
  EXPECT_LT(sent, 3 * bound) << "the rest was under way";
}

TEST_P(OrderlyCloseTest, APeerThatSendsAllOfItsOwnBeforeItReadsGetsTheRest) {
  std::string written;
  for (int blocked_turns = 0; blocked_turns < 20;) { // each write is answered, until the system takes no more
    if (stream().unsent_size() == 0) {
      const std::string chunk = pattern(60'000, written.size());
      auto write = stream().write(Bytes{chunk});
      ASSERT_TRUE(write.await_ready());
      write.await_resume();
      written += chunk;
      blocked_turns = 0;
    }
    loop.run_once(1ms);
    if (stream().unsent_size() > 0)
      ++blocked_turns;
  }
  stream().close(CloseReason::handler_ended);
  std::string request = pattern(8'000'000);
  ASSERT_TRUE(run_until([&] {
    request.erase(0, peer().send_some(std::string_view{request}.substr(0, 100'000)));
    return request.empty();
  }));
  receive_all();
  EXPECT_TRUE(peer().received == written);
  EXPECT_FALSE(peer().saw_error);
}

TEST_P(OrderlyCloseTest, DoesNotWaitBehindThePeersEnd) {
  auto descriptor = watch_descriptor();
  peer().end();
  TestRead read{stream(), ReadBytes{1}};
  await(read);
  run_turns(loop, 2);
  EXPECT_EQ(stream().error(), closed_by(CloseReason::peer_closed));
  EXPECT_FALSE(is_open(descriptor));

  relink({.half_close = true});
  descriptor = watch_descriptor();
  write_all("answer");
  peer().end();
  TestRead last{stream(), ReadBytes{1}};
  await(last);
  stream().close();
  run_turns(loop, 2);
  EXPECT_FALSE(is_open(descriptor));
}

TEST_P(OrderlyCloseTest, AbortsAndLimitsDoNotWait) {
  auto descriptor = watch_descriptor();
  stream().abort();
  EXPECT_FALSE(is_open(descriptor));

  relink({});
  descriptor = watch_descriptor();
  peer().send("too long a line");
  TestRead read{stream(), ReadUntil{"\n", 4}};
  await(read);
  EXPECT_EQ(read.error().reason, CloseReason::limit);
  EXPECT_FALSE(is_open(descriptor));

  relink({.linger_timeout = 0ms});
  descriptor = watch_descriptor();
  write_all("answer");
  stream().close();
  EXPECT_FALSE(is_open(descriptor));

  relink({});
  descriptor = watch_descriptor();
  stream().close();
  EXPECT_FALSE(is_open(descriptor)) << "nothing was written";
  relink({});
  descriptor = watch_descriptor();
  stream().close(CloseReason::handler_ended);
  EXPECT_TRUE(is_open(descriptor)) << "the peer may have sent a request";
}

TEST_P(OrderlyCloseTest, AnEndWithoutAnythingWrittenIsNoReset) {
  peer().send("a request that nobody reads");
  stream().close(CloseReason::handler_ended);
  receive_all();
  EXPECT_TRUE(peer().saw_end);
  EXPECT_FALSE(peer().saw_error);
}

TEST_P(OrderlyCloseTest, UnreadBytesGoWithTheLastHandle) {
  const auto budget = std::make_shared<MemoryBudget>(1024 * 1024);
  relink({.memory_budget = budget});
  const auto descriptor = watch_descriptor();
  peer().send(pattern(40'000));
  TestRead part{stream(), Peek{40'000}};
  await(part);
  stream().close(CloseReason::handler_ended);
  run_turns(loop);
  EXPECT_GT(budget->used(), 0u);
  part.outcome.reset();
  stream() = IOStream{};
  EXPECT_EQ(budget->used(), 0u);
  EXPECT_TRUE(is_open(descriptor));
}

TEST_P(OrderlyCloseTest, AnAbortEndsTheWait) {
  const auto descriptor = watch_descriptor();
  write_all("answer");
  stream().close();
  run_turns(loop);
  stream().abort();
  EXPECT_FALSE(is_open(descriptor));
  EXPECT_EQ(stream().error(), closed_by(CloseReason::local_close)) << "nothing was dropped";
  receive_all();
  EXPECT_EQ(peer().received, "answer");
}

TEST_P(OrderlyCloseTest, WithItsLoopResetsNothingForWhatIsThere) {
  ManualClock own_clock;
  auto own_loop = std::make_unique<EventLoop>(&own_clock);
  Link own = GetParam().make(*own_loop, {});
  own.peer->send("a question that nobody reads");
  static_cast<void>(own.stream.write("goodbye"));
  own_loop.reset();
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (!own.peer->saw_end && !own.peer->saw_error && std::chrono::steady_clock::now() < deadline)
    own.peer->receive();
  EXPECT_EQ(own.peer->received, "goodbye");
  EXPECT_TRUE(own.peer->saw_end);
  EXPECT_FALSE(own.peer->saw_error);
}

TEST_P(OrderlyCloseTest, UnreadBytesStayReadableWhatComesLaterDoesNot) {
  peer().send("unread");
  TestRead part{stream(), ReadBytes{2}};
  await(part);
  stream().close(CloseReason::handler_ended);
  run_turns(loop);
  peer().send("dropped");
  run_turns(loop);
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), "read");
  peer().end();
  run_turns(loop);
  const TestRead none{stream(), ReadUntilClose{}};
  EXPECT_EQ(none.error(), closed_by(CloseReason::handler_ended)) << "what was dropped makes no whole";
}

} // namespace

} // namespace squall
