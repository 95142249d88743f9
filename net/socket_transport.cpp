// SPDX-License-Identifier: BSD-3-Clause
//
// socket_transport.cpp: the transport over a stream socket; last of a stream's four parts.
#include "net/socket_api.hpp"

namespace squall {

namespace {

class SocketTransport final : public Transport {
public:
  SocketTransport(Socket socket, bool connected) : socket_{std::move(socket)}, connected_{connected} {
    if (socket_ || connected) // else connect() makes it
      socket_api::prepare(socket_.fd());
  }

  [[nodiscard]] int fileno() const noexcept override { return socket_.fd(); }
  void close_fd() noexcept override { socket_.reset(); }
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    return socket_api::receive(socket_.fd(), buffer, size);
  }
  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    return socket_api::send(socket_.fd(), pieces, count);
  }
  IoResult send_file(int file, std::uint64_t offset, std::size_t size) noexcept override {
    const IoResult result = socket_api::send_file(socket_.fd(), file, offset, size);
    const bool refused = result.error == EINVAL || result.error == ENOSYS || result.error == EOPNOTSUPP;
    return refused ? Transport::send_file(file, offset, size)
                   : result; // a file system that knows no sendfile(2)
  }
  [[nodiscard]] bool connected() const noexcept override { return connected_; }
  int connect(const Endpoint& address, const std::string&) noexcept override {
    const int error = socket_api::connect(socket_, address);
    connected_ = error == 0 || error == EINPROGRESS;
    return error;
  }
  void shutdown_write() noexcept override { socket_api::shutdown_write(socket_.fd()); }
  void set_abort() noexcept override { socket_api::set_abort(socket_.fd()); }
  [[nodiscard]] std::error_code get_fd_error() noexcept override {
    return socket_api::take_error(socket_.fd());
  }
  void set_nodelay(bool value) noexcept override { socket_api::set_nodelay(socket_.fd(), value); }
  void set_keep_alive(const KeepAlive& keep_alive) noexcept override {
    socket_api::set_keep_alive(socket_.fd(), keep_alive);
  }
  [[nodiscard]] Endpoint local_endpoint() const override {
    return socket_ ? socket_api::local_endpoint(socket_.fd()) : Endpoint{};
  }
  [[nodiscard]] Endpoint peer_endpoint() const override {
    return socket_ ? socket_api::peer_endpoint(socket_.fd()) : Endpoint{};
  }

private:
  Socket socket_;
  bool connected_;
};

} // namespace

std::unique_ptr<Transport> make_socket_transport(Socket socket) {
  return std::make_unique<SocketTransport>(std::move(socket), true);
}

std::unique_ptr<Transport> make_unconnected_transport(Socket socket) {
  return std::make_unique<SocketTransport>(std::move(socket), false);
}

} // namespace squall
