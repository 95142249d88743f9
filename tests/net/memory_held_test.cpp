// SPDX-License-Identifier: BSD-3-Clause
//
// memory_held_test.cpp: what a stream counts is what it holds, for shapes of traffic that cost more than their bytes.
#include "tests/memory_in_use.hpp"
#include "tests/net/support.hpp"
#include <squall/net/file.hpp>
#include <squall/net/memory_budget.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

namespace squall {

namespace {

using namespace testing_support;

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;

/// Beyond which a stream's price and its memory are at most half as large again as the other: a step of the budget, a
/// page, a joint block, and what malloc(3) keeps for later.
constexpr std::size_t free_of_price = 32 * kib;

struct Nobody final : WriteCompletion {
  void on_write(Result<void>) override {}
};

class MemoryHeldTest : public testing::Test {
protected:
  void SetUp() override {
    if (!memory_is_told())
      GTEST_SKIP() << "malloc does not tell";
    StreamOptions options;
    options.memory_budget = budget_;
    auto [near, far] = make_socket_pair();
    far_ = std::move(far);
    stream_ = IOStream{loop_, std::move(near), options};
    // The thread's block and the vectors that stay are there before anything is measured.
    std::array<char, 1> one{'x'};
    ASSERT_EQ(::send(far_.fd(), one.data(), one.size(), MSG_NOSIGNAL), 1);
    TestRead first{stream_, ReadBytes{1}};
    ASSERT_TRUE(run_until(loop_, [&] { return first.succeeded(); }));
    before_ = memory_in_use();
  }

  /// The peer sends `data`, of which `unread` bytes are to be unread in the end.
  void receive(std::string_view data, std::size_t unread) {
    std::size_t sent = 0;
    ASSERT_TRUE(run_until(loop_, [&] {
      const ssize_t size = ::send(far_.fd(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
      sent += size > 0 ? static_cast<std::size_t>(size) : 0;
      return sent == data.size() && stream_.unread_size() == unread;
    }));
  }
  /// Writes until the connection takes no more, and nothing small is queued.
  void block() {
    static_cast<void>(stream_.write(Bytes{pattern(mib)}));
    run_turns(loop_);
    ASSERT_GT(stream_.unsent_size(), 100 * kib);
  }
  /// Writes what nobody waits for. @returns whether it was queued
  bool queue(Bytes data) {
    const auto refused = stream_.start_write(std::move(data), nobody_);
    stream_.cancel_write(nobody_);
    return !refused;
  }
  /// A slice of a large block that nothing else holds.
  static Bytes slice(std::size_t size) { return Bytes{pattern(64 * kib)}.slice(1000, size); }

  [[nodiscard]] std::size_t held(std::size_t others = 0) const {
    return std::max(memory_in_use(), before_ + others) - before_ - others;
  }

  void expect_fair(std::size_t others = 0) const {
    const std::size_t memory = held(others);
    const std::size_t price = budget_->used();
    EXPECT_LE(memory, price + price / 2 + free_of_price);
    EXPECT_LE(price, memory + memory / 2 + free_of_price + 64 * kib)
        << "the thread's block may be the stream's now";
  }

  Nobody nobody_;
  EventLoop loop_;
  std::shared_ptr<MemoryBudget> budget_ = std::make_shared<MemoryBudget>(1024 * mib);
  Socket far_;
  IOStream stream_;
  std::size_t before_ = 0;
};

TEST_F(MemoryHeldTest, ForALongLineThatHasNoEnd) {
  TestRead read{stream_, ReadUntil{"\n"}};
  const std::string line = pattern(3 * mib);
  before_ = memory_in_use();
  receive(line, line.size());
  EXPECT_GE(budget_->used(), line.size() - 4 * kib);
  expect_fair();
  stream_.forget_read(read);
}

TEST_F(MemoryHeldTest, ForManyShortLinesOfWhichOneWasRead) {
  std::string lines;
  while (lines.size() < 60 * kib)
    lines += pattern(63) + '\n';
  TestRead read{stream_, ReadBytes{lines.size() + 1}};
  before_ = memory_in_use();
  receive(lines, lines.size());
  stream_.forget_read(read);
  TestRead line{stream_, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until(loop_, [&] { return line.succeeded(); }));
  EXPECT_GE(budget_->used(), 40 * kib);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForTheBeginningOfAFrameBehindOthersThatWereRead) {
  constexpr std::size_t frame = 16'000;
  TestRead all{stream_, ReadBytes{mib}};
  receive(pattern(4 * frame + 100), 4 * frame + 100);
  stream_.forget_read(all);
  for (int i = 0; i < 4; ++i) {
    TestRead read{stream_, ReadBytes{frame}};
    ASSERT_TRUE(read.succeeded());
  }
  TestRead next{stream_, ReadBytes{frame}};
  run_turns(loop_);
  EXPECT_EQ(budget_->used(), 0U) << "a hundred bytes are no step of it";
  stream_.forget_read(next);
}

TEST_F(MemoryHeldTest, ForWritesThatNobodyWaitsForAnyMore) {
  block();
  std::vector<std::unique_ptr<TestWrite>> writes;
  for (int i = 0; i < 10'000; ++i)
    writes.push_back(std::make_unique<TestWrite>(stream_, Bytes{}));
  const std::size_t waiting = budget_->used();
  for (const auto& write : writes)
    stream_.cancel_write(*write);
  EXPECT_LT(budget_->used() + 10'000 * 90, waiting);
}

TEST_F(MemoryHeldTest, ForOneLineOfManyThatIsKept) {
  constexpr std::size_t rounds = 100;
  std::string lines;
  while (lines.size() < 60 * kib)
    lines += pattern(99) + '\n';
  std::vector<Bytes> kept;
  kept.reserve(rounds);
  before_ = memory_in_use();
  for (std::size_t round = 0; round < rounds; ++round) {
    TestRead all{stream_, ReadBytes{lines.size() + 1}};
    receive(lines, lines.size());
    stream_.forget_read(all);
    for (std::size_t i = 0; i * 100 < lines.size(); ++i) {
      TestRead line{stream_, ReadUntil{"\n"}};
      ASSERT_TRUE(run_until(loop_, [&] { return line.succeeded(); }));
      if (i == 300)
        kept.push_back(std::move(**line.outcome));
    }
  }
  ASSERT_EQ(stream_.unread_size(), 0U);
  EXPECT_EQ(kept.size(), rounds);
  EXPECT_LE(held(), rounds * (2 * kib + 64) + free_of_price) << "no more than bytes.hpp promises";
  EXPECT_EQ(budget_->used(), 0U);
}

TEST_F(MemoryHeldTest, ForWritesOfOneByte) {
  block();
  for (int i = 0; i < 300'000; ++i)
    ASSERT_TRUE(queue(Bytes{"x"}));
  EXPECT_GE(budget_->used(), mib / 2 + 300'000);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForWritesOfOneByteInOneTurn) {
  for (int i = 0; i < 1'000'000; ++i)
    ASSERT_TRUE(queue(Bytes{"x"}));
  EXPECT_GE(budget_->used(), 1'000'000U);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForASlowReaderOfSlices) {
  block();
  for (int i = 0; i < 2'000; ++i)
    ASSERT_TRUE(queue(slice(i % 3 == 0 ? 5'000 : 100)));
  EXPECT_GE(budget_->used(), 3 * mib);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForSlicesThatWereQueuedBeforeThePeerStopped) {
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(queue(slice(10'000)));
  run_turns(loop_);
  ASSERT_GT(stream_.unsent_size(), 100 * kib);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForPieces) {
  block();
  for (int i = 0; i < 200; ++i) {
    std::vector<Bytes> pieces;
    for (int j = 0; j < 10; ++j)
      pieces.push_back(slice(j % 2 == 0 ? 700 : 20));
    static_cast<void>(stream_.write_pieces(std::move(pieces)));
  }
  EXPECT_GE(budget_->used(), mib);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForChunksOfWhichOneIsKept) {
  TestRead all{stream_, ReadBytes{2 * mib}};
  const std::string data = pattern(mib);
  before_ = memory_in_use();
  receive(data, data.size());
  stream_.forget_read(all);
  std::vector<Bytes> kept;
  std::size_t count = 0;
  while (stream_.unread_size() > 100 * kib) {
    TestRead chunk{stream_, ReadBytes{count % 2 == 0 ? 3'000U : 50'000U, true}};
    ASSERT_TRUE(run_until(loop_, [&] { return chunk.succeeded(); }));
    if (++count % 2 == 1)
      kept.push_back(std::move(**chunk.outcome));
  }
  EXPECT_GE(budget_->used(), mib / 2) << "the block of what is unread";
  expect_fair(kept.size() * 3'000); // which were handed out
}

TEST_F(MemoryHeldTest, ForReadsIntoABuffer) {
  const MutableBytes buffer{mib};
  TestRead read{stream_, ReadInto{buffer}};
  const std::string data = pattern(mib / 2);
  before_ = memory_in_use();
  receive(data, 0);
  ASSERT_TRUE(run_until(loop_, [&] { return stream_.bytes_received() == 1 + data.size(); }));
  EXPECT_EQ(budget_->used(), 0U) << "the buffer is the caller's";
  expect_fair();
  stream_.forget_read(read);
  EXPECT_EQ(stream_.unread_size(), mib / 2);
  EXPECT_GE(budget_->used(), mib / 2);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForPartsOfFiles) {
  block();
  std::array<char, 32> path{"/tmp/squall-held-XXXXXX"};
  const Socket made{::mkstemp(path.data())};
  ASSERT_EQ(::write(made.fd(), "hello", 5), 5);
  const File file = File::open(path.data());
  ::unlink(path.data());
  for (int i = 0; i < 20'000; ++i)
    static_cast<void>(stream_.write_file(file, 0, 1));
  EXPECT_GE(budget_->used(), mib);
  expect_fair();
}

TEST_F(MemoryHeldTest, ForThoseWhoWaitForAnEvent) {
  struct Waiter final : EventCompletion {
    void on_event(Result<void>) override {}
    std::array<char, 64> own{}; ///< of who asks, such as a coroutine's frame
  };
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (int i = 0; i < 20'000; ++i) {
    waiters.push_back(std::make_unique<Waiter>());
    ASSERT_FALSE(stream_.start_wait(StreamEvent::closed, *waiters.back()));
  }
  EXPECT_GE(budget_->used(), 3 * mib);
  expect_fair();
  for (const auto& waiter : waiters)
    stream_.forget_wait(*waiter);
  EXPECT_EQ(budget_->used(), 0U);
}

// -- the bounds

TEST(WriteBoundTest, EmptyWritesThatWaitCount) {
  Nobody nobody; // outlives the stream
  EventLoop loop;
  auto [near, far] = make_socket_pair();
  IOStream stream{loop, std::move(near), {.max_write_buffer_size = mib}};
  static_cast<void>(stream.write(Bytes{pattern(mib - 100)}));
  run_turns(loop);
  const std::size_t room = mib - stream.unsent_size();
  std::size_t accepted = 0;
  std::optional<StreamError> refused;
  while (accepted < 500'000 && !(refused = stream.start_write({}, nobody)))
    ++accepted;
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->code, StreamErrc::buffer_full);
  EXPECT_GE(accepted, room / 96);
  EXPECT_LE(accepted, (room + 16 * kib) / 96 + 1);
  std::string received(mib, '\0');
  ASSERT_TRUE(run_until(loop, [&] {
    while (::recv(far.fd(), received.data(), received.size(), MSG_DONTWAIT) > 0) {
    }
    return !stream.start_write({}, nobody);
  })) << "those that are answered do not count";
}

TEST(WriteBoundTest, SmallWritesCountLittleMoreThanTheirBytes) {
  Nobody nobody;
  EventLoop loop;
  auto [near, far] = make_socket_pair();
  IOStream stream{loop, std::move(near), {.max_write_buffer_size = mib}};
  std::size_t accepted = 0;
  for (; accepted < 2 * mib && !stream.start_write("x", nobody); ++accepted)
    stream.cancel_write(nobody);
  EXPECT_GE(accepted, mib - mib / 16);
}

TEST(WriteBoundTest, ASmallBoundIsOneOfBytes) {
  Nobody nobody;
  EventLoop loop;
  auto [near, far] = make_socket_pair();
  IOStream stream{loop, std::move(near), {.max_write_buffer_size = 100}};
  for (int i = 0; i < 10; ++i)
    EXPECT_FALSE(stream.start_write(Bytes{pattern(10)}, nobody));
}

TEST(WaitBoundTest, TooManyWaitsAreRefused) {
  EventLoop loop;
  auto [near, far] = make_socket_pair();
  IOStream stream{loop, std::move(near), {.max_write_buffer_size = 1600}};
  std::vector<TestWait> waits(200);
  for (auto& wait : waits)
    wait.take(stream.start_wait(StreamEvent::closed, wait));
  EXPECT_FALSE(waits[93].answered()) << "(1600 + 16384) / 192";
  EXPECT_EQ(waits[94].error().code, StreamErrc::buffer_full);
  stream.forget_wait(waits[0]);
  TestWait again{stream, StreamEvent::closed};
  EXPECT_FALSE(again.answered());
  stream.close();
  ASSERT_TRUE(run_until(loop, [&] { return again.answered(); }));
}

} // namespace

} // namespace squall
