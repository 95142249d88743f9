// SPDX-License-Identifier: BSD-3-Clause
//
// caf_compat.cpp
#include "actors/caf_compat.hpp"

#include "net/tell.hpp"
#include "net/unended.hpp"
#include <squall/stream_messages.hpp>

#include <caf/default_attachable.hpp>
#include <caf/detail/sync_request_bouncer.hpp>
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

/// Tells each of `attached` of an actor's end; CAF stops at the first for which there is no memory. What else leaves a
/// function that was attached is the last's of these that threw. @returns those for whom memory lacked
caf::attachable_ptr tell_attached(caf::attachable_ptr attached, const caf::error& reason,
                                  caf::execution_unit* unit, std::exception_ptr& failure) noexcept {
  const ReserveUse use;
  caf::attachable_ptr untold;
  caf::attachable_ptr* last = &untold;
  while (attached != nullptr) {
    caf::attachable_ptr first = std::exchange(attached, nullptr);
    attached = std::move(first->next);
    try {
      first->actor_exited(reason, unit);
    } catch (const std::bad_alloc&) {
      *last = std::move(first);
      last = &(*last)->next;
    } catch (...) {
      failure = std::current_exception();
    }
  }
  return untold;
}

/// Answers the requests that an ended actor has left in its mailbox.
struct Bouncer {
  const caf::error& reason;
  void operator()(caf::mailbox_element& message) const noexcept {
    if (!message.mid.is_request())
      return;
    const caf::strong_actor_ptr requester = message.stages.empty() ? message.sender : message.stages.front();
    Reply reply{message}; // which answers where this fails
    try {
      caf::detail::sync_request_bouncer{reason}(requester, message.mid);
      reply.forget();
    } catch (const std::bad_alloc&) {
    }
  }
  /// Nested queues tell where the message was.
  template <class Key, class Queue, class... Ts>
  caf::intrusive::task_result operator()(const Key&, const Queue&, Ts&... rest) const noexcept {
    (*this)(rest...);
    return caf::intrusive::task_result::resume;
  }
};

/// A handler, by itself one on CAF's workers. The loop of its connection does later what lacks memory.
class PoolHandler : public caf::event_based_actor, protected LoopTask {
public:
  PoolHandler(caf::actor_config& config, std::shared_ptr<LoopUnit> unit)
      : caf::event_based_actor{config}, unit_{std::move(unit)} {
    set_exception_handler([](std::exception_ptr& exception) -> caf::error {
      try {
        return to_error(exception);
      } catch (const std::bad_alloc&) {
        return {}; // it ends without a reason
      }
    });
  }

  /// @param unit  that it runs on; nullptr: a worker
  void begin(caf::execution_unit* unit) {
    Schedule schedule{*this, unit};
    launch(&schedule, false, false);
  }

  void enqueue(caf::mailbox_element_ptr message, caf::execution_unit* sender_unit) override {
    Schedule schedule{*this, sender_unit};
    caf::event_based_actor::enqueue(std::move(message), &schedule);
  }
  using caf::abstract_actor::enqueue;

  caf::resumable::resume_result resume(caf::execution_unit* unit, std::size_t most) override {
    try {
      return caf::event_based_actor::resume(unit, most);
    } catch (const std::bad_alloc&) { // CAF could not even end it
      cleanup({}, unit);
      return caf::resumable::done;
    }
  }

  bool cleanup(caf::error&& reason, caf::execution_unit* host) override {
    if (getf(is_cleaned_up_flag))
      return false;
    const ReserveUse use;      // its monitors are told
    if (!mailbox().closed()) { // CAF does the same, but for want of memory
      mailbox().close();
      get_normal_queue().flush_cache();
      get_urgent_queue().flush_cache();
      Bouncer bouncer{reason};
      while (mailbox().queue().new_round(1000, bouncer).consumed_items) {
      }
    }
    caf::attachable_ptr attached = exchange_attached(nullptr);
    std::exception_ptr failure;
    try {
      caf::event_based_actor::cleanup(std::move(reason), host);
    } catch (const std::bad_alloc&) {
    } catch (...) { // of a function that was attached just now
      failure = std::current_exception();
    }
    unregister_from_system(); // in any case, or the system would wait for it
    exchange_attached(std::move(attached));
    go_on_ending(host);
    if (failure)
      std::rethrow_exception(failure);
    return true;
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

protected:
  enum class Task : unsigned char { none, come, run, end };

  /// Does `task` on the loop, later.
  void queue(Task task) noexcept {
    task_ = task;
    if (unit_->loop().in_loop())
      unit_->loop().retry(*this);
    else
      unit_->loop().post_task(*this);
  }
  void run_task() override {
    switch (std::exchange(task_, Task::none)) {
    case Task::none:
      break;
    case Task::come:
      come();
      break;
    case Task::run:
      run();
      break;
    case Task::end: {
      const caf::strong_actor_ptr keep{ctrl(), false};
      go_on_ending(unit_.get());
      break;
    }
    }
  }

  const std::shared_ptr<LoopUnit> unit_;
  Task task_ = Task::none; ///< what it is queued for

private:
  /// Hands the handler to whom CAF would.
  class Schedule final : public caf::execution_unit {
  public:
    Schedule(PoolHandler& handler, caf::execution_unit* unit)
        : caf::execution_unit{&handler.home_system()}, handler_{handler}, unit_{unit} {}
    void exec_later(caf::resumable* job) override {
      const ReserveUse use; // an actor that is not run does not answer
      try {
        if (unit_ != nullptr)
          unit_->exec_later(job);
        else
          system().scheduler().enqueue(job);
      } catch (const std::bad_alloc&) {
        handler_.queue(Task::come);
      }
    }

  private:
    PoolHandler& handler_;
    caf::execution_unit* unit_;
  };

  /// It has a message, and a reference until it runs.
  virtual void come() noexcept { Schedule{*this, nullptr}.exec_later(this); }
  virtual void run() {}
  /// The loop of its connection is none that waits for it: it may be gone.
  virtual void ended() noexcept {}

  /// Tells those of the end that have not heard of it.
  void go_on_ending(caf::execution_unit* host) {
    std::exception_ptr failure;
    caf::attachable_ptr untold = tell_attached(exchange_attached(nullptr), fail_state_, host, failure);
    const bool is_destroyed = ctrl()->strong_refs.load() == 0;
    if (untold != nullptr && !is_destroyed) {
      exchange_attached(std::move(untold));
      intrusive_ptr_add_ref(ctrl()); // until the task runs
      queue(Task::end);
    } else {
      ended();
    }
    if (failure)
      std::rethrow_exception(failure);
  }

  /// Who hears of the end. An ended actor has none but those for whom memory lacked.
  caf::attachable_ptr exchange_attached(caf::attachable_ptr attached) noexcept {
    const std::lock_guard lock{mtx_};
    return std::exchange(attachables_head_, std::move(attached));
  }

  const unended::Counted counted_{unended::handlers};
};

} // namespace

/// A handler on the loop of its connection.
class PinnedHandler final : public PoolHandler {
public:
  using PoolHandler::PoolHandler;

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

private:
  friend class LoopUnit::Home;
  /// From any thread, in its unit's home. It has a reference until it has run.
  void schedule() noexcept {
    if (unit_->loop().in_loop())
      come();
    else
      queue(Task::come);
  }
  void come() noexcept override {
    task_ = Task::run;
    unit_->home_.jobs_.push_back_if_unlinked(*this);
    ++unit_->home_.job_count_;
    unit_->loop().defer(unit_->home_);
  }
  static PinnedHandler& of(LoopTask& task) noexcept { return static_cast<PinnedHandler&>(task); }
  void drop() noexcept { const caf::intrusive_ptr<caf::resumable> gone{this, false}; }
  void run() override {
    caf::intrusive_ptr<caf::resumable> job{this, false};
    if (resume(unit_.get(), messages_per_turn) != caf::resumable::resume_later)
      return;
    static_cast<void>(job.detach());
    task_ = Task::run;
    unit_->home_.later_.push_back_if_unlinked(*this);
    ++unit_->home_.job_count_;
  }

  void ended() noexcept override { unit_->remove_handler(id()); }

  void handle_now(caf::mailbox_element_ptr message) {
    const caf::strong_actor_ptr self{ctrl()}; // it may end
    const ReserveUse not_here{false};
    try {
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
    } catch (const std::bad_alloc&) { // as in resume
      cleanup({}, unit_.get());
      return;
    }
    if (!mailbox().try_block()) {
      intrusive_ptr_add_ref(ctrl());
      unit_->home().exec_later(this);
    }
  }

  bool nothing_skipped() { return get_normal_queue().cache().empty() && get_urgent_queue().cache().empty(); }
};

// -- LoopUnit

LoopUnit::LoopUnit(caf::actor_system& system, const Clock* clock)
    : caf::execution_unit{&system}, loop_{clock}, home_{system, *this} {}

LoopUnit::~LoopUnit() = default;

void LoopUnit::exec_later(caf::resumable* job) { system().scheduler().enqueue(job); }

LoopUnit::Home::~Home() {
  while (LoopTask* job = jobs_.pop_front())
    PinnedHandler::of(*job).drop();
}

void LoopUnit::Home::exec_later(caf::resumable* job) { static_cast<PinnedHandler*>(job)->schedule(); }

/// Runs also what these schedule, so that a message is handled in the turn of its sending; that, however, no longer than
/// a turn's share.
void LoopUnit::Home::run_task() {
  // An exception leaves the loop's run(): what it kept from running goes on in the next turn.
  struct Rest {
    Home& home;
    ~Rest() {
      home.jobs_.append(home.later_);
      if (home.jobs_.empty())
        home.LoopTask::unlink();
      else
        home.unit_.loop_.defer(home);
    }
  } const rest{*this};
  for (std::size_t most = job_count_ + messages_per_turn; most > 0; --most) {
    LoopTask* const job = jobs_.pop_front();
    if (job == nullptr)
      return;
    --job_count_;
    job->run_task();
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
  // Two plain pointers fit into std::function without allocating; the function runs exactly once.
  LoopActor* const actor = &target;
  caf::mailbox_element* const element = message.get();
  intrusive_ptr_add_ref(actor->ctrl());
  if (closed_.load()) {
    static_cast<void>(message.release());
    handle_posted(actor, element);
    return;
  }
  const bool here = loop_.in_loop();
  try {
    if (here)
      loop_.post([actor, element] {
        --actor->queued_;
        handle_posted(actor, element);
      });
    else
      loop_.post([actor, element] { handle_posted(actor, element); });
  } catch (...) {
    intrusive_ptr_release(actor->ctrl());
    throw;
  }
  static_cast<void>(message.release());
  if (here) // which runs it later
    ++target.queued_;
  if (closed_.load())
    close();
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

void LoopUnit::retry_end_of(LoopActor& actor) noexcept {
  intrusive_ptr_add_ref(actor.ctrl());
  half_ended_.push_back_if_unlinked(actor);
  loop_.retry(go_on_with_ends_);
}

void LoopUnit::go_on_with_ends() {
  IntrusiveList<LoopActor> actors;
  actors.append(half_ended_);
  try {
    while (LoopActor* const actor = actors.pop_front()) {
      const caf::strong_actor_ptr keep{actor->ctrl(), false};
      actor->go_on_ending();
    }
  } catch (...) { // of a function that was attached to one of them
    half_ended_.append(actors);
    loop_.retry(go_on_with_ends_);
    throw;
  }
}

void LoopUnit::end_actors() {
  ending_ = true;
  for (;;) {               // again: a handler that still runs may make an actor
    loop_.defer(end_all_); // inside the loop, as always: what runs there must not wait for it
    loop_.run_once();
    if (actor_count_.load(std::memory_order_acquire) == 0 && owed_.empty())
      break;
    loop_.run_once(std::chrono::seconds{1});
  }
  loop_.end(); // what the streams of these actors put off to a later turn
}

void LoopUnit::end_all() {
  const ReserveUse use;
  const auto reason = []() noexcept -> caf::error {
    try {
      return caf::exit_reason::user_shutdown;
    } catch (const std::bad_alloc&) {
      return {};
    }
  };
  while (LoopActor* actor = actors_.pop_front())
    actor->quit(reason());
  kill_handlers();
}

void LoopUnit::kill_handlers() {
  const ReserveUse use;
  for (caf::actor_id last = 0;;) {
    caf::strong_actor_ptr handler;
    {
      const std::lock_guard lock{handlers_mutex_};
      const auto next = handlers_.upper_bound(last);
      if (next == handlers_.end())
        return;
      last = next->first;
      handler = next->second.lock();
    }
    try {
      if (handler != nullptr)
        caf::anon_send_exit(handler, caf::exit_reason::kill);
    } catch (const std::bad_alloc&) { // end_actors() tries again
    }
  }
}

// -- OwedAnswers

namespace {

thread_local OwedAnswers* owed_of_thread = nullptr;

/// @throws std::bad_alloc
void answer_that_it_failed(const caf::strong_actor_ptr& requester, caf::message_id response) {
  const ReserveUse use;
  requester->enqueue(caf::make_mailbox_element(
                         nullptr, response, {},
                         caf::make_error(caf::sec::runtime_error, "the request failed with an exception")),
                     nullptr);
}

} // namespace

OwedAnswers::OwedAnswers(EventLoop& loop) : loop_{loop} { owed_.reserve(sure_count); }

void OwedAnswers::set_current(OwedAnswers* answers) noexcept { owed_of_thread = answers; }

bool OwedAnswers::add(const caf::strong_actor_ptr& requester, caf::message_id response) noexcept {
  OwedAnswers* const answers = owed_of_thread;
  if (answers == nullptr)
    return false;
  const ReserveUse use;
  try {
    answers->owed_.push_back({requester, response});
  } catch (const std::bad_alloc&) {
    return false;
  }
  answers->loop_.retry(*answers);
  return true;
}

/// In their order, as far as there is memory.
void OwedAnswers::run_task() {
  std::size_t answered = 0;
  try {
    for (; answered < owed_.size(); ++answered) {
      const Owed next = owed_[answered]; // more may come to be owed inside
      answer_that_it_failed(next.requester, next.response);
    }
  } catch (const std::bad_alloc&) {
    loop_.retry(*this);
  }
  owed_.erase(owed_.begin(), owed_.begin() + static_cast<std::ptrdiff_t>(answered));
}

// -- Reply

void Reply::give_up() noexcept {
  const caf::strong_actor_ptr requester = std::move(requester_);
  if (!id_.is_request())
    return;
  try {
    answer_that_it_failed(requester, id_.response_id());
  } catch (const std::bad_alloc&) {
    if (!OwedAnswers::add(requester, id_.response_id()))
      log_event(LogLevel::error, "answer_lost", "there is no memory for an answer, nor for owing it");
  } catch (...) { // of who asked
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
      unit_->post([keep, this, copy = reason]() mutable { tell_end(std::move(copy)); });
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
  caf::attachable_ptr attached = exchange_attached(nullptr);
  try {
    cleanup(std::move(reason), unit_.get());
  } catch (const std::bad_alloc&) { // it is marked as ended before anything else
  }
  exchange_attached(std::move(attached));
  go_on_ending();
}

/// Who hears of the end. An ended actor has none but those for whom memory lacked.
caf::attachable_ptr LoopActor::exchange_attached(caf::attachable_ptr attached) noexcept {
  const std::lock_guard lock{mtx_};
  return std::exchange(attachables_head_, std::move(attached));
}

/// Each step is tried, whatever the one before lacked, and again until it has its memory.
void LoopActor::go_on_ending() {
  const ReserveUse use;
  std::exception_ptr failure; // of a function that was attached to the actor
  caf::attachable_ptr untold = tell_attached(exchange_attached(nullptr), fail_state_, unit_.get(), failure);
  bool over = untold == nullptr;
  exchange_attached(std::move(untold));
  try {
    after_end();
  } catch (const std::bad_alloc&) {
    over = false;
  } catch (...) {
    failure = std::current_exception();
  }
  IntrusiveNode<LoopActor>::unlink();
  if (over) {
    unregister_from_system();
    unit_->actor_gone();
  } else {
    unit_->retry_end_of(*this);
  }
  if (failure)
    std::rethrow_exception(failure);
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

namespace {

template <class T>
caf::strong_actor_ptr make_handler(const std::shared_ptr<LoopUnit>& unit, InitialBehavior behavior) {
  caf::actor_system& system = unit->system();
  caf::actor_config config{unit.get()};
  config.init_fun =
      caf::actor_config::init_fun_type{[function = std::move(behavior)](caf::local_actor* self) mutable {
        return std::exchange(function, nullptr)(static_cast<caf::event_based_actor*>(self));
      }};
  return caf::make_actor<T, caf::strong_actor_ptr>(system.next_actor_id(), system.node(), &system, config,
                                                   unit);
}

} // namespace

caf::strong_actor_ptr spawn_handler(const std::shared_ptr<LoopUnit>& unit, InitialBehavior behavior) {
  const ReserveUse use; // an actor that is half made needs memory for its end, too
  auto handler = make_handler<PinnedHandler>(unit, std::move(behavior));
  unit->add_handler(handler);
  static_cast<PinnedHandler*>(handler->get())->begin(&unit->home());
  return handler;
}

caf::strong_actor_ptr spawn_pool_handler(const std::shared_ptr<LoopUnit>& unit, InitialBehavior behavior) {
  const ReserveUse use; // as above
  auto handler = make_handler<PoolHandler>(unit, std::move(behavior));
  static_cast<PoolHandler*>(handler->get())->begin(nullptr);
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
