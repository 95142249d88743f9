// SPDX-License-Identifier: BSD-3-Clause
//
// stream_awaitables.hpp: what the calls of IOStream return for co_await. Each comes in two forms: awaited as it is, it
// throws an exception of errors.hpp; with .as_result() it returns the error.
//
// Threads    The stream's loop.
// Ownership  Each holds a handle of its stream. An awaited one must live until the coroutine goes on: it does, as a
//            temporary of the co_await expression.
#pragma once

#include <squall/net/io_stream.hpp>

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

namespace squall {

/// What the two forms of an awaited read share. Destroying it while it waits cancels the read.
class ReadOperation : private ReadCompletion {
public:
  ReadOperation(const ReadOperation&) = delete;
  ReadOperation& operator=(const ReadOperation&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);

protected:
  ReadOperation(const IOStream& stream, ReadRequest request)
      : stream_{stream}, request_{std::move(request)} {}
  /// Makes the request in place.
  template <class Request, class... Args>
  ReadOperation(const IOStream& stream, std::in_place_type_t<Request> type, Args&&... args)
      : stream_{stream}, request_{type, std::forward<Args>(args)...} {}
  ~ReadOperation();

  IOStream stream_;
  ReadRequest request_;
  std::coroutine_handle<> waiter_;
  std::optional<Result<Bytes>> result_;

private:
  void on_read(Result<Bytes> result) override;
};

/// co_await returns Result<Bytes>.
class [[nodiscard]] ReadResultAwaitable final : public ReadOperation {
public:
  Result<Bytes> await_resume() { return std::move(*result_); }

private:
  friend class ReadAwaitable;
  using ReadOperation::ReadOperation;
};

/// co_await returns Bytes or throws.
class [[nodiscard]] ReadAwaitable final : public ReadOperation {
public:
  Bytes await_resume() { return std::move(*result_).value(); }

  /// The same read, not throwing.
  [[nodiscard]] ReadResultAwaitable as_result() && { return {stream_, std::move(request_)}; }

private:
  friend class IOStream;
  using ReadOperation::ReadOperation;
};

/// co_await returns Result<std::size_t>.
class [[nodiscard]] ReadIntoResultAwaitable final : public ReadOperation {
public:
  Result<std::size_t> await_resume() {
    if (!*result_)
      return result_->error();
    return (*result_)->size();
  }

private:
  friend class ReadIntoAwaitable;
  using ReadOperation::ReadOperation;
};

/// co_await returns std::size_t or throws.
class [[nodiscard]] ReadIntoAwaitable final : public ReadOperation {
public:
  std::size_t await_resume() { return result_->value().size(); }

  /// The same read, not throwing.
  [[nodiscard]] ReadIntoResultAwaitable as_result() && { return {stream_, std::move(request_)}; }

private:
  friend class IOStream;
  using ReadOperation::ReadOperation;
};

/// What the two forms of an awaited chunk share.
class ChunkOperation : public ReadOperation {
protected:
  explicit ChunkOperation(ChunkReader& reader);
  ~ChunkOperation() = default;
  Result<std::optional<Bytes>> take_chunk();
  ChunkReader& reader_;
};

/// co_await returns Result<std::optional<Bytes>>.
class [[nodiscard]] ChunkResultAwaitable final : public ChunkOperation {
public:
  Result<std::optional<Bytes>> await_resume() { return take_chunk(); }

private:
  friend class ChunkAwaitable;
  using ChunkOperation::ChunkOperation;
};

/// co_await returns std::optional<Bytes>, or throws.
class [[nodiscard]] ChunkAwaitable final : public ChunkOperation {
public:
  std::optional<Bytes> await_resume() { return take_chunk().value(); }

  /// The same, not throwing.
  [[nodiscard]] ChunkResultAwaitable as_result() && { return ChunkResultAwaitable{reader_}; }

private:
  friend class ChunkReader;
  using ChunkOperation::ChunkOperation;
};

/// The chunks of one ReadChunks, one after the other. Must outlive the chunk that is awaited.
class [[nodiscard]] ChunkReader {
public:
  /// @returns (awaited) the next chunk, at least one byte; nothing after the last
  /// @throws (awaited) StreamClosedError, TimeoutError, CancelledError, StreamUsageError: what was not returned is
  ///         unread, and next() may be called again
  [[nodiscard]] ChunkAwaitable next();

private:
  friend class IOStream;
  friend class ChunkOperation;
  ChunkReader(const IOStream& stream, const ReadChunks& request) : stream_{stream}, request_{request} {}
  IOStream stream_;
  ReadChunks request_;
};

/// What the two forms of an awaited write share. Destroying it does not take the write back.
class WriteOperation : private WriteCompletion {
public:
  WriteOperation(const WriteOperation&) = delete;
  WriteOperation& operator=(const WriteOperation&) = delete;

  [[nodiscard]] bool await_ready();
  void await_suspend(std::coroutine_handle<> waiter);

protected:
  /// `strict`: it is done only when the system took everything.
  WriteOperation(const IOStream& stream, std::uint64_t end, std::optional<StreamError> refused,
                 Timeout timeout, bool strict)
      : stream_{stream}, end_{end}, error_{refused}, timeout_{timeout}, strict_{strict} {}
  WriteOperation(WriteOperation&& other) noexcept;
  ~WriteOperation();

  Result<void> take_result() {
    awaited_ = true;
    return error_ ? Result<void>{*error_} : Result<void>{};
  }

  IOStream stream_;
  std::uint64_t end_; ///< the write is done when this many bytes have left the stream
  std::optional<StreamError> error_;
  Timeout timeout_;
  std::coroutine_handle<> waiter_;
  bool strict_;
  bool awaited_ = false;

private:
  void on_write(Result<void> result) override;
};

/// co_await returns Result<void>.
class WriteResultAwaitable final : public WriteOperation {
public:
  Result<void> await_resume() { return take_result(); }

private:
  friend class WriteAwaitable;
  explicit WriteResultAwaitable(WriteOperation&& other) noexcept : WriteOperation{std::move(other)} {}
};

/// co_await returns nothing or throws.
class WriteAwaitable final : public WriteOperation {
public:
  void await_resume() { take_result().value(); }

  /// The same write, not throwing.
  [[nodiscard]] WriteResultAwaitable as_result() && { return WriteResultAwaitable{std::move(*this)}; }

private:
  friend class IOStream;
  using WriteOperation::WriteOperation;
};

/// What the forms of an awaited event share. Destroying it while it waits forgets the wait.
class EventOperation : private EventCompletion {
public:
  EventOperation(const EventOperation&) = delete;
  EventOperation& operator=(const EventOperation&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter);

protected:
  using Request = std::variant<StreamEvent, Connect, StartTLS>;
  EventOperation(const IOStream& stream, Request request, Timeout timeout)
      : stream_{stream}, request_{std::move(request)}, timeout_{timeout} {}
  ~EventOperation();

  IOStream stream_;
  Request request_;
  Timeout timeout_;
  std::coroutine_handle<> waiter_;
  std::optional<Result<void>> result_;

private:
  void on_event(Result<void> result) override;
};

/// co_await returns Result<void>.
class [[nodiscard]] EventResultAwaitable final : public EventOperation {
public:
  Result<void> await_resume() { return *result_; }

private:
  friend class EventAwaitable;
  friend class ConnectAwaitable;
  using EventOperation::EventOperation;
};

/// co_await returns nothing or throws.
class [[nodiscard]] EventAwaitable final : public EventOperation {
public:
  void await_resume() { result_->value(); }

  /// The same, not throwing.
  [[nodiscard]] EventResultAwaitable as_result() && { return {stream_, std::move(request_), timeout_}; }

private:
  friend class IOStream;
  using EventOperation::EventOperation;
};

/// co_await returns the stream or throws.
class [[nodiscard]] ConnectAwaitable final : public EventOperation {
public:
  IOStream await_resume() {
    result_->value();
    return stream_;
  }

  /// The same, not throwing.
  [[nodiscard]] EventResultAwaitable as_result() && { return {stream_, std::move(request_), timeout_}; }

private:
  friend class IOStream;
  using EventOperation::EventOperation;
};

} // namespace squall
