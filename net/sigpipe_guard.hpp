// SPDX-License-Identifier: BSD-3-Clause
//
// sigpipe_guard.hpp: keeps a write without MSG_NOSIGNAL (write(2), sendfile(2)) from raising SIGPIPE, or what else a write can
// raise, whatever the program does with these signals: a library may not change that for a whole process.
#pragma once

#include <cerrno>
#include <csignal>
#include <ctime>
#include <initializer_list>
#include <pthread.h>

namespace squall {

/// While it lives, the signals that a write can raise are blocked in this thread: SIGPIPE (nobody reads), SIGXFSZ (the file
/// would be larger than RLIMIT_FSIZE) and SIGTTOU (a terminal that stops what writes in the background, which then may write).
/// One that the last call raised, as errno says, is taken away. errno stays as it is.
class SigpipeGuard {
public:
  SigpipeGuard() noexcept {
    sigset_t pending;
    sigpending(&pending);
    was_pending_[0] = sigismember(&pending, SIGPIPE) == 1; // somebody else's, who blocked it, too
    was_pending_[1] = sigismember(&pending, SIGXFSZ) == 1;
    const sigset_t held = set_of({SIGPIPE, SIGXFSZ, SIGTTOU});
    pthread_sigmask(SIG_BLOCK, &held, &before_);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;
  ~SigpipeGuard() {
    const int error = errno;
    if (error == EPIPE && !was_pending_[0])
      take(SIGPIPE);
    if (error == EFBIG && !was_pending_[1])
      take(SIGXFSZ);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
  }

private:
  static sigset_t set_of(std::initializer_list<int> numbers) noexcept {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : numbers)
      sigaddset(&set, number);
    return set;
  }

  static void take(int number) noexcept {
    const timespec at_once{};
    const sigset_t set = set_of({number});
    while (sigtimedwait(&set, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }

  bool was_pending_[2];
  sigset_t before_;
};

} // namespace squall
