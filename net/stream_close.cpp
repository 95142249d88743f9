// SPDX-License-Identifier: BSD-3-Clause
//
// stream_close.cpp: how a stream closes.
#include <cerrno>
#include <limits>

#include <squall/net/log.hpp>

#include "net/stream_core.hpp"

namespace squall {

namespace {

/// Errors that say no more than that the connection is gone.
bool is_reset(int error) noexcept {
  return error == ECONNRESET || error == ECONNABORTED || error == EPIPE || error == ETIMEDOUT;
}

} // namespace

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
