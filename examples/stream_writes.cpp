// SPDX-License-Identifier: BSD-3-Clause
//
// stream_writes.cpp: each way to write to a stream, awaited in a coroutine.
#include "stream_example.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace {

using namespace example;

constexpr std::size_t mebi = 1024 * 1024;

/// Reads `size` bytes and drops them.
squall::Task<> drain(squall::IOStream stream, std::size_t size) {
  squall::ChunkReader chunks = stream.read_chunks({.num_bytes = size});
  while (co_await chunks.next())
    ;
}

/// A task beside the one that starts it.
class Beside {
public:
  Beside(squall::EventLoop& loop, squall::Task<> task)
      : context_{loop}, done_{loop}, task_{std::move(task), [this](std::exception_ptr error) {
                                             error_ = error;
                                             done_.set();
                                           }} {
    task_.start(context_);
  }
  squall::Task<> wait() {
    co_await done_;
    if (error_)
      std::rethrow_exception(error_);
  }

private:
  squall::TaskContext context_;
  std::exception_ptr error_;
  Signal done_;
  squall::RunningTask task_;
};

squall::Task<> write(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  Beside reader{loop, drain(peer, 20 * mebi)};
  // [write]
  squall::Bytes block{std::string(64 * 1024, 'x')};
  for (int i = 0; i < 320; ++i)
    co_await stream.write(block); // waits while the peer does not keep pace
  // [write]
  co_await reader.wait();
  check(peer.bytes_received() == 20 * mebi);
}

// [relay]
squall::Task<> relay(squall::IOStream from, squall::IOStream to) {
  squall::MutableBytes buffer{64 * 1024};
  for (;;) {
    std::size_t n = co_await from.read_into(buffer, true); // StreamClosedError at the end
    co_await to.write(buffer.front(n));                    // answered when the buffer may be used again
  }
}
// [relay]

squall::Task<> relay_between(squall::EventLoop& loop) {
  auto [source, from] = co_await connected(loop);
  auto [to, sink] = co_await connected(loop);
  Beside relaying{loop, relay(from, to)};
  std::string sent;
  while (sent.size() < 5 * mebi)
    sent += std::to_string(sent.size()) + ' ';
  source.write(sent);
  check(co_await sink.read_bytes(sent.size()) == sent);
  source.close();
  bool ended = false;
  try {
    co_await relaying.wait();
  } catch (const squall::StreamClosedError& error) {
    ended = error.reason() == squall::CloseReason::peer_closed;
  }
  check(ended);
}

squall::Task<> refused_write(squall::EventLoop& loop) {
  squall::StreamOptions small;
  small.max_write_buffer_size = mebi;
  auto [stream, peer] = co_await connected(loop, small);
  // [buffer_full]
  squall::Bytes large{std::string(2 * 1024 * 1024, 'x')}; // max_write_buffer_size is 1 MiB here
  bool refused = false;
  try {
    co_await stream.write(large);
  } catch (const squall::StreamBufferFullError&) { // nothing of it was queued, the stream is as it was
    refused = true;
  }
  // [buffer_full]
  check(refused && stream.unsent_size() == 0 && !stream.closed());
}

squall::Task<> late_write(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  // [write_timeout]
  squall::CloseReason why{};
  try {
    for (;;)
      co_await stream.write(std::string(256 * 1024, 'x'), 50ms); // the peer never reads
  } catch (const squall::StreamClosedError& error) {             // a part of it may be sent
    why = error.reason();
  }
  // [write_timeout]
  check(why == squall::CloseReason::timed_out && stream.closed());
}

squall::Task<> write_pieces(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  squall::Bytes body{"{}"};
  // [write_pieces]
  std::vector<squall::Bytes> message{"Content-Length: 2\r\n", "\r\n", body}; // body is not copied
  co_await stream.write_pieces(std::move(message)); // all of them are queued, or none
  // [write_pieces]
  check(co_await peer.read_bytes(23) == "Content-Length: 2\r\n\r\n{}");
}

squall::Task<> write_file(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  const std::string path = std::filesystem::temp_directory_path() / ("squall-" + std::to_string(getpid()));
  std::ofstream{path} << "0123456789";
  // [write_file]
  co_await stream.write_file(path);       // all of it
  co_await stream.write_file(path, 2, 3); // 3 bytes from offset 2 on
  squall::File file = squall::File::open(path);
  co_await stream.write_file(file, 8); // an open file, from offset 8 to its end
  bool failed = false;
  try {
    co_await stream.write_file("/nowhere/at/all");
  } catch (const squall::FileError& error) { // ENOENT; nothing was queued
    failed = error.error().real_error == std::errc::no_such_file_or_directory;
  }
  // [write_file]
  std::filesystem::remove(path);
  check(failed && co_await peer.read_bytes(15) == "012345678923489");
}

squall::Task<> wait_writable(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  Beside reader{loop, drain(peer, 20 * mebi)};
  std::size_t most = 0;
  // [wait_writable]
  squall::Bytes block{std::string(64 * 1024, 'x')};
  for (int i = 0; i < 320; ++i) {
    co_await stream.wait_writable(); // at most write_high_water_mark bytes are unsent
    stream.write(block);             // so this queues up to one block more
    most = std::max(most, stream.unsent_size());
  }
  // [wait_writable]
  co_await reader.wait();
  check(most <= squall::StreamOptions{}.write_high_water_mark + block.size());
}

squall::Task<> shutdown_write(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  squall::Result<squall::Bytes> question = squall::Bytes{};
  peer.read(squall::ReadUntilClose{}, [&](squall::Result<squall::Bytes> all) { question = std::move(all); });
  // [shutdown_write]
  co_await stream.write("question");
  co_await stream.shutdown_write(); // the peer reads the end of its input behind "question"
  auto refused = co_await stream.write("more").as_result();
  // [shutdown_write]
  check(refused.error().code == squall::StreamErrc::write_ended);
  co_await peer.wait_closed();
  check(*question == "question");
}

/// The side that gets a question whose end is the end of input.
// [half_close]
squall::Task<> answer_question(squall::IOStream stream) {      // made with StreamOptions::half_close
  squall::Bytes question = co_await stream.read_until_close(); // the peer's end, and the stream is open
  co_await stream.write("you asked: " + question.str());
  co_await stream.shutdown_write(); // both sides have ended: the stream closes
}
// [half_close]

squall::Task<> half_close(squall::EventLoop& loop) {
  squall::StreamOptions options;
  options.half_close = true;
  auto [stream, peer] = co_await connected(loop, options);
  Beside server{loop, answer_question(stream)};
  co_await peer.write("why?");
  peer.shutdown_write([](squall::Result<void>) {});
  check(co_await peer.read_until_close() == "you asked: why?");
  co_await server.wait();
  co_await stream.wait_closed();
  check(stream.error().reason == squall::CloseReason::peer_closed);
}

squall::Task<> all(squall::EventLoop& loop) {
  co_await write(loop);
  co_await relay_between(loop);
  co_await refused_write(loop);
  co_await late_write(loop);
  co_await write_pieces(loop);
  co_await write_file(loop);
  co_await wait_writable(loop);
  co_await shutdown_write(loop);
  co_await half_close(loop);
}

} // namespace

int main() { return example::run(all); }
