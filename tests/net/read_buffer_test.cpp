// SPDX-License-Identifier: BSD-3-Clause
//
// read_buffer_test.cpp: the unread bytes of a stream.
#include "net/read_buffer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace squall {

namespace {

/// One read from the system that asked for `asked` bytes and got `text`.
void receive(ReadBuffer& buffer, std::string_view text, std::size_t asked) {
  char* place = buffer.prepare(asked);
  std::memcpy(place, text.data(), text.size());
  buffer.commit(text.size());
}

TEST(ReadBuffer, HoldsWhatWasReceivedInOrder) {
  ReadBuffer buffer;
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.view(), "");
  receive(buffer, "hello ", 100);
  receive(buffer, "world", 100);
  EXPECT_EQ(buffer.view(), "hello world");
  EXPECT_EQ(buffer.size(), 11u);
}

TEST(ReadBuffer, IsUnchangedByAReadThatGotNothing) {
  ReadBuffer buffer;
  buffer.prepare(100);
  buffer.commit(0);
  EXPECT_TRUE(buffer.empty());
  receive(buffer, "abc", 100);
  buffer.prepare(100);
  buffer.commit(0);
  EXPECT_EQ(buffer.view(), "abc");
  buffer.prepare(2); // to the buffer's own block: as much is unread as is asked for
  buffer.commit(0);
  EXPECT_EQ(buffer.view(), "abc");
}

TEST(ReadBuffer, MovesWhatIsUnreadSeldomWhileItSlides) {
  // A byte comes, a byte is taken: each move of what lies between must be paid by as many bytes that came.
  for (const std::size_t unread :
       {1000, 60'000, 65'535, 65'536, 65'537, 131'071, 131'073, 200'000, 262'143, 262'145, 400'000}) {
    constexpr std::size_t asked = 65'536;
    constexpr std::size_t rounds = 300'000;
    ReadBuffer buffer;
    for (std::size_t size = 0; size < unread; size += 1000)
      receive(buffer, std::string(std::min<std::size_t>(1000, unread - size), 'a'), asked);
    std::size_t moves = 0;
    for (std::size_t i = 0; i < rounds; ++i) {
      const char* before = buffer.view().data();
      receive(buffer, "b", asked);
      moves += buffer.view().data() != before ? 1 : 0;
      static_cast<void>(buffer.take(1));
    }
    EXPECT_LE(moves, 1 + 2 * rounds / std::min(unread, asked)) << unread;
  }
}

TEST(ReadBuffer, TakesFromTheFront) {
  ReadBuffer buffer;
  receive(buffer, "hello world", 100);
  EXPECT_EQ(buffer.take(6), "hello ");
  EXPECT_EQ(buffer.view(), "world");
  EXPECT_TRUE(buffer.take(0).empty());
  EXPECT_EQ(buffer.take(5), "world");
  EXPECT_TRUE(buffer.empty());
  EXPECT_TRUE(buffer.take(0).empty());
}

TEST(ReadBuffer, HandsOutSlicesOfOneBlock) {
  ReadBuffer buffer;
  receive(buffer, "line one\nline two\n", 100);
  Bytes first = buffer.take(9);
  EXPECT_TRUE(first.try_extend(buffer.take(9))) << "the echo of lines that came together is one piece";
}

TEST(ReadBuffer, LeavesWhatItHandedOutUntouchedByLaterReads) {
  ReadBuffer buffer;
  receive(buffer, "aaaa", 4);
  const Bytes first = buffer.take(2);
  for (int i = 0; i < 100; ++i)
    receive(buffer, "bbbb", 4);
  const Bytes second = buffer.take(10);
  for (int i = 0; i < 100; ++i)
    receive(buffer, "cccc", 4);
  EXPECT_EQ(first, "aa");
  EXPECT_EQ(second, "aabbbbbbbb");
}

TEST(ReadBuffer, KeepsAFullBlockApartFromTheNextRead) {
  ReadBuffer buffer;
  receive(buffer, std::string(1000, 'a'), 1000); // fills the thread's block, which is kept
  const Bytes first = buffer.take(1000);
  receive(buffer, std::string(1000, 'b'), 1000);
  const Bytes second = buffer.take(1000);
  EXPECT_EQ(first, std::string(1000, 'a'));
  EXPECT_EQ(second, std::string(1000, 'b'));
}

TEST(ReadBuffer, KeepsBuffersApartThatShareTheThreadsBlock) {
  ReadBuffer one;
  ReadBuffer two;
  receive(one, "one", 100);
  receive(two, "two!", 200);
  receive(one, "ONE", 50);
  EXPECT_EQ(one.view(), "oneONE");
  EXPECT_EQ(two.view(), "two!");
}

TEST(ReadBuffer, ReceivesBehindWhatFillsHalfOfTheBlock) {
  ReadBuffer buffer;
  receive(buffer, std::string(51, 'a'), 100);
  receive(buffer, std::string(100, 'b'), 100);
  EXPECT_EQ(buffer.view(), std::string(51, 'a') + std::string(100, 'b'));
}

TEST(ReadBuffer, KeepsItsBytesWhenItShrinks) {
  ReadBuffer buffer;
  receive(buffer, std::string(4000, 'a') + "rest", 4004);
  const Bytes taken = buffer.take(4000);
  const char* before = buffer.view().data();
  buffer.shrink();
  EXPECT_NE(buffer.view().data(), before) << "a large block for four bytes";
  EXPECT_EQ(buffer.view(), "rest");
  EXPECT_EQ(taken, std::string(4000, 'a'));
  receive(buffer, " and more", 100);
  EXPECT_EQ(buffer.view(), "rest and more");
  ReadBuffer{}.shrink(); // harmless
}

TEST(ReadBuffer, BehavesLikeAStringWhateverIsReceivedAndTaken) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const auto up_to = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>{0, most}(random);
  };
  std::vector<std::pair<Bytes, std::string>> taken;
  ReadBuffer buffer;
  std::string model;
  char next = 'a';
  for (int i = 0; i < 3000; ++i) {
    const std::size_t asked = 1 + up_to(i % 10 == 0 ? 3000 : 60);
    const std::size_t got = up_to(3) == 0 ? asked : up_to(asked);
    std::string text(got, next);
    next = next == 'z' ? 'a' : static_cast<char>(next + 1);
    receive(buffer, text, asked);
    model += text;
    if (up_to(2) == 0) {
      const std::size_t size = up_to(model.size());
      taken.emplace_back(buffer.take(size), model.substr(0, size));
      model.erase(0, size);
    }
    if (up_to(5) == 0)
      buffer.shrink();
    ASSERT_EQ(buffer.view(), model);
  }
  for (const auto& [bytes, expected] : taken)
    ASSERT_EQ(bytes.view(), expected);
}

} // namespace

} // namespace squall
