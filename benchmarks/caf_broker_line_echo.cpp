// SPDX-License-Identifier: BSD-3-Clause
//
// caf_broker_line_echo.cpp: a line echo on CAF's own I/O, an io::broker of CAF 0.17.
//
// One broker serves all connections. A broker knows no lines, so it splits them itself; it flushes once per
// chunk that arrives, however many lines are in it.

#include "descriptor_limit.hpp"
#include "server_program.hpp"

#include <caf/all.hpp>
#include <caf/io/all.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <future>
#include <stdexcept>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

namespace {

constexpr std::size_t max_chunk_bytes = 65'536;

struct LineEchoState {
  std::unordered_map<caf::io::connection_handle, std::string> unfinished; // absent: nothing left over
};

using LineEcho = caf::io::stateful_broker<LineEchoState>;

using PortPromise = std::promise<caf::expected<std::uint16_t>>;

/// Moves the complete lines of `chunk`, with what the chunk before left over, to the write buffer.
void echo_lines(LineEcho* self, caf::io::connection_handle peer, const std::vector<char>& chunk) {
  auto& unfinished = self->state.unfinished;
  auto& unsent = self->wr_buf(peer);
  auto line = chunk.begin();
  for (;;) {
    const auto newline = std::find(line, chunk.end(), '\n');
    if (newline == chunk.end())
      break;
    if (!unfinished.empty()) {
      if (const auto left_over = unfinished.find(peer); left_over != unfinished.end()) {
        unsent.insert(unsent.end(), left_over->second.begin(), left_over->second.end());
        unfinished.erase(left_over);
      }
    }
    unsent.insert(unsent.end(), line, newline + 1);
    line = newline + 1;
  }
  if (!unsent.empty())
    self->flush(peer);
  if (line == chunk.end())
    return;
  auto& left_over = unfinished[peer];
  left_over.append(line, chunk.end());
  if (left_over.size() > bench::max_line_bytes) {
    unfinished.erase(peer);
    self->close(peer);
  }
}

caf::behavior line_echo(LineEcho* self, std::uint16_t port, PortPromise* bound) {
  auto doorman = self->add_tcp_doorman(port, "127.0.0.1", true);
  if (doorman)
    bound->set_value(doorman->second);
  else
    bound->set_value(doorman.error());
  return {
      [=](const caf::io::new_connection_msg& connection) {
        self->configure_read(connection.handle, caf::io::receive_policy::at_most(max_chunk_bytes));
      },
      [=](const caf::io::new_data_msg& data) { echo_lines(self, data.handle, data.buf); },
      [=](const caf::io::connection_closed_msg& closed) { self->state.unfinished.erase(closed.handle); },
      [](const caf::io::acceptor_closed_msg&) {},
  };
}

/// Blocked before CAF starts its threads, which inherit the mask: only the main thread takes the signal.
sigset_t block_termination() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  if (const int error = pthread_sigmask(SIG_BLOCK, &signals, nullptr); error != 0)
    throw std::system_error(error, std::generic_category(), "pthread_sigmask");
  return signals;
}

void serve(std::uint16_t port) {
  const auto termination = block_termination();
  caf::actor_system_config config;
  config.load<caf::io::middleman>();
  // The broker runs in the middleman's thread. A worker has nothing to do here; under the default policy it
  // would poll, and its processor time would be counted.
  config.set("scheduler.policy", caf::atom("sharing"));
  config.set("scheduler.max-threads", 1);
  caf::actor_system system{config};
  PortPromise bound;
  const auto broker = system.middleman().spawn_broker(line_echo, port, &bound);
  const auto bound_port = bound.get_future().get();
  if (!bound_port) {
    caf::anon_send_exit(broker, caf::exit_reason::user_shutdown);
    throw std::runtime_error("cannot listen on port " + std::to_string(port) + ": " +
                             system.render(bound_port.error()));
  }
  bench::announce(*bound_port);
  int taken = 0;
  sigwait(&termination, &taken);
  caf::anon_send_exit(broker, caf::exit_reason::user_shutdown);
}

} // namespace

int main(int argc, char** argv) {
  try {
    const auto port = bench::port_argument(argc, argv);
    bench::raise_descriptor_limit();
    serve(port);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_caf_broker_line_echo: %s\n", error.what());
    return 1;
  }
}
