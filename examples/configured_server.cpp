// SPDX-License-Identifier: BSD-3-Clause
//
// configured_server.cpp: a server that reads its configuration by hand: the first argument is the name of a
// JSON file. It sends the time of day to who connects.
#include <squall/config.hpp>
#include <squall/net/process.hpp>
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
  const auto inherited = squall::inherited_sockets();
  std::vector<std::vector<squall::ListeningSocket>> bound;
  for (const squall::ListenOptions& entry : config.listen)
    bound.push_back(squall::bind_sockets(entry, inherited));
  if (config.processes != 1)
    squall::fork_processes(config.processes, config.max_restarts); // before the server has threads
  server.configure({.io_threads = config.io_threads,
                    .stream = config.stream,
                    .limits = config.limits,
                    .memory_budget = config.memory_budget,
                    .drain_timeout = config.drain_timeout,
                    .stop_timeout = config.stop_timeout});
  for (std::size_t i = 0; i < bound.size(); ++i)
    server.add_sockets(bound[i], config.listen[i].accept);
  // [configure]
  for (const squall::Endpoint& endpoint : server.info().endpoints)
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
