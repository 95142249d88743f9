// SPDX-License-Identifier: BSD-3-Clause
//
// caf_compat.cpp
#include "actors/caf_compat.hpp"

#include "net/tell.hpp"
#include "net/unended.hpp"
#include <squall/stream_messages.hpp>

#include <caf/default_attachable.hpp>
#include <caf/scheduled_actor.hpp>
#include <caf/scheduler/abstract_coordinator.hpp>

#include <algorithm>
#include <exception>

namespace squall {

namespace {

/// How many messages an actor on a loop handles before the others of its loop have their turn.
constexpr std::size_t messages_per_turn = 128;

template <class T>
bool holds_message(const caf::mailbox_element& message) {
  return message.mid.is_async() && message.content().size() == 1 && message.content().match_element<T>(0);
}

bool is_exit(const caf::mailbox_element& message) { return holds_message<caf::exit_msg>(message); }

bool is_down(const caf::mailbox_element& message) { return holds_message<caf::down_msg>(message); }

/// A handler on CAF's workers.
class PoolHandler : public caf::event_based_actor {
public:
  explicit PoolHandler(caf::actor_config& config) : caf::event_based_actor{config} {
    set_exception_handler([](std::exception_ptr& exception) -> caf::error { return to_error(exception); });
  }

  bool cleanup(caf::error&& reason, caf::execution_unit* host) override {
    const ReserveUse use; // its monitors are told
    try {
      return caf::event_based_actor::cleanup(std::move(reason), host);
    } catch (const std::bad_alloc&) { // the system would wait for it
      unregister_from_system();
      return true;
    }
  }

  /// Its last reference goes, inside what must not throw. CAF makes an error here when it has not ended.
  void on_destroy() override {
    const ReserveUse use;
    try {
      caf::event_based_actor::on_destroy();
    } catch (const std::bad_alloc&) {
      cleanup({}, nullptr);
    }
  }

private:
  const unended::Counted counted_{unended::handlers};
};

/// A handler on the loop of its connection.
class PinnedHandler final : public PoolHandler {
public:
  PinnedHandler(caf::actor_config& config, std::shared_ptr<LoopUnit> unit)
      : PoolHandler{config}, unit_{std::move(unit)} {}

  void enqueue(caf::mailbox_element_ptr message, caf::execution_unit*) override {
    // Idle, and the loop itself has something for it: the message is handled here, without scheduling anything.
    // Taking the mailbox out of its blocked state makes what arrives meanwhile, from any thread, wait in it.
    // Messages that the handler skipped have to be tried again when it has handled another one, which only
    // its mailbox does.
    if (unit_->take_direct() && nothing_skipped() && mailbox().try_unblock())
      handle_now(std::move(message));
    else
      caf::event_based_actor::enqueue(std::move(message), &unit_->home());
  }
  using caf::abstract_actor::enqueue;

  bool cleanup(caf::error&& reason, caf::execution_unit* host) override {
    const Gone gone{*this}; // also when a function that was attached to the actor throws
    return PoolHandler::cleanup(std::move(reason), host);
  }

private:
  struct Gone {
    PinnedHandler& handler;
    ~Gone() { handler.unit_->remove_handler(handler.id()); }
  };

  void handle_now(caf::mailbox_element_ptr message) {
    const caf::strong_actor_ptr self{ctrl()}; // it may end
    const ReserveUse not_here{false};
    switch (activate(unit_.get(), *message)) {
    case activation_result::terminated:
      return;
    case activation_result::skipped:
      // Not push_to_cache(): that of CAF 0.17.6 counts the message twice, and its queue then hands out one
      // that is none.
      if (message->is_high_priority())
        get_urgent_queue().cache().push_back(message.release());
      else
        get_normal_queue().cache().push_back(message.release());
      break;
    case activation_result::success:
    case activation_result::dropped:
      break;
    }
    if (!mailbox().try_block()) {
      intrusive_ptr_add_ref(ctrl());
      unit_->home().exec_later(this);
    }
  }

  bool nothing_skipped() { return get_normal_queue().cache().empty() && get_urgent_queue().cache().empty(); }

  const std::shared_ptr<LoopUnit> unit_;
};

} // namespace

// -- LoopUnit

LoopUnit::LoopUnit(caf::actor_system& system, const Clock* clock)
    : caf::execution_unit{&system}, loop_{clock}, home_{system, *this} {}

LoopUnit::~LoopUnit() = default;

void LoopUnit::exec_later(caf::resumable* job) { system().scheduler().enqueue(job); }

LoopUnit::Home::~Home() {
  for (caf::resumable* job : jobs_)
    intrusive_ptr_release(job);
}

void LoopUnit::Home::exec_later(caf::resumable* job) {
  if (!unit_.loop_.in_loop()) {
    unit_.loop_.post([this, job] { exec_later(job); });
    return;
  }
  const ReserveUse use; // an actor that is not run does not answer
  jobs_.push_back(job);
  unit_.loop_.defer(*this);
}

/// Runs also what these schedule, so that a message is handled in the turn of its sending; that, however, no longer than
/// a turn's share.
void LoopUnit::Home::run_task() {
  // An exception leaves the loop's run(): what it kept from running goes on in the next turn.
  struct Rest {
    Home& home;
    std::size_t done = 0;
    ~Rest() {
      auto& jobs = home.jobs_;
      jobs.erase(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(done));
      jobs.insert(jobs.end(), home.later_.begin(), home.later_.end());
      home.later_.clear();
      if (jobs.empty())
        home.LoopTask::unlink();
      else
        home.unit_.loop_.defer(home);
    }
  } rest{*this};
  const std::size_t most = jobs_.size() + messages_per_turn;
  while (rest.done < std::min(jobs_.size(), most)) {
    {
      const ReserveUse use;
      later_.reserve(later_.size() + 1); // before the job is taken: it may have to go there
    }
    caf::intrusive_ptr<caf::resumable> job{jobs_[rest.done++], false};
    if (job->resume(&unit_, messages_per_turn) == caf::resumable::resume_later)
      later_.push_back(job.detach());
  }
}

void LoopUnit::post(std::function<void()> function) {
  if (closed_
          .load()) { // every actor of the loop has ended: what is left is to refuse, which any thread may do
    function();
    return;
  }
  loop_.post(std::move(function));
  if (closed_.load())
    close();
}

void LoopUnit::close() {
  closed_.store(true);
  const std::lock_guard lock{drain_mutex_};
  loop_.run_posted();
}

void LoopUnit::post_message(LoopActor& target, caf::mailbox_element_ptr message) {
  intrusive_ptr_add_ref(target.ctrl());
  // Two plain pointers fit into std::function without allocating; the function runs exactly once.
  if (loop_.in_loop()) {
    ++target.queued_;
    post([actor = &target, element = message.release()] {
      --actor->queued_;
      handle_posted(actor, element);
    });
  } else {
    post([actor = &target, element = message.release()] { handle_posted(actor, element); });
  }
}

void LoopUnit::handle_posted(LoopActor* actor, caf::mailbox_element* message) {
  const caf::strong_actor_ptr keep{actor->ctrl(), false};
  const caf::mailbox_element_ptr owned{message};
  actor->handle(*owned);
}

void LoopUnit::add(LoopActor& actor) noexcept {
  actor_count_.fetch_add(1, std::memory_order_relaxed);
  actors_.push_back_if_unlinked(actor);
}

void LoopUnit::add_handler(const caf::strong_actor_ptr& handler) {
  const std::lock_guard lock{handlers_mutex_};
  handlers_.emplace(handler->id(), caf::actor_cast<caf::weak_actor_ptr>(handler));
  actor_count_.fetch_add(1, std::memory_order_relaxed);
}

void LoopUnit::remove_handler(caf::actor_id id) noexcept {
  {
    const std::lock_guard lock{handlers_mutex_};
    if (handlers_.erase(id) == 0)
      return;
  }
  actor_gone();
}

void LoopUnit::actor_gone() noexcept {
  // end_actors() may wait for it.
  if (actor_count_.fetch_sub(1, std::memory_order_acq_rel) == 1)
    loop_.wake_up();
}

void LoopUnit::end_actors() {
  ending_ = true;
  for (;;) {               // again: a handler that still runs may make an actor
    loop_.defer(end_all_); // inside the loop, as always: what runs there must not wait for it
    loop_.run_once();
    if (actor_count_.load(std::memory_order_acquire) == 0)
      break;
    loop_.run_once(std::chrono::seconds{1});
  }
  loop_.end(); // what the streams of these actors put off to a later turn
}

void LoopUnit::end_all() {
  const ReserveUse use;
  while (LoopActor* actor = actors_.pop_front())
    actor->quit(caf::exit_reason::user_shutdown);
  kill_handlers();
}

void LoopUnit::kill_handlers() {
  const ReserveUse use;
  std::vector<caf::strong_actor_ptr> handlers;
  {
    const std::lock_guard lock{handlers_mutex_};
    for (const auto& [id, handler] : handlers_)
      if (auto strong = caf::actor_cast<caf::strong_actor_ptr>(handler))
        handlers.push_back(std::move(strong));
  }
  for (const caf::strong_actor_ptr& handler : handlers)
    caf::anon_send_exit(handler, caf::exit_reason::kill);
}

// -- Reply

void Reply::give_up() noexcept {
  const caf::strong_actor_ptr requester = std::move(requester_);
  if (!id_.is_request())
    return;
  const ReserveUse use;
  try {
    requester->enqueue(caf::make_mailbox_element(
                           nullptr, id_.response_id(), {},
                           caf::make_error(caf::sec::runtime_error, "the request failed with an exception")),
                       nullptr);
  } catch (...) { // no memory
  }
}

// -- LoopActor

LoopActor::LoopActor(caf::actor_config& config, std::shared_ptr<LoopUnit> unit)
    : caf::monitorable_actor{config}, unit_{std::move(unit)}, self_{ctrl()} {
  register_at_system();
  unit_->add(*this);
}

LoopActor::~LoopActor() {
  if (self_ == nullptr)
    return;
  unregister_from_system(); // it never lived: the constructor of a derived class threw
  unit_->actor_gone();
}

void LoopActor::enqueue(caf::mailbox_element_ptr message, caf::execution_unit*) {
  // Never inside another function: a message that may end the actor, and a response, which resumes a
  // coroutine. Nor in front of a message that waits: messages of one sender keep their order.
  const bool may_end = !message->mid.is_request() && (is_exit(*message) || is_down(*message));
  if (!unit_->may_handle_now() || queued_ != 0 || message->mid.is_response() || may_end) {
    unit_->post_message(*this, std::move(message));
    return;
  }
  const caf::strong_actor_ptr keep = strong_ref();
  const LoopUnit::Nesting nesting{*unit_};
  handle(*message);
}

void LoopActor::handle(caf::mailbox_element& message) {
  if (message.mid.is_response()) {
    on_response(message.mid, message.move_content_to_message());
  } else if (ended()) {
    if (message.mid.is_request())
      refuse(message);
  } else if (message.mid.is_request()) { // asked first, since most messages are requests
    handle_request(message);
  } else if (is_exit(message)) {
    auto exit = message.content().move_if_unshared<caf::exit_msg>(0);
    unlink_from(exit.source);
    on_exit(std::move(exit.reason));
  } else if (is_down(message)) {
    auto down = message.content().move_if_unshared<caf::down_msg>(0);
    on_down(down);
  } else {
    handle_request(message);
  }
}

/// No exception leaves it, whose way would lead into the sender, or out of the loop.
void LoopActor::handle_request(caf::mailbox_element& message) noexcept {
  try {
    if (!handle_system_message(message, unit_.get(), true))
      on_message(message);
  } catch (...) {
    Reply reply{message}; // it is empty where the message was answered, or its own Reply has given up
    try {
      const caf::error error = to_error(std::current_exception());
      tell(LogLevel::error, "message_failed", "an actor could not handle a message", [&] {
        return LogFields{{"actor", name()}, {"error", error_text(error)}};
      });
      reply.deliver(*this, error);
    } catch (...) { // no memory: the destructor is the last that tries
    }
  }
}

void LoopActor::on_exit(caf::error reason) {
  if (reason)
    quit(std::move(reason));
}

void LoopActor::quit(caf::error reason) {
  if (self_ == nullptr)
    return;
  const caf::strong_actor_ptr keep = std::exchange(self_, nullptr);
  const ReserveUse use;
  std::exception_ptr failure; // which keeps nobody from hearing of the end
  try {
    on_end(reason);
  } catch (const std::bad_alloc&) { // the steps behind it are tried all the same
  } catch (...) {
    failure = std::current_exception();
  }
  bool later = unit_->inside_sender(); // a function that is attached to the actor is code of a user
  try {
    if (later)
      unit_->post([keep, this, reason] { tell_end(reason); });
  } catch (const std::bad_alloc&) {
    later = false;
  }
  if (!later)
    tell_end(std::move(reason));
  if (failure)
    std::rethrow_exception(failure);
}

void LoopActor::tell_end(caf::error reason) {
  const ReserveUse use;
  struct Gone { // also when a function that was attached to the actor throws
    LoopActor& actor;
    ~Gone() {
      try_step([this] { actor.after_end(); });
      actor.unregister_from_system();
      actor.IntrusiveNode<LoopActor>::unlink();
      actor.unit_->actor_gone();
    }
  } const gone{*this};
  try_step([&] { cleanup(std::move(reason), unit_.get()); });
}

void LoopActor::send_exit(const caf::strong_actor_ptr& other, caf::error reason) const {
  other->enqueue(caf::make_mailbox_element(nullptr, caf::make_message_id(), {},
                                           caf::exit_msg{address(), std::move(reason)}),
                 nullptr);
}

void LoopActor::monitor(const caf::strong_actor_ptr& other) {
  other->get()->attach(caf::default_attachable::make_monitor(other->get()->address(), address()));
}

void LoopActor::demonitor(const caf::strong_actor_ptr& other) {
  other->get()->detach(caf::default_attachable::observe_token{address(), caf::default_attachable::monitor});
}

caf::message_id LoopActor::send_request(const caf::strong_actor_ptr& target, caf::message content) {
  const caf::message_id id = ++last_request_id_;
  if (target == nullptr)
    enqueue(
        caf::make_mailbox_element(nullptr, id.response_id(), {}, caf::make_error(caf::sec::invalid_argument)),
        nullptr);
  else
    target->enqueue(caf::make_mailbox_element(strong_ref(), id, {}, std::move(content)), nullptr);
  return id.response_id();
}

// -- handlers

caf::strong_actor_ptr spawn_handler(caf::actor_system& system, const std::shared_ptr<LoopUnit>& unit,
                                    InitialBehavior behavior) {
  const ReserveUse use; // an actor that is half made needs memory for its end, too
  caf::actor_config config{unit.get()};
  config.init_fun =
      caf::actor_config::init_fun_type{[function = std::move(behavior)](caf::local_actor* self) mutable {
        return std::exchange(function, nullptr)(static_cast<caf::event_based_actor*>(self));
      }};
  if (unit == nullptr)
    return caf::actor_cast<caf::strong_actor_ptr>(
        system.spawn_class<PoolHandler, caf::no_spawn_options>(config));
  auto handler = caf::make_actor<PinnedHandler, caf::strong_actor_ptr>(system.next_actor_id(), system.node(),
                                                                       &system, config, unit);
  unit->add_handler(handler);
  static_cast<PinnedHandler*>(handler->get())->launch(&unit->home(), false, false);
  return handler;
}

std::string describe(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception that is no std::exception";
  }
}

caf::error to_error(const std::exception_ptr& exception) {
  const ReserveUse use;
  return caf::make_error(caf::sec::runtime_error, describe(exception));
}

} // namespace squall
