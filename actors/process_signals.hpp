// SPDX-License-Identifier: BSD-3-Clause
//
// process_signals.hpp: SIGINT, SIGTERM and SIGHUP as something to wait for, and the end that comes in any case.
//
// Handlers, and not a blocked mask with sigwait(3): a thread of the application that does not block the
// signals would get them, and die of them.
#pragma once

#include <squall/net/socket.hpp>

#include <chrono>
#include <csignal>
#include <ctime>

namespace squall {

class TCPServer;

/// How long the end of a server takes at most.
struct EndTimes {
  std::chrono::milliseconds drain; ///< until connections are cut
  std::chrono::milliseconds stop;  ///< from then until the process is ended by force
};

/// Holds the handlers of the signals while it lives; one at a time in a process. A second SIGINT or SIGTERM ends the
/// process at once, and end_by_force does when both times are over, whoever holds the threads up: a timer sends SIGTERM
/// once more, which needs no thread, no memory and no descriptor. The calling thread gets the signals, whatever mask
/// the process began with. A SIGINT that is ignored (a shell does so for what it starts in the background) is left so.
class ProcessSignals {
public:
  enum class Wish : unsigned char { terminate, reload };

  /// @throws std::logic_error when there is one already; std::system_error
  explicit ProcessSignals(const EndTimes& times);
  ProcessSignals(const ProcessSignals&) = delete;
  ProcessSignals& operator=(const ProcessSignals&) = delete;
  ~ProcessSignals();

  /// Returns when one of the signals has come since the beginning, or since the last call. Several SIGHUP may be one.
  [[nodiscard]] Wish wait() const;

private:
  Socket event_;
  bool handles_int_ = true;
  struct sigaction old_hup_ {};
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
  sigset_t old_mask_{};
};

/// Holds the signals back until somebody waits for them. For the thread that makes it, and those that it starts.
class ProcessSignalsBlocked {
public:
  ProcessSignalsBlocked() noexcept;
  ProcessSignalsBlocked(const ProcessSignalsBlocked&) = delete;
  ProcessSignalsBlocked& operator=(const ProcessSignalsBlocked&) = delete;
  ~ProcessSignalsBlocked();

private:
  sigset_t previous_;
};

/// Reloads what can be reloaded at each SIGHUP, logging what comes of it; drains the server and shuts it down at the
/// end.
void run_until_terminated(TCPServer& server, const ProcessSignals& signals,
                          std::chrono::milliseconds drain_timeout);

} // namespace squall
