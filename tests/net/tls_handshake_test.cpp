// SPDX-License-Identifier: BSD-3-Clause
//
// tls_handshake_test.cpp: how streams of TLS meet: a line there and back, waiting for the handshake, connecting.
#include "tests/net/stream_contract.hpp"

namespace squall {

namespace {

using namespace testing_support;

class TLSTest : public testing::Test {
protected:
  [[nodiscard]] bool run_until(const std::function<bool()>& predicate) {
    return testing_support::run_until(loop, predicate);
  }

  ManualClock clock;
  EventLoop loop{&clock};
};

using TLSHandshake = TLSTest;

TEST_F(TLSHandshake, CarriesALineThereAndBack) {
  auto [server, client] = pair_tls<TLSVersion::tls_1_3>(loop, {});
  static_cast<void>(client.write(Bytes{"hello\n"}));
  TestRead at_server{server, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return at_server.answered(); }));
  static_cast<void>(server.write(Bytes{"echo: " + at_server.text()}));
  TestRead at_client{client, ReadUntil{"\n"}};
  ASSERT_TRUE(run_until([&] { return at_client.answered(); }));
  EXPECT_EQ(at_client.text(), "echo: hello\n");
}

} // namespace

} // namespace squall
