// SPDX-License-Identifier: BSD-3-Clause
//
// stream_task_test.cpp: coroutines that read and write; on every transport.
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

class StreamTaskTest : public StreamTest {
protected:
  void start(Task<> task) {
    running = std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ended = true;
      failure = error;
    });
    running->start(context);
  }

  TaskContext context{loop};
  std::string order;
  bool ended = false;
  std::exception_ptr failure;
  std::unique_ptr<RunningTask> running;
};
SQUALL_STREAM_CONTRACT(StreamTaskTest);

Task<> echo(IOStream stream) {
  try {
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  } catch (const StreamClosedError&) {
  }
}

Task<> make_requests_inside_co_await(IOStream stream, int& done) {
  co_await stream.write(Bytes{"a line that is longer than a small string\n"});
  EXPECT_EQ(co_await stream.read(ReadUntil{"\n", 4096, std::chrono::seconds{5}}), "one\n");
  EXPECT_EQ(co_await stream.read(ReadUntilRegex{Regex{"[a-z]+\n"}}), "two\n");
  EXPECT_EQ((co_await stream.read(ReadInto{MutableBytes{6}})).size(), 6u);
  EXPECT_FALSE((co_await stream.connect({"127.0.0.1", 80, AddressFamily::ipv4}).as_result()).has_value());
  EXPECT_FALSE((co_await stream.write_file("/nonexistent/file").as_result()).has_value());
  ++done;
}

// Under AddressSanitizer it shows what g++ 12 does to temporaries without a constructor.
TEST_P(StreamTaskTest, MakesRequestsInsideACoAwait) {
  int done = 0;
  start(make_requests_inside_co_await(stream(), done));
  peer().send("one\ntwo\nthree\n");
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(done, 1);
}

TEST_P(StreamTaskTest, EchoesLines) {
  start(echo(stream()));
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    expected += "line " + std::to_string(i) + "\n";
  }
  peer().send(expected);
  peer().end();
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return ended;
  }));
  EXPECT_EQ(failure, nullptr);
  stream() = IOStream{}; // the task's handle went with its frame
  running.reset();
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().saw_end || peer().saw_error;
  }));
  EXPECT_EQ(peer().received, expected) << "also what was answered before the end of the peer was seen";
}

TEST_P(StreamTaskTest, ThrowsTheErrorOfARead) {
  const auto body = [&]() -> Task<> {
    try {
      co_await stream().read_until("\n", 5);
    } catch (const StreamClosedError& error) {
      order += to_string(error.reason());
      EXPECT_EQ(error.real_error(), StreamErrc::unsatisfiable_read);
    }
    try {
      co_await stream().read_until("");
    } catch (const StreamUsageError&) {
      order += ", usage";
    }
    co_await stream().read_bytes(1u << 30);
  };
  start(body());
  peer().send("123456");
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, "limit passed, usage");
  EXPECT_THROW(std::rethrow_exception(failure), StreamBufferFullError);
}

TEST_P(StreamTaskTest, ReturnsTheErrorAsAResultWhereItIsAskedFor) {
  relink({.max_write_buffer_size = 10});
  const auto body = [&]() -> Task<> {
    const Result<void> full = co_await stream().write(Bytes{pattern(11)}).as_result();
    order += full ? "?" : to_string(full.error().code);
    const Result<Bytes> line = co_await stream().read_until("\n").as_result();
    order += line ? "; " + line->str() : "?";
    const Result<Bytes> end = co_await stream().read_bytes(1).as_result();
    order += end ? "?" : to_string(end.error().reason);
    const Result<Bytes> rest = co_await stream().read_until_close().as_result();
    order += rest ? ", empty" : "?";
  };
  start(body());
  peer().send("line\n");
  peer().end();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, "more than the stream's buffer may hold; line\nclosed by the peer, empty");
}

TEST_P(StreamTaskTest, WaitsInAWriteUntilThePeerReads) {
  std::string expected = fill_connection();
  const auto body = [&]() -> Task<> {
    co_await stream().write("last");
    order += "written";
  };
  start(body());
  run_turns(loop);
  EXPECT_EQ(order, "");
  expected += "last";
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return ended && peer().received.size() >= expected.size();
  }));
  EXPECT_EQ(peer().received, expected);
}

TEST_P(StreamTaskTest, ThrowsWhenTheStreamClosesWhileItWrites) {
  fill_connection();
  const auto body = [&]() -> Task<> { co_await stream().write("last"); };
  start(body());
  stream().close(CloseReason::handler_ended);
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_THROW(std::rethrow_exception(failure), StreamClosedError);
}

TEST_P(StreamTaskTest, LosesNoByteWhenItIsDestroyedWhileItReads) {
  const auto body = [&]() -> Task<> {
    co_await stream().read_bytes(10);
    order += "read";
  };
  start(body());
  peer().send("abc");
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 3; }));
  running.reset();
  EXPECT_FALSE(stream().reading());
  peer().send("def");
  TestRead read{stream(), ReadBytes{6}};
  await(read);
  EXPECT_EQ(read.text(), "abcdef");
  EXPECT_EQ(order, "");
}

TEST_P(StreamTaskTest, LosesNoByteWhenItIsDestroyedAfterItsShareOfATurn) {
  // A read that waits for its turn, and not for data.
  int lines = 0;
  const auto body = [&]() -> Task<> {
    for (;;) {
      co_await stream().read_until("\n");
      ++lines;
    }
  };
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += "x\n";
  peer().send(text);
  start(body());
  ASSERT_TRUE(run_until([&] { return lines > 0; }));
  ASSERT_LT(lines, 1000);
  running.reset();
  int rest = 0;
  while (lines + rest < 1000) {
    TestRead read{stream(), ReadBytes{2}};
    await(read);
    ASSERT_EQ(read.text(), "x\n");
    ++rest;
  }
}

TEST_P(StreamTaskTest, TakesNothingBackWhenItIsDestroyedWhileItWrites) {
  const std::string expected = fill_connection() + "last";
  const auto body = [&]() -> Task<> { co_await stream().write("last"); };
  start(body());
  run_turns(loop);
  running.reset();
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().received.size() >= expected.size();
  }));
  EXPECT_EQ(peer().received, expected);
}

TEST_P(StreamTaskTest, MayCloseTheStreamThatAnotherReads) {
  const auto reader = [&]() -> Task<> {
    try {
      co_await stream().read_bytes(1);
    } catch (const StreamClosedError& error) {
      order += to_string(error.reason());
    }
  };
  start(reader());
  const auto closer = [&]() -> Task<> {
    co_await sleep_for(0ms);
    stream().close(CloseReason::handler_ended);
    order += "; closed";
  };
  RunningTask second{closer(), [](std::exception_ptr) {}};
  second.start(context);
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, "; closedits handler ended") << "the reader is told by the loop, not inside close()";
}

TEST_P(StreamTaskTest, MayHoldTheLastHandleOfTheStreamItReads) {
  const auto body = [&](IOStream own) -> Task<> { order += (co_await own.read_until("\n")).str(); };
  start(body(std::move(stream())));
  peer().send("line\n");
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, "line\n");
  running.reset();
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().saw_end;
  })) << "the stream closed with its handler";
}

TEST_P(StreamTaskTest, MayBeDestroyedInTheCloseThatItsLastHandleCauses) {
  const auto body = [&](IOStream own) -> Task<> { co_await own.read_bytes(1); };
  start(body(std::move(stream())));
  running.reset();
  run_turns(loop);
  EXPECT_FALSE(ended);
}

TEST_P(StreamTaskTest, ReadsAMillionBytesOneByOneWithoutGrowingTheStack) {
  constexpr int size = 1'000'000;
  int count = 0;
  const auto body = [&]() -> Task<> {
    while (count < size) {
      co_await stream().read_bytes(1);
      ++count;
    }
  };
  start(body());
  std::string unsent(size, 'x');
  ASSERT_TRUE(run_until([&] {
    unsent.erase(0, peer().send_some(unsent));
    return ended;
  }));
  EXPECT_EQ(count, size);
}

TEST_P(StreamTaskTest, WritesAMillionTimesWithoutGrowingTheStack) {
  constexpr std::size_t size = 1'000'000;
  const auto body = [&]() -> Task<> {
    const Bytes byte{"x"};
    for (std::size_t i = 0; i < size; ++i)
      co_await stream().write(byte);
  };
  start(body());
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return ended && peer().received.size() >= size;
  }));
  EXPECT_EQ(peer().received.size(), size);
}

} // namespace

} // namespace squall
