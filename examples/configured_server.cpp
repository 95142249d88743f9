// SPDX-License-Identifier: BSD-3-Clause
//
// configured_server.cpp: a server that reads its configuration by hand: the first argument is the name of a
// JSON file. It sends the time of day to who connects.
#include <squall/config.hpp>
#include <squall/tcp_server.hpp>

#include <ctime>
#include <iostream>

class DaytimeServer : public squall::TCPServer {
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    const std::time_t now = std::time(nullptr);
    char text[32];
    co_await stream.write(ctime_r(&now, text));
  }
};

int main(int argc, char** argv) try {
  DaytimeServer server;
  const char* file = argc > 1 ? argv[1] : "server.json";
  // [configure]
  const squall::ServerConfig config = squall::load_config(file); // or parse_config(text, "its name")
  squall::set_log_level(config.log.level);
  squall::set_log_format(config.log.format);
  server.configure({.io_threads = config.io_threads, .stream = config.stream});
  const auto inherited = squall::inherited_sockets();
  for (const squall::ListenOptions& entry : config.listen)
    server.add_sockets(squall::bind_sockets(entry, inherited), entry.accept);
  // [configure]
  for (const squall::Endpoint& endpoint : server.info().endpoints)
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
