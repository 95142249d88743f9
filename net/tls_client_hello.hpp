// SPDX-License-Identifier: BSD-3-Clause
//
// tls_client_hello.hpp: how large a ClientHello may be.
//
// OpenSSL takes 128 KiB, and makes room for what the first four bytes of the message declare: each connection could have that
// for a handful of bytes. So the bytes are looked at before OpenSSL has them: no more than the heads of records (RFC 8446,
// 5.1) and of handshake messages (RFC 8446, 4), however they are cut. What is no ClientHello is OpenSSL's to refuse.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace squall {

class ClientHelloCheck {
public:
  /// The whole message with its head, as it fits into one record.
  static constexpr std::size_t most = 16'384;

  /// Goes on with the next bytes of the connection; false: they declare a larger ClientHello. Each byte is looked at once.
  bool admits(std::string_view bytes) noexcept;

  /// What comes from now on cannot be read, or is no ClientHello.
  void stop() noexcept { stopped_ = true; }

private:
  bool take_head_byte(unsigned char byte) noexcept;

  std::uint32_t message_left_ = 0; ///< bytes of the body of a message that are still to come
  std::uint32_t message_head_ = 0; ///< its bytes so far: type, size
  std::uint16_t record_left_ = 0;  ///< bytes of the record that are still to come, once its head is complete
  std::uint8_t record_type_ = 0;
  std::uint8_t record_head_size_ = 0;
  std::uint8_t message_head_size_ = 0;
  bool stopped_ = false;
};

} // namespace squall
