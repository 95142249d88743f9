// SPDX-License-Identifier: BSD-3-Clause
//
// subprocess_server.cpp: a server that has another program do the work: it sorts the lines that a client sends until it ends its
// side.
#include <squall/net/subprocess.hpp>
#include <squall/tcp_server.hpp>

#include <exception>
#include <iostream>

// [handler]
class SortServer : public squall::TCPServer {
public:
  using TCPServer::TCPServer;

private:
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    squall::Bytes lines = co_await stream.read_until_close(); // half_close: the client still reads
    squall::SubprocessOptions options;
    options.standard_input = squall::StandardStream::stream;
    options.standard_output = squall::StandardStream::stream;
    squall::Subprocess sort{stream.loop(), {"sort"}, options};
    co_await sort.standard_input().write(lines);
    sort.standard_input().close(); // the end of its input
    co_await stream.write(co_await sort.standard_output().read_until_close());
    co_await sort.wait_for_exit(); // throws CalledProcessError when it failed
  }
};
// [handler]

int main() try {
  squall::ServerOptions options;
  options.stream.half_close = true;
  SortServer server{options};
  for (const squall::Endpoint& endpoint : server.listen(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
