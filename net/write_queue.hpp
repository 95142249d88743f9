// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue.hpp: the unsent bytes of a stream in order; third of its four parts.
//
// Bytes are queued by reference. Slices that follow each other in one block become one piece, so that the
// echo of sixteen lines that arrived together is one piece of one system call.
//
// Units      Positions count bytes from the beginning of the stream.
#pragma once

#include <squall/net/bytes.hpp>
#include <squall/net/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace squall {

class WriteQueue {
public:
  /// Bytes that are queued and not sent.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Position of the first unsent byte: how many bytes were sent.
  [[nodiscard]] std::uint64_t begin() const noexcept { return sent_; }
  /// Position behind the last queued byte.
  [[nodiscard]] std::uint64_t end() const noexcept { return sent_ + size_; }

  /// @throws std::bad_alloc; nothing is queued then
  void append(Bytes data);

  /// Fills `slices` with unsent bytes from the first on; at most `max_count` pieces.
  /// @returns how many slices were filled
  std::size_t gather(IoSlice* slices, std::size_t max_count) const noexcept;

  /// Drops the first `count` bytes, at most size(): they were sent.
  void advance(std::size_t count) noexcept;

  /// Drops the unsent bytes from position `position` on.
  void truncate(std::uint64_t position) noexcept;

private:
  std::vector<Bytes> pieces_;
  std::size_t first_ = 0; ///< pieces before it are sent
  std::size_t size_ = 0;
  std::uint64_t sent_ = 0;
};

} // namespace squall
