// SPDX-License-Identifier: BSD-3-Clause
//
// tls_info.hpp: what the handshake of TLS agreed on, and who the peer proved to be.
//
// Ownership  Plain values.
#pragma once

#include <string>
#include <system_error>
#include <vector>

namespace squall {

/// A certificate that the peer sent.
struct PeerCertificate {
  std::string subject;                   ///< as in RFC 2253: "CN=client,O=Example"
  std::string issuer;                    ///< likewise
  std::vector<std::string> dns_names;    ///< of the subject alternative names; a NUL in one is written "\x00"
  std::vector<std::string> ip_addresses; ///< likewise: "192.0.2.1", "2001:db8::1" in any of its written forms
  std::string pem;

  friend bool operator==(const PeerCertificate&, const PeerCertificate&) = default;
};

struct TLSInfo {
  std::string version; ///< "TLSv1.3"
  std::string cipher;  ///< OpenSSL's name: "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"
  std::string
      server_name;  ///< that the client asked for (SNI, RFC 6066), what is no plain text as "\x00"; or empty
  std::string alpn; ///< the protocol that was chosen (RFC 7301), or empty
  bool resumed = false;   ///< the handshake resumed a session of an earlier one, with the same context
  bool ktls_send = false; ///< the kernel encrypts; see TLSOptions::ktls
  bool ktls_receive = false;
  /// What the peer sent: its own certificate first. Empty where it sent none, which a context that verifies allows to
  /// clients only. It was verified, unless the context does not verify.
  std::vector<PeerCertificate> peer_certificates;

  friend bool operator==(const TLSInfo&, const TLSInfo&) = default;
};

/// Errors of TLS: the values are OpenSSL's own, and message() is its reason: "certificate has expired", "tlsv1 alert
/// unknown ca"; SSL_R_TOO_MANY_KEY_UPDATES is "too many records without data", whichever they were.
[[nodiscard]] const std::error_category& tls_category() noexcept;

} // namespace squall
