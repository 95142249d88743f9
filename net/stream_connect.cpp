// SPDX-License-Identifier: BSD-3-Clause
//
// stream_connect.cpp: how a stream connects, and how one waits for its events.
#include "net/stream_core.hpp"
#include "net/stream_share.hpp"
#include "net/tell.hpp"

#include <cerrno>
#include <iterator>

namespace squall {

namespace {

/// A step may be a signature, a millisecond of RSA: a crowd of handshakes shares the loop with others.
/// @returns false when the turn of `loop` has had its share
bool spend_handshake_step(const EventLoop& loop) noexcept {
  struct Turn {
    const EventLoop* loop = nullptr;
    std::uint64_t number = 0;
    std::uint32_t steps = 0;
  };
  static thread_local Turn turn;
  if (turn.loop != &loop || turn.number != loop.turn())
    turn = {&loop, loop.turn(), 0};
  return turn.steps++ < handshake_steps_per_turn;
}

} // namespace

std::optional<StreamError> StreamCore::connect(const Connect& request) {
  if (closed_)
    return error();
  check_thread();
  if (link_ != LinkState::unconnected)
    return failure(StreamErrc::already_connected);
  const int error = transport_->connect(request.address, request.server_hostname);
  if (error == EINVAL)
    return failure(StreamErrc::invalid_argument, {EINVAL, std::generic_category()});
  if (error == EDESTADDRREQ)
    return failure(StreamErrc::server_hostname);
  const Guard guard{*this};
  link_ = LinkState::connecting;
  if (error != 0 && error != EINPROGRESS) {
    shut(CloseReason::transport_error, {error, std::generic_category()});
    return std::nullopt;
  }
  try {
    const ReserveUse use; // else nothing would ever wake the stream
    if (request.timeout) {
      phase_timer_ = std::make_unique<Timer>([this] { link_timed_out(CloseReason::timed_out); });
      phase_timer_->start_after(loop_, *request.timeout);
    }
    transport_->watch(loop_, *this);
    if (error == 0)
      begin_connected();
  } catch (const std::system_error& refused) {
    shut(CloseReason::transport_error, refused.code());
  } catch (const std::bad_alloc&) {
    shut(CloseReason::transport_error, std::make_error_code(std::errc::not_enough_memory));
  }
  return std::nullopt;
}

/// The transport is connected: what waited for that goes on, once there is no handshake before it.
void StreamCore::begin_connected() {
  if (link_ == LinkState::connecting) {
    begin_link();
    if (!transport_->handshaken()) {
      begin_handshake(make_handshake(transport_->handshake_timeout()));
      return;
    }
  }
  link_ = LinkState::connected;
  handshaken_ = true;
  phase_timer_ = nullptr;
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
  last_activity_ = loop_.now();
  // A stream that was closed before it was connected has the time of its lingering.
  if (idle_timer_ != nullptr && !closed_)
    idle_timer_->start_after(loop_, options_->idle_timeout);
}

/// What a handshake that takes at most `longest` needs. @throws std::bad_alloc
std::unique_ptr<StreamCore::Handshake> StreamCore::make_handshake(Duration longest) {
  if (closed_) // the lingering has its own time
    return nullptr;
  std::unique_ptr<Handshake> made{
      new Handshake{Timer{[this] { link_timed_out(CloseReason::tls_failed); }}, peer_endpoint()}};
  made->timer.start_after(loop_, longest);
  return made;
}

/// Nothing is read or written until the transport has done its handshake, which the loop's next phase begins.
void StreamCore::begin_handshake(std::unique_ptr<Handshake> handshake) {
  handshake_ = std::move(handshake);
  link_ = LinkState::handshaking;
  handshaken_ = readable_ = false;
  blocked_ = true; // so that a write waits for the end of the handshake, not for the end of the turn
  loop_.defer(deferred_task_);
}

/// One step of the handshake, at either readiness: OpenSSL knows which one it waits for, and edges come once.
void StreamCore::continue_handshake() {
  if (!spend_handshake_step(loop_)) {
    loop_.defer(deferred_task_);
    return;
  }
  IoResult result = transport_->handshake();
  if (result.status == IoResult::Status::would_block && hang_up_)
    result = transport_->handshake(); // what hung up behind the bytes shows now
  if (result.status == IoResult::Status::would_block) {
    if (handshake_ != nullptr && handshake_->late != CloseReason::none)
      give_up_link(handshake_->late);
    return;
  }
  if (result.status == IoResult::Status::done) {
    handshake_ = nullptr; // an idle connection keeps nothing of its handshake
    begin_connected();
    return;
  }
  fail(result, "handshake");
  handshake_ = nullptr;
  flush(); // what lingered is lost
}

/// The time of a connect, or of a handshake, is over. A step that waits for its turn decides.
void StreamCore::link_timed_out(CloseReason reason) {
  if (handshake_ != nullptr && deferred_task_.linked())
    handshake_->late = reason;
  else
    give_up_link(reason);
}

void StreamCore::give_up_link(CloseReason reason) {
  if (reason == CloseReason::tls_failed)
    tell(LogLevel::info, "tls_handshake_timed_out", "a stream closes since its handshake takes too long",
         [&] {
           return LogFields{{"peer", peer_text()}};
         });
  close(reason, std::make_error_code(std::errc::timed_out));
}

std::optional<StreamError> StreamCore::start_tls(const StartTLS& request) {
  if (closed_)
    return error();
  check_thread();
  if (!request.context || request.context.side() != (request.server_side ? TLSSide::server : TLSSide::client))
    return failure(StreamErrc::invalid_argument);
  if (link_ == LinkState::connected && !blocked_)
    send_unsent(most_at_close); // such as the answer that agrees to TLS
  if (closed_)
    return error();
  const bool writes = !unsent_.empty() || write_end_wanted_;
  if (link_ != LinkState::connected || reader_ != nullptr || writes || read_ended_ || transport_->tls_info())
    return failure(StreamErrc::not_idle);
  if (!unread_.empty()) {
    tell(LogLevel::warning, "starttls_injection", "a stream closes since bytes were unread when TLS began",
         [&] {
           return LogFields{{"peer", to_string(peer_endpoint())}, {"unread", std::to_string(unread_.size())}};
         });
    unread_.drop(unread_.size()); // nobody may take them for bytes of TLS
    handshaken_ = false;
    shut(CloseReason::tls_failed, StreamErrc::unread_plaintext);
    return error();
  }
  // What may fail comes before the descriptor goes over.
  auto handshake = make_handshake(request.timeout.value_or(default_handshake_timeout));
  auto secured = transport_->start_tls(request.context, request.server_hostname);
  if (!secured)
    return failure(secured.error().code);
  transport_ = std::move(*secured); // over the same descriptor: watching goes on
  if (!request.timeout)
    handshake->timer.start_after(loop_, transport_->handshake_timeout());
  begin_handshake(std::move(handshake));
  return std::nullopt;
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
  try {
    const ReserveUse use; // no other edge will come
    begin_connected();
  } catch (const std::bad_alloc&) {
    shut(CloseReason::transport_error, std::make_error_code(std::errc::not_enough_memory));
  }
}

std::optional<Result<void>> StreamCore::start_wait(StreamEvent event, Timeout timeout,
                                                   EventCompletion& completion) {
  if (auto outcome = outcome_of(event))
    return outcome;
  check_thread();
  if (timeout && *timeout <= Duration::zero())
    return Result<void>{failure(StreamErrc::timed_out)};
  if (waits_ == nullptr)
    waits_ = std::make_unique<Waits>();
  if (waits_price() > free_costs && waits_price() - free_costs > options_->max_write_buffer_size)
    return Result<void>{failure(StreamErrc::buffer_full)};
  PendingWait wait{&completion, event, nullptr};
  if (timeout) {
    wait.timer = std::make_unique<Timer>([this, &completion] { wait_timed_out(completion); });
    wait.timer->start_after(loop_, *timeout);
  }
  auto& list = waits_->of(event);
  const auto place = list.insert(list.end(), std::move(wait));
  try {
    waits_->places[&completion] = place;
  } catch (...) {
    list.erase(place);
    throw;
  }
  count_memory();
  return std::nullopt;
}

void StreamCore::forget_wait(EventCompletion& completion) noexcept {
  if (waits_ == nullptr)
    return;
  const auto found = waits_->places.find(&completion);
  if (found == waits_->places.end())
    return;
  waits_->of(found->second->event).erase(found->second);
  waits_->places.erase(found);
  count_memory();
}

void StreamCore::wait_timed_out(EventCompletion& completion) {
  const Guard guard{*this};
  forget_wait(completion); // with the timer, which runs a copy of this
  completion.on_event(failure(StreamErrc::timed_out));
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
  case StreamEvent::draining:
    if (draining_)
      return done;
    return closed_ ? std::optional{Result<void>{error()}} : std::nullopt;
  case StreamEvent::handshaken:
    if (handshaken_)
      return done;
    return closed_ ? std::optional{Result<void>{error()}} : std::nullopt;
  }
  return std::nullopt;
}

/// Answers everyone whose event has come.
void StreamCore::answer_waits() {
  for (std::size_t event = 0; event < Waits::event_count; ++event)
    answer_waits(static_cast<StreamEvent>(event));
  if (waits_ != nullptr && waits_->places.empty())
    waits_ = nullptr;
}

/// Answers those who wait for `event`, when it has come. They may ask and forget meanwhile.
void StreamCore::answer_waits(StreamEvent event) {
  if (waits_ == nullptr)
    return;
  while (!waits_->of(event).empty()) {
    auto outcome = outcome_of(event);
    if (!outcome)
      return;
    const PendingWait wait = std::move(waits_->of(event).front());
    waits_->of(event).pop_front();
    waits_->places.erase(wait.completion);
    count_memory();
    wait.completion->on_event(std::move(*outcome));
  }
}

} // namespace squall
