// SPDX-License-Identifier: BSD-3-Clause
//
// socket_config_test.cpp: sockets and the PROXY protocol in the configuration.
#include <squall/config.hpp>

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

ListenOptions entry(const std::string& json) {
  return parse_config(R"({"listen": [)" + json + "]}").listen.at(0);
}

std::vector<std::string> problems(const std::string& json) {
  std::vector<std::string> lines;
  try {
    entry(json);
  } catch (const ConfigError& error) {
    for (const ConfigProblem& problem : error.problems())
      lines.push_back(to_string(problem));
  }
  return lines;
}

void expect_problem(const std::string& json, const std::string& pointer, const std::string& text) {
  const auto lines = problems(json);
  ASSERT_EQ(lines.size(), 1U) << json;
  EXPECT_TRUE(lines[0].starts_with(pointer + ": found ")) << lines[0];
  EXPECT_NE(lines[0].find(text), std::string::npos) << lines[0];
}

const std::string one_kind =
    R"(allowed: an entry of one kind: "address" and "port", "unix" and "mode", or "inherited")";

TEST(SocketConfig, ReadsUnixSockets) {
  const ListenOptions plain = entry(R"({"unix": "/run/x.sock"})");
  EXPECT_EQ(plain.unix_path, "/run/x.sock");
  EXPECT_EQ(plain.mode, 0600U);
  EXPECT_EQ(entry(R"({"unix": "@name", "mode": "0660", "backlog": 7})").mode, 0660U);
  EXPECT_EQ(entry(R"({"unix": "@name", "backlog": 7})").bind.backlog, 7);
  EXPECT_EQ(entry(R"({"unix": "x", "mode": "0000"})").mode, 0U);
  EXPECT_EQ(entry(R"({"unix": "x", "mode": "0777"})").mode, 0777U);
}

TEST(SocketConfig, APathBeginsWhereTheProgramWasStarted) {
  const std::filesystem::path here = std::filesystem::current_path();
  EXPECT_EQ(entry(R"({"unix": "x.sock"})").unix_path, (here / "x.sock").string());
  EXPECT_EQ(entry(R"({"unix": "@x.sock"})").unix_path, "@x.sock") << "a name, and no path";
  const std::string longest(107, 'x');
  EXPECT_EQ(entry(R"({"unix": ")" + longest + "\"}").unix_path, longest) << "the absolute one does not fit";
}

TEST(SocketConfig, RuleC8RefusesPathsThatCannotBe) {
  const std::string too_long(108, 'x');
  for (const std::string& wrong : {std::string{"\"\""}, std::string{"\"@\""}, "\"" + too_long + "\"",
                                   std::string{"7"}, std::string{"null"}, std::string{"[]"}})
    EXPECT_EQ(problems(R"({"unix": )" + wrong + "}").size(), 1U) << wrong;
  expect_problem(R"({"unix": ")" + too_long + "\"}", "/listen/0/unix", "1 to 107 bytes");
  EXPECT_TRUE(problems(R"({"unix": ")" + std::string(107, 'x') + "\"}").empty());
}

TEST(SocketConfig, RefusesModesThatAreNone) {
  for (const char* wrong :
       {"\"600\"", "\"01000\"", "\"0800\"", "\"\"", "\"rw\"", "\"-0600\"", "\"0600 \"", "600", "384"})
    expect_problem(R"({"unix": "x", "mode": )" + std::string{wrong} + "}", "/listen/0/mode", "octal string");
}

TEST(SocketConfig, ReadsInheritedSockets) {
  EXPECT_EQ(entry(R"({"inherited": "web"})").inherited, "web");
  EXPECT_EQ(entry(R"({"inherited": 2})").inherited, "2");
  for (const char* wrong : {"\"\"", "-1", "1.5", "null", "{}", "true"})
    expect_problem(R"({"inherited": )" + std::string{wrong} + "}", "/listen/0/inherited",
                   "name or the index");
}

TEST(SocketConfig, RefusesProxiesThatCouldNotConnect) {
  expect_problem(R"({"unix": "x", "proxy_protocol": {"from": ["127.0.0.1"]}})", "/listen/0",
                 R"(allowed: "unix" in "from")");
  expect_problem(R"({"address": "127.0.0.1", "proxy_protocol": {"from": ["unix"]}})", "/listen/0",
                 R"(addresses or networks of the proxies)");
  for (const char* right : {R"({"unix": "x", "proxy_protocol": {"from": ["::1", "unix"]}})",
                            R"({"proxy_protocol": {"from": ["unix", "::1"]}})",
                            R"({"inherited": 0, "proxy_protocol": {"from": ["unix"]}})"})
    EXPECT_TRUE(problems(right).empty()) << right;
  expect_problem(R"({"unix": "", "proxy_protocol": {"from": ["unix"]}})", "/listen/0/unix", "a path");
  expect_problem(R"({"proxy_protocol": {"from": ["unix", "::1/129"]}})", "/listen/0/proxy_protocol/from/1",
                 "from 0 to 128");
}

TEST(SocketConfig, AnEntryIsOfOneKind) {
  for (const char* beside : {"address", "port", "family", "reuse_port"}) {
    const std::string value = std::string{beside} == "port"         ? "1"
                              : std::string{beside} == "reuse_port" ? "true"
                              : std::string{beside} == "family"     ? "\"ipv4\""
                                                                    : "\"::1\"";
    for (const char* kind : {"unix", "inherited"})
      expect_problem("{\"" + std::string{kind} + "\": \"x\", \"" + beside + "\": " + value + '}', "/listen/0",
                     '"' + std::string{beside} + "\" beside \"" + kind + "\", " + one_kind);
  }
  expect_problem(R"({"mode": "0600"})", "/listen/0", "\"mode\" beside \"address\"");
  expect_problem(R"({"inherited": "x", "mode": "0600"})", "/listen/0", "\"mode\" beside \"inherited\"");
  expect_problem(R"({"inherited": "x", "unix": "y"})", "/listen/0", "\"unix\" beside \"inherited\"");
  expect_problem(R"({"inherited": "x", "backlog": 7})", "/listen/0", "\"backlog\" beside \"inherited\"");
}

TEST(SocketConfig, ReadsTheProxyProtocol) {
  EXPECT_FALSE(entry("{}").accept.proxy_protocol);
  const auto defaults = entry(R"({"proxy_protocol": {"from": ["10.0.0.0/8"]}})").accept.proxy_protocol;
  ASSERT_TRUE(defaults);
  ASSERT_EQ(defaults->from.size(), 1U);
  EXPECT_EQ(defaults->from[0].text(), "10.0.0.0/8");
  EXPECT_EQ(defaults->untrusted, UntrustedPeer::refuse);
  EXPECT_EQ(defaults->timeout, std::chrono::seconds{5});
  EXPECT_EQ(defaults->max_header_size, 4096U);
  EXPECT_EQ(defaults->max_pending, 1024U);
  const auto all = entry(R"({"unix": "x", "proxy_protocol": {"from": ["::1", "unix"], "untrusted": "serve",
      "timeout": "250ms", "max_header_size": "1KiB", "max_pending": 7}})")
                       .accept.proxy_protocol;
  ASSERT_TRUE(all);
  EXPECT_EQ(all->from.size(), 2U);
  EXPECT_EQ(all->untrusted, UntrustedPeer::serve);
  EXPECT_EQ(all->timeout, std::chrono::milliseconds{250});
  EXPECT_EQ(all->max_header_size, 1024U);
  EXPECT_EQ(all->max_pending, 7U);
}

TEST(SocketConfig, RuleC10SomebodyMustBeNamed) {
  expect_problem(R"({"proxy_protocol": {}})", "/listen/0/proxy_protocol", "an object without \"from\"");
  expect_problem(R"({"proxy_protocol": {"from": []}})", "/listen/0/proxy_protocol/from",
                 "a list of networks");
  expect_problem(R"({"proxy_protocol": {"from": "::1"}})", "/listen/0/proxy_protocol/from",
                 "a list of networks");
  expect_problem(R"({"proxy_protocol": true})", "/listen/0/proxy_protocol", "an object");
  expect_problem(R"({"proxy_protocol": {"from": ["::1", "10.1.0.0/8"]}})", "/listen/0/proxy_protocol/from/1",
                 "write \"10.0.0.0/8\"");
  expect_problem(R"({"proxy_protocol": {"from": [7]}})", "/listen/0/proxy_protocol/from/0", "networks like");
}

TEST(SocketConfig, BoundsTheProxyProtocol) {
  const auto with = [](const std::string& more) {
    return R"({"proxy_protocol": {"from": ["::1"], )" + more + "}}";
  };
  const std::string at = "/listen/0/proxy_protocol/";
  expect_problem(with(R"("untrusted": "ignore")"), at + "untrusted", "\"refuse\", \"serve\"");
  expect_problem(with(R"("timeout": "25h")"), at + "timeout", "24h");
  expect_problem(with(R"("max_header_size": 15)"), at + "max_header_size", "16B");
  expect_problem(with(R"("max_header_size": "65KiB")"), at + "max_header_size", "65551B");
  EXPECT_TRUE(problems(with(R"("max_header_size": 65551)")).empty());
  expect_problem(with(R"("max_pending": 0)"), at + "max_pending", "1 to 1000000");
  expect_problem(with(R"("fron": [])"), at + "fron", "\"from\"");
}

TEST(SocketConfig, BindsAnEntry) {
  ListenOptions options;
  options.port = 0;
  EXPECT_EQ(bind_sockets(options, {}).at(0).local_endpoint().family, AddressFamily::ipv4);
  const std::vector<InheritedSocket> inherited{{"web", bind_sockets(options, {}).at(0)}};
  options.unix_path = "@squall-config-" + std::to_string(::getpid());
  EXPECT_EQ(bind_sockets(options, {}).at(0).local_endpoint().address, options.unix_path);
  options.inherited = "web";
  EXPECT_EQ(bind_sockets(options, inherited), std::vector{inherited[0].socket});
  EXPECT_THROW(bind_sockets(options, {}), std::runtime_error);
}

} // namespace

} // namespace squall
