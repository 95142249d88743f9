// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_client.cpp: a line client: sends each line of standard input to a server and prints the line that comes back.
//
//   tcp_client localhost 8888
//   tcp_client --ca ca.pem example.com 443     over TLS, trusting ca.pem ("system": the system's authorities)
#include <squall/net/log.hpp>
#include <squall/net/task.hpp>
#include <squall/net/tcp_client.hpp>

#include <charconv>
#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using namespace std::chrono_literals;

// [client]
squall::Task<> talk(squall::EventLoop& loop, std::string host, std::uint16_t port,
                    squall::ConnectOptions options) {
  squall::TCPClient client{loop};
  squall::IOStream stream = co_await client.connect(host, port, options);
  for (std::string line; std::getline(std::cin, line);) { // waits, which holds up nobody else here
    co_await stream.write(line + "\n");
    std::cout << (co_await stream.read_until("\n", 64 * 1024, 10s)).view() << std::flush;
  }
}
// [client]

int usage(const char* program) {
  std::cerr << "usage: " << program << " [--ca FILE|system] HOST PORT\n";
  return 2;
}

} // namespace

int main(int argc, char** argv) try {
  int next = 1;
  squall::ConnectOptions options;
  options.timeout = 10s;
  if (argc == 5 && argv[1] == std::string{"--ca"}) {
    squall::TLSOptions tls = squall::tls_client_options();
    if (argv[2] != std::string{"system"})
      tls.ca_file = argv[2];
    options.tls = squall::TLSContext{tls};
    next = 3;
  }
  if (argc != next + 2)
    return usage(argv[0]);
  const std::string_view digits = argv[next + 1];
  std::uint16_t port = 0;
  const auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (wrong != std::errc{} || end != digits.data() + digits.size() || port == 0) {
    std::cerr << "the port \"" << digits << "\" is no number from 1 to 65535\n";
    return usage(argv[0]);
  }

  squall::EventLoop loop;
  squall::TaskContext context{loop};
  int status = 0;
  squall::RunningTask task{talk(loop, argv[next], port, options), [&](const std::exception_ptr& failure) {
                             loop.stop();
                             try {
                               if (failure)
                                 std::rethrow_exception(failure);
                             } catch (const std::exception& error) { // such as a StreamException
                               std::cerr << error.what() << '\n';
                               status = 1;
                             }
                           }};
  task.start(context);
  loop.run();
  return status;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
