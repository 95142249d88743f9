// SPDX-License-Identifier: BSD-3-Clause
//
// tls_transport.cpp: the transport that speaks TLS over a socket.
//
// OpenSSL reads and writes the descriptor itself, through a BIO that is OpenSSL's own socket BIO but for its read and its
// write: so it can give the connection's keys to the kernel (kTLS), and writes raise no SIGPIPE.
#include "net/tls_transport.hpp"

#include "net/sigpipe_guard.hpp"
#include "net/socket_transport.hpp"
#include "net/tls_client_hello.hpp"
#include "net/tls_context_state.hpp"
#include "net/tls_idle_records.hpp"
#include "net/tls_sessions.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>

namespace squall {

namespace {

constexpr std::size_t record_size = SSL3_RT_MAX_PLAIN_LENGTH; // RFC 8446, 5.1

/// Bytes that one read may take from the socket beyond those that it was asked for. OpenSSL goes on until it has one of the
/// application; a peer that sends records without any, or with one each, must not hold up the others of the loop.
constexpr std::size_t overhead_of_a_read = record_size;
constexpr auto record_flood = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_TOO_MANY_KEY_UPDATES);
constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

using SslPtr = std::unique_ptr<SSL, OpenSSLDelete<&SSL_free>>;

/// What the name of a server turned out to be.
struct ServerName {
  enum class Kind : unsigned char { none, name, address };
  Kind kind;
  std::string text;
};

/// A name of letters, digits, "-", "_" and "." (an IDN in its form "xn--…"; RFC 6125, 6.4.2) or an address. A dot at the
/// end says that a name is complete and is no part of it in certificates. The zone of an address ("fe80::1%eth0") means
/// something on this machine only (RFC 4007, 11.2), and is in no certificate.
ServerName parse_server_name(std::string text) {
  if (text.find(':') != std::string::npos)
    text.resize(std::min(text.find('%'), text.size()));
  const std::unique_ptr<ASN1_OCTET_STRING, OpenSSLDelete<&ASN1_OCTET_STRING_free>> address{
      text.find('\0') == std::string::npos ? a2i_IPADDRESS(text.c_str()) : nullptr};
  ERR_clear_error();
  if (address != nullptr)
    return {ServerName::Kind::address, std::move(text)};
  if (!text.empty() && text.back() == '.')
    text.pop_back();
  constexpr std::size_t longest_name = 253; // RFC 1035, 2.3.4, as text
  constexpr std::size_t longest_label = 63;
  bool valid = !text.empty() && text.size() <= longest_name;
  std::size_t label = 0;
  for (std::size_t i = 0; i <= text.size() && valid; ++i) {
    const char c = i < text.size() ? text[i] : '.';
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    valid = c == '.' ? label > 0 && label <= longest_label : plain;
    label = c == '.' ? 0 : label + 1;
  }
  return {valid ? ServerName::Kind::name : ServerName::Kind::none, std::move(text)};
}

/// Copies a record's worth of `pieces`. @returns the bytes
std::size_t join(const IoSlice* pieces, std::size_t count, char* into) noexcept {
  std::size_t size = 0;
  for (std::size_t i = 0; i < count && size < record_size; ++i) {
    const std::size_t part = std::min(pieces[i].size, record_size - size);
    std::memcpy(into + size, pieces[i].data, part);
    size += part;
  }
  return size;
}

class TLSTransport final : public SocketTransport {
public:
  TLSTransport(Socket socket, SocketOrigin origin, const TLSContext& context);

  bool set_server_name(const std::string& server_hostname);
  using SocketTransport::take_socket;

  void close_fd() noexcept override;
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override;
  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override;
  IoResult send_file(int file, std::uint64_t offset, std::size_t size) noexcept override;
  int connect(const Endpoint& address, const std::string& server_hostname) noexcept override;
  bool shutdown_write() noexcept override;
  bool say_goodbye() noexcept override;
  void withhold_goodbye() noexcept override { notified_ = true; }
  void set_abort() noexcept override;
  [[nodiscard]] bool handshaken() const noexcept override { return handshaken_; }
  IoResult handshake() noexcept override;
  [[nodiscard]] std::chrono::milliseconds handshake_timeout() const noexcept override {
    return state().options.handshake_timeout;
  }
  Result<std::unique_ptr<Transport>> start_tls(const TLSContext&, const std::string&) override {
    return StreamError{StreamErrc::not_idle, CloseReason::none, {}}; // it speaks TLS already
  }
  [[nodiscard]] std::optional<TLSInfo> tls_info() const override {
    return handshaken_ ? std::optional<TLSInfo>{tls_info_of(ssl_.get())} : std::nullopt;
  }

private:
  static const BIO_METHOD* bio_method();
  static int bio_read(BIO* bio, char* buffer, int size);
  static int bio_write(BIO* bio, const char* data, int size);
  int bio_outcome(BIO* bio, const IoResult& result) noexcept;
  int kernel_outcome(BIO* bio, int count, bool receives) noexcept;

  [[nodiscard]] const TLSContextState& state() const noexcept { return TLSContextState::of(context_); }
  [[nodiscard]] bool kernel_encrypts() const noexcept {
    return (SSL_get_options(ssl_.get()) & SSL_OP_ENABLE_KTLS) != 0 &&
           BIO_get_ktls_send(SSL_get_wbio(ssl_.get()));
  }
  enum class Doing : unsigned char { handshake, reading, writing };
  IoResult outcome(int returned, Doing doing) noexcept;
  IoResult failed(Doing doing) noexcept;
  void clear_errors() noexcept;
  [[nodiscard]] bool protocol_was_offered() const noexcept;
  static void on_message(int sent, int version, int type, const void* data, std::size_t size, SSL* ssl,
                         void* self);
  IoResult write_record(const char* data, std::size_t size) noexcept;
  IoResult write_through_kernel(const IoSlice* pieces, std::size_t count) noexcept;
  bool send_close_notify() noexcept;
  void offer_session() noexcept;
  void give_session_back() noexcept;
  bool admits(const char* data, std::size_t size) noexcept;

  TLSContext context_;
  std::string
      server_; ///< of a client: whom it asks for; from the handshake on, where sessions are kept: under what
  SslPtr ssl_;
  ClientHelloCheck client_hello_;  ///< of a server
  TLSIdleRecords idle_records_;    ///< behind the handshake
  std::size_t budget_ = unbounded; ///< bytes that may be taken from the socket now
  std::size_t retry_size_ = 0; ///< of the record that OpenSSL holds: the next write must bring as many bytes
  /// The bytes of that record where the kernel encrypts: OpenSSL keeps a pointer to them.
  std::unique_ptr<char[]> kernel_bytes_;
  std::optional<IoResult> held_; ///< an end or a failure that came behind bytes
  int error_ = 0;                ///< errno of the socket, in this call of OpenSSL
  int earlier_error_ = 0;        ///< in one that OpenSSL got over, such as of a close_notify that met a reset
  bool begun_ = false;           ///< OpenSSL has the descriptor
  bool handshaken_ = false;
  bool refused_ = false;  ///< in the handshake, and the peer is told why by an alert
  bool broken_ = false;   ///< OpenSSL must not be called any more
  bool notified_ = false; ///< close_notify is sent, or must not be
  bool drained_ = false;  ///< the socket gave all it had
  bool skip_when_drained_ = false;
  bool received_ = false; ///< OpenSSL asked the socket for bytes
};

// -- between OpenSSL and the socket

const BIO_METHOD* TLSTransport::bio_method() {
  static const std::unique_ptr<BIO_METHOD, OpenSSLDelete<& BIO_meth_free>> method = [] {
    const BIO_METHOD* socket = BIO_s_socket();
    std::unique_ptr<BIO_METHOD, OpenSSLDelete<&BIO_meth_free>> made{
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR, "squall socket")};
    if (made == nullptr || BIO_meth_set_create(made.get(), BIO_meth_get_create(socket)) != 1 ||
        BIO_meth_set_destroy(made.get(), BIO_meth_get_destroy(socket)) != 1 ||
        BIO_meth_set_ctrl(made.get(), BIO_meth_get_ctrl(socket)) != 1 ||
        BIO_meth_set_puts(made.get(), BIO_meth_get_puts(socket)) != 1 ||
        BIO_meth_set_read(made.get(), &bio_read) != 1 || BIO_meth_set_write(made.get(), &bio_write) != 1)
      throw std::bad_alloc{};
    return made;
  }();
  return method.get();
}

int TLSTransport::bio_outcome(BIO* bio, const IoResult& result) noexcept {
  switch (result.status) {
  case IoResult::Status::done:
    return static_cast<int>(result.size);
  case IoResult::Status::end:
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF); // so that OpenSSL tells an end without close_notify
    return 0;
  case IoResult::Status::failed:
    error_ = result.error;
    return -1;
  case IoResult::Status::would_block:
  case IoResult::Status::crossed:
    break;
  }
  return -1;
}

/// What OpenSSL's own socket BIO did. It calls more errors passing than poll(2) tells the end of.
int TLSTransport::kernel_outcome(BIO* bio, int count, bool receives) noexcept {
  if (count > 0 || (count == 0 && !BIO_should_retry(bio)))
    return count;
  const int error = errno; // OpenSSL makes its reason of some of them, so errno stays as it is
  if (error == EAGAIN)
    return count;
  BIO_clear_retry_flags(bio);
  if (!receives ||
      (error != EBADMSG && error != EMSGSIZE && error != EINVAL)) // records that the kernel refuses
    error_ = error;
  return count;
}

int TLSTransport::bio_read(BIO* bio, char* buffer, int size) {
  auto& self = *static_cast<TLSTransport*>(BIO_get_app_data(bio));
  BIO_clear_retry_flags(bio);
  self.received_ = true;
  if (self.budget_ == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const auto count = [&](int got) {
    self.budget_ -= std::min(self.budget_, static_cast<std::size_t>(std::max(got, 0)));
    return got;
  };
  if (BIO_get_ktls_recv(bio)) { // records come with their type, as a control message
    int got;
    do
      got = BIO_meth_get_read(BIO_s_socket())(bio, buffer, size);
    while (got < 0 && errno == EINTR);
    return count(self.kernel_outcome(bio, got, true));
  }
  if (size <= 0)
    return 0;
  // Behind a read that gave something, one that drained the socket says that nothing is left, which saves asking.
  const bool skips = self.skip_when_drained_ && self.drained_;
  const IoResult result = skips ? IoResult::blocked() : self.receive(buffer, static_cast<std::size_t>(size));
  self.drained_ = result.status == IoResult::Status::done && result.drained;
  if (!self.handshaken_ && result.status == IoResult::Status::done && !self.admits(buffer, result.size)) {
    // OpenSSL's own alert for a message that is too large for it. Nothing is encrypted yet, and it has nothing to send.
    const std::array<unsigned char, 7> alert{SSL3_RT_ALERT,           3, 3, 0, 2, SSL3_AL_FATAL,
                                             SSL_AD_ILLEGAL_PARAMETER};
    const IoSlice piece{alert.data(), alert.size()};
    static_cast<void>(socket_api::send(self.fileno(), &piece, 1));
    ERR_raise(ERR_LIB_SSL, SSL_R_EXCESSIVE_MESSAGE_SIZE);
    return -1;
  }
  if (result.status == IoResult::Status::would_block)
    BIO_set_retry_read(bio);
  return count(self.bio_outcome(bio, result));
}

int TLSTransport::bio_write(BIO* bio, const char* data, int size) {
  auto& self = *static_cast<TLSTransport*>(BIO_get_app_data(bio));
  BIO_clear_retry_flags(bio);
  if (BIO_get_ktls_send(bio)) {
    const SigpipeGuard guard; // write(2), or sendmsg(2) without MSG_NOSIGNAL
    int count;
    do
      count = BIO_meth_get_write(BIO_s_socket())(bio, data, size);
    while (count < 0 && errno == EINTR);
    return self.kernel_outcome(bio, count, false);
  }
  const IoSlice piece{data, static_cast<std::size_t>(std::max(size, 0))};
  const IoResult result = socket_api::send(self.fileno(), &piece, 1);
  if (result.status == IoResult::Status::would_block)
    BIO_set_retry_write(bio);
  return self.bio_outcome(bio, result);
}

/// OpenSSL is about to get these bytes; false: it must not.
bool TLSTransport::admits(const char* data, std::size_t size) noexcept {
  switch (SSL_get_state(ssl_.get())) {
  case TLS_ST_BEFORE:
  case TLS_ST_SR_CLNT_HELLO:
  case TLS_ST_EARLY_DATA: // behind a HelloRetryRequest the next ClientHello comes, else nothing that is in the clear
    return context_.side() == TLSSide::client || client_hello_.admits({data, size});
  default: // what comes now may be encrypted
    client_hello_.stop();
    return true;
  }
}

// -- sessions of a client

/// Resumes one, if the context has one of this server. Another port may be another server; a client that asks for no name
/// has nothing but the address.
void TLSTransport::offer_session() noexcept {
  if (context_.side() == TLSSide::server || state().sessions == nullptr)
    return;
  try {
    const Endpoint peer = peer_endpoint();
    if (server_.empty() && peer.address.empty())
      return;
    server_ += '/' + (server_.empty() ? to_string(peer) : std::to_string(peer.port));
    const SessionPtr session = state().sessions->take(server_);
    if (session != nullptr)
      static_cast<void>(SSL_set_session(ssl_.get(), session.get())); // without it the handshake is a full one
    static_cast<void>(SSL_set_app_data(ssl_.get(), &server_));       // without it no session is kept
  } catch (const std::bad_alloc&) {
  }
}

/// A session of TLS 1.2 may be resumed again, once it has worked. Of TLS 1.3 each connection gets new ones.
void TLSTransport::give_session_back() noexcept {
  if (SSL_get_app_data(ssl_.get()) == nullptr || SSL_session_reused(ssl_.get()) != 1 ||
      SSL_version(ssl_.get()) >= TLS1_3_VERSION)
    return;
  try {
    state().sessions->keep(server_, *SSL_get_session(ssl_.get()));
  } catch (const std::bad_alloc&) {
  }
}

// -- making it

TLSTransport::TLSTransport(Socket socket, SocketOrigin origin, const TLSContext& context)
    : SocketTransport{std::move(socket), origin}, context_{context} {
  ERR_clear_error();
  ssl_.reset(SSL_new(state().ctx.get()));
  BIO* bio = ssl_ != nullptr ? BIO_new(bio_method()) : nullptr;
  if (bio == nullptr || BIO_set_app_data(bio, this) != 1) {
    BIO_free(bio);
    throw std::bad_alloc{};
  }
  SSL_set_bio(ssl_.get(), bio, bio); // which owns it
  if (context.side() == TLSSide::server)
    SSL_set_accept_state(ssl_.get());
  else
    SSL_set_connect_state(ssl_.get());
}

/// The name to ask for (SNI) and to verify; false where it is needed and is none, or cannot be used.
bool TLSTransport::set_server_name(const std::string& server_hostname) {
  const bool checks = state().checks_name();
  if (state().options.side == TLSSide::server || (server_hostname.empty() && !checks))
    return true;
  const ServerName name = parse_server_name(server_hostname);
  server_ =
      name.kind == ServerName::Kind::address ? server_hostname : name.text; // another zone is another server
  SSL* ssl = ssl_.get();
  ERR_clear_error();
  if (name.kind == ServerName::Kind::address) // no SNI for addresses: RFC 6066, 3
    return !checks || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.text.c_str()) == 1;
  if (name.kind == ServerName::Kind::none || SSL_set_tlsext_host_name(ssl, name.text.c_str()) != 1)
    return false;
  SSL_set_hostflags(ssl, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return !checks || SSL_set1_host(ssl, name.text.c_str()) == 1;
}

int TLSTransport::connect(const Endpoint& address, const std::string& server_hostname) noexcept {
  try {
    if (!set_server_name(server_hostname))
      return EDESTADDRREQ;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  return SocketTransport::connect(address, server_hostname);
}

// -- what OpenSSL says

/// Before each call: what another connection left in this thread's error queue must not pass for an error of this one. The
/// queue is nearly always empty, and to look is a tenth of emptying it.
void TLSTransport::clear_errors() noexcept {
  if (error_ != 0)
    earlier_error_ = std::exchange(error_, 0);
  if (ERR_peek_error() != 0)
    ERR_clear_error();
}

/// What TLS itself says in this thread's error queue, or what lies below it; the queue is empty then. That memory ran out
/// comes before what followed from it.
unsigned long take_error() noexcept {
  const unsigned long first = ERR_peek_error();
  unsigned long found = 0;
  while (const unsigned long code = ERR_get_error()) {
    if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE) {
      ERR_clear_error();
      return code;
    }
    if (found == 0 && ERR_GET_LIB(code) == ERR_LIB_SSL)
      found = code;
  }
  return found != 0 ? found : first;
}

/// What a call that did not do its work says.
IoResult TLSTransport::outcome(int returned, Doing doing) noexcept {
  if (idle_records_.flooded()) {
    broken_ = true;
    ERR_clear_error();
    return IoResult::failure(static_cast<int>(record_flood), CloseReason::tls_failed);
  }
  switch (SSL_get_error(ssl_.get(), returned)) {
  case SSL_ERROR_WANT_READ:
    return doing == Doing::writing ? IoResult::across() : IoResult::blocked();
  case SSL_ERROR_WANT_WRITE:
    return doing == Doing::reading ? IoResult::across() : IoResult::blocked();
  case SSL_ERROR_ZERO_RETURN:
    if (doing == Doing::reading)
      return IoResult::ended();
    break;
  default:
    break;
  }
  return failed(doing);
}

IoResult TLSTransport::failed(Doing doing) noexcept {
  broken_ = true;
  refused_ = doing == Doing::handshake;
  const int error = std::exchange(error_, 0);
  unsigned long code = take_error();
  if (ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE)
    return IoResult::failure(ENOMEM);
  // What TLS refused, or was cut, is told to the peer by an alert, which may meet a reset: that is not why it failed.
  const bool refused = doing != Doing::writing && ERR_GET_LIB(code) == ERR_LIB_SSL;
  if (error != 0 && !refused)
    return IoResult::failure(error);
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
    code = static_cast<unsigned long>(SSL_get_verify_result(ssl_.get())); // which says what was wrong
  else if (code == 0)
    code = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNEXPECTED_EOF_WHILE_READING);
  const bool left =
      ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
  if (left && earlier_error_ != 0) // the system tells of a reset once, and of an end from then on
    return IoResult::failure(earlier_error_);
  const bool cut = left && doing != Doing::handshake;
  IoResult result = IoResult::failure(static_cast<int>(code & 0x7fffffffU),
                                      cut ? CloseReason::tls_truncated : CloseReason::tls_failed);
  if (left && doing == Doing::handshake)
    result.status = IoResult::Status::end;
  return result;
}

/// RFC 7301, 3.1: the server names one of the protocols that were offered. Not every release of OpenSSL 3 looks.
bool TLSTransport::protocol_was_offered() const noexcept {
  const unsigned char* data = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &data, &size);
  const std::string_view chosen{reinterpret_cast<const char*>(data), size};
  const auto& offered = state().options.alpn;
  return size == 0 || std::find(offered.begin(), offered.end(), chosen) != offered.end();
}

/// The head of a record has come: what it costs is counted before it is decrypted. OpenSSL goes from one record to the next
/// until it has bytes of the application, or is told that there are no more.
void TLSTransport::on_message(int sent, int, int type, const void*, std::size_t, SSL* ssl, void* self) {
  if (sent == 0 && type == SSL3_RT_HEADER &&
      !static_cast<TLSTransport*>(self)->idle_records_.begin_record(&std::chrono::steady_clock::now))
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

IoResult TLSTransport::handshake() noexcept {
  if (handshaken_)
    return IoResult::moved(0);
  if (!begun_) {
    // OpenSSL makes its buffers, 64 KiB, with its first call: not for who connects and says nothing.
    if (context_.side() == TLSSide::server && !socket_api::has_input(fileno()))
      return IoResult::blocked();
    begun_ = true;
    BIO_set_fd(SSL_get_rbio(ssl_.get()), fileno(), BIO_NOCLOSE);
    offer_session();
  }
  clear_errors();
  const int done = SSL_do_handshake(ssl_.get());
  if (done != 1)
    return outcome(done, Doing::handshake);
  if (!protocol_was_offered()) {
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_EXTENSION);
    return failed(Doing::handshake);
  }
  handshaken_ = true;
  SSL_set_msg_callback(ssl_.get(), &on_message);
  SSL_set_msg_callback_arg(ssl_.get(), this);
  // What is read ahead would keep the kernel from decrypting; where it does not, that saves a recv(2) a record.
  if (SSL_get_read_ahead(ssl_.get()) == 0 && !BIO_get_ktls_recv(SSL_get_rbio(ssl_.get())))
    SSL_set_read_ahead(ssl_.get(), 1);
  give_session_back();
  return IoResult::moved(0);
}

IoResult TLSTransport::read_from_fd(char* buffer, std::size_t size) noexcept {
  if (held_)
    return *std::exchange(held_, std::nullopt);
  drained_ = false; // since then more may have come
  budget_ = size + overhead_of_a_read;
  std::size_t total = 0;
  while (total < size) {
    std::size_t count = 0;
    clear_errors();
    const int done = SSL_read_ex(ssl_.get(), buffer + total, size - total, &count);
    if (done == 1) {
      idle_records_.gave_bytes();
      total += count;
      if (drained_ && SSL_has_pending(ssl_.get()) == 0) // asking OpenSSL would cost it a buffer
        return total < size ? IoResult::moved_all(total) : IoResult::moved(total);
      skip_when_drained_ =
          true; // not before: behind half a record there may be an end, which is told only once
      continue;
    }
    skip_when_drained_ = false;
    IoResult result = outcome(done, Doing::reading);
    result.yields = budget_ == 0 && result.status == IoResult::Status::would_block;
    if (total == 0)
      return result;
    IoResult moved = IoResult::moved(total);
    moved.yields = result.yields;
    moved.drained = result.status == IoResult::Status::would_block && !result.yields;
    if (result.status != IoResult::Status::would_block && result.status != IoResult::Status::crossed)
      held_ = result;
    return moved;
  }
  skip_when_drained_ = false;
  return IoResult::moved(total);
}

/// One record. Small pieces are joined for it, since each record costs its head, its tag and its send.
IoResult TLSTransport::write_to_fd(const IoSlice* pieces, std::size_t count) noexcept {
  if (broken_ && held_) // it stands behind bytes that were read: nobody has been told yet
    return *held_;
  if (kernel_encrypts())
    return write_through_kernel(pieces, count);
  static thread_local std::array<char, record_size> joined;
  const char* data = static_cast<const char*>(pieces[0].data);
  std::size_t size = std::min(pieces[0].size, record_size);
  if (size < record_size && (count > 1 || retry_size_ > size)) {
    size = join(pieces, count, joined.data());
    data = joined.data();
  }
  // A record that OpenSSL holds is encrypted already, and goes out as it is, whatever was queued, or dropped, meanwhile: only
  // the number of bytes counts.
  IoResult result = write_record(data, retry_size_ != 0 ? retry_size_ : size);
  result.size = std::min(result.size, size);
  return result;
}

/// The kernel takes bytes from where they are, and goes on from there after it was full: they must stay.
IoResult TLSTransport::write_through_kernel(const IoSlice* pieces, std::size_t count) noexcept {
  std::size_t size = retry_size_;
  if (retry_size_ == 0) {
    kernel_bytes_.reset(new (std::nothrow) char[record_size]);
    if (kernel_bytes_ == nullptr)
      return IoResult::failure(ENOMEM);
    size = join(pieces, count, kernel_bytes_.get());
  }
  const IoResult result = write_record(kernel_bytes_.get(), size);
  if (retry_size_ == 0)
    kernel_bytes_ = nullptr;
  return result;
}

IoResult TLSTransport::write_record(const char* data, std::size_t size) noexcept {
  budget_ = unbounded; // it may have to read: the answer to a KeyUpdate, or the rest of a ticket, comes first
  received_ = false;
  std::size_t written = 0;
  clear_errors();
  const int done = SSL_write_ex(ssl_.get(), data, size, &written);
  IoResult result = done == 1 ? IoResult::moved(written) : outcome(done, Doing::writing);
  // In the midst of such a message OpenSSL has taken nothing yet, and the next write may bring other bytes.
  if (done == 1)
    retry_size_ = 0;
  else if (SSL_in_init(ssl_.get()) == 0)
    retry_size_ = size;
  result.more = received_ && SSL_has_pending(ssl_.get()) == 1;
  return result;
}

IoResult TLSTransport::send_file(int file, std::uint64_t offset, std::size_t size) noexcept {
  if (broken_ && held_)
    return *held_;
  if (!kernel_encrypts() || retry_size_ != 0)
    return Transport::send_file(file, offset, size);
  const SigpipeGuard guard;
  ossl_ssize_t sent;
  do {
    clear_errors();
    errno = 0;
    sent = SSL_sendfile(ssl_.get(), file, static_cast<off_t>(offset), size, 0);
  } while (sent < 0 && errno == EINTR);
  if (sent > 0)
    return IoResult::moved(static_cast<std::size_t>(sent));
  if (sent == 0)
    return IoResult::ended();
  const int error = errno;
  if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP) { // a file system that knows no sendfile(2)
    ERR_clear_error();
    return Transport::send_file(file, offset, size);
  }
  if (error != EAGAIN && error != EBUSY)
    error_ = error;
  return outcome(static_cast<int>(sent), Doing::writing);
}

// -- its end

/// False when the socket has no room for it now.
bool TLSTransport::send_close_notify() noexcept {
  if (!handshaken_ || broken_ || notified_)
    return true;
  clear_errors();
  if (SSL_in_init(ssl_.get()) == 1) { // the answer to a KeyUpdate comes first
    const int answered = SSL_do_handshake(ssl_.get());
    if (answered != 1 && SSL_get_error(ssl_.get(), answered) == SSL_ERROR_WANT_WRITE)
      return false;
  }
  clear_errors();
  const int done = SSL_shutdown(ssl_.get());
  if (done < 0 && SSL_get_error(ssl_.get(), done) == SSL_ERROR_WANT_WRITE)
    return false;
  broken_ = done < 0;
  ERR_clear_error();
  notified_ = true;
  return true;
}

bool TLSTransport::shutdown_write() noexcept {
  return send_close_notify() && SocketTransport::shutdown_write();
}

bool TLSTransport::say_goodbye() noexcept {
  return retry_size_ != 0 ||
         send_close_notify(); // in the midst of a record the input is cut, and must not look whole
}

void TLSTransport::set_abort() noexcept {
  broken_ = true; // a reset is no orderly end
  refused_ = false;
  SocketTransport::set_abort();
}

void TLSTransport::close_fd() noexcept {
  static_cast<void>(say_goodbye());
  // A socket that closes with unread bytes resets the connection, also what it has sent (RFC 2525, 2.17). Those that the
  // user cannot know of are taken out: tickets of the server, the peer's close_notify.
  char byte;
  if (handshaken_ && !broken_) {
    ERR_clear_error();
    budget_ = overhead_of_a_read;
    static_cast<void>(SSL_peek(ssl_.get(), &byte, 1));
    ERR_clear_error();
  }
  if (refused_) { // what the peer has sent meanwhile must not reset the alert
    socket_api::shutdown_write(fileno());
    std::array<char, 4096> waste;
    for (int times = 0; times < 16; ++times)
      if (socket_api::receive(fileno(), waste.data(), waste.size()).status != IoResult::Status::done)
        break;
  }
  SocketTransport::close_fd();
}

} // namespace

std::unique_ptr<Transport> make_tls_transport(Socket socket, const TLSContext& context,
                                              const std::string& server_hostname) {
  auto transport = std::make_unique<TLSTransport>(std::move(socket), SocketOrigin::given, context);
  if (!transport->set_server_name(server_hostname))
    throw std::invalid_argument{to_string(StreamErrc::server_hostname)};
  return transport;
}

std::unique_ptr<Transport> make_unconnected_tls_transport(const TLSContext& context, Socket socket) {
  if (context.side() == TLSSide::server)
    throw std::invalid_argument{"only a client's context can connect; use tls_client_options()"};
  return std::make_unique<TLSTransport>(std::move(socket), SocketOrigin::to_connect, context);
}

std::unique_ptr<Transport> make_accepted_tls_transport(Socket socket, SocketOrigin origin,
                                                       const TLSContext& context) {
  return std::make_unique<TLSTransport>(std::move(socket), origin, context);
}

Result<std::unique_ptr<Transport>> upgrade_to_tls(Socket& socket, const TLSContext& context,
                                                  const std::string& server_hostname) {
  // The socket goes over only when nothing can fail any more.
  auto transport = std::make_unique<TLSTransport>(Socket{}, SocketOrigin::to_connect, context);
  if (!transport->set_server_name(server_hostname))
    return StreamError{StreamErrc::server_hostname, CloseReason::none, {}};
  transport->take_socket(socket);
  return std::unique_ptr<Transport>{std::move(transport)};
}

} // namespace squall
