// SPDX-License-Identifier: BSD-3-Clause
//
// config_fuzz.cpp: any text in place of a configuration is taken whole, within the bounds of docs/configuration.md, or
// refused with its mistakes, each on a line that can be shown.
#include "tests/fuzz/require.hpp"
#include <squall/config.hpp>

#include <algorithm>
#include <string>

namespace squall {
namespace {

void check_bounds(const ServerConfig& config) {
  require(!config.listen.empty() && config.listen.size() <= 1024, "1 to 1024 entries of listen");
  require(config.io_threads <= 256, "at most 256 threads");
  require(config.processes >= 0 && config.processes <= 1024, "at most 1024 processes");
  require(config.max_restarts >= 0 && config.max_restarts <= 10'000, "at most 10000 restarts");
  require(config.drain_timeout.count() >= 0, "times are not negative");
  require(config.limits.accepts_per_turn >= 1 && config.limits.accepts_per_turn <= 65'536,
          "1 to 65536 accepts");
  for (const ListenOptions& entry : config.listen) {
    require(entry.bind.backlog >= 1 && entry.bind.backlog <= 65'535, "a backlog of 1 to 65535");
    require(entry.mode <= 0777, "a mode has nine bits");
    require(entry.unix_path.find('\0') == std::string::npos, "a path ends at its NUL");
  }
}

void check_mistakes(const ConfigError& error) {
  require(!error.problems().empty(), "a refusal says why");
  for (const ConfigProblem& problem : error.problems()) {
    const std::string line = to_string(problem);
    require(std::all_of(line.begin(), line.end(), [](char c) { return c >= 0x20 && c < 0x7f; }),
            "a mistake is told on one line of printable ASCII");
    require(line.size() < 4096, "a mistake is told shortly");
    require(!problem.found.empty() && !problem.allowed.empty(),
            "a mistake says what stands and what may stand there");
  }
}

void check(const std::string& text) {
  try {
    check_bounds(parse_config(text, "fuzz"));
  } catch (const ConfigError& error) {
    check_mistakes(error);
  }
  try {
    static_cast<void>(parse_tls_context(text, TLSSide::server, "fuzz"));
  } catch (const ConfigError& error) {
    check_mistakes(error);
  }
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  squall::check({reinterpret_cast<const char*>(data), size});
  return 0;
}
