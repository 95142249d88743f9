// SPDX-License-Identifier: BSD-3-Clause
//
// load_options.hpp: the command line of bench_load.
#pragma once

#include "command_line.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace bench {

enum class LoadMode { echo, idle };

struct LoadOptions {
  using Duration = bench::Duration;

  std::string address = "127.0.0.1"; ///< numeric, IPv4, loopback
  std::uint16_t port = 0;            ///< required
  std::size_t connections = 64;      ///< 1 to 20,000: the source ports of one loopback address suffice
  std::size_t size = 64;             ///< bytes of a message, its final newline included; at least 1
  std::size_t depth = 1;             ///< messages sent back to back before their answers are awaited
  Duration measured{std::chrono::seconds{3}};
  Duration warm_up{std::chrono::milliseconds{500}};
  Duration timeout{std::chrono::seconds{10}};   ///< bound of each wait for the server to get on
  Duration max_hold{std::chrono::seconds{300}}; ///< bound of the wait for stdin to close, mode idle
  LoadMode mode = LoadMode::echo;
  pid_t server_pid = 0; ///< 0: do not measure the server's processor time
};

inline constexpr const char* load_usage =
    "usage: bench_load --port PORT [--address 127.0.0.1] [--mode echo|idle] [--connections N]\n"
    "                  [--size BYTES] [--depth N] [--seconds S] [--warmup S] [--timeout S] [--max-hold S]\n"
    "                  [--server-pid PID]\n"
    "\n"
    "echo  keeps `depth` messages under way on each connection, checks every answered byte and prints\n"
    "      one JSON object; latencies are those of a batch of `depth` messages\n"
    "idle  opens the connections, echoes one message on each, prints `idle N` and holds them until\n"
    "      stdin closes\n";

namespace detail {

inline LoadMode mode(std::string_view text) {
  if (text == "echo")
    return LoadMode::echo;
  if (text == "idle")
    return LoadMode::idle;
  throw UsageError("--mode: `" + std::string{text} + "` is neither echo nor idle");
}

inline void set(LoadOptions& options, std::string_view name, std::string_view text) {
  if (name == "--address")
    options.address = text;
  else if (name == "--port")
    options.port = number<std::uint16_t>(name, text, 1, 65535);
  else if (name == "--connections")
    options.connections = number<std::size_t>(name, text, 1, 20'000);
  else if (name == "--size")
    options.size = number<std::size_t>(name, text, 1, 1 << 24);
  else if (name == "--depth")
    options.depth = number<std::size_t>(name, text, 1, 1 << 16);
  else if (name == "--seconds")
    options.measured = seconds(name, text);
  else if (name == "--warmup")
    options.warm_up = seconds(name, text);
  else if (name == "--timeout")
    options.timeout = seconds(name, text);
  else if (name == "--max-hold")
    options.max_hold = seconds(name, text);
  else if (name == "--mode")
    options.mode = mode(text);
  else if (name == "--server-pid")
    options.server_pid = number<pid_t>(name, text, 1, 1 << 30);
  else
    throw UsageError("unknown option `" + std::string{name} + "`");
}

} // namespace detail

/// @error UsageError for anything that is not a complete, sensible command line.
inline LoadOptions parse_load_options(int argc, char** argv) {
  constexpr std::size_t max_batch_bytes = std::size_t{1} << 28;
  LoadOptions options;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc)
      throw UsageError(std::string{"`"} + argv[i] + "` has no value");
    detail::set(options, argv[i], argv[i + 1]);
  }
  if (options.port == 0)
    throw UsageError("--port is missing");
  if (options.size * options.depth > max_batch_bytes)
    throw UsageError("--size times --depth exceeds " + std::to_string(max_batch_bytes) + " bytes");
  return options;
}

} // namespace bench
