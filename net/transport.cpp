// SPDX-License-Identifier: BSD-3-Clause
//
// transport.cpp: what a transport does where it knows nothing better.
#include <squall/net/transport.hpp>

#include <algorithm>
#include <array>
#include <unistd.h>

namespace squall {

std::chrono::milliseconds Transport::handshake_timeout() const noexcept { return default_handshake_timeout; }

IoResult Transport::send_file(int file, std::uint64_t offset, std::size_t size) noexcept {
  std::array<char, 16 * 1024> buffer;
  ssize_t count;
  do
    count = ::pread(file, buffer.data(), std::min(size, buffer.size()), static_cast<off_t>(offset));
  while (count < 0 && errno == EINTR);
  if (count < 0)
    return IoResult::failure(errno);
  if (count == 0)
    return IoResult::ended();
  const IoSlice piece{buffer.data(), static_cast<std::size_t>(count)};
  return write_to_fd(&piece, 1);
}

} // namespace squall
