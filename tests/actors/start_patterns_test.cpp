// SPDX-License-Identifier: BSD-3-Clause
//
// start_patterns_test.cpp: the three ways to start a server, and servers of several processes.
//
// | Tornado's test (tornado/test/tcpserver_test.py) | Ours                       |
// | ----------------------------------------------- | -------------------------- |
// | test_listen_single                              | StartPatterns.ListenSingle |
// | test_bind_start                                 | StartPatterns.BindStart    |
// | test_add_sockets                                | StartPatterns.AddSockets   |
#include "tests/actors/support.hpp"
#include "tests/process_support.hpp"
#include <squall/net/subprocess.hpp>

#include <map>
#include <memory>

namespace squall::actor_tests {

namespace {

using testing_support::Helper;
using Lines = std::vector<std::string>;

class StartPatterns : public testing::Test {
protected:
  EventLoop loop;
};

TEST_F(StartPatterns, ListenSingle) {
  Helper helper{loop, {"listen_single"}, SQUALL_SERVER_HELPER};
  EXPECT_EQ(helper.rest(), (Lines{"0", "1", "2"}));
  EXPECT_EQ(helper.errors(), "");
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(StartPatterns, BindStart) {
  Helper helper{loop, {"bind_start"}, SQUALL_SERVER_HELPER};
  EXPECT_EQ(helper.rest(), (Lines{"0", "1", "2"}));
  EXPECT_EQ(helper.errors(), "");
  EXPECT_EQ(helper.returncode(), 0);
}

TEST_F(StartPatterns, AddSockets) {
  Helper helper{loop, {"add_sockets"}, SQUALL_SERVER_HELPER};
  EXPECT_EQ(helper.rest(), (Lines{"0", "1", "2"}));
  EXPECT_EQ(helper.errors(), "");
  EXPECT_EQ(helper.returncode(), 0);
}

class HelloServer : public TCPServer {
public:
  HelloServer()
      : TCPServer{[](IOStream stream, Endpoint) -> Task<> { co_await stream.write("hello"); }, {1, {}}} {}
};

TEST_F(StartPatterns, WhatIsBoundWaitsForTheStart) {
  HelloServer server;
  const auto endpoints = server.bind(0, "127.0.0.1");
  ASSERT_EQ(endpoints.size(), 1u);
  EXPECT_NE(endpoints[0].port, 0);
  Client early{endpoints[0]}; // the kernel connects it
  EXPECT_TRUE(server.info().endpoints.empty());
  const auto more = server.bind(0, "127.0.0.1");
  server.start();
  EXPECT_EQ(early.receive_all(), "hello");
  EXPECT_EQ(Client{more[0]}.receive_all(), "hello");
  EXPECT_EQ(server.info().endpoints.size(), 2u);
}

TEST_F(StartPatterns, WhatIsBoundAfterTheStartIsServedAtOnce) {
  HelloServer server;
  server.start();
  EXPECT_EQ(Client{server.bind(0, "127.0.0.1")[0]}.receive_all(), "hello");
  EXPECT_EQ(Client{server.listen(0, "127.0.0.1")[0]}.receive_all(), "hello");
}

TEST_F(StartPatterns, StartsOnce) {
  HelloServer server;
  server.start();
  EXPECT_THROW(server.start(), std::logic_error);
}

TEST_F(StartPatterns, RefusesToForkWhenItListens) {
  HelloServer server;
  const auto endpoints = server.listen(0, "127.0.0.1");
  const auto bound = server.bind(0, "127.0.0.1");
  try {
    server.start(2);
    FAIL() << "not refused";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string{error.what()}.find("fork_processes must come first"), std::string::npos)
        << error.what();
  }
  EXPECT_EQ(Client{endpoints[0]}.receive_all(), "hello"); // nothing has changed
  server.start();
  EXPECT_EQ(Client{bound[0]}.receive_all(), "hello");
}

TEST_F(StartPatterns, BindToldAnAddressThatIsTaken) {
  HelloServer server;
  const auto endpoints = server.bind(0, "127.0.0.1");
  EXPECT_THROW(server.bind(endpoints[0].port, "127.0.0.1"), std::system_error);
}

TEST_F(StartPatterns, AForkIsRefusedWhereAnActorSystemIs) {
  Helper helper{loop, {"refused_actor_system"}, SQUALL_SERVER_HELPER};
  const std::string said = helper.line();
  EXPECT_NE(said.find("threads run"), std::string::npos) << said;
}

/// Rule C7 (CVE-2024-21626): a program that a handler starts gets no connection and no socket that listens.
TEST(RuleC7, AProgramStartedByAHandlerHasThreeDescriptors) {
  constexpr int connections = 200;
  TCPServer server{[](IOStream stream, Endpoint) -> Task<> {
                     SubprocessOptions options;
                     options.standard_input = StandardStream::null;
                     options.standard_output = StandardStream::stream;
                     options.standard_error = StandardStream::output;
                     const std::vector<std::string> command{SQUALL_PROCESS_HELPER, "descriptors"};
                     Subprocess list{stream.loop(), command, options};
                     const Bytes fds = co_await list.standard_output().read_until_close();
                     co_await list.wait_for_exit();
                     co_await stream.write(fds);
                   },
                   {2, {}}};
  const Endpoint endpoint = server.listen(0, "127.0.0.1", {.backlog = connections})[0];
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < connections; ++i)
    clients.push_back(std::make_unique<Client>(endpoint));
  for (const auto& client : clients)
    EXPECT_EQ(client->receive_all(), "0 1 2 \n");
}

// -- configuration

TEST(ProcessConfig, HasDefaults) {
  const ServerConfig config = parse_config("{}");
  EXPECT_EQ(config.processes, 1);
  EXPECT_EQ(config.max_restarts, 100);
}

TEST(ProcessConfig, TakesItsBounds) {
  for (const auto& [text, value] : std::map<std::string, int>{{"0", 0}, {"1", 1}, {"1024", 1024}})
    EXPECT_EQ(parse_config("{\"processes\": " + text + '}').processes, value);
  for (const auto& [text, value] : std::map<std::string, int>{{"0", 0}, {"10000", 10000}})
    EXPECT_EQ(parse_config("{\"max_restarts\": " + text + '}').max_restarts, value);
}

TEST(ProcessConfig, RefusesWhatIsBeyond) {
  const auto problem = [](const std::string& json) {
    try {
      parse_config(json);
    } catch (const ConfigError& error) {
      return error.problems().size() == 1 ? to_string(error.problems()[0])
                                          : std::string{"more than one problem"};
    }
    return std::string{"no problem"};
  };
  for (const char* value : {"-1", "1025", "1.5", "\"2\"", "true", "null"})
    EXPECT_EQ(problem("{\"processes\": " + std::string{value} + '}'),
              "/processes: found " + std::string{value} +
                  ", allowed: a whole number from 0 to 1024 (0: one per core, 1: no fork)");
  for (const char* value : {"-1", "10001"})
    EXPECT_EQ(problem("{\"max_restarts\": " + std::string{value} + '}'),
              "/max_restarts: found " + std::string{value} + ", allowed: a whole number from 0 to 10000");
}

} // namespace

} // namespace squall::actor_tests
