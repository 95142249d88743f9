// SPDX-License-Identifier: BSD-3-Clause
//
// socket_listener_test.cpp: listeners on unix sockets, and behind a proxy.
#include "tests/actors/tls_client.hpp"

#include <sys/un.h>

namespace squall::actor_tests {

namespace {

const std::string header = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";

/// Tells the client who it is, then echoes.
Task<> tell_peer(IOStream stream, Endpoint peer) {
  co_await stream.write(to_string(peer) + "\n");
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

AcceptOptions behind_proxy(const char* from = "127.0.0.1") {
  AcceptOptions options;
  options.proxy_protocol.emplace();
  options.proxy_protocol->from = {IPNetwork{from}};
  return options;
}

Client connect_unix(const std::string& path) {
  Socket socket = checked_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw_errno("connect");
  return Client{std::move(socket)};
}

class SocketListenerTest : public ActorTest {
protected:
  SocketListenerTest() { listener_ = io_->spawn_listener(tell_peer); }

  Endpoint add(const AcceptOptions& options) {
    const auto sockets = bind_sockets(0, "127.0.0.1");
    EXPECT_TRUE(ask<Listening>(listener_, AddSockets{sockets, options}));
    return sockets[0].local_endpoint();
  }
};

TEST_F(SocketListenerTest, WeakSpot27ServesAUnixSocketAndRemovesItsFileWhenItStops) {
  const std::string path = ::testing::TempDir() + "squall-listener-" + std::to_string(::getpid());
  ASSERT_TRUE(ask<Listening>(listener_, AddSocket{bind_unix_socket(path)}));
  Client client = connect_unix(path);
  EXPECT_EQ(client.receive_line(), "unix:\n");
  ASSERT_TRUE(ask<Done>(listener_, Stop{}));
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  client.send("still here\n");
  EXPECT_EQ(client.receive_line(), "still here\n");
}

TEST_F(SocketListenerTest, WeakSpot31TheHandlersPeerIsTheClientThatTheProxyTells) {
  Client client{add(behind_proxy())};
  client.send(header + "hello\n");
  EXPECT_EQ(client.receive_line(), "192.0.2.1:56324\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_EQ(info().accepted_count, 1U);
  EXPECT_EQ(info().refused_count, 0U);
}

TEST_F(SocketListenerTest, RuleC10NoHandlerStartsWithoutAHeader) {
  const Endpoint server = add(behind_proxy());
  Client wrong{server};
  wrong.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(wrong.at_end());
  Client untrusted{add(behind_proxy("192.0.2.0/24"))};
  EXPECT_TRUE(untrusted.at_end());
  EXPECT_EQ(info().accepted_count, 0U);
  EXPECT_EQ(info().refused_count, 2U);
}

TEST_F(SocketListenerTest, RuleC10TheHeaderComesBeforeTls) {
  AcceptOptions options = behind_proxy();
  options.tls =
      TLSContext{testing_support::server_options(issue({.common_name = "first"}, &test_authority()))};
  Client plain{add(options)};
  plain.send(header);
  TLSClient client{std::move(plain)};
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.ask("hello\n"), "192.0.2.1:56324\n");
}

TEST_F(SocketListenerTest, TheOptionIsOfOneSocket) {
  Client behind{add(behind_proxy())};
  Client direct{add({})};
  EXPECT_TRUE(direct.receive_line().starts_with("127.0.0.1:"));
  behind.send(header);
  EXPECT_EQ(behind.receive_line(), "192.0.2.1:56324\n");
}

TEST_F(SocketListenerTest, AConnectionWhoseHeaderIsToComeOutlivesStop) {
  const Endpoint server = add(behind_proxy());
  Client client{server};
  client.send(header.substr(0, 10));
  Client settled{server};
  settled.send(header);
  EXPECT_EQ(settled.receive_line(), "192.0.2.1:56324\n"); // the first one was accepted, too
  ASSERT_TRUE(ask<Done>(listener_, Stop{}));
  client.send(header.substr(10));
  EXPECT_EQ(client.receive_line(), "192.0.2.1:56324\n");
  ASSERT_TRUE(ask<Done>(listener_, Stop{}));
}

TEST_F(SocketListenerTest, TheEndOfTheListenerClosesWhatHasNoHeader) {
  const Endpoint server = add(behind_proxy());
  Client client{server};
  client.send(header.substr(0, 10));
  Client settled{server};
  settled.send(header);
  EXPECT_EQ(settled.receive_line(), "192.0.2.1:56324\n");
  self_.value()->send_exit(listener_, caf::exit_reason::user_shutdown);
  listener_ = nullptr;
  EXPECT_TRUE(client.at_end());
}

} // namespace

} // namespace squall::actor_tests
