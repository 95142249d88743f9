// SPDX-License-Identifier: BSD-3-Clause
//
// socket.cpp: owning descriptors, listening sockets and their binding.
#include "net/descriptor_wait.hpp"
#include "net/listening_sockets.hpp"
#include "net/never_destroyed.hpp"
#include "net/socket_api.hpp"
#include "net/socket_file.hpp"
#include <squall/net/log.hpp>
#include <squall/net/socket.hpp>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

std::string escaped(const std::string& text) { return escape_bytes(text, text.size()); }

/// How often bind_sockets looks for another port when the one that the system chose is taken in a later
/// family.
constexpr int most_port_choices = 8;

void check_backlog(int backlog) {
  if (backlog < 1 || backlog > 65535)
    throw std::invalid_argument{"backlog " + std::to_string(backlog) + " is outside of 1 to 65535"};
}

[[noreturn]] void fail_to_bind(int error, const std::string& address, std::uint16_t port) {
  const Endpoint endpoint{address.empty() ? "*" : address, port,
                          address.find(':') == std::string::npos ? AddressFamily::ipv4 : AddressFamily::ipv6};
  throw std::system_error{error, std::generic_category(), "cannot listen on " + to_string(endpoint)};
}

/// The outcome of one round over all addresses with one port.
struct Round {
  std::vector<ListeningSocket> sockets;
  int error = 0; ///< of the address that ended the round
};

Round bind_all(const std::vector<socket_api::BindAddress>& addresses, std::uint16_t port, bool is_localhost,
               const BindOptions& options) {
  Round round;
  for (const socket_api::BindAddress& address : addresses) {
    socket_api::Bound bound = socket_api::bind_and_listen(address, port, options);
    if (bound.error == 0) {
      round.sockets.emplace_back(std::move(bound.socket));
      port = round.sockets.front().local_endpoint().port;
    } else if (bound.error == EAFNOSUPPORT ||
               (bound.error == EADDRNOTAVAIL && is_localhost && addresses.size() > 1)) {
      // The machine lacks the family; "localhost" means ::1, too, also where there is no IPv6. The other
      // addresses serve.
      round.error = bound.error;
    } else {
      return {{}, bound.error};
    }
  }
  if (!round.sockets.empty())
    round.error = 0;
  return round;
}

std::vector<ListeningSocket> bind_to(const std::vector<socket_api::BindAddress>& addresses,
                                     std::uint16_t port, const std::string& address,
                                     const BindOptions& options) {
  for (int choice = 1;; ++choice) {
    Round round = bind_all(addresses, port, address == "localhost", options);
    if (!round.sockets.empty())
      return std::move(round.sockets);
    const bool another = port == 0 && round.error == EADDRINUSE && addresses.size() > 1;
    if (!another || choice == most_port_choices)
      fail_to_bind(round.error, address, port);
  }
}

} // namespace

std::string to_string(const Endpoint& endpoint) {
  switch (endpoint.family) {
  case AddressFamily::unspec:
    return "unknown";
  case AddressFamily::ipv6:
    return "[" + escaped(endpoint.address) + "]:" + std::to_string(endpoint.port);
  case AddressFamily::ipv4:
    return escaped(endpoint.address) + ":" + std::to_string(endpoint.port);
  case AddressFamily::unix_domain:
    return "unix:" + escaped(endpoint.address);
  }
  return "unknown";
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void Socket::reset() noexcept {
  // Linux releases the descriptor also when close(2) reports an error: trying again could close another one.
  if (fd_ < 0)
    return;
  ::close(std::exchange(fd_, -1));
  tell_descriptor_closed();
}

struct ListeningSocket::Shared {
  explicit Shared(Socket socket) : fd{socket.fd()}, endpoint{socket_api::local_endpoint(socket.fd())} {
    const std::lock_guard lock{all().mutex};
    all().sockets.insert(this);
    static_cast<void>(socket.release());
  }
  ~Shared() {
    {
      const std::lock_guard lock{all().mutex};
      all().sockets.erase(this);
    }
    close();
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  void close() noexcept {
    Socket closing{fd.exchange(-1)};
    if (closing && file)
      file->remove(); // before the socket goes: until then nobody else's file has its inode
  }

  /// Those of the process that exist.
  struct All {
    std::mutex mutex;
    std::set<Shared*> sockets; ///< guarded by mutex
  };
  static All& all() noexcept {
    static NeverDestroyed<All> all; // outlives the sockets in static objects
    return *all;
  }

  std::atomic<int> fd;
  const Endpoint endpoint;
  std::optional<SocketFile> file; ///< of bind_unix_socket
};

ListeningSocket::ListeningSocket(Socket socket) {
  if (!socket_api::is_listening(socket.fd()))
    throw std::system_error{EINVAL, std::generic_category(), "not a listening stream socket"};
  socket_api::prepare(socket.fd());
  shared_ = std::make_shared<Shared>(std::move(socket));
}

int ListeningSocket::fd() const noexcept { return shared_ == nullptr ? -1 : shared_->fd.load(); }

const Endpoint& ListeningSocket::local_endpoint() const noexcept {
  static const Endpoint none;
  return shared_ == nullptr ? none : shared_->endpoint;
}

void ListeningSocket::close() noexcept {
  if (shared_ != nullptr)
    shared_->close();
}

void ListeningSocket::close_all() noexcept {
  const std::lock_guard lock{Shared::all().mutex};
  for (Shared* const shared : Shared::all().sockets)
    shared->close();
}

void close_listening_sockets() noexcept { ListeningSocket::close_all(); }

std::vector<ListeningSocket> bind_sockets(std::uint16_t port, const std::string& address,
                                          const BindOptions& options) {
  check_backlog(options.backlog);
  if (options.family == AddressFamily::unix_domain)
    throw std::invalid_argument{"bind_sockets binds IPv4 and IPv6 addresses only"};
  if (address.find('\0') != std::string::npos)
    throw std::invalid_argument{"an address to listen on has a NUL byte"};
  std::vector<socket_api::BindAddress> addresses;
  try {
    addresses = socket_api::resolve_to_bind(address, options.family);
  } catch (const std::system_error& error) {
    throw lookup_failure(address, error.code());
  }
  return bind_to(addresses, port, address, options);
}

std::vector<ListeningSocket> bind_found(std::uint16_t port, const std::string& name, const Addresses& found,
                                        const BindOptions& options) {
  check_backlog(options.backlog);
  std::vector<socket_api::BindAddress> addresses;
  for (const AddressFamily family : {AddressFamily::ipv4, AddressFamily::ipv6}) // as resolve_to_bind has it
    for (const Endpoint& number : found)
      if (number.family == family)
        for (socket_api::BindAddress& address : socket_api::resolve_to_bind(number.address, family))
          addresses.push_back(std::move(address));
  return bind_to(addresses, port, name, options);
}

std::system_error lookup_failure(const std::string& name, std::error_code error) {
  return {error, "cannot look up the address to listen on, \"" + escaped(name) + "\""};
}

ListeningSocket bind_unix_socket(const std::string& path, const UnixOptions& options) {
  check_backlog(options.backlog);
  SocketFile::check(path, options.mode);
  BoundFile bound = SocketFile::bind(path, options.mode, options.backlog);
  ListeningSocket result{std::move(bound.socket)};
  result.shared_->file = std::move(bound.file);
  return result;
}

} // namespace squall
