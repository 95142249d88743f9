// SPDX-License-Identifier: BSD-3-Clause
//
// starttls_server.cpp: a server of lines that turns to TLS when its client asks for it, as SMTP does (RFC 3207). It takes no
// mail. Its arguments are the files of its certificate and key.
#include <squall/tcp_server.hpp>

#include <iostream>
#include <string_view>

using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest_command = 512; // RFC 5321, 4.5.3.1.4
constexpr auto patience = 5min;              // RFC 5321, 4.5.3.2.7

class MailServer : public squall::TCPServer {
public:
  explicit MailServer(squall::TLSContext tls)
      : TCPServer{{.stream = {.idle_timeout = patience}}}, tls_{std::move(tls)} {}
  ~MailServer() override { shutdown(); }

  squall::Task<> handle_stream(squall::IOStream stream, squall::Endpoint) override {
    co_await stream.write("220 localhost is here\r\n");
    for (;;) {
      const squall::Bytes line = co_await stream.read_until("\r\n", longest_command);
      const std::string_view command = line.view().substr(0, line.size() - 2);
      // [starttls]
      if (command == "STARTTLS" && !stream.tls_info()) {
        stream.write("220 go ahead\r\n");      // start_tls sends it before
        co_await stream.start_tls(true, tls_); // the same stream goes on, with TLS
        continue;
      }
      // [starttls]
      if (command.starts_with("EHLO "))
        co_await stream.write(stream.tls_info() ? "250 localhost\r\n" : "250-localhost\r\n250 STARTTLS\r\n");
      else if (command == "NOOP")
        co_await stream.write("250 fine\r\n");
      else if (command == "QUIT")
        break;
      else
        co_await stream.write("502 not here\r\n");
    }
    co_await stream.write("221 goodbye\r\n");
    co_await stream.close_after_flush(1s);
  }

private:
  squall::TLSContext tls_;
};

} // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " CERTIFICATE_FILE KEY_FILE\n";
    return 2;
  }
  MailServer server{squall::TLSContext{squall::tls_server_options(argv[1], argv[2])}};
  for (const squall::Endpoint& endpoint : server.listen(0, "127.0.0.1"))
    std::cout << "listening on " << to_string(endpoint) << std::endl;
  return server.run();
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
