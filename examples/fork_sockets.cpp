// SPDX-License-Identifier: BSD-3-Clause
//
// fork_sockets.cpp: a server of two processes: bind_sockets, fork_processes, add_sockets. It answers each line with the number of the
// process and the line.
#include <squall/net/process.hpp>
#include <squall/tcp_server.hpp>

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
int main() try {
  const std::vector<squall::ListeningSocket> sockets = squall::bind_sockets(0, "127.0.0.1");
  for (const squall::ListeningSocket& socket : sockets)
    std::cout << "listening on " << to_string(socket.local_endpoint()) << std::endl;
  squall::fork_processes(2); // returns in each child, with 0 or 1
  LineServer server;
  server.add_sockets(sockets);
  return server.run();
} catch (const std::exception& error) { // of the parent: it gave up
  std::cerr << error.what() << '\n';
  return 1;
}
// [program]
