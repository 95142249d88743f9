// SPDX-License-Identifier: BSD-3-Clause
//
// write_queue.hpp: the unsent bytes of a stream in order; third of its four parts.
//
// Bytes are queued by reference. Slices that follow each other in one block become one piece, so that the
// echo of sixteen lines that arrived together is one piece of one system call. Where there are many, small ones are
// copied into joint blocks. A range of a file is a piece, too; its bytes are read when they are sent. Bytes that somebody
// may change (MutableBytes) stay where they are until settle() copies them.
//
// Units      Positions count bytes from the beginning of the stream.
#pragma once

#include <squall/net/bytes.hpp>
#include <squall/net/file.hpp>
#include <squall/net/transport.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace squall {

/// A part of a file.
struct FileRange {
  File file;
  std::uint64_t offset = 0;
  std::size_t size = 0;
};

class WriteQueue {
public:
  /// Bytes that are queued and not sent.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// Those of them that are held in memory.
  [[nodiscard]] std::size_t memory_size() const noexcept { return size_ - file_size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  /// Position of the first unsent byte: how many bytes were sent.
  [[nodiscard]] std::uint64_t begin() const noexcept { return sent_; }
  /// Position behind the last queued byte.
  [[nodiscard]] std::uint64_t end() const noexcept { return sent_ + size_; }

  /// What it costs to keep a piece, beside its bytes: its place, and the head of its block.
  static constexpr std::size_t piece_price = 80;
  [[nodiscard]] std::size_t pieces_price() const noexcept { return (pieces_.size() - first_) * piece_price; }
  /// The memory that it keeps.
  [[nodiscard]] std::size_t kept_size() const noexcept {
    return memory_size() + front_sent_ + joint_room() + pieces_price();
  }

  /// @param stays  they will not be sent in this turn
  /// @throws std::bad_alloc; nothing is queued then
  void append(Bytes&& data, bool stays = false);
  void append_file(FileRange range);

  /// The range of a file that is to be sent next, or null when bytes are.
  [[nodiscard]] const FileRange* front_file() const noexcept {
    return first_ == pieces_.size() ? nullptr : pieces_[first_].file.get();
  }

  /// Fills `slices` with unsent bytes from the first on, up to a file; at most `max_count` pieces.
  /// @returns how many slices were filled
  std::size_t gather(IoSlice* slices, std::size_t max_count) const noexcept;

  /// Copies the bytes that somebody may change, so that nobody can. @returns false where they are more than `most`,
  /// or there is no memory
  bool settle(std::size_t most) noexcept { return changeable_size_ == 0 || copy_changeable(most); }

  /// Drops the first `count` bytes, at most size(): they were sent.
  void advance(std::size_t count) noexcept;

  /// Copies what keeps much more memory than its bytes: what is queued will not be sent in this turn.
  void tighten() noexcept;

  /// Drops the unsent bytes from position `position` on.
  void truncate(std::uint64_t position) noexcept;

private:
  struct Piece {
    [[nodiscard]] std::size_t size() const noexcept { return file ? file->size : bytes.size(); }
    Bytes bytes;
    std::unique_ptr<FileRange> file; ///< instead of bytes, where it is set
  };
  [[nodiscard]] std::size_t joint_room() const noexcept {
    return joint_ == nullptr ? 0 : joint_->capacity() - joint_used_;
  }
  void make_room();
  bool copy_changeable(std::size_t most) noexcept;
  void copy(Piece& piece);
  [[nodiscard]] bool ends_small() const noexcept;
  void join(std::string_view small);

  std::vector<Piece> pieces_;
  detail::Block* joint_ = nullptr; ///< the joint block that the last piece is, if it is one
  std::uint32_t joint_used_ = 0;   ///< of it
  std::uint32_t first_ = 0;        ///< pieces before it are sent
  std::uint32_t tight_ = 0;        ///< pieces before it keep no more than they should
  std::uint32_t front_sent_ = 0;   ///< bytes of the first piece that are sent, as many as count
  std::size_t size_ = 0;
  std::size_t file_size_ = 0;
  std::size_t changeable_size_ = 0; ///< of bytes that somebody may change
  std::uint64_t sent_ = 0;
};

} // namespace squall
