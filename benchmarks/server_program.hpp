// SPDX-License-Identifier: BSD-3-Clause
//
// server_program.hpp: what the measured servers share as programs, so that the driver can treat them alike.
//
// Each takes one optional argument, the port (0 or none: any free one), listens on loopback only, says where,
// and ends with status 0 on SIGTERM.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace bench {

/// Longest line that the line servers accept: without a bound, one peer that never ends its line takes all
/// memory.
inline constexpr std::size_t max_line_bytes = 1 << 20;

/// @error std::invalid_argument when the arguments are not at most one port.
inline std::uint16_t port_argument(int argc, char** argv) {
  if (argc < 2)
    return 0;
  const char* text = argv[1];
  const char* end = text + std::strlen(text);
  std::uint16_t port = 0;
  const auto [parsed, error] = std::from_chars(text, end, port);
  if (argc > 2 || error != std::errc{} || parsed != end)
    throw std::invalid_argument(std::string{"usage: "} + argv[0] + " [PORT]");
  return port;
}

/// Flushed at once: the driver waits for this line before it starts the load.
inline void announce(std::uint16_t port) {
  std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(port));
  std::fflush(stdout);
}

} // namespace bench
