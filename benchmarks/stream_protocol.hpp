// SPDX-License-Identifier: BSD-3-Clause
//
// stream_protocol.hpp: what the stream servers and their load agree on.
//
// sink    reads until the end of input, then answers with the number of bytes that it read (a word).
// source  is sent words, and answers each with so many bytes.
// relay   is sent a word, the port to connect to on loopback; then it hands on what arrives on either side to
//         the other, the end included.
//
// All bytes are those of one endless sequence: pieces of 1 MiB, each word of which holds its own offset in
// the piece. So bytes that are lost, doubled or out of order show, for the price of one comparison for each
// receive.
//
// Units   A word has 8 bytes in the machine's order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace bench {

inline constexpr std::size_t piece_size = 1024 * 1024;
/// What the servers read at once.
inline constexpr std::size_t buffer_size = 64 * 1024;

inline std::uint64_t word_at(const char* data) {
  std::uint64_t word = 0;
  std::memcpy(&word, data, sizeof word);
  return word;
}

inline std::string to_bytes(std::uint64_t word) {
  std::string bytes(sizeof word, '\0');
  std::memcpy(bytes.data(), &word, sizeof word);
  return bytes;
}

inline std::string make_piece() {
  std::string piece(piece_size, '\0');
  for (std::uint64_t offset = 0; offset < piece_size; offset += sizeof offset)
    std::memcpy(piece.data() + offset, &offset, sizeof offset);
  return piece;
}

/// Whether `data` can be what lies at `position` of the sequence: looks at its first whole word.
inline bool belongs_at(std::uint64_t position, std::string_view data) {
  const std::size_t skipped = (sizeof position - position % sizeof position) % sizeof position;
  if (data.size() < skipped + sizeof position)
    return true;
  return word_at(data.data() + skipped) == (position + skipped) % piece_size;
}

} // namespace bench
