// SPDX-License-Identifier: BSD-3-Clause
//
// listening_sockets.hpp: all listening sockets of the process.
#pragma once

#include <squall/net/resolver.hpp>
#include <squall/net/socket.hpp>

namespace squall {

/// bind_sockets for a host name that has been looked up. @throws as that
std::vector<ListeningSocket> bind_found(std::uint16_t port, const std::string& name, const Addresses& found,
                                        const BindOptions& options);
/// What bind_sockets says of a name that cannot be looked up.
std::system_error lookup_failure(const std::string& name, std::error_code error);

/// Closes every ListeningSocket of the process, and removes the files of those that it made. For a parent of child
/// processes, which serves none of them: as long as it has them open, the kernel takes connections that nobody will accept.
/// Thread-safe; no other thread may be accepting.
void close_listening_sockets() noexcept;

} // namespace squall
