// SPDX-License-Identifier: BSD-3-Clause
//
// stream_awaitables.cpp: the operations of a stream that coroutines await.
#include "net/stream_core.hpp"
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>

namespace squall {

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
  else if (const auto* tls = std::get_if<StartTLS>(&request_))
    result_ = stream_.start_tls(*tls, *this);
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
