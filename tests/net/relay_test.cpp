// SPDX-License-Identifier: BSD-3-Clause
//
// relay_test.cpp: what goes from one stream through one buffer to another arrives as it was, whichever way it is read and
// written, though the buffer is overwritten as soon as a write is answered; on every transport.
#include "tests/net/relay_support.hpp"
#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;
using namespace std::chrono_literals;

/// Two connections, and a relay between them that a test writes.
class RelayTest : public testing::TestWithParam<StreamFactory> {
protected:
  void connect() {
    const StreamOptions options{.max_buffer_size = 64 * 1024 * 1024};
    std::tie(feeder, in) = GetParam().make_pair(loop, options);
    std::tie(out, collector) = GetParam().make_pair(loop, options);
  }

  /// Sends the data of `plan` through `relay`, which sets `relayed`, and compares what comes.
  template <class Relay>
  void run(const RelayPlan& plan, Relay relay) {
    connect();
    const std::string data = relayed_data(plan);
    static_cast<void>(feeder.write(Bytes{data}));
    static_cast<void>(feeder.close_after_flush(10s));
    TestRead collected{collector, ReadBytes{data.size()}};
    relay();
    ASSERT_TRUE(run_until(loop, [&] { return collected.answered(); })) << plan;
    ASSERT_TRUE(run_until(loop, [&] { return relayed; })) << plan;
    ASSERT_TRUE(collected.succeeded()) << plan << ": " << to_string(collected.error());
    const std::string_view came = collected.outcome->value().view();
    const auto differs = std::mismatch(came.begin(), came.end(), data.begin()).first - came.begin();
    EXPECT_TRUE(came == data) << plan << ": differs from byte " << differs << " on";
    relayed = false;
  }

  EventLoop loop;
  TaskContext context{loop};
  IOStream feeder, in, out, collector;
  bool relayed = false;
};
SQUALL_STREAM_CONTRACT(RelayTest);

// -- awaited

Task<> write_awaited(IOStream out, WriteWay way, Bytes bytes, RelayFile& file) {
  if (way == WriteWay::whole) {
    co_await out.write(bytes);
  } else if (way == WriteWay::halves) { // the answer of the second is one of the first, too
    static_cast<void>(out.write(bytes.slice(0, bytes.size() / 2)));
    co_await out.write(bytes.slice(bytes.size() / 2));
  } else if (way == WriteWay::pieces) {
    co_await out.write_pieces(halves_of(bytes));
  } else {
    const std::uint64_t offset = file.append(bytes.view());
    co_await out.write_file(file.file(), offset, bytes.size());
  }
}

Task<> relay_awaited(IOStream in, IOStream out, RelayPlan plan) {
  const RelayBuffer buffer{plan.size};
  RelayFile file;
  ChunkReader chunks = in.read_chunks(ReadChunks{plan.total, plan.size});
  for (std::size_t done = 0; done < plan.total;) {
    Bytes bytes;
    if (plan.read == ReadWay::chunks)
      bytes = *co_await chunks.next();
    else
      bytes = co_await in.read(next_read(plan, plan.total - done, buffer));
    done += bytes.size();
    co_await write_awaited(out, plan.write, buffer.take(bytes), file);
    buffer.overwrite();
    if (plan.read == ReadWay::peek)
      co_await in.read_bytes(bytes.size());
  }
}

TEST_P(RelayTest, DeliversWhatCameInCoroutines) {
  for (const RelayPlan& plan : relay_plans()) {
    std::exception_ptr failure;
    std::optional<RunningTask> running;
    run(plan, [&] {
      running.emplace(relay_awaited(in, out, plan), [&](std::exception_ptr error) {
        failure = error;
        relayed = true;
      });
      running->start(context);
    });
    if (failure)
      std::rethrow_exception(failure);
  }
}

// -- with callbacks

class CallbackRelay {
public:
  CallbackRelay(IOStream in, IOStream out, const RelayPlan& plan, bool& over)
      : in_{std::move(in)}, out_{std::move(out)}, plan_{plan}, over_{over} {}

  void start() {
    if (plan_.read == ReadWay::chunks)
      in_.read_chunks(
          ReadChunks{plan_.total, plan_.size},
          [this](const Bytes& chunk, std::function<void()> accept) { write(chunk, std::move(accept)); },
          [](const Result<void>& result) { EXPECT_TRUE(result); });
    else
      read();
  }

private:
  void read() {
    in_.read(next_read(plan_, plan_.total - done_, buffer_), [this](const Result<Bytes>& result) {
      ASSERT_TRUE(result) << to_string(result.error());
      const std::size_t size = result->size();
      write(*result, [this, size] {
        if (plan_.read == ReadWay::peek)
          in_.read(ReadBytes{size}, [this](const Result<Bytes>&) { go_on(); });
        else
          go_on();
      });
    });
  }

  void go_on() {
    if (done_ < plan_.total)
      read();
  }

  void write(const Bytes& bytes, std::function<void()> then) {
    done_ += bytes.size();
    const auto answered = [this, next = std::move(then)](const Result<void>& result) {
      EXPECT_TRUE(result);
      buffer_.overwrite();
      over_ = done_ == plan_.total;
      next();
    };
    const Bytes taken = buffer_.take(bytes);
    switch (plan_.write) {
    case WriteWay::whole:
      return out_.write(taken, answered);
    case WriteWay::halves:
      out_.write(taken.slice(0, taken.size() / 2), [](const Result<void>& result) { EXPECT_TRUE(result); });
      return out_.write(taken.slice(taken.size() / 2), answered);
    case WriteWay::pieces:
      return out_.write_pieces(halves_of(taken), answered);
    case WriteWay::file:
      const std::uint64_t offset = file_.append(taken.view());
      return out_.write_file(WriteFile{file_.file(), offset, taken.size()}, answered);
    }
  }

  IOStream in_;
  IOStream out_;
  const RelayPlan plan_;
  bool& over_;
  const RelayBuffer buffer_{plan_.size};
  RelayFile file_;
  std::size_t done_ = 0;
};

TEST_P(RelayTest, DeliversWhatCameWithCallbacks) {
  for (const RelayPlan& plan : relay_plans()) {
    std::optional<CallbackRelay> relay;
    run(plan, [&] { relay.emplace(in, out, plan, relayed).start(); });
    run_turns(loop, 3); // the last callbacks are through it
  }
}

// -- a buffer that is used again, in other places

TEST_P(RelayTest, TheObviousRelayDelivers) {
  const RelayPlan plan{ReadWay::into, WriteWay::whole, 64 * 1024, 20'000'000};
  const auto relay = [](IOStream a, IOStream b, std::size_t total) -> Task<> {
    const MutableBytes buffer{64 * 1024};
    for (std::size_t done = 0; done < total;) {
      const std::size_t n = co_await a.read_into(buffer, true);
      co_await b.write(buffer.front(n));
      done += n;
    }
  };
  std::optional<RunningTask> running;
  run(plan, [&] {
    running.emplace(relay(in, out, plan.total),
                    [&](std::exception_ptr error) { relayed = error == nullptr; });
    running->start(context);
  });
}

TEST_P(RelayTest, AnAnsweredWriteOfABufferOutlivesTheClose) {
  for (const std::size_t size : {1UL, 1'000UL, 16'384UL, 16'385UL, 60'000UL, 1'000'000UL}) {
    connect();
    const std::string text = pattern(size);
    const RelayBuffer buffer{size};
    const auto write_and_close = [&]() -> Task<> {
      co_await out.write(buffer.take(Bytes{text}));
      buffer.overwrite();
      out.close();
    };
    std::optional<RunningTask> running{std::in_place, write_and_close(), [](std::exception_ptr) {}};
    running->start(context);
    TestRead collected{collector, ReadBytes{size}};
    ASSERT_TRUE(run_until(loop, [&] { return collected.answered(); }));
    EXPECT_TRUE(collected.text() == text) << size;
  }
}

TEST_P(RelayTest, AReadThatIsCutLeavesWhatItHadReadToTheNext) {
  connect();
  const std::string text = pattern(300'000);
  static_cast<void>(feeder.write(Bytes{text}));
  const RelayBuffer buffer{400'000};
  TestRead read{in, ReadInto{buffer.memory()}};
  ASSERT_TRUE(run_until(loop, [&] { return in.bytes_received() == text.size(); }));
  in.cancel_read();
  buffer.overwrite();
  ASSERT_TRUE(run_until(loop, [&] { return read.answered(); }));
  TestRead rest{in, ReadBytes{text.size()}};
  ASSERT_TRUE(run_until(loop, [&] { return rest.answered(); }));
  EXPECT_TRUE(rest.text() == text);
}

TEST_P(RelayTest, BytesThatWereReadStayWhileTheStreamReadsOn) {
  connect();
  std::string text = pattern(3'000'000);
  static_cast<void>(feeder.write(Bytes{text}));
  std::vector<Bytes> parts;
  std::size_t done = 0;
  for (std::size_t size = 1; done < text.size(); size = size * 3 % 70'001 + 1) { // from a byte to 70 kB
    TestRead peek{in, Peek{std::min(size, text.size() - done)}};
    ASSERT_TRUE(run_until(loop, [&] { return peek.answered(); }));
    TestRead read{in, ReadBytes{std::min(size, text.size() - done)}};
    ASSERT_TRUE(run_until(loop, [&] { return read.answered(); }));
    parts.push_back(**peek.outcome);
    parts.push_back(**read.outcome);
    done += parts.back().size();
  }
  done = 0;
  for (std::size_t i = 0; i < parts.size(); i += 2) {
    const std::string_view expected = std::string_view{text}.substr(done, parts[i].size());
    ASSERT_TRUE(parts[i] == expected && parts[i + 1] == expected) << "from byte " << done << " on";
    done += parts[i].size();
  }
}

} // namespace

} // namespace squall
