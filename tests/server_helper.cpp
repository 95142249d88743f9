// SPDX-License-Identifier: BSD-3-Clause
//
// server_helper.cpp: the three ways to start a server, as programs for the tests.
//
//     server_helper WHAT
#include <squall/net/process.hpp>
#include <squall/tcp_server.hpp>

#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

/// One write(2), so that lines of several processes do not mix.
void say(const std::string& text) {
  const std::string line = text + '\n';
  if (write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    _exit(99);
}

int listen_single() {
  say("0");
  squall::TCPServer server;
  server.listen(0, "127.0.0.1");
  say("1");
  server.shutdown();
  say("2");
  return 0;
}

int bind_start() {
  squall::TCPServer server;
  server.bind(0, "127.0.0.1");
  server.start(3);
  say(server.info().endpoints.size() == 1 ? std::to_string(*squall::task_id()) : "does not listen");
  return 0;
}

int add_sockets() {
  const auto sockets = squall::bind_sockets(0, "127.0.0.1");
  squall::fork_processes(3);
  squall::TCPServer server;
  server.add_sockets(sockets);
  say(server.info().endpoints.size() == 1 ? std::to_string(*squall::task_id()) : "does not listen");
  return 0;
}

int refused_actor_system() {
  caf::actor_system_config config;
  caf::actor_system system{config};
  try {
    squall::fork_processes(2);
    say("not refused");
  } catch (const std::logic_error& error) {
    say(error.what());
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "listen_single")
    return listen_single();
  if (what == "bind_start")
    return bind_start();
  if (what == "add_sockets")
    return add_sockets();
  if (what == "refused_actor_system")
    return refused_actor_system();
  return 97;
}
