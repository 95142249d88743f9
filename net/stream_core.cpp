// SPDX-License-Identifier: BSD-3-Clause
//
// stream_core.cpp: what makes a stream move: readiness, its turn of the loop, its handles.
#include "net/stream_core.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <unistd.h>

namespace squall {

std::shared_ptr<const StreamOptions> share_options(const StreamOptions& options) {
  auto shared = std::make_shared<StreamOptions>(options);
  // The upper bound keeps sums of sizes from wrapping where a user means "unlimited" by the greatest number
  // there is.
  constexpr std::size_t greatest = std::numeric_limits<std::size_t>::max() / 4;
  shared->max_buffer_size = std::clamp<std::size_t>(options.max_buffer_size, 2, greatest);
  shared->read_chunk_size = std::clamp<std::size_t>(options.read_chunk_size, 1, shared->max_buffer_size / 2);
  shared->write_low_water_mark = std::min(options.write_low_water_mark, options.write_high_water_mark);
  return shared;
}

namespace {

/// Processes that send each other errors begin at different numbers, so that their streams are hardly mixed up.
std::uint32_t next_stream_id() noexcept {
  static std::atomic<std::uint32_t> last{static_cast<std::uint32_t>(::getpid()) * 0x9e3779b1U};
  std::uint32_t id;
  do
    id = last.fetch_add(1, std::memory_order_relaxed) + 1;
  while (id == 0);
  return id;
}

} // namespace

/// A completion threw: what it kept from running follows in the next phases of the loop.
void StreamCore::go_on_later() noexcept {
  loop_.defer(deferred_task_);
  loop_.at_end_of_turn(flush_task_);
}

StreamCore::StreamCore(EventLoop& loop, std::unique_ptr<Transport> transport,
                       std::shared_ptr<const StreamOptions> options)
    : loop_{loop}, transport_{std::move(transport)}, options_{std::move(options)}, id_{next_stream_id()},
      nodelay_{options_->nodelay} {
  if (options_->idle_timeout > std::chrono::milliseconds::zero())
    idle_timer_ = std::make_unique<Timer>([this] { check_idle(); });
  if (options_->memory_budget != nullptr)
    memory_ = std::make_unique<Memory>(*this, options_->memory_budget);
  if (!transport_->connected()) {
    link_ = LinkState::unconnected;
    readable_ = false;
    blocked_ = true;
    loop_.watch_end(*this);
    return;
  }
  try {
    begin_link();
    handshaken_ = transport_->handshaken();
    if (!handshaken_)
      begin_handshake(make_handshake(transport_->handshake_timeout()));
    transport_->watch(loop_, *this);
  } catch (...) { // nobody else closes it
    transport_->close_fd();
    throw;
  }
  loop_.watch_end(*this); // a transport without a descriptor does not
}

void StreamCore::deref() noexcept {
  // The close itself needs the stream: it holds a reference until it is over.
  if (references_ == 1 && !closed_)
    close(CloseReason::local_close, {});
  if (--references_ == 0)
    delete this;
  else if (lingering_ &&
           references_ == (guest_holds_ ? 2u : 1u)) // the lingering's own: nobody can read any more
    drop_unread();
}

void StreamCore::drop_unread() noexcept {
  static_cast<void>(unread_.take(unread_.size()));
  count_memory();
}

// -- readiness

void StreamCore::on_ready(Readiness readiness) {
  const Guard guard{*this};
  if (link_ == LinkState::connecting) {
    if (!readiness.writable && !readiness.broken && !readiness.hang_up)
      return;
    finish_connect();
    if (transport_ == nullptr)
      return;
  }
  hang_up_ = hang_up_ || readiness.hang_up;
  broken_ = broken_ || readiness.broken;
  urgent_ = urgent_ || readiness.urgent;
  if (link_ == LinkState::handshaking) {
    if (readiness.readable)
      note_activity();
    continue_handshake();
    return;
  }
  if (broken_ && read_ended_ && !closed_) { // a read would only find the end again, not what broke behind it
    const std::error_code error = transport_->get_fd_error();
    fail(IoResult::failure(error ? error.value() : EPIPE), "receive");
    return;
  }
  const bool read_goes_on = read_crossed_ && readiness.writable;
  read_crossed_ = read_crossed_ && !read_goes_on;
  readable_ = readable_ || readiness.readable || readiness.hang_up || read_goes_on;
  if ((readiness.writable && blocked_) || (write_crossed_ && readiness.readable)) {
    blocked_ = write_crossed_ = false;
    flush();
  }
  go_on();
}

/// Goes on with what comes from the peer.
void StreamCore::go_on() {
  if (reader_ != nullptr)
    continue_read();
  else if (hang_up_ && !closed_)
    notice_end();
  if (lingering_ && awaits_end_)
    discard_input();
}

/// The deferred part of a turn: a read that had its share, an end that nobody reads, the end of a close.
void StreamCore::run_deferred() {
  const Guard guard{*this};
  if (link_ == LinkState::handshaking && transport_ != nullptr)
    continue_handshake();
  answer_cancelled();
  answer_waits(StreamEvent::connected);
  answer_waits(StreamEvent::handshaken);
  go_on();
  if (read_ended_ || closed_) // the pending read was answered just now
    if (const auto callback = std::exchange(end_callback_, nullptr))
      (*callback)();
  answer_waits();
  if (closed_ && !finished_ && !flushing_)
    finish_close();
}

void StreamCore::die_on_wrong_thread() noexcept {
  std::fputs("squall: an IOStream was used by the thread of another event loop; send its stream actor a "
             "request instead\n",
             stderr);
  std::abort();
}

void StreamCore::on_loop_end() noexcept {
  const Guard guard{*this};
  shut(CloseReason::shutting_down, {}); // the loop runs the deferred task before it goes
  if (lingering_)
    end_in_this_turn();
  end_linger(CloseReason::shutting_down);
}

} // namespace squall
