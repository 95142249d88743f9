// SPDX-License-Identifier: BSD-3-Clause
//
// names_fuzz.cpp: addresses, networks, host names and the names of servers, whatever is written for them.
#include "tests/fuzz/require.hpp"
#include <squall/net/endpoint.hpp>
#include <squall/net/ip_network.hpp>
#include <squall/net/resolver.hpp>
#include <squall/net/tls_context.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <fuzzer/FuzzedDataProvider.h>
#include <stdexcept>

namespace squall {
namespace {

/// An address as bits; empty where the text is none.
std::string bits_of(const std::string& text) {
  for (const auto& [family, size] :
       {std::pair{AF_INET, std::size_t{4}}, std::pair{AF_INET6, std::size_t{16}}}) {
    std::array<unsigned char, 16> bytes{};
    if (text.find('\0') != text.npos || inet_pton(family, text.c_str(), bytes.data()) != 1)
      continue;
    std::string bits;
    for (std::size_t i = 0; i < 8 * size; ++i)
      bits += (bytes.at(i / 8) >> (7 - i % 8) & 1) != 0 ? '1' : '0';
    return bits;
  }
  return {};
}

void check_network(const std::string& text) {
  try {
    const IPNetwork network{text};
    require(network.text() == text, "a network is told as it was given");
    const std::size_t slash = text.find('/');
    const std::string address = text.substr(0, slash);
    const std::string bits = bits_of(address);
    if (bits.empty()) {
      require(text == "unix", "what is no address is unix");
      return;
    }
    const std::size_t prefix = slash == text.npos ? bits.size() : std::stoul(text.substr(slash + 1));
    require(prefix <= bits.size(), "a prefix is within its address");
    require(bits.find('1', prefix) == bits.npos, "no bit stands behind the prefix");
    const bool is_v4 = bits.size() == 32;
    const Endpoint inside{address, 1, is_v4 ? AddressFamily::ipv4 : AddressFamily::ipv6};
    require(network.contains(inside), "a network has its own address");
  } catch (const std::invalid_argument& error) {
    require(*error.what() != '\0', "a refusal says why");
  }
}

void check_names(const std::string& text) {
  const bool is_number = is_valid_ip(text);
  if (!bits_of(text).empty())
    require(is_number, "an address is one");
  if (is_number)
    require(!check_host(text), "an address is a host");
  if (!check_host(text) && !is_number) {
    require(!text.empty() && text.size() <= 254 && text.find('\0') == text.npos,
            "a host name is bounded (RFC 1035, 2.3.4)");
    std::size_t label = 0;
    for (const char c : text)
      require((label = c == '.' ? 0 : label + 1) <= 63, "labels are bounded");
  }
}

/// A context with that server name is made, or refused with a reason. Its certificate is read after its names were checked.
void check_server_name(const std::string& text) {
  TLSOptions options = tls_server_options("", "");
  options.server_names[text] = TLSContext{};
  try {
    TLSContext{options};
    require(false, "a name without a context is refused");
  } catch (const std::exception& error) {
    require(*error.what() != '\0', "a refusal says why");
  }
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{reinterpret_cast<const char*>(data), size};
  squall::check_network(text);
  squall::check_names(text);
  squall::check_server_name(text);
  const std::string shown = to_string(squall::Endpoint{text, 0, squall::AddressFamily::unix_domain});
  squall::require(std::all_of(shown.begin(), shown.end(), [](char c) { return c >= 0x20 && c < 0x7f; }),
                  "the path of a unix socket is shown in printable ASCII");
  return 0;
}
