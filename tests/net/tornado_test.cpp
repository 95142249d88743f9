// SPDX-License-Identifier: BSD-3-Clause
//
// tornado_test.cpp: the tests of Tornado's streams (tornado/test/iostream_test.py), as far as Squall has their
// operations. Those that another file holds are not repeated.
//
// | Tornado's test                              | Ours                                                              |
// | ------------------------------------------- | ----------------------------------------------------------------- |
// | test_write_zero_bytes                       | AnEmptyWriteIsDone, WriteTest.MayBeEmpty                          |
// | test_close_buffered_data                    | AnEndDoesNotOvertakeData                                          |
// | test_read_until_close_after_close           | ReadUntilCloseTest.GivesTheRestWhenThePeerHasEnded                |
// | test_large_read_until                       | PairTest.ReadsALineOfFourMegabytesThatIsWrittenInPieces           |
// | test_read_until_with_close_after_second_... | ADelimiterThatComesWithTheEndIsFound                              |
// | test_close_callback_with_pending_read       | CloseTest.RunsTheCallbackWhileAReadIsPending                      |
// | test_future_close_callback                  | TheCloseCallbackWaitsForTheClose                                  |
// | test_write_memoryview                       | APartOfABufferIsWritten                                           |
// | test_read_bytes_partial                     | APartialReadGivesWhatIsThere                                      |
// | test_read_until_max_bytes                   | ALineBeyondMaxBytesClosesTheStreamLater                           |
// | test_read_until_max_bytes_inline            | ALineBeyondMaxBytesClosesTheStreamAtOnce                          |
// | test_read_until_max_bytes_ignores_extra     | ReadUntilTest.FailsBeyondMaxBytesAlthoughTheDelimiterIsThere      |
// | test_read_until_regex_max_bytes             | AMatchWithinMaxBytesIsFoundAndOneBeyondCloses                     |
// | test_read_until_regex_max_bytes_inline      | AMatchBeyondMaxBytesClosesTheStreamAtOnce                         |
// | test_read_until_regex_max_bytes_ignores_... | ReadRegexTest.ClosesTheStreamBeyondMaxBytes                       |
// | test_small_reads_from_large_buffer          | SmallReadsTakeALargeWrite                                         |
// | test_small_read_untils_from_large_buffer    | ReadUntilTest.GivesManyLinesOfASmallBuffer                        |
// | test_flow_control                           | PairTest.HoldsTheWriterBackWhileTheReaderPauses                   |
// | test_read_into                              | ABufferIsFilledAcrossWrites                                       |
// | test_read_into_zero_bytes                   | ReadIntoTest.OfSizeZeroIsThereAtOnce                              |
// | test_many_mixed_reads                       | ReadsOfEachKindAgreeOverAMillionBytes                             |
// | test_inline_read_error                      | AnErrorInsideTheCallIsItsOutcome (Tornado throws it)              |
// | test_async_read_error_logging               | AnErrorOfAPendingReadIsLoggedOnce                                 |
// | test_future_write                           | PairTest.AnswersEveryWriteOfTenProducers                          |
// | test_typed_memoryview                       | TornadoTLS.AViewOfWideElementsIsWrittenByItsBytes                 |
// | TestStreamBuffer.test_small, .test_large    | TheWriteQueueGivesWhatWasAppended,                                |
// |                                             | WriteQueue.BehavesLikeAStringWhateverIsDoneToIt                   |
// | test_connection_closed, test_read_until_... | TornadoClient (tornado_client_test.cpp), and all else that        |
// | test_connection_refused, test_pipe_iostream | connects, streams in chunks, or is on a pipe                      |
// | test_delayed_close_callback                 | EveryByteIsDeliveredBeforeTheCloseCallback                        |
// | test_read_callback_error                    | StreamExceptionTest.OfAReadsAnswerLeavesTheStreamUsable (Tornado  |
// |                                             | closes the stream; an actor's handler does, too)                  |
// | test_read_until_max_bytes_inline_legacy     | ALineBeyondMaxBytesClosesTheStreamAtOnce (the callback gets the   |
// |                                             | error; Tornado's never ran)                                       |
#include "net/write_queue.hpp"
#include "tests/net/stream_sides.hpp"
#include <squall/net/log.hpp>

#include <random>

namespace squall {

namespace {

using namespace testing_support;

/// The names of the events that are logged while it lives.
class LogNames {
public:
  LogNames() {
    set_log_rate(0, 1); // everything passes
    set_log_sink([this](const LogEvent& event) { names.emplace_back(event.name); });
  }
  LogNames(const LogNames&) = delete;
  LogNames& operator=(const LogNames&) = delete;
  ~LogNames() {
    set_log_sink({});
    set_log_rate(10, 20);
  }
  std::vector<std::string> names;
};

/// Tornado's pair of a reader (rs) and a writer (ws).
class TornadoTest : public testing::TestWithParam<StreamFactory> {
protected:
  void connect(const StreamOptions& options = {}) { std::tie(rs, ws) = GetParam().make_pair(loop, options); }

  ~TornadoTest() override {
    for (IOStream* stream : {&rs, &ws})
      if (*stream)
        stream->set_close_callback(nullptr, EndNotice::lenient);
  }

  /// Runs the coroutine to its end; an exception of it fails the test.
  void run(Task<> task) {
    bool ended = false;
    std::exception_ptr failure;
    RunningTask running{std::move(task), [&](std::exception_ptr error) {
                          ended = true;
                          failure = error;
                        }};
    running.start(context);
    ASSERT_TRUE(run_until([&] { return ended; }));
    if (failure)
      std::rethrow_exception(failure);
  }

  [[nodiscard]] bool run_until(const std::function<bool()>& predicate) {
    return testing_support::run_until(loop, predicate);
  }
  void count_closes() {
    rs.set_close_callback([this] { ++closes; });
  }
  /// `read` fails with a limit, without a throw; it is logged, and the close callback runs.
  void expect_limit(ReadRequest request, std::string_view written, bool inline_read) {
    connect();
    count_closes();
    const LogNames log;
    static_cast<void>(ws.write(Bytes{written}));
    if (inline_read)
      run_turns(loop);
    TestRead read;
    std::optional<StreamError> told;
    if (inline_read)
      rs.read(request, [&](const Result<Bytes>& result) { told = result.error(); });
    else
      read.start(rs, request);
    ASSERT_TRUE(run_until([&] { return read.answered() || told; }));
    EXPECT_EQ(told.value_or(read.error()),
              (StreamError{StreamErrc::closed, CloseReason::limit, StreamErrc::unsatisfiable_read}));
    ASSERT_TRUE(run_until([&] { return closes == 1; }));
    EXPECT_EQ(log.names, std::vector<std::string>{"unsatisfiable_read"});
    EXPECT_EQ(rs.error().real_error, StreamErrc::unsatisfiable_read);
  }

  EventLoop loop;
  TaskContext context{loop};
  IOStream rs;
  IOStream ws;
  int closes = 0;
};
SQUALL_STREAM_CONTRACT(TornadoTest);

TEST_P(TornadoTest, AnEmptyWriteIsDone) {
  connect();
  run([](IOStream stream) -> Task<> { co_await stream.write(""); }(ws));
  EXPECT_FALSE(ws.writing());
}

TEST_P(TornadoTest, AnEndDoesNotOvertakeData) {
  connect({.read_chunk_size = 256});
  run([](IOStream reader, IOStream writer) -> Task<> {
    co_await writer.write(Bytes{std::string(512, 'A')});
    EXPECT_EQ(co_await reader.read_bytes(256), std::string(256, 'A'));
    writer.close();
    for (int i = 0; i < 10; ++i)
      co_await sleep_for(0ms);
    EXPECT_EQ(co_await reader.read_bytes(256), std::string(256, 'A'));
  }(rs, ws));
}

TEST_P(TornadoTest, ADelimiterThatComesWithTheEndIsFound) {
  connect();
  TestRead read{rs, ReadUntil{"done"}};
  run_turns(loop);
  run([](IOStream writer) -> Task<> {
    co_await writer.write(Bytes{std::string(2048, 'x')});
    co_await writer.write("done");
    writer.close();
  }(ws));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), std::string(2048, 'x') + "done");
}

TEST_P(TornadoTest, TheCloseCallbackWaitsForTheClose) {
  connect();
  count_closes();
  run([](IOStream reader, IOStream writer) -> Task<> {
    co_await writer.write("a");
    EXPECT_EQ(co_await reader.read_bytes(1), "a");
  }(rs, ws));
  run_turns(loop);
  EXPECT_EQ(closes, 0);
  ws.close();
  ASSERT_TRUE(run_until([&] { return closes == 1; })) << "although no read is pending";
}

TEST_P(TornadoTest, APartOfABufferIsWritten) {
  connect();
  TestRead read{rs, ReadBytes{4}};
  Bytes whole{">>hello<<"};
  static_cast<void>(ws.write(whole.slice(2, 5)));
  whole = {}; // the stream keeps what it needs
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "hell");
  EXPECT_EQ(rs.unread_size(), 1u);
}

TEST_P(TornadoTest, APartialReadGivesWhatIsThere) {
  connect();
  TestRead read{rs, ReadBytes{50, true}};
  static_cast<void>(ws.write("hello"));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "hello");
  read.start(rs, ReadBytes{3, true});
  static_cast<void>(ws.write("world"));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "wor");
  read.start(rs, ReadBytes{0, true});
  EXPECT_EQ(read.text(), "") << "at once";
}

TEST_P(TornadoTest, ALineBeyondMaxBytesClosesTheStreamLater) {
  expect_limit(ReadUntil{"def", 5}, "123456", false);
}

TEST_P(TornadoTest, ALineBeyondMaxBytesClosesTheStreamAtOnce) {
  expect_limit(ReadUntil{"def", 5}, "123456", true);
}

TEST_P(TornadoTest, AMatchBeyondMaxBytesClosesTheStreamAtOnce) {
  expect_limit(ReadUntilRegex{Regex{"def"}, 5}, "123456", true);
}

TEST_P(TornadoTest, AMatchWithinMaxBytesIsFoundAndOneBeyondCloses) {
  connect();
  for (const std::size_t max_bytes : {50u, 6u}) {
    TestRead read{rs, ReadUntilRegex{Regex{"def"}, max_bytes}};
    static_cast<void>(ws.write("abcdef"));
    ASSERT_TRUE(run_until([&] { return read.answered(); }));
    EXPECT_EQ(read.text(), "abcdef");
  }
  EXPECT_FALSE(rs.closed());
  expect_limit(ReadUntilRegex{Regex{"def"}, 5}, "123456", false);
}

TEST_P(TornadoTest, SmallReadsTakeALargeWrite) {
  connect({.max_buffer_size = 10 * 1024});
  static_cast<void>(ws.write(Bytes{pattern(100 * 1024)}));
  run([](IOStream reader) -> Task<> {
    std::string all;
    for (int i = 0; i < 100; ++i)
      all += co_await reader.read_bytes(1024);
    EXPECT_EQ(all, pattern(100 * 1024));
  }(rs));
}

TEST_P(TornadoTest, ABufferIsFilledAcrossWrites) {
  connect();
  const MutableBytes buffer{10};
  TestRead read{rs, ReadInto{buffer}};
  static_cast<void>(ws.write("hello"));
  run_turns(loop);
  EXPECT_TRUE(rs.reading());
  static_cast<void>(ws.write("world!!"));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_FALSE(rs.reading());
  EXPECT_EQ((**read.outcome).size(), 10u);
  EXPECT_EQ(buffer.front(10), "helloworld");

  read.start(rs, ReadInto{buffer});
  run_turns(loop);
  EXPECT_TRUE(rs.reading()) << "two bytes are not enough";
  static_cast<void>(ws.write("1234567890"));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(buffer.front(10), "!!12345678");

  const MutableBytes small{4};
  static_cast<void>(ws.write("abcdefghi"));
  read.start(rs, ReadInto{small});
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(small.front(4), "90ab");
  read.start(rs, ReadBytes{7});
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "cdefghi");
}

TEST_P(TornadoTest, ReadsOfEachKindAgreeOverAMillionBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random{seed};
  const std::string text = pattern(1'000'000);
  connect();
  const auto produce = [&]() -> Task<> {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 1000, text.size() - at);
      co_await ws.write(Bytes{text.substr(at, size)});
      at += size;
    }
    ws.close();
  };
  std::string got;
  const auto consume = [&]() -> Task<> {
    while (got.size() < text.size()) {
      const std::size_t size = 1 + random() % 1000;
      const bool partial = random() % 2 == 0 || size > text.size() - got.size();
      if (random() % 2 == 0) {
        got += co_await rs.read_bytes(size, partial);
        continue;
      }
      const MutableBytes buffer{size};
      const std::size_t filled = co_await rs.read_into(buffer, partial);
      got += buffer.front(filled);
    }
  };
  RunningTask producer{produce(), [](std::exception_ptr) {}};
  producer.start(context);
  run(consume());
  EXPECT_EQ(got, text);
}

TEST_P(TornadoTest, EveryByteIsDeliveredBeforeTheCloseCallback) {
  connect();
  std::string order;
  rs.set_close_callback([&] { order += "closed"; });
  static_cast<void>(ws.write("12"));
  rs.read(ReadBytes{1}, [&](const Result<Bytes>& first) {
    order += first->view();
    rs.read(ReadBytes{1}, [&](const Result<Bytes>& second) { order += second->view(); });
    ws.close();
  });
  ASSERT_TRUE(run_until([&] { return order.ends_with("closed"); }));
  EXPECT_EQ(order, "12closed");
}

/// One stream on a transport whose n-th read fails with EIO.
class TornadoFaultTest : public testing::Test {
protected:
  void connect(int fail_at) {
    plan->fail_at = fail_at;
    plan->fault = {Fault::Kind::error, EIO};
    stream = IOStream{loop, std::make_unique<MemoryTransport>(connection, connection->a, plan)};
    stream.set_close_callback([this] { ++closes; });
  }

  const StreamError input_output_error{StreamErrc::closed, CloseReason::transport_error,
                                       std::error_code{EIO, std::generic_category()}};
  EventLoop loop;
  std::shared_ptr<FaultPlan> plan = std::make_shared<FaultPlan>();
  std::shared_ptr<MemoryConnection> connection = std::make_shared<MemoryConnection>();
  IOStream stream;
  int closes = 0;
  LogNames log;
};

TEST_F(TornadoFaultTest, AnErrorInsideTheCallIsItsOutcome) {
  connect(0);
  TestRead read;
  EXPECT_NO_THROW(read.start(stream, ReadBytes{1}));
  EXPECT_EQ(read.error(), input_output_error) << "at once";
  run_turns(loop);
  EXPECT_EQ(closes, 1);
}

TEST_F(TornadoFaultTest, AnErrorOfAPendingReadIsLoggedOnce) {
  connect(1);
  TestRead read{stream, ReadBytes{1}};
  run_turns(loop);
  EXPECT_FALSE(read.answered());
  connection->b.send("x");
  run_turns(loop);
  EXPECT_EQ(read.error(), input_output_error);
  EXPECT_EQ(closes, 1);
  EXPECT_EQ(log.names, std::vector<std::string>{"stream_failed"});
}

/// What gather() gives of the first `count` pieces.
std::string peek(const WriteQueue& queue, std::size_t count) {
  std::vector<IoSlice> slices(count);
  slices.resize(queue.gather(slices.data(), count));
  std::string text;
  for (const IoSlice& slice : slices)
    text.append(static_cast<const char*>(slice.data), slice.size);
  return text;
}

TEST(TornadoStreamBuffer, TheWriteQueueGivesWhatWasAppended) {
  std::mt19937 random{4711};
  const std::vector<std::string> small{"12", "345", "67", "89a", "bcde", "fgh", "ijklmn"};
  std::vector<std::string> large;
  for (const std::size_t size : {10, 6, 40, 36, 4, 21, 12})
    large.push_back(pattern(size, size));
  for (const auto& parts : {small, large}) {
    WriteQueue queue;
    std::string expected;
    for (const std::string& part : parts) {
      queue.append(Bytes{part});
      expected += part;
      EXPECT_EQ(queue.size(), expected.size());
      for (std::size_t count = 1; count < 9; ++count) {
        const std::string front = peek(queue, count);
        EXPECT_FALSE(front.empty());
        EXPECT_TRUE(expected.starts_with(front));
      }
    }
    while (!expected.empty()) {
      const std::size_t size = 1 + random() % expected.size();
      queue.advance(size);
      expected.erase(0, size);
      EXPECT_EQ(queue.size(), expected.size());
      EXPECT_EQ(peek(queue, 9), expected);
    }
  }
}

} // namespace

} // namespace squall
