// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue_test.cpp: the unsent bytes of a stream.
#include "net/write_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>

namespace squall {

namespace {

std::string text_of(const WriteQueue& queue, std::size_t most_pieces) {
  std::vector<IoSlice> pieces(most_pieces);
  std::string text;
  const std::size_t count = queue.gather(pieces.data(), most_pieces);
  for (std::size_t i = 0; i < count; ++i) {
    EXPECT_GT(pieces[i].size, 0u) << "no piece is empty";
    text.append(static_cast<const char*>(pieces[i].data), pieces[i].size);
  }
  return text;
}

std::size_t piece_count(const WriteQueue& queue) {
  std::array<IoSlice, 1000> pieces;
  return queue.gather(pieces.data(), pieces.size());
}

TEST(WriteQueue, GivesBytesInTheOrderOfAppending) {
  WriteQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(piece_count(queue), 0u);
  queue.append("hello ");
  queue.append("world");
  EXPECT_EQ(text_of(queue, 10), "hello world");
  EXPECT_EQ(queue.size(), 11u);
  EXPECT_EQ(queue.begin(), 0u);
  EXPECT_EQ(queue.end(), 11u);
}

TEST(WriteQueue, GathersNoMoreThanItIsAskedFor) {
  WriteQueue queue;
  for (int i = 0; i < 5; ++i)
    queue.append(std::to_string(i));
  EXPECT_EQ(text_of(queue, 3), "012");
}

TEST(WriteQueue, IgnoresEmptyBytes) {
  WriteQueue queue;
  queue.append({});
  queue.append("a");
  queue.append("");
  EXPECT_EQ(piece_count(queue), 1u);
  EXPECT_EQ(queue.end(), 1u);
}

TEST(WriteQueue, CountsPositionsFromTheBeginningOfTheStream) {
  WriteQueue queue;
  queue.append("hello");
  queue.advance(2);
  EXPECT_EQ(queue.begin(), 2u);
  EXPECT_EQ(queue.end(), 5u);
  queue.advance(3);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.begin(), 5u);
  queue.append("x");
  EXPECT_EQ(queue.end(), 6u);
}

TEST(WriteQueue, MakesOnePieceOfSlicesThatFollowEachOther) {
  WriteQueue queue;
  const Bytes lines{"one\ntwo\nthree\n"};
  queue.append(lines.slice(0, 4));
  queue.append(lines.slice(4, 4));
  queue.append(lines.slice(8));
  EXPECT_EQ(piece_count(queue), 1u);
  EXPECT_EQ(text_of(queue, 1), lines.view());
}

TEST(WriteQueue, ExtendsAPieceThatWasSentInPart) {
  WriteQueue queue;
  const Bytes lines{"one\ntwo\n"};
  queue.append(lines.slice(0, 4));
  queue.advance(3);
  queue.append(lines.slice(4));
  EXPECT_EQ(piece_count(queue), 1u);
  EXPECT_EQ(text_of(queue, 1), "\ntwo\n");
}

TEST(WriteQueue, DoesNotExtendAPieceThatWasSentWhole) {
  WriteQueue queue;
  const Bytes lines{"one\ntwo\n"};
  queue.append(lines.slice(0, 4));
  queue.append("x");
  queue.advance(5);
  queue.append(lines.slice(4));
  EXPECT_EQ(text_of(queue, 10), "two\n");
}

TEST(WriteQueue, DropsTheUnsentFromAPositionOn) {
  WriteQueue queue;
  queue.append("hello");
  queue.append("world");
  queue.advance(2);
  queue.truncate(100); // behind the end: nothing
  EXPECT_EQ(text_of(queue, 10), "lloworld");
  queue.truncate(7);
  EXPECT_EQ(text_of(queue, 10), "llowo");
  EXPECT_EQ(queue.end(), 7u);
  queue.truncate(5);
  EXPECT_EQ(text_of(queue, 10), "llo");
  queue.truncate(0); // before the beginning: all that is unsent
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.begin(), 2u);
}

TEST(WriteQueue, KeepsNothingOfWhatWasSentOfAPieceThatIsCopied) {
  constexpr std::size_t kib = 1024;
  WriteQueue queue;
  queue.append(Bytes{std::string(60 * kib, 'x')});
  queue.advance(45 * kib);
  EXPECT_GE(queue.kept_size(), 60 * kib);
  queue.tighten();
  EXPECT_LT(queue.kept_size(), 16 * kib);
  EXPECT_EQ(queue.size(), 15 * kib);
}

TEST(WriteQueue, BehavesLikeAStringWhateverIsDoneToIt) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto up_to = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{0, most}(random);
  };
  WriteQueue queue;
  std::string model;
  std::uint64_t sent = 0;
  const Bytes source{std::string(500, 'x') + std::string(500, 'y')};
  std::size_t offset = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t what = up_to(9);
    if (what < 5) {
      const std::size_t size = up_to(30);
      const Bytes data = what == 0 ? Bytes{std::string(size, static_cast<char>('a' + i % 20))}
                                   : source.slice(offset = (offset + size < 1000 ? offset : 0), size);
      offset += what == 0 ? 0 : size;
      queue.append(Bytes{data});
      model += data;
    } else if (what < 9) {
      const std::size_t size = up_to(std::min<std::size_t>(model.size(), 60));
      queue.advance(size);
      model.erase(0, size);
      sent += size;
    } else if (up_to(50) == 0) {
      const std::size_t kept = up_to(model.size());
      queue.truncate(sent + kept);
      model.resize(kept);
    }
    ASSERT_EQ(queue.size(), model.size());
    ASSERT_EQ(queue.empty(), model.empty());
    ASSERT_EQ(queue.begin(), sent);
    ASSERT_EQ(queue.end(), sent + model.size());
    ASSERT_EQ(text_of(queue, 1 + model.size()), model);
  }
}

} // namespace

} // namespace squall
