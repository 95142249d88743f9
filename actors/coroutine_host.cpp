// SPDX-License-Identifier: BSD-3-Clause
//
// coroutine_host.cpp
#include "actors/coroutine_host.hpp"

#include <algorithm>

namespace squall {

void CoroutineHost::run(Task<> task) {
  Connection& actor = actor_;
  task_.emplace(std::move(task),
                [&actor](const std::exception_ptr& exception) { actor.coroutine_ended(exception); });
  task_->start(*this);
}

void CoroutineHost::send_request(const caf::strong_actor_ptr& target, const RequestTimeout& timeout,
                                 caf::message content, Waiter& waiter) {
  // Responses come through the loop, never from inside this call.
  const std::uint64_t id = actor_.send_request(target, std::move(content)).integer_value();
  Pending& pending = pending_.try_emplace(id, *this, id, waiter).first->second;
  try {
    if (target != nullptr)
      actor_.unit()->targets().add(actor_.unit(), target, pending);
    if (!timeout.time())
      return;
    pending.timer = std::make_unique<Timer>(
        [this, id] { end_request(id, caf::make_message(caf::make_error(caf::sec::request_timeout))); });
    pending.timer->start_after(loop(), *timeout.time());
  } catch (...) { // the waiter goes with the exception, and the response must not find it
    pending_.erase(id);
    throw;
  }
}

void CoroutineHost::cancel_request(Waiter& waiter) noexcept {
  const auto found = std::find_if(pending_.begin(), pending_.end(),
                                  [&](const auto& entry) { return &entry.second.waiter == &waiter; });
  if (found != pending_.end())
    pending_.erase(found);
}

void CoroutineHost::on_response(caf::message_id id, caf::message response) {
  end_request(id.integer_value(), std::move(response));
}

/// A request has its outcome, unless it had one before.
void CoroutineHost::end_request(std::uint64_t id, caf::message outcome) {
  const auto found = pending_.find(id);
  if (found == pending_.end())
    return;
  ActorTaskContext::Waiter& waiter = found->second.waiter;
  pending_.erase(found); // first: the waiter may end the actor, and this with it
  waiter.on_response(std::move(outcome));
}

namespace detail {

ActorTaskContext& ActorTaskContext::of(TaskContext& context) {
  auto* found = dynamic_cast<ActorTaskContext*>(&context);
  if (found == nullptr)
    throw std::logic_error{"a CAF request can be awaited only by a coroutine that runs in a stream actor"};
  return *found;
}

void throw_request_error(caf::error error) {
  if (const auto found = stream_error(error))
    throw_error(*found);
  throw RequestError{std::move(error)};
}

} // namespace detail

RequestOperation::~RequestOperation() {
  if (context_ != nullptr)
    context_->cancel_request(*this);
}

void RequestOperation::start(TaskContext& context, std::coroutine_handle<> waiter) {
  auto& actor_context = detail::ActorTaskContext::of(context);
  waiter_ = waiter;
  actor_context.send_request(target_, timeout_, std::move(content_), *this);
  context_ = &actor_context;
}

void RequestOperation::on_response(caf::message response) {
  content_ = std::move(response);
  context_ = nullptr;
  waiter_.resume();
}

} // namespace squall
