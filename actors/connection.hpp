// SPDX-License-Identifier: BSD-3-Clause
//
// connection.hpp: the stream actor of one connection, with its handler.
//
// Threads    Everything on the loop of the connection, but for the counters.
#pragma once

#include "actors/caf_compat.hpp"
#include "actors/listener_state.hpp"
#include <squall/listener_actor.hpp>

#include <memory>

namespace squall {

class CoroutineHost;

class Connection final : public LoopActor, private ReadCompletion, private WriteCompletion {
public:
  Connection(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, IOStream stream, Endpoint peer,
             std::shared_ptr<ListenerState::Place> place = nullptr, std::uint64_t id = 0);
  ~Connection() override;

  /// Starts the handler. It may end the actor at once.
  void serve(std::shared_ptr<const Handler> handler);

  // -- for its listener; what changes something does nothing after the end

  [[nodiscard]] bool is_of(const ListenerState& listener) const noexcept {
    return place_ != nullptr && place_->listener().get() == &listener;
  }
  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] ConnectionInfo connection_info() const;
  /// Ends the actor and its handler; with CloseReason::aborted by a reset.
  void cut(CloseReason reason);
  void begin_drain() {
    if (!ended())
      stream_.begin_drain();
  }
  /// Closes the stream when its handler waits for a peer that has nothing under way.
  void close_if_idle();
  /// Ends it at once, with nothing that needs memory.
  void break_off() noexcept;
  /// The time for draining is over.
  void end_drain();

  [[nodiscard]] const char* name() const override { return "squall.stream"; }
  [[nodiscard]] StreamActor handle() const { return caf::actor_cast<StreamActor>(strong_ref()); }

private:
  friend class CoroutineHost;
  class Wait;
  struct Waits;
  class ChunkTransfer;

  void on_message(caf::mailbox_element& message) override;
  void on_response(caf::message_id id, caf::message response) override;
  void on_down(caf::down_msg& down) override;
  void on_end(const caf::error& reason) override;
  void after_end() override;
  void refuse(caf::mailbox_element& request) override;
  [[nodiscard]] caf::error refusal() const override { return make_error(close_error_); }

  void on_read(Result<Bytes> result) override;
  void on_write(Result<void> result) override;

  bool read_message(caf::mailbox_element& message);
  template <class Request>
  bool try_read(caf::mailbox_element& message);
  void read(caf::mailbox_element& message, ReadRequest request);
  bool write_message(caf::mailbox_element& message);
  void write(caf::mailbox_element& message, Write request);
  void refused(const StreamError& error) const;
  void make_room_for_write();
  void await_write(Reply&& reply, const std::optional<Result<void>>& result);
  bool wait_message(caf::mailbox_element& message);
  template <class Start>
  void wait(caf::mailbox_element& message, StreamEvent event, Start start);
  void start_tls(caf::mailbox_element& message, const StartTLS& request);
  bool close_message(caf::mailbox_element& message);
  void answer_wait(Wait& wait, const Result<void>& result);
  void drop_dead_waits();
  void drop_dead_read();
  void send_chunks(caf::mailbox_element& message, SendChunks request);
  void end_chunks(const caf::error& error);
  void cancel_read();
  void cancel_own_read();
  void close(caf::mailbox_element& message, bool abort);
  [[nodiscard]] StreamInfo info() const;
  [[nodiscard]] bool idle() const;

  void serve_in_coroutine(const CoroutineHandler& handler);
  void serve_in_actor(const ActorHandler& handler, HandlerPlacement placement);
  void coroutine_ended(const std::exception_ptr& exception) noexcept;
  [[nodiscard]] bool is_ordinary_end(const StreamError& error) const;
  void handler_ended(const std::string& failure, std::error_code real_error = {});
  void end_with_stream();
  /// What an end by `error` tells others; nothing where there is no memory for it.
  [[nodiscard]] static caf::error end_reason(const StreamError& error) noexcept;
  [[nodiscard]] caf::error end_reason() const noexcept { return end_reason(stream_.error()); }

  IOStream stream_;
  Endpoint peer_;
  std::shared_ptr<ListenerState::Place> place_; ///< of a listener, or none; until the end
  std::uint64_t id_;
  TimePoint began_at_;
  StreamError close_error_{
      StreamErrc::closed, CloseReason::shutting_down, {}}; ///< of the stream, once the actor ended

  Reply read_reply_; ///< of the pending read
  bool read_pending_ = false;
  bool flushing_ = false; ///< a CloseAfterFlush was asked for: the actor ends with it
  std::vector<Reply> pending_writes_;
  std::size_t first_write_ = 0; ///< those before it are answered
  caf::strong_actor_ptr kept_;  ///< itself, while writes are to be answered after the end

  std::unique_ptr<Waits> waits_; ///< since there was one
  std::shared_ptr<ChunkTransfer>
      chunks_; ///< of the SendChunks that is under way; shared with its running function

  std::shared_ptr<const Handler> function_; ///< of the coroutine, which may refer to what it captured
  std::unique_ptr<CoroutineHost> coroutine_;
  caf::strong_actor_ptr handler_;
};

/// A connection that a listener has accepted.
struct NewConnection {
  Socket socket;
  bool is_tcp; ///< see make_accepted_transport
  Endpoint peer;
  TLSContext tls;
  std::uint64_t id;
  std::shared_ptr<ListenerState::Place> place;
  std::shared_ptr<const StreamOptions> options;
};

/// Makes the stream actor of a connection on `unit`, on its thread, and starts its handler. What fails is
/// logged and costs this connection.
void spawn_connection(const std::shared_ptr<LoopUnit>& unit, NewConnection connection,
                      std::shared_ptr<const Handler> handler);

} // namespace squall
