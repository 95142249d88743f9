// SPDX-License-Identifier: BSD-3-Clause
//
// socket_transport.cpp: the transport over a stream socket; last of a stream's four parts.
#include "net/socket_transport.hpp"

#include "net/tls_transport.hpp"

namespace squall {

Result<std::unique_ptr<Transport>> SocketTransport::start_tls(const TLSContext& context,
                                                              const std::string& server_hostname) {
  return upgrade_to_tls(socket_, context, server_hostname);
}

std::unique_ptr<Transport> make_socket_transport(Socket socket) {
  return std::make_unique<SocketTransport>(std::move(socket), SocketOrigin::given);
}

std::unique_ptr<Transport> make_accepted_transport(Socket socket, const TLSContext& context, bool is_tcp) {
  const SocketOrigin origin = is_tcp ? SocketOrigin::accepted_tcp : SocketOrigin::accepted;
  if (context)
    return make_accepted_tls_transport(std::move(socket), origin, context);
  return std::make_unique<SocketTransport>(std::move(socket), origin);
}

std::unique_ptr<Transport> make_unconnected_transport(Socket socket) {
  return std::make_unique<SocketTransport>(std::move(socket), SocketOrigin::to_connect);
}

} // namespace squall
