// SPDX-License-Identifier: BSD-3-Clause
//
// tls_context_state.hpp: what is behind a TLSContext.
//
// Threads    Never changes after it is made, but for what is guarded: OpenSSL's session cache, the sessions of a client, the
//            keys of tickets.
#pragma once

#include <squall/net/tls_context.hpp>

#include <openssl/ssl.h>

#include <array>
#include <string>
#include <string_view>

namespace squall {

/// Frees what OpenSSL made.
template <auto free>
struct OpenSSLDelete {
  template <class T>
  void operator()(T* made) const noexcept {
    free(made);
  }
};

class TLSFiles;
class TLSSessions;
class TLSTicketKeys;

struct TLSContextState {
  /// @param read_before  holds the files of `options`; nullptr: they are read now
  explicit TLSContextState(const TLSOptions& options, const TLSFiles* read_before = nullptr);
  ~TLSContextState();
  static const TLSContextState& of(const TLSContext& context) noexcept { return *context.state_; }

  /// TLSContext::reload with files that were read before, which waits for nothing.
  static TLSContext reload(const TLSContext& context, const TLSFiles& files);

  /// The context of the name that a client asks for, this one for an unknown name, or nullptr to refuse it.
  [[nodiscard]] const TLSContextState* find(std::string_view server_name) const;
  /// The client needs the name of its server.
  [[nodiscard]] bool checks_name() const noexcept {
    return options.side == TLSSide::client && !options.insecure_skip_verification &&
           !options.insecure_skip_name_check;
  }

  /// The same of those that were reloaded from it.
  std::shared_ptr<const void> origin = std::make_shared<char>();
  TLSOptions options; ///< all of them, for TLSContext::reload
  std::unique_ptr<SSL_CTX, OpenSSLDelete<&SSL_CTX_free>> ctx;
  std::array<unsigned char, 16> session_id_context{}; ///< sessions of another context are not resumed
  std::unique_ptr<TLSSessions> sessions;      ///< that servers gave this client; or nothing: it keeps none
  std::unique_ptr<TLSTicketKeys> ticket_keys; ///< of a server
};

/// OpenSSL's first reason in this thread's error queue, which is emptied.
std::string take_tls_reason();

} // namespace squall
