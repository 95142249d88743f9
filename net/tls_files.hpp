// SPDX-License-Identifier: BSD-3-Clause
//
// tls_files.hpp: the files of TLS, as they are at one moment, so that OpenSSL opens none.
//
// OpenSSL would wait for the writer of a FIFO, and would look into directories of authorities in the midst of
// handshakes.
//
// Threads    One that may wait for a disk: none of a loop.
#pragma once

#include <squall/net/tls_context.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace squall {

/// A certificate or a key has a few KiB, the authorities of a system some hundred; only lists of what was revoked are
/// large.
inline constexpr std::size_t max_tls_file_size = std::size_t{64} * 1024 * 1024;

class TLSFiles {
public:
  /// @param before  is told the path of each file and directory before it is read
  explicit TLSFiles(std::function<void(const std::string& path)> before = {}) : before_{std::move(before)} {}

  /// Reads the files of `options`, whose paths are absolute. @throws TLSError naming the first that cannot be read
  void read(const TLSOptions& options);
  /// Those that a reload of `context` needs, also for its server_names.
  void read(const TLSContext& context);

  /// Of a file that was read.
  [[nodiscard]] const std::string& text(const std::string& path) const { return texts_.at(path); }

  /// A file of authorities, or lists of what they took back.
  struct Hashed {
    std::string path;
    bool is_list; ///< of what was revoked
  };
  /// Of a directory that was read: what `openssl rehash` named, in the order of the names.
  [[nodiscard]] const std::vector<Hashed>& hashed(const std::string& directory) const {
    return directories_.at(directory);
  }
  /// The file of the system's authorities: that of SSL_CERT_FILE, or OpenSSL's own. "": it could not be read, or was
  /// not asked for.
  [[nodiscard]] const std::string& system_file() const noexcept { return system_file_; }
  /// The directories of the system's authorities: those of SSL_CERT_DIR, or OpenSSL's own, also such as do not exist.
  /// Each was read as far as that was possible.
  [[nodiscard]] const std::vector<std::string>& system_directories() const noexcept {
    return system_directories_;
  }

private:
  void read_text(const std::string& path);
  void read_file(const char* what, const std::string& path);
  void read_directory(const std::string& path, bool must);
  void read_system();

  std::function<void(const std::string&)> before_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, std::vector<Hashed>> directories_;
  std::string system_file_;
  std::vector<std::string> system_directories_;
  bool system_read_ = false;
};

/// A client trusts the system's authorities where it names no others.
[[nodiscard]] bool trusts_system(const TLSOptions& options) noexcept;

} // namespace squall
