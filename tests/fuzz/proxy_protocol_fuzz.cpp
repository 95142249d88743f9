// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_protocol_fuzz.cpp: whatever a proxy sends, the outcome does not depend on how it arrives, and stays within the
// bytes that are there.
#include "tests/fuzz/require.hpp"
#include <squall/net/proxy_protocol.hpp>

#include <algorithm>
#include <string>

namespace squall {
namespace {

using Kind = ProxyOutcome::Kind;

void check(std::string_view bytes, std::size_t max_size) {
  const ProxyOutcome whole = parse_proxy_header(bytes, max_size);
  const std::size_t limit = std::max<std::size_t>(max_size, 107);
  if (whole.kind == Kind::wants_more)
    require(bytes.size() < limit, "no header wants more than the limit");
  if (whole.kind == Kind::malformed)
    require(!whole.reason.empty() && whole.header == ProxyHeader{},
            "what is malformed says why, and nothing else");
  if (whole.kind == Kind::complete) {
    require(whole.header.size <= bytes.size() && whole.header.size <= limit, "a header is within its bytes");
    require(whole.header.source.family == whole.header.destination.family, "both ends are of one family");
    std::size_t values = 0;
    for (const ProxyTLV& tlv : whole.header.tlvs)
      values += tlv.value.size() + 3;
    require(values <= whole.header.size, "the values are within the header");
  }
  Kind last = Kind::wants_more;
  for (std::size_t n = 0; n <= bytes.size(); ++n) {
    const ProxyOutcome outcome = parse_proxy_header(bytes.substr(0, n), max_size);
    if (last == Kind::wants_more)
      last = outcome.kind;
    else
      require(outcome.kind == last, "an outcome stays");
    if (outcome.kind == Kind::complete)
      require(outcome.header == whole.header, "a header is the same with more bytes behind it");
  }
  require(last == whole.kind, "the outcome is that of its beginnings");
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0)
    return 0;
  const std::size_t max_size =
      data[0] % 2 == 0 ? squall::ProxyOutcome::default_max_size : 16 + std::size_t{data[0]};
  std::string bytes{reinterpret_cast<const char*>(data + 1), size - 1};
  squall::check(bytes, max_size);
  // The first bytes of version 2 are hard to guess.
  squall::check(std::string{"\r\n\r\n\0\r\nQUIT\n", 12} + bytes, max_size);
  return 0;
}
