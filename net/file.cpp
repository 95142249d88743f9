// SPDX-License-Identifier: BSD-3-Clause
//
// file.cpp
#include "net/descriptor.hpp"
#include <squall/net/file.hpp>
#include <squall/net/log.hpp>

#include <cerrno>
#include <fcntl.h>
#include <system_error>

namespace squall {

File File::open(const std::string& path) {
  if (path.find('\0') != std::string::npos)
    throw std::system_error{EINVAL, std::generic_category(), "a path with a NUL byte"};
  int fd;
  do // O_NONBLOCK: a FIFO would wait for its writer; it says nothing to a regular file (open(2))
    fd = above_standard(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  while (fd < 0 && errno == EINTR);
  if (fd < 0)
    throw std::system_error{errno, std::generic_category(), escape_bytes(path, path.size())};
  return File{Socket{fd}};
}

} // namespace squall
