// SPDX-License-Identifier: BSD-3-Clause
//
// tls_context_test.cpp: what a context refuses, and what it says then.
#include "tests/log_recorder.hpp"
#include "tests/net/tls_fixture.hpp"

#include <cstdio>
#include <fstream>

namespace squall {

namespace {

using namespace testing_support;

/// What building says; empty when it works.
std::string mistake(const TLSOptions& options) {
  try {
    const TLSContext context{options};
    return {};
  } catch (const TLSError& error) {
    return error.what();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

void expect_says(const TLSOptions& options, const std::vector<std::string>& parts) {
  const std::string said = mistake(options);
  for (const std::string& part : parts)
    EXPECT_NE(said.find(part), std::string::npos) << "it says: " << said << "\nand should name: " << part;
}

template <class Change>
TLSOptions changed(TLSOptions options, Change change) {
  change(options);
  return options;
}

TEST(TLSContextTest, TakesTheDefaultsOfServersAndClients) {
  EXPECT_EQ(mistake(server_options()), "");
  EXPECT_EQ(mistake(tls_client_options()), "");
  EXPECT_EQ(mistake(insecure_tls_client_options()), "");
}

TEST(TLSContextTest, WeakSpot32NamesTheFileTheReasonAndWhatToDo) {
  expect_says(tls_server_options("/nowhere/server.pem", "/nowhere/server.key"),
              {"certificate file \"/nowhere/server.pem\"", "No such file or directory", "check the path"});
  expect_says(changed(server_options(), [](auto& options) { options.certificate_pem = "no PEM"; }),
              {"certificate_pem", "BEGIN CERTIFICATE"});
  expect_says(changed(server_options(), [](auto& options) { options.key_pem = "no PEM"; }),
              {"cannot read the key_pem", "private key in PEM"});
  expect_says(changed(server_options(), [](auto& options) { options.key_pem = issue({}).key_pem(); }),
              {"key_pem does not belong to the certificate_pem", "key values mismatch"});
  expect_says(changed(client_options(), [](auto& options) { options.ca_pem = "no PEM"; }), {"ca_pem"});
  expect_says(changed(client_options(), [](auto& options) { options.ca_directory = "/nowhere"; }),
              {"ca_directory \"/nowhere\""});
  expect_says(changed(client_options(), [](auto& options) { options.crl_pem = "no PEM"; }),
              {"crl_pem has no list", "BEGIN X509 CRL"});
  expect_says(changed(client_options(), [](auto& options) { options.crl_file = "/nowhere"; }),
              {"crl file \"/nowhere\"", "No such file"});
  std::string damaged = revocation_list(test_authority(), {});
  damaged[damaged.size() / 2] = '!';
  expect_says(changed(client_options(), [&](auto& options) { options.crl_pem = damaged; }),
              {"crl_pem is damaged"});
  expect_says(
      changed(client_options(), [](auto& options) { options.ciphers = "ECDHE-RSA-AES128-GCM-SHA256:TYPO"; }),
      {"ciphers has \"TYPO\"", "no cipher match"});
  expect_says(
      changed(client_options(), [](auto& options) { options.ciphersuites = "TLS_AES_128_GCM_SHA256:TYPO"; }),
      {"ciphersuites has \"TYPO\""});
}

TEST(TLSContextTest, RefusesADamagedCertificate) {
  std::string damaged = test_server().certificate_pem();
  damaged[damaged.size() / 2] = '!';
  expect_says(changed(server_options(), [&](auto& options) { options.certificate_pem = damaged; }),
              {"certificate_pem is damaged"});
}

TEST(TLSContextTest, TellsOfCertificatesThatPeersWillRefuse) {
  const Identity between = issue({.common_name = "Between", .is_authority = true}, &test_authority());
  const auto warnings = [](const Identity& identity, const std::string& chain) {
    const LogRecorder log;
    TLSOptions options = server_options(identity);
    options.certificate_pem += chain;
    EXPECT_EQ(mistake(options), "");
    return log.count("tls_certificate");
  };
  const Identity good = issue({.common_name = "good"}, &between);
  const std::string first = between.certificate_pem();
  const std::string second = test_authority().certificate_pem();
  EXPECT_EQ(warnings(good, ""), 0U);
  EXPECT_EQ(warnings(good, first + second), 0U);
  EXPECT_EQ(warnings(good, second + first), 2U) << "each did not sign the one before it";
  EXPECT_EQ(warnings(issue({.begins = -7200, .ends = -3600}, &between), first), 1U);
  EXPECT_EQ(warnings(issue({.begins = 3600}, &between), first), 1U);
}

TEST(TLSContextTest, ReadsFilesAsWellAsMemory) {
  const std::string folder = testing::TempDir();
  const std::string certificate = folder + "squall_tls_context_test.pem";
  const std::string key = folder + "squall_tls_context_test.key";
  std::ofstream{certificate} << test_server().certificate_pem() << test_authority().certificate_pem();
  std::ofstream{key} << test_server().key_pem();
  EXPECT_EQ(mistake(tls_server_options(certificate, key)), "");
  EXPECT_EQ(mistake(changed(tls_client_options(), [&](auto& options) { options.ca_file = certificate; })),
            "");
  expect_says(tls_server_options(certificate, certificate), {"key file \"" + certificate + "\""});
  std::remove(certificate.c_str());
  std::remove(key.c_str());
}

TEST(TLSContextTest, NeedsThePasswordOfAnEncryptedKey) {
  const auto with = [](std::string password) {
    return changed(server_options(), [&](auto& options) {
      options.key_pem = test_server().key_pem("secret");
      options.key_password = std::move(password);
    });
  };
  EXPECT_EQ(mistake(with("secret")), "");
  expect_says(with(""), {"key_pem", "set key_password"});
  expect_says(with("wrong"), {"key_pem", "check key_password"});
}

TEST(TLSContextTest, RefusesOptionsThatContradictEachOther) {
  expect_says(tls_server_options("", ""), {"a server needs a certificate"});
  expect_says(changed(server_options(), [](auto& options) { options.key_pem.clear(); }), {"set key_file"});
  expect_says(changed(client_options(), [](auto& options) { options.key_pem = "x"; }),
              {"set certificate_file"});
  expect_says(changed(server_options(), [](auto& options) { options.key_file = "x"; }),
              {"both key_file and key_pem"});
  expect_says(changed(server_options(), [](auto& options) { options.insecure_skip_verification = true; }),
              {"for clients"});
  expect_says(changed(server_options(),
                      [](auto& options) { options.client_certificates = ClientCertificates::require; }),
              {"nobody is trusted", "ca_file"});
  expect_says(changed(client_options(),
                      [](auto& options) { options.client_certificates = ClientCertificates::request; }),
              {"for servers"});
  expect_says(changed(client_options(),
                      [](auto& options) {
                        options.min_version = TLSVersion::tls_1_3;
                        options.max_version = TLSVersion::tls_1_2;
                      }),
              {"min_version is above max_version"});
  expect_says(changed(server_options(),
                      [](auto& options) { options.crl_pem = revocation_list(test_authority(), {}); }),
              {"crl_pem is given", "nobody's certificate is verified"});
  expect_says(changed(client_options(), [](auto& options) { options.handshake_timeout = 0ms; }),
              {"handshake_timeout"});
  expect_says(changed(server_options(), [](auto& options) { options.session_lifetime = 0s; }),
              {"session_lifetime"});
  expect_says(changed(client_options(),
                      [](auto& options) { options.server_names["a"] = TLSContext{server_options()}; }),
              {"server_names is for servers"});
  expect_says(changed(server_options(), [](auto& options) { options.server_names["a"] = TLSContext{}; }),
              {"server name \"a\""});
}

TEST(RuleC13Options, AnEmptyProtocolIsRefused) {
  expect_says(changed(server_options(), [](auto& options) { options.alpn = {"h2", ""}; }), {"alpn"});
  expect_says(changed(server_options(), [](auto& options) { options.alpn = {std::string(256, 'x')}; }),
              {"alpn"});
}

TEST(TLSContextTest, IsTheSameOnlyAsItsCopies) {
  const TLSContext one{client_options()};
  const TLSContext copy = one;
  EXPECT_EQ(one, copy);
  EXPECT_FALSE((one == TLSContext{client_options()}));
  EXPECT_FALSE(TLSContext{});
}

TEST(TLSContextTest, LeavesTheErrorQueueClean) {
  static_cast<void>(mistake(tls_server_options("/nowhere", "/nowhere")));
  EXPECT_EQ(ERR_peek_error(), 0U);
  static_cast<void>(mistake(server_options()));
  EXPECT_EQ(ERR_peek_error(), 0U);
}

} // namespace

} // namespace squall
