// SPDX-License-Identifier: BSD-3-Clause
//
// tls_flood_test.cpp: records that cost their receiver much and their sender nothing.
#include "net/tls_idle_records.hpp"
#include "tests/net/tls_fixture.hpp"

namespace squall {

namespace {

using namespace testing_support;
using namespace std::chrono_literals;

StreamError flood() { return tls_error(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_TOO_MANY_KEY_UPDATES)); }

class TLSFlood : public TLSTest {
protected:
  /// What `peer` sends from now on is collected instead.
  static MemoryBio collect(RawTLS& peer) {
    MemoryBio memory{BIO_new(BIO_s_mem())};
    BIO_up_ref(memory.get());
    SSL_set0_wbio(peer.ssl(), memory.get());
    return memory;
  }
  static void update_keys(RawTLS& peer, int times) {
    for (int i = 0; i < times; ++i) {
      SSL_key_update(peer.ssl(), SSL_KEY_UPDATE_NOT_REQUESTED);
      ASSERT_EQ(SSL_do_handshake(peer.ssl()), 1);
    }
  }
  void send(RawTLS& peer, std::string_view bytes) {
    ASSERT_TRUE(run_until([&] {
      const ssize_t sent =
          ::send(peer.socket().fd(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
      return bytes.empty() || (sent < 0 && errno != EAGAIN); // it was refused meanwhile
    }));
  }
};

TEST_F(TLSFlood, OfKeyUpdatesClosesTheConnectionWithItsReason) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  TestRead read{both.stream, ReadUntil{"\n"}};
  const MemoryBio sent = collect(*both.peer);
  update_keys(*both.peer, 5000);
  both.peer->send_some("behind it\n");
  send(*both.peer, text_of(sent));
  ASSERT_TRUE(run_until([&] { return both.stream.closed(); }));
  EXPECT_EQ(read.error(), flood());
  EXPECT_EQ(read.error().real_error.message(), "too many records without data");
}

TEST_F(TLSFlood, IsOneWhateverFewBytesAreBetween) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  TestRead read{both.stream, ReadUntil{"\n"}};
  const MemoryBio sent = collect(*both.peer);
  for (int i = 0; i < 200; ++i) {
    update_keys(*both.peer, max_idle_records - 1);
    both.peer->send_some("x");
  }
  send(*both.peer, text_of(sent));
  ASSERT_TRUE(run_until([&] { return both.stream.closed(); }));
  EXPECT_EQ(read.error(), flood());
}

TEST_F(TLSFlood, OfSoManyAsAreAllowedIsNone) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  TestRead read{both.stream, ReadUntil{"\n"}};
  const MemoryBio sent = collect(*both.peer);
  update_keys(*both.peer, max_idle_records / 2);
  both.peer->send_some("in their midst ");
  update_keys(*both.peer, max_idle_records / 2);
  both.peer->send_some("and behind them\n");
  send(*both.peer, text_of(sent));
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "in their midst and behind them\n");
}

TEST_F(TLSFlood, OfBytesIsNone) {
  for (const auto* context :
       {&server_context<TLSVersion::tls_1_2>(), &server_context<TLSVersion::tls_1_3>()}) {
    auto both = serve(*context);
    shake(both);
    constexpr std::size_t records = 1000;
    TestRead read{both.stream, ReadBytes{records}};
    const MemoryBio sent = collect(*both.peer);
    for (std::size_t i = 0; i < records; ++i)
      ASSERT_EQ(both.peer->send_some("x"), 1U);
    for (const char byte : text_of(sent)) // half records count once, too
      send(*both.peer, {&byte, 1});
    ASSERT_TRUE(run_until([&] { return read.answered(); }));
    EXPECT_EQ(read.text(), std::string(records, 'x'));
  }
}

/// A server may flood its client as well.
TEST_F(TLSFlood, OfTicketsClosesAClient) {
  auto [ours, theirs] = make_tcp_pair();
  RawTLS peer{std::move(theirs), TLSSide::server, &test_server()};
  IOStream stream{loop, make_tls_transport(std::move(ours), TLSContext{client_options()}, "localhost")};
  TestWait done{stream, StreamEvent::handshaken};
  ASSERT_TRUE(run_until([&] { return peer.shake() && done.answered(); }));
  ASSERT_TRUE(done.succeeded());
  TestRead read{stream, ReadUntil{"\n"}};
  const MemoryBio sent = collect(peer);
  for (int i = 0; i < 2 * max_idle_records; ++i) {
    ASSERT_EQ(SSL_new_session_ticket(peer.ssl()), 1);
    ASSERT_EQ(SSL_do_handshake(peer.ssl()), 1);
  }
  peer.send_some("behind them\n");
  send(peer, text_of(sent));
  ASSERT_TRUE(run_until([&] { return stream.closed(); }));
  EXPECT_EQ(read.error(), flood());
}

/// Each wish of a server to renegotiate (HelloRequest, RFC 5246, 7.4.1.1) is answered with a warning, which costs as much as a
/// record. Wishes of a client are records as well; OpenSSL's own client gives up at the first warning, and so floods nobody.
TEST_F(TLSFlood, OfRenegotiationsClosesTheConnection) {
  auto [ours, theirs] = make_tcp_pair();
  RawTLS peer{std::move(theirs), TLSSide::server, &test_server()};
  IOStream stream{loop,
                  make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_2>(), "localhost")};
  TestWait done{stream, StreamEvent::handshaken};
  ASSERT_TRUE(run_until([&] { return peer.shake() && done.answered(); }));
  ASSERT_TRUE(done.succeeded());
  TestRead read{stream, ReadUntil{"\n"}};
  const MemoryBio sent = collect(peer);
  const auto wish = [&](int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_EQ(SSL_renegotiate(peer.ssl()), 1);
      ASSERT_EQ(SSL_do_handshake(peer.ssl()), 1);
    }
    peer.send_some("x");
    send(peer, text_of(sent));
    BIO_reset(sent.get());
  };
  wish(max_idle_records / 2);
  ASSERT_TRUE(run_until([&] { return stream.unread_size() == 1; })) << to_string(stream.error());
  EXPECT_FALSE(stream.closed()) << "a few are no flood";
  wish(2 * max_idle_records);
  ASSERT_TRUE(run_until([&] { return stream.closed(); }));
  EXPECT_EQ(read.error(), flood());
}

TEST_F(TLSFlood, IsLoggedNoOftenerThanTheLogAllows) {
  set_log_level(LogLevel::info);
  std::size_t lines = 0;
  set_log_sink([&](const LogEvent& event) { lines += event.name == "tls_failed" ? 1 : 0; });
  set_log_rate(1, 5);
  constexpr int connections = 200;
  for (int i = 0; i < connections; ++i) {
    auto [ours, theirs] = make_tcp_pair();
    const IOStream stream{loop, std::move(ours), server_context<TLSVersion::tls_1_3>()};
    const std::string junk = i % 2 == 0 ? "GET / HTTP/1.0\r\n\r\n" : std::string(20, '\xff');
    ASSERT_GT(::send(theirs.fd(), junk.data(), junk.size(), MSG_NOSIGNAL), 0);
    ASSERT_TRUE(run_until([&] { return stream.closed(); }));
    EXPECT_EQ(stream.error().reason, CloseReason::tls_failed);
  }
  set_log_sink({});
  set_log_rate(10, 20);
  EXPECT_GE(lines, 5U);
  EXPECT_LT(lines, connections / 2U);
}

TEST(TLSIdleRecordsTest, ABurstIsAllowedAndThenOneForEachTenthOfASecond) {
  TLSIdleRecords records;
  TLSIdleRecords::TimePoint now{1000h};
  const auto idle = [&] { return records.begin_record([&] { return now; }); };
  ASSERT_TRUE(idle()) << "nobody knows yet whether it has bytes";
  for (int i = 0; i < max_idle_records; ++i)
    ASSERT_TRUE(idle()) << i;
  now += 99ms;
  for (int i = 0; i < 1000; ++i) {
    now += 100ms;
    ASSERT_TRUE(idle()) << i;
  }
  records.gave_bytes();
  ASSERT_TRUE(idle()) << "the one before had bytes";
  now += 24h;
  for (int i = 0; i < max_idle_records; ++i)
    ASSERT_TRUE(idle()) << "a long time allows no more than a burst";
  EXPECT_FALSE(idle());
  EXPECT_TRUE(records.flooded());
  now += 24h;
  EXPECT_FALSE(idle()) << "for good";
}

} // namespace

} // namespace squall
