// SPDX-License-Identifier: BSD-3-Clause
//
// tls_config_test.cpp: TLS in the configuration: every key, and every mistake with its message.
#include "tests/actors/tls_client.hpp"

namespace squall::actor_tests {

namespace {

using Lines = std::vector<std::string>;

class TLSConfigTest : public ::testing::Test {
protected:
  TLSConfigTest() { folder_.issue_for("first"); }

  /// An object of TLS with the folder's certificate and more.
  [[nodiscard]] std::string tls(const std::string& more = {}) const {
    return R"({"certificate": ")" + folder_.certificate() + R"(", "key": ")" + folder_.key() + '"' +
           (more.empty() ? "" : ", ") + more + '}';
  }
  template <class Parse>
  static Lines problems_of(Parse parse) {
    Lines lines;
    try {
      parse();
    } catch (const ConfigError& error) {
      for (const ConfigProblem& problem : error.problems())
        lines.push_back(to_string(problem));
    }
    return lines;
  }
  static Lines server_problems(const std::string& tls) {
    return problems_of([&] { parse_config(R"({"tls": )" + tls + '}'); });
  }
  static Lines client_problems(const std::string& tls) {
    return problems_of([&] { static_cast<void>(parse_tls_context(tls, TLSSide::client)); });
  }
  void expect_only(const std::string& more, const std::string& problem) const {
    EXPECT_EQ(server_problems(tls(more)), Lines{problem}) << more;
  }

  PemFolder folder_;
};

TEST_F(TLSConfigTest, IsOfEveryEntryThatDoesNotSayOtherwise) {
  const ServerConfig config = parse_config(R"({"tls": )" + tls() +
                                           R"(, "listen": [{"port": 1}, {"tls": false},
      {"tls": )" + tls() + "}]}");
  ASSERT_EQ(config.listen.size(), 3U);
  const TLSContext& shared = config.listen[0].accept.tls;
  EXPECT_TRUE(shared);
  EXPECT_EQ(shared.side(), TLSSide::server);
  EXPECT_FALSE(config.listen[1].accept.tls);
  EXPECT_TRUE(config.listen[2].accept.tls);
  EXPECT_FALSE(config.listen[2].accept.tls == shared);
}

TEST_F(TLSConfigTest, ItsPathsBeginWhereTheProgramWasStarted) {
  struct Back {
    std::filesystem::path before = std::filesystem::current_path();
    ~Back() { std::filesystem::current_path(before); }
  } const back;
  std::filesystem::current_path(std::filesystem::path{folder_.certificate()}.parent_path());
  folder_.write("ca.pem", test_authority().certificate_pem());
  folder_.write("crl.pem", testing_support::revocation_list(test_authority(), {}));
  folder_.write("server.json", R"({"tls": {"certificate": "server.pem", "key": "server.key",
    "ca_file": "ca.pem", "crl": "./crl.pem", "client_certificates": "request",
    "server_names": {"name.example": {"certificate": "server.pem", "key": "server.key"}}}})");
  const TLSContext context = load_config("server.json").listen.at(0).accept.tls;
  std::filesystem::current_path("/");
  EXPECT_NO_THROW(static_cast<void>(context.reload()));
}

TEST_F(TLSConfigTest, IsOfTheDefaultEntryToo) {
  const ServerConfig config = parse_config(R"({"tls": )" + tls() + '}');
  ASSERT_EQ(config.listen.size(), 1U);
  EXPECT_TRUE(config.listen[0].accept.tls);
  EXPECT_FALSE(parse_config("{}").listen[0].accept.tls);
}

TEST_F(TLSConfigTest, TakesEveryKey) {
  EXPECT_EQ(server_problems(tls(R"("key_password": "", "ca_file": ")" + folder_.certificate() + R"(",
      "ca_directory": "/", "system_ca": true, "min_version": "1.2", "max_version": "1.3",
      "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256", "ciphersuites": "TLS_AES_128_GCM_SHA256", "alpn": ["h2", "x"],
      "ktls": true, "client_certificates": "require", "session_tickets": false, "session_cache_size": 1000000,
      "session_lifetime": "168h", "handshake_timeout": "24h", "unknown_server_name": "refuse",
      "server_names": {"other.example": )" +
                                tls(R"("client_certificates": "none")") + "}")),
            Lines{});
  EXPECT_EQ(client_problems(R"({"ca_file": ")" + folder_.certificate() + R"(", "handshake_timeout": "1ms",
      "insecure_skip_name_check": true, "insecure_skip_verification": false})"),
            Lines{});
  EXPECT_EQ(client_problems("{}"), Lines{});
}

TEST_F(TLSConfigTest, TakesAListOfRevokedCertificates) {
  const auto with_list = [&](const std::string& path) {
    return server_problems(tls(R"("client_certificates": "require", "ca_file": ")" + folder_.certificate() +
                               R"(", "crl": ")" + path + '"'));
  };
  const std::string path = folder_.certificate() + ".crl";
  folder_.write(path, testing_support::revocation_list(test_authority(), {}));
  EXPECT_EQ(with_list(path), Lines{});
  folder_.write(path, "no list");
  ASSERT_EQ(with_list(path).size(), 1U);
  EXPECT_NE(with_list(path)[0].find("has no list in PEM"), std::string::npos) << with_list(path)[0];
}

TEST_F(TLSConfigTest, NeedsACertificateAndAKey) {
  EXPECT_EQ(
      server_problems("{}"),
      Lines{R"(/tls: found no "certificate" in it, allowed: "certificate" and "key", two files in PEM)"});
  EXPECT_EQ(server_problems(R"({"certificate": "x"})"),
            Lines{R"(/tls: found no "key" in it, allowed: "certificate" and "key", two files in PEM)"});
  EXPECT_EQ(server_problems(R"({"certificate": "", "key": "x"})"),
            Lines{R"(/tls/certificate: found "", allowed: a path)"});
  EXPECT_EQ(server_problems("true"), Lines{"/tls: found true, allowed: an object"});
}

TEST_F(TLSConfigTest, TellsWhatOpenSSLRefuses) {
  std::filesystem::remove(folder_.key());
  const Lines problems = server_problems(tls());
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0],
            R"(/tls: found TLS that cannot be set up (cannot open the key file ")" + folder_.key() +
                R"(": No such file or directory; check the path and who may read it), allowed: what )"
                R"(OpenSSL takes)");
}

TEST_F(TLSConfigTest, RefusesValuesOutsideOfTheirBounds) {
  expect_only(R"("min_version": "1.1")", R"(/tls/min_version: found "1.1", allowed: one of "1.2", "1.3")");
  expect_only(R"("client_certificates": true)",
              R"(/tls/client_certificates: found true, allowed: one of "none", "request", "require")");
  expect_only(R"("unknown_server_name": "x")",
              R"(/tls/unknown_server_name: found "x", allowed: one of "use_default", "refuse")");
  expect_only(R"("session_cache_size": 1000001)",
              "/tls/session_cache_size: found 1000001, allowed: a whole number from 0 to 1000000");
  expect_only(R"("alpn": [])",
              R"(/tls/alpn: found an empty list, allowed: a list of protocols, like ["h2"])");
  expect_only(R"("alpn": [1])",
              "/tls/alpn/0: found 1, allowed: the name of a protocol: a string without NUL bytes");
  for (const char* time : {"0ms", "25h"})
    EXPECT_EQ(server_problems(tls(R"("handshake_timeout": ")" + std::string{time} + '"')).size(), 1U) << time;
  for (const char* time : {"999ms", "1500ms", "169h"})
    EXPECT_EQ(server_problems(tls(R"("session_lifetime": ")" + std::string{time} + '"')).size(), 1U) << time;
}

TEST_F(TLSConfigTest, RefusesKeysOfTheOtherSide) {
  EXPECT_EQ(server_problems(tls(R"("insecure_skip_verification": true)")).size(), 1U);
  EXPECT_EQ(client_problems(R"({"server_names": {}})").size(), 1U);
  EXPECT_EQ(client_problems(R"({"client_certificates": "require"})").size(), 1U);
}

TEST_F(TLSConfigTest, NamesHaveTheirOwnObjects) {
  expect_only(
      R"("server_names": {})",
      "/tls/server_names: found an object, allowed: an object with a key for each name, at least one");
  expect_only(
      R"("server_names": {"a/b": {}})",
      R"(/tls/server_names/a~1b: found no "certificate" in it, allowed: "certificate" and "key", two files )"
      "in PEM");
  EXPECT_EQ(
      server_problems(tls(R"("server_names": {"a.example": )" + tls(R"("server_names": {})") + "}")).size(),
      1U);
}

TEST_F(TLSConfigTest, AnEntryIsAnObjectOrFalse) {
  EXPECT_EQ(problems_of([] { parse_config(R"({"listen": [{"tls": true}]})"); }),
            Lines{"/listen/0/tls: found true, allowed: an object, or false for none"});
}

} // namespace

} // namespace squall::actor_tests
