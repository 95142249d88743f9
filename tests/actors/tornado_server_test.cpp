// SPDX-License-Identifier: BSD-3-Clause
//
// tornado_server_test.cpp: the tests of Tornado's servers (tornado/test/tcpserver_test.py), where its servers and clients
// hurt their users, and what Squall does instead.
//
// | Tornado's test                                         | Ours                                                         |
// | ------------------------------------------------------ | ------------------------------------------------------------ |
// | TCPServerTest.test_handle_stream_coroutine_logging     | test_handle_stream_coroutine_logging                         |
// | .test_handle_stream_native_coroutine                   | test_handle_stream_native_coroutine                          |
// | .test_stop_in_callback                                 | test_stop_in_callback                                        |
// | TestMultiprocess (all)                                 | StartPatterns (start_patterns_test.cpp)                      |
// | stop() twice, and with nothing to stop (no test)       | StopTwice                                                    |
//
// netutil_test: tests/net/tornado_netutil_test.cpp, resolver_test.cpp. process_test: tests/net/process_test.cpp,
// subprocess_test.cpp. tcpclient_test: tests/net/tcp_client_test.cpp, connect_race_test.cpp.
//
// | Weak spot of Tornado                                   | Tests (their names begin so)                                 |
// | ------------------------------------------------------ | ------------------------------------------------------------ |
// | 1: without descriptors accepting spins                 | AcceptWithoutDescriptorsTest.WeakSpot1, and                  |
// |                                                        | tests/examples/out_of_descriptors.py                         |
// | 2: no limit of connections                             | LimitsTest.WeakSpot2, AdmissionTest                          |
// | 22: a handler that throws leaves its connection open   | HandlerFailure.WeakSpot22                                    |
// | 23: stop() drains nothing, and is for ever             | DrainTest.WeakSpot23, ListenerTest.WeakSpot23                |
// | 25: races of addresses                                 | WeakSpot25, WeakSpot25Client                                 |
// | 26: port 0 fails at times, sockets leak                | BindSocketsFault.WeakSpot26                                  |
// | 27: a unix socket displaces a live listener            | BindUnixSocket.WeakSpot27, SocketListenerTest.WeakSpot27     |
// | 28: a turn accepts 128; one loop serves                | AcceptHandler.WeakSpot28, AdmissionTest.WeakSpot28,          |
// |                                                        | ListenerTest.WeakSpot28                                      |
// | 29: signals, orphans and restarts of processes         | ForkProcesses.WeakSpot29                                     |
// | 30: nobody tells the port                              | ListenerTest.WeakSpot30                                      |
// | 31: no PROXY protocol, reloading, SNI, ALPN            | SocketListenerTest.WeakSpot31, TLSListenerTest.WeakSpot31,   |
// |                                                        | ServerNames.WeakSpot31, TLSHandshake.WeakSpot31              |
// | 32: files of TLS are read for each connection          | TLSContextTest.WeakSpot32, TornadoServer.WeakSpot32          |
#include "tests/actors/tls_client.hpp"

#include <atomic>

namespace squall::actor_tests {

namespace {

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class TornadoServer : public testing::Test {
protected:
  LogRecorder log;
};

TEST_F(TornadoServer, test_handle_stream_coroutine_logging) {
  TCPServer server{Handler{[](IOStream stream, Endpoint) -> Task<> {
    EXPECT_EQ(co_await stream.read_bytes(5), "hello");
    stream.close();
    throw std::runtime_error{"after the close"};
  }}};
  const Endpoint endpoint = server.listen(0, "localhost", {.family = AddressFamily::ipv4}).front();
  for (std::size_t i = 1; i <= 2; ++i) { // the server lives on
    Client client{endpoint};
    client.send("hello");
    EXPECT_EQ(client.receive_all(), "");
    wait_until([&] { return log.count("handler_failed") == i; });
  }
  EXPECT_EQ(log.events("handler_failed")[0].fields.at("error"), "after the close");
}

TEST_F(TornadoServer, test_handle_stream_native_coroutine) {
  TCPServer server{Handler{[](IOStream stream, Endpoint) -> Task<> {
    static_cast<void>(stream.write("data"));
    static_cast<void>(stream.close_after_flush(test_deadline)); // close() would drop what nobody waited for
    co_return;
  }}};
  Client client{server.listen(0, "127.0.0.1").front()};
  EXPECT_EQ(client.receive_all(), "data");
}

TEST_F(TornadoServer, test_stop_in_callback) {
  struct StoppingServer : TCPServer {
    ~StoppingServer() override { shutdown(); }
    Task<> handle_stream(IOStream stream, Endpoint) override {
      stop();
      co_await stream.read_until_close();
    }
  } server;
  const Endpoint endpoint = server.listen(0, "127.0.0.1").front();
  std::vector<Client> clients;
  int refused = 0;
  for (int i = 0; i < 40; ++i)
    try {
      clients.emplace_back(endpoint);
    } catch (const std::system_error&) {
      ++refused;
    }
  EXPECT_LT(refused, 40);
  wait_until([&] { return server.info().endpoints.empty(); });
  EXPECT_THROW(Client{endpoint}, std::system_error);
  clients.clear();
  wait_until([&] { return server.info().connection_count == 0; });
  for (const char* event : {"handler_failed", "accept_failed", "callback_failed", "connection_failed"})
    EXPECT_EQ(log.count(event), 0U) << event;
}

TEST_F(TornadoServer, StopTwice) {
  TCPServer server{Handler{echo}};
  server.stop();
  const Endpoint endpoint = server.listen(0, "127.0.0.1").front();
  Client client{endpoint};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
  server.stop();
  server.stop();
  EXPECT_THROW(Client{endpoint}, std::system_error);
  client.send("still here\n");
  EXPECT_EQ(client.receive_line(), "still here\n");
}

/// The files are gone, and nobody notices before the next reload.
TEST_F(TornadoServer, WeakSpot32ConnectionsDoNotReadTheFilesAgain) {
  const PemFolder folder;
  folder.issue_for("first");
  AcceptOptions accept;
  accept.tls = TLSContext{tls_server_options(folder.certificate(), folder.key())};
  TCPServer server{Handler{echo}, {.accept = accept}};
  const Endpoint endpoint = server.listen(0, "127.0.0.1").front();
  std::filesystem::remove(folder.certificate());
  std::filesystem::remove(folder.key());
  for (int i = 0; i < 3; ++i) {
    TLSClient client{endpoint};
    ASSERT_TRUE(client.connected());
    EXPECT_EQ(client.server_name(), "first");
    EXPECT_EQ(client.ask("hello\n"), "hello\n");
  }
  EXPECT_THROW(server.reload_tls(), std::runtime_error);
  EXPECT_EQ(TLSClient{endpoint}.ask("hello\n"), "hello\n");
}

// -- what differs from socket to socket

TEST_F(TornadoServer, ASocketThatIsBoundOrListenedOnMayHaveItsOwnOptions) {
  AcceptOptions tls;
  tls.tls = TLSContext{testing_support::server_options()};
  TCPServer server{Handler{echo}};
  const Endpoint waits = server.bind(0, "127.0.0.1", {}, tls).front();
  const Endpoint plain = server.bind(0, "127.0.0.1").front();
  server.start();
  const Endpoint bound_late = server.bind(0, "127.0.0.1", {}, tls).front();
  const Endpoint listened_on = server.listen(0, "127.0.0.1", {}, tls).front();
  for (const Endpoint& endpoint : {waits, bound_late, listened_on}) {
    TLSClient client{endpoint};
    EXPECT_EQ(client.ask("hello\n"), "hello\n");
  }
  Client client{plain};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
}

} // namespace

} // namespace squall::actor_tests
