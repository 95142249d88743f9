// SPDX-License-Identifier: BSD-3-Clause
//
// ip_network.hpp: a set of addresses, such as 10.0.0.0/8.
//
// Ownership  A plain value; copies share nothing.
#pragma once

#include <squall/net/endpoint.hpp>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace squall {

/// The addresses whose first bits are those of one address (RFC 4632, RFC 4291); or the peers of unix sockets.
class IPNetwork {
public:
  /// "10.0.0.0/8", "::1/128", "192.0.2.1" (that address alone), or "unix": every peer of a unix socket.
  /// @throws std::invalid_argument, with what is wrong and how to mend it, for what is none, also for an address with
  ///         bits behind the prefix ("10.0.0.1/8")
  explicit IPNetwork(std::string_view text);

  /// An IPv4 address matches in its IPv6 form (::ffff:10.0.0.1), too.
  [[nodiscard]] bool contains(const Endpoint& endpoint) const noexcept;

  /// As it was given.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }

private:
  std::string text_;
  AddressFamily family_ = AddressFamily::unspec;
  std::array<std::uint8_t, 16> bytes_{}; ///< of an IPv4 address, the first four
  unsigned prefix_ = 0;                  ///< bits
};

/// Whose connections count together: an IPv4 address, or the /64 of an IPv6 address, which one subscriber has.
struct ClientNetwork {
  AddressFamily family;
  std::uint64_t prefix; ///< its bits, as a number

  /// None for a unix socket. An IPv4 address in its IPv6 form (::ffff:192.0.2.1) is an IPv4 address.
  static std::optional<ClientNetwork> of(const Endpoint& peer) noexcept;

  friend auto operator<=>(const ClientNetwork&, const ClientNetwork&) = default;
};

} // namespace squall
