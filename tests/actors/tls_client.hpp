// SPDX-License-Identifier: BSD-3-Clause
//
// tls_client.hpp: a blocking client of TLS, on OpenSSL alone, and certificates in files.
#pragma once

#include "tests/actors/support.hpp"
#include "tests/net/tls_support.hpp"

#include <filesystem>
#include <fstream>

namespace squall::actor_tests {

using testing_support::CertificateSpec;
using testing_support::Identity;
using testing_support::issue;
using testing_support::test_authority;

/// Verifies nothing; every call has the deadline of Client.
class TLSClient {
public:
  /// @param identity  what it shows when it is asked for a certificate, or nullptr
  /// @param name      what it asks for (SNI), or nullptr
  explicit TLSClient(const Endpoint& server, const Identity* identity = nullptr, const char* name = nullptr)
      : TLSClient{Client{server}, identity, name} {}

  explicit TLSClient(Client client, const Identity* identity = nullptr, const char* name = nullptr)
      : client_{std::move(client)} {
    if (identity != nullptr) {
      SSL_CTX_use_certificate(ctx_.get(), identity->certificate.get());
      SSL_CTX_use_PrivateKey(ctx_.get(), identity->key.get());
    }
    ssl_.reset(SSL_new(ctx_.get()));
    SSL_set_fd(ssl_.get(), client_.fd());
    if (name != nullptr)
      SSL_set_tlsext_host_name(ssl_.get(), name);
    const SigpipeGuard guard;
    connected_ = SSL_connect(ssl_.get()) == 1;
    ERR_clear_error();
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] Client& plain() { return client_; }

  /// The common name in the server's certificate.
  [[nodiscard]] std::string server_name() const {
    X509* certificate = SSL_get0_peer_certificate(ssl_.get());
    std::array<char, 256> name{};
    if (certificate != nullptr)
      X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name.data(), name.size());
    return name.data();
  }

  /// Sends a line and returns what comes back, up to the end of the line or of the connection.
  std::string ask(const std::string& line) {
    const SigpipeGuard guard;
    std::size_t count = 0;
    SSL_write_ex(ssl_.get(), line.data(), line.size(), &count);
    return receive_line();
  }

  /// A line, or what comes before the end of the connection.
  std::string receive_line() {
    const SigpipeGuard guard;
    std::size_t count = 0;
    std::string answer;
    char byte = 0;
    while (!answer.ends_with('\n') && SSL_read_ex(ssl_.get(), &byte, 1, &count) == 1)
      answer += byte;
    ERR_clear_error();
    return answer;
  }

  /// The server said that it ends (close_notify).
  [[nodiscard]] bool told_of_end() const {
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

private:
  Client client_;
  testing_support::SslCtxPtr ctx_{SSL_CTX_new(TLS_client_method())};
  testing_support::SslPtr ssl_;
  bool connected_ = false;
};

/// A folder of the test's own, with files of PEM.
class PemFolder {
public:
  PemFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "squall-tls-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr)
      throw_errno("mkdtemp");
    path_ = name;
  }
  PemFolder(const PemFolder&) = delete;
  PemFolder& operator=(const PemFolder&) = delete;
  ~PemFolder() { std::filesystem::remove_all(path_); }

  [[nodiscard]] std::string certificate() const { return path_ / "server.pem"; }
  [[nodiscard]] std::string key() const { return path_ / "server.key"; }

  void write(const std::string& path, const std::string& text) const { std::ofstream{path} << text; }
  /// Both files; the server's common name is `name`.
  void issue_for(const std::string& name) const {
    const Identity identity = issue({.common_name = name, .dns_names = {"localhost"}}, &test_authority());
    write(certificate(), identity.certificate_pem());
    write(key(), identity.key_pem());
  }

private:
  std::filesystem::path path_;
};

} // namespace squall::actor_tests
