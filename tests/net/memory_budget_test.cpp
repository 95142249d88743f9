// SPDX-License-Identifier: BSD-3-Clause
//
// memory_budget_test.cpp: what streams count in a memory budget, and what they do when it is passed.
#include "net/memory_share.hpp"
#include "tests/net/stream_sides.hpp"
#include <squall/net/memory_budget.hpp>

#include <random>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

constexpr std::size_t kib = 1024;
constexpr std::size_t step = MemoryShare::step;

StreamError closed_by_budget() { return {StreamErrc::closed, CloseReason::limit, StreamErrc::memory_budget}; }

// -- the shares

TEST(MemoryShareTest, CountsWholeSteps) {
  const auto budget = std::make_shared<MemoryBudget>(100 * step);
  {
    MemoryShare share{budget};
    EXPECT_FALSE(share.hold(step - 1));
    EXPECT_EQ(budget->used(), 0U);
    EXPECT_TRUE(share.hold(step));
    EXPECT_FALSE(share.hold(2 * step - 1));
    EXPECT_EQ(budget->used(), step);
    EXPECT_TRUE(share.hold(7 * step + 1));
    EXPECT_EQ(budget->used(), 7 * step);
    MemoryShare other{budget};
    other.hold(step);
    EXPECT_EQ(budget->used(), 8 * step);
    share.hold(0);
    EXPECT_EQ(budget->used(), step);
    share.hold(3 * step);
  }
  EXPECT_EQ(budget->used(), 0U) << "the end gives everything back";
}

TEST(MemoryShareTest, TheBiggestAreThoseOfTheHighestPowerOfTwo) {
  const auto budget = std::make_shared<MemoryBudget>(10 * step);
  MemoryShare big{budget};
  MemoryShare as_big{budget};
  MemoryShare small{budget};
  MemoryShare none{budget};
  big.hold(7 * step);
  small.hold(3 * step);
  EXPECT_FALSE(budget->passed()) << "at the limit";
  EXPECT_FALSE(big.held_back());
  none.hold(step - 1);
  small.hold(4 * step - 1);
  EXPECT_FALSE(budget->passed());
  as_big.hold(4 * step);
  small.hold(0);
  EXPECT_TRUE(budget->passed()) << "one step above it";
  EXPECT_FALSE(budget->exhausted());
  EXPECT_TRUE(big.held_back());
  EXPECT_TRUE(as_big.held_back());
  EXPECT_FALSE(none.held_back());
  as_big.hold(3 * step);
  small.hold(step);
  EXPECT_TRUE(budget->passed());
  EXPECT_TRUE(big.held_back());
  EXPECT_FALSE(as_big.held_back());
  EXPECT_FALSE(small.held_back());
  small.hold(2 * step);
  EXPECT_TRUE(budget->exhausted()) << "more than an eighth above it";
  EXPECT_TRUE(small.held_back());
  EXPECT_FALSE(small.is_biggest());
  EXPECT_FALSE(none.held_back());
}

TEST(MemoryShareTest, BoundsOfTheGreatestBudgetDoNotWrap) {
  MemoryBudget budget{std::numeric_limits<std::size_t>::max()};
  EXPECT_FALSE(budget.passed());
  EXPECT_FALSE(budget.exhausted());
}

TEST(MemoryShareTest, ThreadsShareABudget) {
  const auto budget = std::make_shared<MemoryBudget>(100 * step);
  const auto work = [&](unsigned seed) {
    std::mt19937 random{seed};
    for (int i = 0; i < 100; ++i) {
      MemoryShare share{budget};
      for (int j = 0; j < 100; ++j)
        share.hold(random() % (64 * step));
      static_cast<void>(share.held_back());
    }
  };
  std::thread other{[&] { work(1); }};
  work(2);
  other.join();
  EXPECT_EQ(budget->used(), 0U);
  MemoryShare last{budget};
  last.hold(step);
  EXPECT_TRUE(last.is_biggest()) << "nobody is left behind among the bigger ones";
}

// -- streams, over every transport

class MemoryBudgetTest : public SidesTest {
protected:
  /// Streams that receive a step at a time.
  [[nodiscard]] StreamOptions options() const {
    StreamOptions made;
    made.read_chunk_size = step;
    made.memory_budget = budget;
    return made;
  }
  /// Sends everything, and runs turns meanwhile.
  void feed(Link& to, std::size_t size) {
    const std::string data = pattern(size);
    std::size_t sent = 0;
    ASSERT_TRUE(run_until([&] {
      sent += to.peer->send_some(std::string_view{data}.substr(sent));
      return sent == size;
    }));
  }
  /// The same to a stream with a pending read, until all is unread there.
  void feed_unread(Link& to, std::size_t size) {
    const std::size_t wanted = to.stream.unread_size() + size;
    feed(to, size);
    ASSERT_TRUE(run_until([&] { return to.stream.unread_size() == wanted; }));
  }
  [[nodiscard]] bool unused() {
    return run_until([&] { return budget->used() == 0; });
  }

  std::shared_ptr<MemoryBudget> budget = std::make_shared<MemoryBudget>(32 * kib);
  TestRead big_read; ///< of the test's stream, which never gets so much
  const std::size_t too_much = 10 * kib * kib;

  /// The test's stream has received so much that the budget is passed by one step, and is held back.
  void pass_budget() {
    relink(options());
    big_read.start(stream(), ReadBytes{too_much});
    feed(link, 48 * kib); // less than any transport takes
    ASSERT_TRUE(run_until([&] { return budget->passed(); }));
    run_turns(loop);
    ASSERT_EQ(budget->used(), 36 * kib) << "one step above, and no more";
    ASSERT_FALSE(big_read.answered());
  }
};
SQUALL_STREAM_CONTRACT(MemoryBudgetTest);

TEST_P(MemoryBudgetTest, CountsWhatIsUnread) {
  relink(options());
  TestRead read{stream(), ReadBytes{too_much}};
  feed_unread(link, step - 1);
  EXPECT_EQ(budget->used(), 0U);
  feed_unread(link, 1);
  EXPECT_EQ(budget->used(), step);
  feed_unread(link, 2 * step);
  EXPECT_EQ(budget->used(), 3 * step);
  stream().cancel_read();
  EXPECT_EQ(budget->used(), 3 * step) << "unread";
  await(read);
  TestRead first{stream(), ReadBytes{1}};
  await(first);
  EXPECT_EQ(budget->used(), 3 * step) << "with the page in which the byte lies";
  TestRead rest{stream(), ReadBytes{3 * step - 1}};
  await(rest);
  EXPECT_EQ(budget->used(), 0U) << "what was read is the reader's";
}

TEST_P(MemoryBudgetTest, CountsWhatIsUnsent) {
  budget = std::make_shared<MemoryBudget>(64 * kib * kib);
  relink(options());
  const std::string written = fill_connection();
  EXPECT_GE(budget->used(), stream().unsent_size() / step * step);
  EXPECT_LE(budget->used(), written.size() + step) << "with what is sent of the first piece";
  receive(written.size());
  EXPECT_EQ(stream().unsent_size(), 0U);
  EXPECT_EQ(budget->used(), 0U);
}

TEST_P(MemoryBudgetTest, DoesNotCountABufferOfTheReader) {
  relink(options());
  TestRead peek{stream(), ReadBytes{too_much}};
  feed_unread(link, 2 * step);
  stream().cancel_read();
  TestRead read{stream(), ReadInto{MutableBytes{4 * step}}};
  run_turns(loop);
  EXPECT_EQ(budget->used(), 0U);
  stream().cancel_read();
  EXPECT_EQ(budget->used(), 2 * step) << "they came back";
  run_turns(loop); // which answers both
}

TEST_P(MemoryBudgetTest, EveryEndGivesEverythingBack) {
  budget = std::make_shared<MemoryBudget>(64 * kib * kib);
  const std::vector<std::function<void()>> ways{
      [&] { stream().close(); },
      [&] { stream().abort(); },
      [&] { stream().close_after_flush(1s, [](Result<void>) {}); },
      [&] {
        stream().close_after_flush(1h, [](Result<void>) {});
        stream().abort();
      },
      [&] { peer().reset(); },
      [&] { peer().close(); },
      [&] { stream().close(CloseReason::handler_failed); },
      [] {}, // the last handle goes
  };
  for (const auto& end : ways) {
    relink(options());
    TestRead read{stream(), ReadBytes{too_much}};
    feed_unread(link, 2 * step);
    static_cast<void>(stream().write("answered")); // of which the stream's close makes a lingering one
    fill_connection();
    EXPECT_GT(budget->used(), 100 * step);
    end();
    run_turns(loop);
    stream().cancel_read();
    link.stream = IOStream{};
    pass(1h);
    EXPECT_TRUE(unused()) << "end " << &end - ways.data();
  }
}

TEST_P(MemoryBudgetTest, AClosedStreamCountsUntilItsBytesAreRead) {
  relink(options());
  TestRead read{stream(), ReadBytes{too_much}};
  feed_unread(link, 2 * step);
  stream().close();
  await(read);
  EXPECT_EQ(budget->used(), 2 * step);
  TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text().size(), 2 * step);
  EXPECT_EQ(budget->used(), 0U);
}

// -- beyond the budget

TEST_P(MemoryBudgetTest, AtTheLimitEverybodyReceives) {
  relink(options());
  TestRead read{stream(), ReadBytes{32 * kib + step - 1}};
  feed_unread(link, 32 * kib);
  EXPECT_FALSE(budget->passed());
  feed(link, step - 1);
  await(read);
  EXPECT_TRUE(read.succeeded());
}

TEST_P(MemoryBudgetTest, TheBiggestWaitsAndSmallOnesGoOn) {
  pass_budget();
  Link small = make_link(options());
  for (int i = 0; i < 50; ++i) {
    TestRead read{small.stream, ReadBytes{3000}};
    feed(small, 3000);
    await(read);
    EXPECT_TRUE(read.succeeded());
    pass(100ms);
  }
  EXPECT_EQ(budget->used(), 36 * kib);
  EXPECT_FALSE(big_read.answered());
  EXPECT_FALSE(stream().closed());
}

TEST_P(MemoryBudgetTest, GoesOnWhenItsOwnBytesAreRead) {
  pass_budget();
  stream().cancel_read();
  await(big_read);
  TestRead read{stream(), ReadBytes{36 * kib}};
  await(read);
  TestRead rest{stream(), ReadBytes{12 * kib}};
  await(rest);
  EXPECT_TRUE(read.text() + rest.text() == pattern(48 * kib));
}

TEST_P(MemoryBudgetTest, GoesOnWhenOthersHaveLess) {
  Link other = make_link(options());
  TestRead other_read{other.stream, ReadBytes{too_much}};
  feed_unread(other, 16 * kib);
  relink(options());
  TestRead read{stream(), ReadBytes{24 * kib}};
  feed(link, 24 * kib);
  ASSERT_TRUE(run_until([&] { return budget->passed(); }));
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  other.stream.close();
  other.stream = IOStream{};
  run_turns(loop);
  EXPECT_FALSE(read.answered()) << "it looks again after 10 ms";
  pass(10ms);
  await(read);
  EXPECT_TRUE(read.text() == pattern(24 * kib));
}

TEST_P(MemoryBudgetTest, ExhaustedItStopsEverybodyWhoCounts) {
  pass_budget();
  Link other = make_link(options());
  TestRead read{other.stream, ReadBytes{4 * step}};
  feed(other, 4 * step);
  ASSERT_TRUE(run_until([&] { return budget->exhausted(); }));
  run_turns(loop);
  EXPECT_EQ(other.stream.unread_size() / step, 1U) << "its first step told that there is too much";
  link.stream = IOStream{};
  run_turns(loop);
  pass(100ms);
  await(read);
  EXPECT_TRUE(read.text() == pattern(4 * step));
}

TEST_P(MemoryBudgetTest, AReadThatIsHeldBackTimesOutAndLosesNothing) {
  relink(options());
  TestRead read;
  read.start(stream(), ReadBytes{48 * kib, false, 5s});
  feed(link, 48 * kib);
  ASSERT_TRUE(run_until([&] { return budget->passed(); }));
  pass(5s);
  EXPECT_EQ(read.error().code, StreamErrc::timed_out);
  EXPECT_EQ(budget->used(), 36 * kib);
  EXPECT_FALSE(stream().closed());
}

TEST_P(MemoryBudgetTest, WhoIsHeldBackTooLongCloses) {
  pass_budget();
  Link other = make_link(options());
  TestRead other_read{other.stream, ReadBytes{4 * step}};
  feed(other, 4 * step);
  ASSERT_TRUE(run_until([&] { return budget->exhausted(); }));
  count_callbacks();
  pass(10s - 20ms);
  EXPECT_FALSE(stream().closed());
  EXPECT_FALSE(big_read.answered());
  pass(120ms); // it looks every 100 ms by now
  EXPECT_EQ(stream().error(), closed_by_budget());
  EXPECT_EQ(big_read.error(), closed_by_budget());
  EXPECT_EQ(stream().unread_size(), 0U);
  EXPECT_EQ(closes, 1);
  EXPECT_EQ(big_read.answers, 1);
  EXPECT_EQ(budget->closed_count(), 1U);
  await(other_read);
  EXPECT_TRUE(other_read.succeeded()) << "the other one goes on";
  EXPECT_TRUE(unused());
  TestRead late{stream(), ReadUntilClose{}};
  EXPECT_EQ(late.error(), closed_by_budget());
}

TEST_P(MemoryBudgetTest, WhoReceivesNowAndThenIsNotClosed) {
  pass_budget();
  for (int i = 0; i < 10; ++i) {
    pass(9s);
    stream().cancel_read();
    TestRead read{stream(), ReadBytes{step}};
    await(read); // there is room for one step
    big_read.start(stream(), ReadBytes{too_much});
    feed(link, step);
    ASSERT_TRUE(run_until([&] { return budget->passed(); }));
    pass(200ms);
    ASSERT_FALSE(stream().closed()) << i;
  }
}

TEST_P(MemoryBudgetTest, WhoOnlyWritesIsClosedToo) {
  relink(options());
  TestWrite write;
  count_callbacks();
  fill_connection();
  write.start(stream(), "never");
  pass(1s); // a look a second
  pass(8s);
  EXPECT_FALSE(stream().closed());
  pass(1s);
  EXPECT_EQ(stream().error(), closed_by_budget());
  await(write);
  EXPECT_EQ(write.error(), closed_by_budget());
  EXPECT_EQ(closes, 1);
  EXPECT_TRUE(unused());
}

TEST_P(MemoryBudgetTest, ACloseThatFlushesTooLongIsCut) {
  relink(options());
  fill_connection();
  TestEnd end;
  end.take(stream().start_close_after_flush(1h, end));
  pass(1s);
  pass(8s);
  EXPECT_FALSE(end.answered());
  pass(1s);
  await(end);
  EXPECT_EQ(end.error().reason, CloseReason::limit);
  EXPECT_TRUE(unused());
}

TEST_P(MemoryBudgetTest, WhatIsDroppedNeverMakesTheRestPassForWhole) {
  StreamOptions half = options();
  half.half_close = true;
  for (const bool half_close : {false, true}) {
    relink(half_close ? half : options());
    TestRead read{stream(), ReadBytes{too_much}};
    feed_unread(link, 20 * kib);
    if (half_close)
      peer().end();
    else
      peer().close();
    await(read);
    EXPECT_EQ(read.error().reason, CloseReason::peer_closed);
    MemoryShare others{budget};
    others.hold(16 * kib); // 4 steps, and the stream's 5, are equally big
    ASSERT_TRUE(budget->passed());
    pass(1s);
    pass(10s);
    EXPECT_EQ(stream().unread_size(), 0U);
    TestRead rest{stream(), ReadUntilClose{}};
    EXPECT_EQ(rest.error(), closed_by_budget());
    EXPECT_EQ(budget->used(), 16 * kib);
  }
}

TEST_P(MemoryBudgetTest, AResetIsNoticedThoughNothingIsReceived) {
  if (!is("Tcp"))
    GTEST_SKIP() << "others do not tell of a reset before a read finds it";
  pass_budget();
  peer().reset();
  await(big_read);
  EXPECT_EQ(big_read.error().reason, CloseReason::reset);
}

TEST(MemoryBudgetEnd, AStreamOutlivesItsLoop) {
  const auto budget = std::make_shared<MemoryBudget>(8 * kib);
  StreamOptions options;
  options.memory_budget = budget;
  IOStream stream;
  TestRead read;
  {
    EventLoop loop;
    auto [ours, theirs] = make_tcp_pair();
    stream = IOStream{loop, std::move(ours), options};
    read.start(stream, ReadBytes{16 * kib});
    ASSERT_EQ(::send(theirs.fd(), pattern(8 * kib).data(), 8 * kib, MSG_NOSIGNAL), 8 * kib);
    ASSERT_TRUE(run_until(loop, [&] { return stream.unread_size() == 8 * kib; }));
  }
  EXPECT_EQ(read.error().reason, CloseReason::shutting_down);
  EXPECT_EQ(budget->used(), 8 * kib);
  MemoryShare others{budget};
  others.hold(step);
  ASSERT_TRUE(budget->passed()) << "which asks for no timer any more";
  read.start(stream, ReadInto{MutableBytes{16 * kib}}); // puts them back
  EXPECT_EQ(budget->used(), 8 * kib + step);
  stream = IOStream{};
  EXPECT_EQ(budget->used(), step);
}

} // namespace

} // namespace squall
