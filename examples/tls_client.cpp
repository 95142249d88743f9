// SPDX-License-Identifier: BSD-3-Clause
//
// tls_client.cpp: a client that verifies its server, sends it a line and prints the answer.
#include <squall/net/io_stream.hpp>
#include <squall/net/task.hpp>

#include <charconv>
#include <iostream>
#include <string_view>

using namespace std::chrono_literals;

// [talk]
squall::Task<> talk(squall::EventLoop& loop, squall::TLSContext tls, squall::Endpoint server,
                    std::string name) {
  squall::IOStream stream{loop, tls};
  co_await stream.connect(server, name, 10s); // when it is done the server has proved to be `name`
  co_await stream.write("hello\n");
  std::cout << (co_await stream.read_until("\n", 1024, 10s)).str();
  co_await stream.close_after_flush(1s); // with close_notify: the server knows that nothing was cut
}
// [talk]

int run(const std::string& address, std::uint16_t port, const std::string& name,
        const squall::TLSOptions& options) {
  const auto family =
      address.find(':') == std::string::npos ? squall::AddressFamily::ipv4 : squall::AddressFamily::ipv6;
  // [run]
  squall::EventLoop loop;
  squall::TaskContext context{loop};
  std::exception_ptr failure;
  squall::RunningTask task{talk(loop, squall::TLSContext{options}, {address, port, family}, name),
                           [&](std::exception_ptr error) {
                             failure = error;
                             loop.stop();
                           }};
  task.start(context);
  loop.run();
  // [run]
  if (failure)
    std::rethrow_exception(failure);
  return 0;
}

int main(int argc, char** argv) try {
  const std::string_view port_text = argc > 2 ? argv[2] : "";
  std::uint16_t port = 0;
  std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (port == 0 || (argc != 5 && argc != 7)) {
    std::cerr << "usage: " << argv[0] << " ADDRESS PORT NAME CA_FILE [CERTIFICATE_FILE KEY_FILE]\n";
    return 2;
  }
  // [options]
  squall::TLSOptions options = squall::tls_client_options(); // trusts the system's authorities
  options.ca_file = argv[4];                                 // or these instead
  if (argc == 7) {                                           // for a server that asks for certificates
    options.certificate_file = argv[5];
    options.key_file = argv[6];
  }
  // [options]
  return run(argv[1], port, argv[3], options);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
