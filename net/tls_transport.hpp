// SPDX-License-Identifier: BSD-3-Clause
//
// tls_transport.hpp: how a socket's transport becomes one of TLS.
#pragma once

#include "net/socket_transport.hpp"

#include <openssl/ssl.h>

namespace squall {

/// Takes `socket` where that works; see Transport::start_tls. @throws std::bad_alloc
Result<std::unique_ptr<Transport>> upgrade_to_tls(Socket& socket, const TLSContext& context,
                                                  const std::string& server_hostname);

/// Over a socket that an Acceptor gave, for a server. @throws std::bad_alloc
std::unique_ptr<Transport> make_accepted_tls_transport(Socket socket, SocketOrigin origin,
                                                       const TLSContext& context);

/// Of a connection whose handshake is done.
TLSInfo tls_info_of(SSL* ssl);

} // namespace squall
