// SPDX-License-Identifier: BSD-3-Clause
//
// stream_callback_test.cpp: reads and writes with callbacks, exceptions from callbacks, and the end of the
// loop; on every transport.
#include "tests/net/stream_contract.hpp"

#include <stdexcept>

namespace squall {

namespace {

using namespace testing_support;

class CallbackTest : public StreamTest {};
SQUALL_STREAM_CONTRACT(CallbackTest);

TEST_P(CallbackTest, NeverRunsInsideTheCallThatBeganIt) {
  peer().send("ab");
  TestRead first{stream(), ReadBytes{1}};
  await(first); // now "b" is surely there
  ASSERT_TRUE(run_until([&] { return stream().unread_size() == 1; }));
  std::string order;
  stream().read(ReadBytes{1}, [&](Result<Bytes> result) { order += "read " + result.value().str() + " "; });
  stream().write("x", [&](Result<void> result) { order += result ? "written " : "failed "; });
  stream().read(ReadBytes{0}, [&](Result<Bytes> result) { order += result ? "empty " : "refused "; });
  EXPECT_EQ(order, "");
  run_turns(loop);
  EXPECT_EQ(order, "read b empty written ");
}

TEST_P(CallbackTest, HearsOfARefusalFromTheLoop) {
  relink({.max_buffer_size = 1000, .max_write_buffer_size = 10});
  std::string order;
  stream().read(ReadBytes{1}, [&](Result<Bytes>) { order += "pending "; });
  stream().read(ReadBytes{1}, [&](Result<Bytes> result) {
    order += result.error().code == StreamErrc::already_reading ? "reading " : "? ";
  });
  stream().write(Bytes{pattern(11)}, [&](Result<void> result) {
    order += result.error().code == StreamErrc::buffer_full ? "full " : "? ";
  });
  EXPECT_EQ(order, "");
  run_turns(loop);
  EXPECT_EQ(order, "reading full ");
  stream().close();
  stream().write(
      "x", [&](Result<void> result) { order += result.error().code == StreamErrc::closed ? "closed" : "?"; });
  run_turns(loop);
  EXPECT_EQ(order, "reading full pending closed");
}

TEST_P(CallbackTest, KeepsTheStreamUntilItRan) {
  std::string text;
  stream().read(ReadUntil{"\n", {}}, [&](Result<Bytes> result) { text = result.value().str(); });
  stream() = IOStream{};
  run_turns(loop);
  peer().send("line\n");
  ASSERT_TRUE(run_until([&] { return text == "line\n"; }));
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().saw_end;
  })) << "and no longer";
}

TEST_P(CallbackTest, EchoesLinesUntilThePeerEnds) {
  std::function<void(Result<Bytes>)> on_line = [&](Result<Bytes> line) {
    if (!line)
      return;
    stream().write(*line, [](Result<void>) {});
    stream().read(ReadUntil{"\n", {}}, on_line);
  };
  stream().read(ReadUntil{"\n", {}}, on_line);
  std::string expected;
  for (int i = 0; i < 500; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    peer().send(line);
    expected += line;
    if (i % 7 == 0)
      loop.run_once();
  }
  ASSERT_TRUE(run_until([&] {
    peer().receive();
    return peer().received.size() == expected.size();
  }));
  EXPECT_EQ(peer().received, expected);
  peer().end();
  ASSERT_TRUE(run_until([&] { return stream().closed(); }));
}

class StreamExceptionTest : public StreamTest {
protected:
  /// Runs turns, counting those that end with an exception.
  int run_and_count_exceptions() {
    int exceptions = 0;
    for (int i = 0; i < 12; ++i) {
      try {
        loop.run_once();
      } catch (const std::runtime_error&) {
        ++exceptions;
      }
    }
    return exceptions;
  }
};
SQUALL_STREAM_CONTRACT(StreamExceptionTest);

TEST_P(StreamExceptionTest, OfAWritesAnswerLosesNoOther) {
  TestWrite thrower;
  TestWrite other;
  thrower.then = [] { throw std::runtime_error{"write"}; };
  thrower.start(stream(), "one");
  other.start(stream(), "two");
  EXPECT_EQ(run_and_count_exceptions(), 1);
  EXPECT_TRUE(other.succeeded());
  EXPECT_FALSE(stream().closed());
}

TEST_P(StreamExceptionTest, OfAReadsAnswerLeavesTheStreamUsable) {
  TestRead thrower;
  thrower.then = [] { throw std::runtime_error{"read"}; };
  thrower.start(stream(), ReadBytes{1});
  run_turns(loop);
  peer().send("ab");
  int exceptions = 0;
  ASSERT_TRUE(run_until([&] {
    exceptions += run_and_count_exceptions();
    return thrower.answered();
  }));
  EXPECT_EQ(exceptions, 1);
  EXPECT_FALSE(stream().reading());
  TestRead next{stream(), ReadBytes{1}};
  await(next);
  EXPECT_EQ(next.text(), "b");
}

TEST_P(StreamExceptionTest, OfAnyAnswerToTheCloseLosesNoOther) {
  fill_connection();
  TestRead read;
  TestWrite first;
  TestWrite second;
  int closes = 0;
  read.then = first.then = second.then = [] { throw std::runtime_error{"answer"}; };
  stream().set_close_callback([&] {
    ++closes;
    throw std::runtime_error{"close callback"};
  });
  read.start(stream(), ReadBytes{1});
  first.start(stream(), "1");
  second.start(stream(), "2");
  stream().close();
  int exceptions = 0;
  ASSERT_TRUE(run_until([&] {
    exceptions += run_and_count_exceptions();
    return closes > 0;
  }));
  EXPECT_EQ(exceptions, 4);
  EXPECT_EQ(read.answers + first.answers + second.answers, 3);
  EXPECT_EQ(closes, 1);
  stream() = IOStream{}; // the leak checker watches
}

class LoopEndTest : public testing::TestWithParam<StreamFactory> {
protected:
  std::unique_ptr<EventLoop> loop = std::make_unique<EventLoop>();
  Link link = GetParam().make(*loop, {});
};
SQUALL_STREAM_CONTRACT(LoopEndTest);

TEST_P(LoopEndTest, AnswersEverythingThatIsPending) {
  std::string order;
  TestRead read;
  TestWrite write;
  read.then = [&] { order += "read "; };
  write.then = [&] { order += "write "; };
  link.stream.set_close_callback([&] { order += "closed"; });
  read.start(link.stream, ReadBytes{1});
  write.start(link.stream, "last words");
  loop.reset();
  EXPECT_EQ(order, "read write closed");
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::shutting_down, {}}));
  EXPECT_TRUE(write.succeeded()) << "the system took it";
  link.peer->receive();
  EXPECT_TRUE(link.stream.closed());
}

TEST_P(LoopEndTest, LeavesUnreadBytesReadable) {
  link.peer->send("abc");
  TestRead first{link.stream, ReadBytes{1}};
  ASSERT_TRUE(run_until(*loop, [&] { return first.answered(); }));
  loop.reset();
  const TestRead rest{link.stream, ReadBytes{2}};
  EXPECT_EQ(rest.text(), "bc");
  const TestRead nothing{link.stream, ReadBytes{1}};
  EXPECT_EQ(nothing.error().reason, CloseReason::shutting_down);
  const TestWrite write{link.stream, "x"};
  EXPECT_EQ(write.error().reason, CloseReason::shutting_down);
  link.stream.close();
}

TEST_P(LoopEndTest, SurvivesHandlesThatGoInItsAnswers) {
  TestRead read;
  read.then = [&] { link.stream = IOStream{}; };
  read.start(link.stream, ReadBytes{1});
  loop.reset();
  EXPECT_EQ(read.answers, 1);
}

TEST_P(LoopEndTest, AnswersCallbacksThatKeepTheStream) {
  int answers = 0;
  link.stream.read(ReadBytes{1}, [&](Result<Bytes> result) { answers += result ? 100 : 1; });
  link.stream = IOStream{};
  loop.reset();
  EXPECT_EQ(answers, 1);
}

TEST_P(LoopEndTest, SurvivesExceptionsOfItsAnswers) {
  TestRead read;
  read.then = [] { throw std::runtime_error{"read"}; };
  int closes = 0;
  link.stream.set_close_callback([&] { ++closes; });
  read.start(link.stream, ReadBytes{1});
  loop.reset();
  EXPECT_EQ(read.answers, 1);
  EXPECT_EQ(closes, 1);
}

} // namespace

} // namespace squall
