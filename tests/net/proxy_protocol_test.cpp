// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_protocol_test.cpp: headers of the PROXY protocol as bytes.
#include "tests/net/proxy_support.hpp"
#include <squall/net/ip_network.hpp>
#include <squall/net/proxy_protocol.hpp>

#include <gtest/gtest.h>

#include <stdexcept>

namespace squall {

namespace {

using namespace testing_support;
using Kind = ProxyOutcome::Kind;

const Endpoint client4{"192.0.2.1", 56324, AddressFamily::ipv4};
const Endpoint server4{"198.51.100.1", 443, AddressFamily::ipv4};
const Endpoint client6{"2001:db8::1", 56324, AddressFamily::ipv6};
const Endpoint server6{"2001:db8::2", 443, AddressFamily::ipv6};

/// Parses every beginning of `bytes`, of which the first `size` are the header: each wants more until all are there.
ProxyHeader parse_whole(const std::string& bytes, std::size_t size) {
  for (std::size_t n = 0; n < size; ++n)
    EXPECT_EQ(parse_proxy_header(std::string_view{bytes}.substr(0, n)).kind, Kind::wants_more) << n;
  for (const char* rest : {"", "\r\n", "PROXY ", "GET / HTTP/1.0\r\n\r\n"}) {
    const ProxyOutcome outcome = parse_proxy_header(bytes.substr(0, size) + rest);
    EXPECT_EQ(outcome.kind, Kind::complete) << outcome.reason;
    EXPECT_EQ(outcome.header.size, size);
  }
  return parse_proxy_header(bytes).header;
}
ProxyHeader parse_whole(const std::string& bytes) { return parse_whole(bytes, bytes.size()); }

void expect_malformed(const std::string& bytes, std::string_view reason,
                      std::size_t max_size = ProxyOutcome::default_max_size) {
  const ProxyOutcome outcome = parse_proxy_header(bytes, max_size);
  EXPECT_EQ(outcome.kind, Kind::malformed) << testing::PrintToString(bytes);
  EXPECT_NE(outcome.reason.find(reason), std::string_view::npos) << outcome.reason;
  EXPECT_EQ(outcome.header, ProxyHeader{}) << "nothing of it is used";
}

// -- version 1

TEST(ProxyV1, TellsTheAddressesOfTcp4) {
  const ProxyHeader header = parse_whole("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n");
  EXPECT_EQ(header.source, client4);
  EXPECT_EQ(header.destination, server4);
  EXPECT_TRUE(header.tlvs.empty());
}

TEST(ProxyV1, TellsTheAddressesOfTcp6) {
  EXPECT_EQ(parse_whole("PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n").source, client6);
  EXPECT_EQ(parse_whole("PROXY TCP6 2001:0DB8:0:0:0:0:0:1 2001:db8::2 56324 443\r\n").source, client6)
      << "however it is spelled";
}

TEST(ProxyV1, TakesTheLongestLine) {
  const std::string longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535";
  const std::string filled = longest + std::string(105 - longest.size(), 'x') + "\r\n";
  ASSERT_EQ(filled.size(), 107u);
  EXPECT_EQ(parse_whole(filled).source, Endpoint{});
  expect_malformed(longest + std::string(106 - longest.size(), 'x') + "\r\n", "longer than 107 bytes");
  expect_malformed("PROXY TCP4 " + std::string(200, '1'), "longer than 107 bytes");
}

TEST(ProxyV1, RuleC10UnknownKeepsTheRealAddress) {
  for (const char* line : {"PROXY UNKNOWN\r\n", "PROXY UNKNOWN \r\n", "PROXY UNKNOWN anything at all\r\n",
                           "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"}) {
    const ProxyHeader header = parse_whole(line);
    EXPECT_EQ(header.source, Endpoint{});
    EXPECT_EQ(header.destination, Endpoint{});
  }
}

TEST(ProxyV1, RefusesWhatIsNoAddressOrPort) {
  for (const char* rest :
       {"TCP4 192.0.2.1 198.51.100.1 56324", "TCP4 192.0.2.1 198.51.100.1 56324 443 ",
        "TCP4 192.0.2.1 198.51.100.1 56324 443 1", "TCP4  192.0.2.1 198.51.100.1 56324 443",
        "TCP4 192.0.2.1 198.51.100.1 56324 65536", "TCP4 192.0.2.1 198.51.100.1 56324 -1",
        "TCP4 192.0.2.1 198.51.100.1 56324 +1", "TCP4 192.0.2.1 198.51.100.1 056324 443",
        "TCP4 192.0.2.1 198.51.100.1 56324 0x1", "TCP4 192.0.2.01 198.51.100.1 56324 443",
        "TCP4 192.0.2.256 198.51.100.1 56324 443", "TCP4 192.0.2 198.51.100.1 56324 443",
        "TCP4 localhost 198.51.100.1 56324 443", "TCP4 2001:db8::1 2001:db8::2 56324 443",
        "TCP6 192.0.2.1 198.51.100.1 56324 443", "TCP6 2001:db8::1%lo 2001:db8::2 56324 443", "TCP4", "TCP4 ",
        "TCP4\t192.0.2.1 198.51.100.1 56324 443"})
    expect_malformed("PROXY " + std::string{rest} + "\r\n", rest[4] == '\t' ? "none of TCP4" : "two and two");
  for (const char* protocol : {"TCP", "tcp4", "UDP4", "TCP44", "unknown", "UNKNOWNS", ""})
    expect_malformed("PROXY " + std::string{protocol} + " 192.0.2.1 198.51.100.1 56324 443\r\n",
                     "none of TCP4");
}

TEST(ProxyV1, RefusesOtherEndsOfTheLine) {
  expect_malformed("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n", "does not end in CR LF");
  expect_malformed("PROXY \n", "does not end in CR LF");
  expect_malformed("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\r\n", "control character");
  expect_malformed(std::string{"PROXY UNKNOWN \0\r\n", 17}, "control character");
  EXPECT_EQ(parse_proxy_header("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r").kind, Kind::wants_more);
}

TEST(ProxyV1, RefusesAtTheFirstByteThatIsWrong) {
  for (const char* begin :
       {"G", "GET / HTTP/1.1\r\n", "PROXX", "PROXYT", "PROXY\r\n", "proxy ", "\n", "\r\r", "\x16\x03\x01"})
    expect_malformed(begin, "begins with neither");
}

// -- version 2

TEST(ProxyV2, TellsTheAddressesOfEachFamily) {
  const ProxyHeader four = parse_whole(proxy_v2(0x21, 0x11, proxy_addresses4()));
  EXPECT_EQ(four.source, client4);
  EXPECT_EQ(four.destination, server4);
  EXPECT_EQ(four.size, 28u);
  const ProxyHeader six = parse_whole(proxy_v2(0x21, 0x21, proxy_addresses6()));
  EXPECT_EQ(six.source, client6);
  EXPECT_EQ(six.destination, server6);
  std::string paths(216, '\0');
  paths.replace(0, 6, "/run/c");
  paths.replace(109, 4, "name");
  const ProxyHeader unix_paths = parse_whole(proxy_v2(0x21, 0x31, paths));
  EXPECT_EQ(unix_paths.source, (Endpoint{"/run/c", 0, AddressFamily::unix_domain}));
  EXPECT_EQ(unix_paths.destination, (Endpoint{"@name", 0, AddressFamily::unix_domain}));
  const ProxyHeader full = parse_whole(proxy_v2(0x21, 0x31, std::string(216, 'x')));
  EXPECT_EQ(full.source.address, std::string(108, 'x')) << "without a NUL";
}

TEST(ProxyV2, RuleC10LocalKeepsTheRealAddress) {
  for (const std::string& rest :
       {std::string{}, proxy_addresses4(), std::string(300, '\xff'), proxy_tlv(3, "bad") + "junk"}) {
    for (const std::uint8_t family : std::initializer_list<std::uint8_t>{0x00, 0x11, 0x21, 0x31, 0xff}) {
      const ProxyHeader header = parse_whole(proxy_v2(0x20, family, rest));
      EXPECT_EQ(header.source, Endpoint{});
      EXPECT_TRUE(header.tlvs.empty());
    }
  }
}

TEST(ProxyV2, RuleC10UnknownFamiliesAreSkipped) {
  for (const std::uint8_t family :
       std::initializer_list<std::uint8_t>{0x00, 0x01, 0x10, 0x12, 0x13, 0x22, 0x32, 0x41, 0xff}) {
    for (const std::string& rest : {std::string{}, std::string(5, 'x'), std::string(400, '\xff')}) {
      const ProxyHeader header = parse_whole(proxy_v2(0x21, family, rest));
      EXPECT_EQ(header.source, Endpoint{}) << static_cast<int>(family);
      EXPECT_TRUE(header.tlvs.empty());
    }
  }
}

TEST(ProxyV2, RuleC10UnknownValuesAreKeptUnread) {
  const std::string nested = proxy_tlv(0x20, proxy_tlv(0x20, proxy_tlv(0x20, std::string(1000, '\xff'))));
  const ProxyHeader header = parse_whole(proxy_v2(
      0x21, 0x11, proxy_addresses4() + proxy_tlv(0xe0, "") + proxy_tlv(0x02, "example.com") + nested));
  ASSERT_EQ(header.tlvs.size(), 3u);
  EXPECT_EQ(header.tlvs[0], (ProxyTLV{0xe0, ""}));
  EXPECT_EQ(header.tlvs[1], (ProxyTLV{0x02, "example.com"}));
  EXPECT_EQ(header.tlvs[2].value, nested.substr(3));
}

TEST(ProxyV2, RuleC10ValuesThatLeaveTheHeaderAreRefused) {
  const std::string addresses = proxy_addresses4();
  expect_malformed(proxy_v2(0x21, 0x11, addresses + "\x01"), "is cut");
  expect_malformed(proxy_v2(0x21, 0x11, addresses + std::string{"\x01\0", 2}), "is cut");
  expect_malformed(proxy_v2(0x21, 0x11, addresses + std::string{"\x01\0\1", 3}), "longer than the header");
  expect_malformed(proxy_v2(0x21, 0x11, addresses + "\x01\xff\xffxx"), "longer than the header");
}

TEST(ProxyV2, RuleC10AChecksumMustBeRight) {
  const std::string right = proxy_v2_with_checksum(proxy_addresses4() + proxy_tlv(0x02, "example.com"));
  const ProxyHeader header = parse_whole(right);
  EXPECT_EQ(header.source, client4);
  ASSERT_EQ(header.tlvs.size(), 2u);
  for (std::size_t i = 16; i < right.size(); ++i) {
    if (i == right.size() - 7 || i == right.size() - 6 ||
        i == right.size() - 5) // it would be no checksum any more
      continue;
    std::string wrong = right;
    wrong[i] = static_cast<char>(wrong[i] ^ 0x10);
    EXPECT_EQ(parse_proxy_header(wrong).kind, Kind::malformed) << i;
  }
  const std::string addresses = proxy_addresses4();
  expect_malformed(proxy_v2(0x21, 0x11, addresses + proxy_tlv(3, "abc")), "no single checksum");
  expect_malformed(proxy_v2(0x21, 0x11, addresses + proxy_tlv(3, "abcde")), "no single checksum");
  expect_malformed(proxy_v2(0x21, 0x11, addresses + proxy_tlv(3, "abcd")), "CRC32c");
  expect_malformed(proxy_v2_with_checksum(addresses + proxy_tlv(3, "abcd")), "CRC32c");
}

TEST(ProxyV2, AKnownChecksumIsRight) {
  // Of "123456789" it is 0xe3069283, as the tables of RFC 3720 and others have it.
  EXPECT_EQ(crc32c_of("123456789"), 0xe3069283u);
}

TEST(ProxyV2, RefusesOtherVersionsAndCommands) {
  for (const std::uint8_t version : std::initializer_list<std::uint8_t>{0x01, 0x11, 0x31, 0xf1})
    expect_malformed(proxy_v2(version, 0x11, proxy_addresses4()), "version");
  for (const std::uint8_t command : std::initializer_list<std::uint8_t>{0x22, 0x2f})
    expect_malformed(proxy_v2(command, 0x11, proxy_addresses4()), "command");
  expect_malformed(proxy_v2(0x31, 0x11, "").substr(0, 13), "version"); // at the first byte that is wrong
}

TEST(ProxyV2, RefusesAHeaderThatIsTooShortForItsAddresses) {
  expect_malformed(proxy_v2(0x21, 0x11, std::string(11, 'x')), "too short");
  expect_malformed(proxy_v2(0x21, 0x21, std::string(35, 'x')), "too short");
  expect_malformed(proxy_v2(0x21, 0x31, std::string(215, 'x')), "too short");
  expect_malformed(proxy_v2(0x21, 0x11, ""), "too short");
}

TEST(ProxyV2, RuleC10RefusesAHeaderBeyondTheLimitBeforeItIsThere) {
  const std::string fits = proxy_v2(0x20, 0, std::string(4096 - 16, 'x'));
  EXPECT_EQ(parse_whole(fits).size, 4096u);
  expect_malformed(proxy_v2(0x20, 0, std::string(4096 - 15, 'x')).substr(0, 16), "longer than the limit");
  expect_malformed(proxy_v2(0x21, 0x11, proxy_addresses4()), "longer than the limit", 27);
  EXPECT_EQ(parse_proxy_header(proxy_v2(0x21, 0x11, proxy_addresses4()), 28).kind, Kind::complete);
  EXPECT_EQ(parse_proxy_header(proxy_v2(0x20, 0, std::string(65535, 'x')), 65551).kind, Kind::complete);
}

// -- who may send one

TEST(IPNetwork, ContainsTheAddressesOfItsPrefix) {
  struct Case {
    const char* network;
    const char* address;
    bool contained;
  };
  for (const Case& c : std::initializer_list<Case>{{"127.0.0.1/32", "127.0.0.1", true},
                                                   {"127.0.0.1", "127.0.0.1", true},
                                                   {"127.0.0.1", "127.0.0.2", false},
                                                   {"10.0.0.0/8", "10.255.255.255", true},
                                                   {"10.0.0.0/8", "11.0.0.0", false},
                                                   {"192.0.2.128/25", "192.0.2.128", true},
                                                   {"192.0.2.128/25", "192.0.2.127", false},
                                                   {"192.0.2.4/31", "192.0.2.5", true},
                                                   {"192.0.2.4/31", "192.0.2.6", false},
                                                   {"0.0.0.0/0", "203.0.113.9", true},
                                                   {"0.0.0.0/0", "2001:db8::1", false},
                                                   {"0.0.0.0/0", "::ffff:203.0.113.9", true},
                                                   {"10.0.0.0/8", "::ffff:10.1.2.3", true},
                                                   {"10.0.0.0/8", "::ffff:11.1.2.3", false},
                                                   {"10.0.0.0/8", "::fffe:10.1.2.3", false},
                                                   {"::1", "::1", true},
                                                   {"::1/128", "::2", false},
                                                   {"2001:db8::/32", "2001:db8:ffff::1", true},
                                                   {"2001:db8::/33", "2001:db8:8000::", false},
                                                   {"::/0", "2001:db8::1", true},
                                                   {"::/0", "127.0.0.1", false},
                                                   {"fe80::/10", "fe80::1%2", true}}) {
    const AddressFamily family = std::string_view{c.address}.find(':') == std::string_view::npos
                                     ? AddressFamily::ipv4
                                     : AddressFamily::ipv6;
    EXPECT_EQ(IPNetwork{c.network}.contains({c.address, 1, family}), c.contained)
        << c.network << ' ' << c.address;
    EXPECT_EQ(IPNetwork{c.network}.text(), c.network);
  }
  EXPECT_TRUE(IPNetwork{"unix"}.contains({"", 0, AddressFamily::unix_domain}));
  EXPECT_FALSE(IPNetwork{"unix"}.contains({"127.0.0.1", 1, AddressFamily::ipv4}));
  EXPECT_FALSE(IPNetwork{"0.0.0.0/0"}.contains({"10.0.0.1", 0, AddressFamily::unix_domain}))
      << "a path may look so";
  EXPECT_FALSE(IPNetwork{"0.0.0.0/0"}.contains({}));
}

TEST(IPNetwork, RefusesWhatIsNone) {
  for (const char* wrong :
       {"", "localhost", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/ 8",
        "10.0.0/8", "10.0.0.0/08x", " 10.0.0.0/8", "unix/0", "UNIX", "/8", "::1%lo", "010.0.0.0/8"})
    EXPECT_THROW(IPNetwork{wrong}, std::invalid_argument) << wrong;
  try {
    IPNetwork{"10.1.2.3/8"};
    ADD_FAILURE() << "bits behind the prefix";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string{error.what()}.find("write \"10.0.0.0/8\""), std::string::npos) << error.what();
  }
  EXPECT_THROW(IPNetwork{"2001:db8::1/64"}, std::invalid_argument);
}

} // namespace

} // namespace squall
