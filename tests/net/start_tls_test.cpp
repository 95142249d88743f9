// SPDX-License-Identifier: BSD-3-Clause
//
// start_tls_test.cpp: plain streams that turn to TLS: when they may, what becomes of bytes that came before, and that
// the stream stays itself.
#include "tests/net/tls_fixture.hpp"
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

class StartTLSTest : public TLSTest {
protected:
  static StartTLS as_server(Timeout timeout = no_timeout) {
    return {true, server_context<TLSVersion::tls_1_3>(), {}, timeout};
  }
  static StartTLS as_client(std::string name = "localhost") {
    return {false, client_context<TLSVersion::tls_1_3>(), std::move(name)};
  }

  [[nodiscard]] StreamErrc refusal(IOStream& stream, const StartTLS& request) {
    const TestWait start{stream, request};
    EXPECT_TRUE(start.answered());
    return start.error().code;
  }

  void run(std::vector<Task<>> tasks) {
    TaskContext context{loop};
    std::size_t ended = 0;
    std::vector<std::unique_ptr<RunningTask>> running;
    for (Task<>& task : tasks) {
      running.push_back(std::make_unique<RunningTask>(std::move(task), [&](std::exception_ptr error) {
        EXPECT_EQ(error, nullptr);
        ++ended;
      }));
      running.back()->start(context);
    }
    EXPECT_TRUE(run_until([&] { return ended == tasks.size(); }));
  }
};

TEST_F(StartTLSTest, TurnsAnExchangeOfLinesToTLSInPlace) { // Tornado's test_start_tls_smtp
  auto [server, client] = pair_sockets<&make_tcp_pair>(loop, {.max_write_buffer_size = 1000});
  const auto serve = [&]() -> Task<> {
    co_await server.write(Bytes{"220 mail.example.com ready\r\n"});
    EXPECT_EQ((co_await server.read_until("\r\n")).view(), "EHLO mail.example.com\r\n");
    co_await server.write(Bytes{"250-mail.example.com welcome\r\n250 STARTTLS\r\n"});
    EXPECT_EQ((co_await server.read_until("\r\n")).view(), "STARTTLS\r\n");
    co_await server.write(Bytes{"220 Go ahead\r\n"});
    co_await server.start_tls(true, server_context<TLSVersion::tls_1_3>());
    EXPECT_EQ((co_await server.read_until("\r\n")).view(), "EHLO mail.example.com\r\n");
    co_await server.write(Bytes{"250 mail.example.com welcome\r\n"});
  };
  const auto ask = [&]() -> Task<> {
    EXPECT_EQ((co_await client.read_until("\r\n")).view(), "220 mail.example.com ready\r\n");
    co_await client.write(Bytes{"EHLO mail.example.com\r\n"});
    EXPECT_EQ((co_await client.read_until("\r\n")).view(), "250-mail.example.com welcome\r\n");
    EXPECT_EQ((co_await client.read_until("\r\n")).view(), "250 STARTTLS\r\n");
    co_await client.write(Bytes{"STARTTLS\r\n"});
    EXPECT_EQ((co_await client.read_until("\r\n")).view(), "220 Go ahead\r\n");
    co_await client.start_tls(false, client_context<TLSVersion::tls_1_3>(), "localhost");
    co_await client.write(Bytes{"EHLO mail.example.com\r\n"});
    EXPECT_EQ((co_await client.read_until("\r\n")).view(), "250 mail.example.com welcome\r\n");
  };
  int closes = 0;
  server.set_close_callback([&] { ++closes; });
  std::vector<Task<>> tasks;
  tasks.push_back(serve());
  tasks.push_back(ask());
  run(std::move(tasks));
  EXPECT_EQ(server.tls_info()->version, "TLSv1.3");
  TestWrite too_much{server, Bytes{std::string(1001, 'x')}};
  EXPECT_EQ(too_much.error().code, StreamErrc::buffer_full) << "limits are kept";
  client.close();
  ASSERT_TRUE(run_until([&] { return closes == 1; })) << "callbacks are kept";
}

TEST_F(StartTLSTest, VerifiesTheNameThatItIsGiven) { // Tornado's test_check_hostname
  auto [server, client] = pair_sockets<&make_tcp_pair>(loop, {});
  TestWait at_server{server, as_server()};
  TestWait at_client{client, as_client("127.0.0.2")};
  ASSERT_TRUE(run_until([&] { return at_server.answered() && at_client.answered(); }));
  EXPECT_EQ(at_client.error(), tls_error(X509_V_ERR_IP_ADDRESS_MISMATCH));
  EXPECT_EQ(at_server.error().reason, CloseReason::tls_failed);
}

TEST_F(StartTLSTest, IsRefusedUnlessIdle) {
  auto [server, client] = pair_sockets<&make_tcp_pair>(loop, {});
  TestRead read{server, ReadUntil{"\n"}};
  EXPECT_EQ(refusal(server, as_server()), StreamErrc::not_idle);
  static_cast<void>(client.write(Bytes{"line\n"}));
  ASSERT_TRUE(run_until([&] { return read.answered(); })) << "the read is unharmed";
  EXPECT_EQ(read.text(), "line\n");
  TestWait first{server, as_server()};
  EXPECT_EQ(refusal(server, as_server()), StreamErrc::not_idle) << "a handshake is under way";
  TestWait other{client, as_client()};
  ASSERT_TRUE(run_until([&] { return first.answered() && other.answered(); }));
  EXPECT_TRUE(first.succeeded() && other.succeeded());
}

TEST_F(StartTLSTest, LeavesARefusedStreamAsItWas) {
  auto [server, client] = pair_sockets<&make_tcp_pair>(loop, {.half_close = true});
  EXPECT_EQ(refusal(server, {true, client_context<TLSVersion::tls_1_3>()}), StreamErrc::invalid_argument);
  EXPECT_EQ(refusal(client, as_client("")), StreamErrc::server_hostname);
  EXPECT_EQ(refusal(client, StartTLS{}), StreamErrc::invalid_argument);
  static_cast<void>(client.write(Bytes{std::string(4 * 1024 * 1024, 'x')}));
  EXPECT_EQ(refusal(client, as_client()), StreamErrc::not_idle) << "the system does not take it all";
  TestRead all{server, ReadBytes{4 * 1024 * 1024}};
  ASSERT_TRUE(run_until([&] { return all.answered(); }));
  static_cast<void>(client.shutdown_write());
  EXPECT_EQ(refusal(client, as_client()), StreamErrc::not_idle);
  TestWait ended{server, StreamEvent::ended};
  TestRead read{server, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return ended.answered() && read.answered(); }));
  EXPECT_EQ(refusal(server, as_server()), StreamErrc::not_idle);
  EXPECT_FALSE(server.closed() || client.closed());
  server.close();
  EXPECT_EQ(refusal(server, as_server()), StreamErrc::closed);
}

TEST_F(StartTLSTest, IsRefusedOnATransportWithoutTLSAndOnOneThatHasIt) {
  auto [one, two] = pair_memory(loop, {});
  EXPECT_EQ(refusal(one, as_server()), StreamErrc::invalid_argument);
  EXPECT_EQ(refusal(two, as_client()), StreamErrc::invalid_argument);
  auto [here, there] = make_pipe_ends();
  IOStream pipe{loop, make_pipe_transport(std::move(here.in))};
  EXPECT_EQ(refusal(pipe, as_client()), StreamErrc::invalid_argument);
  auto [server, client] = pair_tls<TLSVersion::tls_1_3>(loop, {});
  EXPECT_EQ(refusal(server, as_server()), StreamErrc::not_idle);
  EXPECT_EQ(refusal(client, as_client()), StreamErrc::not_idle);
  EXPECT_FALSE(one.closed() || two.closed() || pipe.closed() || server.closed() || client.closed());
}

TEST_F(StartTLSTest, TakesWhatTheSystemHoldsForTheHandshake) {
  auto [ours, theirs] = make_tcp_pair();
  IOStream server{loop, std::move(ours)};
  RawTLS peer{std::move(theirs), TLSSide::client};
  peer.shake(); // its ClientHello is there before
  run_turns(loop);
  TestWait start{server, as_server()};
  ASSERT_TRUE(run_until([&] { return peer.shake() && start.answered(); }));
  EXPECT_TRUE(start.succeeded());
}

TEST_F(StartTLSTest, TimesOut) {
  auto [server, client] = pair_sockets<&make_tcp_pair>(loop, {});
  int closes = 0;
  server.set_close_callback([&] { ++closes; });
  TestWait start{server, as_server(3s)};
  clock.advance(2'999ms);
  run_turns(loop);
  EXPECT_FALSE(start.answered());
  clock.advance(1ms);
  run_turns(loop);
  EXPECT_EQ(start.error(), (StreamError{StreamErrc::closed, CloseReason::tls_failed,
                                        std::make_error_code(std::errc::timed_out)}));
  EXPECT_EQ(closes, 1);
}

class RuleC1 : public StartTLSTest {
protected:
  /// A stream whose peer sends one line and something behind it.
  struct Plain {
    IOStream stream;
    Socket peer;
  };
  Plain make() {
    auto [ours, theirs] = make_tcp_pair();
    return {IOStream{loop, std::move(ours)}, std::move(theirs)};
  }
  void send(const Plain& plain, std::string_view text) {
    ASSERT_EQ(::send(plain.peer.fd(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  void read_line(Plain& plain) {
    TestRead line{plain.stream, ReadUntil{"\r\n"}};
    ASSERT_TRUE(run_until([&] { return line.answered(); }));
    EXPECT_EQ(line.text(), "STARTTLS\r\n");
  }
  void expect_nothing_to_read(IOStream& stream) {
    EXPECT_EQ(stream.unread_size(), 0U);
    TestRead read{stream, ReadBytes{1, true}};
    EXPECT_FALSE(read.succeeded());
  }
};

TEST_F(RuleC1, InOneSegmentClosesTheStreamOfEitherRole) {
  for (const StartTLS& request : {as_server(), as_client()}) {
    Plain plain = make();
    send(plain, "STARTTLS\r\nEVIL\r\n");
    read_line(plain);
    const TestWait start{plain.stream, request};
    EXPECT_EQ(start.error(),
              (StreamError{StreamErrc::closed, CloseReason::tls_failed, StreamErrc::unread_plaintext}));
    const TestWait late{plain.stream, StreamEvent::handshaken};
    EXPECT_TRUE(late.answered() && !late.succeeded()) << "there never was a handshake";
    EXPECT_TRUE(plain.stream.closed());
    expect_nothing_to_read(plain.stream);
  }
}

TEST_F(RuleC1, InTwoSegmentsBelongsToTheHandshakeOfEitherRole) {
  for (const StartTLS& request : {as_server(), as_client()})
    for (const int gap : {0, 1, 5}) {
      Plain plain = make();
      send(plain, "STARTTLS\r\n");
      read_line(plain);
      if (gap == 0)
        send(plain, "EVIL\r\n"); // it waits in the system
      TestWait start{plain.stream, request};
      run_turns(loop, gap);
      if (gap > 0)
        send(plain, "EVIL\r\n");
      ASSERT_TRUE(run_until([&] { return start.answered(); }));
      EXPECT_EQ(start.error(), tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER)));
      expect_nothing_to_read(plain.stream);
    }
}

} // namespace

} // namespace squall
