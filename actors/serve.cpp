// SPDX-License-Identifier: BSD-3-Clause
//
// serve.cpp
#include "actors/process_signals.hpp"
#include <squall/net/process.hpp>
#include <squall/serve.hpp>

#include <cstdio>
#include <exception>
#include <getopt.h>
#include <optional>
#include <sys/resource.h>

namespace squall {

namespace {

enum ExitStatus : int { exit_ok = 0, exit_cannot_listen = 1, exit_usage = 2 };

struct CommandLine {
  std::optional<std::string> config_path;
  bool check = false;
  bool help = false;
  bool valid = true;
};

void print_usage(std::FILE* out, const char* program) {
  std::fprintf(out,
               "usage: %s [--config FILE] [--check]\n"
               "  --config FILE  read the configuration from a JSON file (docs/configuration.md)\n"
               "  --check        validate the configuration and end\n"
               "  --help         print this\n",
               program);
}

CommandLine parse_command_line(int argc, char** argv) {
  static const option options[] = {{"config", required_argument, nullptr, 'c'},
                                   {"check", no_argument, nullptr, 'k'},
                                   {"help", no_argument, nullptr, 'h'},
                                   {nullptr, 0, nullptr, 0}};
  CommandLine result;
  optind = 0; // getopt_long(3) starts anew
  for (int found; (found = getopt_long(argc, argv, "h", options, nullptr)) != -1;) {
    if (found == 'c')
      result.config_path = optarg;
    else if (found == 'k')
      result.check = true;
    else if (found == 'h')
      result.help = true;
    else
      result.valid = false; // getopt_long has said what is wrong
  }
  if (optind < argc) {
    std::fprintf(stderr, "%s: unexpected argument '%s'\n", argv[0], argv[optind]);
    result.valid = false;
  }
  return result;
}

/// Each connection takes a descriptor, and the usual soft limit of 1024 is there for programs that use
/// select(2).
void raise_descriptor_limit() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
    return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit); // where that is refused, the limit stays what it was
}

/// The sockets of each entry.
using Bound = std::vector<std::vector<ListeningSocket>>;

Bound bind_all(const std::vector<ListenOptions>& entries) {
  const std::vector<InheritedSocket> inherited = inherited_sockets(); // there are no threads yet
  Bound bound; // all or none: the first that fails closes the others
  for (const ListenOptions& entry : entries)
    bound.push_back(bind_sockets(entry, inherited));
  return bound;
}

void print_addresses(const Bound& bound) {
  for (const auto& sockets : bound)
    for (const ListeningSocket& socket : sockets)
      std::printf("listening on %s\n", to_string(socket.local_endpoint()).c_str());
  std::fflush(stdout);
}

} // namespace

int serve(int argc, char** argv, TCPServer& server, const ServerConfig& defaults) {
  const CommandLine command = parse_command_line(argc, argv);
  if (!command.valid || command.help) {
    print_usage(command.valid ? stdout : stderr, argv[0]);
    return command.valid ? exit_ok : exit_usage;
  }
  ServerConfig config = defaults;
  try {
    if (command.config_path)
      config = load_config(*command.config_path, defaults);
  } catch (const ConfigError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return exit_usage;
  }
  if (command.check) {
    std::printf("the configuration is valid\n");
    return exit_ok;
  }
  set_log_level(config.log.level);
  set_log_format(config.log.format);
  raise_descriptor_limit();
  try {
    const Bound bound = bind_all(config.listen);
    // From before the first line of output, since who reads it may send a signal, until somebody waits for it:
    // fork_processes in the parent of children, the object below elsewhere.
    std::optional<ProcessSignalsBlocked> blocked{std::in_place};
    if (config.processes != 1) {
      print_addresses(bound);
      fork_processes(config.processes, config.max_restarts);
    }
    const ProcessSignals signals;
    blocked.reset();
    server.configure({.io_threads = config.io_threads,
                      .stream = config.stream,
                      .limits = config.limits,
                      .memory_budget = config.memory_budget});
    for (std::size_t i = 0; i < bound.size(); ++i)
      server.add_sockets(bound[i], config.listen[i].accept);
    if (config.processes == 1)
      print_addresses(bound);
    run_until_terminated(server, signals, config.drain_timeout);
    return exit_ok;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return exit_cannot_listen;
  }
}

} // namespace squall
