// SPDX-License-Identifier: BSD-3-Clause
//
// stream_reads.cpp: bench_stream_reads, what a read costs whose end stands behind much that arrives in pieces.
//
//     bench_stream_reads delimiter|bounded_regex|unbounded_regex PIECE SIZE...
//
// prints a JSON object: by SIZE the nanoseconds of processor time of one read of so many bytes that arrive
// PIECE by PIECE. The pieces come from memory; several arrivals share a turn of the loop, so that neither
// sockets nor turns hide what the stream itself costs.

#include "command_line.hpp"
#include "processor_time.hpp"
#include <squall/net/event_loop.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/task.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using bench::Duration;
using squall::IoResult;

/// Gives `data` in pieces: a read gets one, then nothing until the next arrives.
class PieceTransport final : public squall::Transport, private squall::LoopTask {
public:
  PieceTransport(std::string_view data, std::size_t piece) : rest_{data}, piece_{piece} {}

  int fileno() const noexcept override { return -1; }
  void close_fd() noexcept override {}
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    const std::size_t count = std::min(arrived_, size);
    if (count == 0)
      return IoResult::blocked();
    std::memcpy(buffer, rest_.data(), count);
    rest_.remove_prefix(count);
    arrived_ -= count;
    return IoResult::moved(count);
  }
  IoResult write_to_fd(const squall::IoSlice*, std::size_t) noexcept override { return IoResult::blocked(); }
  void watch(squall::EventLoop& loop, squall::Watcher& watcher) override {
    loop_ = &loop;
    watcher_ = &watcher;
    loop.defer(*this);
  }
  void unwatch(squall::EventLoop&, squall::Watcher&) noexcept override { watcher_ = nullptr; }

private:
  void run_task() override {
    constexpr int arrivals_per_turn = 64; // with 1 KiB each, a quarter of a stream's share of a turn
    for (int i = 0; i < arrivals_per_turn && watcher_ != nullptr && !rest_.empty(); ++i) {
      arrived_ = std::min(piece_, rest_.size());
      watcher_->on_ready({.readable = true});
    }
    if (watcher_ != nullptr && !rest_.empty())
      loop_->defer(*this);
  }

  std::string_view rest_;
  std::size_t piece_;
  std::size_t arrived_ = 0;
  squall::EventLoop* loop_ = nullptr;
  squall::Watcher* watcher_ = nullptr;
};

struct Case {
  std::string_view name;
  squall::ReadRequest request;
  std::string_view end;
};

Case find_case(std::string_view name) {
  const std::vector<Case> cases = {
      {"delimiter", squall::ReadUntil{"\r\n\r\n"}, "\r\n\r\n"},
      {"bounded_regex", squall::ReadUntilRegex{squall::Regex{"\\r?\\n\\r?\\n"}}, "\r\n\r\n"},
      {"unbounded_regex", squall::ReadUntilRegex{squall::Regex{"[a-z]+[0-9]+\\r\\n"}}, "7\r\n"}};
  for (const Case& one : cases)
    if (one.name == name)
      return one;
  throw bench::UsageError("no read is called `" + std::string{name} + "`");
}

/// Letters, so that a match of the unbounded regex could begin with each, and `end` as the last.
std::string make_text(std::size_t size, std::string_view end) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i)
    text[i] = static_cast<char>('a' + i % 26);
  text.replace(size - end.size(), end.size(), end);
  return text;
}

squall::Task<> read_all(squall::IOStream stream, squall::ReadRequest request, std::size_t size) {
  const squall::Bytes bytes = co_await stream.read(std::move(request));
  if (bytes.size() != size)
    throw std::runtime_error("a read gave " + std::to_string(bytes.size()) + " bytes of " +
                             std::to_string(size));
}

/// Processor time of one read.
Duration measure(const Case& what, std::string_view text, std::size_t piece) {
  squall::EventLoop loop;
  squall::TaskContext context{loop};
  bool ended = false;
  std::exception_ptr error;
  squall::RunningTask task{
      read_all({loop, std::make_unique<PieceTransport>(text, piece)}, what.request, text.size()),
      [&](std::exception_ptr thrown) {
        ended = true;
        error = thrown;
      }};
  const bench::ProcessorTime processor{getpid()};
  const Duration before = processor.now();
  task.start(context);
  while (!ended)
    loop.run_once();
  const Duration used = processor.now() - before;
  if (error)
    std::rethrow_exception(error);
  return used;
}

/// The median of repeated reads; the first, which finds caches and memory cold, is not counted.
Duration median(const Case& what, std::size_t size, std::size_t piece) {
  constexpr std::size_t most_repetitions = 15;
  constexpr Duration enough = std::chrono::milliseconds{500};
  const std::string text = make_text(size, what.end);
  Duration total = measure(what, text, piece);
  std::vector<Duration> times;
  do {
    times.push_back(measure(what, text, piece));
    total += times.back();
  } while (times.size() < most_repetitions && total < enough);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

void run(int argc, char** argv) {
  if (argc < 4)
    throw bench::UsageError("something is missing");
  const Case what = find_case(argv[1]);
  constexpr std::size_t most = 64 * 1024 * 1024;
  const auto piece = bench::number<std::size_t>("PIECE", argv[2], 1, most);
  for (int i = 3; i < argc; ++i) {
    const auto size = bench::number<std::size_t>("SIZE", argv[i], 16, most);
    std::printf("%s\"%zu\": %lld", i == 3 ? "{" : ", ", size,
                static_cast<long long>(median(what, size, piece).count()));
  }
  std::printf("}\n");
}

} // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const bench::UsageError& error) {
    std::fprintf(stderr,
                 "bench_stream_reads: %s\n"
                 "usage: bench_stream_reads delimiter|bounded_regex|unbounded_regex PIECE SIZE...\n",
                 error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_stream_reads: %s\n", error.what());
    return 1;
  }
}
