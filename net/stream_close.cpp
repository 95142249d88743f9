// SPDX-License-Identifier: BSD-3-Clause
//
// stream_close.cpp: how a stream closes.
#include "net/stream_core.hpp"
#include "net/stream_share.hpp"
#include <squall/net/log.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>

namespace squall {

namespace {

/// How long an idle connection that a drain closes waits for the peer to end its side.
constexpr std::chrono::seconds longest_wait_for_end{1};

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
  // A request may be on its way to an idle connection that a drain closes: it is thrown away behind the end of our
  // side, since closing now would answer it with a reset.
  const bool awaits_end = reason == CloseReason::draining;
  shut(not_ours ? CloseReason::local_close : reason, real_error,
       awaits_end ? Timeout{std::min<Duration>(options_->linger_timeout, longest_wait_for_end)} : no_timeout);
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
  if (transport_ != nullptr)
    transport_->set_abort();
  if (closed_)
    end_linger(CloseReason::aborted);
  else
    close(CloseReason::aborted, {});
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
  const bool goodbye_waits =
      !broken && reason != CloseReason::shutting_down && unsent_.empty() && !say_goodbye();
  const bool lingers = (owes && !nothing_left) || goodbye_waits;
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
    log_event(result.status == IoResult::Status::end ? LogLevel::debug : LogLevel::warning, "tls_failed",
              "a stream closes since TLS failed",
              {{"peer", peer_text()}, {"call", what}, {"error", code.message()}});
  if (reason == CloseReason::transport_error)
    log_event(LogLevel::warning, "stream_failed", "a stream closes after an unexpected error",
              {{"peer", to_string(peer_endpoint())}, {"call", what}, {"error", code.message()}});
  shut(reason, code);
}

/// Keeps the transport to send what was answered, or, with `flush_for`, everything.
void StreamCore::begin_linger(Timeout flush_for) {
  if (!flush_for) {
    dropped_ = !unsent_.empty() && unsent_.end() > answered_;
    unsent_.truncate(answered_);
  }
  count_memory();
  const Duration time = flush_for.value_or(options_->linger_timeout);
  if (time <= Duration::zero()) {
    if (flush_for)
      cut_flush(CloseReason::timed_out);
    release_transport();
    return;
  }
  try {
    linger_timer_ = std::make_unique<Timer>([this] { linger_timed_out(); });
    linger_timer_->start_after(loop_, time);
  } catch (const std::bad_alloc&) { // a close comes to its end, with memory or without
    release_transport();
    return;
  }
  lingering_ = true;
  ref();
  if (flushing_)
    loop_.at_end_of_turn(flush_task_); // which answers, and goes on when everything is sent already
}

/// A close_after_flush is cut short; its writes fail with why.
void StreamCore::cut_flush(CloseReason why) noexcept {
  if (!unsent_.empty() && reason_ == CloseReason::local_close)
    reason_ = why;
}

/// Everything is sent, or the connection broke. After a close_after_flush the peer may still send, and
/// closing now would answer that with a reset, which can overtake what it has not read: our side ends, and
/// what comes is thrown away until the peer ends its own side, or the deadline comes.
void StreamCore::linger_over() noexcept {
  if (!flushing_ || transport_ == nullptr || link_ == LinkState::handshaking) {
    if (say_goodbye())
      end_linger(reason_);
    return;
  }
  if (!write_ended_ && !transport_->shutdown_write()) {
    blocked_ = true;
    return;
  }
  write_ended_ = true;
  discard_input();
}

/// @returns false when the transport could not yet: then it goes on when that is writable
bool StreamCore::say_goodbye() noexcept {
  if (transport_ == nullptr || link_ != LinkState::connected || dropped_ || transport_->say_goodbye())
    return true;
  blocked_ = true;
  return false;
}

void StreamCore::discard_input() {
  if (transport_ == nullptr) {
    end_linger(reason_);
    return;
  }
  std::array<char, 4096> waste;
  for (std::size_t discarded = 0; discarded < bytes_per_turn;) {
    const IoResult result = transport_->read_from_fd(waste.data(), waste.size());
    if (result.yields)
      break;
    if (result.status == IoResult::Status::would_block || result.status == IoResult::Status::crossed)
      return;
    if (result.status != IoResult::Status::done) {
      end_linger(reason_);
      return;
    }
    discarded += result.size;
  }
  loop_.defer(deferred_task_);
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

/// Its time is over; what the system takes now was in time.
void StreamCore::linger_timed_out() {
  const Guard guard{*this};
  send_unsent(most_at_deadline);
  end_linger(CloseReason::timed_out);
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
  if (linger_timer_ != nullptr)
    linger_timer_->cancel();
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
  kept_ = nullptr;
  flush_task_.unlink();
  unsent_.truncate(unsent_.begin());
  count_memory();
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

void StreamCore::keep_until_closed(std::shared_ptr<const void> kept) noexcept {
  if (transport_ != nullptr)
    kept_ = std::move(kept);
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
  if (std::exchange(finished_, false)) // the late one is told though the last handle goes
    ref();
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
