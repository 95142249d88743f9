// SPDX-License-Identifier: BSD-3-Clause
//
// endpoint.hpp: one end of a connection as text and number.
//
// Ownership  A plain value; copies share nothing.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace squall {

/// An address family, for choosing what bind_sockets binds and for telling what an Endpoint is.
enum class AddressFamily : std::uint8_t {
  unspec, ///< any; an Endpoint with it is empty
  ipv4,
  ipv6,
  unix_domain,
};

struct Endpoint {
  Endpoint() = default;
  Endpoint(std::string address_, std::uint16_t port_, AddressFamily family_)
      : address{std::move(address_)}, port{port_}, family{family_} {}

  std::string
      address; ///< "127.0.0.1", "::1", a path, "@name" (abstract, unix(7)); empty for an unnamed unix peer
  std::uint16_t port = 0; ///< 0 for unix sockets
  AddressFamily family = AddressFamily::unspec;

  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

/// Who is at the other end of a unix socket, as the system saw it when the peer connected (SO_PEERCRED, unix(7)).
struct PeerCredentials {
  std::int32_t pid = 0;  ///< 0 where the peer is outside of our namespace of processes
  std::uint32_t uid = 0; ///< effective
  std::uint32_t gid = 0; ///< effective
  friend bool operator==(const PeerCredentials&, const PeerCredentials&) = default;
};

/// "127.0.0.1:8888", "[::1]:8888", "unix:/run/x.sock", "unknown"; the address as escape_bytes gives it: peers choose
/// paths.
std::string to_string(const Endpoint& endpoint);

} // namespace squall
