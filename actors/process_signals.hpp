// SPDX-License-Identifier: BSD-3-Clause
//
// process_signals.hpp: SIGINT, SIGTERM and SIGHUP as something to wait for.
//
// Handlers, and not a blocked mask with sigwait(3): a thread of the application that does not block the
// signals would get them, and die of them.
#pragma once

#include <squall/net/socket.hpp>

#include <csignal>

namespace squall {

class TCPServer;

/// Holds the handlers of the signals while it lives; one at a time in a process. A SIGINT or SIGTERM that comes a
/// second or more after the first ends the process at once: the way out of a shutdown that a handler holds
/// up.
class ProcessSignals {
public:
  enum class Wish : unsigned char { terminate, reload };

  /// @throws std::logic_error when there is one already; std::system_error
  ProcessSignals();
  ProcessSignals(const ProcessSignals&) = delete;
  ProcessSignals& operator=(const ProcessSignals&) = delete;
  ~ProcessSignals();

  /// Returns when one of the signals has come since the beginning, or since the last call. Several SIGHUP may be one.
  [[nodiscard]] Wish wait() const;

private:
  Socket event_;
  struct sigaction old_hup_ {};
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

/// Reloads what can be reloaded at each SIGHUP, logging what comes of it, and shuts the server down at the end.
void run_until_terminated(TCPServer& server, const ProcessSignals& signals);

} // namespace squall
