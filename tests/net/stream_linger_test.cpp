// SPDX-License-Identifier: BSD-3-Clause
//
// stream_linger_test.cpp: writes that were answered before they left, and what a close does with them; on
// every transport.
#include "net/descriptor_guest.hpp"
#include "tests/net/stream_contract.hpp"

namespace squall {

namespace {

using namespace testing_support;

class LingerTest : public StreamTest {
protected:
  /// A write as a coroutine awaits it; true when it would not wait.
  bool write_answered_early(const std::string& data) {
    auto write = stream().write(Bytes{data});
    const bool ready = write.await_ready();
    if (ready)
      write.await_resume();
    return ready;
  }

  /// Writes, each answered, until the system takes no more; returns what was written.
  std::string write_until_blocked() {
    std::string written;
    // The system may take the last bytes with a delay: blocked is what stays so for a while.
    for (int blocked_turns = 0; blocked_turns < 20;) {
      if (stream().unsent_size() == 0) {
        const std::string chunk = pattern(60'000, written.size());
        EXPECT_TRUE(write_answered_early(chunk));
        written += chunk;
        blocked_turns = 0;
      }
      loop.run_once(1ms);
      if (stream().unsent_size() > 0)
        ++blocked_turns;
    }
    return written;
  }

  /// The peer received only the beginning. A kernel may take a rest of some bytes at any time, memory does
  /// not.
  void expect_part_of(const std::string& written) {
    EXPECT_EQ(peer().received, written.substr(0, peer().received.size()));
    if (GetParam().name == std::string_view{"Memory"}) {
      EXPECT_LT(peer().received.size(), written.size());
    }
  }

  /// Reads until the stream's side ends.
  void receive_all() {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().saw_end || peer().saw_error;
    }));
  }
};
SQUALL_STREAM_CONTRACT(LingerTest);

TEST_P(LingerTest, AnswersAnAwaitedWriteAtOnceWhileTheSystemTakesAll) {
  EXPECT_TRUE(write_answered_early("hello"));
  EXPECT_EQ(stream().unsent_size(), 5u) << "it leaves at the end of the turn";
  loop.run_once();
  EXPECT_EQ(stream().unsent_size(), 0u);
}

TEST_P(LingerTest, MakesAnAwaitedWriteWaitBehindMoreThan64KiB) {
  EXPECT_TRUE(write_answered_early(std::string(64 * 1024, 'x')));
  EXPECT_FALSE(write_answered_early("x"));
}

TEST_P(LingerTest, MakesAnAwaitedWriteWaitBehindAPeerThatDoesNotRead) {
  write_until_blocked();
  EXPECT_FALSE(write_answered_early("x"));
}

TEST_P(LingerTest, DeliversAnsweredBytesAfterTheClose) {
  const std::string written = write_until_blocked();
  stream().close();
  EXPECT_TRUE(stream().closed());
  EXPECT_FALSE(stream().writing());
  run_turns(loop);
  receive_all();
  EXPECT_EQ(peer().received, written);
  EXPECT_TRUE(peer().saw_end);
}

TEST_P(LingerTest, DropsUnansweredBytesBehindTheAnsweredOnes) {
  const std::string written = write_until_blocked();
  EXPECT_FALSE(write_answered_early("unanswered"));
  TestWrite pending{stream(), "unanswered"};
  stream().close();
  await(pending);
  EXPECT_EQ(pending.error().reason, CloseReason::local_close);
  receive_all();
  EXPECT_EQ(peer().received, written);
}

TEST_P(LingerTest, DropsWhatNobodyAnswered) {
  fill_connection();
  const std::size_t unsent = stream().unsent_size();
  ASSERT_GT(unsent, 0u);
  TestWrite pending{stream(), "unanswered"};
  stream().close();
  await(pending);
  receive_all();
  EXPECT_FALSE(peer().received.ends_with("unanswered"));
}

TEST_P(LingerTest, DeliversAnsweredBytesAfterTheLastHandleWent) {
  const std::string written = write_until_blocked();
  stream() = IOStream{};
  receive_all();
  EXPECT_EQ(peer().received, written);
}

TEST_P(LingerTest, EndsAtItsTimeout) {
  const std::string written = write_until_blocked();
  stream().close();
  clock.advance(10s - 1ms);
  run_turns(loop);
  peer().receive();
  if (GetParam().name == std::string_view{"Memory"}) { // a kernel may have taken the rest by now
    EXPECT_FALSE(peer().saw_end || peer().saw_error) << "it lingers yet";
  }
  clock.advance(1ms);
  loop.run_once();
  receive_all();
  EXPECT_EQ(peer().received, written.substr(0, peer().received.size()));
}

TEST_P(LingerTest, DropsTheRestAtItsTimeout) {
  const std::string written = write_until_blocked();
  stream().close();
  run_turns(loop);
  clock.advance(10s);
  run_turns(loop);
  receive_all();
  expect_part_of(written);
}

TEST_P(LingerTest, DropsAtOnceWithATimeoutOfZero) {
  relink({.linger_timeout = 0ms});
  const std::string written = write_until_blocked();
  stream().close();
  receive_all();
  expect_part_of(written);
}

TEST_P(LingerTest, TellsTheCloseAtOnce) {
  write_until_blocked();
  int closes = 0;
  stream().set_close_callback([&] { ++closes; });
  stream().close();
  run_turns(loop);
  EXPECT_EQ(closes, 1) << "and does not wait for the bytes";
}

class Guest final : public DescriptorGuest {
public:
  explicit Guest(bool& closed) : closed_{closed} {}
  void on_descriptor_closed() noexcept override { closed_ = true; }

private:
  bool& closed_;
};

TEST_P(LingerTest, EndsWhenTheConnectionBreaks) {
  write_until_blocked();
  bool closed = false;
  DescriptorGuest::join(stream(), std::make_shared<Guest>(closed));
  stream().close();
  run_turns(loop);
  ASSERT_FALSE(closed);
  peer().reset();
  EXPECT_TRUE(run_until([&] { return closed; })) << "before its timeout, since the clock stands";
  EXPECT_FALSE(DescriptorGuest::has_descriptor(stream()));
}

TEST_P(LingerTest, AGuestStaysAsLongAsTheDescriptor) {
  const std::string written = write_until_blocked();
  bool closed = false;
  auto guest = std::make_shared<Guest>(closed);
  const std::weak_ptr<Guest> watched = guest;
  DescriptorGuest::join(stream(), std::move(guest));
  stream().close();
  run_turns(loop);
  EXPECT_FALSE(closed) << "the stream still sends";
  EXPECT_FALSE(watched.expired());
  EXPECT_TRUE(DescriptorGuest::has_descriptor(stream()));
  receive_all();
  EXPECT_EQ(peer().received, written);
  peer().end();
  EXPECT_TRUE(run_until([&] { return closed; }));
  EXPECT_TRUE(watched.expired());
  bool never = false;
  auto late = std::make_shared<Guest>(never);
  DescriptorGuest::join(stream(), late);
  EXPECT_EQ(late.use_count(), 1) << "nobody would let it go";
}

TEST_P(LingerTest, EndsWithItsLoop) {
  ManualClock own_clock;
  auto own_loop = std::make_unique<EventLoop>(&own_clock);
  Link own = GetParam().make(*own_loop, {});
  do {
    auto write = own.stream.write(Bytes{pattern(60'000)});
    EXPECT_TRUE(write.await_ready());
    write.await_resume();
    own_loop->run_once();
  } while (own.stream.unsent_size() == 0);
  own.stream.close();
  own_loop.reset();
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (!own.peer->saw_end && !own.peer->saw_error && std::chrono::steady_clock::now() < deadline)
    own.peer->receive();
  EXPECT_TRUE(own.peer->saw_end || own.peer->saw_error);
}

TEST_P(LingerTest, StillGivesUnreadBytes) {
  peer().send("unread");
  TestRead part{stream(), ReadBytes{2}};
  await(part);
  write_until_blocked();
  stream().close();
  const TestRead rest{stream(), ReadBytes{4}};
  EXPECT_EQ(rest.text(), "read");
}

TEST_P(LingerTest, IgnoresWhatArrivesMeanwhile) {
  const std::string written = write_until_blocked();
  stream().close();
  run_turns(loop);
  peer().end();
  receive_all();
  EXPECT_EQ(peer().received, written) << "a peer that has ended its side still reads";
}

} // namespace

} // namespace squall
