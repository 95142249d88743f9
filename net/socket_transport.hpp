// SPDX-License-Identifier: BSD-3-Clause
//
// socket_transport.hpp: the transport over a stream socket, on which that of TLS builds.
#pragma once

#include "net/socket_api.hpp"

#include <cerrno>
#include <utility>

namespace squall {

/// How a transport comes to its socket.
enum class SocketOrigin : unsigned char {
  to_connect,   ///< connect() makes it, or connects the one that is given
  given,        ///< connected
  accepted,     ///< by socket_api::accept, which has prepared it: two system calls less for each connection
  accepted_tcp, ///< the same, from a listening socket that is known to be TCP's: one less
};

class SocketTransport : public Transport {
public:
  SocketTransport(Socket socket, SocketOrigin origin)
      : socket_{std::move(socket)}, connected_{origin != SocketOrigin::to_connect},
        is_tcp_{origin == SocketOrigin::accepted_tcp || (connected_ && socket_api::is_tcp(socket_.fd()))} {
    if (origin == SocketOrigin::given || (origin == SocketOrigin::to_connect && socket_))
      socket_api::prepare(socket_.fd());
  }

  [[nodiscard]] int fileno() const noexcept final { return socket_.fd(); }
  void close_fd() noexcept override { socket_.reset(); }
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override { return receive(buffer, size); }
  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    return socket_api::send(socket_.fd(), pieces, count);
  }
  IoResult send_file(int file, std::uint64_t offset, std::size_t size) noexcept override {
    const IoResult result = socket_api::send_file(socket_.fd(), file, offset, size);
    const bool refused = result.error == EINVAL || result.error == ENOSYS || result.error == EOPNOTSUPP;
    return refused ? Transport::send_file(file, offset, size) // a file system that knows no sendfile(2)
                   : result;
  }
  [[nodiscard]] bool connected() const noexcept final { return connected_; }
  int connect(const Endpoint& address, const std::string&) noexcept override {
    int error = socket_api::connect(socket_, address);
    connecting_ = error == EINPROGRESS;
    is_tcp_ = (error == 0 || connecting_) && socket_api::is_tcp(socket_.fd());
    if (error == 0 && is_tcp_)
      error = refuse_itself();
    connected_ = error == 0 || connecting_;
    return error;
  }
  bool shutdown_write() noexcept override {
    socket_api::shutdown_write(socket_.fd());
    return true;
  }
  [[nodiscard]] bool half_closes() const noexcept final { return true; }
  void set_abort() noexcept override { socket_api::set_abort(socket_.fd()); }
  [[nodiscard]] std::error_code get_fd_error() noexcept final {
    const std::error_code error = socket_api::take_error(socket_.fd());
    const bool connected = std::exchange(connecting_, false) && is_tcp_ && !error;
    return connected ? std::error_code{refuse_itself(), std::generic_category()} : error;
  }
  void set_nodelay(bool value) noexcept final { socket_api::set_nodelay(socket_.fd(), value); }
  void set_keep_alive(const KeepAlive& keep_alive) noexcept final {
    socket_api::set_keep_alive(socket_.fd(), keep_alive);
  }
  [[nodiscard]] Endpoint local_endpoint() const final {
    return socket_ ? socket_api::local_endpoint(socket_.fd()) : Endpoint{};
  }
  [[nodiscard]] Endpoint peer_endpoint() const final {
    return socket_ ? socket_api::peer_endpoint(socket_.fd()) : Endpoint{};
  }
  [[nodiscard]] std::optional<PeerCredentials> peer_credentials() const noexcept final {
    return socket_api::peer_credentials(socket_.fd());
  }
  Result<std::unique_ptr<Transport>> start_tls(const TLSContext& context,
                                               const std::string& server_hostname) override;

protected:
  /// A short read says that nothing is left where the socket is TCP's (epoll(7)), but for urgent data, behind which a read
  /// stops (tcp(7)) and of which readiness tells. One of a unix socket may have stopped behind bytes that carry descriptors or,
  /// with SO_PASSCRED, between two writers (unix(7)); others, such as MPTCP, promise nothing.
  IoResult receive(char* buffer, std::size_t size) noexcept {
    IoResult result = socket_api::receive(socket_.fd(), buffer, size);
    result.drained = is_tcp_ && result.size < size;
    return result;
  }

  void take_socket(Socket& socket) noexcept {
    socket_ = std::move(socket);
    is_tcp_ = socket_api::is_tcp(socket_.fd());
  }

  Socket socket_;

private:
  /// From the port that it connects to, a socket meets itself where nobody listens (RFC 9293, 3.5: both sides open).
  int refuse_itself() noexcept {
    if (!socket_api::is_its_own_peer(socket_.fd()))
      return 0;
    socket_api::set_abort(socket_.fd()); // whoever is to listen there shall not find the port in TIME_WAIT
    return ECONNREFUSED;
  }

  bool connected_;
  bool is_tcp_;
  bool connecting_ = false; ///< get_fd_error() will tell
};

/// The transport over a socket that an Acceptor gave; with `context`, where that is one, over TLS.
/// @param is_tcp  whether the listening socket is TCP's
std::unique_ptr<Transport> make_accepted_transport(Socket socket, const TLSContext& context, bool is_tcp);

} // namespace squall
