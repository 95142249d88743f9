// SPDX-License-Identifier: BSD-3-Clause
//
// log_output.hpp: lines for standard error (or another descriptor of that kind) from a program that must go on, whoever reads
// them.
//
// Nothing here waits for a reader, raises a signal, or changes the flags of a descriptor that other processes have as well. What
// cannot be written now, or at all, is the caller's to count.
//
// Threads    write_at_once may be called by any thread, also from a signal handler. A LineOutput is used by one at a time.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace squall {

/// Writes what there is room for, without waiting. A text of at most PIPE_BUF bytes (pipe(7)) goes into a pipe whole or not at all.
/// @returns how many bytes went; 0 also where `fd` is closed, or nobody reads
std::size_t write_at_once(int fd, std::string_view text) noexcept;

/// For a program's first and last words: waits for room, a second at most, and leaves the rest out then.
void write_soon(int fd, std::string_view text) noexcept;

/// Lines, whole and in their order.
class LineOutput {
public:
  explicit LineOutput(int fd) noexcept : fd_{fd} {}

  /// `line` ends with its end of line. @returns whether it goes; else nothing of it was written
  bool write(std::string_view line) noexcept;

private:
  bool finish() noexcept;

  int fd_;
  std::string rest_; ///< of a line that has begun
};

} // namespace squall
