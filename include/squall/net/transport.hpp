// SPDX-License-Identifier: BSD-3-Clause
//
// transport.hpp: moves a stream's bytes; the interface that Tornado's IOStream subclasses implement.
//
// Squall brings transports over sockets and over pipes. Write another one to put IOStream on anything that becomes
// readable and writable: fileno, close_fd, read_from_fd and write_to_fd are enough; the rest has defaults.
//
// Threads    A transport is used by its stream's loop thread only.
// Ownership  A transport owns its descriptor; its stream owns the transport.
// Errors     Nothing throws: an operation tells its errno in IoResult.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/tls_context.hpp>
#include <squall/net/tls_info.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

namespace squall {

/// Bytes to write, as iovec(3) has them.
struct IoSlice {
  const void* data;
  std::size_t size;
};

/// What one attempt to read or write did.
struct IoResult {
  enum class Status : unsigned char {
    done,        ///< `size` bytes were moved, at least one; a write of none counts as would_block
    would_block, ///< nothing can be moved now; readiness will be told
    crossed, ///< as would_block, but it waits for the other direction: a read for writability, a write for
             ///< readability (TLS may have to answer before it can go on)
    end,     ///< the peer ended its side (reading), or the file ended (send_file)
    failed,  ///< `error` says why; the stream closes
  };
  Status status;
  std::size_t size = 0;
  int error = 0; ///< an errno; with CloseReason::tls_failed and tls_truncated a value of tls_category()
  /// Of a failure, where the transport knows better than its errno says, such as CloseReason::tls_truncated.
  CloseReason reason = CloseReason::none;
  /// Of a read that moved bytes: it found no more, also none that the transport holds itself, and readiness tells of
  /// what comes later. Without it the stream reads again until a read moves nothing. That fewer bytes came than were
  /// asked for does not say so everywhere: see socket_api::receive and make_pipe_transport.
  bool drained = false;
  /// Of a write, whatever its outcome: it has received bytes on its way, which no readiness will tell; the stream
  /// reads.
  bool more = false;
  /// Of a read that was done or would block: there is more, but this had enough of the turn; the stream goes on in the
  /// next one.
  bool yields = false;

  static IoResult moved(std::size_t size) noexcept { return {Status::done, size}; }
  /// What a read moved, when it found no more.
  static IoResult moved_all(std::size_t size) noexcept {
    IoResult result = moved(size);
    result.drained = true;
    return result;
  }
  static IoResult blocked() noexcept { return {Status::would_block}; }
  static IoResult ended() noexcept { return {Status::end}; }
  static IoResult failure(int error, CloseReason reason = CloseReason::none) noexcept {
    return {Status::failed, 0, error, reason};
  }
  /// What waits for the other direction.
  static IoResult across() noexcept { return {Status::crossed}; }
};

class Transport {
public:
  virtual ~Transport() = default;

  /// The descriptor, or -1 where there is none (then override watch and unwatch, too).
  [[nodiscard]] virtual int fileno() const noexcept = 0;

  /// Closes the descriptor. The stream calls it once, after unwatch, also when watch() failed.
  virtual void close_fd() noexcept = 0;

  /// Reads at most `size` bytes (at least 1) to `buffer`.
  virtual IoResult read_from_fd(char* buffer, std::size_t size) noexcept = 0;

  /// Writes from `pieces` in their order, as much as can be taken now; `count` is at least 1, no piece is
  /// empty. What it says it moved is sent or copied: the bytes may change from then on. What it did not take comes
  /// again with a later call, from the same place or another.
  virtual IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept = 0;

  /// Sends at most `size` bytes (at least 1) of the file `file` from `offset` on, which leaves the descriptor's own
  /// offset alone. By default it reads them (which may wait for the disk) and calls write_to_fd.
  virtual IoResult send_file(int file, std::uint64_t offset, std::size_t size) noexcept;

  /// False for a transport that must connect() first.
  [[nodiscard]] virtual bool connected() const noexcept { return true; }

  /// Begins to connect. @returns 0 when that is done; EINPROGRESS when writability will tell and get_fd_error() say
  /// how it ended; EINVAL when `address` is not one that it can connect to, EDESTADDRREQ when it verifies its peer and
  /// `server_hostname` is not the name or the address of one, and nothing was started; or the errno of a failure.
  virtual int connect(const Endpoint& address, const std::string& server_hostname) noexcept {
    static_cast<void>(address);
    static_cast<void>(server_hostname);
    return EISCONN;
  }

  /// Ends our side: the peer reads the end of its input after what was written (SHUT_WR). Nothing where there
  /// is no such thing. @returns false when it could not yet; it is called again when the transport is writable
  virtual bool shutdown_write() noexcept { return true; }

  /// True when shutdown_write() shows the peer our end while reads go on. An orderly close then ends our side and takes
  /// what still comes until the peer's end, so that no reset overtakes what was sent. False: only close_fd() ends our
  /// side, and an orderly close calls it when everything is sent.
  [[nodiscard]] virtual bool half_closes() const noexcept { return false; }

  /// Tells the peer, before an orderly close, that everything was sent, where the transport has a way to say so (the
  /// close_notify of TLS). @returns false when it could not yet; it is called again when the transport is writable
  virtual bool say_goodbye() noexcept { return true; }
  /// Bytes were dropped: no goodbye may make what the peer has got look whole, also not that of close_fd().
  virtual void withhold_goodbye() noexcept {}

  /// False while handshake() must come before the first byte; then nothing is read or written.
  [[nodiscard]] virtual bool handshaken() const noexcept { return true; }

  /// Brings the handshake forward as far as it goes now: done, would_block (either readiness may help) or failed; or
  /// end, which is failed, too, with error and reason, but since the peer has left, which is not worth a warning.
  virtual IoResult handshake() noexcept { return IoResult::moved(0); }

  /// How long the handshake may take in all.
  [[nodiscard]] virtual std::chrono::milliseconds handshake_timeout() const noexcept;

  /// Hands the descriptor over to a transport that speaks TLS on it, which is not handshaken; watching goes on.
  /// @error StreamErrc::invalid_argument where that is not possible, as by default; StreamErrc::server_hostname when
  /// the context verifies and `server_hostname` is neither a name nor an address. Nothing has changed then.
  /// @throws std::bad_alloc
  virtual Result<std::unique_ptr<Transport>> start_tls(const TLSContext& context,
                                                       const std::string& server_hostname) {
    static_cast<void>(context);
    static_cast<void>(server_hostname);
    return StreamError{StreamErrc::invalid_argument, CloseReason::none, {}};
  }

  /// What the handshake agreed on; nothing where there was none.
  [[nodiscard]] virtual std::optional<TLSInfo> tls_info() const { return std::nullopt; }

  /// Makes close_fd() break the connection with a reset instead of ending it (SO_LINGER, 0 seconds). Nothing
  /// where there is no such thing.
  virtual void set_abort() noexcept {}

  /// The error that the descriptor holds (SO_ERROR), taking it away; none where there is none.
  [[nodiscard]] virtual std::error_code get_fd_error() noexcept { return {}; }

  /// TCP_NODELAY where there is such a thing, else nothing.
  virtual void set_nodelay(bool) noexcept {}

  /// SO_KEEPALIVE and TCP_USER_TIMEOUT where there are such things, else nothing.
  virtual void set_keep_alive(const KeepAlive&) noexcept {}

  /// Our address and the peer's; empty where there is no such thing.
  [[nodiscard]] virtual Endpoint local_endpoint() const { return {}; }
  [[nodiscard]] virtual Endpoint peer_endpoint() const { return {}; }
  /// Who is at the other end; nothing where the system does not tell.
  [[nodiscard]] virtual std::optional<PeerCredentials> peer_credentials() const noexcept {
    return std::nullopt;
  }

  /// Starts and stops telling `watcher` of readiness, edge-triggered. @throws std::system_error
  virtual void watch(EventLoop& loop, Watcher& watcher) { loop.watch(fileno(), watcher); }
  virtual void unwatch(EventLoop& loop, Watcher& watcher) noexcept { loop.unwatch(fileno(), watcher); }
};

/// The transport over a connected stream socket (TCP or unix), which it makes non-blocking.
/// @throws std::system_error (fcntl)
std::unique_ptr<Transport> make_socket_transport(Socket socket);

/// A transport that has to connect first: over `socket`, such as one that is bound to a source address, or, where
/// that is empty, over a socket that connect() makes for the address that it gets.
/// @throws std::system_error (fcntl)
std::unique_ptr<Transport> make_unconnected_transport(Socket socket = Socket{});

/// The transport that speaks TLS over a connected socket, on the side that `context` is for. A client verifies
/// `server_hostname`: a name ("example.com", an IDN as "xn--…") or an address ("192.0.2.1").
/// @throws std::system_error (fcntl); std::invalid_argument when the context verifies and `server_hostname` is neither
std::unique_ptr<Transport> make_tls_transport(Socket socket, const TLSContext& context,
                                              const std::string& server_hostname = {});

/// The same for a client that has to connect first; the name is the one that connect() gets.
/// @throws std::system_error (fcntl); std::invalid_argument when `context` is for servers
std::unique_ptr<Transport> make_unconnected_tls_transport(const TLSContext& context,
                                                          Socket socket = Socket{});

/// The transport over one end of a pipe, or any other descriptor that poll(2) can wait for. A pipe has one direction:
/// a read from its writing end, or a write to its reading end, fails with EBADF.
/// @throws std::system_error (fcntl)
std::unique_ptr<Transport> make_pipe_transport(Socket descriptor);

} // namespace squall
