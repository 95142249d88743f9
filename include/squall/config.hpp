// SPDX-License-Identifier: BSD-3-Clause
//
// config.hpp: a server's configuration, from JSON.
//
// docs/configuration.md lists every key with its bounds. A configuration is taken whole or not at all: all
// its mistakes are reported at once. Reading it changes nothing in the process; who reads it applies it. Certificates
// and keys that it names are read with it, relative paths from where the process is.
//
// Threads    Everything here may be called from any thread.
// Ownership  Plain values.
// Units      Sizes are bytes.
#pragma once

#include <squall/net/inherited_sockets.hpp>
#include <squall/net/log.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/tls_context.hpp>
#include <squall/stream_messages.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace squall {

/// What to listen on, one entry of "listen": `inherited` where it is not empty, else `unix_path`, else an address.
struct ListenOptions {
  std::string address = "127.0.0.1"; ///< an address or a host name; empty: every interface
  std::uint16_t port = 8888;         ///< 0: the system chooses
  BindOptions bind;                  ///< the keys "family", "backlog" and "reuse_port" of the same object
  AcceptOptions
      accept; ///< the key "tls" of the same object, or else that of the document, and "proxy_protocol"
  std::string unix_path;     ///< the key "unix", absolute where that fits: as bind_unix_socket takes it
  std::uint32_t mode = 0600; ///< of the file of `unix_path`
  std::string inherited;     ///< as select_inherited takes it
};

/// The sockets of an entry: bound, or selected among `inherited`.
/// @throws as bind_sockets, bind_unix_socket or select_inherited
std::vector<ListeningSocket> bind_sockets(const ListenOptions& entry,
                                          const std::vector<InheritedSocket>& inherited);

/// What set_log_level and set_log_format take.
struct LogOptions {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
};

struct ServerConfig {
  std::vector<ListenOptions> listen{ListenOptions{}}; ///< from JSON 1 to 1024 entries
  std::size_t io_threads = 0; ///< at most 256 from JSON; 0: one per core that the process may use
  int processes = 1;          ///< from JSON at most 1024; 0: one per core; 1: no fork
  int max_restarts = 100;     ///< as fork_processes; from JSON at most 10000
  StreamOptions stream;       ///< of every accepted connection
  ListenerLimits limits;
  std::size_t memory_budget = 0;                   ///< as ServerOptions::memory_budget; of each process
  std::chrono::milliseconds drain_timeout{10'000}; ///< as ServerOptions::drain_timeout
  std::chrono::milliseconds stop_timeout{5'000};   ///< as ServerOptions::stop_timeout
  LogOptions log;
};

/// One mistake in a configuration.
struct ConfigProblem {
  std::string pointer; ///< where: a JSON pointer (RFC 6901), may hold any bytes; empty: the whole document
  std::string found;   ///< what stands there, in printable ASCII, cut where it is long
  std::string allowed; ///< what may stand there

  friend bool operator==(const ConfigProblem&, const ConfigProblem&) = default;
};

/// "/listen/0/port: found 70000, allowed: a whole number from 0 to 65535 (0: the system chooses)", on one
/// line of printable ASCII.
std::string to_string(const ConfigProblem& problem);

/// what() tells every problem on a line of its own, behind the name of the source.
class ConfigError : public std::runtime_error {
public:
  /// `problems` in the order of the document.
  ConfigError(const std::string& source, std::vector<ConfigProblem> problems);

  /// At least one.
  [[nodiscard]] const std::vector<ConfigProblem>& problems() const noexcept { return *problems_; }

private:
  std::shared_ptr<const std::vector<ConfigProblem>> problems_; // shared: copying an exception must not throw
};

/// Reads a configuration. `source` names it in what().
/// @param defaults  what it does not mention is as here, also in the objects that it mentions; "listen" replaces the
///         whole list, with its TLS
/// @throws ConfigError for anything that docs/configuration.md does not allow.
ServerConfig parse_config(std::string_view json, const std::string& source = "configuration",
                          const ServerConfig& defaults = {});

/// Makes a context from the object that docs/configuration.md describes as "tls", for either side. Reads the files that
/// it names. @throws ConfigError
TLSContext parse_tls_context(std::string_view json, TLSSide side,
                             const std::string& source = "TLS configuration");

/// parse_config on a file, which names itself in what().
/// @throws ConfigError also when the file is no regular one, or cannot be read, with the reason.
ServerConfig load_config(const std::string& path, const ServerConfig& defaults = {});

} // namespace squall
