// SPDX-License-Identifier: BSD-3-Clause
//
// tls_context.hpp: certificates, keys and rules of TLS, checked once and shared by connections.
//
//   squall::TLSContext server{squall::tls_server_options("server.pem", "server.key")};
//   squall::TLSContext client{squall::tls_client_options()};
//
// What holds without being asked for: TLS 1.2 and 1.3 only; ciphers with forward secrecy and authenticated encryption
// only, keys agreed on by elliptic curves only (CVE-2002-20001); a client verifies the chain and the name of its
// server, against subject alternative names only (RFC 6125, RFC 9525), never the common name; no renegotiation
// (CVE-2009-3555), no compression (CVE-2012-4929); a server refuses a ClientHello of more than 16 KiB ("excessive
// message size"), however it is cut, before it makes room for it (CVE-2023-34462). Only what has "insecure" in its name
// turns verification off.
//
// Threads    A context never changes, but for the sessions that it keeps, which it guards; any thread may use it. To
//            change a certificate make a new context: connections keep the one they began with.
// Ownership  TLSContext is a handle; copies share what is behind it.
// Errors     The constructor throws TLSError for a file that cannot be read or used, with the reason and what to do,
//            and std::invalid_argument for options that contradict each other. Files are read then and by reload(),
//            only so.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace squall {

enum class TLSSide : std::uint8_t { client, server };

enum class TLSVersion : std::uint8_t { tls_1_2, tls_1_3 };

/// What a server does about certificates of its clients.
enum class ClientCertificates : std::uint8_t {
  none,    ///< asks for none
  request, ///< asks; a client that sends none is served, one that sends an invalid one is refused
  require, ///< a client without a valid certificate is refused
};

/// What a server does when a client asks for a name that TLSOptions::server_names does not have, or for none.
enum class UnknownServerName : std::uint8_t {
  use_default, ///< serves this context's own certificate
  refuse,      ///< ends the handshake with the alert unrecognized_name
};

inline constexpr std::chrono::milliseconds default_handshake_timeout{10'000};

/// Of tls_client_options(); about 2 KiB each, and what the certificates of their servers need.
inline constexpr std::size_t default_client_session_cache_size = 256;

struct TLSContextState;

/// See the top. Empty, or what the options say.
class TLSContext {
public:
  TLSContext() noexcept = default; ///< none: only assignment, operator bool and == may be used

  /// Reads the files, which may wait for a disk, and checks everything. @throws TLSError, std::invalid_argument
  explicit TLSContext(const struct TLSOptions& options);

  explicit operator bool() const noexcept { return state_ != nullptr; }
  [[nodiscard]] TLSSide side() const noexcept;

  /// A context from the same options, with the files as they are now, also those of server_names; what was given in
  /// memory stays. Sessions of this one are not resumed by it. @throws TLSError when a file cannot be used any more
  [[nodiscard]] TLSContext reload() const;

  /// True when one was made of the other by reload(), or both of a third one, or both are the same.
  [[nodiscard]] bool same_origin(const TLSContext& other) const noexcept;

  /// The same context, not one that is made from the same options.
  friend bool operator==(const TLSContext&, const TLSContext&) = default;

private:
  friend struct TLSContextState;
  std::shared_ptr<const TLSContextState> state_;
};

/// What a TLSContext is made from. Start with tls_server_options or tls_client_options.
struct TLSOptions {
  TLSSide side = TLSSide::client;

  // -- our own certificate: a server needs one; a client only where its server asks for it

  std::string certificate_file; ///< PEM: ours, then those that lead to a root. Paths begin where we are now
  std::string key_file;         ///< PEM
  std::string certificate_pem;  ///< the same in memory; at most one of each two
  std::string key_pem;
  std::string key_password; ///< of an encrypted key; nobody is asked at a terminal

  // -- whom we trust: who signs the server's certificate, or those of clients

  std::string ca_file; ///< PEM
  std::string
      ca_directory; ///< as `openssl rehash` makes it: files like "9d66eef0.0"; read with the other files
  std::string ca_pem;
  /// Trust the system's authorities besides those. A client that names none trusts the system's anyway.
  bool system_ca = false;

  // -- certificates that their authorities took back (RFC 5280, 5). Where lists are given, every certificate of a
  // -- peer's chain needs one of its authority that is not over (nextUpdate): without it, it is refused ("unable to get
  // -- certificate CRL", "CRL has expired"), as is one that is on it ("certificate revoked"). A reload reads the file
  // -- again

  std::string crl_file; ///< PEM, one list or several
  std::string crl_pem;

  ClientCertificates client_certificates = ClientCertificates::none; ///< servers only

  /// Clients only: anyone on the way can read and change everything. See insecure_tls_client_options.
  bool insecure_skip_verification = false;
  /// Clients only: the chain is verified, the name is not. Whoever has any certificate can pass for the server.
  bool insecure_skip_name_check = false;

  // -- what is spoken

  TLSVersion min_version = TLSVersion::tls_1_2;
  TLSVersion max_version = TLSVersion::tls_1_3;

  /// OpenSSL names, separated by ":"; empty: the profile of 2026 (tls_ciphers_2026, and of TLS 1.3 OpenSSL's list).
  std::string ciphers;      ///< of TLS 1.2
  std::string ciphersuites; ///< of TLS 1.3

  /// Protocols above TLS (RFC 7301), best first, each 1 to 255 bytes: "h2". A server refuses a client that offers only
  /// others; one that offers none is served.
  std::vector<std::string> alpn;

  // -- resumption: a returning client saves the certificates of a handshake, and their verification. So a session is
  // -- never one of another context: whoever stops trusting someone makes a new context, and no session outlives that.
  // -- A server resumes none while client_certificates asks for any (CVE-2022-21654, CVE-2025-23419)

  /// Servers only: the client keeps the session, encrypted with a key of this context only, which makes a new one each
  /// session_lifetime, at least each 24 hours, and forgets the old ones when no session of theirs can be resumed any
  /// more.
  bool session_tickets = true;
  /// Sessions that this side keeps; the oldest make room; 0: none. Of a client those that servers gave it, at most 16
  /// of each server (name and port): tls_client_options() sets default_client_session_cache_size. Each is offered once,
  /// and only to the server that gave it; none whose certificate has expired. Of a server those of clients of TLS 1.2
  /// that know no tickets (CVE-2024-2511).
  std::size_t session_cache_size = 0;
  std::chrono::seconds session_lifetime{7200}; ///< 1 s to 7 days (RFC 8446, 4.6.1)

  // -- several names on one address (SNI, RFC 6066). Servers only

  /// Name to context: "example.com", or "*.example.com" for one label in front. Certificates, client certificates,
  /// versions, ciphers, protocols and tickets are those of the name's context; session_cache_size is the one beside
  /// server_names.
  std::map<std::string, TLSContext> server_names;
  UnknownServerName unknown_server_name = UnknownServerName::use_default;

  // -- the connection

  /// The handshake must be done so long after it began, whatever arrives meanwhile; else the stream closes
  /// (CloseReason::tls_failed, ETIMEDOUT). 1 ms to 24 hours.
  std::chrono::milliseconds handshake_timeout = default_handshake_timeout;

  /// Let the kernel encrypt where it can (Linux with the module tls, OpenSSL built for it, as Debian's); TLSInfo says
  /// whether it does. Then the kernel cannot change its keys: a peer that updates those of TLS 1.3 breaks the
  /// connection.
  bool ktls = false;
};

/// TLS 1.2 ciphers of the profile: ECDHE with AES-GCM or ChaCha20-Poly1305. A dated profile never changes.
inline constexpr const char* tls_ciphers_2026 =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

/// A server with this certificate chain and key, both files in PEM.
[[nodiscard]] TLSOptions tls_server_options(std::string certificate_file, std::string key_file);

/// A client that verifies its server against the system's authorities, and resumes sessions.
[[nodiscard]] TLSOptions tls_client_options();

/// A client that verifies nothing, for tests and for certificates that are checked in another way.
[[nodiscard]] TLSOptions insecure_tls_client_options();

/// OpenSSL refused a certificate, a key, a list or a file. what() names it, the reason and what to do.
class TLSError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

} // namespace squall
