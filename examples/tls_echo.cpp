// SPDX-License-Identifier: BSD-3-Clause
//
// tls_echo.cpp: answers each line with itself, over TLS; examples/tls_echo.json says where the certificate is, and
// examples/make_certificates makes one. SIGHUP reads it again.
#include <squall/squall.hpp>

// [handler]
/// A task of its own: its memory is free again when it is done, that of the handler when the connection ends.
squall::Task<> log_handshake(squall::IOStream& stream, const squall::Endpoint& peer) {
  co_await stream.wait_for_handshake(); // reads and writes would wait, too: this is for what comes next
  if (const auto tls = stream.tls_info())
    squall::log_event(squall::LogLevel::info, "secured", "a client speaks TLS",
                      {{"peer", to_string(peer)}, {"version", tls->version}, {"cipher", tls->cipher}});
}

class TLSEchoServer : public squall::TCPServer {
  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint peer) override {
    try {
      co_await log_handshake(stream, peer);
      for (;;)
        co_await stream.write(co_await stream.read_until("\n"));
    } catch (const squall::StreamClosedError&) {
    }
  }
};
// [handler]

int main(int argc, char** argv) {
  TLSEchoServer server;
  return squall::serve(argc, argv, server);
}
