// SPDX-License-Identifier: BSD-3-Clause
//
// minimal_server.cpp: the shortest server: answers each line with itself, on a port that the system chooses.
#include <squall/tcp_server.hpp>

#include <exception>
#include <iostream>

// [program]
class EchoServer : public squall::TCPServer {
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  }
};

int main() try {
  EchoServer server;
  for (const squall::Endpoint& endpoint : server.listen(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
// [program]
