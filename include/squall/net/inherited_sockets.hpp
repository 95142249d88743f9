// SPDX-License-Identifier: BSD-3-Clause
//
// inherited_sockets.hpp: listening sockets that the process was started with, as systemd hands them over
// (sd_listen_fds(3): LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES).
//
// Threads    inherited_sockets() changes the environment: call it before there are other threads (setenv(3)).
// Ownership  The sockets become ours, close-on-exec and non-blocking; the file of a unix socket stays its maker's.
#pragma once

#include <squall/net/socket.hpp>

#include <string>
#include <vector>

namespace squall {

struct InheritedSocket {
  std::string
      name; ///< FileDescriptorName= of the systemd unit, whose default is the unit's name; "unknown" where
            ///< the starter gave none
  ListeningSocket socket;
};

/// Takes the sockets that this process inherited, in their order; none where there are none, or where they are meant
/// for another process. Whatever happens, the variables are gone from the environment afterwards, so that neither a
/// child nor a second call takes them again.
/// @throws std::runtime_error where the variables contradict each other, or a descriptor is no listening stream socket,
///         with the variable or the descriptor and how to mend it; all inherited descriptors are closed then
std::vector<InheritedSocket> inherited_sockets();

/// Those of `sockets` that are named `name_or_index`; where none is and it is a number, the one with this index, from
/// 0.
/// @throws std::runtime_error where that is none, with the names that there are
std::vector<ListeningSocket> select_inherited(const std::vector<InheritedSocket>& sockets,
                                              const std::string& name_or_index);

} // namespace squall
