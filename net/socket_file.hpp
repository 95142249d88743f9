// SPDX-License-Identifier: BSD-3-Clause
//
// socket_file.hpp: the file of a listening unix socket: how it comes to be there, and how it goes.
//
// Errors     std::system_error and std::invalid_argument with the path in their text.
#pragma once

#include <squall/net/socket.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>

namespace squall {

struct BoundFile;

/// Knows the file by its inode, so that it never removes another one.
class SocketFile {
public:
  static constexpr std::size_t most_path_bytes = 107; ///< sun_path, less its NUL (unix(7))

  /// @throws std::invalid_argument where bind() cannot be tried
  static void check(const std::string& path, std::uint32_t mode);

  /// Binds and listens; see bind_unix_socket. `path` and `mode` are checked.
  static BoundFile bind(const std::string& path, std::uint32_t mode, int backlog);

  /// Removes the file if it is still there, in the process that made it. Call it while the socket is open: until then
  /// no other file gets its inode.
  void remove() const noexcept;

private:
  /// Of the file that is at `path` now. @throws std::system_error
  explicit SocketFile(const std::string& path);

  std::string path_; ///< absolute: the process may change its working directory
  dev_t device_ = 0;
  ino_t inode_ = 0;
  pid_t process_ = -1;
};

struct BoundFile {
  Socket socket;
  std::optional<SocketFile> file; ///< none for an abstract name
};

} // namespace squall
