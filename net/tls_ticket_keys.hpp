// SPDX-License-Identifier: BSD-3-Clause
//
// tls_ticket_keys.hpp: the keys of a server's session tickets (RFC 5077, 4), and when they change.
//
// OpenSSL's own keys live as long as their context: who gets hold of them later can read every connection of TLS 1.2 that
// resumed until then.
//
// Threads    Any.
#pragma once

#include "net/tls_context_state.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>

namespace squall {

class TLSTicketKeys {
public:
  struct Key {
    std::array<unsigned char, 16> name{}; ///< which a ticket begins with
    std::array<unsigned char, 32> cipher{};
    std::array<unsigned char, 32> mac{};
    std::int64_t made = 0;
  };

  /// In seconds, as each `now` below. Not the time of day: who sets that back would keep keys in use.
  static std::int64_t now() noexcept;

  /// @param lifetime  of a session
  explicit TLSTicketKeys(std::chrono::seconds lifetime);
  TLSTicketKeys(const TLSTicketKeys&) = delete;
  TLSTicketKeys& operator=(const TLSTicketKeys&) = delete;
  ~TLSTicketKeys();

  /// The key for tickets that are made at `now`; nothing when OpenSSL has no random numbers.
  std::optional<Key> current(std::int64_t now);
  /// The key of a ticket that comes at `now`; nothing: it is unknown, or too old.
  std::optional<Key> find(const unsigned char* name, std::int64_t now) const;
  /// Tickets are made with `key` no longer: the client gets a new one.
  [[nodiscard]] bool retired(const Key& key, std::int64_t now) const noexcept {
    return now - key.made >= period_;
  }

  /// For SSL_CTX_set_tlsext_ticket_key_evp_cb(3); the context has the keys as its app data.
  static int use(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac,
                 int encrypts);

private:
  void forget(std::size_t count) noexcept;

  const std::int64_t lifetime_;
  const std::int64_t period_; ///< for which a key makes tickets
  mutable std::mutex mutex_;
  std::deque<Key> keys_; ///< the oldest first
};

} // namespace squall
