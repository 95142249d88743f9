// SPDX-License-Identifier: BSD-3-Clause
//
// connection.cpp
#include "actors/connection.hpp"

#include "actors/connection_parts.hpp"
#include "actors/coroutine_host.hpp"
#include "net/socket_transport.hpp"
#include "net/tell.hpp"

namespace squall {

namespace {

/// Of a client that has never said anything, while its listener drains: then it counts as idle.
constexpr std::chrono::seconds longest_silence{1};

/// This program closed the stream, whatever its peer did.
bool closed_here(CloseReason reason) noexcept {
  return reason == CloseReason::local_close || reason == CloseReason::aborted ||
         reason == CloseReason::handler_ended || reason == CloseReason::shutting_down ||
         reason == CloseReason::draining;
}

/// What an actor's end says of a failure; empty for an ordinary end.
std::string failure_of(const caf::error& reason) {
  if (!reason || reason == caf::exit_reason::user_shutdown || reason == caf::exit_reason::unreachable)
    return {};
  return error_text(reason);
}

/// Waits for writes whose answer nobody wants.
class Nobody final : public WriteCompletion {
  void on_write(Result<void>) override {}
};
Nobody nobody; // has no state: any thread

} // namespace

Connection::Connection(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, IOStream stream,
                       Endpoint peer, std::shared_ptr<ListenerState::Place> place, std::uint64_t id)
    : LoopActor{config, std::move(unit)}, stream_{std::move(stream)}, peer_{std::move(peer)},
      place_{std::move(place)}, id_{id}, began_at_{loop().now()} {
  if (place_ != nullptr)
    DescriptorGuest::join(stream_, place_);
  stream_.set_close_callback([this] { end_with_stream(); }, EndNotice::lenient);
}

Connection::~Connection() = default;

// -- requests

void Connection::on_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  const bool single = content.size() == 1;
  if (single && content.match_element<Write>(0)) {
    write(message, take_content<Write>(message));
  } else if (single && (read_message(message) || write_message(message) || close_message(message) ||
                        wait_message(message))) {
  } else if (single && content.match_element<CancelRead>(0)) {
    Reply reply{message};
    cancel_read(); // may end the actor
    reply.deliver(*this);
  } else if (single && content.match_element<Info>(0)) {
    StreamInfo now = info(); // which may throw: the reply then tells why
    Reply{message}.deliver(*this, std::move(now));
  } else if (single && content.match_element<SetNodelay>(0)) {
    stream_.set_nodelay(take_content<SetNodelay>(message).value);
    Reply{message}.deliver(*this);
  } else if (single && content.match_element<SetKeepAlive>(0)) {
    stream_.set_keep_alive(take_content<SetKeepAlive>(message).value);
    Reply{message}.deliver(*this);
  } else {
    Reply{message}.deliver(*this, caf::make_error(caf::sec::unexpected_message));
  }
}

/// Does what a message of closing says, when it is one; else returns false.
bool Connection::close_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  const bool abort = content.match_element<Abort>(0);
  if (abort || content.match_element<Close>(0)) {
    close(message, abort);
    return true;
  }
  const auto queue = [&](const auto& start) {
    make_room_for_write();
    Reply reply{message};
    if (const auto refused = start())
      reply.deliver(*this, make_error(*refused));
    else
      pending_writes_.push_back(std::move(reply));
    return true;
  };
  if (content.match_element<ShutdownWrite>(0))
    return queue([&] { return stream_.start_shutdown_write(*this); });
  if (content.match_element<CloseAfterFlush>(0)) {
    flushing_ = true;
    return queue([&] {
      return stream_.start_close_after_flush(take_content<CloseAfterFlush>(message).deadline, *this);
    });
  }
  return false;
}

/// Starts the read of a message that is one; else returns false.
bool Connection::read_message(caf::mailbox_element& message) {
  if (message.content().match_element<SendChunks>(0)) {
    send_chunks(message, take_content<SendChunks>(message));
    return true;
  }
  return try_read<ReadUntil>(message) || try_read<ReadBytes>(message) || try_read<ReadUntilClose>(message) ||
         try_read<ReadUntilRegex>(message) || try_read<Peek>(message) || try_read<ReadInto>(message);
}

template <class Request>
bool Connection::try_read(caf::mailbox_element& message) {
  if (!message.content().match_element<Request>(0))
    return false;
  read(message, take_content<Request>(message));
  return true;
}

void Connection::read(caf::mailbox_element& message, ReadRequest request) {
  Reply reply{message};
  if (read_pending_ && !stream_.reading()) // the coroutine has cancelled it, which is not told yet
    cancel_own_read();
  if (chunks_ != nullptr) { // also while its receiver has one
    reply.deliver(*this, make_error(StreamError{StreamErrc::already_reading, CloseReason::none, {}}));
    return;
  }
  drop_dead_read();
  auto result = stream_.start_read(std::move(request), *this);
  if (!result) {
    read_reply_ = std::move(reply);
    read_pending_ = true;
    return;
  }
  answer(reply, *this, std::move(*result));
  end_with_stream();
}

/// Called by the loop only.
void Connection::on_read(Result<Bytes> result) {
  const caf::strong_actor_ptr keep = strong_ref();
  read_pending_ = false;
  {
    Reply reply = std::move(read_reply_);
    const LoopUnit::Direct direct{*unit()};
    answer(reply, *this, std::move(result));
  }
  end_with_stream();
}

/// Cancels the pending read of a request.
void Connection::cancel_own_read() {
  stream_.forget_read(*this);
  read_pending_ = false;
  std::exchange(read_reply_, Reply{})
      .deliver(*this, make_error(StreamError{StreamErrc::cancelled, CloseReason::none, {}}));
}

void Connection::write(caf::mailbox_element& message, Write request) {
  if (Reply::never_wanted(message) && !request.timeout) {
    if (const auto error = stream_.start_write(std::move(request.data), nobody))
      refused(*error);
    else
      stream_.cancel_write(nobody);
    return;
  }
  make_room_for_write();
  Reply reply{message};
  // An early answer is worth its message only where it lets the handler go on with what is unread; otherwise
  // the answer at the end of the turn finds the handler idle, which is cheaper.
  std::optional<Result<void>> result;
  if (stream_.unread_size() > 0)
    result = stream_.start_paced_write(std::move(request.data), *this, request.timeout);
  else if (const auto refused = stream_.start_write(std::move(request.data), *this, request.timeout))
    result.emplace(*refused);
  await_write(std::move(reply), result);
}

/// Does the write of a message that is one, but Write; else returns false.
bool Connection::write_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  if (content.match_element<WritePieces>(0)) {
    auto request = take_content<WritePieces>(message);
    if (Reply::never_wanted(message) && !request.timeout) {
      const auto result = stream_.start_paced_write(std::move(request), nobody);
      if (result && !*result)
        refused(result->error());
      stream_.cancel_write(nobody);
      return true;
    }
    make_room_for_write();
    Reply reply{message};
    await_write(std::move(reply), stream_.start_paced_write(std::move(request), *this));
    return true;
  }
  if (content.match_element<WriteFile>(0)) {
    make_room_for_write();
    Reply reply{message};
    const auto refused = stream_.start_write_file(take_content<WriteFile>(message), *this);
    await_write(std::move(reply), refused ? std::optional{Result<void>{*refused}} : std::nullopt);
    return true;
  }
  return false;
}

/// Answers a write with the result that it has already, or when it has one.
void Connection::await_write(Reply&& reply, const std::optional<Result<void>>& result) {
  if (result) {
    if (!*result && !reply.wanted())
      refused(result->error());
    answer(reply, *this, *result);
    return;
  }
  pending_writes_.push_back(std::move(reply));
}

/// A write that nobody waits for was refused.
void Connection::refused(const StreamError& error) const {
  if (error.code != StreamErrc::closed)
    tell(LogLevel::warning, "write_dropped",
         "a write that nobody waits for was refused; send writes as requests and keep pace with their "
         "responses",
         [&] {
           return LogFields{{"peer", to_string(peer_)}, {"error", to_string(error)}};
         });
}

/// Before a write is started, since then its reply must find a place.
void Connection::make_room_for_write() {
  if (pending_writes_.size() < pending_writes_.capacity())
    return;
  // Answered writes at the front make room before the vector grows: it may be long until none is pending.
  if (first_write_ > pending_writes_.size() / 2) {
    pending_writes_.erase(pending_writes_.begin(),
                          pending_writes_.begin() + static_cast<std::ptrdiff_t>(first_write_));
    first_write_ = 0;
  } else {
    pending_writes_.reserve(2 * pending_writes_.size() + 1);
  }
}

void Connection::on_write(Result<void> result) {
  caf::strong_actor_ptr keep = strong_ref();
  Reply reply = std::move(pending_writes_[first_write_++]);
  if (first_write_ == pending_writes_.size()) {
    constexpr std::size_t kept_capacity = 16;
    pending_writes_.clear();
    if (pending_writes_.capacity() > kept_capacity)
      std::vector<Reply>{}.swap(pending_writes_);
    first_write_ = 0;
    kept_ = nullptr;
  }
  const LoopUnit::Direct direct{*unit()}; // the loop calls, and no other code of a user is around
  answer(reply, *this, result);
}

void Connection::close(caf::mailbox_element& message, bool abort) {
  Reply reply{message};
  if (abort)
    stream_.abort();
  else
    stream_.close();
  reply.deliver(*this);
  if (coroutine_ == nullptr && !ended())
    quit(end_reason()); // what is unread goes with it
}

StreamInfo Connection::info() const {
  return {peer_,
          stream_.closed(),
          stream_.reading(),
          stream_.writing(),
          stream_.unread_size(),
          stream_.unsent_size(),
          stream_.local_endpoint(),
          stream_.writable(),
          stream_.bytes_received(),
          stream_.bytes_sent(),
          stream_.connected(),
          stream_.error()};
}

// -- handlers

void Connection::serve(std::shared_ptr<const Handler> handler) {
  try {
    if (const auto* coroutine = handler->coroutine()) {
      function_ = std::move(handler);
      serve_in_coroutine(*coroutine);
    } else {
      serve_in_actor(*handler->actor(), handler->placement());
    }
  } catch (...) { // from what comes before the handler, such as a copy of its function
    coroutine_ended(std::current_exception());
  }
}

void Connection::serve_in_coroutine(const CoroutineHandler& handler) {
  coroutine_ = std::make_unique<CoroutineHost>(*this);
  std::optional<Task<>> task;
  try {
    task.emplace(handler(stream_, peer_));
  } catch (...) { // a function that throws before it makes a coroutine
    coroutine_ended(std::current_exception());
    return;
  }
  coroutine_->run(std::move(*task));
}

void Connection::serve_in_actor(const ActorHandler& handler, HandlerPlacement placement) {
  const auto behavior = [handler, stream = handle(), peer = peer_](caf::event_based_actor* self) {
    return handler(self, stream, peer);
  };
  const bool pinned = placement == HandlerPlacement::connection_loop;
  handler_ = pinned ? spawn_handler(unit(), behavior) : spawn_pool_handler(unit(), behavior);
  if (place_ != nullptr)
    place_->set_handler(handler_);
  monitor(handler_);
}

/// Nothing may leave it: it runs at the end of the coroutine, which no exception can.
void Connection::coroutine_ended(const std::exception_ptr& exception) noexcept {
  if (ended())
    return;
  const ReserveUse use;
  try {
    try {
      if (exception)
        std::rethrow_exception(exception);
      handler_ended({});
    } catch (const StreamException& error) {
      handler_ended(is_ordinary_end(error.error()) ? "" : error.what());
    } catch (const std::bad_alloc& error) {
      handler_ended(error.what(), std::make_error_code(std::errc::not_enough_memory));
    } catch (...) {
      handler_ended(describe(std::current_exception()));
    }
  } catch (...) { // not even the reserve was enough
    break_off();
  }
}

void Connection::on_down(caf::down_msg& down) {
  if (handler_ == nullptr || down.source != handler_->address())
    return;
  const ReserveUse use;
  try {
    const auto error = stream_error(down.reason);
    handler_ended(error && is_ordinary_end(*error) ? std::string{} : failure_of(down.reason));
  } catch (const std::bad_alloc&) { // not even the reserve was enough
    break_off();
  }
}

/// A handler that ends with `error` has not failed: its own peer left, its own peer's time was over, or, when its own stream
/// is closed, another one that this program closed, as a relay does with its other side. Logs such an end.
bool Connection::is_ordinary_end(const StreamError& error) const {
  const bool own = error.stream == stream_.id();
  const bool ordinary =
      own ? error.code == StreamErrc::closed || error.code == StreamErrc::timed_out
          : stream_.closed() && error.code == StreamErrc::closed && closed_here(error.reason);
  if (ordinary)
    tell(LogLevel::info, "connection_ended", "a handler ended with its connection, which is no failure", [&] {
      return LogFields{{"peer", to_string(peer_)}, {"reason", to_string(own ? error : stream_.error())}};
    });
  return ordinary;
}

/// The handler returned, or failed: its stream closes, and the actor ends.
void Connection::handler_ended(const std::string& failure, std::error_code real_error) {
  if (ended())
    return;
  if (!failure.empty()) {
    if (place_ != nullptr)
      ++place_->listener()->failed;
    tell(LogLevel::error, "handler_failed", "a handler failed; its stream closes", [&] {
      return LogFields{{"peer", to_string(peer_)}, {"error", failure}};
    });
  }
  const caf::strong_actor_ptr keep = strong_ref();
  stream_.close(failure.empty() ? CloseReason::handler_ended : CloseReason::handler_failed, real_error);
  if (!ended()) // an answer to a pending read may have ended it
    quit(end_reason());
}

void Connection::break_off() noexcept {
  if (ended())
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  try {
    stream_.abort();
  } catch (...) { // a completion: it had its turn
  }
  if (!ended())
    quit({});
}

void Connection::on_response(caf::message_id id, caf::message response) {
  if (chunks_ != nullptr && chunks_->take_response(id, response))
    return;
  if (coroutine_ != nullptr)
    coroutine_->on_response(id, std::move(response));
}

// -- the end

/// Ends with a stream that is closed and read to the end, or closed here. A coroutine in it is told by its next
/// operation instead.
void Connection::end_with_stream() {
  if (!ended() && stream_.closed() && (stream_.unread_size() == 0 || flushing_) && coroutine_ == nullptr &&
      pending_writes_.empty() && chunks_ == nullptr)
    quit(end_reason());
}

caf::error Connection::end_reason(const StreamError& error) noexcept {
  try {
    return make_error(error);
  } catch (const std::bad_alloc&) { // it ends without a reason
    return {};
  }
}

void Connection::on_end(const caf::error&) {
  if (stream_.closed())
    close_error_ = stream_.error();
  coroutine_ = nullptr; // objects in it may send requests, which are refused
  function_ = nullptr;
  stream_.set_close_callback(nullptr);
  stream_.forget_read(*this);
  if (chunks_ != nullptr)
    stream_.forget_read(*chunks_);
  const auto waits = std::move(waits_);
  if (waits != nullptr)
    waits->list.for_each([this](Wait& wait) { stream_.forget_wait(wait); });
  stream_.close(CloseReason::shutting_down);
  close_error_ = stream_.error();
  // First what needs no memory.
  if (!pending_writes_.empty())
    kept_ = strong_ref(); // the stream answers them before the turn is over
  const IOStream stream = std::exchange(stream_, IOStream{});
  if (const auto place = std::exchange(place_, nullptr)) {
    if (place->listener()->draining)
      ++place->listener()->ended_draining;
    if (handler_ != nullptr || DescriptorGuest::has_descriptor(stream))
      place->leave(stream);
    place->count_closed();
  }
  try_step([this] { std::exchange(read_reply_, Reply{}).deliver(*this, refusal()); });
  if (const auto transfer = std::move(chunks_))
    try_step([&] { transfer->reply().deliver(*this, refusal()); });
  while (const std::unique_ptr<Wait> wait{waits == nullptr ? nullptr : waits->list.pop_front()}) {
    const bool came = wait->event() == StreamEvent::ended || wait->event() == StreamEvent::closed;
    try_step([&] { answer_wait(*wait, came ? Result<void>{} : Result<void>{close_error_}); });
  }
}

/// The handler ends with its stream, unless it handles exit messages; monitors of the stream are told before.
void Connection::after_end() {
  if (handler_ == nullptr)
    return;
  send_exit(handler_, unit()->ending() ? caf::make_error(caf::exit_reason::kill) : refusal());
  handler_ = nullptr; // now: without memory it is told later
}

// -- for its listener

ConnectionInfo Connection::connection_info() const {
  ConnectionInfo info;
  info.id = id_;
  info.peer = peer_;
  info.age = loop().now() - began_at_;
  info.idle = std::max(Duration::zero(), loop().now() - stream_.last_activity());
  info.bytes_received = stream_.bytes_received();
  info.bytes_sent = stream_.bytes_sent();
  info.unread_size = stream_.unread_size();
  info.unsent_size = stream_.unsent_size();
  info.closed = stream_.closed();
  info.pending = stream_.pending_read();
  const auto add = [&](bool pending, const char* name) {
    if (pending)
      info.pending.append(info.pending.empty() ? "" : ", ").append(name);
  };
  add(stream_.writing() && !stream_.closed(), "write");
  add(!stream_.connected() && !stream_.closed(), "handshake");
  if (const auto tls = stream_.tls_info()) {
    info.tls_version = tls->version;
    info.tls_cipher = tls->cipher;
    info.tls_server_name = tls->server_name;
    info.tls_alpn = tls->alpn;
  }
  return info;
}

void Connection::cut(CloseReason reason) {
  if (ended())
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  if (reason == CloseReason::aborted)
    stream_.abort();
  else
    stream_.close(reason);
  if (!ended()) // an answer may have ended it
    quit(end_reason());
}

/// The handler waits for a peer that has nothing under way.
bool Connection::idle() const {
  if (ended() || stream_.closed()) // then there may be no stream any more
    return false;
  const bool spoke = stream_.bytes_received() + stream_.bytes_sent() > 0;
  if (!spoke) { // a client that has just connected, or is at its handshake, is about to ask
    const TimePoint since = std::max(stream_.last_activity(), place_->listener()->drain_began.load());
    if (loop().now() - since < longest_silence)
      return false;
    if (!stream_.connected())
      return true;
  }
  return stream_.reading() && stream_.unread_size() == 0 && !stream_.writing() && chunks_ == nullptr &&
         pending_writes_.empty() && !stream_.awaits_answer();
}

void Connection::close_if_idle() {
  if (!idle())
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  // A request may have come meanwhile; its handler runs inside the look.
  if (stream_.connected() && (!stream_.look_for_input() || !idle()))
    return;
  ++place_->listener()->idle_draining;
  stream_.close(CloseReason::draining);
  end_with_stream();
}

void Connection::end_drain() {
  if (ended())
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  place_->count_cut(); // its handler has not ended
  stream_.abort();
  if (!ended())
    quit(end_reason(StreamError{StreamErrc::closed, CloseReason::draining, {}, stream_.id()}));
}

void spawn_connection(const std::shared_ptr<LoopUnit>& unit, NewConnection connection,
                      std::shared_ptr<const Handler> handler) {
  if (unit->ending())
    return;
  const std::shared_ptr<ListenerState> listener = connection.place->listener();
  try {
    MemoryReserve::require_whole();
    auto& [socket, is_tcp, peer, tls, id, place, options] = connection;
    IOStream stream{unit->loop(), make_accepted_transport(std::move(socket), tls, is_tcp), options};
    if (listener->draining)
      stream.begin_drain();
    make_loop_actor<Connection>(unit, std::move(stream), peer, std::move(place), id)
        ->serve(std::move(handler));
  } catch (const std::exception& error) {
    ++listener->failed;
    tell(LogLevel::error, "connection_failed", "a connection could not be served", [&] {
      return LogFields{{"peer", to_string(connection.peer)}, {"error", error.what()}};
    });
  }
}

} // namespace squall
