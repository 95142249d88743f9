// SPDX-License-Identifier: BSD-3-Clause
//
// tls_support.hpp: certificates made while the test runs, and the other end of a TLS connection, with OpenSSL used
// directly: so that no mistake of ours is made twice.
#pragma once

#include "net/sigpipe_guard.hpp"
#include "tests/net/support.hpp"
#include <squall/net/tls_context.hpp>
#include <squall/net/transport.hpp>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <vector>

namespace squall::testing_support {

template <auto free>
struct Frees {
  template <class T>
  void operator()(T* made) const {
    free(made);
  }
};
using X509Ptr = std::unique_ptr<X509, Frees<&X509_free>>;
using PKeyPtr = std::unique_ptr<EVP_PKEY, Frees<&EVP_PKEY_free>>;
using SslCtxPtr = std::unique_ptr<SSL_CTX, Frees<&SSL_CTX_free>>;
using SslPtr = std::unique_ptr<SSL, Frees<&SSL_free>>;
using MemoryBio = std::unique_ptr<BIO, Frees<&BIO_free_all>>;

inline std::string text_of(const MemoryBio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

/// What a certificate of a test says.
struct CertificateSpec {
  std::string common_name = "test";
  std::vector<std::string> dns_names = {};    ///< may hold NULs
  std::vector<std::string> ip_addresses = {}; ///< as text
  long begins = -3600;                        ///< seconds from now
  long ends = 24 * 3600;
  int extended_key_usage = 0; ///< a NID, or 0: none
  bool is_authority = false;
};

/// A certificate with its key.
struct Identity {
  X509Ptr certificate;
  PKeyPtr key;

  [[nodiscard]] std::string certificate_pem() const {
    const MemoryBio bio{BIO_new(BIO_s_mem())};
    PEM_write_bio_X509(bio.get(), certificate.get());
    return text_of(bio);
  }
  [[nodiscard]] std::string key_pem(const char* password = nullptr) const {
    const MemoryBio bio{BIO_new(BIO_s_mem())};
    PEM_write_bio_PrivateKey(bio.get(), key.get(), password != nullptr ? EVP_aes_128_cbc() : nullptr, nullptr,
                             0, nullptr, const_cast<char*>(password));
    return text_of(bio);
  }
};

inline void add_extension(X509& certificate, int nid, const char* value) {
  const std::unique_ptr<X509_EXTENSION, Frees<&X509_EXTENSION_free>> extension{
      X509V3_EXT_conf_nid(nullptr, nullptr, nid, value)};
  ASSERT_NE(extension, nullptr);
  X509_add_ext(&certificate, extension.get(), -1);
}

inline void add_alternative_names(X509& certificate, const CertificateSpec& spec) {
  const std::unique_ptr<GENERAL_NAMES, Frees<&GENERAL_NAMES_free>> names{sk_GENERAL_NAME_new_null()};
  for (const std::string& name : spec.dns_names) {
    ASN1_IA5STRING* text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, name.data(), static_cast<int>(name.size()));
    GENERAL_NAME* general = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(general, GEN_DNS, text);
    sk_GENERAL_NAME_push(names.get(), general);
  }
  for (const std::string& address : spec.ip_addresses) {
    GENERAL_NAME* general = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(general, GEN_IPADD, a2i_IPADDRESS(address.c_str()));
    sk_GENERAL_NAME_push(names.get(), general);
  }
  if (sk_GENERAL_NAME_num(names.get()) > 0)
    X509_add1_ext_i2d(&certificate, NID_subject_alt_name, names.get(), 0, 0);
}

/// Signed by `issuer`, or by itself.
inline Identity issue(const CertificateSpec& spec, const Identity* issuer = nullptr) {
  static std::atomic<long> serial{1};
  Identity made{X509Ptr{X509_new()}, PKeyPtr{EVP_EC_gen("P-256")}};
  X509& certificate = *made.certificate;
  X509_set_version(&certificate, X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(&certificate), serial++);
  X509_gmtime_adj(X509_getm_notBefore(&certificate), spec.begins);
  X509_gmtime_adj(X509_getm_notAfter(&certificate), spec.ends);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(&certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(spec.common_name.data()),
                             static_cast<int>(spec.common_name.size()), -1, 0);
  X509_set_pubkey(&certificate, made.key.get());
  X509_set_issuer_name(&certificate,
                       X509_get_subject_name(issuer != nullptr ? issuer->certificate.get() : &certificate));
  add_extension(certificate, NID_basic_constraints,
                spec.is_authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (spec.is_authority)
    add_extension(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  if (spec.extended_key_usage != 0)
    add_extension(certificate, NID_ext_key_usage, OBJ_nid2sn(spec.extended_key_usage));
  add_alternative_names(certificate, spec);
  X509_sign(&certificate, issuer != nullptr ? issuer->key.get() : made.key.get(), EVP_sha256());
  return made;
}

/// A list of `authority`, in PEM, with the certificates that it took back. @param ends  seconds from now
inline std::string revocation_list(const Identity& authority, const std::vector<const Identity*>& revoked,
                                   long ends = 24 * 3600) {
  const std::unique_ptr<X509_CRL, Frees<&X509_CRL_free>> list{X509_CRL_new()};
  const std::unique_ptr<ASN1_TIME, Frees<&ASN1_TIME_free>> begin{X509_gmtime_adj(nullptr, -7200)};
  const std::unique_ptr<ASN1_TIME, Frees<&ASN1_TIME_free>> end{X509_gmtime_adj(nullptr, ends)};
  X509_CRL_set_version(list.get(), X509_CRL_VERSION_2);
  X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(authority.certificate.get()));
  X509_CRL_set1_lastUpdate(list.get(), begin.get());
  X509_CRL_set1_nextUpdate(list.get(), end.get());
  for (const Identity* one : revoked) {
    X509_REVOKED* entry = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(one->certificate.get()));
    X509_REVOKED_set_revocationDate(entry, begin.get());
    X509_CRL_add0_revoked(list.get(), entry);
  }
  X509_CRL_sort(list.get());
  X509_CRL_sign(list.get(), authority.key.get(), EVP_sha256());
  const MemoryBio bio{BIO_new(BIO_s_mem())};
  PEM_write_bio_X509_CRL(bio.get(), list.get());
  return text_of(bio);
}

/// Whom the tests trust, and the server's identity of those that need no other: "localhost", 127.0.0.1.
inline const Identity& test_authority() {
  static const Identity authority = issue({.common_name = "Test Authority", .is_authority = true});
  return authority;
}
inline const Identity& test_server() {
  static const Identity server =
      issue({.common_name = "server", .dns_names = {"localhost"}, .ip_addresses = {"127.0.0.1"}},
            &test_authority());
  return server;
}

inline TLSOptions server_options(const Identity& identity = test_server()) {
  TLSOptions options = tls_server_options("", "");
  options.certificate_pem = identity.certificate_pem();
  options.key_pem = identity.key_pem();
  return options;
}

/// Trusts the tests' authority.
inline TLSOptions client_options() {
  TLSOptions options = tls_client_options();
  options.ca_pem = test_authority().certificate_pem();
  return options;
}

inline TLSContext context_of(TLSOptions options, TLSVersion version) {
  options.min_version = options.max_version = version;
  return TLSContext{options};
}

template <TLSVersion version>
const TLSContext& server_context() {
  static const TLSContext context = context_of(server_options(), version);
  return context;
}
template <TLSVersion version>
const TLSContext& client_context() {
  static const TLSContext context = context_of(client_options(), version);
  return context;
}

/// The other end of a stream's connection, on OpenSSL alone; never waits.
class RawTLS {
public:
  RawTLS(Socket socket, TLSSide side, const Identity* identity = nullptr)
      : socket_{std::move(socket)}, ctx_{SSL_CTX_new(TLS_method())} {
    SSL_CTX_set_mode(ctx_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (identity != nullptr) {
      SSL_CTX_use_certificate(ctx_.get(), identity->certificate.get());
      SSL_CTX_use_PrivateKey(ctx_.get(), identity->key.get());
    }
    // After a handshake the system delays acknowledgements, and Nagle's algorithm would wait for them.
    const int on = 1;
    ::setsockopt(socket_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); // not on unix sockets
    ssl_.reset(SSL_new(ctx_.get()));
    SSL_set_fd(ssl_.get(), socket_.fd());
    if (side == TLSSide::server)
      SSL_set_accept_state(ssl_.get());
    else
      SSL_set_connect_state(ssl_.get());
  }

  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }
  [[nodiscard]] SSL_CTX* ctx() const { return ctx_.get(); }
  [[nodiscard]] Socket& socket() { return socket_; }

  /// One step; true when the handshake is over, one way or the other.
  bool shake() {
    const SigpipeGuard guard;
    if (shaken || failed)
      return true;
    ERR_clear_error();
    const int done = SSL_do_handshake(ssl_.get());
    shaken = done == 1;
    const int error = SSL_get_error(ssl_.get(), done);
    failed = !shaken && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
    if (failed)
      reason = ERR_GET_REASON(ERR_peek_error());
    ERR_clear_error();
    return shaken || failed;
  }

  std::size_t send_some(std::string_view data) {
    const SigpipeGuard guard;
    std::size_t done = 0;
    while (done < data.size()) {
      std::size_t written = 0;
      ERR_clear_error();
      if (SSL_write_ex(ssl_.get(), data.data() + done, data.size() - done, &written) != 1)
        break;
      done += written;
    }
    return done;
  }

  void receive() {
    const SigpipeGuard guard;
    std::array<char, 65536> buffer;
    for (;;) {
      std::size_t count = 0;
      ERR_clear_error();
      const int done = SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &count);
      if (done == 1) {
        received.append(buffer.data(), count);
        continue;
      }
      const int error = SSL_get_error(ssl_.get(), done);
      saw_end = saw_end || error == SSL_ERROR_ZERO_RETURN;
      saw_error = saw_error || error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL;
      if (error == SSL_ERROR_SSL && reason == 0)
        reason = ERR_GET_REASON(ERR_peek_error());
      ERR_clear_error();
      return;
    }
  }

  /// close_notify; the socket stays open.
  void notify() {
    const SigpipeGuard guard;
    ERR_clear_error();
    static_cast<void>(SSL_shutdown(ssl_.get()));
    ERR_clear_error();
  }

  std::string received;
  bool saw_end = false;   ///< close_notify
  bool saw_error = false; ///< anything else that ended it
  bool shaken = false;
  bool failed = false; ///< the handshake
  int reason = 0;      ///< OpenSSL's, of the first failure

private:
  Socket socket_;
  SslCtxPtr ctx_;
  SslPtr ssl_;
};

} // namespace squall::testing_support
