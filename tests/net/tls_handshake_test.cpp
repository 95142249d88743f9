// SPDX-License-Identifier: BSD-3-Clause
//
// tls_handshake_test.cpp: how the two ends of TLS meet: who is believed, what waits, what both know afterwards, and what
// happens to a handshake that fails, stalls or comes in pieces.
#include "tests/log_recorder.hpp"
#include "tests/net/tls_fixture.hpp"

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>

namespace squall {

namespace {

using namespace testing_support;

using TLSHandshake = TLSTest;

TEST_F(TLSHandshake, CarriesALineThereAndBack) {
  auto [server, client] = pair_tls<TLSVersion::tls_1_3>(loop, {});
  static_cast<void>(client.write(Bytes{"hello\n"}));
  TestRead at_server{server, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return at_server.answered(); }));
  static_cast<void>(server.write(Bytes{"echo: " + at_server.text()}));
  TestRead at_client{client, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return at_client.answered(); }));
  EXPECT_EQ(at_client.text(), "echo: hello\n");
}

// -- waiting

TEST_F(TLSHandshake, IsWaitedForBeforeDuringAndAfterAnyNumberOfTimes) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  EXPECT_FALSE(both.stream.tls_info());
  EXPECT_FALSE(both.stream.connected());
  TestWait first{both.stream, StreamEvent::handshaken};
  TestWait second{both.stream, StreamEvent::handshaken};
  run_turns(loop);
  EXPECT_FALSE(first.answered());
  both.peer->shake();
  run_turns(loop);
  TestWait third{both.stream, StreamEvent::handshaken};
  shake(both);
  EXPECT_TRUE(first.succeeded() && second.succeeded() && third.succeeded());
  EXPECT_TRUE(TestWait(both.stream, StreamEvent::handshaken).succeeded());
  bool called = false;
  both.stream.wait(StreamEvent::handshaken, [&](Result<void> result) { called = result.has_value(); });
  EXPECT_TRUE(run_until([&] { return called; }));
  both.stream.close();
  EXPECT_TRUE(TestWait(both.stream, StreamEvent::handshaken).succeeded());
}

TEST_F(TLSHandshake, TellsItsFailureToEveryoneAlsoAfterwards) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  TestWait before{both.stream, StreamEvent::handshaken};
  TestRead read{both.stream, ReadUntil{"\n"}};
  ASSERT_GT(::send(both.peer->socket().fd(), "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 0);
  ASSERT_TRUE(run_until([&] { return before.answered() && read.answered(); }));
  const StreamError failed = tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_HTTP_REQUEST));
  EXPECT_EQ(before.error(), failed);
  EXPECT_EQ(read.error(), failed);
  EXPECT_EQ(failed.real_error.message(), "http request");
  EXPECT_EQ(TestWait(both.stream, StreamEvent::handshaken).error(), failed);
}

TEST_F(TLSHandshake, OfAPlainStreamIsDone) {
  auto [one, two] = pair_sockets<&make_tcp_pair>(loop, {});
  EXPECT_TRUE(TestWait(one, StreamEvent::handshaken).succeeded());
  EXPECT_FALSE(one.tls_info());
}

TEST_F(TLSHandshake, HoldsReadsAndWritesBack) {
  auto both = serve(server_context<TLSVersion::tls_1_2>());
  TestRead read{both.stream, ReadUntil{"\n"}};
  TestWrite write{both.stream, Bytes{"answer\n"}};
  run_turns(loop);
  EXPECT_FALSE(read.answered() || write.answered());
  EXPECT_EQ(both.stream.unsent_size(), 7U);
  shake(both);
  both.peer->send_some("question\n");
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return read.answered() && write.answered() && both.peer->received == "answer\n";
  }));
  EXPECT_EQ(read.text(), "question\n");
}

// -- what both know afterwards

TEST_F(TLSHandshake, TellsWhatWasAgreedOn) {
  TLSOptions server = server_options();
  server.alpn = {"two", "one"};
  TLSOptions client = client_options();
  client.alpn = {"one", "two"};
  auto [ours, theirs] = make_tcp_pair();
  IOStream at_server{loop, std::move(ours), TLSContext{server}};
  IOStream at_client{loop, make_tls_transport(std::move(theirs), TLSContext{client}, "localhost")};
  ASSERT_TRUE(run_until([&] { return at_server.connected() && at_client.connected(); }));
  const TLSInfo info = *at_client.tls_info();
  EXPECT_EQ(info.version, "TLSv1.3");
  EXPECT_EQ(info.cipher.substr(0, 4), "TLS_");
  EXPECT_EQ(info.alpn, "two") << "the server's first";
  EXPECT_FALSE(info.resumed);
  ASSERT_EQ(info.peer_certificates.size(), 1U);
  const PeerCertificate& certificate = info.peer_certificates.front();
  EXPECT_EQ(certificate.subject, "CN=server");
  EXPECT_EQ(certificate.issuer, "CN=Test Authority");
  EXPECT_EQ(certificate.dns_names, std::vector<std::string>{"localhost"});
  EXPECT_EQ(certificate.ip_addresses, std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(certificate.pem, test_server().certificate_pem());
  EXPECT_EQ(at_server.tls_info()->server_name, "localhost");
  EXPECT_EQ(at_server.tls_info()->alpn, "two");
  EXPECT_TRUE(at_server.tls_info()->peer_certificates.empty());
  at_client.close();
  EXPECT_FALSE(at_client.tls_info());
}

/// Whoever signs it: a name may be shown on a terminal.
TEST_F(TLSHandshake, ShowsNamesWithoutOrdersToATerminal) {
  const Identity named = issue({.common_name = "M\xc3\xbcnchen\n\x1b[2J\xc2\x9b\xe2\x80\xae,\xe2\x82\xac"});
  auto [ours, theirs] = make_tcp_pair();
  RawTLS peer{std::move(theirs), TLSSide::server, &named};
  IOStream stream{loop, std::move(ours), TLSContext{insecure_tls_client_options()}};
  TestWait done{stream, StreamEvent::handshaken};
  ASSERT_TRUE(run_until([&] { return peer.shake() && done.answered(); }));
  ASSERT_TRUE(stream.tls_info());
  EXPECT_EQ(stream.tls_info()->peer_certificates.at(0).subject,
            "CN=M\xc3\xbcnchen\\0A\\1B[2J\\C2\\9B\\E2\\80\\AE\\,\xe2\x82\xac");
}

TEST_F(TLSHandshake, WeakSpot31RefusesAClientThatOffersOtherProtocolsOnly) {
  TLSOptions options = server_options();
  options.alpn = {"h2"};
  auto both = serve(TLSContext{options});
  SSL_set_alpn_protos(both.peer->ssl(), reinterpret_cast<const unsigned char*>("\3foo"), 4);
  shake(both);
  EXPECT_EQ(both.stream.error().reason, CloseReason::tls_failed);
  EXPECT_EQ(both.peer->reason, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
}

TEST_F(TLSHandshake, RefusesVersionsAndCiphersOutsideTheProfile) {
  auto old = serve(TLSContext{server_options()});
  SSL_set_security_level(old.peer->ssl(), 0);
  SSL_set_min_proto_version(old.peer->ssl(), TLS1_VERSION);
  SSL_set_max_proto_version(old.peer->ssl(), TLS1_1_VERSION);
  shake(old);
  EXPECT_EQ(old.stream.error().reason, CloseReason::tls_failed);
  auto weak = serve(TLSContext{server_options()});
  SSL_set_max_proto_version(weak.peer->ssl(), TLS1_2_VERSION);
  SSL_set_cipher_list(weak.peer->ssl(), "ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256");
  shake(weak);
  EXPECT_EQ(weak.stream.error().reason, CloseReason::tls_failed);
}

// -- connecting

TEST_F(TLSHandshake, IsPartOfAConnect) {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  IOStream client{loop, client_context<TLSVersion::tls_1_3>()};
  TestWait connected{client, Connect{listener.local_endpoint(), "localhost"}};
  TestWrite write{client, Bytes{"early\n"}};
  IOStream server;
  ASSERT_TRUE(run_until([&] {
    const int fd = server ? -1 : ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      EXPECT_FALSE(connected.answered());
      server = IOStream{loop, Socket{fd}, server_context<TLSVersion::tls_1_3>()};
    }
    return connected.answered() && write.answered();
  }));
  EXPECT_TRUE(connected.succeeded() && write.succeeded());
  EXPECT_TRUE(client.tls_info());
  TestRead read{server, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "early\n");
}

TEST_F(TLSHandshake, NeedsANameToVerify) {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  IOStream client{loop, client_context<TLSVersion::tls_1_3>()};
  const TestWait refused{client, Connect{listener.local_endpoint()}};
  EXPECT_EQ(refused.error().code, StreamErrc::server_hostname);
  EXPECT_FALSE(client.closed());
  auto [ours, theirs] = make_tcp_pair();
  EXPECT_THROW(make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>()),
               std::invalid_argument);
  EXPECT_THROW((IOStream{loop, server_context<TLSVersion::tls_1_3>()}), std::invalid_argument);
}

TEST(RuleC9, NoNameIsTooLongForASetter) {
  for (const std::size_t size : {0UL, 253UL, 254UL, 255UL, 256UL, 65536UL}) {
    for (const bool dotted : {false, true}) {
      if (size == 253 && dotted) // which is a name
        continue;
      std::string name(size, 'a');
      for (std::size_t i = 9; dotted && i < size; i += 10)
        name[i] = '.';
      auto [ours, theirs] = make_tcp_pair();
      EXPECT_THROW(make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>(), name),
                   std::invalid_argument)
          << size;
    }
  }
  std::string longest = std::string(63, 'a') + '.' + std::string(63, 'b') + '.' + std::string(63, 'c') + '.' +
                        std::string(61, 'd');
  for (const std::string& name : {std::string{"a"}, longest, longest + '.'}) {
    auto [ours, theirs] = make_tcp_pair();
    EXPECT_NE(make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>(), name), nullptr);
  }
  for (const std::string& name : {std::string{"a..b"}, std::string{"."}, std::string{"b\303\274cher.example"},
                                  std::string{"a\0b", 3}, std::string{"*.example.com"}, std::string{"a b"}}) {
    auto [ours, theirs] = make_tcp_pair();
    EXPECT_THROW(make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>(), name),
                 std::invalid_argument)
        << name;
  }
}

TEST_F(TLSTest, RuleC9_ANameThatIsNoneLeavesTheStreamAsItWas) {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  for (const std::string& name : {std::string{}, std::string(254, 'a'), std::string(256, 'a'),
                                  std::string(65536, 'a'), std::string{"localhost\0.evil", 15}}) {
    IOStream client{loop, client_context<TLSVersion::tls_1_3>()};
    EXPECT_EQ(TestWait(client, Connect{listener.local_endpoint(), name}).error().code,
              StreamErrc::server_hostname);
    EXPECT_FALSE(client.closed());
    auto [one, two] = pair_sockets<&make_tcp_pair>(loop, {});
    EXPECT_EQ(TestWait(one, StartTLS{false, client_context<TLSVersion::tls_1_3>(), name}).error().code,
              StreamErrc::server_hostname);
    EXPECT_FALSE(one.closed() || two.closed());
  }
}

// -- who is believed

class RuleC11 : public TLSTest {};

TEST_F(RuleC11, TableOfCertificates) {
  struct Row {
    const char* what;
    CertificateSpec spec;
    std::string name;
    int expected; ///< of X509_V_...
  };
  const std::string host = "foo.example.com";
  const std::string long_name = std::string(63, 'a') + '.' + std::string(63, 'b') + '.' +
                                std::string(63, 'c') + '.' + std::string(63, 'd');
  const std::vector<Row> rows = {
      {"its name", {.dns_names = {host}}, host, X509_V_OK},
      {"another name", {.dns_names = {"bar.example.com"}}, host, X509_V_ERR_HOSTNAME_MISMATCH},
      {"the common name only", {.common_name = host}, host, X509_V_ERR_HOSTNAME_MISMATCH},
      {"a wildcard", {.dns_names = {"*.example.com"}}, host, X509_V_OK},
      {"a wildcard for two labels", {.dns_names = {"*.com"}}, host, X509_V_ERR_HOSTNAME_MISMATCH},
      {"half a wildcard", {.dns_names = {"f*.example.com"}}, host, X509_V_ERR_HOSTNAME_MISMATCH},
      {"its address", {.ip_addresses = {"192.0.2.1"}}, "192.0.2.1", X509_V_OK},
      {"its address of IPv6", {.ip_addresses = {"2001:db8::1"}}, "2001:db8::1", X509_V_OK},
      {"its address as a name",
       {.common_name = "192.0.2.1", .dns_names = {"192.0.2.1"}},
       "192.0.2.1",
       X509_V_ERR_IP_ADDRESS_MISMATCH},
      {"a NUL in the name",
       {.dns_names = {host + std::string{"\0.evil.example", 14}}},
       host,
       X509_V_ERR_HOSTNAME_MISMATCH},
      {"a dot behind the name that is asked for", {.dns_names = {host}}, host + ".", X509_V_OK},
      {"a dot behind the name in the certificate",
       {.dns_names = {host + "."}},
       host,
       X509_V_ERR_HOSTNAME_MISMATCH},
      {"an IDN", {.dns_names = {"xn--bcher-kva.example"}}, "XN--bcher-kva.example", X509_V_OK},
      {"an IDN under half a wildcard",
       {.dns_names = {"xn--*.example"}},
       "xn--bcher-kva.example",
       X509_V_ERR_HOSTNAME_MISMATCH},
      {"a name of 255 characters", {.dns_names = {long_name}}, host, X509_V_ERR_HOSTNAME_MISMATCH},
      {"expired", {.dns_names = {host}, .begins = -7200, .ends = -3600}, host, X509_V_ERR_CERT_HAS_EXPIRED},
      {"not yet valid", {.dns_names = {host}, .begins = 3600}, host, X509_V_ERR_CERT_NOT_YET_VALID},
      {"for clients",
       {.dns_names = {host}, .extended_key_usage = NID_client_auth},
       host,
       X509_V_ERR_INVALID_PURPOSE},
      {"for servers", {.dns_names = {host}, .extended_key_usage = NID_server_auth}, host, X509_V_OK},
  };
  for (const Row& row : rows)
    for (const auto& client :
         {client_context<TLSVersion::tls_1_2>(), client_context<TLSVersion::tls_1_3>()}) {
      SCOPED_TRACE(row.what);
      const StreamError error = verify(issue(row.spec, &test_authority()), row.name, client);
      if (row.expected == X509_V_OK)
        EXPECT_EQ(error.reason, CloseReason::none) << to_string(error);
      else
        EXPECT_EQ(error, tls_error(row.expected)) << to_string(error);
    }
}

TEST_F(RuleC11, NobodyElseSigns) {
  const TLSContext& client = client_context<TLSVersion::tls_1_3>();
  const Identity stranger = issue({.common_name = "Stranger", .is_authority = true});
  EXPECT_EQ(verify(issue({.dns_names = {"foo"}}, &stranger), "foo", client),
            tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
  EXPECT_EQ(verify(issue({.dns_names = {"foo"}}), "foo", client),
            tls_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT));
}

TEST_F(RuleC11, OnlyWhatIsCalledInsecureBelievesAnyone) {
  TLSOptions no_name = client_options();
  no_name.insecure_skip_name_check = true;
  EXPECT_EQ(verify(test_server(), "other.example", TLSContext{no_name}).reason, CloseReason::none);
  EXPECT_EQ(verify(issue({}), "other.example", TLSContext{no_name}),
            tls_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT));
  EXPECT_EQ(verify(issue({}), "", TLSContext{insecure_tls_client_options()}).reason, CloseReason::none);
}

TEST_F(RuleC11, AuthoritiesMayLieInADirectory) {
  const std::filesystem::path folder = std::filesystem::path{testing::TempDir()} / "squall_ca_directory_test";
  std::filesystem::create_directories(folder);
  std::array<char, 16> name{}; // as `openssl rehash` makes it
  std::snprintf(name.data(), name.size(), "%08lx.0",
                X509_subject_name_hash(test_authority().certificate.get()));
  std::ofstream{folder / name.data()} << test_authority().certificate_pem();
  TLSOptions options = tls_client_options();
  options.ca_directory = folder.string();
  const Identity stranger = issue({.common_name = "Stranger", .is_authority = true});
  EXPECT_EQ(verify(test_server(), "localhost", TLSContext{options}).reason, CloseReason::none);
  EXPECT_EQ(verify(issue({.dns_names = {"localhost"}}, &stranger), "localhost", TLSContext{options}),
            tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
  std::filesystem::remove_all(folder);
}

TEST_F(RuleC11, AServerSendsTheChainOfItsFile) {
  const Identity between = issue({.common_name = "Between", .is_authority = true}, &test_authority());
  TLSOptions options = server_options(issue({.common_name = "leaf", .dns_names = {"foo"}}, &between));
  options.certificate_pem += between.certificate_pem();
  auto [ours, theirs] = make_tcp_pair();
  IOStream server{loop, std::move(ours), TLSContext{options}};
  IOStream client{loop, make_tls_transport(std::move(theirs), client_context<TLSVersion::tls_1_3>(), "foo")};
  TestWait done{client, StreamEvent::handshaken};
  ASSERT_TRUE(run_until([&] { return done.answered(); }));
  ASSERT_TRUE(client.tls_info()) << to_string(client.error());
  const auto chain = client.tls_info()->peer_certificates;
  ASSERT_EQ(chain.size(), 2U);
  EXPECT_EQ(chain[0].subject, "CN=leaf");
  EXPECT_EQ(chain[1].subject, "CN=Between");
}

TEST_F(RuleC11, ARevokedServerIsRefused) {
  const Identity between = issue({.common_name = "Between", .is_authority = true}, &test_authority());
  const Identity server = issue({.dns_names = {"foo"}}, &between);
  const Identity another = issue({.dns_names = {"foo"}}, &between);
  const auto outcome = [&](const std::string& lists) {
    TLSOptions options = client_options();
    options.crl_pem = lists;
    return verify(server, "foo", TLSContext{options}, {&between});
  };
  const std::string of_root = revocation_list(test_authority(), {});
  EXPECT_EQ(outcome(of_root + revocation_list(between, {&another})).reason, CloseReason::none);
  EXPECT_EQ(outcome(of_root + revocation_list(between, {&another, &server})),
            tls_error(X509_V_ERR_CERT_REVOKED));
  EXPECT_EQ(outcome(revocation_list(test_authority(), {&between}) + revocation_list(between, {})),
            tls_error(X509_V_ERR_CERT_REVOKED))
      << "the authority between was taken back";
  EXPECT_EQ(outcome(of_root), tls_error(X509_V_ERR_UNABLE_TO_GET_CRL));
  EXPECT_EQ(outcome(of_root + revocation_list(between, {}, -3600)), tls_error(X509_V_ERR_CRL_HAS_EXPIRED));
}

class RuleC12 : public TLSTest {
protected:
  TLSContext context(ClientCertificates wanted, TLSVersion version) {
    TLSOptions options = server_options();
    options.ca_pem = test_authority().certificate_pem();
    options.crl_pem = revocations;
    options.client_certificates = wanted;
    return context_of(options, version);
  }
  StreamError outcome(ClientCertificates wanted, TLSVersion version, const Identity* client,
                      const Identity* between = nullptr) {
    auto both = serve(context(wanted, version), client);
    if (between != nullptr)
      SSL_add1_chain_cert(both.peer->ssl(), between->certificate.get());
    shake(both);
    info = both.stream.tls_info();
    return both.stream.error();
  }
  std::string revocations; ///< in PEM
  std::optional<TLSInfo> info;
};

TEST_F(RuleC12, ARevokedClientIsRefused) {
  const Identity valid = issue({.common_name = "valid"}, &test_authority());
  const Identity revoked = issue({.common_name = "revoked"}, &test_authority());
  revocations = revocation_list(test_authority(), {&revoked});
  for (const TLSVersion version : {TLSVersion::tls_1_2, TLSVersion::tls_1_3})
    for (const auto wanted : {ClientCertificates::request, ClientCertificates::require}) {
      EXPECT_EQ(outcome(wanted, version, &valid).reason, CloseReason::none);
      EXPECT_EQ(outcome(wanted, version, &revoked), tls_error(X509_V_ERR_CERT_REVOKED));
    }
}

TEST_F(RuleC12, TableOfClientCertificates) {
  const Identity valid =
      issue({.common_name = "client", .extended_key_usage = NID_client_auth}, &test_authority());
  const Identity self_signed = issue({.common_name = "client"});
  const Identity expired = issue({.begins = -7200, .ends = -3600}, &test_authority());
  const Identity of_server = issue({.extended_key_usage = NID_server_auth}, &test_authority());
  const Identity no_authority = issue({.common_name = "no authority"}, &test_authority());
  const Identity below = issue({.common_name = "below"}, &no_authority);
  const Identity stranger = issue({.common_name = "Stranger", .is_authority = true});
  const Identity of_stranger = issue({.common_name = "client"}, &stranger);
  const auto require = ClientCertificates::require;
  for (const TLSVersion version : {TLSVersion::tls_1_2, TLSVersion::tls_1_3}) {
    EXPECT_EQ(outcome(require, version, &valid).reason, CloseReason::none);
    ASSERT_EQ(info->peer_certificates.size(), 1U);
    EXPECT_EQ(info->peer_certificates.front().subject, "CN=client");
    EXPECT_EQ(outcome(require, version, nullptr),
              tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)));
    EXPECT_EQ(outcome(require, version, &self_signed), tls_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT));
    EXPECT_EQ(outcome(require, version, &expired), tls_error(X509_V_ERR_CERT_HAS_EXPIRED));
    EXPECT_EQ(outcome(require, version, &of_server), tls_error(X509_V_ERR_INVALID_PURPOSE));
    EXPECT_EQ(outcome(require, version, &below, &no_authority), tls_error(X509_V_ERR_INVALID_CA));
    EXPECT_EQ(outcome(require, version, &of_stranger),
              tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
    EXPECT_EQ(outcome(require, version, &of_stranger, &stranger),
              tls_error(X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN));
    EXPECT_EQ(outcome(ClientCertificates::request, version, nullptr).reason, CloseReason::none);
    EXPECT_EQ(outcome(ClientCertificates::request, version, &self_signed),
              tls_error(X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT));
  }
}

// -- what fails and what stalls

class RuleC14 : public TLSTest {};

TEST_F(RuleC14, TimedOutHandshakesLeaveNoDescriptor) {
  const TLSContext& context = server_context<TLSVersion::tls_1_3>();
  const int before = descriptor_count();
  for (int batch = 0; batch < 10; ++batch) {
    std::vector<IOStream> streams;
    std::vector<Socket> silent;
    for (int i = 0; i < 100; ++i) {
      auto [ours, theirs] = make_socket_pair();
      streams.emplace_back(loop, std::move(ours), context);
      silent.push_back(std::move(theirs));
    }
    run_turns(loop);
    clock.advance(9'999ms);
    for (const Socket& socket : silent) // what drips in does not give it more time
      ASSERT_EQ(::send(socket.fd(), "\26", 1, MSG_NOSIGNAL), 1);
    run_turns(loop);
    EXPECT_FALSE(streams.front().closed());
    clock.advance(1ms);
    run_turns(loop);
    for (const IOStream& stream : streams)
      ASSERT_EQ(stream.error(), (StreamError{StreamErrc::closed, CloseReason::tls_failed,
                                             std::make_error_code(std::errc::timed_out)}));
    silent.clear();
    EXPECT_EQ(descriptor_count(), before);
  }
}

TEST_F(RuleC14, AlsoOfAConnect) {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  IOStream client{loop, client_context<TLSVersion::tls_1_3>()};
  TestWait connected{client, Connect{listener.local_endpoint(), "localhost"}};
  run_turns(loop);
  clock.advance(10s);
  ASSERT_TRUE(run_until([&] {
    clock.advance(10s);
    return connected.answered();
  }));
  EXPECT_EQ(connected.error().reason, CloseReason::tls_failed);
}

class RuleC15 : public TLSTest {
protected:
  /// The loop has nothing to do: each of some turns lasts as long as it may, instead of finding something ready.
  [[nodiscard]] bool loop_waits() {
    run_turns(loop);
    constexpr auto most = 20ms;
    for (int i = 0; i < 3; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      loop.run_once(most);
      if (std::chrono::steady_clock::now() - begin < most - 1ms)
        return false;
    }
    return true;
  }
};

TEST_F(RuleC15, AQueuedWriteDoesNotMakeAStalledHandshakeSpin) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  TestWrite write{both.stream, Bytes{"hello"}};
  static_cast<void>(both.stream.write(Bytes{std::string(100'000, 'x')}));
  EXPECT_TRUE(loop_waits());
  for (const char byte : {'\x16', '\3', '\1', '\0'}) { // a part of a head, and none
    ASSERT_EQ(::send(both.peer->socket().fd(), &byte, 1, MSG_NOSIGNAL), 1);
    EXPECT_TRUE(loop_waits());
  }
  EXPECT_FALSE(write.answered());
  both.stream.cancel_write(write);
}

TEST_F(RuleC15, AlsoOfAClient) {
  auto [ours, theirs] = make_tcp_pair();
  IOStream client{loop,
                  make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>(), "localhost")};
  TestWrite write{client, Bytes{"hello"}};
  static_cast<void>(client.write(Bytes{std::string(100'000, 'x')}));
  EXPECT_TRUE(loop_waits());
  ASSERT_EQ(::send(theirs.fd(), "\x16", 1, MSG_NOSIGNAL), 1); // one edge, which brings nothing
  EXPECT_TRUE(loop_waits());
  EXPECT_FALSE(write.answered());
  client.cancel_write(write);
}

TEST_F(TLSHandshake, OfAPeerThatLeavesIsNoWarning) {
  set_log_level(LogLevel::debug);
  const LogRecorder log;
  const TLSContext& context = server_context<TLSVersion::tls_1_3>();
  const auto refused = [&](const std::string& sent, bool reset) {
    auto [ours, theirs] = make_tcp_pair();
    IOStream stream{loop, std::move(ours), context};
    const std::string peer = to_string(stream.peer_endpoint());
    run_turns(loop);
    static_cast<void>(::send(theirs.fd(), sent.data(), sent.size(), MSG_NOSIGNAL));
    const linger at_once{1, 0}; // a reset (socket(7), SO_LINGER)
    if (reset)
      ::setsockopt(theirs.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    theirs.reset();
    EXPECT_TRUE(run_until([&] { return stream.closed(); }));
    return peer;
  };
  refused("", false); // a health check
  refused("\x16\x03\x01", false);
  refused("", true);
  for (const LogRecorder::Event& event : log.events("tls_failed"))
    EXPECT_EQ(event.level, LogLevel::debug);
  const std::size_t told = log.count("tls_failed"); // a reset need not be told at all
  EXPECT_GE(told, 2U);
  const std::string peer = refused("no TLS", true); // it is gone when the failure is told
  ASSERT_EQ(log.count("tls_failed"), told + 1);
  EXPECT_EQ(log.events("tls_failed").back().level, LogLevel::warning);
  EXPECT_EQ(log.events("tls_failed").back().fields.at("peer"), peer);
}

TEST_F(TLSHandshake, EndsWithItsPeer) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  TestWait done{both.stream, StreamEvent::handshaken};
  both.peer->shake();
  both.peer->socket().reset();
  ASSERT_TRUE(run_until([&] { return done.answered(); }));
  EXPECT_TRUE(both.stream.closed());
}

TEST_F(TLSHandshake, HandsOverWhatACloseMustFlush) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  static_cast<void>(both.stream.write(Bytes{"last words"}));
  static_cast<void>(both.stream.close_after_flush(1s));
  ASSERT_TRUE(run_until([&] {
    if (both.peer->shake())
      both.peer->receive();
    return both.peer->saw_end;
  }));
  EXPECT_EQ(both.peer->received, "last words");
}

// -- errors stay with their connection

TEST_F(TLSHandshake, AnErrorIsNeverAttributedToAnotherConnection) {
  auto good = pair_tls<TLSVersion::tls_1_3>(loop, {});
  TestRead read{good.first, ReadUntil{"\n"}};
  for (int i = 0; i < 20; ++i) {
    auto bad = serve(server_context<TLSVersion::tls_1_3>());
    ASSERT_GT(::send(bad.peer->socket().fd(), "nonsense", 8, MSG_NOSIGNAL), 0);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_DIGEST_LENGTH); // somebody else's, left behind
    static_cast<void>(good.second.write(Bytes{"x"}));
    ASSERT_TRUE(run_until([&] { return bad.stream.closed(); }));
    EXPECT_EQ(bad.stream.error(), tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER)));
    EXPECT_EQ(ERR_peek_error(), 0U);
  }
  static_cast<void>(good.second.write(Bytes{"\n"}));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), std::string(20, 'x') + "\n");
}

/// One of many connections that fail in ways of their own, a byte at a time.
struct Failing {
  IOStream stream;
  std::unique_ptr<RawTLS> peer;
  std::string bytes; ///< that come instead of a handshake
  int reason;        ///< what must be said
};

TEST_F(TLSHandshake, ManyFailuresAtOnceAreEachTheirOwn) {
  const TLSContext& context = server_context<TLSVersion::tls_1_2>();
  std::vector<Failing> all;
  const auto add = [&](std::string bytes, int reason) {
    auto both = serve(context);
    all.push_back({std::move(both.stream), std::move(both.peer), std::move(bytes), reason});
    return all.back().peer->ssl();
  };
  for (int i = 0; i < 8; ++i) {
    add("GET / HTTP/1.0\r\n\r\n", SSL_R_HTTP_REQUEST);
    add("nonsense that is no TLS", SSL_R_WRONG_VERSION_NUMBER);
    add(std::string{"\x16\x03\x01\x00\x04\x01\xff\xff\xff", 9}, SSL_R_EXCESSIVE_MESSAGE_SIZE);
    add(std::string{"\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9}, SSL_R_LENGTH_TOO_SHORT);
    SSL_set_min_proto_version(add({}, SSL_R_UNSUPPORTED_PROTOCOL), TLS1_3_VERSION);
    SSL_set_cipher_list(add({}, SSL_R_NO_SHARED_CIPHER), "AES128-GCM-SHA256");
    static_cast<void>(add({}, 0)); // this one works
  }
  ASSERT_TRUE(run_until([&] {
    std::size_t over = 0;
    for (Failing& one : all) {
      if (one.reason != 0 && one.stream.closed()) {
        ++over;
        continue;
      }
      ERR_raise(ERR_LIB_SSL, SSL_R_BAD_DIGEST_LENGTH); // somebody else's, left behind
      if (!one.bytes.empty()) {
        static_cast<void>(::send(one.peer->socket().fd(), one.bytes.data(), 1, MSG_NOSIGNAL));
        one.bytes.erase(0, 1);
      } else if (one.reason == 0 || one.peer->ssl() != nullptr) {
        one.peer->shake();
      }
      over += one.reason == 0 && one.stream.tls_info() ? 1U : 0U;
    }
    return over == all.size();
  }));
  for (const Failing& one : all) {
    if (one.reason == 0)
      EXPECT_FALSE(one.stream.closed());
    else
      EXPECT_EQ(one.stream.error(), tls_error(ERR_PACK(ERR_LIB_SSL, 0, one.reason)))
          << to_string(one.stream.error());
  }
}

} // namespace

} // namespace squall
