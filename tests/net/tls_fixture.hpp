// SPDX-License-Identifier: BSD-3-Clause
//
// tls_fixture.hpp: what the tests of TLS share beyond the contract of streams.
#pragma once

#include "tests/net/stream_contract.hpp"
#include <squall/net/log.hpp>

#include <dirent.h>
#include <malloc.h>

namespace squall::testing_support {

inline StreamError tls_error(int value, CloseReason reason = CloseReason::tls_failed) {
  return {StreamErrc::closed, reason, {value, tls_category()}};
}

inline int descriptor_count() {
  const std::unique_ptr<DIR, Frees<&::closedir>> folder{::opendir("/proc/self/fd")};
  int count = 0;
  while (::readdir(folder.get()) != nullptr)
    ++count;
  return count;
}

/// Bytes of the heap that are in use; sanitizers have a heap of their own, which this does not see.
inline std::size_t heap_in_use() {
  const struct mallinfo2 heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
}
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool measures_heap = false;
#else
inline constexpr bool measures_heap = true;
#endif

class TLSTest : public testing::Test {
protected:
  TLSTest() { set_log_level(LogLevel::error); } // each failed handshake would be told
  ~TLSTest() override { set_log_level(LogLevel::info); }

  [[nodiscard]] bool run_until(const std::function<bool()>& predicate) {
    return testing_support::run_until(loop, predicate);
  }

  /// A server of Squall and a client of OpenSSL.
  struct ToClient {
    IOStream stream;
    std::unique_ptr<RawTLS> peer;
  };
  ToClient serve(const TLSContext& context, const Identity* client = nullptr) {
    auto [ours, theirs] = make_tcp_pair();
    auto peer = std::make_unique<RawTLS>(std::move(theirs), TLSSide::client, client);
    return {IOStream{loop, std::move(ours), context}, std::move(peer)};
  }
  /// Brings both to the end of the handshake, and the peer's client to what the server says after it.
  void shake(ToClient& both) {
    TestWait done{both.stream, StreamEvent::handshaken};
    ASSERT_TRUE(run_until([&] { return both.peer->shake() && done.answered(); }));
    if (both.peer->shaken)
      both.peer->receive();
  }

  /// What a client of Squall makes of a server.
  StreamError verify(const Identity& server, const std::string& name, const TLSContext& client,
                     const std::vector<const Identity*>& chain = {}) {
    auto [ours, theirs] = make_tcp_pair();
    RawTLS peer{std::move(theirs), TLSSide::server, &server};
    for (const Identity* next : chain)
      SSL_add1_chain_cert(peer.ssl(), next->certificate.get());
    IOStream stream{loop, make_tls_transport(std::move(ours), client, name)};
    TestWait done{stream, StreamEvent::handshaken};
    EXPECT_TRUE(run_until([&] {
      peer.shake();
      return done.answered();
    }));
    return done.succeeded() ? StreamError{StreamErrc::closed, CloseReason::none, {}} : done.error();
  }

  ManualClock clock;
  EventLoop loop{&clock};
};

} // namespace squall::testing_support
