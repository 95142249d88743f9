// SPDX-License-Identifier: BSD-3-Clause
//
// regular_file.hpp: files that are read whole: certificates, lists, configurations.
//
// Threads    Any that may wait for a disk: none of a loop.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace squall {

/// A file that cannot be read; what() is why, without its name: "is a directory".
class UnreadableFile : public std::runtime_error {
public:
  UnreadableFile(const std::string& why, int error) : std::runtime_error{why}, error_{error} {}
  /// The errno; 0: the system would read it.
  [[nodiscard]] int error() const noexcept { return error_; }

private:
  int error_;
};

/// The bytes of the file at `path`. Only a regular one is opened: a FIFO would wait for its writer, a device has no end.
/// @throws UnreadableFile, also for more than `max_size` bytes
std::string read_regular_file(const std::string& path, std::size_t max_size);

/// `path` as one that means the same wherever the process is later. It is returned as it is when it is empty, and when the
/// system does not tell where the process is.
std::string absolute_path(const std::string& path);

/// `path` in quotes, whole, fit for a message.
std::string quoted_path(const std::string& path);

} // namespace squall
