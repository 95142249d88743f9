// SPDX-License-Identifier: BSD-3-Clause
//
// echo_server.cpp: answers each line with itself; the handler is a coroutine.
#include <squall/squall.hpp>

// [handler]
class EchoServer : public squall::TCPServer {
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    try {
      for (;;)
        co_await stream.write(co_await stream.read_until("\n"));
    } catch (const squall::StreamClosedError&) {
    }
  }
};
// [handler]

int main(int argc, char** argv) {
  EchoServer server;
  return squall::serve(argc, argv, server);
}
