// SPDX-License-Identifier: BSD-3-Clause
//
// tls_ticket_keys.cpp
#include "net/tls_ticket_keys.hpp"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <algorithm>
#include <new>

namespace squall {

namespace {

constexpr std::chrono::seconds longest_period = std::chrono::hours{24};

bool set_mac(EVP_MAC_CTX* mac, TLSTicketKeys::Key& key) {
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

} // namespace

TLSTicketKeys::TLSTicketKeys(std::chrono::seconds lifetime)
    : lifetime_{lifetime.count()}, period_{std::min(lifetime, longest_period).count()} {}

std::int64_t TLSTicketKeys::now() noexcept {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now())
      .time_since_epoch()
      .count();
}

TLSTicketKeys::~TLSTicketKeys() { forget(keys_.size()); }

std::optional<TLSTicketKeys::Key> TLSTicketKeys::current(std::int64_t now) {
  const std::lock_guard lock{mutex_};
  const auto is_over = [&](const Key& key) { return now - key.made >= period_ + lifetime_; };
  forget(static_cast<std::size_t>(std::find_if_not(keys_.begin(), keys_.end(), is_over) - keys_.begin()));
  if (keys_.empty() || retired(keys_.back(), now)) {
    Key key;
    key.made = now;
    if (RAND_bytes(key.name.data(), static_cast<int>(key.name.size())) != 1 ||
        RAND_priv_bytes(key.cipher.data(), static_cast<int>(key.cipher.size())) != 1 ||
        RAND_priv_bytes(key.mac.data(), static_cast<int>(key.mac.size())) != 1)
      return std::nullopt;
    keys_.push_back(key);
  }
  return keys_.back();
}

std::optional<TLSTicketKeys::Key> TLSTicketKeys::find(const unsigned char* name, std::int64_t now) const {
  const std::lock_guard lock{mutex_};
  for (const Key& key : keys_)
    if (std::equal(key.name.begin(), key.name.end(), name))
      return now - key.made < period_ + lifetime_ ? std::optional{key} : std::nullopt;
  return std::nullopt;
}

/// The oldest.
void TLSTicketKeys::forget(std::size_t count) noexcept {
  for (; count > 0; --count) {
    OPENSSL_cleanse(&keys_.front(), sizeof keys_.front());
    keys_.pop_front();
  }
}

int TLSTicketKeys::use(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher,
                       EVP_MAC_CTX* mac, int encrypts) {
  constexpr int failed = -1; // ends the handshake
  constexpr int unknown = 0; // a full handshake follows
  constexpr int good = 1;
  constexpr int renew = 2; // as good, and the client gets a new ticket
  auto& keys = *static_cast<TLSTicketKeys*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  const std::int64_t now = TLSTicketKeys::now();
  std::optional<Key> key;
  try {
    key = encrypts != 0 ? keys.current(now) : keys.find(name, now);
  } catch (const std::bad_alloc&) {
    return failed;
  }
  if (!key)
    return encrypts != 0 ? failed : unknown;
  bool done;
  if (encrypts != 0) {
    std::copy(key->name.begin(), key->name.end(), name);
    done = RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 &&
           EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv) == 1;
  } else {
    done = EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv) == 1;
  }
  done = done && set_mac(mac, *key);
  // A ticket of TLS 1.3 is for one use (RFC 8446, C.4): OpenSSL makes others only where it is told.
  const bool used_up = encrypts == 0 && (keys.retired(*key, now) || SSL_version(ssl) >= TLS1_3_VERSION);
  OPENSSL_cleanse(&*key, sizeof *key);
  return !done ? failed : used_up ? renew : good;
}

} // namespace squall
