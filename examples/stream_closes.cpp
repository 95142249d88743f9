// SPDX-License-Identifier: BSD-3-Clause
//
// stream_closes.cpp: each way to close a stream and to hear of it; connecting; pipes; state.
#include "stream_example.hpp"

#include <fcntl.h>
#include <unistd.h>

namespace {

using namespace example;

squall::Task<> close(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  // [close]
  co_await stream.write("goodbye"); // answered: it is handed over in spite of the close
  stream.close();                   // at once; a second call does nothing
  // [close]
  check(stream.closed() && stream.error().reason == squall::CloseReason::local_close);
  check(co_await peer.read_until_close() == "goodbye");
}

squall::Task<> close_after_flush(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  std::size_t received = 0;
  peer.read_chunks(
      {}, [&](const squall::Bytes& chunk, const auto& go_on) { received += chunk.size(), go_on(); },
      [](squall::Result<void>) {});
  // [close_after_flush]
  stream.write(std::string(8 * 1024 * 1024, 'x')); // not awaited: it is unsent yet
  co_await stream.close_after_flush(5s);           // everything is sent; StreamClosedError after 5 s
  // [close_after_flush]
  co_await peer.wait_closed();
  check(received == 8 * 1024 * 1024);
}

squall::Task<> abort(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  // [abort]
  stream.abort(); // unsent bytes are dropped, the peer sees a reset
  // [abort]
  check(stream.error().reason == squall::CloseReason::aborted);
  check(!co_await peer.read_bytes(1).as_result());
  check(peer.error().reason == squall::CloseReason::reset);
}

squall::Task<> close_callback(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  std::string log;
  // [close_callback]
  stream.set_end_callback([&] { log += "ended "; });
  stream.set_close_callback([&] { log += "closed"; });
  // [close_callback]
  peer.close();
  co_await stream.wait_closed();
  check(log == "ended closed");
}

squall::Task<> waits(squall::EventLoop& loop) {
  squall::StreamOptions options;
  options.half_close = true;
  auto [stream, peer] = co_await connected(loop, options);
  squall::Timer timer{[other = peer]() mutable { other.shutdown_write([](squall::Result<void>) {}); }};
  timer.start_after(loop, 50ms);
  // [waits]
  auto early = co_await stream.wait_end(10ms).as_result(); // StreamErrc::timed_out: it may send yet
  co_await stream.wait_end();                              // the peer has ended its side
  stream.close();
  co_await stream.wait_closed(); // what was pending is answered
  squall::CloseReason why = stream.error().reason;
  // [waits]
  check(early.error().code == squall::StreamErrc::timed_out && why == squall::CloseReason::local_close);
}

squall::Task<> connect(squall::EventLoop& loop) {
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  const squall::Endpoint server = listening.local_endpoint();
  // [connect]
  squall::IOStream stream{loop};
  co_await stream.connect(server, {}, 5s); // an address, never a name; throws StreamClosedError

  squall::IOStream other{loop};
  squall::Endpoint nobody{"127.0.0.1", 1, squall::AddressFamily::ipv4};
  squall::Result<void> refused = co_await other.connect(nobody).as_result();
  bool gone = !refused && refused.error().real_error == std::errc::connection_refused;
  // [connect]
  check(stream.connected() && gone && other.closed());
  const auto again = co_await stream.connect(server).as_result();
  check(again.error().code == squall::StreamErrc::already_connected && stream.connected());
}

squall::Task<> pipes(squall::EventLoop& loop) {
  int ends[2];
  check(pipe2(ends, O_CLOEXEC) == 0);
  squall::Socket reading_end{ends[0]};
  squall::Socket writing_end{ends[1]};
  // [pipe]
  squall::PipeIOStream in{loop, std::move(reading_end)};
  squall::PipeIOStream out{loop, std::move(writing_end)};
  co_await out.write("through the pipe\n");
  squall::Bytes line = co_await in.read_until("\n");
  out.close();
  squall::Bytes rest = co_await in.read_until_close();
  // [pipe]
  check(line == "through the pipe\n" && rest.empty());
}

squall::Task<> options(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  // [options]
  stream.set_nodelay(false); // let Nagle's algorithm gather small writes
  stream.set_keep_alive({.idle = 30s, .interval = 5s, .count = 3}); // 45 s after a peer vanished it shows
  // [options]
  check(stream.connected());
}

squall::Task<> state(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("one\ntwo\n");
  co_await stream.read_until("\n");
  co_await stream.write("three\n");
  co_await peer.read_until("\n");
  // [state]
  std::string line = to_string(stream.local_endpoint()) + " to " + to_string(stream.peer_endpoint()) + ": " +
                     std::to_string(stream.bytes_received()) + " bytes in, " +
                     std::to_string(stream.bytes_sent()) + " out, " + std::to_string(stream.unread_size()) +
                     " unread, " + std::to_string(stream.unsent_size()) + " unsent";
  bool idle = !stream.reading() && !stream.writing() && stream.writable();
  // [state]
  check(idle && line.ends_with(": 8 bytes in, 6 out, 4 unread, 0 unsent"));
  check(stream.local_endpoint() == peer.peer_endpoint());
}

squall::Task<> all(squall::EventLoop& loop) {
  co_await close(loop);
  co_await close_after_flush(loop);
  co_await abort(loop);
  co_await close_callback(loop);
  co_await waits(loop);
  co_await connect(loop);
  co_await pipes(loop);
  co_await options(loop);
  co_await state(loop);
}

} // namespace

int main() { return example::run(all); }
