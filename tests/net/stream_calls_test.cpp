// SPDX-License-Identifier: BSD-3-Clause
//
// stream_calls_test.cpp: which calls a stream makes of its transport, and which it spares.
#include "tests/net/memory_transport.hpp"
#include "tests/net/support.hpp"

#include <memory>
#include <string>

namespace squall {

namespace {

using namespace testing_support;

class StreamCallsTest : public testing::Test {
protected:
  StreamCallsTest() { make({}); }

  void make(const StreamOptions& options, std::size_t capacity = 1024 * 1024) {
    stream = IOStream{};
    loop.run_once();
    connection = std::make_shared<MemoryConnection>();
    connection->b.capacity = capacity;
    auto transport = std::make_unique<MemoryTransport>(connection, connection->a);
    log = transport->log;
    stream = IOStream{loop, std::move(transport), options};
    loop.run_once();
  }
  MemoryEnd& peer() { return connection->b; }

  ManualClock clock;
  EventLoop loop{&clock};
  std::shared_ptr<MemoryConnection> connection;
  std::shared_ptr<MemoryTransport::Log> log;
  IOStream stream;
};

TEST_F(StreamCallsTest, SendsTheWritesOfATurnInOneCall) {
  std::string expected;
  for (int i = 0; i < 16; ++i) {
    static_cast<void>(stream.write(Bytes{"line " + std::to_string(i) + "\n"}));
    expected += "line " + std::to_string(i) + "\n";
  }
  EXPECT_EQ(log->writes, 0);
  loop.run_once();
  EXPECT_EQ(log->writes, 1);
  EXPECT_EQ(peer().arrived, expected);
}

TEST_F(StreamCallsTest, SendsWhatTheAnswersOfATurnWriteInOneCall) {
  // Sixteen lines come at once and are echoed one by one.
  TestRead read;
  read.then = [&] {
    static_cast<void>(stream.write(**read.outcome));
    if (read.answers < 16)
      stream.loop().post([&] { read.start(stream, ReadUntil{"\n", {}}); });
  };
  std::string lines;
  for (int i = 0; i < 16; ++i)
    lines += "line\n";
  peer().send(lines);
  loop.post([&] {
    while (read.answers < 16) {
      read.then = {};
      read.start(stream, ReadUntil{"\n", {}});
      if (!read.answered())
        break;
      static_cast<void>(stream.write(**read.outcome));
    }
  });
  run_turns(loop, 2);
  EXPECT_EQ(read.answers, 16);
  EXPECT_EQ(log->reads, 1);
  EXPECT_EQ(log->writes, 1);
  EXPECT_EQ(peer().arrived, lines);
}

TEST_F(StreamCallsTest, DoesNotReadAgainAfterAShortRead) {
  TestRead read{stream, ReadUntil{"\n", {}}};
  EXPECT_EQ(log->reads, 1) << "the read looks at once";
  run_turns(loop);
  EXPECT_EQ(log->reads, 1);
  peer().send("no newline yet");
  run_turns(loop);
  EXPECT_EQ(log->reads, 2);
  peer().send("\n");
  run_turns(loop);
  EXPECT_TRUE(read.answered());
  EXPECT_EQ(log->reads, 3);
}

TEST_F(StreamCallsTest, ReadsAgainAfterAFullRead) {
  make({.read_chunk_size = 10});
  TestRead read{stream, ReadUntil{"\n", {}}};
  peer().send(pattern(10)); // exactly one chunk
  run_turns(loop);
  EXPECT_EQ(log->reads, 3) << "nothing; ten bytes; nothing";
  peer().send(pattern(9) + "\n");
  run_turns(loop);
  EXPECT_TRUE(read.answered());
  EXPECT_EQ(log->reads, 4) << "the match ends it";
}

TEST_F(StreamCallsTest, AnswersFromTheBufferWithoutReading) {
  peer().send("one\ntwo\nthree\n");
  loop.run_once();
  TestRead read{stream, ReadUntil{"\n", {}}};
  EXPECT_TRUE(read.answered());
  const int reads = log->reads;
  for (const char* line : {"two\n", "three\n"}) {
    read.start(stream, ReadUntil{"\n", {}});
    EXPECT_EQ(read.text(), line);
  }
  EXPECT_EQ(log->reads, reads);
}

TEST_F(StreamCallsTest, ReadsNothingWhileNobodyAsks) {
  peer().send("hello");
  run_turns(loop);
  EXPECT_EQ(log->reads, 0);
}

TEST_F(StreamCallsTest, LooksForTheEndOnlyWhenItWasTold) {
  stream.set_close_callback([] {});
  peer().send("hello");
  TestRead read{stream, ReadBytes{5}};
  run_turns(loop);
  EXPECT_EQ(log->reads, 1);
  peer().end();
  run_turns(loop);
  EXPECT_EQ(log->reads, 2);
  EXPECT_TRUE(stream.closed());
}

TEST_F(StreamCallsTest, TriesNoWriteWhileTheTransportIsBlocked) {
  make({}, 100);
  static_cast<void>(stream.write(Bytes{pattern(150)}));
  loop.run_once();
  EXPECT_EQ(log->writes, 2) << "a part; nothing";
  static_cast<void>(stream.write("more"));
  run_turns(loop);
  EXPECT_EQ(log->writes, 2);
  EXPECT_EQ(peer().take(), pattern(150).substr(0, 100));
  run_turns(loop);
  EXPECT_EQ(log->writes, 3);
  EXPECT_EQ(peer().take(), pattern(150).substr(100) + "more");
}

TEST_F(StreamCallsTest, WritesAgainAtTheEndOfTheTurnOnceAWriteBeyondTheLimitMadeRoom) {
  make({.max_write_buffer_size = 100}, 50);
  static_cast<void>(stream.write(Bytes{pattern(100)}));
  loop.run_once();
  EXPECT_EQ(stream.unsent_size(), 50u);
  std::string got = peer().take(); // room again, but nobody told the stream yet
  TestWrite write{stream, Bytes{pattern(60)}};
  EXPECT_FALSE(write.answered()) << "the stream looked whether there is room";
  while (got.size() < 160) {
    loop.run_once();
    const std::string more = peer().take();
    ASSERT_FALSE(more.empty()) << "the stream waits for nothing";
    got += more;
  }
  EXPECT_EQ(got, pattern(100) + pattern(60));
}

TEST_F(StreamCallsTest, QueuesExactlyAsMuchAsTheLimitAllows) {
  make({.max_write_buffer_size = 1000}, 100);
  static_cast<void>(stream.write(Bytes{pattern(500)}));
  loop.run_once();
  ASSERT_EQ(stream.unsent_size(), 400u);
  const TestWrite above{stream, Bytes{pattern(601)}};
  EXPECT_EQ(above.error(), (StreamError{StreamErrc::buffer_full, CloseReason::none, {}}));
  EXPECT_EQ(stream.unsent_size(), 400u) << "nothing was queued";
  TestWrite below{stream, Bytes{pattern(599)}};
  TestWrite exact{stream, "x"};
  EXPECT_FALSE(below.answered() || exact.answered());
  EXPECT_EQ(stream.unsent_size(), 1000u);
  const TestWrite one_more{stream, "x"};
  EXPECT_EQ(one_more.error().code, StreamErrc::buffer_full);
  std::string got;
  while (got.size() < 1100) {
    got += peer().take();
    loop.run_once();
  }
  EXPECT_EQ(got, pattern(500) + pattern(599) + "x");
  EXPECT_TRUE(below.succeeded() && exact.succeeded());
  EXPECT_FALSE(stream.closed());
}

TEST_F(StreamCallsTest, ClosesTheTransportOnceAndAfterUnwatching) {
  EXPECT_TRUE(log->watched);
  stream.close();
  EXPECT_FALSE(log->watched);
  EXPECT_EQ(log->closes, 1);
  stream.close();
  run_turns(loop);
  stream = IOStream{};
  run_turns(loop);
  EXPECT_EQ(log->closes, 1);
}

TEST_F(StreamCallsTest, KeepsTheTransportWhileAnsweredBytesAreUnsent) {
  make({}, 100);
  auto write = stream.write(Bytes{pattern(250)});
  EXPECT_TRUE(write.await_ready());
  write.await_resume();
  stream.close();
  EXPECT_EQ(log->closes, 0);
  std::string got;
  while (got.size() < 250) {
    EXPECT_EQ(log->closes, 0);
    got += peer().take();
    loop.run_once();
  }
  EXPECT_EQ(got, pattern(250));
  run_turns(loop);
  EXPECT_TRUE(peer().ended);
  EXPECT_EQ(log->closes, 0) << "it waits for the peer's end";
  peer().end();
  run_turns(loop);
  EXPECT_EQ(log->closes, 1);
}

TEST_F(StreamCallsTest, ClosesATransportThatFailsWhileItLingers) {
  make({}, 100);
  auto write = stream.write(Bytes{pattern(250)});
  EXPECT_TRUE(write.await_ready());
  write.await_resume();
  stream.close();
  run_turns(loop);
  peer().break_other(ECONNRESET);
  run_turns(loop);
  EXPECT_EQ(log->closes, 1);
  EXPECT_EQ(stream.error().reason, CloseReason::local_close);
}

TEST_F(StreamCallsTest, ClosesALingeringTransportWithTheLoop) {
  auto own_loop = std::make_unique<EventLoop>(&clock);
  auto own = std::make_shared<MemoryConnection>();
  own->b.capacity = 10;
  auto transport = std::make_unique<MemoryTransport>(own, own->a);
  const auto own_log = transport->log;
  IOStream other{*own_loop, std::move(transport)};
  auto write = other.write(Bytes{pattern(250)});
  EXPECT_TRUE(write.await_ready());
  write.await_resume();
  other.close();
  EXPECT_EQ(own_log->closes, 0);
  own_loop.reset();
  EXPECT_EQ(own_log->closes, 1);
}

TEST_F(StreamCallsTest, SendsAllThatTheTransportTakesWhenItCloses) {
  make({}, 100 * 1024 * 1024);
  std::string expected;
  for (int i = 0; i < 100; ++i) { // more than one call takes, and more than a turn's share
    static_cast<void>(stream.write(Bytes{pattern(30'000, expected.size())}));
    expected += pattern(30'000, expected.size());
  }
  stream.close();
  EXPECT_EQ(peer().take(), expected);
}

TEST_F(StreamCallsTest, PassesNodelayOn) {
  EXPECT_TRUE(log->nodelay) << "the default";
  stream.set_nodelay(false);
  EXPECT_FALSE(log->nodelay);
  stream.set_nodelay(true);
  EXPECT_TRUE(log->nodelay);
  make({.nodelay = false});
  EXPECT_FALSE(log->nodelay);
}

TEST_F(StreamCallsTest, ReceivesNoMoreThanTheBufferMayHoldAndOne) {
  make({.max_buffer_size = 100, .read_chunk_size = 1000});
  peer().send(pattern(1000));
  TestRead read{stream, ReadUntil{"\n", {}}};
  run_turns(loop);
  EXPECT_EQ(read.error().real_error, StreamErrc::buffer_full);
  EXPECT_EQ(stream.unread_size(), 101u);
}

} // namespace

} // namespace squall
