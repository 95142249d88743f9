// SPDX-License-Identifier: BSD-3-Clause
//
// tls_info.cpp: what OpenSSL knows of a connection, and its errors as std::error_code.
#include "net/tls_context_state.hpp"
#include "net/tls_transport.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <new>

namespace squall {

namespace {

using BioPtr = std::unique_ptr<BIO, OpenSSLDelete<&BIO_free_all>>;

class TLSCategory : public std::error_category {
  const char* name() const noexcept override { return "tls"; }
  std::string message(int value) const override {
    const auto code = static_cast<unsigned long>(value);
    if (code == ERR_PACK(ERR_LIB_SSL, 0, SSL_R_TOO_MANY_KEY_UPDATES)) // which OpenSSL itself never finds
      return "too many records without data";
    if (ERR_GET_LIB(code) == 0) // a result of the verification, which has no library
      return X509_verify_cert_error_string(value);
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "TLS error " + std::to_string(value);
  }
};

std::string text_of(BIO& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&bio, &data);
  return size > 0 ? std::string{data, static_cast<std::size_t>(size)} : std::string{};
}

BioPtr make_memory() {
  BioPtr bio{BIO_new(BIO_s_mem())};
  if (bio == nullptr)
    throw std::bad_alloc{};
  return bio;
}

/// How many bytes at the start of `text`, which is UTF-8, are an order to a terminal and no text: the second set of control
/// characters, ends of lines and paragraphs, and what changes the direction of writing.
std::size_t order_size(std::string_view text) noexcept {
  const auto in = [](char c, unsigned char first, unsigned char last) {
    return static_cast<unsigned char>(c) >= first && static_cast<unsigned char>(c) <= last;
  };
  if (text.size() >= 2 && text[0] == '\xc2' && in(text[1], 0x80, 0x9f))
    return 2;
  if (text.size() < 3 || text[0] != '\xe2')
    return 0;
  const bool order = text[1] == '\x80'   ? in(text[2], 0x8e, 0x8f) || in(text[2], 0xa8, 0xae)
                     : text[1] == '\x81' ? in(text[2], 0xa6, 0xa9)
                                         : false;
  return order ? 3 : 0;
}

/// As RFC 2253 has it; OpenSSL escapes the first set of control characters by itself.
std::string name_of(const X509_NAME* name) {
  const BioPtr bio = make_memory();
  if (X509_NAME_print_ex(bio.get(), name, 0,
                         XN_FLAG_RFC2253 & ~static_cast<unsigned long>(ASN1_STRFLGS_ESC_MSB)) < 0)
    throw std::bad_alloc{};
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string result;
  std::size_t order = 0; // bytes that are left of one
  const std::string text = text_of(*bio);
  for (std::size_t i = 0; i < text.size(); ++i) {
    order = order > 0 ? order : order_size(std::string_view{text}.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    if (order > 0)
      result.append("\\").append(1, digits[byte >> 4U]).append(1, digits[byte & 15U]);
    else
      result += text[i];
    order -= order > 0 ? 1 : 0;
  }
  return result;
}

/// A name of a peer may hold anything: what is no plain text is written as "\x00".
std::string escaped(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > ' ' && byte < 0x7f && c != '\\')
      result += c;
    else
      result.append("\\x").append(1, digits[byte >> 4U]).append(1, digits[byte & 15U]);
  }
  return result;
}

std::string address_text(std::string_view raw) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(raw[i])); };
  std::string text;
  if (raw.size() == 4) {
    for (std::size_t i = 0; i < 4; ++i)
      text.append(i > 0 ? "." : "").append(std::to_string(byte(i)));
    return text;
  }
  if (raw.size() != 16)
    return escaped(raw);
  constexpr std::string_view digits = "0123456789abcdef";
  for (std::size_t i = 0; i < 16; i += 2) {
    const unsigned group = byte(i) << 8U | byte(i + 1);
    std::string hex;
    for (unsigned shift = 16; shift > 0; shift -= 4)
      if (const unsigned digit = group >> (shift - 4) & 15U; digit != 0 || !hex.empty() || shift == 4)
        hex += digits[digit];
    text.append(i > 0 ? ":" : "").append(hex);
  }
  return text;
}

void read_alternative_names(X509* certificate, PeerCertificate& into) {
  const std::unique_ptr<GENERAL_NAMES, OpenSSLDelete<&GENERAL_NAMES_free>> names{
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr))};
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type != GEN_DNS && type != GEN_IPADD)
      continue;
    const auto* string = static_cast<const ASN1_STRING*>(value);
    const std::string_view raw{reinterpret_cast<const char*>(ASN1_STRING_get0_data(string)),
                               static_cast<std::size_t>(ASN1_STRING_length(string))};
    if (type == GEN_DNS)
      into.dns_names.push_back(escaped(raw));
    else
      into.ip_addresses.push_back(address_text(raw));
  }
}

PeerCertificate describe(X509* certificate) {
  PeerCertificate result;
  result.subject = name_of(X509_get_subject_name(certificate));
  result.issuer = name_of(X509_get_issuer_name(certificate));
  read_alternative_names(certificate, result);
  const BioPtr bio = make_memory();
  if (PEM_write_bio_X509(bio.get(), certificate) != 1)
    throw std::bad_alloc{};
  result.pem = text_of(*bio);
  return result;
}

} // namespace

const std::error_category& tls_category() noexcept {
  static const TLSCategory category;
  return category;
}

TLSInfo tls_info_of(SSL* ssl) {
  ERR_clear_error();
  TLSInfo info;
  info.version = SSL_get_version(ssl);
  info.cipher = SSL_get_cipher_name(ssl);
  if (const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name))
    info.server_name = escaped(name);
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl, &protocol, &size);
  if (protocol != nullptr)
    info.alpn.assign(reinterpret_cast<const char*>(protocol), size);
  info.resumed = SSL_session_reused(ssl) == 1;
  info.ktls_send = BIO_get_ktls_send(SSL_get_wbio(ssl));
  info.ktls_receive = BIO_get_ktls_recv(SSL_get_rbio(ssl));
  // A server's chain does not hold the certificate of the client itself (SSL_get_peer_cert_chain(3)).
  if (SSL_is_server(ssl) == 1)
    if (X509* certificate = SSL_get0_peer_certificate(ssl))
      info.peer_certificates.push_back(describe(certificate));
  STACK_OF(X509)* chain = SSL_get_peer_cert_chain(ssl);
  for (int i = 0; chain != nullptr && i < sk_X509_num(chain); ++i)
    info.peer_certificates.push_back(describe(sk_X509_value(chain, i)));
  ERR_clear_error();
  return info;
}

} // namespace squall
