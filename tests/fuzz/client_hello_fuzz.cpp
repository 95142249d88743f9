// SPDX-License-Identifier: BSD-3-Clause
//
// client_hello_fuzz.cpp: whatever a client sends first, what is admitted depends on the bytes alone and not on how they
// arrive, and no ClientHello above the limit is.
#include "net/tls_client_hello.hpp"
#include "tests/fuzz/require.hpp"

#include <algorithm>
#include <optional>
#include <string>

namespace squall {
namespace {

constexpr std::size_t record_head = 5;
constexpr std::size_t message_head = 4;

std::size_t number(std::string_view bytes) {
  std::size_t value = 0;
  for (const char byte : bytes)
    value = value << 8U | static_cast<unsigned char>(byte);
  return value;
}

/// What the records of handshake messages hold, as far as they are there; up to what is no record of TLS. Between the
/// records may be others, such as a change_cipher_spec.
std::string handshake_bytes(std::string_view bytes) {
  std::string found;
  while (bytes.size() >= record_head && bytes[0] >= 20 && bytes[0] <= 23) {
    const std::size_t size = number(bytes.substr(3, 2));
    if (bytes[0] == 22)
      found += bytes.substr(record_head, size);
    bytes.remove_prefix(std::min(bytes.size(), record_head + size));
  }
  return found;
}

/// The first ClientHello in a row of them declares more than is allowed.
bool declares_too_much(std::string_view messages) {
  while (messages.size() >= message_head && messages[0] == 1) {
    const std::size_t size = number(messages.substr(1, 3));
    if (size > ClientHelloCheck::most - message_head)
      return true;
    messages.remove_prefix(std::min(messages.size(), message_head + size));
  }
  return false;
}

bool admits_in_pieces(std::string_view bytes, std::size_t piece) {
  ClientHelloCheck check;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size())))
    if (!check.admits(bytes.substr(0, piece)))
      return false;
  return true;
}

void check(const std::string& bytes) {
  const bool admitted = admits_in_pieces(bytes, bytes.size() + 1);
  require(admitted == !declares_too_much(handshake_bytes(bytes)),
          "what is refused declares too much, and only that");
  for (const std::size_t piece : {1U, 2U, 3U, 7U})
    require(admits_in_pieces(bytes, piece) == admitted, "the outcome does not depend on the pieces");
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes{reinterpret_cast<const char*>(data), size};
  squall::check(bytes);
  // The head of a record with a handshake message is hard to guess.
  const std::string head{"\x16\x03\x01", 3};
  const char sizes[] = {static_cast<char>(size >> 8U), static_cast<char>(size)};
  squall::check(head + std::string{sizes, 2} + bytes);
  squall::check(head + std::string{sizes, 2} + '\x01' + bytes);
  return 0;
}
