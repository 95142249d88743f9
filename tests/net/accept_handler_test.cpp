// SPDX-License-Identifier: BSD-3-Clause
//
// accept_handler_test.cpp: add_accept_handler, and what a child process gets of the descriptors.
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/log.hpp>
#include <squall/net/proxy_reader.hpp>

#include <cstdio>
#include <memory>
#include <set>
#include <stdexcept>

namespace squall {

namespace {

using namespace testing_support;

class AcceptHandler : public testing::Test {
protected:
  std::function<void(Socket, Endpoint)> keep() {
    return [this](Socket connection, const Endpoint&) {
      accepted.push_back(std::move(connection));
      if (on_accept)
        on_accept();
    };
  }
  std::vector<Socket> connect(int count) {
    std::vector<Socket> clients;
    for (int i = 0; i < count; ++i)
      clients.push_back(connect_to(listener));
    return clients;
  }
  [[nodiscard]] bool wait_for(std::size_t count) {
    return run_until(loop, [&] { return accepted.size() >= count; });
  }

  EventLoop loop;
  ListeningSocket listener = bind_sockets(0, "127.0.0.1", {.backlog = 512}).front();
  std::vector<Socket> accepted;
  std::function<void()> on_accept;
};

TEST_F(AcceptHandler, GetsEachConnectionUntilItIsRemoved) {
  const auto remove = add_accept_handler(loop, listener, keep());
  const auto clients = connect(20);
  ASSERT_TRUE(wait_for(20));
  remove();
  remove(); // harmless
  const auto more = connect(2);
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 20u);
  EXPECT_GE(listener.fd(), 0) << "the socket stays open";
  const auto again = add_accept_handler(loop, listener, keep());
  ASSERT_TRUE(wait_for(22)) << "and its queue is served by the next handler";
}

TEST_F(AcceptHandler, WeakSpot28TheBatchIsTheCallers) {
  const auto clients = connect(300);
  for (const int batch : {128, 5}) {
    const auto remove = add_accept_handler(loop, listener, keep(), batch);
    for (int turn = 0; turn < 2; ++turn) {
      const std::size_t before = accepted.size();
      loop.run_once();
      EXPECT_EQ(accepted.size() - before, static_cast<std::size_t>(batch));
    }
  }
  EXPECT_THROW(static_cast<void>(add_accept_handler(loop, listener, keep(), 0)), std::invalid_argument);
}

TEST_F(AcceptHandler, TheRemoverEndsABatchBeforeItsNextAccept) {
  std::function<void()> remove = add_accept_handler(loop, listener, keep());
  const auto clients = connect(10);
  on_accept = [&] {
    if (accepted.size() == 3)
      remove();
  };
  ASSERT_TRUE(wait_for(3));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 3u);
}

TEST_F(AcceptHandler, TheRemoverMayBeDroppedInsideTheHandler) {
  std::function<void()> remove = add_accept_handler(loop, listener, keep());
  const auto clients = connect(10);
  on_accept = [&] { remove = nullptr; };
  ASSERT_TRUE(wait_for(1));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 1u);
}

TEST_F(AcceptHandler, WhatItThrowsCostsOneConnection) {
  set_log_level(LogLevel::off);
  on_accept = [&] { throw std::runtime_error{"no"}; };
  const auto remove = add_accept_handler(loop, listener, keep());
  const auto clients = connect(5);
  ASSERT_TRUE(wait_for(5));
  set_log_level(LogLevel::info);
}

// -- what a child gets

/// The descriptors that a child process has at its start, as `ls` sees them.
std::set<std::string> descriptors_of_a_child() {
  std::set<std::string> names;
  std::FILE* const output = ::popen("ls /proc/self/fd", "r"); // popen(3) closes its own ends in the child
  char line[64];
  while (output != nullptr && std::fgets(line, sizeof line, output) != nullptr)
    names.insert(line);
  EXPECT_EQ(::pclose(output), 0);
  return names;
}

TEST_F(AcceptHandler, RuleC7NoDescriptorReachesAChild) {
  const std::set<std::string> before = descriptors_of_a_child(); // also what the test itself was started with
  EventLoop another;
  const auto everywhere = bind_sockets(0);
  const ListeningSocket unix_socket =
      bind_unix_socket(testing::TempDir() + "squall-c7-" + std::to_string(::getpid()));
  ProxyOptions options;
  options.from = {IPNetwork{"127.0.0.1"}};
  ProxyReader reader{loop, options, keep()};
  std::vector<IOStream> streams;
  const auto remove = add_accept_handler(loop, listener, [&](Socket connection, const Endpoint& peer) {
    accepted.emplace_back();
    if (accepted.size() % 4 == 0)
      reader.accept(std::move(connection), peer);
    else
      streams.emplace_back(loop, std::move(connection));
    if (accepted.size() % 20 == 0) {
      EXPECT_EQ(descriptors_of_a_child(), before);
    }
  });
  const auto clients = connect(200);
  IOStream connecting{loop};
  TestWait connected{connecting, Connect{listener.local_endpoint()}};
  ASSERT_TRUE(wait_for(201));
  EXPECT_EQ(descriptors_of_a_child(), before);
}

} // namespace

} // namespace squall
