// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_protocol.cpp
#include "net/socket_api.hpp"
#include <squall/net/proxy_protocol.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace squall {

namespace {

using Kind = ProxyOutcome::Kind;

constexpr std::size_t most_v1_bytes = 107; // with the end of line
constexpr std::string_view v1_begin = "PROXY ";
constexpr std::string_view v2_begin{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t v2_fixed_size = 16;
constexpr std::uint8_t crc32c_type = 0x03;

ProxyOutcome wants_more(std::size_t size = 0) {
  ProxyOutcome outcome;
  outcome.header.size = size;
  return outcome;
}
ProxyOutcome malformed(std::string_view reason) { return {Kind::malformed, {}, reason}; }

ProxyOutcome complete(std::size_t size) {
  ProxyOutcome outcome{Kind::complete, {}, {}};
  outcome.header.size = size;
  return outcome;
}

std::uint8_t byte_at(std::string_view bytes, std::size_t at) { return static_cast<std::uint8_t>(bytes[at]); }

std::uint16_t number_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint16_t>(byte_at(bytes, at) << 8 | byte_at(bytes, at + 1));
}

// -- version 1

/// The text before the next blank, which is taken away with it.
std::string_view take_word(std::string_view& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

/// Digits without zeros in front, as the protocol wants them.
std::optional<std::uint16_t> to_port(std::string_view word) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), port);
  if (error != std::errc{} || end != word.data() + word.size() || (word.size() > 1 && word.front() == '0'))
    return std::nullopt;
  return port;
}

std::optional<Endpoint> to_endpoint(std::string_view address, std::string_view port, AddressFamily family) {
  const auto raw = socket_api::parse_address(address);
  const auto number = to_port(port);
  if (!raw || raw->family != family || !number)
    return std::nullopt;
  return Endpoint{socket_api::to_text(*raw), *number, family};
}

ProxyOutcome parse_line(std::string_view line, std::size_t size) {
  const bool ends_in_blank = line.ends_with(' ');
  line.remove_prefix(v1_begin.size());
  ProxyOutcome outcome = complete(size);
  const std::string_view protocol = take_word(line);
  if (protocol == "UNKNOWN")
    return outcome; // what follows is to be ignored
  if (protocol != "TCP4" && protocol != "TCP6")
    return malformed("the protocol is none of TCP4, TCP6 and UNKNOWN");
  const AddressFamily family = protocol == "TCP4" ? AddressFamily::ipv4 : AddressFamily::ipv6;
  std::array<std::string_view, 4> words; // source, destination, and their ports
  std::generate(words.begin(), words.end(), [&] { return take_word(line); });
  const auto source = to_endpoint(words[0], words[2], family);
  const auto destination = to_endpoint(words[1], words[3], family);
  if (!source || !destination || !line.empty() || ends_in_blank)
    return malformed("the addresses and ports are not two and two of the protocol, one blank apart");
  outcome.header.source = *source;
  outcome.header.destination = *destination;
  return outcome;
}

ProxyOutcome parse_v1(std::string_view bytes) {
  const std::string_view head = bytes.substr(0, most_v1_bytes);
  const std::size_t end = head.find('\n');
  if (end == head.npos)
    return head.size() < most_v1_bytes ? wants_more() : malformed("the line is longer than 107 bytes");
  if (head[end - 1] != '\r')
    return malformed("the line does not end in CR LF");
  const std::string_view line = head.substr(0, end - 1);
  if (line.find_first_of(std::string_view{"\r\0", 2}) != line.npos)
    return malformed("the line has a control character");
  return parse_line(line, end + 1);
}

// -- version 2

constexpr std::array<std::uint32_t, 256> make_crc32c_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit)
      value =
          (value & 1) != 0 ? value >> 1 ^ 0x82f63b78u : value >> 1; // the polynomial of RFC 3720, reflected
    table[i] = value;
  }
  return table;
}

/// Of `bytes`, with those of the checksum itself taken for zeros.
std::uint32_t crc32c(std::string_view bytes, std::size_t checksum_at) {
  static constexpr std::array<std::uint32_t, 256> table = make_crc32c_table();
  std::uint32_t value = ~0u;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint8_t byte = i - checksum_at < 4 ? 0 : byte_at(bytes, i);
    value = table[(value ^ byte) & 0xff] ^ value >> 8;
  }
  return ~value;
}

/// The addresses of a family and transport of the protocol; its byte is theirs in a header.
struct Form {
  std::uint8_t byte;
  AddressFamily family;
  std::size_t address_size;
  bool has_ports;
};
constexpr std::array<Form, 3> forms{{{0x11, AddressFamily::ipv4, 4, true},
                                     {0x21, AddressFamily::ipv6, 16, true},
                                     {0x31, AddressFamily::unix_domain, 108, false}}};

Endpoint read_endpoint(const Form& form, std::string_view address, std::uint16_t port) {
  if (form.family == AddressFamily::unix_domain) {
    const bool is_abstract = address.size() > 1 && address[0] == '\0' && address[1] != '\0'; // unix(7)
    std::string_view path = address.substr(is_abstract ? 1 : 0);
    path = path.substr(0, path.find('\0'));
    return {(is_abstract ? "@" : "") + std::string{path}, 0, form.family};
  }
  socket_api::RawAddress raw;
  raw.family = form.family;
  std::copy(address.begin(), address.end(), raw.bytes.begin());
  return {socket_api::to_text(raw), port, form.family};
}

/// Reads what follows the addresses of `bytes`, a whole header, from `at` on. @returns what is wrong, or nothing
std::string_view read_tlvs(std::string_view bytes, std::size_t at, std::vector<ProxyTLV>& tlvs) {
  bool checked = false;
  while (at < bytes.size()) {
    if (bytes.size() - at < 3)
      return "the last of its values is cut";
    const std::uint8_t type = byte_at(bytes, at);
    const std::size_t size = number_at(bytes, at + 1);
    at += 3;
    if (bytes.size() - at < size)
      return "one of its values is longer than the header";
    if (type == crc32c_type) {
      if (size != 4 || std::exchange(checked, true))
        return "it has no single checksum of 4 bytes";
      const std::uint32_t told = std::uint32_t{number_at(bytes, at)} << 16 | number_at(bytes, at + 2);
      if (crc32c(bytes, at) != told)
        return "its checksum (CRC32c) is wrong";
    }
    tlvs.push_back({type, std::string{bytes.substr(at, size)}});
    at += size;
  }
  return {};
}

ProxyOutcome parse_v2(std::string_view bytes, std::size_t max_size) {
  if (bytes.size() > v2_begin.size() && byte_at(bytes, 12) >> 4 != 2)
    return malformed("its version is not 2");
  if (bytes.size() > v2_begin.size() && (byte_at(bytes, 12) & 0xf) > 1)
    return malformed("its command is neither LOCAL nor PROXY");
  if (bytes.size() < v2_fixed_size)
    return wants_more();
  const std::size_t size = v2_fixed_size + number_at(bytes, 14);
  if (size > max_size)
    return malformed("it is longer than the limit");
  if (bytes.size() < size)
    return wants_more(size);
  bytes = bytes.substr(0, size);
  ProxyOutcome outcome = complete(size);
  const bool is_local = (byte_at(bytes, 12) & 0xf) == 0;
  const auto form = std::find_if(forms.begin(), forms.end(),
                                 [&](const Form& known) { return known.byte == byte_at(bytes, 13); });
  if (is_local || form == forms.end()) // to be skipped whatever it holds
    return outcome;
  const std::size_t addresses_size = 2 * form->address_size + (form->has_ports ? 4 : 0);
  if (size - v2_fixed_size < addresses_size)
    return malformed("it is too short for its addresses");
  const std::string_view source = bytes.substr(v2_fixed_size, form->address_size);
  const std::string_view destination = bytes.substr(v2_fixed_size + form->address_size, form->address_size);
  const std::size_t ports_at = v2_fixed_size + 2 * form->address_size;
  const auto port = [&](std::size_t at) {
    return form->has_ports ? number_at(bytes, ports_at + at) : std::uint16_t{0};
  };
  outcome.header.source = read_endpoint(*form, source, port(0));
  outcome.header.destination = read_endpoint(*form, destination, port(2));
  const std::string_view wrong = read_tlvs(bytes, v2_fixed_size + addresses_size, outcome.header.tlvs);
  return wrong.empty() ? outcome : malformed(wrong);
}

} // namespace

ProxyOutcome parse_proxy_header(std::string_view bytes, std::size_t max_size) {
  const auto begins_with = [&](std::string_view begin) {
    const std::size_t size = std::min(bytes.size(), begin.size());
    return bytes.substr(0, size) == begin.substr(0, size);
  };
  if (begins_with(v2_begin))
    return parse_v2(bytes, max_size);
  if (begins_with(v1_begin))
    return bytes.size() < v1_begin.size() ? wants_more() : parse_v1(bytes);
  return malformed("it begins with neither version's first bytes");
}

} // namespace squall
