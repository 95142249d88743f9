// SPDX-License-Identifier: BSD-3-Clause
//
// tls_hardening_test.cpp: what neither options without "insecure" nor peers can bring TLS to.
#include "tests/net/tls_fixture.hpp"

namespace squall {

namespace {

using namespace testing_support;

class TLSHardening : public TLSTest {
protected:
  /// What the handshake of a client, which verifies "localhost", says about `peer`.
  StreamError outcome(const TLSContext& client, RawTLS& peer, Socket ours) {
    IOStream stream{loop, make_tls_transport(std::move(ours), client, "localhost")};
    TestWait done{stream, StreamEvent::handshaken};
    EXPECT_TRUE(run_until([&] {
      peer.shake();
      return done.answered();
    }));
    return done.succeeded() ? StreamError{StreamErrc::closed, CloseReason::none, {}} : done.error();
  }
};

/// Suites without certificates would prove nothing, whatever is verified.
TEST_F(TLSHardening, CiphersCannotTurnVerificationOff) {
  constexpr const char* anonymous = "ADH-AES128-GCM-SHA256:AECDH-AES128-SHA:@SECLEVEL=0";
  TLSOptions options = client_options();
  options.ciphers = std::string{anonymous} + ":ECDHE-ECDSA-AES128-GCM-SHA256";
  const TLSContext client = context_of(options, TLSVersion::tls_1_2);
  auto [ours, theirs] = make_tcp_pair();
  RawTLS peer{std::move(theirs), TLSSide::server};
  SSL_set_cipher_list(peer.ssl(), anonymous);
  SSL_set_security_level(peer.ssl(), 0);
  SSL_set_dh_auto(peer.ssl(), 1);
  EXPECT_EQ(outcome(client, peer, std::move(ours)).reason, CloseReason::tls_failed);
  EXPECT_TRUE(peer.failed);
}

TEST_F(TLSHardening, KeysAreAgreedOnByEllipticCurvesOnly) { // CVE-2002-20001
  for (const char* groups : {"ffdhe2048:ffdhe8192", "ffdhe3072:P-256"}) {
    auto both = serve(server_context<TLSVersion::tls_1_3>());
    ASSERT_EQ(SSL_set1_groups_list(both.peer->ssl(), groups), 1);
    TestWait done{both.stream, StreamEvent::handshaken};
    ASSERT_TRUE(run_until([&] { return both.peer->shake() && done.answered(); }));
    EXPECT_EQ(done.succeeded(), std::string_view{groups}.ends_with("P-256")) << groups;
  }
}

/// Each record costs its decryption, however little is in it: a turn's share counts that, too.
TEST_F(TLSHardening, RecordsOfOneByteDoNotHoldUpTheLoop) {
  constexpr std::size_t most_in_a_turn = 8192; // by the bytes that they have on the wire
  for (const auto* context :
       {&server_context<TLSVersion::tls_1_2>(), &server_context<TLSVersion::tls_1_3>()}) {
    auto both = serve(*context);
    shake(both);
    std::size_t sent = 0;
    while (sent < 4 * most_in_a_turn && both.peer->send_some("x") == 1)
      ++sent;
    ASSERT_GT(sent, most_in_a_turn) << "the system took too few";
    TestRead read{both.stream, ReadBytes{sent}};
    std::size_t before = 0;
    for (int turn = 0; turn < 1000 && !read.answered(); ++turn) {
      EXPECT_LE(both.stream.bytes_received() - before, most_in_a_turn);
      before = both.stream.bytes_received();
      loop.run_once(1ms); // the system may be late with what was sent
    }
    ASSERT_TRUE(read.answered()) << "the rest comes without being told";
    EXPECT_EQ(read.text(), std::string(sent, 'x'));
  }
}

} // namespace

} // namespace squall
