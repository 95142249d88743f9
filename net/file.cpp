// SPDX-License-Identifier: BSD-3-Clause
//
// file.cpp
#include <squall/net/file.hpp>

#include <cerrno>
#include <fcntl.h>
#include <system_error>

namespace squall {

File File::open(const std::string& path) {
  int fd;
  do
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0)
    throw std::system_error{errno, std::generic_category(), path};
  return File{Socket{fd}};
}

} // namespace squall
