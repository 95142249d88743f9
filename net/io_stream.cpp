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
    : IOStream{loop, make_socket_transport(std::move(socket)), options} {}

IOStream::IOStream(EventLoop& loop, std::unique_ptr<Transport> transport, const StreamOptions& options)
    : IOStream{new StreamCore{loop, std::move(transport), options}} {}

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

ReadAwaitable IOStream::peek(std::size_t num_bytes, Timeout timeout) {
  return {*this, Peek{num_bytes, timeout}};
}

WriteAwaitable IOStream::write(Bytes data, Timeout timeout) {
  std::uint64_t end = 0;
  const auto refused = core_->queue_write(std::move(data), end);
  return {*this, end, refused, timeout, false};
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

} // namespace

void IOStream::write(Bytes data, WriteCallback callback, Timeout timeout) {
  write_with_callback(*this, std::move(callback), [&](WriteCompletion& completion) {
    return start_write(std::move(data), completion, timeout);
  });
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
  if (stream_.core_->answer_early(end_))
    return true;
  if (stream_.closed())
    error_ = stream_.error();
  return error_.has_value();
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

} // namespace squall
