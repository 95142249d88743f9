// SPDX-License-Identifier: BSD-3-Clause
//
// stream_close.cpp: how a stream closes.
#include "net/stream_core.hpp"
#include "net/stream_share.hpp"
#include "net/tell.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>

namespace squall {

namespace {

/// What a stream takes and drops after its own end, at most: what the peer can have handed to its system before it sees that
/// end. With the defaults of Linux these are 4 MiB that it has sent and 6 MiB that wait here (tcp_wmem, tcp_rmem; tcp(7)).
constexpr std::size_t most_discarded = 16 * 1024 * 1024;

/// How long the peer may send nothing after our end until it is waited for no more: a lost segment comes again within
/// that (RFC 6298, 2.1).
constexpr std::chrono::seconds quiet_time{2};

/// Whether a close for this reason takes what still comes until the peer's end. Others break the connection, or leave
/// nothing to wait for, as the close of a stream that has written nothing does.
bool is_orderly(CloseReason reason, bool wrote) noexcept {
  return (reason == CloseReason::local_close && wrote) || reason == CloseReason::handler_ended ||
         reason == CloseReason::handler_failed || reason == CloseReason::draining;
}

/// Errors that say no more than that the connection is gone.
bool is_reset(int error) noexcept {
  return error == ECONNRESET || error == ECONNABORTED || error == EPIPE || error == ETIMEDOUT;
}

} // namespace

void StreamCore::close(CloseReason reason, std::error_code real_error) {
  if (closed_)
    return;
  check_thread();
  // "Open" is no reason, and only the peer can end its input: cut data must not pass for whole.
  const bool not_ours = reason == CloseReason::none || reason == CloseReason::peer_closed;
  shut(not_ours ? CloseReason::local_close : reason, real_error);
}

std::optional<StreamError> StreamCore::close_after_flush(Duration deadline, std::uint64_t& end) {
  if (closed_)
    return error();
  check_thread();
  end = unsent_.end();
  shut(CloseReason::local_close, {}, deadline);
  return std::nullopt;
}

void StreamCore::abort() {
  check_thread();
  const Guard guard{*this};
  const bool drops = !closed_ || !unsent_.empty();
  if (drops && transport_ != nullptr)
    transport_->set_abort();
  if (!closed_) {
    close(CloseReason::aborted, {});
  } else {
    if (drops && lingering_)
      reason_ = CloseReason::aborted;
    end_linger(CloseReason::aborted);
  }
}

/// Closes the transport, or leaves it to the answered bytes. The pending read, if any, is the caller's to
/// answer; the writes and the close callback follow in finish_close, so that they always come after it.
void StreamCore::shut(CloseReason reason, std::error_code real_error, Timeout flush_for) {
  if (closed_)
    return;
  closed_ = true;
  flushing_ = flush_for.has_value(); // from now on, so that a failure to send shows in the outcome
  reason_ = reason;
  real_error_ = real_error;
  if (idle_timer_ != nullptr)
    idle_timer_->cancel();
  if (write_timer_ != nullptr)
    write_timer_->cancel();
  if (phase_timer_ != nullptr)
    phase_timer_->cancel(); // not destroyed: this may run inside it
  if (handshake_ != nullptr)
    handshake_->timer.cancel();
  const bool broken = reason == CloseReason::reset || reason == CloseReason::transport_error ||
                      reason == CloseReason::aborted || reason == CloseReason::tls_failed ||
                      reason == CloseReason::tls_truncated;
  if (!broken && !blocked_)
    send_unsent(flush_for ? bytes_per_turn : most_at_close); // no later turn would send the rest
  const bool owes = flush_for || (reason != CloseReason::shutting_down && answered_ > unsent_.begin());
  const bool nothing_left = reason == CloseReason::peer_closed && unsent_.empty();
  const bool wrote = flush_for.has_value() || unsent_.begin() > 0 || answered_ > 0;
  awaits_end_ =
      is_orderly(reason, wrote) && !read_ended_ && transport_ != nullptr && transport_->half_closes();
  const bool waits = awaits_end_ && link_ == LinkState::connected;
  const bool goodbye_waits =
      !broken && !waits && reason != CloseReason::shutting_down && unsent_.empty() && !say_goodbye();
  const bool lingers = (owes && !nothing_left) || waits || goodbye_waits;
  if (reason == CloseReason::shutting_down)
    end_in_this_turn();
  if (!broken && lingers && transport_ != nullptr && link_ != LinkState::unconnected)
    begin_linger(flush_for);
  else
    release_transport();
  flushing_ = lingering_ && flushing_;
  ref();
  loop_.defer(deferred_task_);
}

/// The transport failed.
void StreamCore::fail(const IoResult& result, const char* what) {
  const int error = result.error;
  const bool of_tls = result.reason == CloseReason::tls_failed || result.reason == CloseReason::tls_truncated;
  const std::error_code code{error, of_tls ? tls_category() : std::generic_category()};
  const CloseReason reason = result.reason != CloseReason::none ? result.reason
                             : is_reset(error)                  ? CloseReason::reset
                                                                : CloseReason::transport_error;
  if (closed_) {
    release_transport(); // what lingered is lost with the connection
    if (flushing_ && reason_ == CloseReason::local_close) {
      reason_ = reason;
      real_error_ = code;
    }
    return;
  }
  if (reason == CloseReason::tls_failed) // that the peer has left is its own affair
    tell(result.status == IoResult::Status::end ? LogLevel::debug : LogLevel::warning, "tls_failed",
         "a stream closes since TLS failed", [&] {
           return LogFields{{"peer", peer_text()}, {"call", what}, {"error", code.message()}};
         });
  if (reason == CloseReason::transport_error)
    tell(LogLevel::warning, "stream_failed", "a stream closes after an unexpected error", [&] {
      return LogFields{{"peer", to_string(peer_endpoint())}, {"call", what}, {"error", code.message()}};
    });
  shut(reason, code);
}

/// Keeps the transport to send what was answered, or, with `flush_for`, everything, and for the peer's end.
void StreamCore::begin_linger(Timeout flush_for) {
  if (!flush_for) {
    dropped_ = !unsent_.empty() && unsent_.end() > answered_;
    unsent_.truncate(answered_);
    if (dropped_) // before the rest is sent, since our side may end with its last byte
      transport_->withhold_goodbye();
  }
  count_memory();
  const Duration time = flush_for.value_or(options_->linger_timeout);
  const TimePoint until = loop_.now() + time;
  if (time > Duration::zero())
    linger_.reset(new (std::nothrow) Linger{Timer{[this] { linger_timed_out(); }}, until});
  if (linger_ == nullptr || !arm_linger_timer(until)) {
    if (flush_for && time <= Duration::zero())
      cut_flush(CloseReason::timed_out);
    release_transport(); // a close comes to its end, with memory or without
    return;
  }
  lingering_ = true;
  ref();
  if (flushing_)
    loop_.at_end_of_turn(flush_task_); // which answers, and goes on when everything is sent already
  else if (unsent_.empty() && awaits_end_)
    everything_sent();
}

/// @returns false when there is no memory for it
bool StreamCore::arm_linger_timer(TimePoint when) noexcept {
  try {
    linger_->timer.start(loop_, when);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

/// Ends the lingering when its time is over, or the peer has sent nothing for long.
void StreamCore::check_linger() noexcept {
  const Guard guard{*this};
  const TimePoint quiet = write_ended_ ? last_activity_ + quiet_time : linger_->until;
  const TimePoint next = std::min(linger_->until, quiet);
  if (next <= loop_.now() || !arm_linger_timer(next))
    end_linger(CloseReason::timed_out);
}

/// A close_after_flush is cut short; its writes fail with why.
void StreamCore::cut_flush(CloseReason why) noexcept {
  if (!unsent_.empty() && reason_ == CloseReason::local_close)
    reason_ = why;
}

/// Everything is sent, or the connection broke. After an orderly close the peer may still send, and closing now would
/// answer that with a reset, which can overtake what it has not read (RFC 2525, 2.17; RFC 9112, 9.6): our side ends, and
/// what comes is thrown away until the peer ends its own side.
void StreamCore::everything_sent() noexcept {
  if (!awaits_end_ || input_over_ || transport_ == nullptr || link_ != LinkState::connected) {
    if (say_goodbye())
      end_linger(reason_);
    return;
  }
  if (!write_ended_ && !transport_->shutdown_write()) {
    blocked_ = true;
    return;
  }
  write_ended_ = true;
  last_activity_ = loop_.now(); // its turn may have begun long ago
  check_linger();
  if (lingering_)
    discard_input();
}

/// @returns false when the transport could not yet: then it goes on when that is writable
bool StreamCore::say_goodbye() noexcept {
  if (transport_ == nullptr || link_ != LinkState::connected || dropped_ || transport_->say_goodbye())
    return true;
  blocked_ = true;
  return false;
}

/// Takes what comes, and drops it: also before everything is sent, since a peer that has not sent all of its own may not
/// read before.
void StreamCore::discard_input() noexcept {
  std::array<char, 16 * 1024> waste;
  std::size_t in_this_turn = 0;
  while (transport_ != nullptr && link_ == LinkState::connected && readable_ && !input_over_ &&
         linger_->discarded < most_discarded) {
    if (in_this_turn >= bytes_per_turn) {
      loop_.defer(deferred_task_);
      return;
    }
    const IoResult result = transport_->read_from_fd(waste.data(), waste.size());
    linger_->discarded += result.size;
    in_this_turn = result.yields ? bytes_per_turn : in_this_turn + result.size;
    switch (result.status) {
    case IoResult::Status::done:
      last_activity_ = loop_.now();
      readable_ = !result.drained || hang_up_ || urgent_ || result.yields;
      break;
    case IoResult::Status::crossed:
      read_crossed_ = true;
      readable_ = false;
      break;
    case IoResult::Status::would_block:
      readable_ = result.yields;
      hang_up_ = hang_up_ && result.yields;
      break;
    case IoResult::Status::end:
      input_over_ = true;
      break;
    case IoResult::Status::failed:
      if (!unsent_.empty())
        fail(result, "receive");
      end_linger(reason_);
      return;
    }
  }
  if ((input_over_ || linger_->discarded >= most_discarded) && write_ended_ && unsent_.empty())
    end_linger(reason_);
}

/// No later turn will send, or take what comes: our side ends, and what is there is taken, so that no reset follows for it.
void StreamCore::end_in_this_turn() noexcept {
  if (transport_ == nullptr || link_ != LinkState::connected || !transport_->half_closes())
    return;
  if (!unsent_.empty())
    transport_->withhold_goodbye();
  static_cast<void>(transport_->shutdown_write());
  std::array<char, 16 * 1024> waste;
  for (std::size_t taken = 0; taken < bytes_per_turn;) {
    const IoResult result = transport_->read_from_fd(waste.data(), waste.size());
    if (result.status != IoResult::Status::done)
      return;
    taken += result.size;
  }
}

/// The idle timeout's timer rings. What the system holds of the peer's bytes, or takes of ours, was in time.
void StreamCore::check_idle() {
  const Guard guard{*this};
  const TimePoint rings = idle_timer_->when();
  const auto due = [this] { return last_activity_ + Duration{options_->idle_timeout}; };
  if (due() <= rings && link_ == LinkState::connected) {
    spend_operation();
    if (reader_ == nullptr && unread_.empty() && may_receive())
      receive();
    if (!unsent_.empty()) {
      send_unsent(bytes_per_turn);
      loop_.at_end_of_turn(flush_task_); // which answers
    }
  }
  if (due() <= rings)
    close(CloseReason::timed_out, {});
  else if (!closed_)
    idle_timer_->start(loop_, due());
}

/// The timer rings; what the system takes when the time is over was in time.
void StreamCore::linger_timed_out() {
  const Guard guard{*this};
  if (linger_->until <= loop_.now())
    send_unsent(most_at_deadline);
  check_linger();
}

/// @param why  a close_after_flush that is not done fails with this
void StreamCore::end_linger(CloseReason why) noexcept {
  if (!lingering_)
    return;
  lingering_ = false;
  if (flushing_) {
    flushing_ = false;
    cut_flush(why);
    loop_.defer(deferred_task_);
  }
  linger_->timer.cancel();
  release_transport();
  deref();
}

void StreamCore::release_transport() noexcept {
  if (transport_ == nullptr)
    return;
  if (link_ != LinkState::unconnected)
    transport_->unwatch(loop_, *this);
  Watcher::unlink();
  if (dropped_ || !unsent_.empty())
    transport_->withhold_goodbye();
  transport_->close_fd();
  transport_.reset();
  flush_task_.unlink();
  unsent_.truncate(unsent_.begin());
  count_memory();
  guest_holds_ = false; // it lets go of its handle now
  if (const auto guest = std::exchange(guest_, nullptr))
    guest->on_descriptor_closed();
}

void StreamCore::finish_close() {
  while (!writers_.empty())
    answer_first_writer(sent(writers_[first_writer_].end) ? Result<void>{} : Result<void>{error()});
  if (end_callback_ == nullptr) { // otherwise an answer has set it: it is deferred, and this comes once more
    finished_ = true;
    deref(); // of shut, or of a late callback; the caller holds another
  }
  if (const auto callback = std::exchange(close_callback_, nullptr))
    callback();
  answer_waits();
}

void StreamCore::set_guest(std::shared_ptr<DescriptorGuest> guest) noexcept {
  if (transport_ != nullptr)
    guest_ = std::move(guest);
}

void StreamCore::begin_drain() noexcept {
  draining_ = true;
  loop_.defer(deferred_task_);
}

void StreamCore::set_close_callback(std::function<void()> callback, EndNotice notice) {
  close_callback_ = std::move(callback);
  end_notice_ = notice;
  if (hang_up_ && !closed_)
    loop_.defer(deferred_task_);
  if (!finished_ || close_callback_ == nullptr)
    return;
  finished_ = false; // the close is told once more, to the late one
  ref();
  loop_.defer(deferred_task_);
}

void StreamCore::set_end_callback(std::function<void()> callback) {
  end_callback_ = callback ? std::make_unique<std::function<void()>>(std::move(callback)) : nullptr;
  if (end_callback_ == nullptr || !(read_ended_ || closed_))
    return;
  if (finished_) { // the late one is told though the last handle goes
    finished_ = false;
    ref();
  }
  loop_.defer(deferred_task_);
}

void StreamCore::set_nodelay(bool value) noexcept {
  nodelay_ = value; // also for one that is to connect
  if (connected())
    transport_->set_nodelay(value);
}

void StreamCore::set_keep_alive(const KeepAlive& keep_alive) {
  if (connected())
    transport_->set_keep_alive(keep_alive);
  else if (!closed_)
    keep_alive_ = std::make_unique<KeepAlive>(keep_alive);
}

} // namespace squall
