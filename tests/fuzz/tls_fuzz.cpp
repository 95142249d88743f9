// SPDX-License-Identifier: BSD-3-Clause
//
// tls_fuzz.cpp: whatever a client of TLS sends, before, in and after its handshake, the server reads what was written to it
// and nothing else, and its stream comes to an end with the connection. The client is OpenSSL, its bytes pass through the
// fuzzer, which may cut, change and add some.
#include "tests/fuzz/require.hpp"
#include <squall/net/event_loop.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>
#include <squall/net/tls_context.hpp>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <algorithm>
#include <fuzzer/FuzzedDataProvider.h>
#include <memory>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace squall {
namespace {

struct Frees {
  void operator()(SSL_CTX* ctx) const { SSL_CTX_free(ctx); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

std::string text_of(BIO& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(&bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

/// A server's context with a certificate of its own making.
TLSContext make_server_context() {
  const std::unique_ptr<EVP_PKEY, Frees> key{EVP_EC_gen("P-256")};
  const std::unique_ptr<X509, Frees> certificate{X509_new()};
  X509_set_version(certificate.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 24 * 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_sign(certificate.get(), key.get(), EVP_sha256());
  const std::unique_ptr<BIO, Frees> certificate_pem{BIO_new(BIO_s_mem())};
  const std::unique_ptr<BIO, Frees> key_pem{BIO_new(BIO_s_mem())};
  PEM_write_bio_X509(certificate_pem.get(), certificate.get());
  PEM_write_bio_PrivateKey(key_pem.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  TLSOptions options = tls_server_options("", "");
  options.certificate_pem = text_of(*certificate_pem);
  options.key_pem = text_of(*key_pem);
  options.alpn = {"h2", "squall"};
  const TLSContext of_name{options};
  options.server_names = {{"example.com", of_name}, {"*.example.com", of_name}};
  return TLSContext{options};
}

/// The client: OpenSSL between two pieces of memory.
class Client {
public:
  explicit Client(FuzzedDataProvider& data) : ctx_{SSL_CTX_new(TLS_client_method())} {
    if (data.ConsumeBool())
      SSL_CTX_set_max_proto_version(ctx_.get(), TLS1_2_VERSION);
    ssl_.reset(SSL_new(ctx_.get()));
    from_ = BIO_new(BIO_s_mem());
    to_ = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl_.get(), from_, to_);
    const std::string name = data.ConsumeRandomLengthString(20);
    if (!name.empty() && name.find('\0') == name.npos)
      SSL_set_tlsext_host_name(ssl_.get(), name.c_str());
    SSL_set_connect_state(ssl_.get());
  }

  /// What it has to send now.
  std::string step() {
    SSL_do_handshake(ssl_.get());
    char waste[4096];
    while (SSL_is_init_finished(ssl_.get()) == 1 && SSL_read(ssl_.get(), waste, sizeof waste) > 0) {
    }
    return take();
  }
  void receive(std::string_view bytes) { BIO_write(from_, bytes.data(), static_cast<int>(bytes.size())); }
  bool write(std::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) ==
           static_cast<int>(bytes.size());
  }
  void update_keys() { SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED); }
  void end() { SSL_shutdown(ssl_.get()); }

private:
  std::string take() {
    std::string out = text_of(*to_);
    BIO_reset(to_);
    return out;
  }
  std::unique_ptr<SSL_CTX, Frees> ctx_;
  std::unique_ptr<SSL, Frees> ssl_;
  BIO* from_ = nullptr; // both are the SSL's
  BIO* to_ = nullptr;
};

/// The server: a stream that reads all it can and writes it back.
class Server {
public:
  Server(const TLSContext& context, int peer_fd[2]) {
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, peer_fd) == 0,
            "there are sockets");
    StreamOptions options;
    options.max_buffer_size = 64 * 1024;
    stream_ = IOStream{loop_, Socket{peer_fd[1]}, context, options};
    read();
  }
  void turn() {
    for (int i = 0; i < 8; ++i)
      loop_.run_once();
  }
  [[nodiscard]] const std::string& received() const { return received_; }
  [[nodiscard]] bool closed() const { return stream_.closed(); }

private:
  void read() {
    stream_.read(ReadBytes{4096, true}, [this](Result<Bytes> result) {
      if (!result)
        return;
      received_ += result->view();
      stream_.write(*result, [](const Result<void>&) {});
      read();
    });
  }
  EventLoop loop_;
  IOStream stream_;
  std::string received_;
};

void send(int fd, std::string_view bytes) {
  static_cast<void>(::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL));
}

std::string receive(int fd) {
  std::string all;
  char part[4096];
  for (ssize_t size = 0; (size = ::recv(fd, part, sizeof part, MSG_DONTWAIT)) > 0;)
    all.append(part, static_cast<std::size_t>(size));
  return all;
}

/// One flight of the client, as it arrives: perhaps changed, in two parts. @returns whether it is as it was sent
bool pass_on(FuzzedDataProvider& data, int fd, std::string bytes, Server& server) {
  bool whole = true;
  const auto what = data.ConsumeIntegralInRange(0, 15);
  if (what == 0 && !bytes.empty()) {
    bytes[data.ConsumeIntegralInRange<std::size_t>(0, bytes.size() - 1)] ^=
        static_cast<char>(1U << data.ConsumeIntegralInRange(0, 7));
    whole = false;
  } else if (what == 1) {
    bytes += data.ConsumeRandomLengthString(64);
    whole = false;
  } else if (what == 2) {
    bytes = data.ConsumeRandomLengthString(256);
    whole = false;
  }
  const std::size_t cut = data.ConsumeIntegralInRange<std::size_t>(0, bytes.size());
  send(fd, std::string_view{bytes}.substr(0, cut));
  server.turn();
  send(fd, std::string_view{bytes}.substr(cut));
  server.turn();
  return whole;
}

void converse(FuzzedDataProvider& data, const TLSContext& context) {
  int fds[2] = {-1, -1};
  Server server{context, fds};
  const Socket peer{fds[0]};
  Client client{data};
  std::string written;
  bool whole = true;
  for (int step = 0; step < 40 && (step < 4 || data.remaining_bytes() > 0); ++step) {
    if (step >= 4) { // the handshake had its time
      const auto what = data.ConsumeIntegralInRange(0, 7);
      const std::string bytes(data.ConsumeIntegralInRange<std::size_t>(1, 2000),
                              static_cast<char>('a' + step));
      if (what == 0)
        client.update_keys();
      else if (what == 1)
        client.end();
      else if (client.write(bytes))
        written += bytes;
    }
    whole = pass_on(data, peer.fd(), client.step(), server) && whole;
    client.receive(receive(peer.fd()));
  }
  require(written.starts_with(server.received()), "the server reads what was written to it");
  if (whole && !server.closed())
    require(server.received() == written, "the server reads all that was written to it");
  ::shutdown(peer.fd(), SHUT_RDWR);
  server.turn();
  require(server.closed(), "the stream ends with its connection");
}

} // namespace
} // namespace squall

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const squall::TLSContext context = [] {
    squall::set_log_level(squall::LogLevel::off);
    return squall::make_server_context();
  }();
  FuzzedDataProvider data{bytes, size};
  squall::converse(data, context);
  return 0;
}
