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

/// What an actor's end says of a failure; empty for an ordinary end.
std::string failure_of(const caf::error& reason) {
  if (!reason || reason == caf::exit_reason::user_shutdown || reason == caf::exit_reason::unreachable)
    return {};
  return error_text(reason);
}

} // namespace

Connection::Connection(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, IOStream stream,
                       Endpoint peer, OpenConnection open, std::uint64_t id)
    : LoopActor{config, std::move(unit)}, stream_{std::move(stream)}, peer_{std::move(peer)},
      open_{std::move(open)}, id_{id}, began_at_{loop().now()} {
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
  if (chunks_ != nullptr) { // also while its receiver has one
    reply.deliver(*this, make_error(StreamError{StreamErrc::already_reading, CloseReason::none, {}}));
    return;
  }
  auto result = stream_.start_read(std::move(request), *this);
  if (!result) {
    read_reply_ = std::move(reply);
    return;
  }
  answer(reply, *this, std::move(*result));
  end_with_stream();
}

void Connection::on_read(Result<Bytes> result) {
  const caf::strong_actor_ptr keep = strong_ref();
  Reply reply = std::exchange(read_reply_, Reply{});
  answer(reply, *this, std::move(result));
  end_with_stream();
}

void Connection::write(caf::mailbox_element& message, Write request) {
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
    make_room_for_write();
    Reply reply{message};
    await_write(std::move(reply), stream_.start_paced_write(take_content<WritePieces>(message), *this));
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
void Connection::await_write(Reply reply, const std::optional<Result<void>>& result) {
  if (result) {
    if (!*result && !reply.wanted() && result->error().code != StreamErrc::closed)
      tell(LogLevel::warning, "write_dropped",
           "a write that nobody waits for was refused; send writes as requests and keep pace with their "
           "responses",
           [&] {
             return LogFields{{"peer", to_string(peer_)}, {"error", to_string(result->error())}};
           });
    answer(reply, *this, *result);
    return;
  }
  pending_writes_.push_back(std::move(reply));
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
    pending_writes_.clear();
    first_write_ = 0;
    kept_ = nullptr;
  }
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
    quit(make_error(stream_.error())); // what is unread goes with it
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
  const bool pinned = placement == HandlerPlacement::connection_loop;
  handler_ = spawn_handler(home_system(), pinned ? unit() : nullptr,
                           [handler, stream = handle(), peer = peer_](caf::event_based_actor* self) {
                             return handler(self, stream, peer);
                           });
  monitor(handler_);
}

/// Nothing may leave it: it runs at the end of the coroutine, which no exception can.
void Connection::coroutine_ended(const std::exception_ptr& exception) noexcept {
  const ReserveUse use;
  try {
    try {
      if (exception)
        std::rethrow_exception(exception);
      handler_ended({});
    } catch (const StreamClosedError& error) {
      // Another stream's; its own says that the connection is gone: an ordinary end.
      handler_ended(stream_.closed() ? "" : error.what());
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
  const ReserveUse use;
  if (handler_ != nullptr && down.source == handler_->address())
    handler_ended(stream_closed(down.reason) && stream_.closed() ? std::string{} : failure_of(down.reason));
}

/// The handler returned, or failed: its stream closes, and the actor ends.
void Connection::handler_ended(const std::string& failure, std::error_code real_error) {
  if (ended())
    return;
  if (!failure.empty()) {
    if (open_.listener() != nullptr)
      ++open_.listener()->failed;
    tell(LogLevel::error, "handler_failed", "a handler failed; its stream closes", [&] {
      return LogFields{{"peer", to_string(peer_)}, {"error", failure}};
    });
  }
  const caf::strong_actor_ptr keep = strong_ref();
  stream_.close(failure.empty() ? CloseReason::handler_ended : CloseReason::handler_failed, real_error);
  if (!ended()) // an answer to a pending read may have ended it
    quit(make_error(stream_.error()));
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
    quit(make_error(stream_.error()));
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
  for (Wait& wait : waits_)
    stream_.forget_wait(wait);
  stream_.close(CloseReason::shutting_down);
  close_error_ = stream_.error();
  std::exchange(read_reply_, Reply{}).deliver(*this, refusal());
  if (const auto transfer = std::move(chunks_))
    transfer->reply().deliver(*this, refusal());
  auto waits = std::exchange(waits_, {});
  for (Wait& wait : waits)
    answer_wait(wait, wait.event() == StreamEvent::ended || wait.event() == StreamEvent::closed
                          ? Result<void>{}
                          : Result<void>{close_error_});
  if (!pending_writes_.empty())
    kept_ = strong_ref(); // the stream answers them before the turn is over
  const IOStream stream = std::exchange(stream_, IOStream{});
  if (const auto& listener = open_.listener()) {
    if (listener->draining)
      ++listener->ended_draining;
    if (const auto kept = stream.kept_until_closed())
      listener->linger(std::static_pointer_cast<ListenerState::Place>(std::const_pointer_cast<void>(kept)),
                       stream);
    open_.end();
  }
}

/// The handler ends with its stream, unless it handles exit messages; monitors of the stream are told before.
void Connection::after_end() {
  if (const auto handler = std::exchange(handler_, nullptr))
    send_exit(handler, unit()->ending() ? caf::make_error(caf::exit_reason::kill) : refusal());
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
    quit(make_error(stream_.error()));
}

void Connection::close_if_idle() {
  if (ended()) // there is no stream any more
    return;
  const bool waits = stream_.reading() && stream_.unread_size() == 0 && !stream_.writing() &&
                     chunks_ == nullptr && pending_writes_.empty() && !stream_.awaits_answer();
  // A client that has just connected is about to ask.
  if (stream_.closed() || !waits || stream_.bytes_received() + stream_.bytes_sent() == 0)
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  ++open_.listener()->idle_draining;
  stream_.close(CloseReason::draining);
  end_with_stream();
}

void Connection::end_drain() {
  if (ended())
    return;
  const caf::strong_actor_ptr keep = strong_ref();
  const auto listener = open_.listener();
  const auto place = stream_.kept_until_closed();             // until it is counted
  const bool finished = stream_.closed() && place == nullptr; // but for its handler
  const IOStream stream = stream_;
  stream_.abort();
  if (!finished && stream.error().reason == CloseReason::aborted) // else it waited for the peer's end only
    ++listener->cut_draining;
  if (!ended())
    quit(make_error(StreamError{StreamErrc::closed, CloseReason::draining, {}}));
}

void spawn_connection(const std::shared_ptr<LoopUnit>& unit, NewConnection connection,
                      std::shared_ptr<const Handler> handler) {
  if (unit->ending())
    return;
  const std::shared_ptr<ListenerState> listener = connection.open.listener();
  try {
    MemoryReserve::require_whole();
    auto& [socket, is_tcp, peer, tls, id, place, open, options] = connection;
    IOStream stream{unit->loop(), make_accepted_transport(std::move(socket), tls, is_tcp), options};
    stream.keep_until_closed(std::move(place));
    if (listener->draining)
      stream.begin_drain();
    make_loop_actor<Connection>(unit, std::move(stream), peer, std::move(open), id)
        ->serve(std::move(handler));
  } catch (const std::exception& error) {
    ++listener->failed;
    tell(LogLevel::error, "connection_failed", "a connection could not be served", [&] {
      return LogFields{{"peer", to_string(connection.peer)}, {"error", error.what()}};
    });
  }
}

} // namespace squall
