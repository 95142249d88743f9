// SPDX-License-Identifier: BSD-3-Clause
//
// signals_blocked.hpp: keeps signals from the library's own threads.
#pragma once

#include <csignal>
#include <initializer_list>
#include <pthread.h>

namespace squall {

/// Blocks signals in the threads that are made while it lives, so that the application's own threads get
/// them; but not those that a thread causes itself, whose handlers (of a sanitizer, say) run in that thread
/// or not at all.
class SignalsBlocked {
public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS})
      sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, &previous_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }

private:
  sigset_t previous_;
};

} // namespace squall
