// SPDX-License-Identifier: BSD-3-Clause
//
// connection_events.cpp: requests to a stream actor that wait for an event, and reads in chunks.
#include "actors/connection_parts.hpp"

#include <algorithm>

namespace squall {

void Connection::answer_wait(Wait& wait, const Result<void>& result) {
  if (result && wait.event() == StreamEvent::closed)
    wait.reply().deliver(*this, ended() ? close_error_ : stream_.error());
  else if (result && wait.event() == StreamEvent::handshaken && stream_.closed())
    wait.reply().deliver(*this, make_error(stream_.error())); // it has forgotten what was agreed on
  else if (result && wait.event() == StreamEvent::handshaken)
    wait.reply().deliver(*this, stream_.tls_info().value_or(TLSInfo{}));
  else
    answer(wait.reply(), *this, result);
}

/// Does what a message that asks for an event says, when it is one; else returns false.
bool Connection::wait_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  const auto wait_for = [&](StreamEvent event, Timeout timeout) {
    wait(message, event, [&](Wait& completion) { return stream_.start_wait(event, completion, timeout); });
    return true;
  };
  if (content.match_element<Connect>(0)) {
    const auto request = take_content<Connect>(message);
    wait(message, StreamEvent::connected, [&](Wait& completion) {
      auto result = stream_.start_connect(request, completion);
      if (!result || *result)
        peer_ = request.address;
      return result;
    });
    return true;
  }
  if (content.match_element<StartTLS>(0)) {
    start_tls(message, take_content<StartTLS>(message));
    return true;
  }
  if (content.match_element<AwaitHandshake>(0))
    return wait_for(StreamEvent::handshaken, take_content<AwaitHandshake>(message).timeout);
  if (content.match_element<AwaitWritable>(0))
    return wait_for(StreamEvent::writable, take_content<AwaitWritable>(message).timeout);
  if (content.match_element<AwaitEnd>(0))
    return wait_for(StreamEvent::ended, take_content<AwaitEnd>(message).timeout);
  if (content.match_element<AwaitDrain>(0))
    return wait_for(StreamEvent::draining, take_content<AwaitDrain>(message).timeout);
  if (content.match_element<AwaitClose>(0))
    return wait_for(StreamEvent::closed, take_content<AwaitClose>(message).timeout);
  return false;
}

template <class Start>
void Connection::wait(caf::mailbox_element& message, StreamEvent event, Start start) {
  if (waits_ == nullptr)
    waits_ = std::make_unique<Waits>();
  if (waits_->count >= waits_->limit)
    drop_dead_waits();
  auto pending = std::make_unique<Wait>(*this, event, Reply{message});
  if (const std::optional<Result<void>> result = start(*pending)) {
    answer_wait(*pending, *result);
    return;
  }
  waits_->list.push_back_if_unlinked(*pending.release());
  ++waits_->count;
}

/// Those whose requester has ended keep it, and would pile up. Looking at all of them whenever their number has doubled
/// costs no more than a constant for each.
void Connection::drop_dead_waits() {
  IntrusiveList<Wait> all;
  all.append(waits_->list);
  waits_->count = 0;
  while (Wait* wait = all.pop_front()) {
    if (wait->reply().requester_ended()) {
      stream_.forget_wait(*wait);
      delete wait;
    } else {
      waits_->list.push_back_if_unlinked(*wait);
      ++waits_->count;
    }
  }
  waits_->limit = std::max(Waits::least_limit, 2 * waits_->count);
}

/// A read whose requester has ended makes room for the next one's.
void Connection::drop_dead_read() {
  if (!read_reply_.requester_ended())
    return;
  stream_.forget_read(*this);
  read_pending_ = false;
  read_reply_ = Reply{};
}

void Connection::start_tls(caf::mailbox_element& message, const StartTLS& request) {
  drop_dead_read();
  if (chunks_ != nullptr) // also while its receiver has one
    Reply{message}.deliver(*this, make_error(StreamError{StreamErrc::not_idle, CloseReason::none, {}}));
  else
    wait(message, StreamEvent::handshaken,
         [&](Wait& completion) { return stream_.start_tls(request, completion); });
}

/// The actor has ended: only that and why can still be told.
void Connection::refuse(caf::mailbox_element& request) {
  const auto& content = request.content();
  if (content.size() == 1 && content.match_element<AwaitClose>(0))
    Reply{request}.deliver(*this, close_error_);
  else if (content.size() == 1 && (content.match_element<AwaitEnd>(0) || content.match_element<Close>(0)))
    Reply{request}.deliver(*this);
  else
    LoopActor::refuse(request);
}

// -- chunks

void Connection::send_chunks(caf::mailbox_element& message, SendChunks request) {
  Reply reply{message};
  drop_dead_read();
  if (chunks_ != nullptr || stream_.reading()) {
    reply.deliver(*this, make_error(StreamError{StreamErrc::already_reading, CloseReason::none, {}}));
    return;
  }
  chunks_ = std::make_shared<ChunkTransfer>(*this, std::move(request), std::move(reply));
  chunks_->read_next();
}

/// The SendChunks is over; no error: everything was accepted.
void Connection::end_chunks(const caf::error& error) {
  const caf::strong_actor_ptr keep = strong_ref();
  const auto transfer = std::move(chunks_);
  try {
    Reply reply = std::move(transfer->reply());
    if (error)
      reply.deliver(*this, error);
    else
      reply.deliver(*this);
  } catch (const std::bad_alloc&) { // it has answered when it went
  }
  end_with_stream();
}

void Connection::cancel_read() {
  const StreamError cancelled{StreamErrc::cancelled, CloseReason::none, {}};
  if (chunks_ != nullptr) { // either it reads, or its receiver has a chunk
    stream_.forget_read(*chunks_);
    end_chunks(make_error(cancelled));
  } else if (read_pending_) {
    cancel_own_read();
    end_with_stream();
  } else {
    stream_.cancel_read(); // of a coroutine
  }
}

} // namespace squall
