// SPDX-License-Identifier: BSD-3-Clause
//
// file.hpp: an open file whose bytes a stream sends (WriteFile).
//
// Threads    Copies may be used by any threads: files are read at given offsets, never at the descriptor's own.
// Ownership  Copies share the descriptor, which closes with the last of them.
#pragma once

#include <squall/net/socket.hpp>

#include <memory>
#include <string>

namespace squall {

class File {
public:
  File() noexcept = default; ///< no file

  /// Takes over a descriptor that is open for reading.
  explicit File(Socket descriptor) : descriptor_{std::make_shared<const Socket>(std::move(descriptor))} {}

  /// Opens a file for reading, without waiting. @throws std::system_error naming `path`
  static File open(const std::string& path);

  /// -1 where there is no file.
  [[nodiscard]] int fd() const noexcept { return descriptor_ == nullptr ? -1 : descriptor_->fd(); }

  friend bool operator==(const File&, const File&) noexcept = default;

private:
  std::shared_ptr<const Socket> descriptor_;
};

} // namespace squall
