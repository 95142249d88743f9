// SPDX-License-Identifier: BSD-3-Clause
//
// stream_callbacks.cpp: streams without coroutines: operations that call a function, and completions.
#include "stream_example.hpp"

namespace {

using namespace example;

// [line_echo]
/// Answers lines until the connection is gone. The pending operation keeps the stream.
void echo(squall::IOStream stream) {
  stream.read(squall::ReadUntil{"\n", 4096}, [stream](squall::Result<squall::Bytes> line) mutable {
    if (!line)
      return; // line.error() says why
    stream.write(std::move(*line), [stream](squall::Result<void> written) {
      if (written)
        echo(stream);
    });
  });
}
// [line_echo]

squall::Task<> reads_and_writes(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  echo(stream);
  co_await peer.write("one\ntwo\n");
  check(co_await peer.read_bytes(8) == "one\ntwo\n");
  peer.close();
  co_await stream.wait_closed();
}

squall::Task<> chunks(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  peer.write(std::string(1'000'000, 'x'), [](squall::Result<void>) {});
  // [chunks]
  std::size_t received = 0;
  std::string outcome;
  stream.read_chunks(
      squall::ReadChunks{.num_bytes = 1'000'000, .chunk_size = 16 * 1024},
      [&](const squall::Bytes& chunk, const std::function<void()>& go_on) {
        received += chunk.size();
        go_on(); // now, later, or never: the next chunk is read then
      },
      [&](squall::Result<void> done) { outcome = done ? "everything" : to_string(done.error()); });
  // [chunks]
  while (outcome.empty())
    co_await squall::sleep_for(1ms);
  check(received == 1'000'000 && outcome == "everything");
}

squall::Task<> events(squall::EventLoop& loop) {
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  const squall::Endpoint server = listening.local_endpoint();
  // [events]
  std::string log;
  squall::IOStream stream{loop};
  stream.connect(squall::Connect{server, {}, 5s}, [&](squall::Result<void> connected) {
    log += connected ? "connected " : "refused ";
    stream.wait(squall::StreamEvent::writable, [&](squall::Result<void> writable) {
      log += writable ? "writable " : "never ";
      stream.close_after_flush(100ms,
                               [&](squall::Result<void> flushed) { log += flushed ? "flushed " : "cut "; });
    });
  });
  stream.wait(squall::StreamEvent::closed,
              [&](squall::Result<void> closed) { log += closed ? "closed" : "late"; });
  // [events]
  co_await stream.wait_closed(); // asked later than the callback, and answered later
  check(log == "connected writable flushed closed");
}

// [completion]
/// Counts the bytes of a connection. Neither allocates for a read nor goes through the loop when bytes are there.
class Counter final : private squall::ReadCompletion {
public:
  explicit Counter(squall::IOStream stream) : stream_{std::move(stream)} { read(); }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;
  ~Counter() { stream_.forget_read(*this); }

  [[nodiscard]] std::size_t count() const { return count_; }

private:
  void read() {
    while (const auto result = stream_.start_read(squall::ReadBytes{4096, true}, *this))
      if (!take(*result))
        return;
  }
  void on_read(squall::Result<squall::Bytes> result) override {
    if (take(result))
      read();
  }
  bool take(const squall::Result<squall::Bytes>& result) {
    count_ += result ? (*result).size() : 0;
    return result.has_value();
  }

  squall::IOStream stream_;
  std::size_t count_ = 0;
};
// [completion]

squall::Task<> completions(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  const Counter counter{stream};
  co_await peer.write(std::string(100'000, 'x'));
  peer.close();
  co_await stream.wait_closed();
  check(counter.count() == 100'000);
}

squall::Task<> all(squall::EventLoop& loop) {
  co_await reads_and_writes(loop);
  co_await chunks(loop);
  co_await events(loop);
  co_await completions(loop);
}

} // namespace

int main() { return example::run(all); }
