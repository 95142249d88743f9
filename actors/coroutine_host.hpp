// SPDX-License-Identifier: BSD-3-Clause
//
// coroutine_host.hpp: the coroutine side of a stream actor: its handler's task, and the requests that it
// awaits.
//
// Threads    The loop's.
#pragma once

#include "actors/connection.hpp"
#include "actors/target_watch.hpp"
#include <squall/request.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

namespace squall {

class CoroutineHost final : public detail::ActorTaskContext {
public:
  explicit CoroutineHost(Connection& actor) : ActorTaskContext{actor.loop()}, actor_{actor} {}

  /// Runs `task` until it waits or ends; its end is the actor's affair, which may destroy this inside.
  void run(Task<> task);

  /// A response came for the actor.
  void on_response(caf::message_id id, caf::message response);

private:
  /// A request that is not answered.
  struct Pending final : TargetWatch::Dependent {
    Pending(CoroutineHost& owner, std::uint64_t number, Waiter& waiting) noexcept
        : host{owner}, id{number}, waiter{waiting} {}
    ~Pending() override { host.actor_.unit()->targets().remove(*this); }
    void on_target_down() override {
      host.end_request(id, caf::make_message(caf::make_error(caf::sec::request_receiver_down)));
    }
    CoroutineHost& host;
    const std::uint64_t id;
    ActorTaskContext::Waiter& waiter;
    std::unique_ptr<Timer> timer;
  };

  void send_request(const caf::strong_actor_ptr& target, const RequestTimeout& timeout, caf::message content,
                    Waiter& waiter) override;
  void cancel_request(Waiter& waiter) noexcept override;
  void end_request(std::uint64_t id, caf::message outcome);
  [[nodiscard]] StreamActor stream_actor() const override { return actor_.handle(); }

  Connection& actor_;
  std::map<std::uint64_t, Pending> pending_; ///< by the integer of the response's id
  std::optional<RunningTask> task_;          ///< last: its end cancels what it waits for
};

} // namespace squall
