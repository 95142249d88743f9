// SPDX-License-Identifier: BSD-3-Clause
//
// pipe_transport.cpp: the transport over one end of a pipe, or another descriptor that can be polled.
#include "net/sigpipe_guard.hpp"
#include "net/socket_api.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

namespace squall {

namespace {

class PipeTransport final : public Transport {
public:
  explicit PipeTransport(Socket descriptor) : descriptor_{std::move(descriptor)} {
    socket_api::prepare(descriptor_.fd());
    write_only_ = (fcntl(descriptor_.fd(), F_GETFL) & O_ACCMODE) == O_WRONLY;
  }

  [[nodiscard]] int fileno() const noexcept override { return descriptor_.fd(); }
  void close_fd() noexcept override { descriptor_.reset(); }

  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    if (write_only_) // nothing to read, but perhaps the news that the reader left
      return IoResult::failure(reader_left() ? EPIPE : EBADF);
    std::size_t done = 0;
    ssize_t count;
    do {
      count = ::read(descriptor_.fd(), buffer + done, size - done);
      if (count > 0)
        done += static_cast<std::size_t>(count);
      // Only a read that finds nothing says that no more is there: a terminal gives a line; a pipe gives a packet where its
      // writer has O_DIRECT, which its reader cannot know, and loses what of it has no room (pipe(2)).
    } while ((count < 0 && errno == EINTR) || (count > 0 && size - done >= PIPE_BUF));
    if (done > 0)
      return count < 0 && errno == EAGAIN ? IoResult::moved_all(done) : IoResult::moved(done);
    const bool hung_up = count < 0 && errno == EIO; // a terminal whose other side left
    return count == 0 || hung_up ? IoResult::ended() : to_result(count);
  }

  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    constexpr std::size_t most_pieces = 64;
    std::array<iovec, most_pieces> vector;
    count = std::min(count, most_pieces);
    std::transform(pieces, pieces + count, vector.begin(), [](const IoSlice& piece) {
      return iovec{const_cast<void*>(piece.data), piece.size};
    });
    const SigpipeGuard guard; // a pipe knows no MSG_NOSIGNAL
    ssize_t written;
    do
      written = ::writev(descriptor_.fd(), vector.data(), static_cast<int>(count));
    while (written < 0 && errno == EINTR);
    return to_result(written);
  }

private:
  static IoResult to_result(ssize_t count) noexcept {
    if (count >= 0)
      return IoResult::moved(static_cast<std::size_t>(count));
    return errno == EAGAIN ? IoResult::blocked() : IoResult::failure(errno);
  }

  [[nodiscard]] bool reader_left() const noexcept {
    pollfd state{descriptor_.fd(), 0, 0};
    return ::poll(&state, 1, 0) == 1 && (state.revents & POLLERR) != 0;
  }

  Socket descriptor_;
  bool write_only_ = false;
};

} // namespace

std::unique_ptr<Transport> make_pipe_transport(Socket descriptor) {
  return std::make_unique<PipeTransport>(std::move(descriptor));
}

} // namespace squall
