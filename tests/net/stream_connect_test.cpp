// SPDX-License-Identifier: BSD-3-Clause
//
// stream_connect_test.cpp: streams that connect, over TCP and unix sockets.
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/task.hpp>

#include <cstdlib>
#include <filesystem>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>

namespace squall {

namespace {

using namespace testing_support;

std::error_code system_error(int error) { return {error, std::generic_category()}; }

class ConnectTest : public testing::Test {
protected:
  /// The connection that waits at the listener.
  Socket accept() {
    int fd = -1;
    EXPECT_TRUE(run_until(loop, [&] {
      fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      return fd >= 0;
    }));
    return Socket{fd};
  }

  template <class Operation>
  void await(Operation& operation) {
    ASSERT_TRUE(run_until(loop, [&] { return operation.answered(); }));
  }

  /// An address at which nobody listens, and nobody else can while it lives.
  struct Refusing {
    Refusing() {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      EXPECT_EQ(::bind(socket.fd(), reinterpret_cast<sockaddr*>(&address), size), 0);
      EXPECT_EQ(::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
      endpoint = {"127.0.0.1", ntohs(address.sin_port), AddressFamily::ipv4};
    }
    Socket socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    Endpoint endpoint;
  };

  ManualClock clock;
  EventLoop loop{&clock};
  ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  Endpoint address = listener.local_endpoint();
};

TEST_F(ConnectTest, ConnectsAndExchangesBytes) {
  IOStream stream{loop};
  EXPECT_FALSE(stream.connected());
  TestWait connect{stream, Connect{address}};
  await(connect);
  EXPECT_TRUE(connect.succeeded());
  EXPECT_TRUE(stream.connected());
  IOStream peer{loop, accept()};
  TestWrite write{stream, "ping\n"};
  TestRead read{peer, ReadUntil{"\n"}};
  await(read);
  EXPECT_EQ(read.text(), "ping\n");
  EXPECT_EQ(stream.peer_endpoint(), address);
  EXPECT_EQ(stream.local_endpoint(), peer.peer_endpoint());
  EXPECT_EQ(stream.bytes_sent(), 5u);
  EXPECT_EQ(peer.bytes_received(), 5u);
  EXPECT_EQ(connect.answers, 1);
}

TEST_F(ConnectTest, KeepsWritesAndAReadThatBeganBefore) {
  IOStream stream{loop};
  TestWrite early{stream, "early "};
  TestRead read{stream, ReadUntil{"\n"}};
  std::string order;
  early.then = [&] { order += "write "; };
  TestWait connect;
  connect.then = [&] { order += "connect "; };
  connect.take(stream.start_connect(Connect{address}, connect));
  TestWrite late{stream, "late\n"};
  IOStream peer{loop, accept()};
  TestRead both{peer, ReadUntil{"\n"}};
  await(both);
  EXPECT_EQ(both.text(), "early late\n");
  EXPECT_TRUE(early.succeeded());
  EXPECT_TRUE(late.succeeded());
  EXPECT_EQ(order, "connect write ");
  static_cast<void>(peer.write("answer\n"));
  await(read);
  EXPECT_EQ(read.text(), "answer\n");
}

TEST_F(ConnectTest, GivesTheStreamItselfInACoroutine) {
  bool ended = false;
  std::exception_ptr failure;
  TaskContext context{loop};
  std::string line;
  auto run = [](IOStream stream, Endpoint to, std::string& text) -> Task<> {
    IOStream same = co_await stream.connect(to);
    co_await same.write("hello\n");
    EXPECT_EQ(same.bytes_sent() + same.unsent_size(), 6u);
    text = (co_await stream.read_until("\n")).str();
  };
  RunningTask task{run(IOStream{loop}, address, line), [&](std::exception_ptr error) {
                     ended = true;
                     failure = error;
                   }};
  task.start(context);
  IOStream peer{loop, accept()};
  TestRead read{peer, ReadUntil{"\n"}};
  await(read);
  static_cast<void>(peer.write(Bytes{read.text()}));
  ASSERT_TRUE(run_until(loop, [&] { return ended; }));
  EXPECT_EQ(failure, nullptr);
  EXPECT_EQ(line, "hello\n");
}

TEST_F(ConnectTest, TellsACallback) {
  IOStream stream{loop};
  std::vector<bool> outcomes;
  stream.connect(Connect{address}, [&](Result<void> result) { outcomes.push_back(result.has_value()); });
  EXPECT_TRUE(outcomes.empty()) << "never from inside the call";
  ASSERT_TRUE(run_until(loop, [&] { return !outcomes.empty(); }));
  stream.connect(Connect{address}, [&](Result<void> result) { outcomes.push_back(result.has_value()); });
  ASSERT_TRUE(run_until(loop, [&] { return outcomes.size() == 2; }));
  EXPECT_EQ(outcomes, (std::vector{true, false}));
}

TEST_F(ConnectTest, ClosesTheStreamWhenItIsRefused) {
  const Refusing nobody;
  IOStream stream{loop};
  int closes = 0;
  stream.set_close_callback([&] { ++closes; });
  TestWrite write{stream, "lost"};
  TestRead read{stream, ReadBytes{1}};
  TestWait connect{stream, Connect{nobody.endpoint}};
  await(connect);
  const StreamError refused{StreamErrc::closed, CloseReason::transport_error, system_error(ECONNREFUSED)};
  EXPECT_EQ(connect.error(), refused);
  EXPECT_EQ(stream.error(), refused);
  ASSERT_TRUE(run_until(loop, [&] { return closes == 1; }));
  EXPECT_EQ(write.error(), refused);
  EXPECT_EQ(read.error(), refused);
  EXPECT_EQ(connect.answers + write.answers + read.answers, 3);
}

TEST_F(ConnectTest, ThrowsInACoroutineWhenItIsRefused) {
  const Refusing nobody;
  bool ended = false;
  StreamError caught{};
  TaskContext context{loop};
  auto run = [](IOStream stream, Endpoint to, StreamError& got) -> Task<> {
    try {
      co_await stream.connect(to);
    } catch (const StreamClosedError& error) {
      got = error.error();
    }
  };
  RunningTask task{run(IOStream{loop}, nobody.endpoint, caught), [&](std::exception_ptr) { ended = true; }};
  task.start(context);
  ASSERT_TRUE(run_until(loop, [&] { return ended; }));
  EXPECT_EQ(caught.real_error, system_error(ECONNREFUSED));
}

TEST_F(ConnectTest, RefusesWhatIsNoAddressAndLeavesTheStreamAsItWas) {
  IOStream stream{loop};
  const std::vector<Endpoint> wrong{
      {"localhost", 80, AddressFamily::ipv4},
      {"127.0.0.1", 80, AddressFamily::ipv6},
      {"", 80, AddressFamily::ipv4},
      {std::string{"127.0.0.1\0", 10}, 80, AddressFamily::ipv4},
      {"", 0, AddressFamily::unix_domain},
      {std::string(sizeof(sockaddr_un::sun_path), 'x'), 0, AddressFamily::unix_domain}};
  for (const Endpoint& endpoint : wrong) {
    TestWait connect{stream, Connect{endpoint}};
    ASSERT_TRUE(connect.answered()) << endpoint.address;
    EXPECT_EQ(connect.error().code, StreamErrc::invalid_argument) << endpoint.address;
    EXPECT_FALSE(stream.closed());
  }
  TestWait connect{stream, Connect{address}};
  await(connect);
  EXPECT_TRUE(connect.succeeded());
}

TEST_F(ConnectTest, RefusesASecondConnect) {
  IOStream stream{loop};
  TestWait first{stream, Connect{address}};
  TestWait while_connecting{stream, Connect{address}};
  EXPECT_EQ(while_connecting.error().code, StreamErrc::already_connected);
  await(first);
  TestWait when_connected{stream, Connect{address}};
  EXPECT_EQ(when_connected.error().code, StreamErrc::already_connected);
  EXPECT_TRUE(stream.connected());
  stream.close();
  TestWait when_closed{stream, Connect{address}};
  EXPECT_EQ(when_closed.error().code, StreamErrc::closed);
}

TEST_F(ConnectTest, TakesAnAddressOfAnotherFamilyAfterARefusal) {
  IOStream stream{loop};
  TestWait without_scope{stream, Connect{{"fe80::1", 80, AddressFamily::ipv6}}};
  ASSERT_TRUE(without_scope.answered());
  if (stream.closed())
    GTEST_SKIP() << "no IPv6 here: " << to_string(without_scope.error());
  EXPECT_EQ(without_scope.error().code, StreamErrc::invalid_argument);
  TestWait connect{stream, Connect{address}};
  await(connect);
  EXPECT_TRUE(connect.succeeded());
}

TEST_F(ConnectTest, CountsNoIdleTimeBeforeIt) {
  IOStream stream{loop, {.idle_timeout = 1s}};
  clock.advance(10s);
  run_turns(loop);
  EXPECT_FALSE(stream.closed());
  TestWait connect{stream, Connect{address}};
  await(connect);
  clock.advance(1s - 1ms);
  run_turns(loop);
  EXPECT_FALSE(stream.closed());
  clock.advance(1ms);
  run_turns(loop);
  EXPECT_EQ(stream.error().reason, CloseReason::timed_out);
}

/// A listener whose queue is full: connects to it stay in progress.
class StalledConnectTest : public ConnectTest {
protected:
  void SetUp() override {
    listener = bind_sockets(0, "127.0.0.1", {.backlog = 1}).front();
    address = listener.local_endpoint();
    for (int i = 0; i < 8; ++i) {
      fillers.push_back(IOStream{loop});
      TestWait ignored;
      static_cast<void>(fillers.back().start_connect(Connect{address}, ignored));
      run_turns(loop, 2);
      fillers.back().forget_wait(ignored);
    }
  }
  std::vector<IOStream> fillers;
};

TEST_F(StalledConnectTest, EndsAtItsTimeoutAndCloses) {
  IOStream stream{loop};
  TestWait connect{stream, Connect{address, "", 5s}};
  TestWrite write{stream, "lost"};
  clock.advance(5s - 1ms);
  run_turns(loop);
  EXPECT_FALSE(connect.answered());
  clock.advance(1ms);
  run_turns(loop);
  ASSERT_TRUE(connect.answered());
  EXPECT_EQ(connect.error().reason, CloseReason::timed_out);
  EXPECT_EQ(write.error().reason, CloseReason::timed_out);
  EXPECT_TRUE(stream.closed());
}

TEST_F(StalledConnectTest, IsHarmedByNobodyWhoOnlyWaitsForIt) {
  IOStream stream{loop};
  TestWait connect{stream, Connect{address, "", 5s}};
  TestWait observer{stream, StreamEvent::connected, 1s};
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(observer.error().code, StreamErrc::timed_out);
  EXPECT_FALSE(stream.closed());
  stream.forget_wait(connect); // its time goes on
  clock.advance(4s);
  run_turns(loop);
  EXPECT_EQ(stream.error().reason, CloseReason::timed_out);
}

TEST_F(StalledConnectTest, FailsWhenTheStreamIsClosedHere) {
  IOStream stream{loop};
  TestWait connect{stream, Connect{address}};
  TestWrite write{stream, "lost"};
  stream.close();
  EXPECT_FALSE(connect.answered()) << "never from inside the call";
  run_turns(loop);
  const StreamError expected{StreamErrc::closed, CloseReason::local_close, {}};
  EXPECT_EQ(connect.error(), expected);
  EXPECT_EQ(write.error(), expected);
}

TEST_F(StalledConnectTest, IsForgottenWithItsCoroutine) {
  TaskContext context{loop};
  IOStream stream{loop};
  auto run = [](IOStream same, Endpoint to) -> Task<> { co_await same.connect(to); };
  {
    RunningTask task{run(stream, address), [](std::exception_ptr) { ADD_FAILURE(); }};
    task.start(context);
    run_turns(loop);
  }
  run_turns(loop);
  EXPECT_FALSE(stream.closed()) << "the connect goes on";
}

TEST_F(StalledConnectTest, IsAnsweredWhenTheLoopEnds) {
  TestWait connect;
  auto other = std::make_unique<EventLoop>(&clock);
  IOStream stream{*other};
  connect.take(stream.start_connect(Connect{address}, connect));
  ASSERT_FALSE(connect.answered());
  other.reset();
  EXPECT_EQ(connect.answers, 1);
  EXPECT_EQ(connect.error().reason, CloseReason::shutting_down);
}

TEST_F(ConnectTest, SendsWhatIsFlushedWhileItConnects) {
  IOStream stream{loop};
  TestWait connect{stream, Connect{address}};
  TestWrite write{stream, "goodbye"};
  static_cast<void>(stream.close_after_flush(5s));
  IOStream peer{loop, accept()};
  TestRead all{peer, ReadUntilClose{}};
  await(all);
  EXPECT_EQ(all.text(), "goodbye");
  run_turns(loop);
  EXPECT_TRUE(write.succeeded());
}

TEST_F(ConnectTest, AStreamThatWasClosedBeforeIsNoMoreClosedWhenItIsIdle) {
  IOStream stream{loop, {.idle_timeout = 10s}};
  TestWait connect{stream, Connect{address}};
  TestWrite write{stream, "goodbye"};
  static_cast<void>(stream.close_after_flush(5s));
  {
    IOStream peer{loop, accept()};
    TestRead all{peer, ReadUntilClose{}};
    await(all);
  }
  run_turns(loop);
  EXPECT_TRUE(write.succeeded());
  const StreamError error = stream.error();
  clock.advance(10s);
  run_turns(loop);
  clock.advance(10s);
  run_turns(loop);
  EXPECT_EQ(stream.error(), error);
}

TEST_F(ConnectTest, FailsAFlushOfAStreamThatNeverConnects) {
  IOStream stream{loop};
  TestWrite write{stream, "lost"};
  static_cast<void>(stream.close_after_flush(5s));
  run_turns(loop);
  EXPECT_EQ(write.error().reason, CloseReason::local_close);
}

TEST_F(ConnectTest, EndsItsSideOnlyWhenItIsConnected) {
  IOStream stream{loop, {.half_close = true}};
  TestWrite write{stream, "all"};
  static_cast<void>(stream.shutdown_write());
  run_turns(loop);
  EXPECT_FALSE(stream.closed());
  TestWait connect{stream, Connect{address}};
  IOStream peer{loop, accept()};
  TestRead all{peer, ReadUntilClose{}};
  await(all);
  EXPECT_EQ(all.text(), "all");
}

TEST_F(ConnectTest, UsesASocketOfTheUser) {
  const Refusing bound; // bound, and not listening: a source address
  Socket socket{::fcntl(bound.socket.fd(), F_DUPFD_CLOEXEC, 0)};
  IOStream stream{loop, make_unconnected_transport(std::move(socket))};
  TestWait connect{stream, Connect{address}};
  await(connect);
  ASSERT_TRUE(connect.succeeded());
  EXPECT_EQ(stream.local_endpoint(), bound.endpoint);
}

TEST_F(ConnectTest, SetsItsOptionsWhenItIsConnected) {
  IOStream stream{loop, {.nodelay = false}};
  stream.set_nodelay(true); // also before
  stream.set_keep_alive({.idle = 7s, .interval = 3s, .count = 2, .user_timeout = 1500ms});
  auto owned = make_unconnected_transport();
  Transport* transport = owned.get();
  IOStream other{loop,
                 std::move(owned),
                 {.keep_alive = KeepAlive{.idle = 7s, .interval = 3s, .count = 2, .user_timeout = 1500ms}}};
  TestWait connect{other, Connect{address}};
  await(connect);
  const auto option = [&](int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(transport->fileno(), level, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 7);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPINTVL), 3);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPCNT), 2);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_USER_TIMEOUT), 1500);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 1);
  other.set_nodelay(false);
  other.set_keep_alive({.idle = 9s});
  EXPECT_EQ(option(IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE), 9);
}

TEST_F(ConnectTest, ReachesUnixSocketsByPathAndByAbstractName) {
  std::string folder = std::filesystem::temp_directory_path() / "squall-test-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/socket";
  for (const std::string& name : {path, "@squall-test-" + folder}) {
    Socket server{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un bound{};
    bound.sun_family = AF_UNIX;
    ASSERT_LT(name.size(), sizeof bound.sun_path);
    std::copy(name.begin(), name.end(), bound.sun_path);
    if (name.front() == '@')
      bound.sun_path[0] = '\0';
    const auto size =
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name.front() == '@' ? 0 : 1));
    ASSERT_EQ(::bind(server.fd(), reinterpret_cast<sockaddr*>(&bound), size), 0) << name;
    ASSERT_EQ(::listen(server.fd(), 8), 0);
    IOStream stream{loop};
    TestWait connect{stream, Connect{{name, 0, AddressFamily::unix_domain}}};
    await(connect);
    EXPECT_TRUE(connect.succeeded()) << name;
    EXPECT_EQ(stream.peer_endpoint().address, name);
  }
  IOStream nobody{loop};
  TestWait connect{nobody, Connect{{folder + "/none", 0, AddressFamily::unix_domain}}};
  await(connect);
  EXPECT_EQ(connect.error().real_error, system_error(ENOENT));
  std::filesystem::remove_all(folder);
}

} // namespace

} // namespace squall
