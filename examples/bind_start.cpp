// SPDX-License-Identifier: BSD-3-Clause
//
// bind_start.cpp: a server of several processes: bind, and start with their number. It answers each line with the number of the
// process and the line.
#include <squall/net/process.hpp>
#include <squall/tcp_server.hpp>

#include <cstdlib>
#include <iostream>

class LineServer : public squall::TCPServer {
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    for (;;) {
      squall::Bytes line = co_await stream.read_until("\n");
      co_await stream.write(std::to_string(squall::task_id().value_or(-1)) + " " + line.str());
    }
  }
};

// [program]
int main(int argc, char** argv) try {
  const int processes = argc > 1 ? std::atoi(argv[1]) : 0; // 0: one for each core
  const int max_restarts = argc > 2 ? std::atoi(argv[2]) : 100;
  LineServer server;
  for (const squall::Endpoint& endpoint : server.bind(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  server.start(processes, max_restarts); // returns in each child
  return server.run();
} catch (const std::exception& error) { // of the parent: it gave up
  std::cerr << error.what() << '\n';
  return 1;
}
// [program]
