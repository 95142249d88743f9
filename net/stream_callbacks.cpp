// SPDX-License-Identifier: BSD-3-Clause
//
// stream_callbacks.cpp: the operations of a stream that end in a callback.
#include "net/stream_core.hpp"
#include <squall/net/io_stream.hpp>

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
    std::optional<Result<Bytes>> result;
    try {
      result = stream_.start_read(ReadBytes{size, true, request_.timeout}, *this);
    } catch (const std::bad_alloc&) {
      stream_.close(CloseReason::transport_error, std::make_error_code(std::errc::not_enough_memory));
      return finish(stream_.error());
    }
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

void IOStream::start_tls(const StartTLS& request, EventCallback callback) {
  wait_with_callback(*this, std::move(callback),
                     [&](EventCompletion& completion) { return start_tls(request, completion); });
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

} // namespace squall
