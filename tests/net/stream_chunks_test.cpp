// SPDX-License-Identifier: BSD-3-Clause
//
// stream_chunks_test.cpp: reads in chunks, each delivered when the last was accepted; on every transport.
#include "tests/net/stream_sides.hpp"

namespace squall {

namespace {

using namespace testing_support;

class ChunksTest : public SidesTest {
protected:
  /// Reads chunks into chunks_, accepting each at once while `accepts` says so.
  void read(const ReadChunks& request) {
    stream().read_chunks(
        request,
        [this](const Bytes& chunk, std::function<void()> accept) {
          chunks.push_back(chunk.str());
          held = std::move(accept);
          if (accepts)
            std::exchange(held, nullptr)();
        },
        [this](Result<void> result) {
          ++answers;
          outcome.emplace(result);
        });
  }
  [[nodiscard]] std::string joined() const {
    std::string all;
    for (const std::string& chunk : chunks)
      all += chunk;
    return all;
  }

  bool accepts = true;
  std::vector<std::string> chunks;
  std::function<void()> held;
  std::optional<Result<void>> outcome;
  int answers = 0;
};
SQUALL_STREAM_CONTRACT(ChunksTest);

TEST_P(ChunksTest, GiveSoManyBytesAndLeaveTheRest) {
  read({.num_bytes = 6});
  peer().send("1234");
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  peer().send("5678");
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_TRUE(outcome->has_value());
  EXPECT_EQ(chunks, (std::vector<std::string>{"1234", "56"}));
  TestRead rest{stream(), ReadBytes{2}};
  await(rest);
  EXPECT_EQ(rest.text(), "78");
  EXPECT_EQ(answers, 1);
}

TEST_P(ChunksTest, OfNothingAreDoneFromTheLoop) {
  read({.num_bytes = 0});
  EXPECT_FALSE(outcome.has_value());
  run_turns(loop);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->has_value());
  EXPECT_TRUE(chunks.empty());
}

TEST_P(ChunksTest, ComeOnlyWhenTheLastWasAccepted) {
  accepts = false;
  const std::string sent = pattern(200'000);
  read({.num_bytes = sent.size(), .chunk_size = 1000});
  std::size_t done = peer().send_some(sent);
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  run_turns(loop, 20);
  EXPECT_EQ(chunks.size(), 1u) << "nothing was accepted";
  EXPECT_LE(chunks.front().size(), 1000u);
  EXPECT_LE(stream().unread_size(), 300'000u) << "no more than a turn's share was received";
  std::exchange(held, nullptr)();
  ASSERT_TRUE(run_until([&] { return chunks.size() == 2; }));
  accepts = true;
  std::exchange(held, nullptr)();
  ASSERT_TRUE(run_until([&] {
    done += peer().send_some(std::string_view{sent}.substr(done));
    return outcome.has_value();
  }));
  EXPECT_EQ(joined(), sent);
}

TEST_P(ChunksTest, MayBeAcceptedTwiceWithoutEffect) {
  accepts = false;
  read({.num_bytes = 2, .chunk_size = 1});
  peer().send("ab");
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  const auto accept = held;
  accept();
  accept();
  run_turns(loop);
  EXPECT_EQ(joined(), "ab");
  EXPECT_FALSE(outcome.has_value()) << "the second is not accepted";
  held();
  run_turns(loop);
  EXPECT_EQ(answers, 1);
}

TEST_P(ChunksTest, UntilTheEndGiveEverything) {
  peer().send("line\nefgh");
  TestRead line{stream(), ReadUntil{"\n"}};
  await(line);
  read({});
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  peer().send("1234");
  peer().close();
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_TRUE(outcome->has_value());
  EXPECT_EQ(joined(), "efgh1234");
}

TEST_P(ChunksTest, AfterTheCloseGiveWhatIsUnread) {
  peer().send("1234");
  peer().close();
  TestRead first{stream(), ReadBytes{1}};
  await(first);
  read({});
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_TRUE(outcome->has_value());
  EXPECT_EQ(joined(), "234");
}

TEST_P(ChunksTest, FailWhenThePeerEndsTooEarly) {
  read({.num_bytes = 10});
  peer().send("1234");
  peer().close();
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_EQ(outcome->error(), closed_by(CloseReason::peer_closed));
  EXPECT_EQ(joined(), "1234");
}

TEST_P(ChunksTest, FailWhenTheStreamIsClosedHere) {
  read({});
  run_turns(loop);
  stream().close();
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_EQ(outcome->error(), closed_by(CloseReason::local_close)) << "cut data is not taken for whole";
}

TEST_P(ChunksTest, EndAtTheTimeoutOfAChunkWithEveryByteUnread) {
  accepts = false;
  read({.num_bytes = 10, .timeout = 5s});
  peer().send("ab");
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  pass(10s);
  EXPECT_FALSE(outcome.has_value()) << "the time of the receiver does not count";
  held();
  run_turns(loop);
  pass(5s - 1ms);
  EXPECT_FALSE(outcome.has_value());
  pass(1ms);
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->error().code, StreamErrc::timed_out);
  peer().send("cd");
  TestRead rest{stream(), ReadBytes{2}};
  await(rest);
  EXPECT_EQ(rest.text(), "cd");
}

TEST_P(ChunksTest, AreOneReadAtATime) {
  read({});
  run_turns(loop);
  TestRead second{stream(), ReadBytes{1}};
  EXPECT_EQ(second.error().code, StreamErrc::already_reading);
  stream().cancel_read();
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_EQ(outcome->error().code, StreamErrc::cancelled);
}

TEST_P(ChunksTest, AreAcceptedOnceByWhicheverCopy) {
  accepts = false;
  read({.num_bytes = 3, .chunk_size = 1});
  peer().send("a");
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  auto one = std::exchange(held, nullptr);
  auto two = one;
  one();
  run_turns(loop);
  two(); // while the next is being read
  run_turns(loop);
  EXPECT_FALSE(outcome.has_value());
  one = two = nullptr;
  peer().send("bc");
  accepts = true;
  ASSERT_TRUE(run_until([&] { return outcome.has_value(); }));
  EXPECT_TRUE(outcome->has_value());
  EXPECT_EQ(joined(), "abc");
}

TEST_P(ChunksTest, AreAnsweredWhenTheLoopEnds) {
  auto other = std::make_unique<EventLoop>(&clock);
  Link ending = GetParam().make(*other, {});
  std::function<void()> kept;
  std::optional<Result<void>> told;
  ending.stream.read_chunks(
      {}, [&](const Bytes&, std::function<void()> accept) { kept = std::move(accept); },
      [&](Result<void> result) { told.emplace(result); });
  ending.peer->send("x");
  ASSERT_TRUE(testing_support::run_until(*other, [&] { return kept != nullptr; }));
  other.reset();
  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->error().reason, CloseReason::shutting_down);
  kept(); // too late, and harmless
  kept = nullptr;
}

TEST_P(ChunksTest, AreCancelledWhenTheReceiverLetsTheFunctionGo) {
  accepts = false;
  read({});
  peer().send("x");
  ASSERT_TRUE(run_until([&] { return chunks.size() == 1; }));
  held = nullptr; // the read ends with the last function that could go on
  EXPECT_EQ(answers, 0) << "never from inside";
  run_turns(loop);
  ASSERT_EQ(answers, 1);
  EXPECT_EQ(outcome->error().code, StreamErrc::cancelled);
  TestRead other{stream(), ReadBytes{1}};
  peer().send("y");
  await(other);
  EXPECT_EQ(other.text(), "y");
}

TEST_P(ChunksTest, AreAwaitedInACoroutine) {
  std::string got;
  std::string failed;
  auto run = [](IOStream in, std::string& text, std::string& reason) -> Task<> {
    ChunkReader six = in.read_chunks({.num_bytes = 6, .chunk_size = 4});
    while (const auto chunk = co_await six.next())
      text += chunk->str() + '|';
    ChunkReader rest = in.read_chunks();
    while (const auto chunk = co_await rest.next())
      text += chunk->str();
    ChunkReader more = in.read_chunks({.num_bytes = 1});
    EXPECT_FALSE((co_await more.next().as_result()).has_value());
    try {
      static_cast<void>(co_await more.next());
    } catch (const StreamClosedError& error) {
      reason = to_string(error.reason());
    }
  };
  start(run(stream(), got, failed));
  peer().send("123456rest");
  peer().close();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(got, "1234|56|rest");
  EXPECT_EQ(failed, "closed by the peer");
}

} // namespace

} // namespace squall
