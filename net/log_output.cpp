// SPDX-License-Identifier: BSD-3-Clause
//
// log_output.cpp
//
// Whether a call waits is a flag of the open file, which all processes share that have the descriptor (fcntl(2)): it is not ours
// to set. A pipe or a terminal is therefore opened once more, through /proc/self/fd, for an open file of our own. That is done
// for each line: lines are few, and descriptor 2 may be another file by the time of the next.
#include "net/log_output.hpp"

#include "net/descriptor.hpp"
#include "net/sigpipe_guard.hpp"
#include "net/socket_api.hpp"

#include <algorithm>
#include <chrono>
#include <climits>
#include <new>
#include <poll.h>
#include <sys/stat.h>

namespace squall {

namespace {

std::size_t count_of(ssize_t written) noexcept { return written > 0 ? static_cast<std::size_t>(written) : 0; }

/// Another open file for what `fd` is, which never waits.
int open_again(int fd) noexcept {
  char path[] = "/proc/self/fd/..........";
  char* const end = path + sizeof path - 1;
  char* const number = end - 10;
  char* digit = end;
  for (int rest = fd; rest > 0 || digit == end; rest /= 10)
    *--digit = static_cast<char>('0' + rest % 10);
  *std::copy(digit, end, number) = '\0';
  return above_standard(::open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
}

/// Where it cannot be opened again: /proc is not mounted, the pipe is somebody else's, no descriptor is left. It waits only if
/// another process takes the room between the two calls.
std::size_t write_if_ready(int fd, std::string_view text) noexcept {
  pollfd ready{fd, POLLOUT, 0};
  if (::poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0)
    return 0;
  return count_of(::write(fd, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF)));
}

} // namespace

std::size_t write_at_once(int fd, std::string_view text) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) != 0)
    return 0;
  if (S_ISSOCK(status.st_mode))
    return socket_api::send_at_once(fd, text);
  const SigpipeGuard guard;
  if (S_ISREG(status.st_mode)) // the offset in it may be shared, and it has no readers to wait for
    return count_of(::write(fd, text.data(), text.size()));
  const int own = open_again(fd);
  if (own < 0)
    return errno == ENXIO ? 0 : write_if_ready(fd, text); // ENXIO: nobody has the pipe open to read (fifo(7))
  const std::size_t written = count_of(::write(own, text.data(), text.size()));
  const int error = errno; // for the guard
  ::close(own);
  errno = error;
  return written;
}

void write_soon(int fd, std::string_view text) noexcept {
  const auto last = std::chrono::steady_clock::now() + std::chrono::seconds{1};
  for (bool ready = true; ready && !text.empty();) {
    const std::size_t written = write_at_once(fd, text);
    text.remove_prefix(written);
    const auto time = std::chrono::ceil<std::chrono::milliseconds>(last - std::chrono::steady_clock::now());
    pollfd room{fd, POLLOUT, 0};
    if (written == 0) // a disk that is full has room, says poll(2), and a pipe that is gone an error
      ready = ::poll(&room, 1, 0) == 0 && ::poll(&room, 1, std::max(0, static_cast<int>(time.count()))) == 1;
  }
}

bool LineOutput::write(std::string_view line) noexcept {
  if (!finish())
    return false;
  const std::size_t written = write_at_once(fd_, line);
  if (written == 0)
    return false;
  try {
    rest_.assign(line.substr(written));
  } catch (const std::bad_alloc&) {
    rest_ = "\n"; // which needs no memory: at least the next line is one of its own
  }
  finish();
  return true;
}

bool LineOutput::finish() noexcept {
  while (!rest_.empty()) {
    const std::size_t written = write_at_once(fd_, rest_);
    if (written == 0)
      return false;
    rest_.erase(0, written);
  }
  return true;
}

} // namespace squall
