// SPDX-License-Identifier: BSD-3-Clause
//
// listening_sockets.hpp: all listening sockets of the process.
#pragma once

namespace squall {

/// Closes every ListeningSocket of the process, and removes the files of those that it made. For a parent of child
/// processes, which serves none of them: as long as it has them open, the kernel takes connections that nobody will accept.
/// Thread-safe; no other thread may be accepting.
void close_listening_sockets() noexcept;

} // namespace squall
