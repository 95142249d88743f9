// SPDX-License-Identifier: BSD-3-Clause
//
// stream_core.cpp: how a stream reads, writes and closes.
#include "net/stream_core.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <limits>
#include <new>

#include <squall/net/log.hpp>

namespace squall {

namespace {

/// What one stream may do in a turn before the others get theirs.
constexpr std::uint32_t operations_per_turn = 128;
constexpr std::size_t bytes_per_turn = 256 * 1024;

/// How much an awaited write may leave to the end of the turn and count as done; see IOStream::write.
constexpr std::size_t early_answer_size = 64 * 1024;

/// Errors that say no more than that the connection is gone.
bool is_reset(int error) noexcept {
  return error == ECONNRESET || error == ECONNABORTED || error == EPIPE || error == ETIMEDOUT;
}

} // namespace

class StreamCore::Guard {
public:
  explicit Guard(StreamCore& core) noexcept : core_{core}, exceptions_{std::uncaught_exceptions()} { core_.ref(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() {
    if (std::uncaught_exceptions() > exceptions_)
      core_.go_on_later();
    core_.deref();
  }

private:
  StreamCore& core_;
  int exceptions_;
};

/// A completion threw: what it kept from running follows in the next phases of the loop.
void StreamCore::go_on_later() noexcept {
  loop_.defer(deferred_task_);
  loop_.at_end_of_turn(flush_task_);
}

StreamCore::StreamCore(EventLoop& loop, std::unique_ptr<Transport> transport, const StreamOptions& options)
    : loop_{loop}, transport_{std::move(transport)}, options_{options} {
  options_.max_buffer_size = std::max<std::size_t>(options_.max_buffer_size, 2);
  options_.read_chunk_size =
      std::clamp<std::size_t>(options_.read_chunk_size, 1, options_.max_buffer_size / 2);
  transport_->set_nodelay(options_.nodelay);
  transport_->watch(loop_, *this);
  loop_.watch_end(*this); // a transport without a descriptor does not
}

void StreamCore::deref() noexcept {
  // The close itself needs the stream: it holds a reference until it is over.
  if (references_ == 1 && !closed_)
    close(CloseReason::local_close, {});
  if (--references_ == 0)
    delete this;
}

// -- reading -----------------------------------------------------------------------------------------------------------

std::optional<Result<Bytes>> StreamCore::start_read(ReadRequest request, ReadCompletion& completion) {
  if (reader_ != nullptr)
    return StreamError{StreamErrc::already_reading, CloseReason::none, {}};
  if (const auto refused = ReadMatch::check(request, options_.max_buffer_size))
    return StreamError{*refused, CloseReason::none, {}};
  limit_error_ = StreamErrc::unsatisfiable_read;
  if (auto* until = std::get_if<ReadUntil>(&request); until != nullptr) {
    if (!until->max_bytes || *until->max_bytes > options_.max_buffer_size) {
      until->max_bytes = options_.max_buffer_size;
      limit_error_ = StreamErrc::buffer_full;
    }
  }
  match_.start(std::move(request));
  started_closed_ = closed_;
  if (closed_ || spend_operation()) { // closed: only what is unread, and the loop may be gone
    if (auto result = advance_read())
      return result;
  } else {
    loop_.defer(deferred_task_);
  }
  reader_ = &completion;
  return std::nullopt;
}

void StreamCore::cancel_read(ReadCompletion& completion) noexcept {
  if (reader_ == &completion)
    reader_ = nullptr;
}

/// One operation of this turn's share; false when it is used up.
bool StreamCore::spend_operation() noexcept {
  if (turn_ != loop_.turn()) {
    turn_ = loop_.turn();
    operations_ = 0;
    received_ = 0;
  }
  return operations_++ < operations_per_turn;
}

/// Brings the read forward as far as it goes now; its outcome, when it has come to one. On a closed stream it has.
std::optional<Result<Bytes>> StreamCore::advance_read() {
  for (;;) {
    const ReadMatch::Outcome outcome = match_.find(unread_.view());
    if (outcome.kind == ReadMatch::Outcome::Kind::satisfied) {
      Bytes bytes = unread_.take(outcome.size);
      if (hang_up_ && unread_.empty() && !closed_)
        loop_.defer(deferred_task_); // the end shows when everything is read, also to who does not read on
      return bytes;
    }
    if (closed_)
      return final_read_outcome();
    if (outcome.kind == ReadMatch::Outcome::Kind::unsatisfiable)
      return fail_read(limit_error_);
    if (unread_.size() > options_.max_buffer_size)
      return fail_read(StreamErrc::buffer_full);
    if (!readable_) {
      unread_.shrink();
      return std::nullopt;
    }
    if (received_ >= bytes_per_turn) {
      loop_.defer(deferred_task_);
      return std::nullopt;
    }
    if (!receive())
      continue; // closed, or nothing there: the next round tells
  }
}

/// A limit is passed: the stream closes, the bytes stay readable.
std::optional<Result<Bytes>> StreamCore::fail_read(StreamErrc limit) {
  log_event(LogLevel::info, "unsatisfiable_read", "a read passed its limit; its stream closes",
            {{"limit", to_string(limit)}, {"unread", std::to_string(unread_.size())}});
  shut(CloseReason::limit, limit);
  return error();
}

/// The outcome of a read that cannot be satisfied any more, since the stream closed.
Result<Bytes> StreamCore::final_read_outcome() {
  // Only an orderly end makes a whole of what arrived; otherwise a pending read fails, and a later one takes the rest.
  if (match_.satisfied_by_end() &&
      (reason_ == CloseReason::peer_closed || (started_closed_ && !unread_.empty())))
    return unread_.take(unread_.size());
  return error();
}

/// Goes on with the pending read.
void StreamCore::continue_read() {
  spend_operation();
  auto result = advance_read();
  if (!result)
    return;
  ReadCompletion* reader = std::exchange(reader_, nullptr);
  reader->on_read(std::move(*result));
}

/// Receives one chunk; false when nothing came: then either closed_ or !readable_ holds.
bool StreamCore::receive() {
  const std::size_t wanted = std::min(options_.read_chunk_size, options_.max_buffer_size + 1 - unread_.size());
  IoResult result{};
  try {
    result = transport_->read_from_fd(unread_.prepare(wanted), wanted);
    if (result.status == IoResult::Status::done)
      unread_.commit(result.size);
  } catch (const std::bad_alloc&) {
    fail(ENOMEM, "receive");
    return false;
  }
  switch (result.status) {
  case IoResult::Status::done:
    received_ += result.size;
    // A short read took all there was; what comes later is told. Only an end that was told already is still there.
    readable_ = result.size == wanted || hang_up_;
    return true;
  case IoResult::Status::would_block:
    readable_ = hang_up_ = false;
    return false;
  case IoResult::Status::end:
    shut(CloseReason::peer_closed, {});
    return false;
  case IoResult::Status::failed:
    fail(result.error, "receive");
    return false;
  }
  return false;
}

/// Nobody reads, and the transport hung up: closes when nothing is unread. Data keeps the stream open until it is read.
void StreamCore::notice_end() {
  if (unread_.empty() && readable_)
    receive();
}

// -- writing -----------------------------------------------------------------------------------------------------------

std::optional<StreamError> StreamCore::queue_write(Bytes data, std::uint64_t& end) {
  if (closed_)
    return error();
  const auto room = [&] { return data.size() <= options_.max_write_buffer_size - unsent_.size(); };
  if (data.size() > options_.max_write_buffer_size)
    return StreamError{StreamErrc::buffer_full, CloseReason::none, {}};
  if (!room()) {
    send_unsent(bytes_per_turn);
    if (closed_)
      return error();
    if (!room())
      return StreamError{StreamErrc::buffer_full, CloseReason::none, {}};
  }
  unsent_.append(std::move(data));
  end = unsent_.end();
  if (!blocked_)
    loop_.at_end_of_turn(flush_task_);
  return std::nullopt;
}

bool StreamCore::answer_early(std::uint64_t end) noexcept {
  if (sent(end))
    return true;
  if (closed_ || blocked_ || unsent_.size() > early_answer_size || !spend_operation())
    return false;
  answered_ = std::max(answered_, end);
  return true;
}

void StreamCore::await_write(std::uint64_t end, WriteCompletion& completion) {
  // Answered writers at the front make room before the vector grows, as in WriteQueue::append.
  if (writers_.size() == writers_.capacity() && first_writer_ > writers_.size() / 2) {
    writers_.erase(writers_.begin(), writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_));
    first_writer_ = 0;
  }
  const auto first = writers_.begin() + static_cast<std::ptrdiff_t>(first_writer_);
  const auto behind = std::upper_bound(first, writers_.end(), end,
                                       [](std::uint64_t a, const PendingWrite& b) { return a < b.end; });
  writers_.insert(behind, {end, &completion});
}

void StreamCore::cancel_write(WriteCompletion& completion) noexcept {
  for (std::size_t i = first_writer_; i < writers_.size(); ++i)
    if (writers_[i].completion == &completion)
      writers_[i].completion = nullptr;
}

/// Takes the first writer out and answers it. It may queue, await and cancel other writes meanwhile.
void StreamCore::answer_first_writer(Result<void> result) {
  WriteCompletion* completion = writers_[first_writer_++].completion;
  if (first_writer_ == writers_.size()) {
    writers_.clear();
    first_writer_ = 0;
  }
  if (completion != nullptr)
    completion->on_write(std::move(result));
}

/// Sends what is unsent and answers the writes that are done.
void StreamCore::flush() {
  const Guard guard{*this};
  send_unsent(bytes_per_turn);
  answer_writes();
  if (lingering_ && (unsent_.empty() || transport_ == nullptr))
    end_linger();
}

void StreamCore::send_unsent(std::size_t most) {
  constexpr std::size_t most_pieces = 64;
  std::array<IoSlice, most_pieces> pieces;
  std::size_t sent_now = 0;
  while (!unsent_.empty() && transport_ != nullptr) {
    if (sent_now >= most) {
      loop_.at_end_of_turn(flush_task_);
      return;
    }
    const IoResult result = transport_->write_to_fd(pieces.data(), unsent_.gather(pieces.data(), most_pieces));
    if (result.status == IoResult::Status::would_block) {
      blocked_ = true;
      return;
    }
    if (result.status != IoResult::Status::done) {
      fail(result.error, "send");
      return;
    }
    blocked_ = false;
    unsent_.advance(result.size);
    sent_now += result.size;
  }
}

void StreamCore::answer_writes() {
  while (!writers_.empty() && sent(writers_[first_writer_].end))
    answer_first_writer({});
}

// -- readiness ---------------------------------------------------------------------------------------------------------

void StreamCore::on_ready(Readiness readiness) {
  const Guard guard{*this};
  readable_ = readable_ || readiness.readable || readiness.hang_up;
  hang_up_ = hang_up_ || readiness.hang_up;
  if (readiness.writable && blocked_) {
    blocked_ = false;
    flush();
  }
  if (reader_ != nullptr)
    continue_read();
  else if (hang_up_ && !closed_)
    notice_end();
}

/// The deferred part of a turn: a read that had its share, an end that nobody reads, the end of a close.
void StreamCore::run_deferred() {
  const Guard guard{*this};
  if (reader_ != nullptr)
    continue_read();
  else if (hang_up_ && !closed_)
    notice_end();
  if (closed_ && !finished_)
    finish_close();
}

void StreamCore::on_loop_end() noexcept {
  const Guard guard{*this};
  shut(CloseReason::shutting_down, {}); // the loop runs the deferred task before it goes
  end_linger();
}

// -- closing -----------------------------------------------------------------------------------------------------------

void StreamCore::close(CloseReason reason, std::error_code real_error) {
  if (closed_)
    return;
  const Guard guard{*this};
  shut(reason, real_error);
  if (reader_ != nullptr)
    continue_read();
}

/// Closes the transport, or leaves it to the answered bytes. The pending read, if any, is the caller's to answer; the
/// writes and the close callback follow in finish_close, so that they always come after it.
void StreamCore::shut(CloseReason reason, std::error_code real_error) {
  if (closed_)
    return;
  closed_ = true;
  reason_ = reason;
  real_error_ = real_error;
  const bool broken = reason == CloseReason::reset || reason == CloseReason::transport_error;
  if (!broken && !blocked_)
    send_unsent(std::numeric_limits<std::size_t>::max()); // no later turn would send the rest
  if (!broken && reason != CloseReason::shutting_down && answered_ > unsent_.begin() && transport_ != nullptr)
    begin_linger();
  else
    release_transport();
  ref();
  loop_.defer(deferred_task_);
}

/// The transport failed with an errno.
void StreamCore::fail(int error, const char* what) {
  const std::error_code code{error, std::generic_category()};
  if (closed_) {
    release_transport(); // what lingered is lost with the connection
    return;
  }
  if (!is_reset(error))
    log_event(LogLevel::warning, "stream_failed", "a stream closes after an unexpected error",
              {{"call", what}, {"error", code.message()}});
  shut(is_reset(error) ? CloseReason::reset : CloseReason::transport_error, code);
}

void StreamCore::begin_linger() {
  unsent_.truncate(answered_);
  if (options_.linger_timeout <= std::chrono::milliseconds::zero()) {
    release_transport();
    return;
  }
  lingering_ = true;
  ref();
  linger_timer_ = std::make_unique<Timer>([this] { end_linger(); });
  linger_timer_->start_after(loop_, options_.linger_timeout);
}

void StreamCore::end_linger() noexcept {
  if (!lingering_)
    return;
  lingering_ = false;
  if (linger_timer_ != nullptr)
    linger_timer_->cancel();
  release_transport();
  deref();
}

void StreamCore::release_transport() noexcept {
  if (transport_ == nullptr)
    return;
  transport_->unwatch(loop_, *this);
  Watcher::unlink();
  transport_->close_fd();
  transport_.reset();
  flush_task_.unlink();
  unsent_.truncate(unsent_.begin());
}

void StreamCore::finish_close() {
  while (!writers_.empty())
    answer_first_writer(sent(writers_[first_writer_].end) ? Result<void>{} : Result<void>{error()});
  finished_ = true;
  deref(); // of shut, or of set_close_callback; the caller holds another
  if (const auto callback = std::exchange(close_callback_, nullptr))
    callback();
}

void StreamCore::set_close_callback(std::function<void()> callback) {
  close_callback_ = std::move(callback);
  if (!finished_ || close_callback_ == nullptr)
    return;
  finished_ = false; // the close is told once more, to the late one
  ref();
  loop_.defer(deferred_task_);
}

void StreamCore::set_nodelay(bool value) noexcept {
  if (transport_ != nullptr && !closed_)
    transport_->set_nodelay(value);
}

} // namespace squall
