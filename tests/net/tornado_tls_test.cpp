// SPDX-License-Identifier: BSD-3-Clause
//
// tornado_tls_test.cpp: the tests of Tornado's streams over TLS (tornado/test/iostream_test.py).
//
// | Tornado's test                              | Ours                                                              |
// | ------------------------------------------- | ----------------------------------------------------------------- |
// | test_start_tls_smtp                         | StartTLSTest.TurnsAnExchangeOfLinesToTLSInPlace                   |
// | test_check_hostname                         | StartTLSTest.VerifiesTheNameThatItIsGiven                         |
// | test_typed_memoryview                       | AViewOfWideElementsIsWrittenByItsBytes                            |
// | test_wait_for_handshake_future              | AHandlerWaitsForTheHandshake                                      |
// | test_wait_for_handshake_already_waiting_... | TwoWaitsForTheHandshakeBothComplete (Tornado refuses the second)  |
// | TestIOStreamCheckHostname.test_match        | TheServersNameIsAccepted                                          |
// | TestIOStreamCheckHostname.test_no_match     | AnotherNameIsRefusedAndBothSidesSayWhy                            |
// | TestIOStreamCheckHostname.test_check_dis... | WithoutACheckAnotherNameIsAccepted                                |
#include "tests/net/tls_fixture.hpp"
#include <squall/net/task.hpp>

#include <algorithm>

namespace squall {

namespace {

using namespace testing_support;

/// A server for foo.example.com on 127.0.0.1, and a client that connects to it.
class TornadoTLS : public TLSTest {
protected:
  ~TornadoTLS() override { set_log_sink(nullptr); }

  static const Identity& identity() {
    static const Identity made =
        issue({.common_name = "tornado", .dns_names = {"foo.example.com"}}, &test_authority());
    return made;
  }

  /// Connects; the server's stream is there, and its handshake has not begun.
  void connect(const std::string& server_hostname, const TLSOptions& options = client_options()) {
    const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
    client = IOStream{loop, TLSContext{options}};
    connected.take(client.start_connect(Connect{listener.local_endpoint(), server_hostname}, connected));
    int fd = -1;
    ASSERT_TRUE(run_until([&] {
      fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      return fd >= 0;
    }));
    TLSOptions server_side = server_options(identity());
    server_side.max_version = TLSVersion::tls_1_2; // as in Tornado's tests
    server = IOStream{loop, Socket{fd}, TLSContext{server_side}};
  }

  IOStream server;
  IOStream client;
  TestWait connected;
};

TEST_F(TornadoTLS, AViewOfWideElementsIsWrittenByItsBytes) {
  auto [one, two] = pair_tls<TLSVersion::tls_1_3>(loop, {});
  const std::array<double, 10> elements{};
  // The one view that a write takes is of bytes, so that a size in elements cannot be said.
  const std::string_view view{reinterpret_cast<const char*>(elements.data()), sizeof elements};
  TestWrite write{one, Bytes{view}};
  TestRead read{two, ReadBytes{80}};
  ASSERT_TRUE(run_until([&] { return write.answered() && read.answered(); }));
  EXPECT_EQ(read.text(), std::string(80, '\0'));
}

TEST_F(TornadoTLS, AHandlerWaitsForTheHandshake) {
  connect("foo.example.com");
  bool done = false;
  const auto handle = [&]() -> Task<> {
    EXPECT_FALSE(server.tls_info()) << "there is no cipher yet";
    co_await server.wait_for_handshake();
    EXPECT_TRUE(server.tls_info());
    done = true;
  };
  TaskContext context{loop};
  RunningTask running{handle(), [](std::exception_ptr error) { EXPECT_EQ(error, nullptr); }};
  running.start(context);
  ASSERT_TRUE(run_until([&] { return done && connected.answered(); }));
  EXPECT_FALSE(client.tls_info()->cipher.empty());
}

TEST_F(TornadoTLS, TwoWaitsForTheHandshakeBothComplete) {
  connect("foo.example.com");
  int done = 0;
  const auto handle = [&]() -> Task<> {
    co_await server.wait_for_handshake();
    ++done;
  };
  TaskContext context{loop};
  RunningTask first{handle(), [](std::exception_ptr error) { EXPECT_EQ(error, nullptr); }};
  RunningTask second{handle(), [](std::exception_ptr error) { EXPECT_EQ(error, nullptr); }};
  first.start(context);
  second.start(context);
  EXPECT_EQ(done, 0);
  ASSERT_TRUE(run_until([&] { return done == 2; }));
}

TEST_F(TornadoTLS, TheServersNameIsAccepted) {
  connect("foo.example.com");
  ASSERT_TRUE(run_until([&] { return connected.answered() && server.tls_info(); }));
  EXPECT_TRUE(connected.succeeded());
  EXPECT_EQ(server.tls_info()->server_name, "foo.example.com");
}

TEST_F(TornadoTLS, AnotherNameIsRefusedAndBothSidesSayWhy) {
  std::vector<std::string> errors;
  set_log_level(LogLevel::warning);
  set_log_sink([&](const LogEvent& event) {
    for (const auto& [key, value] : event.fields)
      if (event.name == "tls_failed" && key == "error")
        errors.emplace_back(value);
  });
  connect("bar.example.com");
  TestWait at_server{server, StreamEvent::handshaken};
  ASSERT_TRUE(run_until([&] { return connected.answered() && at_server.answered(); }));
  EXPECT_EQ(connected.error(), tls_error(X509_V_ERR_HOSTNAME_MISMATCH));
  std::sort(errors.begin(), errors.end());
  EXPECT_EQ(errors, (std::vector<std::string>{"hostname mismatch", "sslv3 alert bad certificate"}));
}

TEST_F(TornadoTLS, WithoutACheckAnotherNameIsAccepted) {
  TLSOptions options = client_options();
  options.insecure_skip_name_check = true;
  connect("bar.example.com", options);
  ASSERT_TRUE(run_until([&] { return connected.answered(); }));
  EXPECT_TRUE(connected.succeeded());
}

} // namespace

} // namespace squall
