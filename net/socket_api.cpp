// SPDX-License-Identifier: BSD-3-Clause
//
// socket_api.cpp
#include "net/socket_api.hpp"

#include "net/descriptor.hpp"
#include "net/sigpipe_guard.hpp"
#include <squall/net/resolver.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <memory>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <new>
#include <optional>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <type_traits>
#include <unordered_set>

namespace squall {

namespace {

class LookupCategory : public std::error_category {
  const char* name() const noexcept override { return "lookup"; }
  std::string message(int value) const override {
    switch (static_cast<LookupErrc>(value)) {
    case LookupErrc::no_address:
      return "the host has no address";
    case LookupErrc::empty_host:
      return "the host name is empty";
    case LookupErrc::host_too_long:
      return "a host name has at most 253 bytes";
    case LookupErrc::label_too_long:
      return "a part of a host name, between two dots, has at most 63 bytes";
    case LookupErrc::empty_label:
      return "a host name has something between any two dots";
    case LookupErrc::nul_in_host:
      return "a host name has no NUL byte";
    case LookupErrc::busy:
      return "too many lookups wait: raise ThreadedResolverOptions::max_threads or max_waiting";
    case LookupErrc::dropped:
      return "the resolver let the lookup go without an answer";
    }
    return gai_strerror(value);
  }
};

} // namespace

const std::error_category& lookup_category() noexcept {
  static const LookupCategory category;
  return category;
}

} // namespace squall

namespace squall::socket_api {

namespace {

static_assert(sizeof(IoSlice) == sizeof(iovec) && offsetof(IoSlice, data) == offsetof(iovec, iov_base) &&
              offsetof(IoSlice, size) == offsetof(iovec, iov_len));

[[noreturn]] void fail(const char* call) { throw std::system_error{errno, std::generic_category(), call}; }

Endpoint to_endpoint(const sockaddr_storage& address, socklen_t size) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    return {text, ntohs(in.sin_port), AddressFamily::ipv4};
  }
  if (address.ss_family == AF_INET6) {
    const auto& in = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    std::string number{text};
    if (in.sin6_scope_id != 0) // a link-local address is none without it (RFC 4007, 11)
      number.append("%").append(std::to_string(in.sin6_scope_id));
    return {std::move(number), ntohs(in.sin6_port), AddressFamily::ipv6};
  }
  if (address.ss_family == AF_UNIX) {
    const auto& un = reinterpret_cast<const sockaddr_un&>(address);
    const std::size_t path_size = size - std::min<std::size_t>(size, offsetof(sockaddr_un, sun_path));
    // A path ends with its NUL; an abstract name (unix(7)) begins with one and is shown with "@".
    std::string path{un.sun_path, path_size};
    if (!path.empty() && path.front() == '\0')
      path.front() = '@';
    else
      path.resize(std::strlen(path.c_str()));
    return {path, 0, AddressFamily::unix_domain};
  }
  return {};
}

IoResult to_result(ssize_t count) noexcept {
  if (count >= 0)
    return IoResult::moved(static_cast<std::size_t>(count));
  if (errno == EAGAIN || errno == EWOULDBLOCK)
    return IoResult::blocked();
  return IoResult::failure(errno);
}

bool set_option(int fd, int level, int name, int value) noexcept {
  return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

int get_option(int fd, int level, int name) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

int to_system_family(AddressFamily family) noexcept {
  switch (family) {
  case AddressFamily::ipv4:
    return AF_INET;
  case AddressFamily::ipv6:
    return AF_INET6;
  case AddressFamily::unspec:
  case AddressFamily::unix_domain:
    break;
  }
  return AF_UNSPEC;
}

/// The system's form of an address that is a number or a path; none for what is neither.
std::optional<BindAddress> to_system_address(const Endpoint& endpoint) {
  if (endpoint.family == AddressFamily::unix_domain) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string& path = endpoint.address;
    const bool is_abstract = !path.empty() && path.front() == '@'; // unix(7); shown so by to_endpoint
    if (path.empty() || path.size() + (is_abstract ? 0 : 1) > sizeof address.sun_path ||
        path.find('\0') != std::string::npos)
      return std::nullopt;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (is_abstract)
      address.sun_path[0] = '\0';
    const std::size_t size = offsetof(sockaddr_un, sun_path) + path.size() + (is_abstract ? 0 : 1);
    return BindAddress{AF_UNIX, {reinterpret_cast<const char*>(&address), size}};
  }
  addrinfo hints{};
  hints.ai_family = to_system_family(endpoint.family);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (endpoint.address.find('\0') != std::string::npos ||
      getaddrinfo(endpoint.address.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found) != 0)
    return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> guard{found, freeaddrinfo};
  return BindAddress{
      found->ai_family,
      {reinterpret_cast<const char*>(found->ai_addr), static_cast<std::size_t>(found->ai_addrlen)}};
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// getaddrinfo(3) for stream sockets. @returns an error of lookup_category(), or an errno
std::error_code get_addresses(const char* host, const char* port, AddressFamily family, int flags,
                              AddressList& list) {
  addrinfo hints{};
  hints.ai_family = to_system_family(family);
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host, port, &hints, &found);
  list.reset(found);
  if (error == EAI_SYSTEM)
    return {errno, std::generic_category()};
  return {error, lookup_category()};
}

} // namespace

IoResult receive(int fd, char* buffer, std::size_t size) noexcept {
  ssize_t count;
  do
    count = ::recv(fd, buffer, size, 0);
  while (count < 0 && errno == EINTR);
  return count == 0 ? IoResult::ended() : to_result(count);
}

bool has_input(int fd) noexcept {
  char byte;
  ssize_t count;
  do
    count = ::recv(fd, &byte, 1, MSG_PEEK);
  while (count < 0 && errno == EINTR);
  return count >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

IoResult send(int fd, const IoSlice* pieces, std::size_t count) noexcept {
  constexpr std::size_t most_pieces = 64;
  ssize_t sent;
  do {
    if (count == 1) {
      sent = ::send(fd, pieces[0].data, pieces[0].size, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = reinterpret_cast<iovec*>(const_cast<IoSlice*>(pieces));
      message.msg_iovlen = std::min(count, most_pieces);
      sent = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    }
  } while (sent < 0 && errno == EINTR);
  return to_result(sent);
}

std::size_t send_at_once(int fd, std::string_view bytes) noexcept {
  const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent > 0 ? static_cast<std::size_t>(sent) : 0;
}

IoResult send_file(int fd, int file, std::uint64_t offset, std::size_t size) noexcept {
  const SigpipeGuard guard; // sendfile(2) has no MSG_NOSIGNAL
  auto position = static_cast<off_t>(offset);
  ssize_t sent;
  do
    sent = ::sendfile(fd, file, &position, size);
  while (sent < 0 && errno == EINTR);
  return sent == 0 ? IoResult::ended() : to_result(sent);
}

bool is_tcp(int fd) noexcept { return get_option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP; }

std::error_code take_error(int fd) noexcept {
  const int error = get_option(fd, SOL_SOCKET, SO_ERROR);
  return error > 0 ? std::error_code{error, std::generic_category()} : std::error_code{};
}

void shutdown_write(int fd) noexcept { ::shutdown(fd, SHUT_WR); }

void set_abort(int fd) noexcept {
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void set_nodelay(int fd, bool value) noexcept { set_option(fd, IPPROTO_TCP, TCP_NODELAY, value ? 1 : 0); }

void set_keep_alive(int fd, const KeepAlive& keep_alive) noexcept {
  // The bounds are those of tcp(7): the system refuses what is beyond, and would keep its default of two hours.
  const auto bounded = [](std::int64_t value, int least, int most) {
    return static_cast<int>(std::clamp<std::int64_t>(value, least, most));
  };
  constexpr int most_seconds = 32767;
  constexpr int most_probes = 127;
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, bounded(keep_alive.idle.count(), 1, most_seconds));
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, bounded(keep_alive.interval.count(), 1, most_seconds));
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, bounded(keep_alive.count, 1, most_probes));
  set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
             bounded(keep_alive.user_timeout.count(), 0, std::numeric_limits<int>::max()));
}

int connect(Socket& socket, const Endpoint& address) noexcept {
  try {
    const auto target = to_system_address(address);
    if (!target)
      return EINVAL;
    Socket made;
    if (!socket) {
      made = Socket{above_standard(::socket(target->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
      if (!made)
        return errno;
    }
    const int fd = made ? made.fd() : socket.fd();
    // A sockaddr has its alignment in a sockaddr_storage, not in a string.
    sockaddr_storage storage{};
    std::memcpy(&storage, target->raw.data(), target->raw.size());
    int error = 0;
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&storage),
                  static_cast<socklen_t>(target->raw.size())) != 0)
      error = errno == EINTR ? EINPROGRESS : errno; // connect(2): it goes on asynchronously
    if (made &&
        error != EINVAL) // such as a link-local address without a scope: the next may be of another family
      socket = std::move(made);
    return error;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

bool is_number(std::string_view text) noexcept {
  char copy[INET6_ADDRSTRLEN + IF_NAMESIZE + 1]; // with a scope: "fe80::1%eth0"
  if (text.size() >= sizeof copy || text.find('\0') != std::string_view::npos)
    return false;
  *std::copy(text.begin(), text.end(), copy) = '\0';
  in6_addr address;
  if (inet_pton(AF_INET, copy, &address) == 1 || inet_pton(AF_INET6, copy, &address) == 1)
    return true;
  if (text.find('%') == std::string_view::npos || text.find(':') == std::string_view::npos)
    return false;
  AddressList list{nullptr, freeaddrinfo};
  return !get_addresses(copy, nullptr, AddressFamily::ipv6, AI_NUMERICHOST, list);
}

std::error_code look_up(const std::string& host, std::uint16_t port, AddressFamily family,
                        std::vector<Endpoint>& found) {
  AddressList list{nullptr, freeaddrinfo};
  const int flags = AI_NUMERICSERV | (is_number(host) ? AI_NUMERICHOST : 0);
  if (const auto error = get_addresses(host.c_str(), std::to_string(port).c_str(), family, flags, list))
    return error;
  std::unordered_set<std::string> seen; // a name may have thousands of addresses
  for (const addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
    sockaddr_storage address{};
    std::memcpy(&address, info->ai_addr, std::min<std::size_t>(info->ai_addrlen, sizeof address));
    Endpoint endpoint = to_endpoint(address, info->ai_addrlen);
    if (endpoint.family != AddressFamily::unspec && seen.insert(endpoint.address).second)
      found.push_back(std::move(endpoint));
  }
  return {};
}

Bound bind_source(const Endpoint& source) {
  const bool is_ipv6 = source.family == AddressFamily::ipv6;
  const auto address = to_system_address(
      {source.address.empty() ? (is_ipv6 ? "::" : "0.0.0.0") : source.address, source.port, source.family});
  if (!address)
    return {Socket{}, EINVAL};
  Socket socket{above_standard(::socket(address->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
  if (!socket)
    return {Socket{}, errno};
  const int fd = socket.fd();
  sockaddr_storage storage{};
  std::memcpy(&storage, address->raw.data(), std::min(address->raw.size(), sizeof storage));
  // A port of one's own may be in TIME_WAIT, or be shared by several attempts; where the system chooses, it chooses
  // at the connect, when it knows which are free towards that peer (ip(7)).
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, source.port != 0 ? 1 : 0);
  set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, source.port == 0 ? 1 : 0);
  if (is_ipv6)
    set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1); // the same port may be bound for IPv4, too
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), static_cast<socklen_t>(address->raw.size())) !=
      0)
    return {Socket{}, errno};
  return {std::move(socket), 0};
}

void prepare(int fd) {
  const int status = fcntl(fd, F_GETFL);
  if (status < 0 || ((status & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0))
    fail("fcntl");
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    fail("fcntl");
}

Accepted accept(int listening_fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  const int fd = above_standard(
      ::accept4(listening_fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd < 0)
    return {Socket{}, {}, errno};
  Socket socket{fd};
  return {std::move(socket), to_endpoint(address, size), 0};
}

Endpoint local_endpoint(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    fail("getsockname");
  return to_endpoint(address, size);
}

Endpoint peer_endpoint(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return {};
  return to_endpoint(address, size);
}

bool is_its_own_peer(int fd) noexcept {
  sockaddr_storage local{};
  sockaddr_storage peer{};
  socklen_t size = sizeof local;
  socklen_t peer_size = sizeof peer;
  return getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
         getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0 && size == peer_size &&
         std::memcmp(&local, &peer, size) == 0;
}

bool is_listening(int fd) noexcept {
  return get_option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM && get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1;
}

std::vector<BindAddress> resolve_to_bind(const std::string& address, AddressFamily family) {
  AddressList list{nullptr, freeaddrinfo};
  if (const auto error =
          get_addresses(address.empty() ? nullptr : address.c_str(), "0", family, AI_PASSIVE, list))
    throw std::system_error{error, "getaddrinfo"};
  std::vector<BindAddress> addresses;
  for (const addrinfo* info = list.get(); info != nullptr; info = info->ai_next) {
    BindAddress candidate{
        info->ai_family,
        {reinterpret_cast<const char*>(info->ai_addr), static_cast<std::size_t>(info->ai_addrlen)}};
    if (std::find(addresses.begin(), addresses.end(), candidate) == addresses.end())
      addresses.push_back(std::move(candidate));
  }
  // IPv4 before IPv6, as Tornado, so that the port of the first socket does not depend on the resolver.
  std::stable_sort(addresses.begin(), addresses.end(),
                   [](const BindAddress& a, const BindAddress& b) { return a.family < b.family; });
  return addresses;
}

Bound bind_and_listen(const BindAddress& address, std::uint16_t port, const BindOptions& options) {
  Socket socket{above_standard(::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
  if (!socket)
    return {Socket{}, errno};
  sockaddr_storage storage{};
  std::memcpy(&storage, address.raw.data(), std::min(address.raw.size(), sizeof storage));
  if (address.family == AF_INET6)
    reinterpret_cast<sockaddr_in6&>(storage).sin6_port = htons(port);
  else
    reinterpret_cast<sockaddr_in&>(storage).sin_port = htons(port);
  const int fd = socket.fd();
  const bool ready = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
                     (!options.reuse_port || set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) &&
                     (address.family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) &&
                     ::bind(fd, reinterpret_cast<const sockaddr*>(&storage),
                            static_cast<socklen_t>(address.raw.size())) == 0 &&
                     ::listen(fd, options.backlog) == 0;
  const int error = ready ? 0 : errno;
  return {ready ? std::move(socket) : Socket{}, error};
}

Bound bind_unix(const std::string& path, std::uint32_t mode) {
  const auto address = to_system_address({path, 0, AddressFamily::unix_domain});
  if (!address)
    return {Socket{}, EINVAL};
  Socket socket{above_standard(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
  if (!socket)
    return {Socket{}, errno};
  sockaddr_storage storage{};
  std::memcpy(&storage, address->raw.data(), address->raw.size());
  // On Linux the file that bind(2) makes has the mode of the socket's inode, less the umask.
  if (::fchmod(socket.fd(), static_cast<mode_t>(mode)) != 0 ||
      ::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&storage),
             static_cast<socklen_t>(address->raw.size())) != 0)
    return {Socket{}, errno};
  return {std::move(socket), 0};
}

int listen(int fd, int backlog) noexcept { return ::listen(fd, backlog) == 0 ? 0 : errno; }

std::optional<PeerCredentials> peer_credentials(int fd) noexcept {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (get_option(fd, SOL_SOCKET, SO_DOMAIN) != AF_UNIX ||
      getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return std::nullopt;
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

std::optional<RawAddress> parse_address(std::string_view text) noexcept {
  char copy[INET6_ADDRSTRLEN] = ""; // inet_pton(3) wants a NUL behind it
  if (text.size() >= sizeof copy || text.find('\0') != text.npos)
    return std::nullopt;
  text.copy(copy, text.size());
  RawAddress address;
  address.family = text.find(':') == text.npos ? AddressFamily::ipv4 : AddressFamily::ipv6;
  if (inet_pton(to_system_family(address.family), copy, address.bytes.data()) != 1)
    return std::nullopt;
  return address;
}

std::string to_text(const RawAddress& address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(to_system_family(address.family), address.bytes.data(), text, sizeof text);
  return text;
}

RawAddress unmapped(const RawAddress& address) noexcept {
  constexpr std::array<std::uint8_t, 12> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.family != AddressFamily::ipv6 ||
      !std::equal(mapped.begin(), mapped.end(), address.bytes.begin()))
    return address;
  RawAddress inner;
  inner.family = AddressFamily::ipv4;
  std::copy_n(address.bytes.begin() + mapped.size(), 4, inner.bytes.begin());
  return inner;
}

IoResult peek(int fd, char* buffer, std::size_t size) noexcept {
  ssize_t count;
  do
    count = ::recv(fd, buffer, size, MSG_PEEK);
  while (count < 0 && errno == EINTR);
  return count == 0 ? IoResult::ended() : to_result(count);
}

std::size_t waiting_size(int fd) noexcept {
  int size = 0;
  return ::ioctl(fd, FIONREAD, &size) == 0 ? static_cast<std::size_t>(size)
                                           : std::numeric_limits<std::size_t>::max();
}

} // namespace squall::socket_api
