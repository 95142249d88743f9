// SPDX-License-Identifier: BSD-3-Clause
//
// tls_end_test.cpp: how connections of TLS end: cut data, close_notify, renegotiation, signals.
#include "tests/net/tls_fixture.hpp"

#include <csignal>
#include <cstdio>
#include <functional>
#include <sys/ioctl.h>
#include <unistd.h>

namespace squall {

namespace {

using namespace testing_support;

class TLSEnd : public TLSTest, public testing::WithParamInterface<TLSVersion> {
protected:
  ToClient connected(const StreamOptions& options = {}) {
    auto [ours, theirs] = make_tcp_pair();
    const TLSContext& context = GetParam() == TLSVersion::tls_1_2 ? server_context<TLSVersion::tls_1_2>()
                                                                  : server_context<TLSVersion::tls_1_3>();
    ToClient both{IOStream{loop, make_tls_transport(std::move(ours), context), options},
                  std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)};
    shake(both);
    return both;
  }
  static StreamError cut() {
    return tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNEXPECTED_EOF_WHILE_READING),
                     CloseReason::tls_truncated);
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, TLSEnd, testing::Values(TLSVersion::tls_1_2, TLSVersion::tls_1_3),
                         [](const auto& tested) {
                           return tested.param == TLSVersion::tls_1_2 ? "Tls12" : "Tls13";
                         });

TEST_P(TLSEnd, WithoutCloseNotifyIsItsOwnReason) {
  for (const bool pending : {true, false}) { // also of an end that comes with the bytes
    auto both = connected();
    TestRead read;
    if (pending)
      read.start(both.stream, ReadUntilClose{});
    both.peer->send_some("half of it");
    both.peer->socket().reset();
    if (!pending)
      read.start(both.stream, ReadUntilClose{});
    ASSERT_TRUE(run_until([&] { return read.answered(); }));
    EXPECT_EQ(read.error(), cut()) << "cut data does not pass for whole";
    TestRead rest{both.stream, ReadBytes{10}};
    EXPECT_EQ(rest.text(), "half of it") << "and stays readable";
  }
}

TEST_P(TLSEnd, InTheMidstOfARecordIsTold) {
  auto both = connected();
  TestRead read{both.stream, ReadBytes{1}};
  const std::string half{"\x17\x03\x03\x00\x40half", 9};
  ASSERT_EQ(::send(both.peer->socket().fd(), half.data(), half.size(), MSG_NOSIGNAL), 9);
  both.peer->socket().reset(); // before the stream looks: one edge for both
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.error(), cut());
}

TEST_P(TLSEnd, WithCloseNotifyIsOrderlyAlsoBehindBytesInOneSegment) {
  auto both = connected();
  both.peer->send_some("all of it");
  both.peer->notify(); // the socket stays open: only TLS says that it ends
  TestRead read{both.stream, ReadUntilClose{}};
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "all of it");
  EXPECT_EQ(both.stream.error().reason, CloseReason::peer_closed);
}

TEST_P(TLSEnd, SendsCloseNotifyWhenEverythingIsSent) {
  auto both = connected();
  static_cast<void>(both.stream.write(Bytes{"bye"}));
  both.stream.close();
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  EXPECT_EQ(both.peer->received, "bye");
  EXPECT_TRUE(both.peer->saw_end);
}

TEST_P(TLSEnd, DoesNotSendCloseNotifyWhenBytesAreDropped) {
  for (const bool aborts : {true, false}) {
    auto both = connected({.linger_timeout = 0ms});
    static_cast<void>(both.stream.write(Bytes{std::string(4 * 1024 * 1024, 'x')}));
    run_turns(loop, 20);
    if (aborts)
      both.stream.abort();
    else
      both.stream.close();
    ASSERT_TRUE(run_until([&] {
      both.peer->receive();
      return both.peer->saw_end || both.peer->saw_error;
    }));
    EXPECT_FALSE(both.peer->saw_end) << "what is cut must not look whole";
  }
}

TEST_P(TLSEnd, DoesNotSendCloseNotifyWhenAWriteIsDroppedBehindOneThatIsAnswered) {
  auto both = connected();
  for (int blocked_turns = 0; blocked_turns < 20;) { // each write is answered, until the system takes no more
    if (both.stream.unsent_size() == 0) {
      auto write = both.stream.write(Bytes{pattern(60'000)});
      ASSERT_TRUE(write.await_ready());
      write.await_resume();
      blocked_turns = 0;
    }
    loop.run_once(1ms);
    if (both.stream.unsent_size() > 0)
      ++blocked_turns;
  }
  ASSERT_GT(both.stream.unsent_size(), 0u);
  static_cast<void>(both.stream.write(Bytes{std::string(4 * 1024 * 1024, 'x')}));
  static_cast<void>(both.stream.shutdown_write());
  both.stream.close();
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  EXPECT_FALSE(both.peer->saw_end) << "what is cut must not look whole";
}

TEST_P(TLSEnd, OfOneSideLeavesTheOther) {
  auto both = connected({.half_close = true});
  static_cast<void>(both.stream.write(Bytes{"question"}));
  static_cast<void>(both.stream.shutdown_write());
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end;
  }));
  both.peer->send_some("answer");
  both.peer->notify();
  TestRead read{both.stream, ReadUntilClose{}};
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "answer");
}

TEST_P(TLSEnd, WaitsForRoomToSendCloseNotify) {
  auto both = connected();
  const std::string data = pattern(4 * 1024 * 1024);
  static_cast<void>(both.stream.write(Bytes{data}));
  static_cast<void>(both.stream.close_after_flush(10s));
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  EXPECT_TRUE(both.peer->saw_end);
  EXPECT_EQ(both.peer->received.size(), data.size());
  EXPECT_EQ(both.peer->received, data);
}

TEST_P(TLSEnd, OfADamagedRecordIsAFailure) {
  auto both = connected();
  TestRead read{both.stream, ReadBytes{1}};
  std::string record{"\x17\x03\x03\x00\x20", 5};
  record.append(32, 'x');
  ASSERT_EQ(::send(both.peer->socket().fd(), record.data(), record.size(), MSG_NOSIGNAL), 37);
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.error(), tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC)));
}

TEST_P(TLSEnd, OfADamagedRecordBehindBytesIsNoCut) {
  auto both = connected();
  TestRead read{both.stream, ReadBytes{4}};
  both.peer->send_some("ask\n");
  std::string record{"\x17\x03\x03\x00\x20", 5};
  record.append(32, 'x');
  ASSERT_EQ(::send(both.peer->socket().fd(), record.data(), record.size(), MSG_NOSIGNAL), 37);
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "ask\n");
  static_cast<void>(both.stream.write(Bytes{"answer"})); // the first to find that nothing goes on
  ASSERT_TRUE(run_until([&] { return both.stream.closed(); }));
  EXPECT_EQ(both.stream.error(),
            tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC)));
}

/// OpenSSL's alert about the end meets a socket that is gone, at once on a unix socket: that is not the reason.
TEST_P(TLSEnd, OverAUnixSocketIsToldAsOverTcp) {
  const TLSContext& context = GetParam() == TLSVersion::tls_1_2 ? server_context<TLSVersion::tls_1_2>()
                                                                : server_context<TLSVersion::tls_1_3>();
  auto [ours, theirs] = make_socket_pair();
  ToClient both{IOStream{loop, make_tls_transport(std::move(ours), context)},
                std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)};
  shake(both);
  TestRead read{both.stream, ReadUntilClose{}};
  both.peer->send_some("half of it");
  both.peer->socket().reset();
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.error(), cut());
}

TEST_P(TLSEnd, DataInsideOpenSSLNeverStallsARead) {
  auto both = connected({.read_chunk_size = 1});
  const std::string data = pattern(40'000);
  both.peer->send_some(data); // three records in one go
  TestRead read{both.stream, ReadBytes{data.size()}};
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), data);
}

class RuleC2 : public TLSTest {};

TEST_F(RuleC2, RenegotiationIsRefused) {
  auto both = serve(server_context<TLSVersion::tls_1_2>());
  shake(both);
  TestRead read{both.stream, ReadBytes{1}};
  ASSERT_EQ(SSL_renegotiate(both.peer->ssl()), 1);
  static_cast<void>(SSL_do_handshake(both.peer->ssl()));
  for (int i = 0; i < 8; ++i) {
    run_turns(loop);
    both.peer->receive();
  }
  EXPECT_EQ(both.peer->reason, SSL_R_NO_RENEGOTIATION);
  EXPECT_EQ(SSL_get_secure_renegotiation_support(both.peer->ssl()), 1);
  both.stream.forget_read(read);
}

TEST_F(RuleC2, AServerCannotRenegotiateEither) {
  auto [ours, theirs] = make_tcp_pair();
  RawTLS peer{std::move(theirs), TLSSide::server, &test_server()};
  IOStream client{loop,
                  make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_2>(), "localhost")};
  ASSERT_TRUE(run_until([&] { return peer.shake() && client.connected(); }));
  TestRead read{client, ReadBytes{1}};
  ASSERT_EQ(SSL_renegotiate(peer.ssl()), 1);
  static_cast<void>(SSL_do_handshake(peer.ssl())); // HelloRequest
  for (int i = 0; i < 8; ++i) {
    run_turns(loop);
    peer.receive();
  }
  EXPECT_EQ(peer.reason, SSL_R_NO_RENEGOTIATION);
  client.forget_read(read);
}

class RuleC21 : public TLSTest {
protected:
  RuleC21() : before_{std::signal(SIGPIPE, SIG_DFL)} {} // which would end the test run
  ~RuleC21() override { std::signal(SIGPIPE, before_); }

  static void reset(Socket& socket) {
    const linger at_once{1, 0}; // the close resets
    ASSERT_EQ(::setsockopt(socket.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    socket.reset();
  }

  void write_to_one_that_left(ToClient& both) {
    shake(both);
    reset(both.peer->socket());
    for (int writes = 0; writes < 20; ++writes) {
      static_cast<void>(both.stream.write(Bytes{"x"}));
      run_turns(loop, 1);
    }
    EXPECT_TRUE(both.stream.closed());
  }

  /// Below the stream, which would hear of the reset and write no more.
  static void write_a_thousand_times(const TLSContext& context) {
    auto [ours, theirs] = make_tcp_pair();
    RawTLS peer{std::move(theirs), TLSSide::client};
    const auto transport = make_tls_transport(std::move(ours), context);
    const auto deadline = std::chrono::steady_clock::now() + test_deadline;
    while (!transport->handshaken() && std::chrono::steady_clock::now() < deadline) {
      ASSERT_NE(transport->handshake().status, IoResult::Status::failed);
      peer.shake();
    }
    ASSERT_TRUE(transport->handshaken());
    reset(peer.socket());
    int failed = 0;
    for (int writes = 0; writes < 1000; ++writes) {
      const IoSlice piece{"x", 1};
      failed += transport->write_to_fd(&piece, 1).status == IoResult::Status::failed ? 1 : 0;
    }
    EXPECT_GE(failed, 999);
    transport->close_fd();
  }

private:
  void (*before_)(int);
};

TEST_F(RuleC21, AThousandWritesToAPeerThatLeftRaiseNoSignal) {
  write_a_thousand_times(server_context<TLSVersion::tls_1_2>());
  write_a_thousand_times(server_context<TLSVersion::tls_1_3>());
}

TEST_F(RuleC21, WritesOfAStreamToAPeerThatLeftRaiseNoSignal) {
  for (int i = 0; i < 50; ++i) {
    auto both =
        serve(i % 2 == 0 ? server_context<TLSVersion::tls_1_2>() : server_context<TLSVersion::tls_1_3>());
    write_to_one_that_left(both);
  }
}

TEST_F(RuleC21, AlsoOfAStreamThatTurnedToTLS) {
  for (int i = 0; i < 50; ++i) {
    auto [ours, theirs] = make_tcp_pair();
    ToClient both{IOStream{loop, std::move(ours)},
                  std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)};
    TestWait start{both.stream, StartTLS{true, server_context<TLSVersion::tls_1_3>()}};
    write_to_one_that_left(both);
    EXPECT_TRUE(start.succeeded());
  }
}

/// Records of one byte each, as fast as the connection takes them.
class TLSFairness : public TLSTest {
protected:
  /// `count` records with `data` each.
  static std::string records(RawTLS& peer, int count, const std::string& data) {
    const MemoryBio memory{BIO_new(BIO_s_mem())};
    BIO_up_ref(memory.get());
    SSL_set0_wbio(peer.ssl(), memory.get());
    for (int i = 0; i < count; ++i)
      SSL_write(peer.ssl(), data.data(), static_cast<int>(data.size()));
    return text_of(memory);
  }
  static int waiting(const Socket& socket) {
    int size = 0;
    EXPECT_EQ(::ioctl(socket.fd(), FIONREAD, &size), 0);
    return size;
  }
};

TEST_F(TLSFairness, AFloodOfRecordsTakesNoMoreThanItsShareOfATurn) {
  auto [ours, theirs] = make_tcp_pair();
  const Socket ours_too{::dup(ours.fd())};
  ToClient both{IOStream{loop, std::move(ours), server_context<TLSVersion::tls_1_3>()},
                std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)};
  shake(both);
  std::string bytes = records(*both.peer, 12'000, "x");
  TestRead read{both.stream, ReadUntil{"\n"}};
  run_turns(loop, 2);
  const auto fill = [&] {
    const ssize_t sent = ::send(both.peer->socket().fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    bytes.erase(0, static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
  };
  fill();
  ASSERT_TRUE(run_until([&] {
    const int before = waiting(ours_too);
    loop.run_once();
    const int taken = before - waiting(ours_too);
    EXPECT_LE(taken, 128 * 1024) << "of " << before;
    const bool more = !bytes.empty();
    fill();
    return !more && waiting(ours_too) == 0;
  }));
  EXPECT_FALSE(both.stream.closed());
  both.stream.forget_read(read);
}

TEST_F(TLSFairness, ReadsGoOnBehindAFlood) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  std::string bytes = records(*both.peer, 4'000, "x");
  bytes += records(*both.peer, 1, "line\n");
  TestRead read{both.stream, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] {
    const ssize_t sent = ::send(both.peer->socket().fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    bytes.erase(0, static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    return read.answered();
  }));
  EXPECT_EQ(read.text(), std::string(4'000, 'x') + "line\n");
}

class KernelTLS : public TLSTest {};

TEST_F(KernelTLS, IsUsedWhereItIsAndElseIsNot) {
  TLSOptions options = server_options();
  options.ktls = true;
  auto both = serve(TLSContext{options});
  shake(both);
  ASSERT_TRUE(both.stream.tls_info());
  const std::string data = pattern(1024 * 1024);
  static_cast<void>(both.stream.write(Bytes{data}));
  TestRead read{both.stream, ReadUntil{"\n"}};
  both.peer->send_some("line\n");
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return read.answered() && both.peer->received.size() == data.size();
  }));
  EXPECT_EQ(both.peer->received, data);
  RecordProperty("ktls_send", both.stream.tls_info()->ktls_send ? 1 : 0);
}

/// A file that became shorter cannot be sent to its end, and must not look whole.
using TLSCut = TLSTest;

TEST_F(TLSCut, OfAFileThatBecameShorterIsNoCloseNotify) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file{std::tmpfile(), &std::fclose};
  ASSERT_NE(file, nullptr);
  std::fputs("short, but not so at first", file.get());
  std::fflush(file.get());
  TestWrite write;
  const std::string path = "/proc/self/fd/" + std::to_string(::fileno(file.get()));
  if (const auto refused = both.stream.start_write_file(WriteFile{path}, write))
    write.on_write(*refused);
  ASSERT_EQ(::ftruncate(::fileno(file.get()), 5), 0); // before the turn ends, which sends
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return write.answered() && (both.peer->saw_end || both.peer->saw_error);
  }));
  EXPECT_FALSE(both.peer->saw_end);
  EXPECT_EQ(both.peer->received, "short");
}

/// The first write is answered and lingers; the second is dropped by the close.
TEST_F(TLSCut, WithAWriteThatIsDroppedIsNoCloseNotify) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  const Bytes much{std::string(16 << 20, 'x')};
  static_cast<void>(both.stream.write(much));
  run_turns(loop, 3); // until the system takes no more
  both.stream.close();
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  EXPECT_LT(both.peer->received.size(), much.size());
  EXPECT_FALSE(both.peer->saw_end);
}

} // namespace

} // namespace squall
