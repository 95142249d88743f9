// SPDX-License-Identifier: BSD-3-Clause
//
// stream_pair_test.cpp: two streams that talk to each other, after Tornado's tests of reader and writer
// pairs; on every transport.
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

#include <random>

namespace squall {

namespace {

using namespace testing_support;

class PairTest : public testing::TestWithParam<StreamFactory> {
protected:
  void connect(const StreamOptions& options = {}) {
    std::tie(reader, writer) = GetParam().make_pair(loop, options);
  }
  void start(Task<> task) {
    tasks.push_back(std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ++ended;
      if (error)
        failure = error;
    }));
    tasks.back()->start(context);
  }
  /// Runs until all tasks ended, none with an exception.
  void finish() {
    ASSERT_TRUE(run_until(loop, [&] { return ended == tasks.size(); }));
    if (failure)
      std::rethrow_exception(failure);
  }

  EventLoop loop;
  TaskContext context{loop};
  IOStream reader;
  IOStream writer;
  std::size_t ended = 0;
  std::exception_ptr failure;
  std::vector<std::unique_ptr<RunningTask>> tasks;
};
SQUALL_STREAM_CONTRACT(PairTest);

TEST_P(PairTest, ReadsALineOfFourMegabytesThatIsWrittenInPieces) {
  connect();
  const auto write = [&]() -> Task<> {
    const Bytes piece{std::string(1024, 'A')};
    for (int i = 0; i < 4096; ++i)
      co_await writer.write(piece);
    co_await writer.write("\r\n");
  };
  const auto read = [&]() -> Task<> {
    const Bytes line = co_await reader.read_until("\r\n");
    EXPECT_EQ(line.size(), 4096u * 1024 + 2);
  };
  start(read());
  start(write());
  finish();
}

TEST_P(PairTest, HoldsTheWriterBackWhileTheReaderPauses) {
  constexpr std::size_t mebibyte = 1024 * 1024;
  connect({.max_buffer_size = 5 * mebibyte});
  bool written = false;
  const auto write = [&]() -> Task<> {
    co_await writer.write(Bytes{pattern(30 * mebibyte)});
    written = true;
  };
  const auto read = [&]() -> Task<> {
    std::string all;
    all += co_await reader.read_bytes(mebibyte);
    for (int i = 0; i < 50; ++i)
      co_await sleep_for(0ms);
    EXPECT_FALSE(written);
    EXPECT_LE(reader.unread_size(), 5 * mebibyte);
    while (all.size() < 30 * mebibyte)
      all += co_await reader.read_bytes(mebibyte);
    EXPECT_EQ(all, pattern(30 * mebibyte));
  };
  start(write());
  start(read());
  finish();
}

TEST_P(PairTest, AgreesOverAMillionBytesWrittenAndReadInRandomPieces) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const std::string text = pattern(1'000'000);
  connect({.read_chunk_size = 1 + random() % 5000});
  const auto write = [&]() -> Task<> {
    const Bytes all{text};
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = 1 + random() % 1000;
      co_await writer.write(all.slice(at, size));
      at += size;
    }
    writer.close();
  };
  std::string got;
  const auto read = [&]() -> Task<> {
    while (got.size() < text.size()) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 1000, text.size() - got.size());
      switch (random() % 3) {
      case 0:
        got += co_await reader.read_bytes(size);
        break;
      case 1:
        got += co_await reader.read_bytes(size, true);
        break;
      default: {
        const char delimiter = text[got.size() + size - 1];
        got += co_await reader.read_until({&delimiter, 1});
      }
      }
    }
    const Bytes rest = co_await reader.read_until_close();
    EXPECT_TRUE(rest.empty());
  };
  start(write());
  start(read());
  finish();
  EXPECT_EQ(got, text);
}

TEST_P(PairTest, AnswersEveryWriteOfTenProducers) {
  connect();
  int written = 0;
  const auto produce = [&]() -> Task<> {
    const Bytes piece{std::string(5000, 'x')};
    for (int i = 0; i < 200; ++i) {
      co_await writer.write(piece);
      ++written;
    }
  };
  const auto consume = [&]() -> Task<> {
    for (int i = 0; i < 2000; ++i)
      co_await reader.read_bytes(5000);
  };
  for (int i = 0; i < 10; ++i)
    start(produce());
  start(consume());
  finish();
  EXPECT_EQ(written, 2000);
}

TEST_P(PairTest, DeliversAResponseThatIsFollowedByAClose) {
  connect();
  const auto serve = [](IOStream stream) -> Task<> {
    co_await stream.read_until("\r\n\r\n");
    co_await stream.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    co_await stream.write("Hello");
  };
  std::string response;
  const auto fetch = [&]() -> Task<> {
    co_await reader.write("GET / HTTP/1.0\r\n\r\n");
    response += co_await reader.read_bytes(9);
    response += co_await reader.read_bytes(0);
    response += co_await reader.read_bytes(3);
    EXPECT_EQ(response, "HTTP/1.1 200");
    co_await reader.read_until("\r\n\r\n");
    response = (co_await reader.read_until_close()).str();
    const Result<Bytes> after = co_await reader.read_bytes(1).as_result();
    EXPECT_FALSE(after.has_value());
  };
  start(serve(std::move(writer)));
  start(fetch());
  ASSERT_TRUE(run_until(loop, [&] {
    if (ended > 0)
      tasks[0].reset(); // its stream goes with it
    return ended == 2;
  }));
  EXPECT_EQ(response, "Hello");
}

TEST_P(PairTest, FailsAReadOfMoreThanThePeerSentBeforeItClosed) {
  connect();
  static_cast<void>(writer.write("short"));
  writer.close();
  const auto read = [&]() -> Task<> { co_await reader.read_bytes(1024 * 1024); };
  start(read());
  EXPECT_THROW(finish(), StreamClosedError);
}

TEST_P(PairTest, PlaysPingPong) {
  connect();
  const auto play = [](IOStream& stream, bool serve, int& rounds) -> Task<> {
    if (serve)
      co_await stream.write("ball");
    for (; rounds < 2000; ++rounds) {
      co_await stream.read_bytes(4);
      co_await stream.write("ball");
    }
  };
  int left = 0;
  int right = 0;
  start(play(reader, true, left));
  start(play(writer, false, right));
  ASSERT_TRUE(run_until(loop, [&] { return left == 2000 && right == 2000; }));
}

} // namespace

} // namespace squall
