// SPDX-License-Identifier: BSD-3-Clause
//
// stream_connect.cpp: how a stream connects, and how one waits for its events.
#include "net/stream_core.hpp"

#include <cerrno>
#include <iterator>

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
      phase_timer_ = std::make_unique<Timer>(
          [this] { close(CloseReason::timed_out, std::make_error_code(std::errc::timed_out)); });
      phase_timer_->start_after(loop_, *request.timeout);
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
  phase_timer_ = nullptr;
  begin_link();
  readable_ = true;
  blocked_ = false;
  loop_.defer(deferred_task_); // which tells, and goes on with a read
  loop_.at_end_of_turn(flush_task_);
}

/// What a connection begins with: its options, and the time of its idle timeout.
void StreamCore::begin_link() {
  transport_->set_nodelay(nodelay_);
  if (keep_alive_ != nullptr)
    transport_->set_keep_alive(*keep_alive_);
  else if (options_->keep_alive)
    transport_->set_keep_alive(*options_->keep_alive);
  if (idle_timer_ == nullptr)
    return;
  last_activity_ = loop_.now();
  idle_timer_->start_after(loop_, options_->idle_timeout);
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
  auto last = waits_.before_begin();
  while (std::next(last) != waits_.end())
    ++last;
  waits_.insert_after(last, std::move(wait));
  return std::nullopt;
}

void StreamCore::forget_wait(EventCompletion& completion) noexcept {
  waits_.remove_if([&](const PendingWait& wait) { return wait.completion == &completion; });
}

void StreamCore::wait_timed_out(EventCompletion& completion) {
  const Guard guard{*this};
  std::forward_list<PendingWait> over; // with the timer, which runs this
  for (auto before = waits_.before_begin(); std::next(before) != waits_.end(); ++before) {
    if (std::next(before)->completion == &completion) {
      over.splice_after(over.before_begin(), waits_, before);
      break;
    }
  }
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
  for (auto before = waits_.before_begin(); std::next(before) != waits_.end();) {
    const auto wait = std::next(before);
    const bool asked = !connects_only || wait->event == StreamEvent::connected;
    auto outcome = asked ? outcome_of(wait->event) : std::nullopt;
    if (!outcome) {
      ++before;
      continue;
    }
    EventCompletion* completion = wait->completion;
    waits_.erase_after(before);
    completion->on_event(std::move(*outcome));
    before = waits_.before_begin();
  }
}

} // namespace squall
