// SPDX-License-Identifier: BSD-3-Clause
//
// exit_status.hpp: how a process ended, as one number: its exit status, or the negative number of the signal
// that ended it, as in Tornado.
#pragma once

#include <cstring>
#include <string>
#include <sys/wait.h>

namespace squall {

/// Of a server that did not end in time and was ended by force: EX_SOFTWARE of sysexits(3).
constexpr int status_ended_by_force = 70;

/// From what wait(2) tells of a process that ended.
inline int to_returncode(int wait_status) noexcept {
  return WIFSIGNALED(wait_status) ? -WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/// "status 3", "signal 9 (Killed)"
inline std::string describe_returncode(int returncode) {
  if (returncode >= 0)
    return "status " + std::to_string(returncode);
  const char* const name = sigdescr_np(-returncode); // none for a real-time signal
  return "signal " + std::to_string(-returncode) + (name == nullptr ? "" : " (" + std::string{name} + ')');
}

} // namespace squall
