// SPDX-License-Identifier: BSD-3-Clause
//
// tls_sessions.cpp: which sessions a client keeps, and which it offers again.
#include "net/tls_sessions.hpp"

#include <openssl/x509.h>

#include <ctime>
#include <new>

namespace squall {

namespace {

/// Its lifetime, and that of the server's certificate, which a resumption does not verify again, are not over.
bool is_good(const SSL_SESSION& session) {
  const std::time_t now = std::time(nullptr);
  const auto age = static_cast<long>(now) - SSL_SESSION_get_time(&session);
  if (age < 0 || age >= SSL_SESSION_get_timeout(&session))
    return false;
  const X509* certificate = SSL_SESSION_get0_peer(const_cast<SSL_SESSION*>(&session));
  return certificate == nullptr || X509_cmp_current_time(X509_get0_notAfter(certificate)) > 0;
}

} // namespace

void TLSSessions::keep(const std::string& server, const SSL_SESSION& session) {
  if (most_ == 0 || SSL_SESSION_is_resumable(&session) != 1)
    return;
  // The connection goes on with its own, and may change it while another thread resumes this one.
  SessionPtr copy{SSL_SESSION_dup(&session)};
  if (copy == nullptr)
    throw std::bad_alloc{};
  const std::lock_guard lock{mutex_};
  const auto place = by_server_.emplace(server, by_age_.end());
  try {
    place->second = by_age_.insert(by_age_.end(), Kept{std::move(copy), place});
  } catch (const std::bad_alloc&) {
    by_server_.erase(place);
    throw;
  }
  if (by_server_.count(server) > most_of_one_server)
    remove(by_server_.lower_bound(server));
  if (by_age_.size() > most_)
    remove(by_age_.front().place);
}

SessionPtr TLSSessions::take(const std::string& server) noexcept {
  const std::lock_guard lock{mutex_};
  for (;;) {
    auto place = by_server_.upper_bound(server);
    if (place == by_server_.begin() || (--place)->first != server)
      return nullptr;
    SessionPtr session = remove(place);
    if (is_good(*session))
      return session;
  }
}

SessionPtr TLSSessions::remove(ByServer::iterator place) noexcept {
  SessionPtr session = std::move(place->second->session);
  by_age_.erase(place->second);
  by_server_.erase(place);
  return session;
}

std::size_t TLSSessions::size() const {
  const std::lock_guard lock{mutex_};
  return by_age_.size();
}

} // namespace squall
