// SPDX-License-Identifier: BSD-3-Clause
//
// tls_minimal_server.cpp: the shortest server of TLS: answers each line with itself, on a port that the system chooses. Its
// arguments are the files of its certificate and key; examples/make_certificates makes such files.
#include <squall/tcp_server.hpp>

#include <iostream>

// [program]
squall::Task<> echo(squall::IOStream stream, squall::Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

int run(const char* certificate, const char* key) {
  const squall::TLSContext tls{squall::tls_server_options(certificate, key)};
  squall::TCPServer server{squall::Handler{echo}, {.accept = {tls}}};
  for (const squall::Endpoint& endpoint : server.listen(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
}
// [program]

int main(int argc, char** argv) try {
  if (argc == 3)
    return run(argv[1], argv[2]);
  std::cerr << "usage: " << argv[0] << " CERTIFICATE_FILE KEY_FILE\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
