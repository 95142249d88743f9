// SPDX-License-Identifier: BSD-3-Clause
//
// connection_parts.hpp: what a stream actor keeps of requests that wait for an event, and of a SendChunks.
#pragma once

#include "actors/connection.hpp"

#include <memory>

namespace squall {

/// The value of a message of one T, taken out where nobody else holds it.
template <class T>
T take_content(caf::mailbox_element& message) {
  return message.content().move_if_unshared<T>(0);
}

/// Answers with what came of an operation. Without memory for that, and be it the reserve's, the connection is over: nobody
/// knows any more what was read and written.
template <class T>
void answer(Reply& reply, Connection& self, Result<T> result) {
  try {
    if (!result) {
      const ReserveUse use;
      reply.deliver(self, make_error(result.error()));
    } else if constexpr (std::is_void_v<T>)
      reply.deliver(self);
    else
      reply.deliver(self, std::move(*result));
  } catch (const std::bad_alloc&) {
    self.break_off();
  }
}

struct Connection::Waits {
  static constexpr std::size_t least_limit = 16;
  IntrusiveList<Wait> list; ///< each of which owns itself
  std::size_t count = 0;
  std::size_t limit = least_limit; ///< so many, and those whose requester has ended are dropped
};

/// A request that waits for an event of the stream. Who takes it out of the actor's list owns it.
class Connection::Wait final : public EventCompletion, public IntrusiveNode<Connection::Wait> {
public:
  Wait(Connection& actor, StreamEvent event, Reply reply)
      : actor_{actor}, event_{event}, reply_{std::move(reply)} {}

  void on_event(Result<void> result) override {
    const caf::strong_actor_ptr keep = actor_.strong_ref();
    const std::unique_ptr<Wait> over{this};
    IntrusiveNode<Wait>::unlink();
    --actor_.waits_->count;
    actor_.answer_wait(*this, result);
  }
  [[nodiscard]] StreamEvent event() const noexcept { return event_; }
  [[nodiscard]] Reply& reply() noexcept { return reply_; }

private:
  Connection& actor_;
  StreamEvent event_;
  Reply reply_;
};

/// One SendChunks: reads a chunk, sends it, and goes on when it is accepted.
class Connection::ChunkTransfer final : public ReadCompletion, private TargetWatch::Dependent {
public:
  ChunkTransfer(Connection& actor, SendChunks request, Reply reply)
      : actor_{actor}, request_{std::move(request)}, reply_{std::move(reply)} {
    if (const auto receiver = caf::actor_cast<caf::strong_actor_ptr>(request_.receiver))
      actor_.unit()->targets().add(actor_.unit(), receiver, *this);
  }
  ~ChunkTransfer() override { actor_.unit()->targets().remove(*this); }

  void read_next() {
    waiting_for_ = {};
    if (timer_ != nullptr)
      timer_->cancel();
    const std::size_t size = request_.read.next_size();
    if (size == 0)
      return actor_.end_chunks({});
    std::optional<Result<Bytes>> result;
    try {
      result = actor_.stream_.start_read(ReadBytes{size, true, request_.read.timeout}, *this);
    } catch (...) {
      return actor_.end_chunks(to_error(std::current_exception()));
    }
    if (result)
      on_read(std::move(*result));
  }

  void on_read(Result<Bytes> result) override {
    if (!result) {
      const auto outcome = request_.read.outcome(result.error());
      return actor_.end_chunks(outcome ? caf::error{} : make_error(outcome.error()));
    }
    if (request_.read.num_bytes)
      *request_.read.num_bytes -= result->size();
    try {
      send(std::move(*result));
    } catch (...) {
      actor_.end_chunks(to_error(std::current_exception()));
    }
  }

  /// Takes the receiver's answer, when it is that; else returns false.
  bool take_response(caf::message_id id, const caf::message& response) {
    if (id != waiting_for_)
      return false;
    if (response.match_elements<caf::error>())
      actor_.end_chunks(response.get_as<caf::error>(0));
    else
      read_next();
    return true;
  }
  [[nodiscard]] Reply& reply() noexcept { return reply_; }

private:
  void on_target_down() override {
    actor_.stream_.forget_read(*this);
    actor_.end_chunks(caf::make_error(caf::sec::request_receiver_down));
  }

  void send(Bytes chunk) {
    if (request_.read.timeout) {
      if (timer_ == nullptr)
        timer_ = std::make_unique<Timer>([this] {
          actor_.end_chunks(make_error(StreamError{StreamErrc::timed_out, CloseReason::none, {}}));
        });
      timer_->start_after(actor_.loop(), *request_.read.timeout);
    }
    const auto keep = actor_.chunks_; // the receiver may run in here, and end the transfer or the actor
    waiting_for_ = actor_.send_request(caf::actor_cast<caf::strong_actor_ptr>(request_.receiver),
                                       caf::make_message(Chunk{std::move(chunk)}));
  }

  Connection& actor_;
  SendChunks request_;
  Reply reply_;
  caf::message_id waiting_for_;
  std::unique_ptr<Timer> timer_; ///< of the receiver's answer
};

} // namespace squall
