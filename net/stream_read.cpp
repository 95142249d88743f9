// SPDX-License-Identifier: BSD-3-Clause
//
// stream_read.cpp: how a stream reads.
#include "net/stream_core.hpp"
#include "net/stream_share.hpp"
#include "net/tell.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <new>

namespace squall {

std::optional<Result<Bytes>> StreamCore::start_read(ReadRequest&& request, ReadCompletion& completion) {
  check_thread();
  if (reader_ != nullptr)
    return failure(StreamErrc::already_reading);
  if (const auto refused = ReadMatch::check(request, options_->max_buffer_size))
    return failure(*refused);
  const Timeout timeout = std::visit(
      [this](auto& any) {
        if constexpr (requires { any.max_bytes; }) {
          if (!any.max_bytes && options_->default_max_bytes > 0)
            any.max_bytes = options_->default_max_bytes;
        }
        return any.timeout;
      },
      request);
  match_.start(std::move(request), options_->max_buffer_size);
  into_size_ = 0;
  started_closed_ = closed_;
  const bool polls = timeout && *timeout <= Duration::zero();
  if (closed_ || spend_operation() || polls) { // closed: only what is unread, and the loop may be gone
    if (auto result = advance_read())
      return result;
  } else {
    loop_.defer(deferred_task_);
  }
  const bool put_off = readable_ && received_ >= bytes_per_turn; // then the timer decides, in the next turn
  if (polls && !put_off) {
    leave_read();
    return failure(StreamErrc::timed_out);
  }
  if (timeout) {
    try {
      if (read_timer_ == nullptr)
        read_timer_ = std::make_unique<Timer>([this] { read_timed_out(); });
      read_timer_->start_after(loop_, *timeout);
    } catch (...) {
      leave_read(); // what is in the buffer of a ReadInto is unread again
      throw;
    }
  }
  reader_ = &completion;
  return std::nullopt;
}

void StreamCore::forget_read(ReadCompletion& completion) noexcept {
  cancelled_.remove(&completion);
  if (reader_ == &completion)
    leave_read();
}

void StreamCore::cancel_read() {
  if (reader_ == nullptr)
    return;
  auto last = cancelled_.before_begin();
  while (std::next(last) != cancelled_.end())
    ++last;
  cancelled_.insert_after(last, reader_);
  leave_read();
  loop_.defer(deferred_task_);
}

/// Not inside cancel_read: the completion may be code of another than who calls that.
void StreamCore::answer_cancelled() {
  while (!cancelled_.empty()) {
    ReadCompletion* reader = cancelled_.front();
    cancelled_.pop_front();
    reader->on_read(failure(StreamErrc::cancelled));
  }
}

bool StreamCore::look_for_input() {
  if (closed_ || reader_ == nullptr || link_ != LinkState::connected)
    return false;
  check_thread();
  const Guard guard{*this};
  readable_ = true;
  continue_read();
  return !closed_ && reader_ != nullptr && !readable_ && unread_.empty() && into_size_ == 0;
}

/// What came in time is given, also when it waits for the stream's share of a turn.
void StreamCore::read_timed_out() {
  const Guard guard{*this};
  for (std::size_t looked = 0; looked < most_at_deadline; looked += bytes_per_turn) {
    spend_operation();
    received_ = 0;
    if (continue_read())
      return;
    if (!readable_)
      break;
  }
  ReadCompletion* reader = reader_;
  leave_read();
  reader->on_read(failure(StreamErrc::timed_out));
}

/// The read ends without an outcome: every byte is unread, the stream idle.
void StreamCore::leave_read() noexcept {
  reader_ = nullptr;
  if (read_timer_ != nullptr)
    read_timer_->cancel();
  const std::size_t size = std::exchange(into_size_, 0);
  const MutableBytes buffer = match_.release_buffer();
  if (size == 0)
    return;
  try {
    unread_.put_back({buffer.data(), size});
    count_memory();
  } catch (const std::bad_alloc&) { // bytes are lost: the stream must not go on as if they were not
    fail(IoResult::failure(ENOMEM), "receive");
  }
}

/// One operation of this turn's share; false when it is used up.
bool StreamCore::spend_operation() noexcept {
  if (turn_ != loop_.turn()) {
    turn_ = loop_.turn();
    operations_ = 0;
    received_ = 0;
  }
  if (operations_ >= operations_per_turn)
    return false;
  ++operations_;
  return true;
}

/// Brings the read forward as far as it goes now; its outcome, when it has come to one. On a closed stream it
/// has.
std::optional<Result<Bytes>> StreamCore::advance_read() {
  if (ReadInto* into = match_.into())
    return advance_read_into(*into);
  for (;;) {
    const ReadMatch::Outcome outcome = match_.find(unread_.view());
    if (outcome.kind == ReadMatch::Outcome::Kind::satisfied) {
      if (match_.peeks())
        return unread_.peek(outcome.size);
      Bytes bytes = unread_.take(outcome.size);
      after_read();
      return bytes;
    }
    if (outcome.kind == ReadMatch::Outcome::Kind::unsatisfiable && !closed_)
      return pass_limit(match_.limit_error());
    if (closed_ || read_ended_)
      return final_read_outcome();
    if (unread_.size() > options_->max_buffer_size)
      return pass_limit(StreamErrc::buffer_full);
    if (!may_receive()) {
      if (!readable_) {
        unread_.shrink();
        count_memory();
      }
      return std::nullopt;
    }
    receive();
  }
}

std::optional<Result<Bytes>> StreamCore::advance_read_into(ReadInto& into) {
  for (;;) {
    const std::size_t copied = std::min(into.buffer.size() - into_size_, unread_.size());
    if (copied > 0) {
      std::memcpy(into.buffer.data() + into_size_, unread_.view().data(), copied);
      unread_.drop(copied);
      into_size_ += copied;
      count_memory();
    }
    if (into_size_ == into.buffer.size() || (into.partial && into_size_ > 0)) {
      Bytes bytes = into.buffer.front(std::exchange(into_size_, 0));
      static_cast<void>(match_.release_buffer());
      after_read();
      return bytes;
    }
    if (closed_ || read_ended_) {
      leave_read();
      return final_read_outcome();
    }
    if (!may_receive())
      return std::nullopt;
    receive_into(into);
  }
}

/// There may be something to receive, and it is still this stream's turn; otherwise it has been put off.
bool StreamCore::may_receive() noexcept {
  if (memory_ != nullptr && readable_ && held_by_memory())
    return false;
  if (readable_ && received_ >= bytes_per_turn)
    loop_.defer(deferred_task_);
  return readable_ && received_ < bytes_per_turn;
}

/// A read passes a limit: the bytes stay readable, and the stream closes unless the read says otherwise.
std::optional<Result<Bytes>> StreamCore::pass_limit(StreamErrc limit) {
  if (match_.limit_policy() == LimitPolicy::keep)
    return failure(limit);
  tell(LogLevel::info, "unsatisfiable_read", "a read passed its limit; its stream closes", [&] {
    return LogFields{{"peer", to_string(peer_endpoint())},
                     {"limit", to_string(limit)},
                     {"unread", std::to_string(unread_.size())}};
  });
  shut(CloseReason::limit, limit);
  return error();
}

/// The outcome of a read that cannot be satisfied any more, since the stream closed.
Result<Bytes> StreamCore::final_read_outcome() {
  // Only an orderly end makes a whole of what arrived; otherwise a pending read fails, and a later one takes
  // the rest.
  const bool whole = read_ended_ || reason_ == CloseReason::peer_closed;
  if (match_.satisfied_by_end() && (whole || (started_closed_ && !unread_.empty()))) {
    Bytes bytes = unread_.take(unread_.size());
    count_memory();
    return bytes;
  }
  return closed_ ? error() : StreamError{StreamErrc::closed, CloseReason::peer_closed, {}, id_};
}

/// Bytes were taken: the end shows when everything is read, also to who does not read on.
void StreamCore::after_read() noexcept {
  count_memory();
  if (hang_up_ && unread_.empty() && !closed_)
    loop_.defer(deferred_task_);
}

/// Goes on with the pending read. @returns whether it came to its outcome, and told it
bool StreamCore::continue_read() {
  spend_operation();
  ReadCompletion* reader = reader_; // a read into a buffer leaves it by itself when the stream closes
  auto result = advance_read();
  if (!result)
    return false;
  reader_ = nullptr;
  if (read_timer_ != nullptr)
    read_timer_->cancel();
  reader->on_read(std::move(*result));
  return true;
}

/// Receives one chunk.
void StreamCore::receive() {
  const std::size_t wanted =
      std::min(options_->read_chunk_size, options_->max_buffer_size + 1 - unread_.size());
  try {
    MemoryReserve::require_half(); // else those who send would take what others free
    const IoResult result = transport_->read_from_fd(unread_.prepare(wanted), wanted);
    if (result.status == IoResult::Status::done)
      unread_.commit(result.size);
    received(result);
  } catch (const std::bad_alloc&) {
    fail(IoResult::failure(ENOMEM), "receive");
  }
}

/// Receives to the rest of the caller's buffer; nothing is unread.
void StreamCore::receive_into(ReadInto& into) {
  const std::size_t wanted = std::min(into.buffer.size() - into_size_, bytes_per_turn);
  const IoResult result = transport_->read_from_fd(into.buffer.data() + into_size_, wanted);
  into_size_ += result.size;
  received(result);
}

/// After a receive: the stream has more bytes, or is not readable, or closed.
void StreamCore::received(const IoResult& result) {
  if (result.yields)
    received_ = static_cast<std::uint32_t>(bytes_per_turn);
  switch (result.status) {
  case IoResult::Status::done:
    received_ += static_cast<std::uint32_t>(result.size);
    bytes_received_ += result.size;
    awaits_answer_ = true;
    if (memory_ != nullptr) {
      memory_->held_since.reset();
      update_memory();
    }
    note_activity();
    // What comes later is told. Only an end that was told already is still there. So is what lies behind urgent data
    // (tcp(7)).
    readable_ = !result.drained || result.yields || hang_up_ || urgent_;
    return;
  case IoResult::Status::would_block:
    readable_ = result.yields;
    hang_up_ = hang_up_ && result.yields;
    return;
  case IoResult::Status::crossed:
    readable_ = false;
    read_crossed_ = true;
    return;
  case IoResult::Status::end:
    end_input();
    return;
  case IoResult::Status::failed:
    fail(result, "receive");
    return;
  }
}

/// The peer ended its side.
void StreamCore::end_input() {
  if (!options_->half_close || write_ended_) {
    // What is unsent was written before the end showed: a peer that ended only its own side still gets it.
    shut(CloseReason::peer_closed, {}, options_->linger_timeout);
    return;
  }
  read_ended_ = true;
  readable_ = hang_up_ = false;
  loop_.defer(deferred_task_); // which tells of the end, after the pending read was answered
}

/// Nobody reads; what is looked for is the end, which may stand behind more than a turn's share of what carries no bytes.
void StreamCore::receive_unasked() {
  receive();
  if (readable_ && !closed_ && unread_.empty())
    loop_.defer(deferred_task_);
}

/// Nobody reads, and the transport hung up.
void StreamCore::notice_end() {
  // A broken connection closes the stream now; what the system still holds of it becomes unread before.
  while (broken_ && !closed_ && readable_ && unread_.size() <= options_->max_buffer_size)
    receive();
  if (closed_ || !unread_.empty() || !readable_)
    return; // what is unread keeps the stream open until it is read
  if (end_notice_ == EndNotice::at_once ||
      options_->half_close) { // which closes nothing that is still to answer
    receive_unasked();
    return;
  }
  // The peer may have ended its side only, and wait for an answer that the handler is at: time for it to
  // come.
  if (phase_timer_ == nullptr)
    phase_timer_ = std::make_unique<Timer>([this] {
      const Guard guard{*this};
      if (reader_ == nullptr && !closed_ && unread_.empty() && readable_)
        receive_unasked();
    });
  if (!phase_timer_->armed())
    phase_timer_->start_after(loop_, options_->linger_timeout);
}

} // namespace squall
