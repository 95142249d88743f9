// SPDX-License-Identifier: BSD-3-Clause
//
// acceptor_test.cpp: accepting connections, fairly, and with too few descriptors.
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>

#include <fcntl.h>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <sys/resource.h>
#include <sys/un.h>
#include <vector>

namespace squall {

namespace {

using namespace testing_support;

constexpr int accepts_per_turn = 16; // as acceptor.hpp says

/// A unix socket with an abstract name (unix(7)), which leaves no file.
ListeningSocket listen_unix(const std::string& name) {
  Socket socket = checked_socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 2);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(socket.fd(), 16) != 0)
    throw std::system_error{errno, std::generic_category(), "bind"};
  return ListeningSocket{std::move(socket)};
}

Endpoint local_endpoint(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  if (address.ss_family == AF_INET6)
    return {"::1", ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port), AddressFamily::ipv6};
  return {"127.0.0.1", ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port), AddressFamily::ipv4};
}

class AcceptorTest : public testing::Test {
protected:
  void accept_on(const ListeningSocket& socket) {
    acceptor = std::make_unique<Acceptor>(loop, socket, [this](Socket connection, Endpoint peer) {
      accepted.push_back(std::move(connection));
      peers.push_back(std::move(peer));
      if (on_accept)
        on_accept();
    });
  }
  [[nodiscard]] bool wait_for(std::size_t count) {
    return run_until(loop, [&] { return accepted.size() >= count; });
  }

  ManualClock clock;
  EventLoop loop{&clock};
  ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  std::vector<Socket> accepted;
  std::vector<Endpoint> peers;
  std::function<void()> on_accept;
  std::unique_ptr<Acceptor> acceptor;
};

TEST_F(AcceptorTest, AcceptsWhatComesAndWhatWaited) {
  const Socket before = connect_to(listener);
  accept_on(listener);
  ASSERT_TRUE(wait_for(1));
  const Socket after = connect_to(listener);
  ASSERT_TRUE(wait_for(2));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 2u);
  EXPECT_EQ(acceptor->socket(), listener);
}

TEST_F(AcceptorTest, GivesConnectionsInTheOrderOfConnecting) {
  std::vector<Socket> clients;
  for (int i = 0; i < 10; ++i)
    clients.push_back(connect_to(listener));
  accept_on(listener);
  ASSERT_TRUE(wait_for(10));
  for (std::size_t i = 0; i < 10; ++i)
    EXPECT_EQ(peers[i], local_endpoint(clients[i]));
}

TEST_F(AcceptorTest, GivesNonBlockingCloseOnExecSockets) {
  accept_on(listener);
  const Socket client = connect_to(listener);
  ASSERT_TRUE(wait_for(1));
  EXPECT_NE(::fcntl(accepted[0].fd(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_NE(::fcntl(accepted[0].fd(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(AcceptorTest, TellsThePeerOfAnIpv6Connection) {
  std::vector<ListeningSocket> sockets;
  try {
    sockets = bind_sockets(0, "::1");
  } catch (const std::system_error&) {
    GTEST_SKIP() << "no IPv6 here";
  }
  accept_on(sockets.front());
  const Socket client = connect_to(sockets.front());
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(peers[0], local_endpoint(client));
}

TEST_F(AcceptorTest, TellsAnUnnamedPeerOfAUnixConnection) {
  const std::string name = "squall-acceptor-test-" + std::to_string(::getpid());
  const ListeningSocket socket = listen_unix(name);
  EXPECT_EQ(to_string(socket.local_endpoint()), "unix:@" + name);
  accept_on(socket);
  const Socket client = connect_to(socket);
  ASSERT_TRUE(wait_for(1));
  EXPECT_EQ(peers[0], (Endpoint{"", 0, AddressFamily::unix_domain}));
}

TEST_F(AcceptorTest, AcceptsNoMoreThanItsBatchInATurn) {
  std::vector<Socket> clients;
  for (int i = 0; i < 100; ++i)
    clients.push_back(connect_to(listener));
  accept_on(listener);
  for (std::size_t before = 0; accepted.size() < 100; before = accepted.size()) {
    loop.run_once(1h); // does not wait: more are there
    EXPECT_GT(accepted.size(), before);
    EXPECT_LE(accepted.size() - before, static_cast<std::size_t>(accepts_per_turn));
  }
}

TEST_F(AcceptorTest, AcceptsNothingOnceStopped) {
  accept_on(listener);
  acceptor->stop();
  acceptor->stop();
  const Socket client = connect_to(listener);
  run_turns(loop);
  EXPECT_TRUE(accepted.empty());
  EXPECT_GE(listener.fd(), 0) << "stopping does not close";
  accept_on(listener); // another one takes over
  ASSERT_TRUE(wait_for(1));
}

TEST_F(AcceptorTest, MayBeStoppedInTheMiddleOfABatch) {
  std::vector<Socket> clients;
  for (int i = 0; i < 40; ++i)
    clients.push_back(connect_to(listener));
  on_accept = [&] {
    if (accepted.size() == 3)
      acceptor->stop();
  };
  accept_on(listener);
  ASSERT_TRUE(wait_for(3));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 3u);
}

TEST_F(AcceptorTest, AsksBeforeEachAcceptAndLeavesConnectionsInTheKernel) {
  std::vector<Socket> clients;
  for (int i = 0; i < 5; ++i)
    clients.push_back(connect_to(listener));
  accept_on(listener);
  std::size_t room = 3;
  acceptor->set_before_accept([&] {
    if (accepted.size() == room)
      acceptor->set_paused(true);
  });
  ASSERT_TRUE(wait_for(3));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 3U);
  room = 0;
  acceptor->set_paused(false);
  ASSERT_TRUE(wait_for(5));
  clients.push_back(connect_to(listener));
  acceptor->set_before_accept([&] { acceptor->stop(); });
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 5U);
}

TEST_F(AcceptorTest, HasNothingToDoWhenItIsToldToGoOnThoughItNeverStopped) {
  accept_on(listener);
  acceptor->set_before_accept([&] { acceptor->set_paused(false); });
  const Socket client = connect_to(listener);
  ASSERT_TRUE(wait_for(1));
  run_turns(loop);
  const auto begin = std::chrono::steady_clock::now();
  loop.run_once(20ms); // waits: nothing is ready
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 19ms);
}

TEST_F(AcceptorTest, MayBeStoppedBetweenTwoBatches) {
  std::vector<Socket> clients;
  for (int i = 0; i < 40; ++i)
    clients.push_back(connect_to(listener));
  accept_on(listener);
  loop.run_once();
  acceptor.reset();
  const std::size_t before = accepted.size();
  run_turns(loop);
  EXPECT_EQ(accepted.size(), before);
}

TEST_F(AcceptorTest, RefusesAClosedSocket) {
  listener.close();
  EXPECT_THROW(accept_on(listener), std::system_error);
  EXPECT_THROW(accept_on(ListeningSocket{}), std::system_error);
}

TEST_F(AcceptorTest, LeavesOtherDescriptorsAloneWhenItsSocketWasClosedBeforeIt) {
  accept_on(listener);
  const int fd = listener.fd();
  listener.close();
  auto [ours, theirs] = make_socket_pair(); // one of them gets the number of the closed one
  ASSERT_TRUE(ours.fd() == fd || theirs.fd() == fd);
  IOStream stream{loop, std::move(ours.fd() == fd ? ours : theirs)};
  const Socket& peer = ours ? ours : theirs;
  acceptor.reset();
  TestRead read{stream, ReadBytes{1}};
  run_turns(loop);
  ASSERT_EQ(::send(peer.fd(), "x", 1, 0), 1);
  EXPECT_TRUE(run_until(loop, [&] { return read.answered(); })) << "its readiness is told yet";
}

TEST_F(AcceptorTest, EndsWithItsLoop) {
  auto own = std::make_unique<EventLoop>();
  Acceptor short_lived{*own, listener, [](Socket, Endpoint) { FAIL(); }};
  own.reset();
  const Socket client = connect_to(listener);
  short_lived.stop();
}

// UBSan's check of virtual calls needs descriptors itself and takes their lack for a broken object.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool checks_need_descriptors = true;
#else
constexpr bool checks_need_descriptors = false;
#endif

/// Leaves the process `free` descriptors while it lives.
class DescriptorLimit {
public:
  explicit DescriptorLimit(int free) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    // The lowest number that is free, plus some: descriptors are given out from below.
    const int lowest = ::fcntl(0, F_DUPFD_CLOEXEC, 0);
    EXPECT_GE(lowest, 0);
    ::close(lowest);
    set(static_cast<rlim_t>(lowest + free));
  }
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;
  ~DescriptorLimit() { lift(); }
  void lift() { set(before_.rlim_cur); }

private:
  void set(rlim_t most) {
    rlimit limit = before_;
    limit.rlim_cur = most;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  rlimit before_{};
};

class AcceptorWithoutDescriptorsTest : public AcceptorTest {
protected:
  void SetUp() override {
    if (checks_need_descriptors)
      GTEST_SKIP() << "not with UBSan";
  }
};

TEST_F(AcceptorWithoutDescriptorsTest, PausesAndResumes) {
  std::vector<Socket> clients;
  for (int i = 0; i < 5; ++i)
    clients.push_back(connect_to(listener));
  // Holes below would be given out first: fill them.
  std::vector<Socket> fill;
  for (int i = 0; i < 64; ++i)
    fill.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  DescriptorLimit limit{2};
  accept_on(listener);
  ASSERT_TRUE(wait_for(2));
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 2u);
  limit.lift();
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 2u) << "it pauses";
  clock.advance(100ms);
  ASSERT_TRUE(wait_for(5)) << "and resumes by itself, with all that waited";
}

TEST_F(AcceptorWithoutDescriptorsTest, LooksOnceInEachPauseTime) {
  std::vector<Socket> clients;
  clients.push_back(connect_to(listener));
  std::vector<Socket> fill;
  for (int i = 0; i < 64; ++i)
    fill.emplace_back(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  DescriptorLimit limit{0};
  accept_on(listener);
  for (int i = 0; i < 5; ++i) {
    run_turns(loop);
    clock.advance(100ms);
  }
  EXPECT_TRUE(accepted.empty());
  limit.lift();
  run_turns(loop, 2);
  ASSERT_TRUE(wait_for(1));
}

TEST_F(AcceptorWithoutDescriptorsTest, MayBeStoppedWhileItPauses) {
  const Socket client = connect_to(listener);
  {
    const DescriptorLimit limit{0};
    accept_on(listener);
    run_turns(loop);
  }
  acceptor->stop();
  clock.advance(1s);
  run_turns(loop);
  EXPECT_TRUE(accepted.empty());
}

} // namespace

} // namespace squall
