// SPDX-License-Identifier: BSD-3-Clause
//
// descriptor.hpp: new descriptors, kept off the places of the standard streams.
//
// The system gives out the lowest free number. In a process that was started without its standard streams that is one of
// theirs, and what somebody prints then goes to whoever has the number.
#pragma once

#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace squall {

constexpr int first_other_descriptor = 3; ///< behind the standard streams

/// A descriptor that was just made, moved behind the standard streams where it lies among them. Takes what a system call
/// returned: a failure stays one, with its errno, and a move that fails closes the descriptor. Close-on-exec in any case.
inline int above_standard(int fd) noexcept {
  if (fd < 0 || fd >= first_other_descriptor)
    return fd;
  const int moved = ::fcntl(fd, F_DUPFD_CLOEXEC, first_other_descriptor);
  const int error = errno;
  ::close(fd);
  errno = error;
  return moved;
}

/// Gives the process the standard streams that it lacks: /dev/null. For a server's own main function; as long as they are
/// missing, any file that the program opens may become its standard error, and get its log.
inline void open_missing_standard_streams() noexcept {
  for (int fd = ::open("/dev/null", O_RDWR); fd >= 0; fd = ::dup(fd)) {
    if (fd < first_other_descriptor)
      continue;
    ::close(fd);
    return;
  }
}

} // namespace squall
