// SPDX-License-Identifier: BSD-3-Clause
//
// serve.cpp
#include "actors/process_signals.hpp"
#include "net/descriptor.hpp"
#include "net/log_output.hpp"
#include <squall/net/process.hpp>
#include <squall/serve.hpp>

#include <algorithm>
#include <csignal>
#include <exception>
#include <getopt.h>
#include <optional>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

namespace squall {

namespace {

enum ExitStatus : int { exit_ok = 0, exit_cannot_listen = 1, exit_usage = 2 };

struct CommandLine {
  std::optional<std::string> config_path;
  bool check = false;
  bool help = false;
  const char* wrong = nullptr; ///< what cannot be understood
};

std::string usage(const std::string& program) {
  return "usage: " + program +
         " [--config FILE] [--check]\n"
         "  --config FILE  read the configuration from a JSON file (docs/configuration.md)\n"
         "  --check        validate the configuration and end\n"
         "  --help         print this\n";
}

CommandLine parse_command_line(int argc, char** argv) {
  static const option options[] = {{"config", required_argument, nullptr, 'c'},
                                   {"check", no_argument, nullptr, 'k'},
                                   {"help", no_argument, nullptr, 'h'},
                                   {nullptr, 0, nullptr, 0}};
  CommandLine result;
  optind = 0; // getopt_long(3) starts anew
  opterr = 0; // it would wait for who reads standard error
  for (int found; (found = getopt_long(argc, argv, "h", options, nullptr)) != -1;) {
    if (found == 'c')
      result.config_path = optarg;
    else if (found == 'k')
      result.check = true;
    else if (found == 'h')
      result.help = true;
    else
      result.wrong = argv[std::max(optind - 1, 1)];
  }
  if (!result.wrong && optind < argc)
    result.wrong = argv[optind];
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
  std::string lines;
  for (const auto& sockets : bound)
    for (const ListeningSocket& socket : sockets)
      lines += "listening on " + to_string(socket.local_endpoint()) + '\n';
  write_soon(STDOUT_FILENO, lines);
}

/// fork_processes hands on no SIGHUP that is ignored (nohup(1)), since it would end a child that does not handle it; those of
/// a server do, and it is blocked until then.
void handle_hangup_also_where_it_is_ignored() noexcept {
  struct sigaction action {};
  sigaction(SIGHUP, nullptr, &action);
  if (action.sa_handler == SIG_IGN)
    std::signal(SIGHUP, SIG_DFL);
}

} // namespace

int serve(int argc, char** argv, TCPServer& server, const ServerConfig& defaults) {
  open_missing_standard_streams();
  const CommandLine command = parse_command_line(argc, argv);
  const std::string program = argv[0];
  if (command.wrong != nullptr) {
    write_soon(STDERR_FILENO,
               program + ": cannot make sense of \"" + escape_bytes(command.wrong) + "\"\n" + usage(program));
    return exit_usage;
  }
  if (command.help) {
    write_soon(STDOUT_FILENO, usage(program));
    return exit_ok;
  }
  ServerConfig config = defaults;
  try {
    if (command.config_path)
      config = load_config(*command.config_path, defaults);
  } catch (const ConfigError& error) {
    write_soon(STDERR_FILENO, error.what() + std::string{'\n'});
    return exit_usage;
  } catch (const std::exception& error) { // no memory, or no name of a file
    write_soon(STDERR_FILENO, program + ": cannot read the configuration: " + error.what() + "\n");
    return exit_usage;
  }
  if (command.check) {
    write_soon(STDOUT_FILENO, "the configuration is valid\n");
    return exit_ok;
  }
  set_log_level(config.log.level);
  set_log_format(config.log.format);
  raise_descriptor_limit();
  try {
    const Bound bound = bind_all(config.listen);
    // From before the first line of output, since who reads it may send a signal, until somebody waits for it:
    // fork_processes in the parent of children, the other object below elsewhere.
    const ProcessSignalsBlocked blocked;
    if (config.processes != 1) {
      handle_hangup_also_where_it_is_ignored();
      print_addresses(bound);
      fork_processes(config.processes, config.max_restarts);
    }
    const ProcessSignals signals{{config.drain_timeout, config.stop_timeout}};
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
    write_soon(STDERR_FILENO, program + ": " + error.what() + '\n');
    return exit_cannot_listen;
  }
}

} // namespace squall
