// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_support.hpp: makes headers of the PROXY protocol, version 2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace squall::testing_support {

inline std::string big_endian(std::uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8)
    text += static_cast<char>(value >> shift & 0xff);
  return text;
}

inline std::string proxy_v2(std::uint8_t version_and_command, std::uint8_t family, std::string_view rest) {
  std::string header{"\r\n\r\n\0\r\nQUIT\n", 12};
  header += static_cast<char>(version_and_command);
  header += static_cast<char>(family);
  return header + big_endian(static_cast<std::uint32_t>(rest.size()), 2) + std::string{rest};
}

/// From 192.0.2.1:56324 to 198.51.100.1:443 (RFC 5737).
inline std::string proxy_addresses4() { return std::string{"\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1\xbb", 12}; }

/// From [2001:db8::1]:56324 to [2001:db8::2]:443 (RFC 3849).
inline std::string proxy_addresses6() {
  const std::string prefix = std::string{"\x20\1\xd\xb8", 4} + std::string(11, '\0');
  return prefix + '\1' + prefix + '\2' + std::string{"\xdc\4\1\xbb", 4};
}

inline std::string proxy_tlv(std::uint8_t type, std::string_view value) {
  return static_cast<char>(type) + big_endian(static_cast<std::uint32_t>(value.size()), 2) +
         std::string{value};
}

/// Bit by bit, with the polynomial as RFC 3720 has it.
inline std::uint32_t crc32c_of(std::string_view bytes) {
  std::uint32_t value = 0xffffffff;
  for (const char c : bytes) {
    value ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit)
      value = value >> 1 ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
  }
  return ~value;
}

/// A header of IPv4 that ends in its checksum.
inline std::string proxy_v2_with_checksum(const std::string& rest) {
  std::string header = proxy_v2(0x21, 0x11, rest + proxy_tlv(3, std::string(4, '\0')));
  return header.replace(header.size() - 4, 4, big_endian(crc32c_of(header), 4));
}

} // namespace squall::testing_support
