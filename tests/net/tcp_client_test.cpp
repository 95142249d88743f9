// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_client_test.cpp: connects by name over loopback, from the lookup to the handshake. A "black hole" is a listening
// socket whose queue is full: it never answers.
//
// | Test of Tornado (tcpclient_test)              | Here                                                          |
// | --------------------------------------------- | ------------------------------------------------------------- |
// | TCPClientTest.test_connect_ipv4_ipv4, _dual,  | TCPClientTest.ConnectsToEachFamily                            |
// | _ipv6_ipv6, _ipv6_dual, _unspec_ipv6,         |                                                               |
// | _unspec_dual                                  |                                                               |
// | .test_refused_ipv4                            | .TellsThatAServerRefuses                                      |
// | .test_source_ip_fail                          | .TellsThatASourceAddressIsNotOurs                             |
// | .test_source_port_fail                        | .TellsThatASourcePortIsNotToBeHad                             |
// | .test_connect_timeout                         | .ALookupThatLastsEndsAtTheTimeout                             |
// | TestConnectorSplit, ConnectorTest             | connect_race_test.cpp                                         |
#include "tests/net/tls_fixture.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/task.hpp>
#include <squall/net/tcp_client.hpp>

#include <algorithm>
#include <array>
#include <list>

namespace squall {

namespace {

using namespace testing_support;

/// A connect that remembers its outcome.
struct TestConnect {
  TCPClient::Callback callback() {
    return [this](ConnectResult result) {
      ++answers;
      outcome.emplace(std::move(result));
    };
  }
  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }
  [[nodiscard]] std::string message() const { return outcome ? outcome->message() : "(no outcome)"; }

  std::optional<ConnectResult> outcome;
  int answers = 0;
};

/// Gives the addresses of the test, or keeps the lookup when there are none.
class TestResolver final : public Resolver {
public:
  explicit TestResolver(Addresses addresses = {}) : addresses_{std::move(addresses)} {}
  void lookup(Resolve request, LookupAnswer answer) override {
    requests.push_back(std::move(request));
    if (addresses_.empty())
      kept.push_back(std::move(answer));
    else
      answer(addresses_);
  }
  std::vector<Resolve> requests;
  std::vector<LookupAnswer> kept;

private:
  Addresses addresses_;
};

bool have_ipv6() {
  try {
    bind_sockets(0, "::1");
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

class TCPClientTest : public TLSTest {
protected:
  /// Accepts streams, of TLS where `context` is one.
  void listen(const std::string& address = "127.0.0.1", AddressFamily family = AddressFamily::unspec,
              const TLSContext& context = {}) {
    acceptors.clear();
    accepted.clear();
    BindOptions options;
    options.family = family;
    for (const ListeningSocket& socket : bind_sockets(0, address, options)) {
      port = socket.local_endpoint().port;
      acceptors.emplace_back(loop, socket, [this, context](Socket connection, const Endpoint& from) {
        peers.push_back(from);
        accepted.push_back(context ? IOStream{loop, std::move(connection), context}
                                   : IOStream{loop, std::move(connection)});
      });
    }
  }

  TestConnect& connect(const std::string& host, const ConnectOptions& options = ConnectOptions{}) {
    TestConnect& made = connects.emplace_back();
    client.connect(host, port, options, made.callback());
    EXPECT_FALSE(made.answered()) << "answered inside the call";
    return made;
  }
  TestConnect& connect_to_end(const std::string& host, const ConnectOptions& options = ConnectOptions{}) {
    TestConnect& made = connect(host, options);
    EXPECT_TRUE(run_until([&] { return made.answered(); }));
    return made;
  }

  /// What the client writes is what the server reads.
  void expect_works(TestConnect& made) {
    ASSERT_TRUE(made.succeeded()) << made.message();
    ASSERT_TRUE(run_until([&] { return !accepted.empty(); }));
    IOStream stream = made.outcome->value();
    const TestWrite write{stream, "hello"};
    TestRead read{accepted.back(), ReadBytes{5}};
    ASSERT_TRUE(run_until([&] { return read.answered(); }));
    EXPECT_EQ(read.text(), "hello");
  }

  /// An endpoint that takes no connection and refuses none.
  Endpoint make_black_hole() {
    BindOptions options;
    options.backlog = 1;
    black_holes.push_back(bind_sockets(0, "127.0.0.1", options).front());
    for (int i = 0; i < 2; ++i) // listen(2): Linux takes one more than the backlog
      in_the_queue.push_back(connect_to(black_holes.back()));
    return black_holes.back().local_endpoint();
  }
  /// A port that nobody listens on.
  static Endpoint refusing() {
    ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
    Endpoint endpoint = socket.local_endpoint();
    socket.close();
    return endpoint;
  }

  std::uint16_t port = 0;
  std::list<Acceptor> acceptors;
  std::vector<IOStream> accepted;
  std::vector<Endpoint> peers;
  std::vector<ListeningSocket> black_holes;
  std::vector<Socket> in_the_queue;
  std::list<TestConnect> connects;
  TCPClient client{loop};
};

TEST_F(TCPClientTest, ConnectsToEachFamily) {
  struct Case {
    const char* listen_on;
    AddressFamily listen_family;
    const char* host;
    AddressFamily family;
  };
  for (const Case& each : {Case{"127.0.0.1", AddressFamily::ipv4, "127.0.0.1", AddressFamily::ipv4},
                           Case{"127.0.0.1", AddressFamily::ipv4, "localhost", AddressFamily::ipv4},
                           Case{"localhost", AddressFamily::unspec, "localhost", AddressFamily::unspec},
                           Case{"::1", AddressFamily::ipv6, "::1", AddressFamily::ipv6},
                           Case{"", AddressFamily::unspec, "::1", AddressFamily::unspec}}) {
    if (each.host == std::string{"::1"} && !have_ipv6())
      GTEST_SKIP() << "no IPv6 here";
    SCOPED_TRACE(std::string{each.listen_on} + " " + each.host);
    listen(each.listen_on, each.listen_family);
    ConnectOptions options;
    options.family = each.family;
    TestConnect& made = connect_to_end(each.host, options);
    expect_works(made);
    EXPECT_EQ(made.outcome->attempts().back().error, std::error_code{});
    EXPECT_EQ(made.answers, 1);
  }
}

// "localhost" has no IPv6 address where /etc/hosts says so: the address comes from a resolver of the test.
TEST_F(TCPClientTest, ConnectsToANameThatIsIPv6) {
  if (!have_ipv6())
    GTEST_SKIP() << "no IPv6 here";
  listen("::1", AddressFamily::ipv6);
  client = TCPClient{loop, std::make_shared<OverrideResolver>(default_resolver(),
                                                              std::vector{HostOverride{"localhost", "::1"}})};
  ConnectOptions options;
  options.family = AddressFamily::ipv6;
  expect_works(connect_to_end("localhost", options));
}

TEST_F(TCPClientTest, TellsThatAServerRefuses) {
  port = refusing().port;
  const TestConnect& made = connect_to_end("127.0.0.1");
  EXPECT_EQ(made.error(), (StreamError{StreamErrc::closed, CloseReason::transport_error,
                                       std::make_error_code(std::errc::connection_refused)}));
  const std::string address = "127.0.0.1:" + std::to_string(port);
  EXPECT_EQ(made.message(), "cannot connect to 127.0.0.1 port " + std::to_string(port) +
                                ": stream is closed: error of the transport (Connection refused); tried " +
                                address + " (Connection refused)");
  try {
    made.outcome->value();
    FAIL() << "no exception";
  } catch (const StreamClosedError& error) {
    EXPECT_EQ(error.real_error(), std::errc::connection_refused);
    EXPECT_EQ(error.what(), made.message());
  }
}

TEST_F(TCPClientTest, GivesTheErrorOfTheResolver) {
  const TestConnect& made = connect_to_end("an invalid domain");
  EXPECT_EQ(made.error().code, StreamErrc::lookup_failed);
  EXPECT_EQ(made.error().real_error.category(), lookup_category());
  EXPECT_THROW(made.outcome->value(), LookupError);
  EXPECT_TRUE(made.outcome->attempts().empty());
}

class RuleC8Connect : public TCPClientTest {};
TEST_F(RuleC8Connect, RefusesImpossibleHosts) {
  listen();
  for (const std::string& host : {std::string{}, std::string{"127.0.0.1\0.example.com", 22},
                                  std::string(254, 'a'), std::string(64, 'a')})
    EXPECT_EQ(connect_to_end(host).error().code, StreamErrc::invalid_argument) << host.size();
  EXPECT_TRUE(accepted.empty());
}

// -- the source

TEST_F(TCPClientTest, ConnectsFromASourceAddressAndPort) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    if (host == "::1" && !have_ipv6())
      GTEST_SKIP() << "no IPv6 here";
    listen(host);
    ListeningSocket probe = bind_sockets(0, host).front();
    ConnectOptions options;
    options.source_port = probe.local_endpoint().port;
    probe.close();
    options.source_ip = host == "::1" ? host : "127.0.0.5";
    expect_works(connect_to_end(host, options));
    EXPECT_EQ(peers.back().address, options.source_ip);
    EXPECT_EQ(peers.back().port, options.source_port);
    options.source_port = 0;
    expect_works(connect_to_end(host, options));
    EXPECT_EQ(peers.back().address, options.source_ip);
  }
}

TEST_F(TCPClientTest, ConnectsFromASourcePortAlone) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    if (host == "::1" && !have_ipv6())
      GTEST_SKIP() << "no IPv6 here";
    listen(host);
    ListeningSocket probe = bind_sockets(0, host).front();
    ConnectOptions options;
    options.source_port = probe.local_endpoint().port;
    probe.close();
    expect_works(connect_to_end(host, options));
    EXPECT_EQ(peers.back().port, options.source_port);
  }
}

/// Both sides of a socket that connects to its own port open at once, and it is its own peer (RFC 9293, 3.5).
TEST_F(TCPClientTest, ASocketThatMeetsItselfMeetsNobody) {
  for (const std::string host : {"127.0.0.1", "::1"}) {
    if (host == "::1" && !have_ipv6())
      GTEST_SKIP() << "no IPv6 here";
    ListeningSocket probe = bind_sockets(0, host).front();
    ConnectOptions options;
    options.source_port = probe.local_endpoint().port;
    options.source_ip = host;
    probe.close();
    for (int times = 0; times < 2; ++times) { // nor does it leave the port in use
      port = options.source_port;
      const TestConnect& made = connect_to_end(host, options);
      EXPECT_EQ(made.error(), (StreamError{StreamErrc::closed, CloseReason::transport_error,
                                           std::make_error_code(std::errc::connection_refused)}));
    }
    EXPECT_NO_THROW(bind_sockets(options.source_port, host));
  }
}

TEST_F(TCPClientTest, TellsThatASourceAddressIsNotOurs) {
  listen();
  ConnectOptions options;
  options.source_ip = "8.8.8.8";
  const TestConnect& made = connect_to_end("127.0.0.1", options);
  EXPECT_EQ(made.error(), (StreamError{StreamErrc::closed, CloseReason::transport_error,
                                       std::make_error_code(std::errc::address_not_available)}));
}

TEST_F(TCPClientTest, TellsThatASourcePortIsNotToBeHad) {
  listen();
  const ListeningSocket taken = bind_sockets(0, "").front(); // who may use port 1 depends on the machine
  ConnectOptions options;
  options.source_port = taken.local_endpoint().port;
  const TestConnect& made = connect_to_end("127.0.0.1", options);
  EXPECT_EQ(made.error().real_error, std::errc::address_in_use);
}

class WeakSpot25Client : public TCPClientTest {};

TEST_F(WeakSpot25Client, TheSourceAddressChoosesTheFamily) {
  listen();
  const auto resolver = std::make_shared<TestResolver>(Addresses{{"127.0.0.1", port, AddressFamily::ipv4}});
  client = TCPClient{loop, resolver};
  ConnectOptions options;
  options.source_ip = "127.0.0.1";
  expect_works(connect_to_end("both.example", options));
  EXPECT_EQ(resolver->requests.at(0).family, AddressFamily::ipv4);
  options.family = AddressFamily::ipv6;
  EXPECT_EQ(connect_to_end("both.example", options).error().code, StreamErrc::invalid_argument);
}

TEST_F(WeakSpot25Client, AnEmptyAnswerIsAnError) {
  const auto resolver = std::make_shared<TestResolver>();
  client = TCPClient{loop, resolver};
  TestConnect& made = connect("empty.example");
  resolver->kept.at(0)(Addresses{});
  ASSERT_TRUE(run_until([&] { return made.answered(); }));
  EXPECT_EQ(made.error(),
            (StreamError{StreamErrc::lookup_failed, CloseReason::none, LookupErrc::no_address}));
}

TEST_F(WeakSpot25Client, ABlackHoleDoesNotHoldUpTheNextAddressOfItsFamily) {
  listen();
  client = TCPClient{loop, std::make_shared<TestResolver>(
                               Addresses{make_black_hole(), {"127.0.0.1", port, AddressFamily::ipv4}})};
  TestConnect& made = connect("two.example");
  run_turns(loop);
  EXPECT_FALSE(made.answered());
  clock.advance(250ms);
  ASSERT_TRUE(run_until([&] { return made.answered(); }));
  expect_works(made);
  ASSERT_EQ(made.outcome->attempts().size(), 2u);
  EXPECT_EQ(made.outcome->attempts().front().error, std::errc::operation_canceled);
}

TEST_F(WeakSpot25Client, TellsWhatEveryAddressSaid) {
  const Endpoint first = refusing();
  client = TCPClient{
      loop, std::make_shared<TestResolver>(Addresses{first, {"not a number", 1, AddressFamily::ipv4}})};
  const TestConnect& made = connect_to_end("two.example");
  EXPECT_EQ(made.error().real_error, std::errc::connection_refused);
  EXPECT_NE(
      made.message().find(to_string(first) + " (Connection refused), not a number:1 (Invalid argument)"),
      std::string::npos)
      << made.message();
}

TEST_F(TCPClientTest, RefusesOptionsThatCanNeverWork) {
  listen();
  ConnectOptions options;
  options.source_ip = "localhost";
  EXPECT_EQ(connect_to_end("127.0.0.1", options).message(), "cannot connect to 127.0.0.1 port " +
                                                                std::to_string(port) +
                                                                ": source_ip is no IPv4 or IPv6 address");
  options = {};
  options.family = AddressFamily::unix_domain;
  EXPECT_EQ(connect_to_end("/tmp/socket", options).error().code, StreamErrc::invalid_argument);
  options = {};
  options.tls = server_context<TLSVersion::tls_1_3>();
  EXPECT_EQ(connect_to_end("127.0.0.1", options).error().code, StreamErrc::invalid_argument);
}

// -- TLS

TEST_F(TCPClientTest, SpeaksTLSAndVerifiesTheHost) {
  listen("127.0.0.1", AddressFamily::ipv4, server_context<TLSVersion::tls_1_3>());
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  options.family = AddressFamily::ipv4;
  for (const char* host : {"localhost", "127.0.0.1"}) {
    TestConnect& made = connect_to_end(host, options);
    expect_works(made);
    EXPECT_TRUE(made.succeeded() && made.outcome->value().tls_info());
  }
}

TEST_F(TCPClientTest, VerifiesTheNameThatItIsGiven) {
  listen("127.0.0.1", AddressFamily::ipv4, server_context<TLSVersion::tls_1_3>());
  client = TCPClient{
      loop, std::make_shared<TestResolver>(Addresses{{"127.0.0.1", port, AddressFamily::ipv4}, refusing()})};
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  const TestConnect& wrong = connect_to_end("other.example", options);
  EXPECT_EQ(wrong.error().reason, CloseReason::tls_failed);
  EXPECT_EQ(wrong.outcome->attempts().size(), 1u)
      << "a server that is not the right one is no reason to ask another";
  for (const char* name : {"localhost", "localhost."}) {
    options.server_hostname = name;
    expect_works(connect_to_end("other.example", options));
  }
}

TEST_F(TCPClientTest, TheNameMustBeOne) {
  listen();
  client =
      TCPClient{loop, std::make_shared<TestResolver>(Addresses{{"127.0.0.1", port, AddressFamily::ipv4}})};
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  options.server_hostname = "not a name";
  EXPECT_EQ(connect_to_end("host.example", options).error().code, StreamErrc::server_hostname);
}

// -- one deadline

TEST_F(TCPClientTest, ALookupThatLastsEndsAtTheTimeout) {
  const auto resolver = std::make_shared<TestResolver>();
  client = TCPClient{loop, resolver};
  ConnectOptions options;
  options.timeout = 50ms;
  TestConnect& made = connect("never.example", options);
  clock.advance(49ms);
  run_turns(loop);
  EXPECT_FALSE(made.answered());
  clock.advance(1ms);
  run_turns(loop);
  EXPECT_EQ(made.error(), (StreamError{StreamErrc::timed_out, CloseReason::none, {}}));
  EXPECT_THROW(made.outcome->value(), TimeoutError);
  EXPECT_EQ(made.message(),
            "cannot connect to never.example port 0: the time of the operation is over during the lookup");
  EXPECT_FALSE(resolver->kept.at(0).wanted());
}

TEST_F(TCPClientTest, AConnectThatLastsEndsAtTheTimeout) {
  const Endpoint hole = make_black_hole();
  const int before = descriptor_count();
  client = TCPClient{loop, std::make_shared<TestResolver>(Addresses{hole, hole})};
  ConnectOptions options;
  options.timeout = 1s;
  TestConnect& made = connect("hole.example", options);
  run_turns(loop);
  clock.advance(250ms);
  run_turns(loop);
  EXPECT_EQ(descriptor_count(), before + 2);
  clock.advance(750ms);
  run_turns(loop);
  EXPECT_EQ(made.error().code, StreamErrc::timed_out);
  EXPECT_EQ(made.outcome->attempts().size(), 2u);
  EXPECT_EQ(made.outcome->attempts().back().error, std::errc::timed_out);
  EXPECT_EQ(descriptor_count(), before);
}

TEST_F(TCPClientTest, AHandshakeThatLastsEndsAtTheTimeoutAndLeavesNothing) {
  listen(); // which never answers the handshake
  const int before = descriptor_count();
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  options.timeout = 1s;
  TestConnect& made = connect("127.0.0.1", options);
  ASSERT_TRUE(run_until([&] { return !accepted.empty() && accepted.front().connected(); }));
  TestRead hello{accepted.front(), ReadBytes{1}};
  ASSERT_TRUE(run_until([&] { return hello.answered(); })) << "the handshake has begun";
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(made.error().code, StreamErrc::timed_out);
  EXPECT_NE(made.message().find("during the TLS handshake; tried 127.0.0.1:"), std::string::npos)
      << made.message();
  accepted.clear();
  EXPECT_EQ(descriptor_count(), before);
}

TEST_F(TCPClientTest, TheTimeoutIsThatOfTheHandshakeTooAlsoWhereItIsLonger) {
  listen(); // which never answers the handshake
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>(); // whose own timeout is 10 s
  options.timeout = 60s;
  TestConnect& made = connect("127.0.0.1", options);
  ASSERT_TRUE(run_until([&] { return !accepted.empty() && accepted.front().connected(); }));
  TestRead hello{accepted.front(), ReadBytes{1}};
  ASSERT_TRUE(run_until([&] { return hello.answered(); })) << "the handshake has begun";
  clock.advance(59s);
  run_turns(loop);
  EXPECT_FALSE(made.answered());
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(made.error().code, StreamErrc::timed_out);
}

TEST_F(TCPClientTest, NeedsAResolver) { EXPECT_THROW((TCPClient{loop, nullptr}), std::invalid_argument); }

TEST_F(TCPClientTest, TheDeadlineSpansAllSteps) {
  listen();
  const auto resolver = std::make_shared<TestResolver>();
  client = TCPClient{loop, resolver};
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  options.timeout = 10s;
  TestConnect& made = connect("slow.example", options);
  clock.advance(9s);
  run_turns(loop);
  resolver->kept.at(0)(Addresses{{"127.0.0.1", port, AddressFamily::ipv4}});
  ASSERT_TRUE(run_until([&] { return !accepted.empty(); }));
  run_turns(loop);
  EXPECT_FALSE(made.answered());
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(made.error().code, StreamErrc::timed_out);
}

// -- its end

TEST_F(TCPClientTest, IsCancelledInEachStepAndLeavesNothing) {
  listen();
  const Endpoint hole = make_black_hole();
  const int before = descriptor_count();
  TestConnect outcome;
  ConnectOptions options;
  options.tls = client_context<TLSVersion::tls_1_3>();
  const auto held = std::make_shared<TestResolver>();
  { // while it is looked up
    const PendingConnect pending =
        TCPClient{loop, held}.start_connect("a", port, options, outcome.callback());
    run_turns(loop);
  }
  EXPECT_FALSE(held->kept.at(0).wanted());
  { // while it connects
    const PendingConnect pending =
        TCPClient{loop, std::make_shared<TestResolver>(Addresses{hole, hole})}.start_connect(
            "a", 1, options, outcome.callback());
    run_turns(loop);
    clock.advance(250ms);
    run_turns(loop);
    EXPECT_EQ(descriptor_count(), before + 2);
  }
  EXPECT_EQ(descriptor_count(), before);
  { // during the handshake
    const PendingConnect pending = client.start_connect("127.0.0.1", port, options, outcome.callback());
    ASSERT_TRUE(run_until([&] { return !accepted.empty(); }));
    run_turns(loop);
  }
  accepted.clear();
  EXPECT_EQ(descriptor_count(), before);
  { // when it is connected and not told yet, at the latest
    options.tls = {};
    std::optional<PendingConnect> pending =
        client.start_connect("127.0.0.1", port, options, outcome.callback());
    ASSERT_TRUE(run_until([&] { return !accepted.empty(); }));
    pending.reset();
  }
  accepted.clear();
  run_turns(loop);
  EXPECT_EQ(descriptor_count(), before);
  EXPECT_LE(outcome.answers, 1);
}

TEST_F(TCPClientTest, EndsWithItsLoop) {
  const Endpoint hole = make_black_hole();
  const int before = descriptor_count();
  std::array<TestConnect, 2> outcomes;
  {
    EventLoop other;
    TCPClient{other, std::make_shared<TestResolver>()}.connect("a", 1, {}, outcomes[0].callback());
    TCPClient{other, std::make_shared<TestResolver>(Addresses{hole, hole})}.connect("a", 1, {},
                                                                                    outcomes[1].callback());
    run_turns(other);
  }
  for (const TestConnect& outcome : outcomes)
    EXPECT_EQ(outcome.error(), (StreamError{StreamErrc::closed, CloseReason::shutting_down, {}}));
  EXPECT_EQ(descriptor_count(), before);
}

TEST_F(TCPClientTest, GoesOnWithoutItsClientAndItsResolver) {
  listen();
  TestConnect made;
  TCPClient{loop, std::make_shared<ThreadedResolver>()}.connect("localhost", port, {}, made.callback());
  ASSERT_TRUE(run_until([&] { return made.answered(); }));
  expect_works(made);
}

TEST_F(TCPClientTest, TheStreamHasTheOptions) {
  listen();
  ConnectOptions options;
  options.stream.max_write_buffer_size = 10;
  TestConnect& made = connect_to_end("127.0.0.1", options);
  ASSERT_TRUE(made.succeeded());
  IOStream stream = made.outcome->value();
  EXPECT_EQ(TestWrite(stream, "more than ten bytes").error().code, StreamErrc::buffer_full);
}

// -- awaited

TEST_F(TCPClientTest, IsAwaited) {
  listen();
  std::string log;
  const auto body = [&]() -> Task<> {
    IOStream stream = co_await client.connect("localhost", port);
    co_await stream.write("hello");
    try {
      co_await client.connect(std::string(64, 'a'), port);
    } catch (const StreamUsageError& error) {
      log += error.what();
    }
    const ConnectResult result = co_await client.connect("localhost", port, ConnectOptions{}).as_result();
    log += result ? " connected" : " failed";
    TCPClient held{loop, std::make_shared<TestResolver>()};
    co_await held.connect("never.example", port);
    log += " resumed";
  };
  TaskContext context{loop};
  std::optional<RunningTask> task;
  task.emplace(body(), [](std::exception_ptr) {});
  task->start(context);
  ASSERT_TRUE(run_until([&] { return log.find("connected") != std::string::npos; }));
  TestRead read{accepted.front(), ReadBytes{5}};
  ASSERT_TRUE(run_until([&] { return read.answered(); }));
  EXPECT_EQ(read.text(), "hello");
  task.reset();
  run_turns(loop);
  EXPECT_NE(log.find("has at most 63 bytes) connected"), std::string::npos) << log;
}

TEST_F(TCPClientTest, ManyConnectsAtOnceAreEachAnsweredOnce) {
  listen();
  const int before = descriptor_count();
  for (int i = 0; i < 200; ++i)
    connect(i % 4 == 0 ? "localhost" : i % 4 == 1 ? "127.0.0.1" : i % 4 == 2 ? "an invalid domain" : "");
  ASSERT_TRUE(run_until([&] {
    return std::all_of(connects.begin(), connects.end(), [](const auto& made) { return made.answered(); });
  }));
  int succeeded = 0;
  for (TestConnect& made : connects) {
    EXPECT_EQ(made.answers, 1);
    succeeded += made.succeeded() ? 1 : 0;
  }
  EXPECT_EQ(succeeded, 100);
  connects.clear();
  ASSERT_TRUE(run_until([&] { return accepted.size() >= 100; }));
  accepted.clear();
  EXPECT_EQ(descriptor_count(), before);
}

} // namespace

} // namespace squall
