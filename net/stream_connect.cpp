// SPDX-License-Identifier: BSD-3-Clause
//
// stream_connect.cpp: how a stream connects, and how one waits for its events.
#include "net/stream_core.hpp"

#include <algorithm>
#include <cerrno>

namespace squall {

std::optional<StreamError> StreamCore::connect(const Connect& request) {
  if (closed_)
    return error();
  check_thread();
  if (link_ != LinkState::unconnected)
    return StreamError{StreamErrc::already_connected, CloseReason::none, {}};
  const int error = transport_->connect(request.address, request.server_hostname);
  if (error == EINVAL)
    return StreamError{StreamErrc::invalid_argument, CloseReason::none, {EINVAL, std::generic_category()}};
  const Guard guard{*this};
  link_ = LinkState::connecting;
  if (error != 0 && error != EINPROGRESS) {
    shut(CloseReason::transport_error, {error, std::generic_category()});
    return std::nullopt;
  }
  try {
    if (request.timeout) {
      connect_timer_ = std::make_unique<Timer>(
          [this] { close(CloseReason::timed_out, std::make_error_code(std::errc::timed_out)); });
      connect_timer_->start_after(loop_, *request.timeout);
    }
    transport_->watch(loop_, *this);
    if (error == 0)
      begin_connected();
  } catch (const std::system_error& refused) {
    shut(CloseReason::transport_error, refused.code());
  }
  return std::nullopt;
}

/// The transport is connected: what waited for that goes on.
void StreamCore::begin_connected() {
  link_ = LinkState::connected;
  connect_timer_ = nullptr;
  begin_link();
  readable_ = true;
  blocked_ = false;
  loop_.defer(deferred_task_); // which tells, and goes on with a read
  loop_.at_end_of_turn(flush_task_);
}

/// What a connection begins with: its options, and the time of its idle timeout.
void StreamCore::begin_link() {
  transport_->set_nodelay(options_.nodelay);
  if (options_.keep_alive)
    transport_->set_keep_alive(*options_.keep_alive);
  if (idle_timer_ == nullptr)
    return;
  last_activity_ = loop_.now();
  idle_timer_->start_after(loop_, options_.idle_timeout);
}

/// A connect that was in progress is over.
void StreamCore::finish_connect() {
  if (const std::error_code failed = transport_->get_fd_error()) {
    if (!closed_) {
      shut(CloseReason::transport_error, failed);
      return;
    }
    fail(IoResult::failure(failed.value()), "connect"); // what is still to send is lost
    flush();
    return;
  }
  begin_connected();
}

std::optional<Result<void>> StreamCore::start_wait(StreamEvent event, Timeout timeout,
                                                   EventCompletion& completion) {
  if (auto outcome = outcome_of(event))
    return outcome;
  check_thread();
  if (timeout && *timeout <= Duration::zero())
    return Result<void>{StreamError{StreamErrc::timed_out, CloseReason::none, {}}};
  PendingWait wait{event, &completion, nullptr};
  if (timeout) {
    wait.timer = std::make_unique<Timer>([this, &completion] { wait_timed_out(completion); });
    wait.timer->start_after(loop_, *timeout);
  }
  waits_.push_back(std::move(wait));
  return std::nullopt;
}

void StreamCore::forget_wait(EventCompletion& completion) noexcept {
  std::erase_if(waits_, [&](const PendingWait& wait) { return wait.completion == &completion; });
}

void StreamCore::wait_timed_out(EventCompletion& completion) {
  const Guard guard{*this};
  const auto found = std::find_if(waits_.begin(), waits_.end(),
                                  [&](const PendingWait& wait) { return wait.completion == &completion; });
  const auto timer = std::move(found->timer); // which runs this
  waits_.erase(found);
  completion.on_event(StreamError{StreamErrc::timed_out, CloseReason::none, {}});
}

/// What one who waits for `event` is told now, if anything.
std::optional<Result<void>> StreamCore::outcome_of(StreamEvent event) const {
  const std::optional<Result<void>> done{Result<void>{}};
  switch (event) {
  case StreamEvent::connected:
  case StreamEvent::writable:
    if (closed_)
      return Result<void>{error()};
    return (event == StreamEvent::connected ? link_ == LinkState::connected : !paused_) ? done : std::nullopt;
  case StreamEvent::ended:
    return read_ended_ || closed_ ? done : std::nullopt;
  case StreamEvent::closed:
    return finished_ ? done : std::nullopt;
  }
  return std::nullopt;
}

/// Answers everyone whose event has come, or only those who wait for a connect. They may ask and forget meanwhile.
void StreamCore::answer_waits(bool connects_only) {
  for (std::size_t i = 0; i < waits_.size();) {
    const bool asked = !connects_only || waits_[i].event == StreamEvent::connected;
    auto outcome = asked ? outcome_of(waits_[i].event) : std::nullopt;
    if (!outcome) {
      ++i;
      continue;
    }
    EventCompletion* completion = waits_[i].completion;
    waits_.erase(waits_.begin() + static_cast<std::ptrdiff_t>(i));
    completion->on_event(std::move(*outcome));
    i = 0;
  }
}

} // namespace squall
