// SPDX-License-Identifier: BSD-3-Clause
//
// stream_reads.cpp: each way to read from a stream, awaited in a coroutine.
#include "stream_example.hpp"

#include <algorithm>

namespace {

using namespace example;

squall::Task<> read_bytes(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("headbody");
  // [read_bytes]
  squall::Bytes head = co_await stream.read_bytes(4);          // exactly 4 bytes
  squall::Bytes some = co_await stream.read_bytes(1024, true); // what is there: 1 to 1024 bytes
  // [read_bytes]
  check(head == "head" && some == "body");
}

squall::Task<> read_into(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("0123456789abc");
  // [read_into]
  squall::MutableBytes buffer{10};
  std::size_t whole = co_await stream.read_into(buffer); // fills the buffer
  std::string text{buffer.data(), whole};
  std::size_t part = co_await stream.read_into(buffer, true); // at least 1 byte, at most the buffer
  squall::Bytes view = buffer.front(part);                    // shares the buffer
  // [read_into]
  check(text == "0123456789" && view == "abc");
}

squall::Task<> read_until(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("GET / HTTP/1.1\r\nHost: a\r\n");
  // [read_until]
  squall::Bytes line = co_await stream.read_until("\r\n");       // with its "\r\n"
  squall::Bytes next = co_await stream.read_until("\r\n", 4096); // which ends within 4096 bytes
  // [read_until]
  check(line == "GET / HTTP/1.1\r\n" && next == "Host: a\r\n");
}

squall::Task<> read_until_limit(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("a line that is too long\n");
  // [limit]
  std::string answer;
  try {
    co_await stream.read_until("\n", 10, squall::no_timeout, squall::LimitPolicy::keep);
  } catch (const squall::UnsatisfiableReadError&) { // the stream is open, and every byte unread
    answer = "too long\n";
  }
  try {
    co_await stream.read_until("\n", 10); // LimitPolicy::close
  } catch (const squall::StreamClosedError& error) {
    check(error.reason() == squall::CloseReason::limit);
    check(error.real_error() == squall::StreamErrc::unsatisfiable_read);
  }
  squall::Bytes rest = co_await stream.read_bytes(6); // what was received stays readable
  // [limit]
  check(answer == "too long\n" && stream.closed() && rest == "a line");
}

squall::Task<> read_until_regex(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("key: value\r\naaab");
  // [read_until_regex]
  static const squall::Regex end_of_line{"\r?\n"};
  squall::Bytes line = co_await stream.read_until_regex(end_of_line, 4096);
  squall::Bytes one =
      co_await stream.read_until_regex(squall::Regex{"a+"}); // a match ends with the first "a"
  squall::Bytes all = co_await stream.read_until_regex(squall::Regex{"a+b"}); // the first that ends is "aab"
  // [read_until_regex]
  check(line == "key: value\r\n" && one == "a" && all == "aab");
}

squall::Task<> read_until_close(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("everything");
  peer.close();
  // [read_until_close]
  squall::Bytes all = co_await stream.read_until_close();
  // [read_until_close]
  check(all == "everything" && stream.closed());
  check(stream.error().reason == squall::CloseReason::peer_closed);
}

squall::Task<> cut_data(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("half of it");
  co_await stream.peek(10);
  peer.abort();
  // [cut]
  bool whole = true;
  try {
    co_await stream.read_until_close();
  } catch (const squall::StreamClosedError& error) {
    whole = error.reason() == squall::CloseReason::peer_closed; // it was not: a reset
  }
  squall::Bytes rest = co_await stream.read_until_close(); // on a closed stream: what is unread
  // [cut]
  check(!whole && rest == "half of it");
  check(stream.error().reason == squall::CloseReason::reset);
}

squall::Task<> read_chunks(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  peer.write(std::string(300'000, 'x'), [](squall::Result<void>) {});
  peer.shutdown_write([](squall::Result<void>) {});
  // [read_chunks]
  std::size_t received = 0;
  squall::ChunkReader body = stream.read_chunks({.num_bytes = 200'000, .chunk_size = 4096, .timeout = 5s});
  while (const auto chunk = co_await body.next()) {
    received += chunk->size();        // 1 to 4096 bytes
    co_await squall::sleep_for(10us); // nothing is read meanwhile: the peer is held back
  }
  squall::ChunkReader rest = stream.read_chunks(); // until the peer ends its side
  while (const auto chunk = co_await rest.next())
    received += chunk->size();
  // [read_chunks]
  check(received == 300'000);
}

squall::Task<> peek(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("\x16\x03\x01 and so on");
  // [peek]
  squall::Bytes first = co_await stream.peek(2);        // waits until 2 bytes are there, and leaves them
  squall::Bytes record = co_await stream.read_bytes(3); // begins with the same 2 bytes
  // [peek]
  check(first == "\x16\x03" && record == "\x16\x03\x01");
}

squall::Task<> timeouts(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("no end of line");
  // [timeout]
  bool late = false;
  try {
    co_await stream.read_until("\n", 4096, 20ms);
  } catch (const squall::TimeoutError&) { // every byte is unread, the stream idle
    late = true;
  }
  squall::ReadBytes poll{.num_bytes = 1024, .partial = true, .timeout = 0s}; // what is there now
  squall::Bytes now = co_await stream.read(poll);
  // [timeout]
  check(late && now == "no end of line");
}

squall::Task<> results(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("line\n");
  peer.close();
  // [as_result]
  squall::Result<squall::Bytes> line = co_await stream.read_until("\n").as_result();
  std::string text = line ? line->str() : "nothing";
  squall::Result<squall::Bytes> none = co_await stream.read_until("\n").as_result();
  bool ended = !none && none.error().reason == squall::CloseReason::peer_closed;
  squall::Result<void> written = co_await stream.write("too late").as_result();
  // [as_result]
  check(text == "line\n" && ended && !written && written.error().code == squall::StreamErrc::closed);
}

squall::Task<> cancel_read(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("half a li");
  // [cancel_read]
  squall::Timer timer{[reader = stream]() mutable { reader.cancel_read(); }}; // or whoever else has a handle
  timer.start_after(loop, 20ms);
  auto line = co_await stream.read_until("\n").as_result();
  bool cancelled = !line && line.error().code == squall::StreamErrc::cancelled;
  squall::Bytes unread = co_await stream.read_bytes(9); // nothing is lost
  // [cancel_read]
  check(cancelled && unread == "half a li");
}

squall::Task<> read_after_close(squall::EventLoop& loop) {
  auto [stream, peer] = co_await connected(loop);
  co_await peer.write("one\ntwo\n");
  // [after_close]
  squall::Bytes one = co_await stream.read_until("\n");
  stream.close();
  squall::Bytes two = co_await stream.read_until("\n"); // was received before the close
  auto three = co_await stream.read_until("\n").as_result();
  // [after_close]
  check(one == "one\n" && two == "two\n" && three.error().code == squall::StreamErrc::closed);
}

squall::Task<> all(squall::EventLoop& loop) {
  co_await read_bytes(loop);
  co_await read_into(loop);
  co_await read_until(loop);
  co_await read_until_limit(loop);
  co_await read_until_regex(loop);
  co_await read_until_close(loop);
  co_await cut_data(loop);
  co_await read_chunks(loop);
  co_await peek(loop);
  co_await timeouts(loop);
  co_await results(loop);
  co_await cancel_read(loop);
  co_await read_after_close(loop);
}

} // namespace

int main() { return example::run(all); }
