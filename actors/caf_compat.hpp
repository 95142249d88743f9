// SPDX-License-Identifier: BSD-3-Clause
//
// caf_compat.hpp: where Squall touches the inside of CAF: loops as execution units, actors on a loop,
// replies. What depends on the inner workings of CAF 0.17.6 is here and in include/squall/caf_compat.hpp; other
// files use its public interface only (of which caf::atom and error codes are written otherwise in later versions).
//
// Two kinds of actors are pinned to a loop. A LoopActor (stream actor, listener) has no mailbox and no
// behavior: the loop's thread handles each message where it is sent. A handler actor is a
// caf::event_based_actor: what the loop itself has for it is handled at once while it is idle; what other code
// of users sends, and what comes from other threads, waits in its mailbox.
//
// Code of a user never runs inside other code of a user: not inside its send, nor inside its call of a stream.
#pragma once

#include "actors/target_watch.hpp"
#include "net/memory_reserve.hpp"
#include <squall/net/event_loop.hpp>

#include <caf/all.hpp>
#include <caf/execution_unit.hpp>
#include <caf/mailbox_element.hpp>
#include <caf/monitorable_actor.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace squall {

class LoopActor;
class PinnedHandler;

/// Answers for which there was no memory, not even in the reserve: each is given when there is some again.
///
/// Threads    The loop's.
class OwedAnswers final : private LoopTask {
public:
  explicit OwedAnswers(EventLoop& loop);
  ~OwedAnswers() { set_current(nullptr); }

  /// Makes `answers`, or none, those of the thread.
  static void set_current(OwedAnswers* answers) noexcept;
  /// Owes `requester` an error, on the thread's loop. @returns false when there is none, or too much is owed
  static bool add(const caf::strong_actor_ptr& requester, caf::message_id response) noexcept;
  [[nodiscard]] bool empty() const noexcept { return owed_.empty(); }

private:
  /// So many at once are sure to find a place; each has given back the memory of its request.
  static constexpr std::size_t sure_count = 256;
  struct Owed {
    caf::strong_actor_ptr requester;
    caf::message_id response;
  };
  void run_task() override;

  EventLoop& loop_;
  std::vector<Owed> owed_;
};

/// A loop as CAF's execution unit.
///
/// Threads    exec_later, post, home and post_message from any thread; the rest on the loop's.
/// Ownership  Shared by its IOSystem and its actors, so that a handle that outlives the IOSystem stays
/// harmless.
class LoopUnit final : public caf::execution_unit {
public:
  LoopUnit(caf::actor_system& system, const Clock* clock);
  ~LoopUnit() override;

  [[nodiscard]] EventLoop& loop() noexcept { return loop_; }

  /// Of actors that are not pinned here, which CAF hands to the unit of their sender: they go to the system's
  /// workers.
  void exec_later(caf::resumable* job) override;

  /// The execution unit to which the handlers of this loop are pinned: they run on the loop. It has no other jobs.
  [[nodiscard]] caf::execution_unit& home() noexcept { return home_; }

  /// Runs `function` on the loop; exactly once, also when the loop has ended: then in the caller, or in the
  /// thread that closes the unit.
  void post(std::function<void()> function);

  /// Hands a message to an actor on this loop, later. @throws std::bad_alloc; the message is gone then
  void post_message(LoopActor& target, caf::mailbox_element_ptr message);

  /// A message to a LoopActor may be handled inside its sender: on the loop's thread, and not too deep.
  [[nodiscard]] bool may_handle_now() const noexcept { return loop_.in_loop() && depth_ < most_depth; }
  /// One is: what runs now may run inside code of a user.
  [[nodiscard]] bool inside_sender() const noexcept { return depth_ > 0; }

  /// While it lives, the next message to a handler of this loop is handled where it is sent: an answer that comes from
  /// the loop itself, so that no code of a user is around it.
  class Direct {
  public:
    explicit Direct(LoopUnit& unit) noexcept : unit_{unit} { unit_.direct_ = true; }
    Direct(const Direct&) = delete;
    Direct& operator=(const Direct&) = delete;
    ~Direct() { unit_.direct_ = false; }

  private:
    LoopUnit& unit_;
  };
  [[nodiscard]] bool take_direct() noexcept { return loop_.in_loop() && std::exchange(direct_, false); }

  /// Counts how deep messages are handled inside their senders, while it lives.
  class Nesting {
  public:
    explicit Nesting(LoopUnit& unit) noexcept : unit_{unit} { ++unit_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    ~Nesting() { --unit_.depth_; }

  private:
    LoopUnit& unit_;
  };

  /// Of those that wait for other actors. On the loop's thread.
  [[nodiscard]] TargetWatch& targets() noexcept { return targets_; }

  void add(LoopActor& actor) noexcept;
  /// Calls `function` with each actor that has not ended; none may come or end meanwhile. On the loop's thread.
  template <class F>
  void for_each_actor(F function) {
    actors_.for_each(function);
  }
  void add_handler(const caf::strong_actor_ptr& handler);
  void remove_handler(caf::actor_id id) noexcept;

  /// Ends every actor of the loop, running the loop until the last is gone. On the loop's thread, not inside
  /// the loop.
  void end_actors();
  /// Refuses connections from now on.
  [[nodiscard]] bool ending() const noexcept { return ending_; }
  /// The loop's thread begins, or is over.
  void set_thread(bool runs) noexcept { OwedAnswers::set_current(runs ? &owed_ : nullptr); }
  /// Runs what was posted until now and, from then on, what is posted at once. After the loop's thread has
  /// ended.
  void close();

  /// Called by an actor of the loop that is gone.
  void actor_gone() noexcept;
  /// Calls go_on_ending() of an actor, which has ended, when there may be memory again. On the loop's thread.
  void retry_end_of(LoopActor& actor) noexcept;

private:
  static constexpr int most_depth = 32;

  class Home final : public caf::execution_unit, private LoopTask {
  public:
    Home(caf::actor_system& system, LoopUnit& unit) : caf::execution_unit{&system}, unit_{unit} {}
    ~Home() override;
    void exec_later(caf::resumable* job) override;

  private:
    friend class PinnedHandler;
    void run_task() override;
    LoopUnit& unit_;
    IntrusiveList<LoopTask> jobs_; ///< so that no handler is forgotten for want of memory
    std::size_t job_count_ = 0;
    IntrusiveList<LoopTask> later_; ///< that have had their share of the turn, while the others run
  };
  friend class PinnedHandler;

  static void handle_posted(LoopActor* actor, caf::mailbox_element* message);
  void end_all();
  void kill_handlers();
  void go_on_with_ends();

  /// Runs a function inside the loop; queued without memory.
  template <void (LoopUnit::*function)()>
  class Task final : public LoopTask {
  public:
    explicit Task(LoopUnit& unit) noexcept : unit_{unit} {}
    void run_task() override { (unit_.*function)(); }

  private:
    LoopUnit& unit_;
  };

  EventLoop loop_;
  OwedAnswers owed_{loop_};
  Home home_;
  Task<&LoopUnit::end_all> end_all_{*this};
  Task<&LoopUnit::go_on_with_ends> go_on_with_ends_{*this};
  TargetWatch targets_;
  int depth_ = 0;
  bool direct_ = false;
  bool ending_ = false;
  IntrusiveList<LoopActor> actors_;
  IntrusiveList<LoopActor> half_ended_;     ///< each with a reference
  std::atomic<std::size_t> actor_count_{0}; ///< LoopActors and handlers

  std::atomic<bool> closed_{false};
  std::mutex drain_mutex_;
  std::mutex handlers_mutex_;
  std::map<caf::actor_id, caf::weak_actor_ptr> handlers_; ///< guarded by handlers_mutex_
};

/// Where the answer to a request goes. One that is destroyed, or overwritten, without an answer answers with
/// caf::sec::runtime_error: no exception and no forgotten path leaves a requester waiting. Without memory for that, the
/// loop answers when there is some.
class Reply {
public:
  Reply() noexcept = default;
  explicit Reply(caf::mailbox_element& request) noexcept
      : requester_{std::move(request.sender)}, id_{request.mid}, stages_{std::move(request.stages)} {}
  Reply(Reply&&) noexcept = default; // which leaves no requester behind
  Reply& operator=(Reply&& other) noexcept {
    const Reply before{std::move(*this)};
    requester_ = std::move(other.requester_);
    id_ = other.id_;
    stages_ = std::move(other.stages_);
    return *this;
  }
  ~Reply() {
    if (requester_ != nullptr)
      give_up();
  }

  /// It was answered otherwise.
  void forget() noexcept { requester_ = nullptr; }
  [[nodiscard]] bool wanted() const noexcept { return id_.is_request() && requester_ != nullptr; }
  /// Nothing would hear the answer to `message`: it was sent, not requested, and by no composed actor.
  [[nodiscard]] static bool never_wanted(const caf::mailbox_element& message) noexcept {
    return message.mid.is_async() && message.stages.empty();
  }

  /// Who asked has ended: nobody takes the answer.
  [[nodiscard]] bool requester_ended() const noexcept {
    return requester_ != nullptr && requester_->get()->getf(caf::abstract_actor::is_cleaned_up_flag);
  }

  /// Answers; a message that asked for no answer gets none.
  template <class... Ts>
  void deliver(LoopActor& self, Ts&&... values);

private:
  void give_up() noexcept;

  caf::strong_actor_ptr requester_; ///< until it is answered
  caf::message_id id_;
  caf::mailbox_element::forwarding_stack stages_;
};

/// An actor whose messages the loop's thread handles one by one, without a mailbox.
///
/// Ownership  It holds itself until quit(); then handles keep the object, which refuses what comes.
class LoopActor : public caf::monitorable_actor, public IntrusiveNode<LoopActor> {
public:
  LoopActor(caf::actor_config& config, std::shared_ptr<LoopUnit> unit);
  ~LoopActor() override;

  void enqueue(caf::mailbox_element_ptr message, caf::execution_unit* sender_unit) final;
  using caf::abstract_actor::enqueue;

  [[nodiscard]] const std::shared_ptr<LoopUnit>& unit() const noexcept { return unit_; }
  [[nodiscard]] EventLoop& loop() const noexcept { return unit_->loop(); }
  [[nodiscard]] caf::strong_actor_ptr strong_ref() const { return caf::strong_actor_ptr{ctrl()}; }

  /// Ends the actor: on_end(), then monitors and links hear `reason`; from inside a sender, they do later. On the loop's
  /// thread.
  void quit(caf::error reason);
  /// It has, or is about to.
  [[nodiscard]] bool ended() const noexcept { return self_ == nullptr; }

  /// Tells `other` to exit with `reason`.
  void send_exit(const caf::strong_actor_ptr& other, caf::error reason) const;

  /// Sends this actor a caf::down_msg when `other` ends.
  void monitor(const caf::strong_actor_ptr& other);
  /// Takes every monitor() of `other` back.
  void demonitor(const caf::strong_actor_ptr& other);

  /// Sends a request; its response comes to on_response. @returns its id
  caf::message_id send_request(const caf::strong_actor_ptr& target, caf::message content);

protected:
  /// From now on no message is handled inside its sender: for actors that call functions of a user.
  void handle_later_only() noexcept { ++queued_; }

  /// A request or a message, on the loop's thread, perhaps inside its sender. What it throws is logged and, to a request,
  /// answered.
  virtual void on_message(caf::mailbox_element& message) = 0;
  /// The response to a request of this actor, on the loop's thread.
  virtual void on_response(caf::message_id, caf::message) {}
  virtual void on_down(caf::down_msg&) {}
  /// The actor was told to exit with `reason`, which is none for a normal exit; by default that is ignored,
  /// as CAF does.
  virtual void on_exit(caf::error reason);
  /// The actor ends: answers what is pending, gives up what belongs to the loop.
  virtual void on_end(const caf::error& reason) = 0;
  /// Monitors and links have been told of the end, as far as there was memory. Where it throws std::bad_alloc it is called
  /// again.
  virtual void after_end() {}
  /// Answers a request that comes after the end; by default with refusal().
  virtual void refuse(caf::mailbox_element& request) { Reply{request}.deliver(*this, refusal()); }
  /// What a request gets that comes after the end.
  [[nodiscard]] virtual caf::error refusal() const {
    return caf::make_error(caf::sec::request_receiver_down);
  }

private:
  friend class LoopUnit;
  void handle(caf::mailbox_element& message);
  void handle_request(caf::mailbox_element& message) noexcept;
  void tell_end(caf::error reason);
  void go_on_ending();
  caf::attachable_ptr exchange_attached(caf::attachable_ptr attached) noexcept;

  const std::shared_ptr<LoopUnit> unit_;
  caf::strong_actor_ptr self_; ///< until quit()
  std::size_t queued_ = 0;     ///< messages that the loop's own thread posted to it, behind which others wait
  caf::message_id last_request_id_ = caf::make_message_id();
};

/// Keeps a LoopActor of type T.
template <class T>
class LoopActorPtr {
public:
  explicit LoopActorPtr(caf::strong_actor_ptr actor) noexcept : actor_{std::move(actor)} {}
  T* operator->() const noexcept { return static_cast<T*>(actor_->get()); }

private:
  caf::strong_actor_ptr actor_;
};

/// Makes a LoopActor of type T on `unit`; T takes (actor_config&, shared_ptr<LoopUnit>, args...). On the
/// loop's thread.
template <class T, class... Args>
LoopActorPtr<T> make_loop_actor(const std::shared_ptr<LoopUnit>& unit, Args&&... args) {
  caf::actor_config config{unit.get()};
  caf::actor_system& system = unit->system();
  return LoopActorPtr<T>{caf::make_actor<T, caf::strong_actor_ptr>(
      system.next_actor_id(), system.node(), &system, config, unit, std::forward<Args>(args)...)};
}

using InitialBehavior = std::function<caf::behavior(caf::event_based_actor*)>;

/// An actor pinned to `unit`. An exception that it throws ends it with caf::sec::runtime_error and what it says.
caf::strong_actor_ptr spawn_handler(const std::shared_ptr<LoopUnit>& unit, InitialBehavior behavior);
/// The same on the workers of its system; where memory lacks, `unit` does later what is to be done.
caf::strong_actor_ptr spawn_pool_handler(const std::shared_ptr<LoopUnit>& unit, InitialBehavior behavior);

/// What an exception says.
std::string describe(const std::exception_ptr& exception);
/// The same as the error that CAF has for an exception.
caf::error to_error(const std::exception_ptr& exception);

template <class... Ts>
void Reply::deliver(LoopActor& self, Ts&&... values) {
  if (requester_ == nullptr)
    return;
  const ReserveUse use;
  // A composed actor: the next of the chain gets our reply as its request. An error goes to the requester at
  // once: to an actor in between it would be no request, but a reason to end.
  constexpr bool is_error = (std::is_same_v<std::decay_t<Ts>, caf::error> || ...);
  caf::strong_actor_ptr next;
  // The requester stays here until the message is made: without memory for it give_up() tries once more.
  caf::mailbox_element_ptr message;
  if (!is_error && !stages_.empty()) {
    next = std::move(stages_.back());
    stages_.pop_back();
    message = caf::make_mailbox_element(requester_, id_, std::move(stages_),
                                        caf::make_message(std::forward<Ts>(values)...));
  } else if (id_.is_request()) {
    if constexpr (sizeof...(Ts) == 0)
      message = caf::make_mailbox_element(self.strong_ref(), id_.response_id(), {}, caf::message{});
    else
      message =
          caf::make_mailbox_element(self.strong_ref(), id_.response_id(), {}, std::forward<Ts>(values)...);
  }
  const caf::strong_actor_ptr requester = std::move(requester_);
  requester_ = nullptr;
  if (message == nullptr)
    return;
  try {
    (next != nullptr ? next : requester)->enqueue(std::move(message), nullptr);
  } catch (const std::bad_alloc&) { // it did not come there
    requester_ = requester;
    throw;
  }
}

} // namespace squall
