// SPDX-License-Identifier: BSD-3-Clause
//
// asio_line_echo.cpp: a line echo on standalone Asio, written the way its documentation teaches.
//
// One session object per connection, kept alive by its own handlers; one async_read_until and one async_write
// per line.

#ifndef ASIO_STANDALONE
#define ASIO_STANDALONE
#endif

#include "descriptor_limit.hpp"
#include "server_program.hpp"

#include <asio.hpp>

#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

namespace {

using asio::ip::tcp;

class Session : public std::enable_shared_from_this<Session> {
public:
  explicit Session(tcp::socket socket) : socket_{std::move(socket)} {}

  void read_line() {
    asio::async_read_until(socket_, asio::dynamic_buffer(unread_, bench::max_line_bytes), '\n',
                           [self = shared_from_this()](std::error_code error, std::size_t size) {
                             if (!error)
                               self->write_line(size);
                           });
  }

private:
  void write_line(std::size_t size) {
    asio::async_write(socket_, asio::buffer(unread_, size),
                      [self = shared_from_this(), size](std::error_code error, std::size_t) {
                        if (error)
                          return;
                        self->unread_.erase(0, size);
                        self->read_line();
                      });
  }

  tcp::socket socket_;
  std::string unread_;
};

class Server {
public:
  Server(asio::io_context& context, std::uint16_t port)
      : acceptor_{context, tcp::endpoint{asio::ip::address_v4::loopback(), port}} {
    accept();
  }

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

private:
  void accept() {
    acceptor_.async_accept([this](std::error_code error, tcp::socket socket) {
      if (!acceptor_.is_open())
        return;
      if (error)
        throw std::system_error(error, "accept");
      socket.set_option(tcp::no_delay{true});
      std::make_shared<Session>(std::move(socket))->read_line();
      accept();
    });
  }

  tcp::acceptor acceptor_;
};

} // namespace

int main(int argc, char** argv) {
  try {
    const auto port = bench::port_argument(argc, argv);
    bench::raise_descriptor_limit();
    asio::io_context context{1}; // one thread runs it: lets Asio leave out its locks
    asio::signal_set termination{context, SIGTERM};
    termination.async_wait([&context](std::error_code, int) { context.stop(); });
    Server server{context, port};
    bench::announce(server.port());
    context.run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_asio_line_echo: %s\n", error.what());
    return 1;
  }
}
