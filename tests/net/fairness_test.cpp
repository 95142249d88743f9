// SPDX-License-Identifier: BSD-3-Clause
//
// fairness_test.cpp: one stream does not starve the others of its loop. Bounds are in turns, never in time.
#include "tests/net/memory_transport.hpp"
#include "tests/net/support.hpp"
#include <squall/net/task.hpp>

#include <memory>
#include <string>

namespace squall {

namespace {

using namespace testing_support;

constexpr int operations_per_turn = 128; // as io_stream.hpp says
constexpr std::size_t bytes_per_turn = 1024 * 1024;

class FairnessTest : public testing::Test {
protected:
  IOStream make_stream(MemoryConnection& connection, std::shared_ptr<MemoryConnection> owner,
                       const StreamOptions& options = {}) {
    return IOStream{loop, std::make_unique<MemoryTransport>(std::move(owner), connection.a), options};
  }
  void start(Task<> task) {
    tasks.push_back(std::make_unique<RunningTask>(std::move(task), [](std::exception_ptr) {}));
    tasks.back()->start(context);
  }

  /// An echo on another connection is answered within three turns while `flood` goes on.
  template <class Flood>
  void expect_echo_is_served(Flood flood) {
    const auto quiet = std::make_shared<MemoryConnection>();
    start(echo(make_stream(*quiet, quiet)));
    for (int i = 0; i < 20; ++i) {
      quiet->b.send("ping\n");
      for (int turn = 0; turn < 3; ++turn) {
        flood();
        loop.run_once();
      }
      ASSERT_EQ(quiet->b.take(), "ping\n") << "round " << i;
    }
  }

  static Task<> echo(IOStream stream) {
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  }

  EventLoop loop;
  TaskContext context{loop};
  std::shared_ptr<MemoryConnection> noisy = std::make_shared<MemoryConnection>();
  std::vector<std::unique_ptr<RunningTask>> tasks;
};

TEST_F(FairnessTest, ServesOthersWhileAPeerFloodsAReaderOfBytes) {
  std::size_t received = 0;
  const auto body = [&](IOStream stream) -> Task<> {
    for (;;)
      received += (co_await stream.read_bytes(65536, true)).size();
  };
  noisy->a.capacity = 4 * 1024 * 1024;
  const std::string flood(noisy->a.capacity, 'x');
  start(body(make_stream(*noisy, noisy)));
  expect_echo_is_served([&] { noisy->b.send(flood); });
  EXPECT_GT(received, 10 * bytes_per_turn) << "the flood is read, too";
}

TEST_F(FairnessTest, ServesOthersWhileAPeerFloodsAReaderOfSingleBytes) {
  int received = 0;
  const auto body = [&](IOStream stream) -> Task<> {
    for (;;) {
      co_await stream.read_bytes(1);
      ++received;
    }
  };
  const std::string flood(noisy->a.capacity, 'x');
  start(body(make_stream(*noisy, noisy)));
  expect_echo_is_served([&] { noisy->b.send(flood); });
  EXPECT_GT(received, 20 * operations_per_turn);
}

TEST_F(FairnessTest, ServesOthersWhileADelimiterDoesNotCome) {
  const auto body = [&](IOStream stream) -> Task<> { co_await stream.read_until("\n"); };
  const std::string flood(noisy->a.capacity, 'x');
  start(body(make_stream(*noisy, noisy)));
  expect_echo_is_served([&] { noisy->b.send(flood); });
}

TEST_F(FairnessTest, ServesOthersWhileAWriterHasAPeerThatReadsEverything) {
  const auto body = [&](IOStream stream) -> Task<> {
    const Bytes chunk{std::string(1'000'000, 'x')};
    for (;;)
      co_await stream.write(chunk);
  };
  std::size_t received = 0;
  noisy->b.capacity = 100 * 1024 * 1024;
  start(body(make_stream(*noisy, noisy)));
  expect_echo_is_served([&] { received += noisy->b.take().size(); });
  EXPECT_GT(received, 10 * bytes_per_turn);
}

TEST_F(FairnessTest, ServesOthersWhileASmallWriteIsAlwaysPossible) {
  const auto body = [&](IOStream stream) -> Task<> {
    const Bytes byte{"x"};
    for (;;)
      co_await stream.write(byte);
  };
  start(body(make_stream(*noisy, noisy)));
  expect_echo_is_served([&] { noisy->b.take(); });
}

TEST_F(FairnessTest, LetsACoroutineGoOnAfterItsShareOfEachTurn) {
  int lines = 0;
  const auto body = [&](IOStream stream) -> Task<> {
    for (;;) {
      co_await stream.read_until("\n");
      ++lines;
    }
  };
  std::string text;
  for (int i = 0; i < 2000; ++i)
    text += "line\n";
  noisy->b.send(text);
  loop.run_once();
  start(body(make_stream(*noisy, noisy)));
  int most = 0;
  for (int before = 0; lines < 2000; before = lines) {
    loop.run_once(1h); // never waits: there is always something to do
    EXPECT_GT(lines, before);
    most = std::max(most, lines - before);
  }
  EXPECT_LE(most, 2 * operations_per_turn + 2)
      << "at the first turn, what came before the loop ran counts as one";
}

TEST_F(FairnessTest, ReceivesNoMoreThanItsShareInATurn) {
  constexpr std::size_t chunk = 10'000;
  noisy->a.capacity = 10 * 1024 * 1024;
  noisy->b.send(std::string(5 * 1024 * 1024, 'x'));
  IOStream stream = make_stream(*noisy, noisy, {.read_chunk_size = chunk});
  TestRead read{stream, ReadUntilClose{}};
  std::size_t before = stream.unread_size();
  EXPECT_LE(before, bytes_per_turn + chunk);
  while (!noisy->a.arrived.empty()) {
    loop.run_once(1h);
    EXPECT_GT(stream.unread_size(), before);
    EXPECT_LE(stream.unread_size() - before, bytes_per_turn + chunk);
    before = stream.unread_size();
  }
  noisy->b.end();
  ASSERT_TRUE(run_until(loop, [&] { return read.answered(); }));
  EXPECT_EQ(read.text().size(), 5u * 1024 * 1024);
}

TEST_F(FairnessTest, SendsNoMoreThanItsShareInATurn) {
  noisy->b.capacity = 100 * 1024 * 1024;
  IOStream stream = make_stream(*noisy, noisy);
  for (int i = 0; i < 50; ++i)
    static_cast<void>(stream.write(Bytes{pattern(100'000)}));
  std::size_t total = 0;
  while (stream.unsent_size() > 0) {
    loop.run_once(1h);
    const std::size_t sent = noisy->b.take().size();
    EXPECT_GT(sent, 0u);
    EXPECT_LE(sent, bytes_per_turn + 64 * 100'000) << "one call takes up to 64 pieces";
    total += sent;
  }
  EXPECT_EQ(total, 5'000'000u);
}

TEST(FairnessOnSockets, ServesAnEchoWhileAPeerKeepsItsSocketFull) {
  EventLoop loop;
  TaskContext context{loop};
  auto [noisy_ours, noisy_theirs] = make_tcp_pair();
  auto [quiet_ours, quiet_theirs] = make_tcp_pair();
  std::size_t received = 0;
  const auto drain = [&](IOStream stream) -> Task<> {
    for (;;)
      received += (co_await stream.read_bytes(100, true)).size();
  };
  const auto echo = [](IOStream stream) -> Task<> {
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  };
  RunningTask drainer{drain(IOStream{loop, std::move(noisy_ours)}), [](std::exception_ptr) {}};
  RunningTask echoer{echo(IOStream{loop, std::move(quiet_ours)}), [](std::exception_ptr) {}};
  drainer.start(context);
  echoer.start(context);
  const std::string flood(1'000'000, 'x');
  char buffer[16];
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(::send(quiet_theirs.fd(), "ping\n", 5, MSG_NOSIGNAL), 5);
    ASSERT_TRUE(run_until(loop, [&] {
      while (::send(noisy_theirs.fd(), flood.data(), flood.size(), MSG_NOSIGNAL) > 0) {
      }
      return ::recv(quiet_theirs.fd(), buffer, sizeof buffer, 0) == 5;
    }));
  }
  EXPECT_GT(received, 0u);
}

} // namespace

} // namespace squall
