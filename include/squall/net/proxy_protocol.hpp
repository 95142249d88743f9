// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_protocol.hpp: what a proxy says of the connection that it forwards, in front of its first byte: the PROXY
// protocol, versions 1 and 2 (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt).
//
// Threads    A pure function: any thread.
// Ownership  What is parsed owns its bytes.
// Errors     A header that is refused is an outcome, with its reason; nothing throws but std::bad_alloc.
// Limits     107 bytes for version 1, as the protocol says; max_size for version 2. Nothing is allocated from a
//            length that is told, only from bytes that are there.
#pragma once

#include <squall/net/endpoint.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace squall {

/// What version 2 adds to the addresses, as it stands there: a value that holds further ones (type 0x20, TLS) is not
/// looked into.
struct ProxyTLV {
  std::uint8_t type = 0;
  std::string value;
  friend bool operator==(const ProxyTLV&, const ProxyTLV&) = default;
};

struct ProxyHeader {
  std::size_t size = 0; ///< bytes; the application's follow
  Endpoint
      source; ///< the client; AddressFamily::unspec: the connection keeps its real addresses, because the
              ///< proxy speaks for itself (LOCAL, UNKNOWN) or of an address that means nothing here
  Endpoint destination;       ///< what the client connected to; AddressFamily::unspec as above
  std::vector<ProxyTLV> tlvs; ///< only with addresses; a CRC32c among them is right

  friend bool operator==(const ProxyHeader&, const ProxyHeader&) = default;
};

struct ProxyOutcome {
  enum class Kind : std::uint8_t {
    wants_more, ///< what is there begins a header
    complete,   ///< `header` is set
    malformed,  ///< `reason` is set: no further byte makes a header of it
  };
  Kind kind = Kind::wants_more;
  ProxyHeader header;
  std::string_view reason; ///< for the log, a literal

  static constexpr std::size_t default_max_size = 4096;
};

/// Parses the header in front of `bytes`. The outcome for the first bytes of a connection does not change when more
/// are there, except from wants_more. `max_size` bounds a header of version 2; at least 16 bytes.
[[nodiscard]] ProxyOutcome parse_proxy_header(std::string_view bytes,
                                              std::size_t max_size = ProxyOutcome::default_max_size);

} // namespace squall
