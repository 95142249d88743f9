// SPDX-License-Identifier: BSD-3-Clause
//
// socket_test.cpp: owning descriptors, binding, listening sockets, endpoints.
#include "net/socket_api.hpp"
#include "tests/net/support.hpp"
#include <squall/net/socket.hpp>

#include <fcntl.h>
#include <netinet/in.h>
#include <set>
#include <stdexcept>
#include <string>
#include <sys/un.h>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

void expect_prepared(int fd) {
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << "close-on-exec";
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0) << "non-blocking";
}

int socket_option(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

bool have_ipv6() {
  try {
    bind_sockets(0, "::1");
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

/// The text of the exception of bind_sockets, "" where there is none.
std::string bind_failure(std::uint16_t port, const std::string& address, const BindOptions& options = {}) {
  try {
    bind_sockets(port, address, options);
    return "";
  } catch (const std::system_error& error) {
    return error.what();
  }
}

// -- Socket

TEST(Socket, ClosesItsDescriptorWhenItGoes) {
  int fd = -1;
  {
    auto [one, two] = make_socket_pair();
    fd = one.fd();
    EXPECT_TRUE(static_cast<bool>(one));
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(Socket, MovesItsDescriptor) {
  auto [one, two] = make_socket_pair();
  const int fd_one = one.fd();
  const int fd_two = two.fd();
  Socket moved{std::move(one)};
  EXPECT_EQ(moved.fd(), fd_one);
  EXPECT_FALSE(static_cast<bool>(one)); // NOLINT(bugprone-use-after-move)
  moved = std::move(two);
  EXPECT_EQ(moved.fd(), fd_two);
  EXPECT_FALSE(is_open(fd_one)) << "what it held before";
  Socket& same = moved;
  moved = std::move(same);
  EXPECT_TRUE(is_open(fd_two));
  const Socket owner{moved.release()};
  EXPECT_EQ(moved.fd(), -1);
  EXPECT_TRUE(is_open(fd_two));
}

TEST(Socket, MayBeResetTwice) {
  auto [one, two] = make_socket_pair();
  one.reset();
  one.reset();
  EXPECT_FALSE(static_cast<bool>(one));
  Socket{}.reset();
}

// -- bind_sockets

TEST(BindSockets, ChoosesAPortThatAllItsSocketsShare) {
  const auto sockets = bind_sockets(0);
  ASSERT_FALSE(sockets.empty());
  EXPECT_EQ(sockets.size(), have_ipv6() ? 2u : 1u);
  const std::uint16_t port = sockets.front().local_endpoint().port;
  EXPECT_NE(port, 0);
  for (const ListeningSocket& socket : sockets)
    EXPECT_EQ(socket.local_endpoint().port, port);
  EXPECT_EQ(sockets.front().local_endpoint(), (Endpoint{"0.0.0.0", port, AddressFamily::ipv4}))
      << "IPv4 first";
  if (sockets.size() > 1) {
    EXPECT_EQ(sockets.back().local_endpoint(), (Endpoint{"::", port, AddressFamily::ipv6}));
  }
}

TEST(BindSockets, MakesEveryDescriptorNonBlockingAndCloseOnExec) {
  for (const ListeningSocket& socket : bind_sockets(0))
    expect_prepared(socket.fd());
}

TEST(BindSockets, KeepsIpv6SocketsToIpv6) {
  if (!have_ipv6())
    GTEST_SKIP() << "no IPv6 here";
  const auto sockets = bind_sockets(0, "::1");
  EXPECT_EQ(socket_option(sockets.front().fd(), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  EXPECT_EQ(to_string(sockets.front().local_endpoint()),
            "[::1]:" + std::to_string(sockets.front().local_endpoint().port));
}

TEST(BindSockets, BindsOnlyTheFamilyAskedFor) {
  const auto four = bind_sockets(0, "", {.family = AddressFamily::ipv4});
  ASSERT_EQ(four.size(), 1u);
  EXPECT_EQ(four.front().local_endpoint().family, AddressFamily::ipv4);
  if (!have_ipv6())
    return;
  const auto six = bind_sockets(0, "", {.family = AddressFamily::ipv6});
  ASSERT_EQ(six.size(), 1u);
  EXPECT_EQ(six.front().local_endpoint().family, AddressFamily::ipv6);
}

TEST(BindSockets, LooksNamesUp) {
  const auto sockets = bind_sockets(0, "localhost");
  ASSERT_FALSE(sockets.empty());
  std::set<std::string> addresses;
  for (const ListeningSocket& socket : sockets)
    EXPECT_TRUE(addresses.insert(socket.local_endpoint().address).second) << "no duplicates";
  EXPECT_TRUE(addresses.contains("127.0.0.1") || addresses.contains("::1"));
}

TEST(BindSockets, NamesTheAddressThatIsTaken) {
  const auto sockets = bind_sockets(0, "127.0.0.1");
  const std::uint16_t port = sockets.front().local_endpoint().port;
  try {
    bind_sockets(port, "127.0.0.1");
    FAIL() << "bound twice";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::address_in_use);
    EXPECT_NE(std::string{error.what()}.find("127.0.0.1:" + std::to_string(port)), std::string::npos)
        << error.what();
  }
}

TEST(BindSockets, ClosesWhatItBoundWhenALaterAddressFails) {
  if (!have_ipv6())
    GTEST_SKIP() << "no IPv6 here";
  const auto taken = bind_sockets(0, "::1");
  const std::uint16_t port = taken.front().local_endpoint().port;
  EXPECT_NE(bind_failure(port, ""), "") << "the port is taken in one family";
  EXPECT_NO_THROW(bind_sockets(port, "127.0.0.1")) << "the other one is free again";
}

TEST(BindSockets, SharesAPortWhereThatIsAskedFor) {
  const auto first = bind_sockets(0, "127.0.0.1", {.reuse_port = true});
  const std::uint16_t port = first.front().local_endpoint().port;
  const auto second = bind_sockets(port, "127.0.0.1", {.reuse_port = true});
  EXPECT_EQ(second.front().local_endpoint().port, port);
  EXPECT_NE(bind_failure(port, "127.0.0.1"), "") << "both must ask";
}

TEST(BindSockets, BindsAPortAgainOnceItIsClosed) {
  auto sockets = bind_sockets(0, "127.0.0.1");
  const std::uint16_t port = sockets.front().local_endpoint().port;
  const Socket client = connect_to(sockets.front());
  sockets.front().close();
  EXPECT_NO_THROW(bind_sockets(port, "127.0.0.1"));
}

TEST(BindSockets, TakesABacklogFrom1To65535) {
  for (const int backlog : {1, 128, 65535})
    EXPECT_NO_THROW(bind_sockets(0, "127.0.0.1", {.backlog = backlog}));
  for (const int backlog : {-1, 0, 65536})
    EXPECT_THROW(bind_sockets(0, "127.0.0.1", {.backlog = backlog}), std::invalid_argument);
}

TEST(BindSockets, RefusesAnAddressWithANulByte) {
  EXPECT_THROW(bind_sockets(0, std::string{"127.0.0.1\0.example", 18}), std::invalid_argument);
}

TEST(BindSockets, RefusesTheFamilyOfUnixSockets) {
  EXPECT_THROW(bind_sockets(0, "", {.family = AddressFamily::unix_domain}), std::invalid_argument);
}

TEST(BindSockets, FailsForAnAddressThatIsNotOfThisMachine) {
  EXPECT_NE(bind_failure(0, "192.0.2.1").find("192.0.2.1"), std::string::npos); // TEST-NET-1, RFC 5737
}

TEST(BindSockets, FailsForAnAddressThatIsNone) {
  for (const char* address : {"256.1.1.1", "no such host", "1.2.3.4 "})
    EXPECT_NE(bind_failure(0, address).find(address), std::string::npos) << bind_failure(0, address);
}

// -- ListeningSocket

TEST(ListeningSocket, IsEmptyByDefault) {
  ListeningSocket socket;
  EXPECT_EQ(socket.fd(), -1);
  EXPECT_EQ(socket.local_endpoint(), Endpoint{});
  EXPECT_EQ(to_string(socket.local_endpoint()), "unknown");
  socket.close();
}

TEST(ListeningSocket, ClosesForEveryCopy) {
  ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
  ListeningSocket copy = socket;
  EXPECT_EQ(copy, socket);
  EXPECT_EQ(copy.fd(), socket.fd());
  const int fd = socket.fd();
  const Endpoint endpoint = socket.local_endpoint();
  copy.close();
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(socket.fd(), -1);
  EXPECT_EQ(socket.local_endpoint(), endpoint) << "it is known yet";
  socket.close(); // harmless
}

TEST(ListeningSocket, ClosesWithItsLastCopy) {
  int fd = -1;
  {
    ListeningSocket copy;
    {
      const ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
      fd = socket.fd();
      copy = socket;
    }
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(ListeningSocket, ClosesOnceWhenManyThreadsCloseIt) {
  const ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([copy = socket]() mutable { copy.close(); });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(socket.fd(), -1);
}

TEST(ListeningSocket, TakesOverADescriptorThatListens) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0); // blocking, and not close-on-exec
  ASSERT_EQ(::listen(fd, 1), 0);
  const ListeningSocket socket{Socket{fd}};
  EXPECT_EQ(socket.fd(), fd);
  EXPECT_NE(socket.local_endpoint().port, 0);
  expect_prepared(fd);
}

TEST(ListeningSocket, RefusesAndClosesADescriptorThatDoesNotListen) {
  auto [one, two] = make_socket_pair();
  const int fd = one.fd();
  EXPECT_THROW(ListeningSocket{std::move(one)}, std::system_error);
  EXPECT_FALSE(is_open(fd));
  EXPECT_THROW(ListeningSocket{Socket{}}, std::system_error);
  EXPECT_THROW(ListeningSocket{Socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)}}, std::system_error);
}

// -- Endpoint

TEST(Endpoint, IsShownByItsFamily) {
  EXPECT_EQ(to_string(Endpoint{"127.0.0.1", 80, AddressFamily::ipv4}), "127.0.0.1:80");
  EXPECT_EQ(to_string(Endpoint{"::1", 80, AddressFamily::ipv6}), "[::1]:80");
  EXPECT_EQ(to_string(Endpoint{"/run/x.sock", 0, AddressFamily::unix_domain}), "unix:/run/x.sock");
  EXPECT_EQ(to_string(Endpoint{}), "unknown");
}

TEST(SocketTransport, MakesItsSocketNonBlockingAndCloseOnExec) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  const Socket other{fds[1]};
  const auto transport = make_socket_transport(Socket{fds[0]});
  expect_prepared(transport->fileno());
  EXPECT_FALSE(transport->get_fd_error());
  transport->set_nodelay(true); // nothing on a unix socket
}

TEST(SocketTransport, SwitchesNodelay) {
  auto [ours, theirs] = make_tcp_pair();
  const auto transport = make_socket_transport(std::move(ours));
  for (const bool value : {true, false, true}) {
    transport->set_nodelay(value);
    EXPECT_EQ(socket_option(transport->fileno(), IPPROTO_TCP, 1 /* TCP_NODELAY, tcp(7) */) != 0, value);
  }
}

TEST(SocketTransport, RefusesADescriptorThatIsNone) {
  EXPECT_THROW(make_socket_transport(Socket{}), std::system_error);
}

TEST(SocketTransport, RaisesNoSignalWhenThePeerIsGone) {
  auto [ours, theirs] = make_socket_pair();
  theirs.reset();
  const auto transport = make_socket_transport(std::move(ours));
  const IoSlice pieces[] = {{"a", 1}, {"b", 1}};
  for (const std::size_t count : {std::size_t{1}, std::size_t{2}}) {
    const IoResult result = transport->write_to_fd(pieces, count);
    EXPECT_EQ(result.status, IoResult::Status::failed);
    EXPECT_EQ(result.error, EPIPE);
  }
}

TEST(SocketTransport, TakesTheErrorOfTheDescriptorAway) {
  auto [ours, theirs] = make_tcp_pair();
  const auto transport = make_socket_transport(std::move(ours));
  const linger at_once{1, 0};
  ASSERT_EQ(::setsockopt(theirs.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  theirs.reset();
  EventLoop loop;
  std::error_code error;
  ASSERT_TRUE(run_until(loop, [&] { return static_cast<bool>(error = transport->get_fd_error()); }));
  EXPECT_EQ(error, std::errc::connection_reset);
  EXPECT_FALSE(transport->get_fd_error());
}

} // namespace

} // namespace squall
