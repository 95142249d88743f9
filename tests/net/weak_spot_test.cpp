// SPDX-License-Identifier: BSD-3-Clause
//
// weak_spot_test.cpp: where Tornado's streams hurt their users, and what Squall does instead.
//
// | Weak spot of Tornado                                  | Here                                                         |
// | ----------------------------------------------------- | ------------------------------------------------------------ |
// | a read cannot be cancelled, a late one goes on and    | ACancelledReadLeavesEveryByteUnread,                         |
// | swallows bytes                                        | ALateReadLeavesEveryByteUnread                               |
// | close() drops what is unsent                          | CloseAfterFlushTest.HandsOverEverything, .IsCutAtItsDeadline |
// | the peer's end kills what is unsent; no half-close    | HalfCloseTest.AnswersAClientThatEndedItsSide,                |
// |                                                       | ShutdownWriteTest.GivesThePeerEverythingAndThenTheEnd,       |
// |                                                       | AnAnswerOfMegabytesReachesAPeerThatEndedItsSide              |
// | read_until_close succeeds with cut data               | CutDataIsNeverTakenForWhole                                  |
// | writes are unbounded                                  | WritesAreBoundedByDefault,                                   |
// |                                                       | WriteTest.IsRefusedBeyondTheLimitAndQueuesNothing            |
// | a search begins anew with every arrival               | ASearchLooksAtNoByteAgain, ReadMatch.SearchesNoByteTwice...  |
// | reads without max_bytes take 100 MiB                  | AReadIsBoundedByTheBufferOfItsStream,                        |
// |                                                       | AReadWithoutMaxBytesHasTheStreamsOwn                         |
// | an overflow is thrown, failed or passed over,         | OutcomeMatrix.HoldsHoweverTheBytesArrive                     |
// | depending on timing                                   |                                                              |
// | max_bytes always closes the stream                    | KeepTest.KeepsBytesAndStreamBeyondMaxBytes                   |
// | no peek                                               | PeekTest.GivesWhatTheNextReadGivesAgain                      |
// | errors are thrown by the call or are in the future    | NoCallThrowsTheErrorOfItsOperation                           |
// | a bad argument wedges the stream                      | ABadArgumentLeavesTheStreamUsable                            |
// | a failed read of a closed stream hides its bytes      | AFailedReadOfAClosedStreamHidesNoByte                        |
// | a close callback that is set late never runs          | CloseTest.RunsACloseCallbackThatIsSetAfterTheClose           |
// | a death is not noticed while bytes are unread         | ABreakIsNoticedWhileBytesAreUnread,                          |
// | or nobody listens                                     | CloseTest.IsNoticedByAnIdleStreamWhenTheConnectionBreaks     |
// | a fast peer starves the others                        | FairnessOnSockets.ServesAnEchoWhileAPeerKeepsItsSocketFull,  |
// |                                                       | FairnessTest (all)                                           |
// | a black hole holds up the other addresses of a host,  | WeakSpot25 (all, connect_race_test.cpp),                     |
// | errors hide each other, a connect never ends          | WeakSpot25Client (all, tcp_client_test.cpp)                  |
#include "net/read_match.hpp"
#include "tests/net/stream_sides.hpp"
#include <squall/net/log.hpp>

namespace squall {

namespace {

using namespace testing_support;

class WeakSpotTest : public SidesTest {
protected:
  /// Each kind of read, none of which "abcdefgh" satisfies.
  static std::vector<ReadRequest> unsatisfied_reads(Timeout timeout) {
    return {ReadBytes{100, false, timeout},
            ReadInto{MutableBytes{100}, false, timeout},
            ReadUntil{"\n", std::nullopt, timeout},
            ReadUntil{"\n", 8, timeout},
            ReadUntilRegex{Regex{"[0-9]"}, std::nullopt, timeout},
            ReadUntilClose{timeout},
            Peek{100, timeout}};
  }

  /// Every byte of "abcdefgh" is unread, and the stream idle.
  void expect_all_unread() {
    EXPECT_EQ(stream().unread_size(), 8u);
    EXPECT_FALSE(stream().reading());
    EXPECT_FALSE(stream().closed());
    const TestRead peek{stream(), Peek{8}};
    EXPECT_EQ(peek.text(), "abcdefgh");
  }

  void receive_bytes() {
    for (const char* part : {"abc", "def", "gh"}) {
      peer().send(part);
      run_turns(loop, 3);
    }
  }
};
SQUALL_STREAM_CONTRACT(WeakSpotTest);

TEST_P(WeakSpotTest, ACancelledReadLeavesEveryByteUnread) {
  for (const ReadRequest& request : unsatisfied_reads(no_timeout)) {
    SCOPED_TRACE("read of kind " + std::to_string(request.index()));
    relink({});
    TestRead read{stream(), request};
    receive_bytes();
    stream().cancel_read();
    expect_all_unread();
    await(read);
    EXPECT_EQ(read.error().code, StreamErrc::cancelled);
    const auto body = [&]() -> Task<> { co_await stream().read(request); };
    start(body());
    EXPECT_TRUE(stream().reading());
    running.reset(); // destroying a coroutine cancels as well
    expect_all_unread();
  }
}

TEST_P(WeakSpotTest, ALateReadLeavesEveryByteUnread) {
  for (const ReadRequest& request : unsatisfied_reads(1s)) {
    SCOPED_TRACE("read of kind " + std::to_string(request.index()));
    relink({});
    TestRead read{stream(), request};
    receive_bytes();
    pass(1s);
    EXPECT_EQ(read.error().code, StreamErrc::timed_out);
    expect_all_unread();
    peer().send("i\n");
    TestRead next{stream(), ReadUntil{"\n"}};
    await(next);
    EXPECT_EQ(next.text(), "abcdefghi\n") << "the next read is not disturbed by the late one";
  }
}

TEST_P(WeakSpotTest, AnAnswerOfMegabytesReachesAPeerThatEndedItsSide) {
  // Without half_close: the peer's end closes the stream, but cuts nothing that is written.
  const std::string answer = pattern(20 * 1024 * 1024);
  const auto body = [&]() -> Task<> {
    co_await stream().read_until("\n");
    co_await stream().write(Bytes{answer}).as_result();
    co_await stream().read_until("\n").as_result();
  };
  start(body());
  peer().send("question\n");
  peer().end();
  receive_all();
  EXPECT_EQ(peer().received.size(), answer.size());
  EXPECT_EQ(peer().received, answer);
}

TEST_P(WeakSpotTest, CutDataIsNeverTakenForWhole) {
  set_log_level(LogLevel::warning);
  const std::vector<std::pair<CloseReason, std::function<void()>>> cuts{
      {CloseReason::reset,
       [&] {
         static_cast<void>(stream().write("unread by the peer"));
         run_turns(loop);
         peer().reset();
       }},
      {CloseReason::local_close, [&] { stream().close(); }},
      {CloseReason::aborted, [&] { stream().abort(); }},
      {CloseReason::limit, [&] { peer().send(pattern(100)); }}};
  for (const auto& [reason, cut] : cuts) {
    if (reason == CloseReason::reset && !shows_resets())
      continue;
    SCOPED_TRACE(to_string(reason));
    relink({.max_buffer_size = 100});
    TestRead read{stream(), ReadUntilClose{}};
    receive_bytes();
    cut();
    await(read);
    EXPECT_FALSE(read.succeeded());
    EXPECT_EQ(read.error().reason, reason);
    const TestRead part{stream(), ReadUntilClose{}};
    EXPECT_TRUE(part.text().starts_with("abcdefgh")) << "the part is there for who wants it";
  }
  set_log_level(LogLevel::info);
}

TEST_P(WeakSpotTest, AReadWithoutMaxBytesHasTheStreamsOwn) {
  set_log_level(LogLevel::warning);
  for (const ReadRequest& request :
       {ReadRequest{ReadUntil{"\n"}}, ReadRequest{ReadUntilRegex{Regex{"\n"}}}}) {
    relink({.default_max_bytes = 10});
    TestRead exact{stream(), request};
    peer().send("123456789\n");
    await(exact);
    EXPECT_EQ(exact.text(), "123456789\n");
    TestRead beyond{stream(), request};
    peer().send("1234567890\n");
    await(beyond);
    EXPECT_EQ(beyond.error().reason, CloseReason::limit);
    EXPECT_EQ(beyond.error().real_error, StreamErrc::unsatisfiable_read);
  }
  relink({.default_max_bytes = 10});
  TestRead of_its_own{stream(), ReadUntil{"\n", 11}};
  peer().send("1234567890\n");
  await(of_its_own);
  EXPECT_EQ(of_its_own.text(), "1234567890\n");
  set_log_level(LogLevel::info);
}

TEST_P(WeakSpotTest, WritesAreBoundedByDefault) {
  fill_connection();
  const Bytes piece{pattern(4 * 1024 * 1024)};
  for (int i = 0; i < 1000; ++i) { // 4 GiB, if nobody refused
    TestWrite write{stream(), piece};
    if (write.answered()) {
      EXPECT_EQ(write.error().code, StreamErrc::buffer_full);
      EXPECT_FALSE(stream().closed());
      return;
    }
    stream().cancel_write(write);
  }
  FAIL() << "4 GiB were queued";
}

TEST_P(WeakSpotTest, AReadIsBoundedByTheBufferOfItsStream) {
  set_log_level(LogLevel::warning);
  for (const ReadRequest& request :
       {ReadRequest{ReadUntil{"\n"}}, ReadRequest{ReadUntilRegex{Regex{"[0-9]"}}},
        ReadRequest{ReadUntilClose{}}}) {
    relink({.max_buffer_size = 10'000, .read_chunk_size = 1000});
    TestRead read{stream(), request};
    ASSERT_TRUE(run_until([&] {
      peer().send_some(pattern(5000));
      EXPECT_LE(stream().unread_size(), 10'001u);
      return read.answered();
    }));
    EXPECT_EQ(read.error(), (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::buffer_full}));
  }
  set_log_level(LogLevel::info);
}

TEST_P(WeakSpotTest, NoCallThrowsTheErrorOfItsOperation) {
  // Whatever is wrong, the outcome says it, however the operation was asked for.
  relink({.max_buffer_size = 10, .max_write_buffer_size = 10});
  for (const bool closed : {false, true}) {
    if (closed)
      stream().close();
    std::vector<ReadRequest> bad{ReadBytes{11}, Peek{11}, ReadUntil{""}, ReadUntilRegex{}};
    if (closed)
      bad.insert(bad.end(), {ReadBytes{1}, ReadInto{MutableBytes{1}}, ReadUntil{"\n"}, ReadUntilClose{}});
    for (const ReadRequest& request : bad) {
      TestRead read;
      EXPECT_NO_THROW(read.start(stream(), request));
      EXPECT_TRUE(read.answered() && !read.succeeded());
      int calls = 0;
      EXPECT_NO_THROW(stream().read(request, [&](const Result<Bytes>& result) {
        ++calls;
        EXPECT_EQ(result.error(), read.error()) << "the same, however it is asked";
      }));
      EXPECT_EQ(calls, 0) << "never inside the call";
      run_turns(loop);
      EXPECT_EQ(calls, 1);
    }
    TestWrite write;
    EXPECT_NO_THROW(write.start(stream(), Bytes{pattern(11)}));
    EXPECT_EQ(write.error().code, closed ? StreamErrc::closed : StreamErrc::buffer_full);
    EXPECT_NO_THROW(static_cast<void>(stream().read_until("")));
    EXPECT_NO_THROW(static_cast<void>(stream().write(Bytes{pattern(11)})));
  }
}

TEST_P(WeakSpotTest, ABadArgumentLeavesTheStreamUsable) {
  relink({.max_buffer_size = 100});
  const std::vector<std::pair<ReadRequest, StreamErrc>> bad{
      {ReadUntil{""}, StreamErrc::invalid_argument},
      {ReadUntilRegex{}, StreamErrc::invalid_argument},
      {ReadBytes{101}, StreamErrc::buffer_full},
      {ReadBytes{static_cast<std::size_t>(-1)}, StreamErrc::buffer_full}, // what a negative size becomes
      {Peek{101}, StreamErrc::buffer_full},
      {Peek{static_cast<std::size_t>(-1)}, StreamErrc::buffer_full}};
  for (const auto& [request, code] : bad) {
    SCOPED_TRACE("read of kind " + std::to_string(request.index()));
    TestRead read{stream(), request};
    EXPECT_EQ(read.error(), (StreamError{code, CloseReason::none, {}}));
    EXPECT_FALSE(stream().reading());
    peer().send("line\n");
    TestRead next{stream(), ReadUntil{"\n"}};
    await(next);
    EXPECT_EQ(next.text(), "line\n");
  }
  EXPECT_THROW(Regex{"(unclosed"}, std::invalid_argument) << "before it reaches a stream";
}

TEST_P(WeakSpotTest, AFailedReadOfAClosedStreamHidesNoByte) {
  TestRead pending{stream(), ReadBytes{100}};
  receive_bytes();
  stream().close();
  await(pending);
  for (const ReadRequest& request : unsatisfied_reads(no_timeout)) {
    if (std::holds_alternative<ReadUntilClose>(request)) // which takes the rest
      continue;
    for (int i = 0; i < 2; ++i) {
      const TestRead failed{stream(), request};
      EXPECT_EQ(failed.error().reason, CloseReason::local_close);
      EXPECT_EQ(stream().unread_size(), 8u);
    }
  }
  const TestRead first{stream(), ReadBytes{3}};
  const TestRead second{stream(), ReadUntil{"f"}};
  const TestRead rest{stream(), ReadUntilClose{}};
  EXPECT_EQ(first.text() + "," + second.text() + "," + rest.text(), "abc,def,gh");
}

TEST_P(WeakSpotTest, ABreakIsNoticedWhileBytesAreUnread) {
  if (!shows_resets())
    GTEST_SKIP() << "an end, which leaves what is unread in peace";
  peer().send("abcdefgh");
  TestRead peek{stream(), Peek{8}};
  await(peek);
  static_cast<void>(stream().write("unread by the peer"));
  run_turns(loop);
  peer().reset();
  ASSERT_TRUE(run_until([&] { return stream().closed(); })) << "nobody reads, and no callback is set";
  EXPECT_EQ(stream().error().reason, CloseReason::reset);
  const TestRead read{stream(), ReadBytes{8}};
  EXPECT_EQ(read.text(), "abcdefgh");
}

TEST(WeakSpot, ASearchLooksAtNoByteAgain) {
  // Bytes that were searched are replaced by a match: who looks at them again finds it.
  constexpr std::size_t piece = 1024;
  constexpr std::size_t look_back = 64; // more than the longest match
  for (const ReadRequest& request :
       {ReadRequest{ReadUntil{"\r\n\r\n"}}, ReadRequest{ReadUntilRegex{Regex{"\r?\n\r?\n"}}}}) {
    SCOPED_TRACE("read of kind " + std::to_string(request.index()));
    ReadMatch match;
    match.start(ReadRequest{request}, 64 * 1024 * 1024);
    std::string unread;
    for (int i = 0; i < 256; ++i) {
      unread.append(piece, 'x');
      ASSERT_EQ(match.find(unread).kind, ReadMatch::Outcome::Kind::wants_more) << "in piece " << i;
      const std::string bait = "\r\n\r\n";
      const std::size_t searched = unread.size() - look_back;
      for (std::size_t at = unread.size() - std::min(unread.size(), piece); at + bait.size() <= searched;
           at += 4)
        unread.replace(at, bait.size(), bait);
    }
    unread += "\r\n\r\n";
    EXPECT_EQ(match.find(unread).size, unread.size()) << "it still finds what is new";
  }
}

} // namespace

} // namespace squall
