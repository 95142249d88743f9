// SPDX-License-Identifier: BSD-3-Clause
//
// sigpipe_guard.hpp: keeps a write without MSG_NOSIGNAL (write(2), sendfile(2)) from raising SIGPIPE, whatever the
// program does with that signal: a library may not change that for a whole process.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>
#include <pthread.h>

namespace squall {

/// While it lives, SIGPIPE is blocked in this thread; one that came meanwhile is taken away. errno stays as it is.
class SigpipeGuard {
public:
  SigpipeGuard() noexcept {
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1; // somebody else's, who blocked it, too
    pthread_sigmask(SIG_BLOCK, &sigpipe(), &before_);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;
  ~SigpipeGuard() {
    const int error = errno;
    if (error == EPIPE && !was_pending_) {
      const timespec at_once{};
      while (sigtimedwait(&sigpipe(), nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }

private:
  static const sigset_t& sigpipe() noexcept {
    static const sigset_t set = [] {
      sigset_t only;
      sigemptyset(&only);
      sigaddset(&only, SIGPIPE);
      return only;
    }();
    return set;
  }

  bool was_pending_;
  sigset_t before_;
};

} // namespace squall
