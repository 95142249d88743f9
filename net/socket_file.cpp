// SPDX-License-Identifier: BSD-3-Clause
//
// socket_file.cpp
#include "net/socket_file.hpp"

#include "net/descriptor.hpp"
#include "net/regular_file.hpp"
#include "net/socket_api.hpp"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace squall {

namespace {

[[noreturn]] void fail(int error, const std::string& path, const std::string& why = {}) {
  throw std::system_error{error, std::generic_category(),
                          "cannot listen on " + to_string({path, 0, AddressFamily::unix_domain}) +
                              (why.empty() ? why : " (" + why + ')')};
}

/// Keeps other servers from looking at, and binding in, the directory of `path` while it lives. A server that must not
/// read the directory goes without, and so does one that has waited for a second: the lock is no reason not to start.
class DirectoryLock {
public:
  explicit DirectoryLock(const std::string& path) {
    const std::filesystem::path folder = std::filesystem::path{path}.parent_path();
    directory_ = Socket{
        above_standard(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC))};
    for (int tries = 0; directory_ && tries < 100; ++tries) {
      if (::flock(directory_.fd(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return;
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }

private:
  Socket directory_; // its end is that of the lock
};

/// Removes what a dead server left at `path`. @throws where there is something else, or somebody answers
void remove_stale(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT)
      return;
    fail(errno, path);
  }
  if (S_ISLNK(found.st_mode))
    fail(EEXIST, path,
         "a symbolic link is there, which is not followed: name what it points to, or remove it");
  if (!S_ISSOCK(found.st_mode))
    fail(EEXIST, path, "a file that is no socket is there: remove it, or choose another path");
  Socket probe;
  const int error = socket_api::connect(probe, {path, 0, AddressFamily::unix_domain});
  if (error == ENOENT)
    return;
  if (error != ECONNREFUSED)
    fail(EADDRINUSE, path,
         error == 0 || error == EAGAIN
             ? "a server answers there"
             : "no telling whether a server is there: " + std::generic_category().message(error));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    fail(errno, path, "a socket on which nobody answers cannot be removed");
}

} // namespace

void SocketFile::check(const std::string& path, std::uint32_t mode) {
  const auto refuse = [&](const std::string& why) {
    throw std::invalid_argument{"cannot listen on a unix socket: " + why};
  };
  if (path.empty() || path == "@")
    refuse("its path is empty");
  if (path.find('\0') != std::string::npos)
    refuse("its path has a NUL byte; an abstract name begins with '@' instead");
  const bool is_abstract = path.front() == '@';
  if (path.size() - (is_abstract ? 1 : 0) > most_path_bytes)
    refuse("the path " + quoted_path(path) + " has " + std::to_string(path.size()) +
           " bytes, the system takes " + std::to_string(most_path_bytes) +
           ": choose a shorter one, or one relative to the working directory");
  if (mode > 0777)
    refuse("its mode has more than the permission bits 0777");
}

SocketFile::SocketFile(const std::string& path)
    : path_{std::filesystem::absolute(path).string()}, process_{::getpid()} {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0)
    fail(errno, path);
  device_ = found.st_dev;
  inode_ = found.st_ino;
}

BoundFile SocketFile::bind(const std::string& path, std::uint32_t mode, int backlog) {
  const bool is_abstract = path.front() == '@';
  std::optional<DirectoryLock> lock; // until somebody answers on the socket
  if (!is_abstract) {
    lock.emplace(path);
    remove_stale(path);
  }
  socket_api::Bound bound = socket_api::bind_unix(path, mode);
  if (bound.error != 0)
    fail(bound.error, path);
  BoundFile result{std::move(bound.socket), std::nullopt};
  if (!is_abstract) {
    result.file = SocketFile{path};
    struct stat made {};
    // The umask took bits away. Nobody can connect before listen(2).
    if (::lstat(path.c_str(), &made) == 0 && (made.st_mode & 0777) != mode &&
        ::fchmodat(AT_FDCWD, path.c_str(), static_cast<mode_t>(mode), AT_SYMLINK_NOFOLLOW) != 0) {
      const int error = errno;
      result.file->remove();
      fail(error, path, "its mode cannot be set");
    }
  }
  if (const int error = socket_api::listen(result.socket.fd(), backlog); error != 0) {
    if (result.file)
      result.file->remove();
    fail(error, path);
  }
  return result;
}

void SocketFile::remove() const noexcept {
  struct stat found {};
  if (process_ == ::getpid() && ::lstat(path_.c_str(), &found) == 0 && found.st_dev == device_ &&
      found.st_ino == inode_)
    ::unlink(path_.c_str());
}

} // namespace squall
