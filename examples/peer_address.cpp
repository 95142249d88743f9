// SPDX-License-Identifier: BSD-3-Clause
//
// peer_address.cpp: answers a request of HTTP/1.0 with who has sent it: the address of the client, which may be behind a
// proxy, or the process at the other end of a unix socket.
#include <squall/squall.hpp>

class PeerAddressServer : public squall::TCPServer {
  // [handler]
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint peer) override {
    std::string who = to_string(peer);
    if (const auto credentials = stream.peer_credentials()) // of a unix socket
      who += " of user " + std::to_string(credentials->uid);
    co_await stream.read_until("\r\n\r\n", 8192, std::chrono::seconds{10});
    co_await stream.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + who + "\n");
  }
  // [handler]
};

int main(int argc, char** argv) {
  PeerAddressServer server;
  return squall::serve(argc, argv, server);
}
