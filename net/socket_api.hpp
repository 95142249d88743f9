// SPDX-License-Identifier: BSD-3-Clause
//
// socket_api.hpp: the system's socket calls, as Squall uses them. socket_api.cpp is the only file that
// includes <sys/socket.h> and its kin; every descriptor made here is non-blocking and close-on-exec.
//
// Errors     Functions that return IoResult or an errno do not throw; the others throw std::system_error with
//            the name of the call.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/transport.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace squall::socket_api {

/// It never says IoResult::drained: that depends on the socket.
IoResult receive(int fd, char* buffer, std::size_t size) noexcept;

/// False when a receive would find nothing: neither bytes, nor an end, nor an error.
bool has_input(int fd) noexcept;

/// Sends without SIGPIPE (MSG_NOSIGNAL, send(2)); at most 64 pieces of `count`.
IoResult send(int fd, const IoSlice* pieces, std::size_t count) noexcept;

/// Sends what there is room for, without waiting, also on a socket that blocks. @returns how many bytes went; 0: none
std::size_t send_at_once(int fd, std::string_view bytes) noexcept;

/// Sends from a file (sendfile(2)), without SIGPIPE.
IoResult send_file(int fd, int file, std::uint64_t offset, std::size_t size) noexcept;

/// Whether a short read of this socket says that nothing is left; see SocketTransport::receive.
bool is_tcp(int fd) noexcept;

/// The pending error of a socket (SO_ERROR).
std::error_code take_error(int fd) noexcept;

/// SHUT_WR and SO_LINGER with 0 seconds; see Transport.
void shutdown_write(int fd) noexcept;
void set_abort(int fd) noexcept;

/// Does nothing where the socket is not TCP.
void set_nodelay(int fd, bool value) noexcept;

/// SO_KEEPALIVE and TCP_USER_TIMEOUT; nothing where the socket is not TCP.
void set_keep_alive(int fd, const KeepAlive& keep_alive) noexcept;

/// Begins to connect to `address`, whose address is a number, or a path. Makes the socket first where `socket` is
/// empty. @returns 0, EINPROGRESS, EINVAL for what is no such address, or another errno
int connect(Socket& socket, const Endpoint& address) noexcept;

/// A socket that is bound to a source address, for connecting: to a port of the system's choice where `source` has 0, to
/// whatever address the system chooses where its address is empty. @returns the socket, or an errno
struct Bound;
Bound bind_source(const Endpoint& source);

/// True for the text of an IPv4 address of four numbers, or of an IPv6 address.
bool is_number(std::string_view text) noexcept;

/// Adds what the system's resolver says to `found`; waits for it. @returns an error of lookup_category(), or an errno
std::error_code look_up(const std::string& host, std::uint16_t port, AddressFamily family,
                        std::vector<Endpoint>& found);

/// Makes a descriptor non-blocking and close-on-exec.
void prepare(int fd);

/// The outcome of one accept: a socket, or an errno (EAGAIN: nothing waits).
struct Accepted {
  Socket socket;
  Endpoint peer;
  int error = 0;
};
Accepted accept(int listening_fd);

/// @throws std::system_error
Endpoint local_endpoint(int fd);
/// Empty where there is none.
Endpoint peer_endpoint(int fd);

/// True for a stream socket that listens.
bool is_listening(int fd) noexcept;
/// True for a socket that is connected to itself.
bool is_its_own_peer(int fd) noexcept;

/// An address to bind, in the system's form.
struct BindAddress {
  int family = 0;
  std::string raw; ///< a sockaddr with port 0
  bool operator==(const BindAddress&) const = default;
};

/// The addresses that `address` stands for ("": every interface), in the system's order, without duplicates.
/// May block for a name. @throws std::system_error of the lookup
std::vector<BindAddress> resolve_to_bind(const std::string& address, AddressFamily family);

/// A bound socket, or an errno; EAFNOSUPPORT where the machine lacks the family.
struct Bound {
  Socket socket;
  int error = 0;
};
/// Binds and listens.
Bound bind_and_listen(const BindAddress& address, std::uint16_t port, const BindOptions& options);

/// Binds a unix socket to a path or an abstract name; it does not listen yet. The file is made with the bits of
/// `mode` that the umask leaves. @returns the socket, or an errno
Bound bind_unix(const std::string& path, std::uint32_t mode);
/// @returns 0 or an errno
int listen(int fd, int backlog) noexcept;

/// Of the peer of a connected unix socket; nothing for other descriptors.
std::optional<PeerCredentials> peer_credentials(int fd) noexcept;

/// An IP address in the order of the network.
struct RawAddress {
  AddressFamily family = AddressFamily::unspec;
  std::array<std::uint8_t, 16> bytes{}; ///< of an IPv4 address, the first four
};
/// Of "192.0.2.1" or "2001:db8::1"; nothing for anything else, such as a name, a scope or leading zeros.
std::optional<RawAddress> parse_address(std::string_view text) noexcept;
/// As the system writes it; empty for another family.
std::string to_text(const RawAddress& address);
/// The IPv4 address in ::ffff:a.b.c.d (RFC 4291, 2.5.5.2); others as they are.
RawAddress unmapped(const RawAddress& address) noexcept;

/// Reads without taking (MSG_PEEK). @returns as receive
IoResult peek(int fd, char* buffer, std::size_t size) noexcept;

/// How many bytes wait to be read; as many as there can be, where the system does not tell.
std::size_t waiting_size(int fd) noexcept;

} // namespace squall::socket_api
