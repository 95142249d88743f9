// SPDX-License-Identifier: BSD-3-Clause
//
// bytes_test.cpp: immutable slices of counted blocks.
#include <squall/net/bytes.hpp>

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace squall {

namespace {

TEST(Bytes, IsEmptyByDefault) {
  const Bytes bytes;
  EXPECT_TRUE(bytes.empty());
  EXPECT_EQ(bytes.size(), 0u);
  EXPECT_EQ(bytes.view(), "");
  EXPECT_EQ(bytes, Bytes{""});
}

TEST(Bytes, CopiesTextThatMayChangeLater) {
  std::string text = "hello";
  const Bytes bytes{text};
  text = "HELLO";
  EXPECT_EQ(bytes.str(), "hello");
}

TEST(Bytes, KeepsNulBytes) {
  const Bytes bytes{std::string_view{"a\0b", 3}};
  EXPECT_EQ(bytes.size(), 3u);
  EXPECT_EQ(bytes.view(), (std::string_view{"a\0b", 3}));
  EXPECT_FALSE(bytes == "a");
}

TEST(Bytes, SharesTheBlockAmongCopies) {
  const Bytes bytes{"hello"};
  const Bytes copy = bytes;
  EXPECT_EQ(copy.data(), bytes.data());
}

TEST(Bytes, OutlivesTheOneItWasCopiedFrom) {
  Bytes copy;
  {
    const Bytes bytes{"hello"};
    copy = bytes;
  }
  EXPECT_EQ(copy, "hello");
}

TEST(Bytes, IsEmptyAfterAMove) {
  Bytes bytes{"hello"};
  const Bytes moved{std::move(bytes)};
  EXPECT_EQ(moved, "hello");
  EXPECT_TRUE(bytes.empty()); // NOLINT(bugprone-use-after-move): the state after a move is promised
  EXPECT_EQ(bytes.view(), "");
}

TEST(Bytes, SurvivesAssignmentToItself) {
  Bytes bytes{"hello"};
  const Bytes& same = bytes;
  bytes = same;
  EXPECT_EQ(bytes, "hello");
}

TEST(Bytes, SlicesWithoutCopying) {
  const Bytes bytes{"hello world"};
  const Bytes slice = bytes.slice(6);
  EXPECT_EQ(slice, "world");
  EXPECT_EQ(slice.data(), bytes.data() + 6);
  EXPECT_EQ(bytes.slice(0, 5), "hello");
  EXPECT_EQ(bytes.slice(3, 5), "lo wo");
}

TEST(Bytes, SlicesAtMostWhatIsThere) {
  const Bytes bytes{"hello"};
  EXPECT_EQ(bytes.slice(0), "hello");
  EXPECT_EQ(bytes.slice(3, 100), "lo");
  EXPECT_TRUE(bytes.slice(5).empty());
  EXPECT_TRUE(bytes.slice(100, 100).empty());
  EXPECT_TRUE(bytes.slice(2, 0).empty());
  EXPECT_TRUE(Bytes{}.slice(1, 1).empty());
}

TEST(Bytes, ASliceKeepsItsBlockAlive) {
  Bytes slice;
  {
    const Bytes whole{std::string(1000, 'x') + "end"};
    slice = whole.slice(1000);
  }
  EXPECT_EQ(slice, "end");
}

TEST(Bytes, ComparesByContent) {
  EXPECT_EQ(Bytes{"abc"}, Bytes{"abc"});
  EXPECT_FALSE(Bytes{"abc"} == Bytes{"abd"});
  EXPECT_EQ(Bytes{"xabcx"}.slice(1, 3), Bytes{"abc"});
}

TEST(Bytes, TakesInOnlyWhatFollowsInTheSameBlock) {
  const Bytes whole{"abcdef"};
  Bytes first = whole.slice(0, 2);
  EXPECT_FALSE(first.try_extend(whole.slice(3, 1))) << "there is a gap";
  EXPECT_FALSE(first.try_extend(whole.slice(0, 2))) << "it lies before";
  EXPECT_FALSE(first.try_extend(Bytes{"cd"})) << "another block";
  EXPECT_TRUE(first.try_extend(whole.slice(2, 2)));
  EXPECT_EQ(first, "abcd");
  EXPECT_FALSE(Bytes{}.try_extend(Bytes{})) << "nothing has no block";
}

TEST(Bytes, DropsAPrefix) {
  Bytes bytes{"hello"};
  bytes.remove_prefix(2);
  EXPECT_EQ(bytes, "llo");
  bytes.remove_prefix(3);
  EXPECT_TRUE(bytes.empty());
}

TEST(MutableBytes, OfASizeThatNothingHasIsRefused) {
  for (std::size_t less = 0; less < 200; ++less)
    EXPECT_THROW(MutableBytes{std::numeric_limits<std::size_t>::max() - less}, std::bad_alloc) << less;
  EXPECT_THROW(MutableBytes{std::numeric_limits<std::size_t>::max() / 2 + 1}, std::bad_alloc);
}

TEST(Bytes, MayBeCopiedAndDroppedByManyThreadsAtOnce) {
  const Bytes bytes{std::string(100, 'x')};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([bytes] {
      std::vector<Bytes> slices;
      for (std::size_t k = 0; k < 1000; ++k)
        slices.push_back(bytes.slice(k % 100));
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(bytes, std::string(100, 'x'));
}

} // namespace

} // namespace squall
