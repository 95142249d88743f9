// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_reader_test.cpp: the header of the PROXY protocol in front of a connection's own bytes.
#include "tests/net/proxy_support.hpp"
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/log.hpp>
#include <squall/net/proxy_reader.hpp>

#include <memory>

namespace squall {

namespace {

using namespace testing_support;

const std::string v1_line = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n";
const Endpoint told_client{"192.0.2.1", 56324, AddressFamily::ipv4};

class ProxyReaderTest : public testing::Test {
protected:
  ProxyReaderTest() {
    set_log_sink([this](const LogEvent& event) {
      for (const auto& [name, value] : event.fields)
        if (name == "reason")
          reasons.push_back(value);
    });
  }
  ~ProxyReaderTest() override { set_log_sink({}); }

  static ProxyOptions trusting(const char* network) {
    ProxyOptions options;
    options.from = {IPNetwork{network}};
    return options;
  }
  void start(ProxyOptions options) {
    reader =
        std::make_unique<ProxyReader>(loop, std::move(options), [this](Socket connection, Endpoint client) {
          served.push_back(std::move(connection));
          clients.push_back(std::move(client));
          if (on_served)
            on_served();
        });
    acceptor = std::make_unique<Acceptor>(loop, listener, [this](Socket connection, const Endpoint& peer) {
      reader->accept(std::move(connection), peer);
    });
  }
  static void send(const Socket& socket, std::string_view text) {
    ASSERT_EQ(::send(socket.fd(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  /// What waits in the connection for whoever reads next.
  static std::string waiting(const Socket& socket) {
    char buffer[256];
    const ssize_t size = ::recv(socket.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
    return {buffer, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
  }
  [[nodiscard]] bool wait_served(std::size_t count) {
    return run_until(loop, [&] { return served.size() >= count; });
  }
  /// The server closed the connection.
  [[nodiscard]] bool wait_closed(const Socket& socket) {
    return run_until(loop, [&] {
      char byte;
      const ssize_t size = ::recv(socket.fd(), &byte, 1, MSG_DONTWAIT);
      return size == 0 || (size < 0 && errno != EAGAIN);
    });
  }

  ManualClock clock;
  EventLoop loop{&clock};
  ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  std::vector<Socket> served;
  std::vector<Endpoint> clients;
  std::vector<std::string> reasons;
  std::function<void()> on_served;
  std::unique_ptr<ProxyReader> reader;
  std::unique_ptr<Acceptor> acceptor;
};

TEST_F(ProxyReaderTest, GivesTheClientsAddressAndLeavesWhatFollows) {
  start(trusting("127.0.0.0/8"));
  for (const std::string& header : {v1_line, proxy_v2(0x21, 0x11, proxy_addresses4())}) {
    const Socket client = connect_to(listener);
    send(client, header + "hello");
    ASSERT_TRUE(wait_served(1));
    EXPECT_EQ(clients, std::vector{told_client});
    EXPECT_EQ(waiting(served[0]), "hello") << "exactly the header was taken";
    served.clear();
    clients.clear();
  }
  EXPECT_EQ(reader->pending_count(), 0u);
  EXPECT_EQ(reader->refused_count(), 0u);
}

TEST_F(ProxyReaderTest, TakesAHeaderByteByByte) {
  start(trusting("127.0.0.1"));
  for (const std::string& header :
       {v1_line, proxy_v2_with_checksum(proxy_addresses4() + proxy_tlv(2, "example.com"))}) {
    const Socket client = connect_to(listener);
    for (const char c : header) {
      EXPECT_TRUE(served.empty());
      send(client, {&c, 1});
      run_turns(loop, 2);
    }
    ASSERT_TRUE(wait_served(1));
    EXPECT_EQ(clients, std::vector{told_client});
    EXPECT_EQ(waiting(served[0]), "");
    send(client, "x");
    ASSERT_TRUE(run_until(loop, [&] { return waiting(served[0]) == "x"; }));
    served.clear();
    clients.clear();
  }
}

TEST_F(ProxyReaderTest, TakesAHeaderInPiecesOverAUnixSocket) {
  listener = bind_unix_socket("@squall-proxy-" + std::to_string(::getpid()));
  start(trusting("unix"));
  const Socket client = connect_to(listener);
  const std::string header =
      proxy_v2(0x21, 0x11, proxy_addresses4() + proxy_tlv(0xe0, std::string(3000, 'x')));
  for (std::size_t at = 0; at < header.size(); at += 700) {
    send(client, header.substr(at, 700));
    run_turns(loop, 2);
  }
  send(client, "hello");
  ASSERT_TRUE(wait_served(1));
  EXPECT_EQ(clients, std::vector{told_client});
  EXPECT_EQ(waiting(served[0]), "hello");
}

TEST_F(ProxyReaderTest, RuleC10LocalAndUnknownKeepTheRealAddress) {
  start(trusting("127.0.0.1"));
  for (const std::string& header :
       {std::string{"PROXY UNKNOWN\r\n"}, proxy_v2(0x20, 0x11, proxy_addresses4()),
        proxy_v2(0x21, 0x00, "xx"), proxy_v2(0x21, 0x12, proxy_addresses4())}) {
    const Socket client = connect_to(listener);
    send(client, header);
    ASSERT_TRUE(wait_served(1));
    EXPECT_EQ(clients.back().address, "127.0.0.1");
    EXPECT_NE(clients.back().port, 0);
    served.clear();
  }
}

TEST_F(ProxyReaderTest, RuleC10NobodyElseIsBelieved) {
  start(trusting("192.0.2.0/24"));
  const Socket client = connect_to(listener);
  send(client, v1_line);
  ASSERT_TRUE(wait_closed(client));
  EXPECT_TRUE(served.empty());
  EXPECT_EQ(reader->refused_count(), 1u);
  EXPECT_EQ(reasons, std::vector<std::string>{"the peer is not among those who may send one"});
}

TEST_F(ProxyReaderTest, NobodyIsTrustedByDefault) {
  start({});
  const Socket client = connect_to(listener);
  ASSERT_TRUE(wait_closed(client));
  EXPECT_TRUE(served.empty());
}

TEST_F(ProxyReaderTest, RuleC10AnUntrustedPeerThatIsServedHasItsOwnAddress) {
  ProxyOptions options = trusting("192.0.2.0/24");
  options.untrusted = UntrustedPeer::serve;
  start(options);
  const Socket client = connect_to(listener);
  send(client, v1_line);
  ASSERT_TRUE(wait_served(1));
  EXPECT_EQ(clients[0].address, "127.0.0.1");
  EXPECT_EQ(waiting(served[0]), v1_line) << "its header is data";
}

TEST_F(ProxyReaderTest, ClosesWhatBeginsWithNoHeader) {
  start(trusting("127.0.0.1"));
  for (const std::string& junk :
       {std::string{"GET / HTTP/1.1\r\n\r\n"}, std::string{"\x16\x03\x01"}, std::string(5000, 'x'),
        "PROXY " + std::string(5000, 'x'), proxy_v2(0x20, 0, std::string(5000, 'x'))}) {
    const Socket client = connect_to(listener);
    send(client, junk);
    EXPECT_TRUE(wait_closed(client));
  }
  EXPECT_TRUE(served.empty());
  EXPECT_EQ(reader->refused_count(), 5u);
  EXPECT_EQ(reasons.size(), 5u);
  EXPECT_EQ(reader->pending_count(), 0u);
}

TEST_F(ProxyReaderTest, RuleC10ClosesWhatIsLateHoweverItDribbles) {
  ProxyOptions options = trusting("127.0.0.1");
  options.timeout = 2s;
  start(options);
  const Socket silent = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 1; }));
  clock.advance(1s);
  const Socket dribbling = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 2; }));
  clock.advance(1s);
  ASSERT_TRUE(wait_closed(silent));
  EXPECT_EQ(reader->pending_count(), 1u);
  for (int i = 0; i < 9; ++i) {
    send(dribbling, v1_line.substr(static_cast<std::size_t>(i), 1));
    clock.advance(100ms);
    run_turns(loop, 2);
  }
  EXPECT_EQ(reader->pending_count(), 1u);
  clock.advance(100ms);
  ASSERT_TRUE(wait_closed(dribbling)) << "no byte gains time";
  EXPECT_EQ(reader->pending_count(), 0u);
  EXPECT_EQ(reasons, (std::vector<std::string>{"its time is over", "its time is over"}));
}

TEST_F(ProxyReaderTest, WithoutATimeoutItWaits) {
  for (const std::chrono::milliseconds timeout : {0ms, -1ms, std::chrono::milliseconds::min()}) {
    ProxyOptions options = trusting("127.0.0.1");
    options.timeout = timeout;
    acceptor.reset();
    start(options);
    served.clear();
    const Socket client = connect_to(listener);
    ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 1; }));
    clock.advance(25h);
    run_turns(loop);
    EXPECT_EQ(reader->pending_count(), 1u) << timeout.count();
    send(client, v1_line);
    ASSERT_TRUE(wait_served(1));
  }
}

TEST_F(ProxyReaderTest, TheLongestTimeoutIsADay) {
  ProxyOptions options = trusting("127.0.0.1");
  options.timeout = std::chrono::milliseconds::max();
  start(options);
  const Socket client = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 1; }));
  clock.advance(24h - 1ms);
  run_turns(loop);
  EXPECT_EQ(reader->pending_count(), 1u);
  clock.advance(1ms);
  ASSERT_TRUE(wait_closed(client));
}

TEST_F(ProxyReaderTest, RuleC10BoundsWhatWaits) {
  ProxyOptions options = trusting("127.0.0.1");
  options.max_pending = 3;
  start(options);
  std::vector<Socket> waiting_clients;
  for (int i = 0; i < 3; ++i)
    waiting_clients.push_back(connect_to(listener));
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 3; }));
  const Socket one_more = connect_to(listener);
  ASSERT_TRUE(wait_closed(one_more));
  EXPECT_EQ(reader->pending_count(), 3u);
  send(waiting_clients[1], v1_line); // makes room
  ASSERT_TRUE(wait_served(1));
  const Socket another = connect_to(listener);
  send(another, v1_line);
  ASSERT_TRUE(wait_served(2));
}

TEST_F(ProxyReaderTest, AConnectionThatEndsLeavesNothing) {
  start(trusting("127.0.0.1"));
  Socket leaving = connect_to(listener);
  send(leaving, "PROXY TCP4");
  Socket breaking = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 2; }));
  leaving.reset();
  const linger at_once{1, 0};
  ASSERT_EQ(::setsockopt(breaking.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  breaking.reset();
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() <= 1; }));
  const Socket half = connect_to(listener);
  send(half, "PROXY");
  ::shutdown(half.fd(), SHUT_WR);
  ASSERT_TRUE(run_until(loop, [&] { return reader->refused_count() == 3; }));
  const Socket cut = connect_to(listener);
  send(cut, proxy_v2(0x21, 0x11, proxy_addresses4()).substr(0, 20)); // its size is known
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 1; }));
  run_turns(loop, 2);
  ::shutdown(cut.fd(), SHUT_WR);
  ASSERT_TRUE(run_until(loop, [&] { return reader->refused_count() == 4; }));
  EXPECT_EQ(reader->pending_count(), 0u);
  EXPECT_TRUE(served.empty());
  EXPECT_TRUE(reasons.empty()) << "counted only";
}

TEST_F(ProxyReaderTest, AnEndRightBehindTheHeaderIsTheConnections) {
  start(trusting("127.0.0.1"));
  Socket client = connect_to(listener);
  send(client, v1_line + "bye");
  client.reset();
  ASSERT_TRUE(wait_served(1));
  EXPECT_EQ(waiting(served[0]), "bye");
}

TEST_F(ProxyReaderTest, ItsEndClosesWhatWaits) {
  start(trusting("127.0.0.1"));
  const Socket client = connect_to(listener);
  ASSERT_TRUE(run_until(loop, [&] { return reader->pending_count() == 1; }));
  acceptor.reset();
  reader.reset();
  ASSERT_TRUE(wait_closed(client));
}

TEST_F(ProxyReaderTest, TheEndOfItsLoopClosesWhatWaits) {
  auto own = std::make_unique<EventLoop>();
  ProxyReader short_lived{*own, trusting("127.0.0.1"), [](Socket, const Endpoint&) { FAIL(); }};
  auto [ours, theirs] = make_tcp_pair();
  short_lived.accept(std::move(ours), {"127.0.0.1", 1, AddressFamily::ipv4});
  own.reset();
  ASSERT_TRUE(wait_closed(theirs));
}

TEST_F(ProxyReaderTest, WhatItsUserThrowsCostsOneConnection) {
  start(trusting("127.0.0.1"));
  on_served = [] { throw std::runtime_error{"no"}; };
  const Socket client = connect_to(listener);
  send(client, v1_line);
  ASSERT_TRUE(wait_served(1));
  on_served = [] { throw 42; };
  const Socket other = connect_to(listener);
  send(other, v1_line);
  ASSERT_TRUE(wait_served(2));
  on_served = nullptr;
  const Socket another = connect_to(listener);
  send(another, v1_line);
  ASSERT_TRUE(wait_served(3));
}

} // namespace

} // namespace squall
