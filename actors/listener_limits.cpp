// SPDX-License-Identifier: BSD-3-Clause
//
// listener_limits.cpp: whom a listener lets in, and when it leaves connections in the kernel.
#include "actors/listener.hpp"
#include "net/socket_api.hpp"
#include "net/tell.hpp"
#include <squall/net/memory_budget.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace squall {

namespace {

constexpr std::uint64_t most_accepts_per_turn = 65536;
constexpr std::uint64_t most_accept_rate = 1'000'000'000;
/// Between two looks whether there is memory again.
constexpr std::chrono::milliseconds memory_look_time{10};
constexpr long most_rejecting = 256;
constexpr std::chrono::seconds reject_time{2}; ///< for the handshake, the answer and its way

} // namespace

std::string check_limits(const ListenerLimits& limits) {
  if (limits.accepts_per_turn < 1 || limits.accepts_per_turn > most_accepts_per_turn)
    return "accepts_per_turn must be 1 to 65536";
  if (limits.max_accept_rate > most_accept_rate)
    return "max_accept_rate must be 0 (no limit) to 1000000000 connections a second";
  if (limits.when_full == WhenFull::answer && limits.full_answer.empty())
    return "when_full is answer, but full_answer is empty";
  return {};
}

void Listener::pause(bool value) {
  paused_ = value;
  update_pause();
}

void Listener::set_limits(Reply reply, const ListenerLimits& limits) {
  if (auto problem = check_limits(limits); !problem.empty()) {
    reply.deliver(*this, make_error(ListenerErrc::invalid_limits, std::move(problem)));
    return;
  }
  refill_accepts(); // under the old rate until now
  if (limits_.max_accept_rate == 0 && limits.max_accept_rate > 0)
    accept_tokens_ =
        0; // nobody has counted: what was let in without a limit may have been one second's and more
  limits_ = limits;
  accept_tokens_ = std::min(accept_tokens_, static_cast<double>(limits_.max_accept_rate));
  tokens_counted_at_ = loop().turn_time();
  const bool was_limited = limited();
  rate_timer_.cancel();
  update_pause(was_limited);
  reply.deliver(*this);
}

/// Connections whose PROXY header is not complete.
std::uint64_t Listener::awaiting_header() const noexcept {
  std::uint64_t count = 0;
  for (const auto* entries : {&entries_, &ending_})
    for (const auto& entry : *entries)
      count += entry->proxy ? entry->proxy->pending_count() : 0;
  return count;
}

/// There is no place for another connection, when those that wait for their PROXY header get theirs.
bool Listener::full() const noexcept {
  return limits_.max_connections > 0 && state_->places + awaiting_header() >= limits_.max_connections;
}

bool Listener::memory_exhausted() const noexcept {
  return options_->memory_budget != nullptr && options_->memory_budget->exhausted();
}

/// Counts what max_accept_rate lets in by now. @returns whether that is a connection
bool Listener::refill_accepts() {
  if (limits_.max_accept_rate == 0)
    return true;
  const auto rate = static_cast<double>(limits_.max_accept_rate);
  const TimePoint now = loop().turn_time();
  const std::chrono::duration<double> passed = now - std::exchange(tokens_counted_at_, now);
  accept_tokens_ = std::min(rate, accept_tokens_ + passed.count() * rate);
  return accept_tokens_ >= 1;
}

/// Pauses the sockets, or lets them go on, as Pause and the limits say.
void Listener::update_pause(bool was_limited) {
  waits_for_room_ = false;
  if (full() && limits_.when_full == WhenFull::queue) {
    state_->wants_room = true;
    waits_for_room_ = full() || !state_->wants_room.exchange(false); // a place may have come back meanwhile
  }
  if (!rate_timer_.armed() && !refill_accepts()) { // until there is a whole one again
    const double missing = (1 - accept_tokens_) / static_cast<double>(limits_.max_accept_rate);
    rate_timer_.start_after(loop(),
                            std::chrono::ceil<Duration::Base>(std::chrono::duration<double>{missing}));
  }
  update_memory_wait();
  if (limited() && !was_limited)
    ++state_->pauses;
  for (const auto& entry : entries_) {
    entry->acceptor.set_accepts_per_turn(static_cast<int>(limits_.accepts_per_turn));
    entry->acceptor.set_paused(paused_ || limited());
  }
  publish_info();
}

/// The memory budget does not tell when there is room: a timer looks.
void Listener::update_memory_wait() {
  const bool waits = must_wait_for_memory() && !entries_.empty();
  if (waits && !waits_for_memory_)
    tell(LogLevel::warning, "accept_paused", "connections wait until the streams hold less memory", [&] {
      return LogFields{{"limit", "memory_budget"},
                       {"used", std::to_string(options_->memory_budget->used())},
                       {"connections", std::to_string(state_->places)}};
    });
  waits_for_memory_ = waits;
  if (waits)
    memory_timer_.start_after(loop(), memory_look_time);
  else
    memory_timer_.cancel();
}

void Listener::look_for_memory() {
  if (memory_exhausted())
    memory_timer_.start_after(loop(), memory_look_time);
  else
    update_pause();
}

void Listener::room_is_free() {
  if (!ended())
    update_pause();
}

/// A connection beyond a limit.
void Listener::reject(Socket socket, const Endpoint& peer, const AcceptOptions& accept, const char* limit) {
  ++state_->rejected;
  tell(LogLevel::warning, "connection_rejected", "a connection is beyond the limits of its listener", [&] {
    return LogFields{
        {"peer", to_string(peer)}, {"limit", limit}, {"connections", std::to_string(state_->places)}};
  });
  const bool answers = limits_.when_full == WhenFull::answer && rejecting_.use_count() <= most_rejecting;
  if (!answers) {
    socket_api::set_abort(socket.fd()); // and it closes
    return;
  }
  StreamOptions options;
  options.linger_timeout = reject_time;
  IOStream stream = accept.tls ? IOStream{loop(), std::move(socket), accept.tls, options}
                               : IOStream{loop(), std::move(socket), options};
  DescriptorGuest::join(stream, rejecting_);
  stream.write(limits_.full_answer, [](Result<void>) {});
  stream.close_after_flush(reject_time, [](Result<void>) {});
}

} // namespace squall
