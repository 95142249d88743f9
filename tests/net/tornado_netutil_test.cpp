// SPDX-License-Identifier: BSD-3-Clause
//
// tornado_netutil_test.cpp: the tests of Tornado's sockets (tornado/test/netutil_test.py), and what its sockets do
// without a test. Those of its resolvers are with ours.
//
// | Tornado                                                | Ours                                                     |
// | ------------------------------------------------------ | -------------------------------------------------------- |
// | TestPortAllocation.test_reuse_port                     | test_reuse_port                                          |
// | bind_sockets(0): one port for both families            | BindSockets.ChoosesAPortThatAllItsSocketsShare           |
// | a second bind without reuse_port is refused            | BindSockets.SharesAPortWhereThatIsAskedFor               |
// | the port is taken in the other family: EADDRINUSE      | BindSocketsFault.WeakSpot26RetriesAPortThatIsTaken...    |
// | a family that is not supported is skipped              | BindSocketsFault.GoesWithoutAFamilyThatTheMachineLacks   |
// | nothing bound: an empty list                           | BindSocketsFault.WeakSpot26FailsWhereNothingWasBound     |
// | bind_unix_socket displaces a live listener             | BindUnixSocket.WeakSpot27DoesNotDisplaceALiveListener    |
// | bind_unix_socket replaces a stale file                 | BindUnixSocket.WeakSpot27ReplacesAFileOnWhichNobody...   |
// | another file than a socket is refused                  | BindUnixSocket.RefusesAFileThatIsNoSocket                |
// | the file stays                                         | BindUnixSocket.WeakSpot27RemovesItsOwnFile               |
// | a name that begins with NUL is abstract                | BindUnixSocket.TakesAbstractNames ("@name")              |
// | add_accept_handler: at most 128 accepts, then others   | AcceptHandler.WeakSpot28TheBatchIsTheCallers             |
// | the remover ends the batch, twice is harmless          | AcceptHandler.TheRemoverEndsABatchBeforeItsNextAccept    |
// | ECONNABORTED skips one                                 | Errnos/AcceptFaultTest.IsSurvived/ECONNABORTED           |
// | EMFILE spins                                           | AcceptWithoutDescriptorsTest.WeakSpot1PausesLonger...    |
// | an exception of the callback escapes                   | AcceptHandler.WhatItThrowsCostsOneConnection             |
#include "tests/net/support.hpp"

#include <netinet/in.h>

namespace squall {

namespace {

using namespace testing_support;

TEST(TornadoNetutil, test_reuse_port) {
  const Socket first = checked_socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  const int on = 1;
  ASSERT_EQ(::setsockopt(first.fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(first.fd(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  ASSERT_EQ(::getsockname(first.fd(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  const std::uint16_t port = ntohs(address.sin_port);
  const auto sockets = bind_sockets(port, "127.0.0.1", {.reuse_port = true});
  ASSERT_EQ(sockets.size(), 1u);
  EXPECT_EQ(sockets.front().local_endpoint().port, port);
}

} // namespace

} // namespace squall
