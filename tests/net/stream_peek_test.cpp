// SPDX-License-Identifier: BSD-3-Clause
//
// stream_peek_test.cpp: peek, reads into a buffer of the caller, reads up to a match, and limits that keep
// the stream; on every transport.
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

const StreamError peer_closed{StreamErrc::closed, CloseReason::peer_closed, {}};

class ReadKindTest : public StreamTest {
protected:
  void start(Task<> task) {
    running = std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ended = true;
      failure = error;
    });
    running->start(context);
  }

  /// Makes exactly this unread.
  void make_unread(std::string_view text) {
    peer().send(text);
    TestRead all{stream(), Peek{text.size()}};
    await(all);
    EXPECT_EQ(stream().unread_size(), text.size());
  }

  void expect_next(std::string_view text) {
    TestRead read{stream(), ReadBytes{text.size()}};
    await(read);
    EXPECT_EQ(read.text(), text);
  }

  TaskContext context{loop};
  bool ended = false;
  std::exception_ptr failure;
  std::unique_ptr<RunningTask> running;
};

class PeekTest : public ReadKindTest {};
class ReadIntoTest : public ReadKindTest {};
class ReadRegexTest : public ReadKindTest {};
class KeepTest : public ReadKindTest {};
SQUALL_STREAM_CONTRACT(PeekTest);
SQUALL_STREAM_CONTRACT(ReadIntoTest);
SQUALL_STREAM_CONTRACT(ReadRegexTest);
SQUALL_STREAM_CONTRACT(KeepTest);

// -- peek

TEST_P(PeekTest, GivesWhatTheNextReadGivesAgain) {
  peer().send("hello");
  for (int i = 0; i < 3; ++i) {
    TestRead peek{stream(), Peek{3}};
    await(peek);
    EXPECT_EQ(peek.text(), "hel");
  }
  TestRead all{stream(), Peek{5}};
  await(all);
  expect_next("hello");
  EXPECT_EQ(all.text(), "hello") << "its bytes outlive the read";
}

TEST_P(PeekTest, WaitsForAllItsBytes) {
  TestRead peek{stream(), Peek{6}};
  peer().send("abc");
  run_turns(loop);
  EXPECT_FALSE(peek.answered());
  EXPECT_TRUE(stream().reading());
  peer().send("defg");
  await(peek);
  EXPECT_EQ(peek.text(), "abcdef");
  expect_next("abcdefg");
}

TEST_P(PeekTest, KeepsItsBytesWhileMoreArrive) {
  make_unread("abc");
  const TestRead peek{stream(), Peek{3}};
  const std::string more = pattern(300'000);
  std::string unsent = more;
  TestRead all{stream(), ReadBytes{3 + more.size()}};
  ASSERT_TRUE(run_until([&] {
    unsent.erase(0, peer().send_some(unsent));
    return all.answered();
  }));
  EXPECT_EQ(peek.text(), "abc");
  EXPECT_EQ(all.text(), "abc" + more);
}

TEST_P(PeekTest, OfNothingIsThereAtOnce) {
  const TestRead open{stream(), Peek{0}};
  EXPECT_TRUE(open.succeeded());
  stream().close();
  const TestRead closed{stream(), Peek{0}};
  EXPECT_TRUE(closed.succeeded());
}

TEST_P(PeekTest, BeyondTheBufferIsRefused) {
  relink({.max_buffer_size = 100});
  const TestRead refused{stream(), Peek{101}};
  EXPECT_EQ(refused.error(), (StreamError{StreamErrc::buffer_full, CloseReason::none, {}}));
  EXPECT_FALSE(stream().reading());
  peer().send(pattern(150));
  TestRead most{stream(), Peek{100}};
  await(most);
  EXPECT_EQ(most.text(), pattern(100));
  expect_next(pattern(100));
  expect_next(pattern(150).substr(100));
}

TEST_P(PeekTest, FailsAtTheEndOfTheStreamAndLeavesItsBytes) {
  TestRead peek{stream(), Peek{4}};
  peer().send("abc");
  peer().end();
  await(peek);
  EXPECT_EQ(peek.error(), peer_closed);
  const TestRead less{stream(), Peek{3}};
  EXPECT_EQ(less.text(), "abc") << "also on the closed stream";
  const TestRead all{stream(), ReadUntilClose{}};
  EXPECT_EQ(all.text(), "abc");
  const TestRead none{stream(), Peek{1}};
  EXPECT_EQ(none.error(), peer_closed);
}

TEST_P(PeekTest, WorksInACoroutineAndWithACallback) {
  std::string order;
  const auto body = [&]() -> Task<> {
    order += (co_await stream().peek(2)).str();
    order += (co_await stream().read_bytes(3)).str();
    const auto failed = co_await stream().peek(2).as_result();
    order += failed ? "?" : to_string(failed.error().reason);
    co_await stream().peek(std::size_t{1} << 40);
  };
  start(body());
  peer().send("abcd");
  peer().end();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, std::string{"ababc"} + to_string(CloseReason::peer_closed));
  EXPECT_THROW(std::rethrow_exception(failure), StreamBufferFullError);
  std::string called;
  stream().read(Peek{1}, [&](Result<Bytes> result) { called = result->str(); });
  EXPECT_EQ(called, "");
  run_turns(loop);
  EXPECT_EQ(called, "d");
}

// -- read_into

TEST_P(ReadIntoTest, FillsTheWholeBuffer) {
  const MutableBytes buffer{6};
  TestRead read{stream(), ReadInto{buffer}};
  peer().send("abc");
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  peer().send("defg");
  await(read);
  EXPECT_EQ(read.text(), "abcdef");
  EXPECT_EQ(buffer.front(6), "abcdef");
  expect_next("g");
}

TEST_P(ReadIntoTest, PartialFillsTheFront) {
  const MutableBytes buffer{6};
  TestRead read{stream(), ReadInto{buffer, true}};
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  peer().send("abc");
  await(read);
  EXPECT_EQ(read.text(), "abc");
  EXPECT_EQ(buffer.front(3), "abc");
}

TEST_P(ReadIntoTest, TakesWhatIsUnreadFirst) {
  for (const std::size_t size : {1u, 3u, 4u}) {
    relink({});
    make_unread("abcd");
    const TestRead part{stream(), ReadInto{MutableBytes{size}, true}};
    EXPECT_EQ(part.text(), std::string{"abcd"}.substr(0, size));
    EXPECT_EQ(stream().unread_size(), 4 - size);
  }
  relink({});
  make_unread("abcd");
  const TestRead partial{stream(), ReadInto{MutableBytes{10}, true}};
  EXPECT_EQ(partial.text(), "abcd") << "larger than what is unread";
  make_unread("abcd");
  TestRead whole{stream(), ReadInto{MutableBytes{10}}};
  EXPECT_FALSE(whole.answered());
  peer().send("efghijkl");
  await(whole);
  EXPECT_EQ(whole.text(), "abcdefghij");
  expect_next("kl");
}

TEST_P(ReadIntoTest, OfSizeZeroIsThereAtOnce) {
  for (const bool partial : {false, true}) {
    const TestRead read{stream(), ReadInto{MutableBytes{}, partial}};
    EXPECT_TRUE(read.succeeded());
    EXPECT_EQ(read.text(), "");
  }
  stream().close();
  const TestRead closed{stream(), ReadInto{MutableBytes{0}}};
  EXPECT_TRUE(closed.succeeded());
}

TEST_P(ReadIntoTest, MayBeLargerThanTheStreamsOwnBuffer) {
  relink({.max_buffer_size = 1000, .read_chunk_size = 100});
  const std::string text = pattern(700'000);
  std::string unsent = text;
  TestRead read{stream(), ReadInto{MutableBytes{text.size()}}};
  ASSERT_TRUE(run_until([&] {
    unsent.erase(0, peer().send_some(unsent));
    return read.answered();
  }));
  EXPECT_EQ(read.text(), text);
}

TEST_P(ReadIntoTest, KeepsABufferThatItsOwnerAbandoned) {
  auto read = std::make_unique<TestRead>();
  {
    MutableBytes buffer{6};
    read->start(stream(), ReadInto{buffer});
  }
  peer().send("abc");
  run_turns(loop);
  peer().send("def");
  await(*read);
  EXPECT_EQ(read->text(), "abcdef");
}

TEST_P(ReadIntoTest, PutsItsBytesBackWhenThePeerEnds) {
  TestRead read{stream(), ReadInto{MutableBytes{6}}};
  peer().send("abc");
  run_turns(loop);
  peer().end();
  await(read);
  EXPECT_EQ(read.error(), peer_closed);
  EXPECT_EQ(read.answers, 1);
  EXPECT_EQ(stream().unread_size(), 3u);
  const TestRead rest{stream(), ReadInto{MutableBytes{6}, true}};
  EXPECT_EQ(rest.text(), "abc");
  const TestRead none{stream(), ReadInto{MutableBytes{6}, true}};
  EXPECT_EQ(none.error(), peer_closed);
}

TEST_P(ReadIntoTest, PutsItsBytesBackWhenTheStreamCloses) {
  TestRead read{stream(), ReadInto{MutableBytes{6}}};
  peer().send("abc");
  run_turns(loop);
  stream().close(CloseReason::handler_ended);
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::handler_ended, {}}));
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(rest.text(), "abc");
}

TEST_P(ReadIntoTest, PutsItsBytesBackInOrderWhenTheConnectionBreaks) {
  TestRead read{stream(), ReadInto{MutableBytes{6}}};
  peer().send("abc");
  run_turns(loop);
  peer().reset();
  await(read);
  EXPECT_EQ(read.error().code, StreamErrc::closed);
  const TestRead rest{stream(), ReadBytes{3}};
  EXPECT_EQ(rest.text(), "abc");
}

TEST_P(ReadIntoTest, LosesNoByteWhenItsCoroutineIsDestroyed) {
  make_unread("ab");
  const auto body = [&]() -> Task<> { co_await stream().read_into(MutableBytes{10}); };
  start(body());
  EXPECT_EQ(stream().unread_size(), 0u) << "they are in the buffer";
  peer().send("cd");
  run_turns(loop);
  running.reset();
  EXPECT_FALSE(stream().reading());
  EXPECT_EQ(stream().unread_size(), 4u);
  peer().send("ef");
  expect_next("abcdef");
  EXPECT_FALSE(ended);
}

TEST_P(ReadIntoTest, WorksInACoroutine) {
  std::string order;
  MutableBytes buffer{4};
  const auto body = [&]() -> Task<> {
    std::size_t size = co_await stream().read_into(buffer);
    order += std::to_string(size) + buffer.front(size).str();
    size = co_await stream().read_into(buffer, true);
    order += std::to_string(size) + buffer.front(size).str();
    const Result<std::size_t> failed = co_await stream().read_into(buffer, true).as_result();
    order += failed ? "?" : to_string(failed.error().reason);
    const Result<std::size_t> empty = co_await stream().read_into(MutableBytes{}).as_result();
    order += empty ? std::to_string(*empty) : "?";
    co_await stream().read_into(buffer);
  };
  start(body());
  peer().send("abcdef");
  peer().end();
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, std::string{"4abcd2ef"} + to_string(CloseReason::peer_closed) + "0");
  EXPECT_THROW(std::rethrow_exception(failure), StreamClosedError);
}

TEST_P(ReadIntoTest, WorksWithACallback) {
  std::string called;
  stream().read(ReadInto{MutableBytes{3}}, [&](Result<Bytes> result) { called = result->str(); });
  peer().send("abcd");
  ASSERT_TRUE(run_until([&] { return !called.empty(); }));
  EXPECT_EQ(called, "abc");
}

TEST_P(ReadIntoTest, IsOneReadAtATime) {
  TestRead read{stream(), ReadInto{MutableBytes{6}}};
  peer().send("abc");
  run_turns(loop);
  const TestRead second{stream(), ReadInto{MutableBytes{1}}};
  EXPECT_EQ(second.error().code, StreamErrc::already_reading);
  peer().send("def");
  await(read);
  EXPECT_EQ(read.text(), "abcdef") << "the first is unharmed";
}

// -- read_until_regex

TEST_P(ReadRegexTest, MatchesTheSameHoweverTheBytesArrive) {
  const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
  const std::string head = text.substr(0, text.size() - 4);
  const Regex regex{"\r?\n\r?\n"};
  for (std::size_t split = 1; split < text.size(); ++split) {
    relink({});
    TestRead read{stream(), ReadUntilRegex{regex}};
    peer().send(text.substr(0, split));
    run_turns(loop, 2);
    peer().send(text.substr(split));
    await(read);
    EXPECT_EQ(read.text(), head) << "split at " << split;
    expect_next("body");
  }
}

TEST_P(ReadRegexTest, MatchesTheSameInChunksOfEverySize) {
  for (std::size_t chunk = 1; chunk <= 9; ++chunk) {
    relink({.read_chunk_size = chunk});
    peer().send("xxaab42;yz");
    TestRead read{stream(), ReadUntilRegex{Regex{"a+b[0-9]+;"}}};
    await(read);
    EXPECT_EQ(read.text(), "xxaab42;");
    expect_next("yz");
  }
}

TEST_P(ReadRegexTest, EndsWithTheFirstByteAtWhichAMatchEnds) {
  peer().send("aaa");
  for (int i = 0; i < 3; ++i) {
    TestRead read{stream(), ReadUntilRegex{Regex{"a+"}}};
    await(read);
    EXPECT_EQ(read.text(), "a");
  }
}

TEST_P(ReadRegexTest, SucceedsWithinMaxBytes) {
  for (const std::size_t max_bytes : {std::size_t{6}, std::size_t{7}, std::size_t{100}}) {
    relink({});
    peer().send("abc123rest");
    TestRead read{stream(), ReadUntilRegex{Regex{"[0-9]{3}"}, max_bytes}};
    await(read);
    EXPECT_EQ(read.text(), "abc123");
    expect_next("rest");
  }
}

TEST_P(ReadRegexTest, ClosesTheStreamBeyondMaxBytes) {
  peer().send("abc123");
  TestRead read{stream(), ReadUntilRegex{Regex{"[0-9]{3}"}, 5}};
  await(read);
  EXPECT_EQ(read.error(),
            (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::unsatisfiable_read}));
  EXPECT_TRUE(stream().closed());
  const TestRead rest{stream(), ReadBytes{6}};
  EXPECT_EQ(rest.text(), "abc123");
}

TEST_P(ReadRegexTest, ClosesTheStreamBeyondItsBuffer) {
  relink({.max_buffer_size = 100, .read_chunk_size = 10});
  TestRead read{stream(), ReadUntilRegex{Regex{"[0-9]"}, 5000}};
  peer().send(pattern(100));
  run_turns(loop, 20);
  EXPECT_FALSE(read.answered());
  peer().send("1");
  await(read);
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::buffer_full}));
}

TEST_P(ReadRegexTest, FailsWhenThePeerEndsWithoutAMatch) {
  TestRead read{stream(), ReadUntilRegex{Regex{"[0-9]"}}};
  peer().send("abc");
  peer().end();
  await(read);
  EXPECT_EQ(read.error(), peer_closed);
  const TestRead rest{stream(), ReadUntilRegex{Regex{"b"}}};
  EXPECT_EQ(rest.text(), "ab") << "a closed stream still matches what is unread";
  const TestRead none{stream(), ReadUntilRegex{Regex{"b"}}};
  EXPECT_EQ(none.error(), peer_closed);
}

TEST_P(ReadRegexTest, RefusesNoPattern) {
  const TestRead read{stream(), ReadUntilRegex{}};
  EXPECT_EQ(read.error(), (StreamError{StreamErrc::invalid_argument, CloseReason::none, {}}));
  EXPECT_FALSE(stream().reading());
}

TEST_P(ReadRegexTest, WorksInACoroutineAndWithACallback) {
  std::string order;
  const Regex number{"[0-9]+;"};
  const auto body = [&]() -> Task<> {
    order += (co_await stream().read_until_regex(number)).str();
    const auto kept =
        co_await stream().read_until_regex(number, 2, no_timeout, LimitPolicy::keep).as_result();
    order += !kept && kept.error().code == StreamErrc::unsatisfiable_read ? "|" : "?";
    co_await stream().read_until_regex(number, 2, no_timeout, LimitPolicy::keep);
  };
  start(body());
  peer().send("x12;y34;z56;");
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_EQ(order, "x12;|");
  EXPECT_THROW(std::rethrow_exception(failure), UnsatisfiableReadError);
  std::string called;
  stream().read(ReadUntilRegex{number}, [&](Result<Bytes> result) { called = result->str(); });
  ASSERT_TRUE(run_until([&] { return !called.empty(); }));
  EXPECT_EQ(called, "y34;");
}

// -- LimitPolicy::keep

TEST_P(KeepTest, KeepsBytesAndStreamBeyondMaxBytes) {
  const std::vector<ReadRequest> requests{ReadUntil{"def", 5, {}, LimitPolicy::keep},
                                          ReadUntilRegex{Regex{"def"}, 5, {}, LimitPolicy::keep}};
  for (const ReadRequest& request : requests) {
    relink({});
    peer().send("abcdefgh");
    for (int i = 0; i < 2; ++i) {
      TestRead read{stream(), request};
      await(read);
      EXPECT_EQ(read.error(), (StreamError{StreamErrc::unsatisfiable_read, CloseReason::none, {}}));
      EXPECT_FALSE(stream().closed());
      EXPECT_FALSE(stream().reading());
    }
    TestRead longer{stream(), ReadUntil{"def"}};
    await(longer);
    EXPECT_EQ(longer.text(), "abcdef");
    TestWrite write{stream(), "answer"};
    await(write);
    EXPECT_TRUE(write.succeeded());
    expect_next("gh");
  }
}

TEST_P(KeepTest, SucceedsWithinMaxBytes) {
  peer().send("abcdef");
  TestRead read{stream(), ReadUntil{"def", 6, {}, LimitPolicy::keep}};
  await(read);
  EXPECT_EQ(read.text(), "abcdef");
}

TEST_P(KeepTest, KeepsAStreamWhoseBufferIsFull) {
  relink({.max_buffer_size = 100, .read_chunk_size = 10});
  peer().send(pattern(150));
  for (int i = 0; i < 3; ++i) {
    TestRead read{stream(), ReadUntil{"\n", {}, {}, LimitPolicy::keep}};
    await(read);
    EXPECT_EQ(read.error(), (StreamError{StreamErrc::buffer_full, CloseReason::none, {}}));
    EXPECT_FALSE(stream().closed());
  }
  std::string all;
  for (int i = 0; i < 3; ++i) {
    TestRead part{stream(), ReadBytes{50}};
    await(part);
    all += part.text();
  }
  EXPECT_EQ(all, pattern(150));
}

TEST_P(KeepTest, BelongsToOneReadOnly) {
  relink({.max_buffer_size = 100});
  peer().send(pattern(150));
  TestRead kept{stream(), ReadUntil{"\n", 5, {}, LimitPolicy::keep}};
  await(kept);
  EXPECT_EQ(kept.error().code, StreamErrc::unsatisfiable_read);
  TestRead closing{stream(), ReadUntilClose{}};
  await(closing);
  EXPECT_EQ(closing.error(), (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::buffer_full}));
  EXPECT_TRUE(stream().closed());
}

TEST_P(KeepTest, IsThrownInACoroutineAndToldToACallback) {
  const auto body = [&]() -> Task<> { co_await stream().read_until("\n", 3, no_timeout, LimitPolicy::keep); };
  start(body());
  peer().send("abcdef");
  ASSERT_TRUE(run_until([&] { return ended; }));
  EXPECT_THROW(std::rethrow_exception(failure), UnsatisfiableReadError);
  std::optional<StreamErrc> code;
  stream().read(ReadUntil{"\n", 3, {}, LimitPolicy::keep},
                [&](const Result<Bytes>& result) { code = result.error().code; });
  ASSERT_TRUE(run_until([&] { return code.has_value(); }));
  EXPECT_EQ(code, StreamErrc::unsatisfiable_read);
  expect_next("abcdef");
}

} // namespace

} // namespace squall
