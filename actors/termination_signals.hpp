// SPDX-License-Identifier: BSD-3-Clause
//
// termination_signals.hpp: SIGINT and SIGTERM as something to wait for.
//
// Handlers, and not a blocked mask with sigwait(3): a thread of the application that does not block the
// signals would get them, and die of them.
#pragma once

#include <squall/net/socket.hpp>

#include <csignal>

namespace squall {

/// Holds the handlers of the two signals while it lives; one at a time in a process. A signal that comes a
/// second or more after the first ends the process at once: the way out of a shutdown that a handler holds
/// up.
class TerminationSignals {
public:
  /// @throws std::logic_error when there is one already; std::system_error
  TerminationSignals();
  TerminationSignals(const TerminationSignals&) = delete;
  TerminationSignals& operator=(const TerminationSignals&) = delete;
  ~TerminationSignals();

  /// Returns when one of the signals has come since the beginning.
  void wait() const;

private:
  Socket event_;
  struct sigaction old_int_ {};
  struct sigaction old_term_ {};
};

/// Holds the two signals back until somebody waits for them. For the thread that makes it, and those that it starts.
class TerminationSignalsBlocked {
public:
  TerminationSignalsBlocked() noexcept;
  TerminationSignalsBlocked(const TerminationSignalsBlocked&) = delete;
  TerminationSignalsBlocked& operator=(const TerminationSignalsBlocked&) = delete;
  ~TerminationSignalsBlocked();

private:
  sigset_t previous_;
};

} // namespace squall
