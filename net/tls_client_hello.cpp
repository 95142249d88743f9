// SPDX-License-Identifier: BSD-3-Clause
//
// tls_client_hello.cpp: follows the heads of records and messages.
#include "net/tls_client_hello.hpp"

#include <algorithm>

namespace squall {

namespace {

constexpr std::uint8_t record_head = 5;  // type, version, version, size, size
constexpr std::uint8_t message_head = 4; // type, size, size, size
constexpr std::uint8_t change_cipher_spec = 20;
constexpr std::uint8_t application_data = 23;
constexpr std::uint8_t handshake = 22;
constexpr std::uint32_t client_hello = 1;

} // namespace

bool ClientHelloCheck::admits(std::string_view bytes) noexcept {
  while (!bytes.empty() && !stopped_) {
    const auto byte = static_cast<unsigned char>(bytes.front());
    if (record_head_size_ < record_head) {
      if (record_head_size_ == 0)
        record_type_ = byte;
      record_left_ = static_cast<std::uint16_t>(record_left_ << 8U | byte); // its last two bytes stay
      ++record_head_size_;
      bytes.remove_prefix(1);
      // Not of TLS; or of SSL 2, whose ClientHello is no longer than a record.
      stopped_ = record_type_ < change_cipher_spec || record_type_ > application_data;
      continue;
    }
    if (record_left_ == 0) {
      record_head_size_ = 0;
      continue;
    }
    if (record_type_ == handshake && message_left_ == 0) {
      --record_left_;
      bytes.remove_prefix(1);
      if (!take_head_byte(byte))
        return false;
      continue;
    }
    const std::size_t body =
        record_type_ == handshake ? std::min<std::size_t>(message_left_, record_left_) : record_left_;
    const std::size_t passed = std::min(body, bytes.size());
    record_left_ = static_cast<std::uint16_t>(record_left_ - passed);
    if (record_type_ == handshake)
      message_left_ -= static_cast<std::uint32_t>(passed);
    bytes.remove_prefix(passed);
  }
  return true;
}

bool ClientHelloCheck::take_head_byte(unsigned char byte) noexcept {
  message_head_ = message_head_ << 8U | byte;
  if (++message_head_size_ < message_head)
    return true;
  message_head_size_ = 0;
  constexpr unsigned type_shift = 24;
  message_left_ = message_head_ & 0xffffffU;
  stopped_ = message_head_ >> type_shift != client_hello;
  return stopped_ || message_left_ <= most - message_head;
}

} // namespace squall
