// SPDX-License-Identifier: BSD-3-Clause
//
// fault_tour.hpp: a conversation in which a client uses every operation of a stream, for tests that put faults
// in its way. What is read is checked on the way; an operation that fails ends the client.
#pragma once

#include "tests/net/support.hpp"
#include <squall/net/task.hpp>

#include <deque>
#include <memory>
#include <string>
#include <sys/mman.h>

namespace squall::testing_support {

/// How the client ends.
enum class TourEnd { shutdown, flush, abort };

inline constexpr TourEnd all_tour_ends[] = {TourEnd::shutdown, TourEnd::flush, TourEnd::abort};

inline const char* name_of(TourEnd end) {
  return end == TourEnd::shutdown ? "Shutdown" : end == TourEnd::flush ? "CloseAfterFlush" : "Abort";
}

class Tour {
public:
  /// The client has `ours`, the server `theirs`; both with half_close.
  Tour(EventLoop& loop, ManualClock& clock, TourEnd end, IOStream ours, IOStream theirs)
      : loop_{loop}, clock_{clock}, end_{end}, ours_{std::move(ours)} {
    ours_.set_close_callback([this] { ++closes; });
    ours_.set_end_callback([this] { ++ends; });
    client_ = std::make_unique<RunningTask>(client(), [this](std::exception_ptr error) {
      ++client_ends;
      EXPECT_EQ(error, nullptr) << "only StreamClosedError is expected";
      ours_ = IOStream{}; // the last handle: the stream closes
    });
    server_ = std::make_unique<RunningTask>(serve(std::move(theirs)),
                                            [this](std::exception_ptr) { ++server_ends; });
  }
  Tour(const Tour&) = delete;
  Tour& operator=(const Tour&) = delete;

  /// Runs until both ended and the client's stream closed; a turn takes a millisecond.
  void run() {
    client_->start(context_);
    server_->start(context_);
    const auto done = [this] { return client_ends > 0 && server_ends > 0 && closes > 0; };
    const auto deadline = std::chrono::steady_clock::now() + test_deadline;
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      clock_.advance(1ms);
      loop_.run_once();
    }
    EXPECT_TRUE(done()) << "a hang after step " << steps;
    run_turns(loop_);
    client_.reset();
    server_.reset();
    run_turns(loop_);
  }

  /// What holds whatever happens.
  void expect_sound() const {
    EXPECT_EQ(client_ends, 1);
    EXPECT_EQ(server_ends, 1);
    EXPECT_EQ(closes, 1);
    EXPECT_EQ(ends, 1);
    for (const int answers : write_answers)
      EXPECT_EQ(answers, 1) << "of a write with a callback";
    EXPECT_EQ(read_answers, reads_with_callback);
    EXPECT_TRUE(written.starts_with(server_read));
    EXPECT_LE(acknowledged, written.size());
  }
  void expect_complete() const {
    EXPECT_EQ(failure.reason, CloseReason::none) << to_string(failure) << " after step " << steps;
    EXPECT_TRUE(complete);
    EXPECT_EQ(acknowledged, written.size());
    EXPECT_EQ(server_read, written) << "every acknowledged byte arrived";
  }

  std::string written;          ///< by the client
  std::size_t acknowledged = 0; ///< so much of it was answered as done
  std::string server_read;
  int steps = 0;
  bool complete = false;
  StreamError failure{{}, {}, {}};
  int client_ends = 0;
  int server_ends = 0;
  int closes = 0;
  int ends = 0;
  int reads_with_callback = 0;
  int read_answers = 0;
  std::deque<int> write_answers;

private:
  static std::string farewell() { return pattern(300, 77); }

  // -- the client

  Task<> client() {
    try {
      co_await use_reads();
      co_await use_limits_and_times();
      co_await use_writes();
      co_await use_pieces_files_and_chunks();
      co_await end();
      complete = true;
    } catch (const StreamClosedError& error) {
      failure = error.error();
    }
  }

  Task<> say(std::string text) {
    written += text;
    const std::size_t position = written.size();
    co_await ours_.write(Bytes{text}, 10s);
    acknowledged = position;
    ++steps;
  }

  Task<> use_reads() {
    co_await say("echo hello\n");
    EXPECT_EQ(co_await ours_.read_until("\n"), "echo hello\n");

    co_await say("give 100\n");
    const MutableBytes buffer{100};
    EXPECT_EQ(co_await ours_.read_into(buffer), 100u);
    EXPECT_EQ(buffer.front(100), pattern(100));

    co_await say("give 60\n");
    std::string got;
    while (got.size() < 60)
      got += buffer.front(co_await ours_.read_into(buffer, true));
    EXPECT_EQ(got, pattern(60));

    co_await say("echo aaab;\n");
    EXPECT_EQ(co_await ours_.read_until_regex(Regex{"a+b;\n"}), "echo aaab;\n");

    co_await say("give 50\n");
    EXPECT_EQ(co_await ours_.peek(50), pattern(50));
    got = (co_await ours_.read_bytes(20)).str();
    while (got.size() < 50)
      got += co_await ours_.read_bytes(50 - got.size(), true);
    EXPECT_EQ(got, pattern(50));
  }

  /// The outcome is `code`, or the stream closed.
  static void expect(StreamErrc code, const Result<Bytes>& outcome) {
    const StreamError error = outcome ? StreamError{{}, {}, {}} : outcome.error();
    if (error.code == StreamErrc::closed)
      throw_error(error);
    EXPECT_EQ(error.code, code);
  }

  /// Lets the loop turn until `done`, for a second of its clock at most.
  template <class Predicate>
  Task<> turn_until(Predicate done) {
    const TimePoint deadline = clock_.now() + 1s;
    while (!done() && clock_.now() < deadline)
      co_await sleep_for(1ms); // a turn
  }

  Task<> use_limits_and_times() {
    co_await say("give 40\n");
    expect(StreamErrc::unsatisfiable_read,
           co_await ours_.read_until("?", 8, no_timeout, LimitPolicy::keep).as_result());
    EXPECT_EQ(co_await ours_.read_bytes(40), pattern(40));

    co_await say("give 45\n"); // reads that are late, given up or forgotten leave every byte
    expect(StreamErrc::timed_out, co_await ours_.read_bytes(90, false, 30ms).as_result());
    ++reads_with_callback;
    std::optional<Result<Bytes>> cancelled;
    ours_.read(ReadUntilClose{}, [&](Result<Bytes> result) {
      ++read_answers;
      cancelled.emplace(std::move(result));
    });
    co_await turn_until([&] { return ours_.unread_size() == 45 || cancelled; });
    EXPECT_TRUE(ours_.unread_size() == 45 || ours_.closed()) << "what it waits for behind them never comes";
    ours_.cancel_read();
    co_await turn_until(
        [&] { return cancelled.has_value(); }); // what was there at once is told from the loop
    EXPECT_TRUE(cancelled.has_value());
    if (cancelled)
      expect(StreamErrc::cancelled, *cancelled);
    TestRead forgotten;
    forgotten.start(ours_, ReadInto{MutableBytes{90}});
    const std::uint64_t begun = loop_.turn();
    co_await turn_until(
        [&] { return loop_.turn() > begun + 1 || forgotten.answered(); }); // it has looked for more
    ours_.forget_read(forgotten);
    if (forgotten.answered())
      expect(StreamErrc::closed, *forgotten.outcome);
    EXPECT_EQ(co_await ours_.read_bytes(45), pattern(45));
    ++steps;
  }

  Task<> use_writes() {
    co_await say("take 400\n");
    for (std::size_t i = 0; i < 4; ++i) {
      const std::string part = pattern(100, i);
      written += part;
      int& answers = write_answers.emplace_back(0);
      ours_.write(Bytes{part}, [this, &answers, position = written.size()](const Result<void>& result) {
        ++answers;
        if (result) {
          EXPECT_LT(acknowledged, position) << "in order";
          acknowledged = position;
        }
      });
    }
    EXPECT_EQ(co_await ours_.read_until("\n"), "ok\n");
    ++steps;
  }

  Task<> use_pieces_files_and_chunks() {
    co_await ours_.wait_writable(10s);
    std::vector<Bytes> pieces = in_pieces("echo pieces\n");
    written += "echo pieces\n";
    co_await ours_.write_pieces(std::move(pieces), 10s);
    acknowledged = written.size();
    EXPECT_EQ(co_await ours_.read_until("\n"), "echo pieces\n");

    co_await say("take 300\n");
    written += file_content_.view();
    co_await ours_.write_file(file_, 0, std::nullopt, 10s);
    acknowledged = written.size();
    EXPECT_EQ(co_await ours_.read_until("\n"), "ok\n");

    co_await say("give 70\n");
    std::string got;
    ChunkReader chunks = ours_.read_chunks({.num_bytes = 70, .chunk_size = 30, .timeout = 10s});
    while (const auto chunk = co_await chunks.next()) {
      EXPECT_LE(chunk->size(), 30u);
      got += chunk->view();
    }
    EXPECT_EQ(got, pattern(70));
    ++steps;
  }

  static std::vector<Bytes> in_pieces(std::string_view text) {
    return {Bytes{text.substr(0, 2)}, Bytes{}, Bytes{text.substr(2)}};
  }

  /// A file without a name that holds `content`.
  static File make_file(std::string_view content) {
    const int fd = ::memfd_create("squall-test", MFD_CLOEXEC);
    EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    return File{Socket{fd}};
  }

  Task<> end() {
    if (end_ == TourEnd::shutdown) {
      co_await say("last line\n");
      co_await ours_.shutdown_write();
      EXPECT_EQ(co_await ours_.read_until_close(), farewell());
    } else if (end_ == TourEnd::flush) {
      for (int i = 0; i < 30; ++i) {
        written += "last line\n";
        static_cast<void>(ours_.write("last line\n"));
      }
      co_await ours_.close_after_flush(10s);
      acknowledged = written.size();
    } else {
      ours_.abort();
      EXPECT_EQ(ours_.error().reason, CloseReason::aborted);
    }
  }

  // -- the server

  Task<> serve(IOStream stream) {
    Result<Bytes> line = co_await stream.read_until("\n").as_result();
    for (; line; line = co_await stream.read_until("\n").as_result()) {
      const std::string text = line->str();
      server_read += text;
      const std::size_t size = text.find(' ') < text.size() ? std::strtoul(text.c_str() + 5, nullptr, 10) : 0;
      Bytes answer;
      if (text.starts_with("echo"))
        answer = *line;
      else if (text.starts_with("give"))
        answer = Bytes{pattern(size)};
      if (text.starts_with("take")) {
        const Result<Bytes> taken = co_await stream.read_bytes(size).as_result();
        if (!taken)
          break;
        server_read += taken->view();
        answer = "ok\n";
      }
      if (!answer.empty() && !co_await stream.write(answer).as_result())
        break;
    }
    if (stream.closed())
      co_return;
    static_cast<void>(stream.write(Bytes{farewell()}));
    co_await stream.close_after_flush(10s).as_result();
  }

  const Bytes file_content_{pattern(300, 5)};
  const File file_ = make_file(file_content_);
  EventLoop& loop_;
  ManualClock& clock_;
  TourEnd end_;
  TaskContext context_{loop_};
  IOStream ours_;
  std::unique_ptr<RunningTask> client_;
  std::unique_ptr<RunningTask> server_;
};

} // namespace squall::testing_support
