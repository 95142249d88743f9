// SPDX-License-Identifier: BSD-3-Clause
//
// ip_network.cpp
#include "net/socket_api.hpp"
#include <squall/net/ip_network.hpp>
#include <squall/net/log.hpp>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace squall {

namespace {

/// The first bits of `a` are those of `b`.
bool same_prefix(const std::uint8_t* a, const std::uint8_t* b, unsigned bits) noexcept {
  const unsigned whole = bits / 8;
  const unsigned rest = bits % 8;
  const auto mask = static_cast<std::uint8_t>(0xff00u >> rest);
  return std::equal(a, a + whole, b) && (rest == 0 || ((a[whole] ^ b[whole]) & mask) == 0);
}

} // namespace

IPNetwork::IPNetwork(std::string_view text) : text_{text} {
  const auto refuse = [&](const std::string& why) {
    throw std::invalid_argument{'"' + escape_bytes(text) + "\" is no network: " + why};
  };
  if (text == "unix") {
    family_ = AddressFamily::unix_domain;
    return;
  }
  const std::size_t slash = text.find('/');
  const auto address = socket_api::parse_address(text.substr(0, slash));
  if (!address)
    refuse(R"(write an address like "10.0.0.0/8" or "::1", or "unix")");
  family_ = address->family;
  bytes_ = address->bytes;
  const unsigned most = family_ == AddressFamily::ipv4 ? 32 : 128;
  prefix_ = most;
  if (slash != text.npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix_);
    if (error != std::errc{} || end != digits.data() + digits.size() || prefix_ > most)
      refuse("behind the slash stands a number of bits, from 0 to " + std::to_string(most));
  }
  auto masked = bytes_;
  for (unsigned bit = prefix_; bit < most; ++bit)
    masked[bit / 8] &= static_cast<std::uint8_t>(~(0x80u >> bit % 8));
  if (masked != bytes_)
    refuse("the address has bits behind the prefix; write \"" + socket_api::to_text({family_, masked}) + '/' +
           std::to_string(prefix_) + '"');
}

bool IPNetwork::contains(const Endpoint& endpoint) const noexcept {
  if (family_ == AddressFamily::unix_domain || endpoint.family == AddressFamily::unix_domain)
    return family_ == endpoint.family;
  const std::string_view text = endpoint.address;
  auto address =
      socket_api::parse_address(text.substr(0, text.find('%'))); // a scope (RFC 4007) is no part of it
  if (!address)
    return false;
  if (address->family == AddressFamily::ipv6 && family_ == AddressFamily::ipv4)
    address = socket_api::unmapped(*address);
  return address->family == family_ && same_prefix(address->bytes.data(), bytes_.data(), prefix_);
}

std::optional<ClientNetwork> ClientNetwork::of(const Endpoint& peer) noexcept {
  if (peer.family == AddressFamily::unix_domain) // whose path may look like an address
    return std::nullopt;
  const std::string_view text = peer.address;
  const auto address =
      socket_api::parse_address(text.substr(0, text.find('%'))); // a scope (RFC 4007) is no part of it
  if (!address)
    return std::nullopt;
  const auto number = [&](std::size_t begin, std::size_t end) {
    std::uint64_t value = 0;
    for (std::size_t i = begin; i < end; ++i)
      value = value << 8U | address->bytes[i];
    return value;
  };
  if (address->family == AddressFamily::ipv4)
    return ClientNetwork{AddressFamily::ipv4, number(0, 4)};
  if (number(0, 8) == 0 && number(8, 12) == 0xffff) // RFC 4291, 2.5.5.2
    return ClientNetwork{AddressFamily::ipv4, number(12, 16)};
  return ClientNetwork{AddressFamily::ipv6, number(0, 8)};
}

} // namespace squall
