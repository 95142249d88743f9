// SPDX-License-Identifier: BSD-3-Clause
//
// transport.hpp: moves a stream's bytes; the interface that Tornado's IOStream subclasses implement.
//
// Squall brings a transport over sockets. Write another one to put IOStream on anything that becomes readable
// and writable.
//
// Threads    A transport is used by its stream's loop thread only.
// Ownership  A transport owns its descriptor; its stream owns the transport.
// Errors     Nothing throws: an operation tells its errno in IoResult.
#pragma once

#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>

#include <cstddef>
#include <memory>
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
    done,        ///< `size` bytes were moved, at least one
    would_block, ///< nothing can be moved now; readiness will be told
    end,         ///< the peer ended its side (reading only)
    failed,      ///< `error` says why; the stream closes
  };
  Status status;
  std::size_t size = 0;
  int error = 0; ///< an errno

  static IoResult moved(std::size_t size) noexcept { return {Status::done, size, 0}; }
  static IoResult blocked() noexcept { return {Status::would_block, 0, 0}; }
  static IoResult ended() noexcept { return {Status::end, 0, 0}; }
  static IoResult failure(int error) noexcept { return {Status::failed, 0, error}; }
};

class Transport {
public:
  virtual ~Transport() = default;

  /// The descriptor, or -1 where there is none (then override watch and unwatch, too).
  [[nodiscard]] virtual int fileno() const noexcept = 0;

  /// Closes the descriptor. The stream calls it once, after unwatch.
  virtual void close_fd() noexcept = 0;

  /// Reads at most `size` bytes (at least 1) to `buffer`. Moving fewer than asked says that no more are
  /// there.
  virtual IoResult read_from_fd(char* buffer, std::size_t size) noexcept = 0;

  /// Writes from `pieces` in their order, as much as can be taken now; `count` is at least 1, no piece is
  /// empty.
  virtual IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept = 0;

  /// Ends our side: the peer reads the end of its input after what was written (SHUT_WR). Nothing where there
  /// is no such thing.
  virtual void shutdown_write() noexcept {}

  /// Makes close_fd() break the connection with a reset instead of ending it (SO_LINGER, 0 seconds). Nothing
  /// where there is no such thing.
  virtual void set_abort() noexcept {}

  /// The error that the descriptor holds (SO_ERROR), taking it away; none where there is none.
  [[nodiscard]] virtual std::error_code get_fd_error() noexcept { return {}; }

  /// TCP_NODELAY where there is such a thing, else nothing.
  virtual void set_nodelay(bool) noexcept {}

  /// Starts and stops telling `watcher` of readiness, edge-triggered. @throws std::system_error
  virtual void watch(EventLoop& loop, Watcher& watcher) { loop.watch(fileno(), watcher); }
  virtual void unwatch(EventLoop& loop, Watcher& watcher) noexcept { loop.unwatch(fileno(), watcher); }
};

/// The transport over a connected stream socket (TCP or unix), which it makes non-blocking.
/// @throws std::system_error (fcntl)
std::unique_ptr<Transport> make_socket_transport(Socket socket);

} // namespace squall
