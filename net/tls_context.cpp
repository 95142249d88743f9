// SPDX-License-Identifier: BSD-3-Clause
//
// tls_context.cpp: how options become an SSL_CTX, and how a server chooses by name and protocol.
#include "net/regular_file.hpp"
#include "net/tls_context_state.hpp"
#include "net/tls_files.hpp"
#include "net/tls_sessions.hpp"
#include "net/tls_ticket_keys.hpp"
#include <squall/net/log.hpp>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <new>
#include <optional>
#include <string_view>

namespace squall {

namespace {

using BioPtr = std::unique_ptr<BIO, OpenSSLDelete<&BIO_free_all>>;
using CertificatePtr = std::unique_ptr<X509, OpenSSLDelete<&X509_free>>;
using RevocationListPtr = std::unique_ptr<X509_CRL, OpenSSLDelete<&X509_CRL_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSSLDelete<&EVP_PKEY_free>>;

/// @param what    what could not be done, and with which file
/// @param advice  what to do
[[noreturn]] void fail(const std::string& what, const std::string& advice) {
  throw TLSError{"TLS: " + what + ": " + take_tls_reason() + "; " + advice};
}

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument{"TLS: " + what}; }

std::string quoted(const std::string& text) { return quoted_path(text); }

/// One thing that comes from a file or from memory.
struct Source {
  const char* name; ///< "certificate"
  const std::string& file;
  const std::string& pem;
  const TLSFiles& files;

  [[nodiscard]] bool given() const { return !file.empty() || !pem.empty(); }
  [[nodiscard]] std::string text() const {
    return file.empty() ? std::string{name} + "_pem" : std::string{name} + " file " + quoted(file);
  }
  [[nodiscard]] BioPtr open() const {
    const std::string& pem_text = file.empty() ? pem : files.text(file);
    if (pem_text.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()))
      refuse(std::string{name} + "_pem is too large");
    BioPtr bio{BIO_new_mem_buf(pem_text.data(), static_cast<int>(pem_text.size()))};
    if (bio == nullptr)
      throw std::bad_alloc{};
    return bio;
  }
};

/// Gives OpenSSL the password, so that it never asks at a terminal.
int give_password(char* buffer, int size, int, void* password) {
  const auto& text = *static_cast<const std::string*>(password);
  if (text.empty() || text.size() > static_cast<std::size_t>(size))
    return -1;
  std::copy(text.begin(), text.end(), buffer);
  return static_cast<int>(text.size());
}

/// What `read` of OpenSSL makes of the next block of the text, or nothing at its end.
template <class Pointer, class Read>
Pointer read_next(BIO& bio, const Source& source, Read read) {
  std::string no_password;
  Pointer made{read(&bio, nullptr, &give_password, &no_password)};
  if (made != nullptr)
    return made;
  if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    fail("the " + source.text() + " is damaged", "write it again, in PEM");
  ERR_clear_error();
  return nullptr;
}

CertificatePtr read_certificate(BIO& bio, const Source& source) {
  return read_next<CertificatePtr>(bio, source, &PEM_read_bio_X509);
}

/// What peers will refuse is used all the same, as a server that does not start helps nobody; but it is told.
void warn_of_certificate(const X509& certificate, const Source& source) {
  const bool over = X509_cmp_current_time(X509_get0_notAfter(&certificate)) < 0;
  const bool early = X509_cmp_current_time(X509_get0_notBefore(&certificate)) > 0;
  if (over || early)
    log_event(LogLevel::warning, "tls_certificate",
              over ? "a certificate has expired: peers will refuse it; renew it"
                   : "a certificate is not valid yet: peers will refuse it until then; check the clock",
              {{"certificate", source.text()}});
}

void use_certificate(SSL_CTX& ctx, const Source& source) {
  const BioPtr bio = source.open();
  const CertificatePtr ours = read_certificate(*bio, source);
  if (ours == nullptr)
    refuse("the " + source.text() + " has no certificate in PEM (-----BEGIN CERTIFICATE-----)");
  if (SSL_CTX_use_certificate(&ctx, ours.get()) != 1)
    fail("cannot use the " + source.text(),
         "it needs an RSA key of 2048 bits, or an elliptic curve, at least");
  warn_of_certificate(*ours, source);
  X509* last = ours.get();
  while (CertificatePtr next = read_certificate(*bio, source)) {
    if (X509_check_issued(next.get(), last) != X509_V_OK)
      log_event(LogLevel::warning, "tls_certificate",
                "a certificate of the chain did not sign the one before it, which peers may refuse: put "
                "the own one first, then the one that signed it, and so on",
                {{"certificate", source.text()}});
    warn_of_certificate(*next, source);
    last = next.get();
    if (SSL_CTX_add0_chain_cert(&ctx, next.get()) != 1)
      fail("cannot use the chain of the " + source.text(), "check the certificates behind the first one");
    static_cast<void>(next.release()); // the context has it
  }
}

void use_key(SSL_CTX& ctx, const Source& source, const std::string& certificate, std::string password) {
  const BioPtr bio = source.open();
  const KeyPtr key{PEM_read_bio_PrivateKey(bio.get(), nullptr, &give_password, &password)};
  if (key == nullptr)
    fail("cannot read the " + source.text(),
         password.empty() ? "it must be a private key in PEM; set key_password if it is encrypted"
                          : "it must be a private key in PEM; check key_password");
  if (SSL_CTX_use_PrivateKey(&ctx, key.get()) != 1 || SSL_CTX_check_private_key(&ctx) != 1)
    fail("the " + source.text() + " does not belong to the " + certificate,
         "give the key that the certificate was made for; that of the server comes first in a chain");
}

void use_own_certificate(SSL_CTX& ctx, const TLSOptions& options, const TLSFiles& files) {
  const Source certificate{"certificate", options.certificate_file, options.certificate_pem, files};
  const Source key{"key", options.key_file, options.key_pem, files};
  if (certificate.given() != key.given())
    refuse(certificate.given()
               ? "there is a certificate but no key: set key_file or key_pem"
               : "there is a key but no certificate: set certificate_file or certificate_pem");
  if (!certificate.given()) {
    if (options.side == TLSSide::server)
      refuse("a server needs a certificate: set certificate_file and key_file");
    return;
  }
  use_certificate(ctx, certificate);
  use_key(ctx, key, certificate.text(), options.key_password);
}

void trust(SSL_CTX& ctx, const Source& source) {
  const BioPtr bio = source.open();
  int count = 0;
  while (const CertificatePtr authority = read_certificate(*bio, source)) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(&ctx), authority.get()) != 1)
      fail("cannot trust a certificate of the " + source.text(), "check it with `openssl x509 -text`");
    if (SSL_CTX_add_client_CA(&ctx, authority.get()) != 1) // which a server tells its clients
      fail("cannot name a certificate of the " + source.text(), "check it with `openssl x509 -text`");
    ++count;
  }
  if (count == 0)
    refuse("the " + source.text() + " has no certificate in PEM (-----BEGIN CERTIFICATE-----)");
}

/// Trusts what lies in a directory, where OpenSSL would look only when somebody connects.
/// @param must  all of it can be used
void trust_directory(X509_STORE& store, const std::string& path, const TLSFiles& files, bool must) {
  const std::string none;
  for (const TLSFiles::Hashed& file : files.hashed(path)) {
    const Source source{"ca", file.path, none, files};
    const BioPtr bio = source.open();
    try {
      if (file.is_list)
        while (const auto list = read_next<RevocationListPtr>(*bio, source, &PEM_read_bio_X509_CRL))
          X509_STORE_add_crl(&store, list.get());
      else
        while (const auto authority = read_next<CertificatePtr>(*bio, source, &PEM_read_bio_X509_AUX))
          X509_STORE_add_cert(&store, authority.get());
    } catch (const TLSError&) {
      if (must)
        throw;
    }
  }
}

/// Where the next block of PEM begins in `text`, at `from` or behind it.
std::size_t find_block(std::string_view text, std::size_t from) noexcept {
  constexpr std::string_view begin = "-----BEGIN ";
  std::size_t at = text.find(begin, from);
  while (at != std::string_view::npos && at > 0 && text[at - 1] != '\n')
    at = text.find(begin, at + 1);
  return std::min(at, text.size());
}

/// Trusts what can be read of the file of the system's authorities. Each block is read alone, so that one that is damaged, or has
/// no end, takes no other with it.
void trust_readable(X509_STORE& store, const std::string& file, const TLSFiles& files) {
  const std::string& text = files.text(file);
  const std::string none;
  std::size_t damaged = 0;
  for (std::size_t at = find_block(text, 0), next; at < text.size(); at = next) {
    next = find_block(text, at + 1);
    const std::string block = text.substr(at, next - at);
    const BioPtr bio = Source{"ca", none, block, files}.open();
    std::string no_password;
    const CertificatePtr authority{PEM_read_bio_X509_AUX(bio.get(), nullptr, &give_password, &no_password)};
    if (authority != nullptr && X509_STORE_add_cert(&store, authority.get()) == 1)
      continue;
    const int reason = ERR_GET_REASON(ERR_peek_last_error());
    if (reason == ERR_R_MALLOC_FAILURE)
      throw std::bad_alloc{};
    damaged += reason != PEM_R_NO_START_LINE ? 1 : 0; // which is a block of something else
    ERR_clear_error();
  }
  if (damaged > 0)
    log_event(LogLevel::warning, "tls_authorities",
              "certificates of the system's authorities are damaged and are not trusted; install them anew",
              {{"file", file}, {"damaged", std::to_string(damaged)}});
}

/// The same files as SSL_CTX_set_default_verify_paths(3), which reads most of them in the midst of handshakes.
void trust_system(X509_STORE& store, const TLSFiles& files) {
  if (!files.system_file().empty())
    trust_readable(store, files.system_file(), files);
  for (const std::string& directory : files.system_directories())
    trust_directory(store, directory, files, false);
}

void use_authorities(SSL_CTX& ctx, const TLSOptions& options, const TLSFiles& files) {
  const Source authorities{"ca", options.ca_file, options.ca_pem, files};
  const bool named = authorities.given() || !options.ca_directory.empty();
  const bool asks = options.client_certificates != ClientCertificates::none;
  if (asks && !named && !options.system_ca)
    refuse("client certificates are asked for, but nobody is trusted to sign them: set ca_file");
  if (authorities.given())
    trust(ctx, authorities);
  X509_STORE& store = *SSL_CTX_get_cert_store(&ctx);
  if (!options.ca_directory.empty())
    trust_directory(store, options.ca_directory, files, true);
  if (trusts_system(options))
    trust_system(store, files);
  ERR_clear_error();
}

void use_revocation_lists(SSL_CTX& ctx, const TLSOptions& options, const TLSFiles& files) {
  const Source lists{"crl", options.crl_file, options.crl_pem, files};
  if (!lists.given())
    return;
  const bool verifies = options.side == TLSSide::server
                            ? options.client_certificates != ClientCertificates::none
                            : !options.insecure_skip_verification;
  if (!verifies)
    refuse("the " + lists.text() + " is given, but nobody's certificate is verified");
  X509_STORE* store = SSL_CTX_get_cert_store(&ctx);
  const BioPtr bio = lists.open();
  int count = 0;
  while (const auto list = read_next<RevocationListPtr>(*bio, lists, &PEM_read_bio_X509_CRL)) {
    if (X509_STORE_add_crl(store, list.get()) != 1)
      fail("cannot use a list of the " + lists.text(), "check it with `openssl crl -text`");
    ++count;
  }
  if (count == 0)
    refuse("the " + lists.text() + " has no list in PEM (-----BEGIN X509 CRL-----)");
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

void check_sources(const TLSOptions& options) {
  const auto check = [](const std::string& name, const std::string& file, const std::string& pem) {
    if (!file.empty() && !pem.empty())
      refuse("both " + name + "_file and " + name + "_pem are given: take one away");
  };
  check("certificate", options.certificate_file, options.certificate_pem);
  check("key", options.key_file, options.key_pem);
  check("ca", options.ca_file, options.ca_pem);
  check("crl", options.crl_file, options.crl_pem);
}

void check(const TLSOptions& options) {
  check_sources(options);
  const bool server = options.side == TLSSide::server;
  if (server && (options.insecure_skip_verification || options.insecure_skip_name_check))
    refuse("insecure_skip_… are for clients; a server verifies what client_certificates says");
  if (!server && options.client_certificates != ClientCertificates::none)
    refuse("client_certificates is for servers; a client always verifies its server");
  if (!server && !options.server_names.empty())
    refuse("server_names is for servers");
  if (options.min_version > options.max_version)
    refuse("min_version is above max_version");
  if (options.handshake_timeout < std::chrono::milliseconds{1} ||
      options.handshake_timeout > std::chrono::hours{24})
    refuse("handshake_timeout must be 1 ms to 24 hours");
  if (options.session_lifetime < std::chrono::seconds{1} ||
      options.session_lifetime > std::chrono::hours{7 * 24})
    refuse("session_lifetime must be 1 second to 7 days");
  for (const std::string& protocol : options.alpn)
    if (protocol.empty() || protocol.size() > 255)
      refuse("each name in alpn has 1 to 255 bytes (RFC 7301)");
  for (const auto& [name, context] : options.server_names) {
    if (name.empty() || name.size() > 253)
      refuse("the server name " + quoted(name) + " does not have 1 to 253 bytes");
    if (!context || context.side() != TLSSide::server)
      refuse("the context of the server name " + quoted(name) + " is none of a server");
    if (!TLSContextState::of(context).options.server_names.empty())
      refuse("the context of the server name " + quoted(name) + " has server_names itself");
  }
}

int to_openssl(TLSVersion version) {
  return version == TLSVersion::tls_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

/// OpenSSL passes over names that it does not know: a misspelled list would be another one.
void check_ciphers(SSL_CTX& ctx, const std::string& list) {
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find_first_of(":, ", begin), list.size());
    const std::string name = list.substr(begin, end - begin);
    const bool plain = !name.empty() && std::isalnum(static_cast<unsigned char>(name.front())) != 0;
    if (plain && SSL_CTX_set_cipher_list(&ctx, name.c_str()) != 1)
      fail("ciphers has " + quoted(name), "`openssl ciphers` shows the names");
    begin = end + 1;
  }
}

void use_ciphers(SSL_CTX& ctx, const TLSOptions& options) {
  const std::string& ciphers = options.ciphers;
  check_ciphers(ctx, ciphers);
  if (SSL_CTX_set_cipher_list(&ctx, ciphers.empty() ? tls_ciphers_2026 : ciphers.c_str()) != 1)
    fail("ciphers is " + quoted(ciphers), "`openssl ciphers` shows the names");
  for (std::size_t begin = 0;
       begin < options.ciphersuites.size();) { // OpenSSL passes over unknown ones here, too
    const std::size_t end = std::min(options.ciphersuites.find(':', begin), options.ciphersuites.size());
    const std::string name = options.ciphersuites.substr(begin, end - begin);
    if (SSL_CTX_set_ciphersuites(&ctx, name.c_str()) != 1)
      fail("ciphersuites has " + quoted(name), "`openssl ciphers -s -tls1_3` shows the names");
    begin = end + 1;
  }
  if (!options.ciphersuites.empty() && SSL_CTX_set_ciphersuites(&ctx, options.ciphersuites.c_str()) != 1)
    fail("ciphersuites is " + quoted(options.ciphersuites), "`openssl ciphers -s -tls1_3` shows the names");
}

/// Elliptic curves only, with a post-quantum hybrid where OpenSSL has one (from 3.5 on). In its own list are finite fields,
/// where a client makes the server compute a hundred times longer for next to nothing (CVE-2002-20001).
void use_groups(SSL_CTX& ctx) {
  for (const char* groups :
       {"*X25519MLKEM768:*X25519:P-256:X448:P-384:P-521", "X25519:P-256:X448:P-384:P-521",
        "P-256:P-384:P-521"}) // the last where FIPS 140 is enforced
    if (SSL_CTX_set1_groups_list(&ctx, groups) == 1) {
      ERR_clear_error(); // what the lists before it left
      return;
    }
  fail("OpenSSL knows no elliptic curve for key exchange", "check its configuration (openssl.cnf)");
}

/// The names in their form on the wire: each behind its length (RFC 7301).
std::string to_wire(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& protocol : protocols)
    wire.append(1, static_cast<char>(protocol.size())).append(protocol);
  return wire;
}

/// The first of ours that the client offers. OpenSSL has checked the form of the offer.
int select_protocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned int size, void* argument) {
  const auto& state = *static_cast<const TLSContextState*>(argument);
  for (const std::string& ours : state.options.alpn)
    for (unsigned int at = 0; at < size; at += 1U + offered[at])
      if (std::string_view{reinterpret_cast<const char*>(offered + at + 1), offered[at]} == ours) {
        *chosen = offered + at + 1;
        *chosen_size = offered[at];
        return SSL_TLSEXT_ERR_OK;
      }
  return SSL_TLSEXT_ERR_ALERT_FATAL; // no_application_protocol
}

void use_protocols(SSL_CTX& ctx, const TLSContextState& state) {
  if (state.options.alpn.empty()) // a list of length 0 must never reach OpenSSL (CVE-2024-5535)
    return;
  if (state.options.side == TLSSide::server) {
    SSL_CTX_set_alpn_select_cb(&ctx, &select_protocol, const_cast<TLSContextState*>(&state));
    return;
  }
  const std::string wire = to_wire(state.options.alpn);
  if (SSL_CTX_set_alpn_protos(&ctx, reinterpret_cast<const unsigned char*>(wire.data()),
                              static_cast<unsigned int>(wire.size())) != 0)
    fail("cannot use alpn", "check the names");
}

/// A client got a session, at the end of its handshake (TLS 1.2) or between the bytes (TLS 1.3). The connection says of
/// which server it is.
/// @returns 0: OpenSSL keeps its own
int keep_session(SSL* ssl, SSL_SESSION* session) {
  const auto* server = static_cast<const std::string*>(SSL_get_app_data(ssl));
  if (server != nullptr && !server->empty()) {
    try {
      static_cast<TLSSessions*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)))->keep(*server, *session);
    } catch (const std::bad_alloc&) { // without a session the next handshake is a full one
      ERR_clear_error();
    }
  }
  return 0;
}

void use_resumption(SSL_CTX& ctx, TLSContextState& state) {
  const TLSOptions& options = state.options;
  if (RAND_bytes(state.session_id_context.data(), static_cast<int>(state.session_id_context.size())) != 1 ||
      SSL_CTX_set_session_id_context(&ctx, state.session_id_context.data(),
                                     static_cast<unsigned int>(state.session_id_context.size())) != 1)
    fail("cannot set up resumption", "check OpenSSL's random numbers");
  SSL_CTX_set_timeout(&ctx, static_cast<long>(options.session_lifetime.count()));
  if (options.side == TLSSide::client) {
    // OpenSSL itself looks for no session of a client; and it never frees those that it keeps before they are old.
    SSL_CTX_set_session_cache_mode(&ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    if (options.session_cache_size > 0) {
      state.sessions = std::make_unique<TLSSessions>(options.session_cache_size);
      if (SSL_CTX_set_app_data(&ctx, state.sessions.get()) != 1)
        throw std::bad_alloc{};
      SSL_CTX_sess_set_new_cb(&ctx, &keep_session);
    }
    return;
  }
  const bool resumes = options.client_certificates == ClientCertificates::none;
  const bool tickets = resumes && options.session_tickets;
  // Also where there are no tickets: OpenSSL asks the context that a connection began with, which hands on to that of its
  // name.
  state.ticket_keys = std::make_unique<TLSTicketKeys>(options.session_lifetime);
  if (SSL_CTX_set_app_data(&ctx, state.ticket_keys.get()) != 1)
    throw std::bad_alloc{};
  SSL_CTX_set_tlsext_ticket_key_evp_cb(&ctx, &TLSTicketKeys::use);
  const bool cache = resumes && options.session_cache_size > 0;
  if (!tickets) {
    SSL_CTX_set_options(&ctx, SSL_OP_NO_TICKET);
    // Of TLS 1.3 OpenSSL would send tickets all the same, that name a session of its cache.
    if (!cache && SSL_CTX_set_num_tickets(&ctx, 0) != 1)
      fail("cannot turn tickets off", "this is a mistake of Squall");
  }
  // OpenSSL keeps sessions in the context that a connection began with, if that of its name has a cache at all.
  SSL_CTX_set_session_cache_mode(&ctx, cache     ? SSL_SESS_CACHE_SERVER
                                       : resumes ? SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL
                                                 : SSL_SESS_CACHE_OFF);
  if (cache)
    SSL_CTX_sess_set_cache_size(&ctx, static_cast<long>(std::min<std::size_t>(
                                          options.session_cache_size, std::numeric_limits<int>::max())));
}

/// The name in the extension of a ClientHello (RFC 6066, 3: a list of one), which OpenSSL has put together from its
/// records. nullopt: there is none that can be read; OpenSSL itself refuses a damaged one later.
std::optional<std::string_view> requested_name(SSL* ssl) {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1)
    return std::nullopt;
  constexpr std::size_t header = 5; // two bytes of list size, one of type, two of name size
  if (size < header || data[2] != TLSEXT_NAMETYPE_host_name)
    return std::nullopt;
  const std::size_t name_size = static_cast<std::size_t>(data[3]) << 8U | data[4];
  if (name_size > size - header)
    return std::nullopt;
  return std::string_view{reinterpret_cast<const char*>(data + header), name_size};
}

/// Makes OpenSSL keep the name in the session: without it a resumed connection of TLS 1.2 would have none.
int keep_name(SSL*, int*, void*) { return SSL_TLSEXT_ERR_OK; }

/// Gives a connection everything of `chosen`. SSL_set_SSL_CTX alone would leave it the verify mode and the options that
/// it began with.
bool switch_context(SSL* ssl, const TLSContextState& chosen) {
  SSL_CTX* ctx = chosen.ctx.get();
  SSL_clear_options(ssl, SSL_OP_NO_TICKET | SSL_OP_ENABLE_KTLS);
  SSL_set_options(ssl, SSL_CTX_get_options(ctx));
  SSL_set_read_ahead(ssl, static_cast<int>(SSL_CTX_get_read_ahead(ctx)));
  SSL_set_verify(ssl, SSL_CTX_get_verify_mode(ctx), nullptr);
  const std::string& suites = chosen.options.ciphersuites;
  return SSL_set_SSL_CTX(ssl, ctx) != nullptr &&
         SSL_set_min_proto_version(ssl, to_openssl(chosen.options.min_version)) == 1 &&
         SSL_set_max_proto_version(ssl, to_openssl(chosen.options.max_version)) == 1 &&
         SSL_set_num_tickets(ssl, SSL_CTX_get_num_tickets(ctx)) == 1 &&
         SSL_set_ciphersuites(ssl, suites.empty() ? OSSL_default_ciphersuites() : suites.c_str()) == 1 &&
         SSL_set_session_id_context(ssl, chosen.session_id_context.data(),
                                    static_cast<unsigned int>(chosen.session_id_context.size())) == 1;
}

/// Chooses by name before anything else of the ClientHello is looked at: a session that is resumed has to be one of the
/// chosen context (CVE-2025-23419).
int choose_by_name(SSL* ssl, int* alert, void* argument) {
  const auto& state = *static_cast<const TLSContextState*>(argument);
  const TLSContextState* chosen = nullptr;
  try {
    chosen = state.find(requested_name(ssl).value_or(std::string_view{}));
  } catch (const std::bad_alloc&) {
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
  }
  if (chosen == nullptr) {
    ERR_raise(ERR_LIB_SSL,
              SSL_R_TLSV1_UNRECOGNIZED_NAME); // before OpenSSL's own, which says "callback failed"
    *alert = SSL_AD_UNRECOGNIZED_NAME;
    return SSL_CLIENT_HELLO_ERROR;
  }
  if (chosen == &state || switch_context(ssl, *chosen))
    return SSL_CLIENT_HELLO_SUCCESS;
  *alert = SSL_AD_INTERNAL_ERROR;
  return SSL_CLIENT_HELLO_ERROR;
}

std::string lower(std::string_view text) {
  std::string result{text};
  for (char& c : result)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return result;
}

} // namespace

std::string take_tls_reason() {
  const unsigned long code = ERR_peek_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code))
    return std::generic_category().message(ERR_GET_REASON(code));
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "OpenSSL gives no reason";
}

TLSContextState::TLSContextState(const TLSOptions& given, const TLSFiles* read_before) : options{given} {
  check(options);
  for (std::string* path : {&options.certificate_file, &options.key_file, &options.ca_file,
                            &options.ca_directory, &options.crl_file})
    *path = absolute_path(*path);
  TLSFiles read_now;
  if (read_before == nullptr)
    read_now.read(options);
  const TLSFiles& files = read_before != nullptr ? *read_before : read_now;
  std::map<std::string, TLSContext> names;
  for (const auto& [name, context] : options.server_names)
    names.emplace(lower(name), context);
  options.server_names = std::move(names);
  ERR_clear_error();
  ctx.reset(SSL_CTX_new(TLS_method()));
  if (ctx == nullptr)
    fail("OpenSSL makes no context", "check its configuration (openssl.cnf)");
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_clear_options(ctx.get(), SSL_OP_IGNORE_UNEXPECTED_EOF); // which would hide that data is cut
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_NO_AUTO_CHAIN); // the chain is the file's, not made anew each time
  if (options.ktls)
    SSL_CTX_set_options(ctx.get(), SSL_OP_ENABLE_KTLS);
  else // one recv(2) takes a record and what follows it; the kernel's TLS hands out single records
    SSL_CTX_set_read_ahead(ctx.get(), 1);
  if (SSL_CTX_set_min_proto_version(ctx.get(), to_openssl(options.min_version)) != 1 ||
      SSL_CTX_set_max_proto_version(ctx.get(), to_openssl(options.max_version)) != 1)
    fail("cannot set min_version and max_version", "check OpenSSL's configuration (openssl.cnf)");
  use_ciphers(*ctx, options);
  // Keys of 112 bits of security, as Debian has it. Behind the ciphers, which may say "@SECLEVEL=0": that would allow
  // those without certificates, and so turn the verification off.
  if (SSL_CTX_get_security_level(ctx.get()) < 2)
    SSL_CTX_set_security_level(ctx.get(), 2);
  use_groups(*ctx);
  use_own_certificate(*ctx, options, files);
  use_authorities(*ctx, options, files);
  use_revocation_lists(*ctx, options, files);
  use_protocols(*ctx, *this);
  use_resumption(*ctx, *this);
  const bool asks = options.client_certificates != ClientCertificates::none;
  const bool verifies = options.side == TLSSide::server ? asks : !options.insecure_skip_verification;
  const bool required = options.client_certificates == ClientCertificates::require;
  SSL_CTX_set_verify(ctx.get(),
                     (verifies ? SSL_VERIFY_PEER : SSL_VERIFY_NONE) |
                         (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  if (options.side == TLSSide::server)
    SSL_CTX_set_tlsext_servername_callback(ctx.get(), &keep_name);
  if (!options.server_names.empty() || options.unknown_server_name == UnknownServerName::refuse)
    SSL_CTX_set_client_hello_cb(ctx.get(), &choose_by_name, this);
}

TLSContextState::~TLSContextState() = default;

const TLSContextState* TLSContextState::find(std::string_view server_name) const {
  const std::string name = lower(server_name);
  auto found = options.server_names.find(name);
  const std::size_t dot = name.find('.');
  if (found == options.server_names.end() && dot != std::string::npos && dot > 0)
    found = options.server_names.find("*" + name.substr(dot));
  if (found != options.server_names.end())
    return &of(found->second);
  return options.unknown_server_name == UnknownServerName::use_default ? this : nullptr;
}

TLSContext::TLSContext(const TLSOptions& options)
    : state_{std::make_shared<const TLSContextState>(options)} {}

TLSContext TLSContext::reload() const {
  TLSFiles files;
  files.read(*this);
  return TLSContextState::reload(*this, files);
}

TLSContext TLSContextState::reload(const TLSContext& context, const TLSFiles& files) {
  TLSOptions options = of(context).options;
  for (auto& [name, of_name] : options.server_names)
    of_name = reload(of_name, files);
  auto state = std::make_shared<TLSContextState>(options, &files);
  state->origin = of(context).origin;
  TLSContext reloaded;
  reloaded.state_ = std::move(state);
  return reloaded;
}

bool TLSContext::same_origin(const TLSContext& other) const noexcept {
  return state_ != nullptr && other.state_ != nullptr && state_->origin == other.state_->origin;
}

TLSSide TLSContext::side() const noexcept { return state_->options.side; }

TLSOptions tls_server_options(std::string certificate_file, std::string key_file) {
  TLSOptions options;
  options.side = TLSSide::server;
  options.certificate_file = std::move(certificate_file);
  options.key_file = std::move(key_file);
  return options;
}

TLSOptions tls_client_options() {
  TLSOptions options;
  options.session_cache_size = default_client_session_cache_size;
  return options;
}

TLSOptions insecure_tls_client_options() {
  TLSOptions options = tls_client_options();
  options.insecure_skip_verification = true;
  return options;
}

} // namespace squall
