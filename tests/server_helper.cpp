// SPDX-License-Identifier: BSD-3-Clause
//
// server_helper.cpp: the three ways to start a server, and servers that do not end, as programs for the tests.
//
//     server_helper WHAT [ARGUMENTS]
#include <squall/net/log.hpp>
#include <squall/net/process.hpp>
#include <squall/net/resolver.hpp>
#include <squall/tcp_server.hpp>

#include <chrono>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
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

// -- servers that do not end by themselves

[[noreturn]] void block() {
  for (;;)
    pause();
}

/// Holds its thread up in its destructor.
struct EndsNever {
  ~EndsNever() { block(); }
};

/// Each handler says "stuck", and then is.
squall::Task<> computes(squall::IOStream stream, squall::Endpoint) {
  co_await stream.read_bytes(1);
  say("stuck");
  for (volatile bool on = true; on;) {
  }
}

squall::Task<> blocks(squall::IOStream stream, squall::Endpoint) {
  co_await stream.read_bytes(1);
  say("stuck");
  block();
}

squall::Task<> holds_what_ends_never(squall::IOStream stream, squall::Endpoint) {
  const EndsNever local;
  co_await stream.read_bytes(1);
  say("stuck");
  co_await stream.read_bytes(1);
}

squall::Task<> logs_to_a_stuck_sink(squall::IOStream stream, squall::Endpoint) {
  squall::set_log_sink([](const squall::LogEvent&) {
    say("stuck");
    block();
  });
  co_await stream.read_bytes(1);
  squall::log_event(squall::LogLevel::error, "test", "m");
}

squall::Task<> looks_up(squall::IOStream stream, squall::Endpoint) {
  const auto resolver = std::make_shared<squall::ThreadedResolver>(
      squall::ThreadedResolverOptions{}, [](const squall::Resolve&) {
        say("stuck");
        block();
        return squall::Result<squall::Addresses>{squall::Addresses{}};
      });
  co_await stream.read_bytes(1);
  co_await resolver->resolve("localhost", 1);
}

caf::behavior blocks_a_worker(caf::event_based_actor* self, squall::StreamActor stream, squall::Endpoint) {
  self->request(stream, caf::infinite, squall::ReadBytes{1}).then([](const squall::Bytes&) {
    say("stuck");
    block();
  });
  return {[](const std::string&) {}};
}

squall::Handler stuck_handler(const std::string& how) {
  if (how == "computes")
    return computes;
  if (how == "blocks")
    return blocks;
  if (how == "destructor")
    return holds_what_ends_never;
  if (how == "sink")
    return logs_to_a_stuck_sink;
  if (how == "lookup")
    return looks_up;
  if (how == "worker")
    return {blocks_a_worker, squall::HandlerPlacement::worker_pool};
  if (how == "loop_actor")
    return {blocks_a_worker, squall::HandlerPlacement::connection_loop};
  _exit(96);
}

/// A loop whose epoll descriptor somebody closes.
squall::Task<> closes_epoll(squall::IOStream stream, squall::Endpoint) {
  co_await stream.read_bytes(1);
  for (int fd = 3; fd < 64; ++fd) {
    char target[64] = "";
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    if (readlink(link.c_str(), target, sizeof target - 1) > 0 &&
        std::string_view{target} == "anon_inode:[eventpoll]")
      close(fd);
  }
  say("stuck");
}

/// Says its port; serves in `processes`.
int stuck(squall::Handler handler, int processes, squall::LogFormat format,
          std::chrono::milliseconds stop_timeout = std::chrono::milliseconds{100}) {
  squall::set_log_format(format);
  sigset_t ending; // until run() takes them
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  sigaddset(&ending, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  const auto sockets = squall::bind_sockets(0, "127.0.0.1");
  say(std::to_string(sockets[0].local_endpoint().port));
  if (processes > 1)
    squall::fork_processes(processes);
  squall::ServerOptions options;
  options.io_threads = 2;
  options.drain_timeout = std::chrono::milliseconds{100};
  options.stop_timeout = stop_timeout;
  squall::TCPServer server{std::move(handler), options};
  server.add_sockets(sockets);
  return server.run();
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
  const std::string how = argc > 2 ? argv[2] : "";
  if (what == "stuck") {
    const std::chrono::milliseconds stop_timeout{argc > 3 ? std::stoi(argv[3]) : 100};
    return stuck(stuck_handler(how), 1, squall::LogFormat::text, stop_timeout);
  }
  if (what == "stuck_json")
    return stuck(stuck_handler(how), 1, squall::LogFormat::json);
  if (what == "stuck_processes")
    return stuck(stuck_handler(how), 2, squall::LogFormat::text);
  if (what == "closed_epoll")
    return stuck(closes_epoll, 1, squall::LogFormat::text,
                 std::chrono::minutes{1}); // an orderly end takes its time
  return 97;
}
