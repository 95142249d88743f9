// SPDX-License-Identifier: BSD-3-Clause
//
// tls_server_name_test.cpp: how a server chooses by the name in a ClientHello, however that is cut, and how large it may be.
#include "net/tls_client_hello.hpp"
#include "net/tls_context_state.hpp"
#include "tests/net/tls_fixture.hpp"

#include <random>

namespace squall {

namespace {

using namespace testing_support;

class ServerNames : public TLSTest {
protected:
  TLSContext context(UnknownServerName unknown) {
    TLSOptions options = server_options();
    options.unknown_server_name = unknown;
    TLSOptions closed = server_options(named_);
    closed.ca_pem = test_authority().certificate_pem();
    closed.client_certificates = ClientCertificates::require;
    options.server_names["Closed.example"] = TLSContext{closed};
    options.server_names["*.open.example"] = TLSContext{server_options(named_)};
    return TLSContext{options};
  }
  /// Common name of the certificate that a client gets who asks for `name`; or what went wrong.
  std::string asked(const TLSContext& context, const char* name, const Identity* client = nullptr) {
    auto both = serve(context, client);
    if (name != nullptr)
      SSL_set_tlsext_host_name(both.peer->ssl(), name);
    shake(both);
    if (both.stream.closed())
      return both.stream.error().real_error.message();
    char text[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(both.peer->ssl())),
                              NID_commonName, text, sizeof text);
    return text;
  }

  Identity named_ = issue({.common_name = "named"}, &test_authority());
  Identity client_ = issue({.common_name = "client"}, &test_authority());
};

TEST_F(ServerNames, WeakSpot31ChooseTheCertificateAndWhoMayCome) {
  const TLSContext lenient = context(UnknownServerName::use_default);
  EXPECT_EQ(asked(lenient, nullptr), "server");
  EXPECT_EQ(asked(lenient, "unknown.example"), "server");
  EXPECT_EQ(asked(lenient, "a.open.example"), "named");
  EXPECT_EQ(asked(lenient, "a.b.open.example"), "server");
  EXPECT_EQ(asked(lenient, "CLOSED.example", &client_), "named");
  EXPECT_EQ(asked(lenient, "closed.example"), "peer did not return a certificate");
  const TLSContext strict = context(UnknownServerName::refuse);
  EXPECT_EQ(asked(strict, "a.open.example"), "named");
  EXPECT_NE(asked(strict, nullptr), "server");
  EXPECT_NE(asked(strict, "unknown.example"), "server");
}

/// A client's own bytes, which a log or a page shows.
TEST_F(ServerNames, AreToldWithoutWhatIsNoPlainText) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  SSL_set_tlsext_host_name(both.peer->ssl(), "a\n\x1b[2J\\\xff.example");
  shake(both);
  ASSERT_TRUE(both.stream.tls_info());
  EXPECT_EQ(both.stream.tls_info()->server_name, R"(a\x0a\x1b[2J\x5c\xff.example)");
}

TEST_F(ServerNames, ATicketOfOneNameDoesNotOpenAnother) { // CVE-2025-23419
  const TLSContext server = context(UnknownServerName::use_default);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    auto open = serve(server);
    SSL_set_max_proto_version(open.peer->ssl(), version);
    SSL_set_tlsext_host_name(open.peer->ssl(), "a.open.example");
    shake(open);
    ASSERT_TRUE(run_until([&] {
      open.peer->receive();
      return SSL_SESSION_is_resumable(SSL_get_session(open.peer->ssl())) == 1;
    }));
    const std::unique_ptr<SSL_SESSION, Frees<&SSL_SESSION_free>> session{SSL_get1_session(open.peer->ssl())};
    auto closed = serve(server);
    SSL_set_max_proto_version(closed.peer->ssl(), version);
    SSL_set_session(closed.peer->ssl(), session.get());
    SSL_set_tlsext_host_name(closed.peer->ssl(), "closed.example");
    shake(closed);
    EXPECT_EQ(closed.stream.error().reason, CloseReason::tls_failed);
  }
}

// -- cut ClientHellos (CVE-2026-75595: one in pieces got the default context and no demand for a certificate)

/// The handshake bytes of `records` in records of `size` bytes each.
std::string in_records(const std::string& hello, std::size_t size) {
  std::string records;
  for (std::size_t at = 5; at < hello.size(); at += size) {
    const std::string part = hello.substr(at, size);
    records.append(hello, 0, 3)
        .append(1, static_cast<char>(part.size() >> 8U))
        .append(1, static_cast<char>(part.size()))
        .append(part);
  }
  return records;
}

class RuleC3 : public ServerNames {
protected:
  enum class Cut { whole, segments, records };

  /// The record of a ClientHello that asks for `name`, its message `size` bytes large, or as large as it is with 0.
  static std::string client_hello(const RawTLS& peer, const char* name, std::size_t size = 0) {
    if (size > 0) { // protocols that nobody knows, in an extension with a head of six bytes
      const std::size_t plain = make_hello(SslPtr{SSL_new(peer.ctx())}.get(), name).size() - 5;
      std::string protocols = (size - plain) % 2 == 1 ? "\2pp" : "";
      while (protocols.size() < size - plain - 6)
        protocols += "\1p";
      SSL_set_alpn_protos(peer.ssl(), reinterpret_cast<const unsigned char*>(protocols.data()),
                          static_cast<unsigned int>(protocols.size()));
    }
    std::string hello = make_hello(peer.ssl(), name);
    EXPECT_TRUE(size == 0 || hello.size() == size + 5 || hello.size() == size + 10) << hello.size();
    return hello;
  }
  static std::string make_hello(SSL* ssl, const char* name) {
    BIO* out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(ssl);
    SSL_set_tlsext_host_name(ssl, name);
    SSL_do_handshake(ssl);
    char* data = nullptr;
    const long size = BIO_get_mem_data(out, &data);
    return {data, static_cast<std::size_t>(size)};
  }
  void send(const ToClient& both, std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(both.peer->socket().fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0)
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      else if (errno != EAGAIN)
        return; // it was refused meanwhile
      run_turns(loop, 1);
    }
  }
  /// Sends `hello`, and lets the handshake go on to its end.
  void shake(ToClient& both, std::string hello, Cut cut) {
    if (cut == Cut::records)
      hello = in_records(hello, 1);
    if (cut == Cut::segments)
      for (const char byte : hello) // each its own segment: the loop takes it before the next
        send(both, {&byte, 1});
    else
      send(both, hello);
    SSL_set_fd(both.peer->ssl(), both.peer->socket().fd());
    ServerNames::shake(both);
  }
  static StreamError too_large() { return tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_EXCESSIVE_MESSAGE_SIZE)); }
  static constexpr Cut cuts[] = {Cut::whole, Cut::segments, Cut::records};
};

TEST_F(RuleC3, ACutClientHelloGetsTheSameCertificateAndTheSameDemand) {
  const TLSContext server = context(UnknownServerName::refuse);
  for (const Cut cut : cuts) {
    auto open = serve(server);
    shake(open, client_hello(*open.peer, "a.open.example"), cut);
    ASSERT_TRUE(open.stream.tls_info());
    EXPECT_EQ(open.stream.tls_info()->server_name, "a.open.example");
    EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(open.peer->ssl()), named_.certificate.get()), 0);
    auto closed = serve(server);
    shake(closed, client_hello(*closed.peer, "closed.example"), cut);
    EXPECT_EQ(closed.stream.error(),
              tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)));
  }
}

TEST_F(RuleC3, OneOfSixteenKibibytesIsServedAndALargerOneRefused) {
  const TLSContext server = context(UnknownServerName::use_default);
  for (const Cut cut : cuts) {
    for (const std::size_t size : {ClientHelloCheck::most - 1, ClientHelloCheck::most}) {
      auto both = serve(server);
      shake(both, client_hello(*both.peer, "a.open.example", size), cut);
      ASSERT_TRUE(both.stream.tls_info()) << size << ' ' << to_string(both.stream.error());
      EXPECT_EQ(both.stream.tls_info()->server_name, "a.open.example");
    }
    auto both = serve(server);
    shake(both, client_hello(*both.peer, "a.open.example", ClientHelloCheck::most + 1), cut);
    EXPECT_EQ(both.stream.error(), too_large());
  }
}

/// RFC 8446, 6: the peer is told, and what it has sent beyond that resets nothing.
TEST_F(RuleC3, ItIsRefusedWithAnAlert) {
  const std::string alert{"\x15\x03\x03\x00\x02\x02\x2f", 7}; // fatal, illegal_parameter
  for (const auto* server :
       {&server_context<TLSVersion::tls_1_2>(), &server_context<TLSVersion::tls_1_3>()}) {
    for (const std::size_t size : {ClientHelloCheck::most + 1, std::size_t{40'000}}) {
      auto both = serve(*server);
      std::string hello = client_hello(*both.peer, "localhost", ClientHelloCheck::most);
      hello[6] = '\0';
      hello[7] = static_cast<char>(size >> 8U); // what the message declares
      hello[8] = static_cast<char>(size);
      const Socket& peer = both.peer->socket();
      ASSERT_EQ(::send(peer.fd(), hello.data(), hello.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(hello.size()));
      ASSERT_TRUE(run_until([&] { return both.stream.closed(); }));
      EXPECT_EQ(both.stream.error(), too_large());
      std::string got;
      ASSERT_TRUE(run_until([&] {
        std::array<char, 64> some{};
        const ssize_t count = ::recv(peer.fd(), some.data(), some.size(), MSG_DONTWAIT);
        if (count > 0)
          got.append(some.data(), static_cast<std::size_t>(count));
        EXPECT_TRUE(count >= 0 || errno == EAGAIN) << errno;
        return count == 0 || (count < 0 && errno != EAGAIN);
      }));
      EXPECT_EQ(got, alert);
    }
  }
}

TEST_F(RuleC3, ItIsRefusedForWhatItDeclares) {
  for (const std::size_t size : {ClientHelloCheck::most, ClientHelloCheck::most + 1}) {
    auto both = serve(server_context<TLSVersion::tls_1_3>());
    send(both, client_hello(*both.peer, "localhost", size)
                   .substr(0, 9)); // the heads of the record and of the message
    run_turns(loop);
    EXPECT_EQ(both.stream.closed(), size > ClientHelloCheck::most);
  }
}

TEST_F(RuleC3, TheSecondOneIsRefusedAlike) {
  // Key shares of a group that nobody knows: the server asks for a ClientHello with another (RFC 8446, 4.1.4).
  const std::string groups{"\x00\x04\x00\x1d\x00\x17", 6};
  const std::string share{"\x00\x24\x00\x1d\x00\x20", 6};
  const std::string second{"\x16\x03\x03\x00\x04\x01\x01\x86\xa0", 9};
  for (const bool at_once : {false, true}) {
    auto both = serve(server_context<TLSVersion::tls_1_3>());
    SSL_set1_groups_list(both.peer->ssl(), "X25519:P-256");
    std::string hello = client_hello(*both.peer, "localhost");
    for (const std::string& head : {groups, share}) {
      const std::size_t at = hello.find(head);
      ASSERT_NE(at, std::string::npos);
      hello.replace(at + 2, 2, "\x6a\x6a");
    }
    if (!at_once) {
      send(both, hello);
      run_turns(loop);
      EXPECT_FALSE(both.stream.closed());
    }
    send(both, at_once ? hello + second : second);
    ASSERT_TRUE(run_until([&] { return both.stream.closed(); }));
    EXPECT_EQ(both.stream.error(), too_large());
  }
}

TEST_F(RuleC3, TheSecondOneIsServed) {
  const TLSContext server{server_options()};
  SSL_CTX_set1_groups_list(TLSContextState::of(server).ctx.get(), "P-384");
  auto both = serve(server);
  SSL_set1_groups_list(both.peer->ssl(), "X25519:P-384");
  ServerNames::shake(both);
  EXPECT_EQ(both.stream.tls_info()->version, "TLSv1.3");
}

TEST_F(RuleC3, AnUnfinishedOneNeedsLittleMemory) {
  constexpr std::size_t count = 50;
  const TLSContext& server = server_context<TLSVersion::tls_1_3>();
  const std::string hello = [&] {
    auto both = serve(server);
    return client_hello(*both.peer, "localhost", ClientHelloCheck::most);
  }();
  struct Row {
    std::size_t sent;
    std::size_t most; ///< of bytes for each connection
  };
  // OpenSSL's own buffers need 64 KiB, and room for all that could be declared would need 170 KiB more.
  for (const Row& row : {Row{0, 16U * 1024}, Row{9, 80U * 1024}, Row{hello.size() - 1, 80U * 1024}}) {
    std::vector<IOStream> streams;
    std::vector<Socket> peers;
    const std::size_t before = heap_in_use();
    for (std::size_t i = 0; i < count; ++i) {
      auto [ours, theirs] = make_socket_pair();
      streams.emplace_back(loop, std::move(ours), server);
      ASSERT_EQ(::send(theirs.fd(), hello.data(), row.sent, MSG_NOSIGNAL), static_cast<ssize_t>(row.sent));
      peers.push_back(std::move(theirs));
      run_turns(loop, 2);
    }
    const std::size_t each = (heap_in_use() - before) / count;
    RecordProperty("bytes_after_" + std::to_string(row.sent), static_cast<int>(each));
    if (measures_heap) {
      EXPECT_LT(each, row.most) << "after " << row.sent << " bytes";
    }
    EXPECT_FALSE(streams.front().closed());
  }
}

// -- the check alone

std::string message(unsigned char type, std::size_t size, std::size_t body) {
  std::string text{static_cast<char>(type)};
  for (const unsigned shift : {16U, 8U, 0U})
    text += static_cast<char>(size >> shift);
  return text.append(body, 'b');
}

std::string record(const std::string& payload, char type = 22) {
  std::string text{type, 3, 3};
  text += static_cast<char>(payload.size() >> 8U);
  text += static_cast<char>(payload.size());
  return text + payload;
}

bool admitted(std::string_view bytes, std::size_t step) {
  ClientHelloCheck check;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size())))
    if (!check.admits(bytes.substr(0, step)))
      return false;
  return true;
}

constexpr std::size_t largest_body = ClientHelloCheck::most - 4;

TEST(ClientHelloCheckTest, SaysTheSameHoweverTheBytesAreCut) {
  const std::string alert = record("\1\0", 21);
  for (const std::size_t size :
       {largest_body, largest_body + 1, std::size_t{0x010000}, std::size_t{0xffffff}})
    for (const std::size_t step : {1UL, 2UL, 3UL, 5UL, 7UL, 100UL, 100'000UL})
      for (const std::size_t of_record : {1UL, 2UL, 3UL, 4UL, 5UL, 1000UL}) {
        const std::string hello = record(message(1, size, std::min(size, largest_body)));
        EXPECT_EQ(admitted(alert + in_records(hello, of_record), step), size == largest_body);
        const std::string first = in_records(record(message(1, 300, 300)), of_record);
        EXPECT_EQ(admitted(first + record("\1", 20) + hello, step), size == largest_body);
      }
}

TEST(ClientHelloCheckTest, TakesMessagesOfOneRecordOneByOne) {
  EXPECT_TRUE(admitted(record(message(1, 3, 3) + message(1, largest_body, 0)), 1));
  EXPECT_FALSE(admitted(record(message(1, 3, 3) + message(1, largest_body + 1, 0)), 1));
  EXPECT_FALSE(admitted(record(message(1, 0, 0) + message(1, largest_body + 1, 0)), 1));
}

TEST(ClientHelloCheckTest, LeavesEverythingElseToOpenSSL) {
  EXPECT_TRUE(admitted("GET / HTTP/1.1\r\n\r\n" + std::string(1000, '\xff'), 3));
  EXPECT_TRUE(admitted(record(message(11, 0xffffff, 0)) + record(message(1, 0xffffff, 0)), 3));
  ClientHelloCheck stopped;
  stopped.stop();
  EXPECT_TRUE(stopped.admits(record(message(1, 0xffffff, 0))));
}

TEST(ClientHelloCheckTest, IsNotConfusedByRandomBytes) {
  std::mt19937 random{20'260};
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes;
    while (bytes.size() < 60) {
      std::string payload(random() % 12, '\0');
      for (char& byte : payload)
        byte = static_cast<char>(random() % 4);
      bytes += record(payload, static_cast<char>(20 + random() % 4));
    }
    EXPECT_EQ(admitted(bytes, 1), admitted(bytes, bytes.size()));
    EXPECT_EQ(admitted(bytes, 4), admitted(bytes, 9));
  }
}

} // namespace

} // namespace squall
