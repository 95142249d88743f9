// SPDX-License-Identifier: BSD-3-Clause
//
// regular_file.cpp
#include "net/regular_file.hpp"

#include <squall/net/log.hpp>
#include <squall/net/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

[[noreturn]] void fail(int error) { throw UnreadableFile{std::generic_category().message(error), error}; }

/// What else than a regular file it is; nullptr: nothing else.
const char* other_kind(mode_t mode) noexcept {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return nullptr;
  case S_IFDIR:
    return "is a directory";
  case S_IFIFO:
    return "is a FIFO";
  case S_IFSOCK:
    return "is a socket";
  default:
    return "is a device";
  }
}

void check(const struct stat& status, std::size_t max_size) {
  if (const char* kind = other_kind(status.st_mode))
    throw UnreadableFile{kind, 0};
  if (status.st_size > 0 && static_cast<std::uintmax_t>(status.st_size) > max_size)
    throw UnreadableFile{"has more than " + std::to_string(max_size) + " bytes", 0};
}

/// Looks before it opens, since to open a device may do something, and after it, since it may be another file then.
Socket open_regular(const std::string& path, std::size_t max_size, struct stat& status) {
  if (path.find('\0') != std::string::npos)
    throw UnreadableFile{"its name has a NUL byte", 0};
  if (::stat(path.c_str(), &status) != 0)
    fail(errno);
  check(status, max_size);
  int fd;
  do
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  while (fd < 0 && errno == EINTR);
  if (fd < 0)
    fail(errno);
  Socket file{fd};
  if (::fstat(fd, &status) != 0)
    fail(errno);
  check(status, max_size);
  return file;
}

} // namespace

std::string read_regular_file(const std::string& path, std::size_t max_size) {
  constexpr std::size_t least_room = 4096; // files of proc(5) say that they have none
  struct stat status {};
  const Socket file = open_regular(path, max_size, status);
  std::string text;
  std::size_t size = 0;
  for (;;) {
    if (size == text.size()) // one byte more than there should be, so that the next read tells the end
      text.resize(size + std::max({least_room, size, static_cast<std::size_t>(status.st_size) + 1}));
    const ssize_t count = ::read(file.fd(), text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      fail(errno);
    if (count == 0)
      break;
    size += static_cast<std::size_t>(count);
    if (size > max_size) // it has grown
      throw UnreadableFile{"has more than " + std::to_string(max_size) + " bytes", 0};
  }
  text.resize(size);
  return text;
}

std::string absolute_path(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path absolute =
      path.empty() ? std::filesystem::path{} : std::filesystem::absolute(path, unknown);
  return absolute.empty() || unknown ? path : absolute.string();
}

std::string quoted_path(const std::string& path) { return '"' + escape_bytes(path, path.size()) + '"'; }

} // namespace squall
