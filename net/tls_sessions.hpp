// SPDX-License-Identifier: BSD-3-Clause
//
// tls_sessions.hpp: the sessions that servers gave a client, to be resumed later.
//
// A session is kept under the server that gave it, and handed out once: tickets of TLS 1.3 are for one use, so that nobody
// on the way can tell that two connections are of one client (RFC 8446, C.4), and a session with which a handshake fails is
// not tried again.
//
// Threads    Any. Each session belongs to the store alone, then to whom it was handed out.
#pragma once

#include "net/tls_context_state.hpp"

#include <list>
#include <map>
#include <mutex>

namespace squall {

using SessionPtr = std::unique_ptr<SSL_SESSION, OpenSSLDelete<&SSL_SESSION_free>>;

class TLSSessions {
public:
  /// @param most  sessions that are kept; the oldest make room
  explicit TLSSessions(std::size_t most) : most_{most} {}

  /// Keeps a copy of `session` for `server`, if it can be resumed. @throws std::bad_alloc
  void keep(const std::string& server, const SSL_SESSION& session);

  /// The newest of `server` that is still good, or nothing.
  SessionPtr take(const std::string& server) noexcept;

  [[nodiscard]] std::size_t size() const;

  /// Of one server, so that a busy one does not take the place of all others.
  static constexpr std::size_t most_of_one_server = 16;

private:
  struct Kept;
  using ByAge = std::list<Kept>; // the oldest first
  using ByServer = std::multimap<std::string, ByAge::iterator, std::less<>>;
  struct Kept {
    SessionPtr session;
    ByServer::iterator place;
  };
  SessionPtr remove(ByServer::iterator place) noexcept;

  const std::size_t most_;
  mutable std::mutex mutex_;
  ByAge by_age_;
  ByServer by_server_; ///< of one server, the oldest first
};

} // namespace squall
