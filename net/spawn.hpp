// SPDX-License-Identifier: BSD-3-Clause
//
// spawn.hpp: starts a program.
//
// By posix_spawn(3), which is safe in a process with threads (fork(2) and code between it and exec would not be) and tells of
// a failed exec at once.
#pragma once

#include <squall/net/socket.hpp>
#include <squall/net/subprocess.hpp>

namespace squall {

struct Spawned {
  pid_t pid = 0;
  Socket standard_input; ///< our ends; empty where no stream was asked for
  Socket standard_output;
  Socket standard_error;
};

/// @throws as Subprocess's constructor
Spawned spawn(const std::vector<std::string>& command, const SubprocessOptions& options);

} // namespace squall
