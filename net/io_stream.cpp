// SPDX-License-Identifier: BSD-3-Clause
//
// io_stream.cpp: the handle of a stream, and its operations as awaitables and with callbacks.
#include "net/stream_core.hpp"
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>

namespace squall {

namespace {

/// A read or a write that ends in a callback. It keeps the stream until then, calls from the loop, and
/// deletes itself.
template <class T, class Completion>
class CallbackOperation : public Completion, private LoopTask {
public:
  using Callback = std::function<void(Result<T>)>;
  CallbackOperation(IOStream stream, Callback callback)
      : stream_{std::move(stream)}, callback_{std::move(callback)} {}

  /// Calls back in the deferred phase, since the outcome was there at once.
  void finish_later(Result<T> result) {
    result_.emplace(std::move(result));
    stream_.loop().defer(*this);
  }

protected:
  ~CallbackOperation() = default;
  void finish(Result<T> result) {
    const std::unique_ptr<CallbackOperation, void (*)(CallbackOperation*)> self{
        this, [](CallbackOperation* me) { me->destroy(); }};
    callback_(std::move(result));
  }

private:
  virtual void destroy() noexcept = 0;
  void run_task() override { finish(std::move(*result_)); }

  IOStream stream_;
  Callback callback_;
  std::optional<Result<T>> result_;
};

class CallbackRead final : public CallbackOperation<Bytes, ReadCompletion> {
public:
  using CallbackOperation::CallbackOperation;
  void on_read(Result<Bytes> result) override { finish(std::move(result)); }

private:
  void destroy() noexcept override { delete this; }
};

class CallbackEvent final : public CallbackOperation<void, EventCompletion> {
public:
  using CallbackOperation::CallbackOperation;
  void on_event(Result<void> result) override { finish(std::move(result)); }

private:
  void destroy() noexcept override { delete this; }
};

/// Chunk by chunk, each read when the last was accepted. It holds itself while it reads, and the functions that accept
/// hold it while the receiver has a chunk.
class CallbackChunks final : public ReadCompletion,
                             public EventCompletion,
                             private LoopTask,
                             public std::enable_shared_from_this<CallbackChunks> {
public:
  CallbackChunks(IOStream stream, const ReadChunks& request, IOStream::ChunkCallback on_chunk,
                 IOStream::WriteCallback done)
      : stream_{std::move(stream)}, request_{request}, on_chunk_{std::move(on_chunk)}, done_{
                                                                                           std::move(done)} {}
  CallbackChunks(const CallbackChunks&) = delete;
  CallbackChunks& operator=(const CallbackChunks&) = delete;
  /// Every function that accepts is gone, and none was called.
  ~CallbackChunks() {
    stream_.forget_wait(*this);
    if (done_ == nullptr || loop_ended())
      return;
    try {
      auto last = std::make_unique<CallbackEvent>(stream_, std::move(done_));
      last->finish_later(StreamError{StreamErrc::cancelled, CloseReason::none, {}});
      static_cast<void>(last.release()); // it deletes itself
    } catch (const std::bad_alloc&) {
    }
  }

  void start() {
    if (stream_.start_wait(StreamEvent::closed, *this)) {
    } // a closed stream needs no watching
    go_on();
  }

private:
  /// Reads the next chunk, in the deferred phase: the last may have been accepted from inside on_chunk.
  void go_on() {
    if (loop_ended())
      return;
    self_ = shared_from_this();
    stream_.loop().defer(*this);
  }

  void run_task() override {
    const std::size_t size = request_.next_size();
    if (size == 0)
      return finish({});
    auto result = stream_.start_read(ReadBytes{size, true, request_.timeout}, *this);
    if (result)
      on_read(std::move(*result));
  }

  void on_read(Result<Bytes> result) override {
    const auto self = std::exchange(self_, nullptr);
    if (!result)
      return finish(request_.outcome(result.error()));
    if (request_.num_bytes)
      *request_.num_bytes -= result->size();
    const std::uint64_t number = ++chunk_;
    on_chunk_(std::move(*result), [self, number] { self->accept(number); });
  }

  /// Any copy of the function may accept, once.
  void accept(std::uint64_t number) {
    if (number != chunk_)
      return;
    ++chunk_;
    go_on();
  }

  /// The stream closed. What is unread is still delivered, but for the end of the loop, which nothing can follow.
  void on_event(Result<void>) override {
    if (loop_ended() && self_ == nullptr)
      finish(stream_.error());
  }

  void finish(const Result<void>& result) {
    const auto self = self_ ? std::exchange(self_, nullptr) : shared_from_this();
    stream_.forget_wait(*this);
    ++chunk_;
    std::exchange(on_chunk_, nullptr);
    if (const auto done = std::exchange(done_, nullptr))
      done(result);
  }

  [[nodiscard]] bool loop_ended() const { return stream_.error().reason == CloseReason::shutting_down; }

  IOStream stream_;
  ReadChunks request_;
  IOStream::ChunkCallback on_chunk_;
  IOStream::WriteCallback done_;
  std::uint64_t chunk_ = 0; ///< the number of the one that may be accepted
  std::shared_ptr<CallbackChunks> self_;
};

class CallbackWrite final : public CallbackOperation<void, WriteCompletion> {
public:
  using CallbackOperation::CallbackOperation;
  void on_write(Result<void> result) override { finish(std::move(result)); }

private:
  void destroy() noexcept override { delete this; }
};

} // namespace

// -- IOStream

IOStream::IOStream(EventLoop& loop, Socket socket, const StreamOptions& options)
    : IOStream{loop, std::move(socket), share_options(options)} {}

IOStream::IOStream(EventLoop& loop, Socket socket, std::shared_ptr<const StreamOptions> options)
    : IOStream{new StreamCore{loop, make_socket_transport(std::move(socket)), std::move(options)}} {}

IOStream::IOStream(EventLoop& loop, std::unique_ptr<Transport> transport, const StreamOptions& options)
    : IOStream{new StreamCore{loop, std::move(transport), share_options(options)}} {}

IOStream::IOStream(EventLoop& loop, const StreamOptions& options)
    : IOStream{loop, make_unconnected_transport(), options} {}

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
  return {*this, ReadUntil{std::string{delimiter}, max_bytes, timeout, on_limit}};
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

EventAwaitable IOStream::wait_writable(Timeout timeout) { return {*this, StreamEvent::writable, timeout}; }

EventAwaitable IOStream::wait_end(Timeout timeout) { return {*this, StreamEvent::ended, timeout}; }

EventAwaitable IOStream::wait_closed(Timeout timeout) { return {*this, StreamEvent::closed, timeout}; }

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

void IOStream::cancel_read() { core_->end_read(StreamErrc::cancelled); }

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

void IOStream::read(ReadRequest request, ReadCallback callback) {
  auto operation = std::make_unique<CallbackRead>(*this, std::move(callback));
  auto result = core_->start_read(std::move(request), *operation);
  if (result)
    operation->finish_later(std::move(*result));
  static_cast<void>(operation.release()); // it deletes itself
}

namespace {

/// Starts what `start` starts, which takes a completion and may refuse, and calls `callback` with the
/// outcome.
template <class Start>
void write_with_callback(const IOStream& stream, IOStream::WriteCallback callback, Start start) {
  auto operation = std::make_unique<CallbackWrite>(stream, std::move(callback));
  if (const auto refused = start(*operation))
    operation->finish_later(*refused);
  static_cast<void>(operation.release()); // it deletes itself
}

/// As above, for what may be answered at once.
template <class Start>
void wait_with_callback(const IOStream& stream, IOStream::EventCallback callback, Start start) {
  auto operation = std::make_unique<CallbackEvent>(stream, std::move(callback));
  if (auto result = start(*operation))
    operation->finish_later(std::move(*result));
  static_cast<void>(operation.release()); // it deletes itself
}

} // namespace

void IOStream::write(Bytes data, WriteCallback callback, Timeout timeout) {
  write_with_callback(*this, std::move(callback), [&](WriteCompletion& completion) {
    return start_write(std::move(data), completion, timeout);
  });
}

void IOStream::write_pieces(std::vector<Bytes> pieces, WriteCallback callback, Timeout timeout) {
  write_with_callback(*this, std::move(callback),
                      [&](WriteCompletion& completion) -> std::optional<StreamError> {
                        std::uint64_t end = 0;
                        if (auto refused = core_->queue_pieces(std::move(pieces), end))
                          return refused;
                        core_->await_write(end, timeout, completion);
                        return std::nullopt;
                      });
}

void IOStream::write_file(const WriteFile& request, WriteCallback callback) {
  write_with_callback(*this, std::move(callback),
                      [&](WriteCompletion& completion) { return start_write_file(request, completion); });
}

void IOStream::connect(const Connect& request, EventCallback callback) {
  wait_with_callback(*this, std::move(callback),
                     [&](EventCompletion& completion) { return start_connect(request, completion); });
}

void IOStream::wait(StreamEvent event, EventCallback callback, Timeout timeout) {
  wait_with_callback(*this, std::move(callback),
                     [&](EventCompletion& completion) { return start_wait(event, completion, timeout); });
}

void IOStream::read_chunks(const ReadChunks& request, ChunkCallback on_chunk, WriteCallback done) {
  std::make_shared<CallbackChunks>(*this, request, std::move(on_chunk), std::move(done))->start();
}

void IOStream::shutdown_write(WriteCallback callback) {
  write_with_callback(*this, std::move(callback),
                      [&](WriteCompletion& completion) { return start_shutdown_write(completion); });
}

void IOStream::close_after_flush(Duration deadline, WriteCallback callback) {
  write_with_callback(*this, std::move(callback), [&](WriteCompletion& completion) {
    return start_close_after_flush(deadline, completion);
  });
}

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

bool IOStream::writable() const noexcept { return core_->writable(); }

std::uint64_t IOStream::bytes_received() const noexcept { return core_->bytes_received(); }

std::uint64_t IOStream::bytes_sent() const noexcept { return core_->bytes_sent(); }

Endpoint IOStream::local_endpoint() const { return core_->local_endpoint(); }

Endpoint IOStream::peer_endpoint() const { return core_->peer_endpoint(); }

EventLoop& IOStream::loop() const noexcept { return core_->loop(); }

// -- awaited reads

ReadOperation::~ReadOperation() {
  if (waiter_ && !result_)
    stream_.forget_read(*this);
}

bool ReadOperation::await_suspend(std::coroutine_handle<> waiter) {
  result_ = stream_.start_read(std::move(request_), *this);
  if (result_)
    return false;
  waiter_ = waiter;
  return true;
}

void ReadOperation::on_read(Result<Bytes> result) {
  result_.emplace(std::move(result));
  waiter_.resume();
}

// -- awaited writes

WriteOperation::WriteOperation(WriteOperation&& other) noexcept
    : stream_{other.stream_}, end_{other.end_}, error_{other.error_}, timeout_{other.timeout_},
      strict_{other.strict_}, awaited_{std::exchange(other.awaited_, true)} {}

WriteOperation::~WriteOperation() {
  if (waiter_)
    stream_.core_->cancel_write(*this);
  if (!awaited_ && error_ && error_->code == StreamErrc::buffer_full)
    log_event(LogLevel::warning, "write_dropped",
              "a write that nobody awaited was refused, since max_write_buffer_size is reached; await writes "
              "to keep "
              "pace with the peer");
}

bool WriteOperation::await_ready() {
  if (error_)
    return true;
  if (strict_) // its answer comes from the stream, which may be closed and still send
    return false;
  return stream_.core_->answer_early(end_);
}

void WriteOperation::await_suspend(std::coroutine_handle<> waiter) {
  stream_.core_->await_write(end_, timeout_, *this);
  waiter_ = waiter;
}

void WriteOperation::on_write(Result<void> result) {
  if (!result)
    error_ = result.error();
  std::exchange(waiter_, nullptr).resume();
}

// -- chunks

ChunkAwaitable ChunkReader::next() { return ChunkAwaitable{*this}; }

ChunkOperation::ChunkOperation(ChunkReader& reader)
    : ReadOperation{reader.stream_, ReadBytes{reader.request_.next_size(), true, reader.request_.timeout}},
      reader_{reader} {}

Result<std::optional<Bytes>> ChunkOperation::take_chunk() {
  Result<Bytes>& result = *result_;
  if (!result) {
    const Result<void> outcome = reader_.request_.outcome(result.error());
    return outcome ? Result<std::optional<Bytes>>{std::nullopt}
                   : Result<std::optional<Bytes>>{outcome.error()};
  }
  if (result->empty()) // there are no more: nothing is there at once for a read of 0 bytes
    return std::optional<Bytes>{};
  if (reader_.request_.num_bytes)
    *reader_.request_.num_bytes -= result->size();
  return std::optional<Bytes>{std::move(*result)};
}

// -- awaited events

EventOperation::~EventOperation() {
  if (waiter_ && !result_)
    stream_.forget_wait(*this);
}

bool EventOperation::await_suspend(std::coroutine_handle<> waiter) {
  if (const auto* request = std::get_if<Connect>(&request_))
    result_ = stream_.start_connect(*request, *this);
  else
    result_ = stream_.start_wait(std::get<StreamEvent>(request_), *this, timeout_);
  if (result_)
    return false;
  waiter_ = waiter;
  return true;
}

void EventOperation::on_event(Result<void> result) {
  result_.emplace(std::move(result));
  waiter_.resume();
}

} // namespace squall
