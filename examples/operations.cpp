// SPDX-License-Identifier: BSD-3-Clause
//
// operations.cpp: an echo server that obeys commands on its standard input: what a service's administration does with a
// running server. It ends after "drain", or with its input.
#include <squall/tcp_server.hpp>

#include <exception>
#include <iostream>
#include <sstream>

// [handler]
class EchoServer : public squall::TCPServer {
public:
  using TCPServer::TCPServer;
  ~EchoServer() override { shutdown(); }

private:
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    for (;;) {
      const squall::Bytes line = co_await stream.read_until("\n");
      if (line == "wait\n")
        break;
      co_await stream.write(line);
    }
    co_await stream.wait_draining(); // for handlers that wait for something else than their peer
    co_await stream.write("the server ends\n");
  }
};
// [handler]

// [options]
squall::ServerOptions options() {
  squall::ServerOptions options;
  options.limits.max_connections = 10'000;
  options.limits.max_connections_per_ip = 100;
  options.limits.when_full = squall::WhenFull::answer;
  options.limits.full_answer = "busy, try again later\n";
  return options;
}
// [options]

// [commands]
bool obey(squall::TCPServer& server, const std::string& line) {
  std::istringstream words{line};
  std::string command;
  std::uint64_t number = 0;
  words >> command >> number;
  if (command == "list") {
    for (const squall::ConnectionInfo& connection : server.connections())
      std::cout << connection.id << ' ' << to_string(connection.peer) << ' ' << connection.bytes_received
                << " bytes in, " << connection.bytes_sent << " out: " << connection.pending << '\n';
  } else if (command == "close") {
    std::cout << (server.close_connection(number) ? "closed" : "there is no such connection") << '\n';
  } else if (command == "limit") {
    squall::ListenerLimits limits = server.info().limits;
    limits.max_connections = number;
    server.set_limits(limits);
  } else if (command == "pause") {
    server.pause();
  } else if (command == "resume") {
    server.resume();
  } else if (command == "drain") {
    const squall::Drained drained = server.drain(std::chrono::seconds{number});
    std::cout << drained.finished << " finished, " << drained.idle << " idle, " << drained.cut << " cut\n";
    return false;
  }
  const squall::ListenerInfo info = server.info();
  std::cout << info.connection_count << " open, " << info.rejected_count << " rejected"
            << (info.paused ? ", paused" : "") << std::endl;
  return true;
}
// [commands]

int main() try {
  EchoServer server{options()};
  for (const squall::Endpoint& endpoint : server.listen(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  for (std::string line; std::getline(std::cin, line) && obey(server, line);)
    ;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
