// SPDX-License-Identifier: BSD-3-Clause
//
// io_stream.cpp: the handle of a stream.
#include "net/stream_core.hpp"
#include <squall/net/io_stream.hpp>

namespace squall {

// -- IOStream

IOStream::IOStream(EventLoop& loop, Socket socket, const StreamOptions& options)
    : IOStream{loop, std::move(socket), share_options(options)} {}

IOStream::IOStream(EventLoop& loop, Socket socket, std::shared_ptr<const StreamOptions> options)
    : IOStream{new StreamCore{loop, make_socket_transport(std::move(socket)), std::move(options)}} {}

IOStream::IOStream(EventLoop& loop, std::unique_ptr<Transport> transport, const StreamOptions& options)
    : IOStream{loop, std::move(transport), share_options(options)} {}

IOStream::IOStream(EventLoop& loop, std::unique_ptr<Transport> transport,
                   std::shared_ptr<const StreamOptions> options)
    : IOStream{new StreamCore{loop, std::move(transport), std::move(options)}} {}

IOStream::IOStream(EventLoop& loop, const StreamOptions& options)
    : IOStream{loop, make_unconnected_transport(), options} {}

IOStream::IOStream(EventLoop& loop, Socket socket, const TLSContext& context, const StreamOptions& options)
    : IOStream{loop, std::move(socket), context, share_options(options)} {}

IOStream::IOStream(EventLoop& loop, Socket socket, const TLSContext& context,
                   std::shared_ptr<const StreamOptions> options)
    : IOStream{new StreamCore{loop, make_tls_transport(std::move(socket), context), std::move(options)}} {}

IOStream::IOStream(EventLoop& loop, const TLSContext& context, const StreamOptions& options)
    : IOStream{loop, make_unconnected_tls_transport(context), options} {}

IOStream::IOStream(StreamCore* core) noexcept : core_{core} {}

IOStream::IOStream(const IOStream& other) noexcept : core_{other.core_} {
  if (core_ != nullptr)
    core_->ref();
}

IOStream::~IOStream() {
  if (core_ != nullptr)
    core_->deref();
}

ReadAwaitable IOStream::read(ReadRequest request) { return {*this, std::move(request)}; }

ReadAwaitable IOStream::read_bytes(std::size_t num_bytes, bool partial, Timeout timeout) {
  return {*this, ReadBytes{num_bytes, partial, timeout}};
}

ReadIntoAwaitable IOStream::read_into(MutableBytes buffer, bool partial, Timeout timeout) {
  return {*this, ReadInto{std::move(buffer), partial, timeout}};
}

ReadAwaitable IOStream::read_until(std::string_view delimiter, std::optional<std::size_t> max_bytes,
                                   Timeout timeout, LimitPolicy on_limit) {
  return {*this, std::in_place_type<ReadUntil>, std::string{delimiter}, max_bytes, timeout, on_limit};
}

ReadAwaitable IOStream::read_until_regex(const Regex& regex, std::optional<std::size_t> max_bytes,
                                         Timeout timeout, LimitPolicy on_limit) {
  return {*this, ReadUntilRegex{regex, max_bytes, timeout, on_limit}};
}

ReadAwaitable IOStream::read_until_close(Timeout timeout) { return {*this, ReadUntilClose{timeout}}; }

ChunkReader IOStream::read_chunks(const ReadChunks& request) { return {*this, request}; }

ReadAwaitable IOStream::peek(std::size_t num_bytes, Timeout timeout) {
  return {*this, Peek{num_bytes, timeout}};
}

WriteAwaitable IOStream::write(Bytes data, Timeout timeout) {
  std::uint64_t end = 0;
  const auto refused = core_->queue_write(std::move(data), end);
  return {*this, end, refused, timeout, false};
}

ConnectAwaitable IOStream::connect(Endpoint address, std::string server_hostname, Timeout timeout) {
  return {*this, Connect{std::move(address), std::move(server_hostname), timeout}, timeout};
}

EventAwaitable IOStream::start_tls(bool server_side, TLSContext context, std::string server_hostname,
                                   Timeout timeout) {
  return {*this, StartTLS{server_side, std::move(context), std::move(server_hostname), timeout}, timeout};
}

EventAwaitable IOStream::wait_for_handshake(Timeout timeout) {
  return {*this, StreamEvent::handshaken, timeout};
}

EventAwaitable IOStream::wait_writable(Timeout timeout) { return {*this, StreamEvent::writable, timeout}; }

EventAwaitable IOStream::wait_end(Timeout timeout) { return {*this, StreamEvent::ended, timeout}; }

EventAwaitable IOStream::wait_closed(Timeout timeout) { return {*this, StreamEvent::closed, timeout}; }

EventAwaitable IOStream::wait_draining(Timeout timeout) { return {*this, StreamEvent::draining, timeout}; }

WriteAwaitable IOStream::write_pieces(std::vector<Bytes> pieces, Timeout timeout) {
  std::uint64_t end = 0;
  const auto refused = core_->queue_pieces(std::move(pieces), end);
  return {*this, end, refused, timeout, false};
}

WriteAwaitable IOStream::write_file(std::variant<std::string, File> file, std::uint64_t offset,
                                    std::optional<std::uint64_t> count, Timeout timeout) {
  std::uint64_t end = 0;
  const auto refused = core_->queue_file(WriteFile{std::move(file), offset, count, timeout}, end);
  return {*this, end, refused, timeout, true};
}

WriteAwaitable IOStream::shutdown_write() {
  std::uint64_t end = 0;
  const auto refused = core_->shutdown_write(end);
  return {*this, end, refused, no_timeout, true};
}

WriteAwaitable IOStream::close_after_flush(Duration deadline) {
  std::uint64_t end = 0;
  const auto refused = core_->close_after_flush(deadline, end);
  return {*this, end, refused, no_timeout, true};
}

std::optional<Result<Bytes>> IOStream::start_read(ReadRequest request, ReadCompletion& completion) {
  return core_->start_read(std::move(request), completion);
}

void IOStream::forget_read(ReadCompletion& completion) noexcept { core_->forget_read(completion); }

void IOStream::cancel_read() { core_->cancel_read(); }

std::optional<StreamError> IOStream::start_write(Bytes data, WriteCompletion& completion, Timeout timeout) {
  std::uint64_t end = 0;
  if (auto refused = core_->queue_write(std::move(data), end))
    return refused;
  core_->await_write(end, timeout, completion);
  return std::nullopt;
}

std::optional<Result<void>> IOStream::start_paced_write(Bytes data, WriteCompletion& completion,
                                                        Timeout timeout) {
  std::uint64_t end = 0;
  if (auto refused = core_->queue_write(std::move(data), end))
    return Result<void>{*refused};
  if (core_->answer_early(end))
    return Result<void>{};
  core_->await_write(end, timeout, completion);
  return std::nullopt;
}

std::optional<Result<void>> IOStream::start_paced_write(WritePieces request, WriteCompletion& completion) {
  std::uint64_t end = 0;
  if (auto refused = core_->queue_pieces(std::move(request.pieces), end))
    return Result<void>{*refused};
  if (core_->answer_early(end))
    return Result<void>{};
  core_->await_write(end, request.timeout, completion);
  return std::nullopt;
}

std::optional<StreamError> IOStream::start_write_file(const WriteFile& request, WriteCompletion& completion) {
  std::uint64_t end = 0;
  if (auto refused = core_->queue_file(request, end))
    return refused;
  core_->await_write(end, request.timeout, completion);
  return std::nullopt;
}

std::optional<Result<void>> IOStream::start_connect(const Connect& request, EventCompletion& completion) {
  if (auto refused = core_->connect(request))
    return Result<void>{*refused};
  return core_->start_wait(StreamEvent::connected, no_timeout, completion);
}

std::optional<Result<void>> IOStream::start_tls(const StartTLS& request, EventCompletion& completion) {
  if (auto refused = core_->start_tls(request))
    return Result<void>{*refused};
  return core_->start_wait(StreamEvent::handshaken, no_timeout, completion);
}

std::optional<Result<void>> IOStream::start_wait(StreamEvent event, EventCompletion& completion,
                                                 Timeout timeout) {
  return core_->start_wait(event, timeout, completion);
}

void IOStream::forget_wait(EventCompletion& completion) noexcept { core_->forget_wait(completion); }

std::optional<StreamError> IOStream::start_shutdown_write(WriteCompletion& completion) {
  std::uint64_t end = 0;
  if (auto refused = core_->shutdown_write(end))
    return refused;
  core_->await_write(end, no_timeout, completion);
  return std::nullopt;
}

std::optional<StreamError> IOStream::start_close_after_flush(Duration deadline, WriteCompletion& completion) {
  std::uint64_t end = 0;
  if (auto refused = core_->close_after_flush(deadline, end))
    return refused;
  core_->await_write(end, no_timeout, completion);
  return std::nullopt;
}

void IOStream::cancel_write(WriteCompletion& completion) noexcept { core_->cancel_write(completion); }

void IOStream::close(CloseReason reason, std::error_code real_error) { core_->close(reason, real_error); }

void IOStream::abort() { core_->abort(); }

void IOStream::set_end_callback(std::function<void()> callback) {
  core_->set_end_callback(std::move(callback));
}

void IOStream::set_close_callback(std::function<void()> callback, EndNotice notice) {
  core_->set_close_callback(std::move(callback), notice);
}

bool IOStream::closed() const noexcept { return core_->closed(); }

bool IOStream::reading() const noexcept { return core_->reading(); }

bool IOStream::writing() const noexcept { return core_->unsent_size() > 0; }

std::size_t IOStream::unread_size() const noexcept { return core_->unread_size(); }

std::size_t IOStream::unsent_size() const noexcept { return core_->unsent_size(); }

StreamError IOStream::error() const noexcept { return core_->error(); }

void IOStream::set_nodelay(bool value) noexcept { core_->set_nodelay(value); }

void IOStream::set_keep_alive(const KeepAlive& keep_alive) { core_->set_keep_alive(keep_alive); }

bool IOStream::connected() const noexcept { return core_->connected(); }

std::optional<TLSInfo> IOStream::tls_info() const { return core_->tls_info(); }

bool IOStream::writable() const noexcept { return core_->writable(); }

void IOStream::begin_drain() noexcept { core_->begin_drain(); }

bool IOStream::look_for_input() { return core_->look_for_input(); }

bool IOStream::draining() const noexcept { return core_->draining(); }

bool IOStream::awaits_answer() const noexcept { return core_->awaits_answer(); }

TimePoint IOStream::last_activity() const noexcept { return core_->last_activity(); }

std::string IOStream::pending_read() const { return core_->pending_read(); }

std::uint64_t IOStream::bytes_received() const noexcept { return core_->bytes_received(); }

std::uint64_t IOStream::bytes_sent() const noexcept { return core_->bytes_sent(); }

Endpoint IOStream::local_endpoint() const { return core_->local_endpoint(); }

Endpoint IOStream::peer_endpoint() const { return core_->peer_endpoint(); }

std::optional<PeerCredentials> IOStream::peer_credentials() const noexcept {
  return core_->peer_credentials();
}

std::uint32_t IOStream::id() const noexcept { return core_->id(); }

EventLoop& IOStream::loop() const noexcept { return core_->loop(); }

void DescriptorGuest::join(const IOStream& stream, std::shared_ptr<DescriptorGuest> guest) noexcept {
  stream.core_->set_guest(std::move(guest));
}

void DescriptorGuest::hold(const IOStream& stream) noexcept { stream.core_->let_guest_hold(); }

bool DescriptorGuest::has_descriptor(const IOStream& stream) noexcept {
  return stream.core_->has_descriptor();
}

} // namespace squall
