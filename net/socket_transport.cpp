// SPDX-License-Identifier: BSD-3-Clause
//
// socket_transport.cpp: the transport over a connected stream socket; last of a stream's four parts.
#include "net/socket_api.hpp"

namespace squall {

namespace {

class SocketTransport final : public Transport {
public:
  explicit SocketTransport(Socket socket) : socket_{std::move(socket)} { socket_api::prepare(socket_.fd()); }

  [[nodiscard]] int fileno() const noexcept override { return socket_.fd(); }
  void close_fd() noexcept override { socket_.reset(); }
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    return socket_api::receive(socket_.fd(), buffer, size);
  }
  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    return socket_api::send(socket_.fd(), pieces, count);
  }
  void shutdown_write() noexcept override { socket_api::shutdown_write(socket_.fd()); }
  void set_abort() noexcept override { socket_api::set_abort(socket_.fd()); }
  [[nodiscard]] std::error_code get_fd_error() noexcept override {
    return socket_api::take_error(socket_.fd());
  }
  void set_nodelay(bool value) noexcept override { socket_api::set_nodelay(socket_.fd(), value); }

private:
  Socket socket_;
};

} // namespace

std::unique_ptr<Transport> make_socket_transport(Socket socket) {
  return std::make_unique<SocketTransport>(std::move(socket));
}

} // namespace squall
