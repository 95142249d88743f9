// SPDX-License-Identifier: BSD-3-Clause
//
// task.hpp: coroutines that await streams, timers and each other.
//
// A Task begins when it is awaited (or started as a RunningTask) and runs on the thread of its context's
// loop. Exceptions pass from a task to whoever awaits it.
//
// Threads    A task, and everything it awaits, belongs to one loop's thread.
// Ownership  A Task owns its coroutine. Destroying one that waits destroys its frame: reads are cancelled
//            without losing a byte, timers disarmed, objects on its stack destroyed, and nothing of it runs
//            any more.
// Lifetime   A lambda that is a coroutine must outlive its task, with its captures; parameters are copied to
//            the frame, references are not.
#pragma once

#include <squall/net/event_loop.hpp>

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>
#include <variant>

namespace squall {

/// Where a task runs; inherited by the tasks that it awaits.
class TaskContext {
public:
  explicit TaskContext(EventLoop& loop) noexcept : loop_{loop} {}
  TaskContext(const TaskContext&) = delete;
  TaskContext& operator=(const TaskContext&) = delete;
  virtual ~TaskContext() = default;
  [[nodiscard]] EventLoop& loop() const noexcept { return loop_; }

private:
  EventLoop& loop_;
};

template <class T = void>
class Task;

namespace detail {

/// What the promises of all tasks share.
class TaskPromiseBase {
public:
  TaskPromiseBase() = default;
  TaskPromiseBase(const TaskPromiseBase&) = delete;
  TaskPromiseBase& operator=(const TaskPromiseBase&) = delete;

  [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }

  /// Goes on with who awaits the task, or tells its RunningTask.
  struct FinalAwaiter {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> task) const noexcept {
      TaskPromiseBase& promise = task.promise();
      if (promise.start_ != nullptr) {
        std::exchange(promise.start_, nullptr)->done = true;
        return std::noop_coroutine(); // back into start_in, which goes on with the waiter
      }
      if (promise.continuation_)
        return promise.continuation_;
      if (promise.on_done_ != nullptr)
        promise.on_done_(promise.on_done_argument_);
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  [[nodiscard]] FinalAwaiter final_suspend() const noexcept { return {}; }

  [[nodiscard]] TaskContext& context() const noexcept { return *context_; }

  void set_context(TaskContext& context) noexcept { context_ = &context; }

  /// Runs `task`, which has this promise, to its first wait or to its end; true when it is done. Otherwise
  /// `continuation` is resumed at its end. Not a symmetric transfer, which without optimization (g++) needs
  /// the stack: a coroutine may await any number of tasks in a row that are done at once.
  bool start_in(TaskContext& context, std::coroutine_handle<> task, std::coroutine_handle<> continuation) {
    set_context(context);
    continuation_ = continuation;
    Start start;
    start_ = &start;
    task.resume();
    if (!start.done && !start.destroyed)
      start_ = nullptr;
    return start.done;
  }
  void call_when_done(void (*function)(void*), void* argument) noexcept {
    on_done_ = function;
    on_done_argument_ = argument;
  }

protected:
  ~TaskPromiseBase() {
    if (start_ != nullptr)
      start_->destroyed = true;
  }

private:
  /// What happened to the task while start_in ran it.
  struct Start {
    bool done = false;
    bool destroyed = false;
  };

  TaskContext* context_ = nullptr;
  std::coroutine_handle<> continuation_;
  Start* start_ = nullptr; ///< while start_in runs the task
  void (*on_done_)(void*) = nullptr;
  void* on_done_argument_ = nullptr;
};

template <class T>
class TaskPromise : public TaskPromiseBase {
public:
  Task<T> get_return_object() noexcept;
  template <class U>
  void return_value(U&& value) {
    outcome_.template emplace<1>(std::forward<U>(value));
  }
  void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }
  T take() {
    if (outcome_.index() == 2)
      std::rethrow_exception(std::get<2>(outcome_));
    return std::move(std::get<1>(outcome_));
  }

private:
  std::variant<std::monostate, T, std::exception_ptr> outcome_;
};

template <>
class TaskPromise<void> : public TaskPromiseBase {
public:
  Task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
  void take() {
    if (exception_)
      std::rethrow_exception(exception_);
  }
  [[nodiscard]] std::exception_ptr exception() const noexcept { return exception_; }

private:
  std::exception_ptr exception_;
};

} // namespace detail

/// A coroutine that returns T (co_return) or throws.
template <class T>
class [[nodiscard]] Task {
public:
  using promise_type = detail::TaskPromise<T>;

  Task(Task&& other) noexcept : coroutine_{std::exchange(other.coroutine_, nullptr)} {}
  Task& operator=(Task&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~Task() {
    if (coroutine_)
      coroutine_.destroy();
  }

  /// Runs the task and hands on its outcome.
  class Awaiter {
  public:
    explicit Awaiter(std::coroutine_handle<promise_type> task) noexcept : task_{task} {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> waiter) const {
      return !task_.promise().start_in(waiter.promise().context(), task_, waiter);
    }
    T await_resume() const { return task_.promise().take(); }

  private:
    std::coroutine_handle<promise_type> task_;
  };

  /// co_await runs the task and returns what it returns, or throws what it throws; once.
  Awaiter operator co_await() && noexcept { return Awaiter{coroutine_}; }

private:
  friend promise_type;
  friend class RunningTask;
  explicit Task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_{coroutine} {}

  std::coroutine_handle<promise_type> coroutine_;
};

namespace detail {

template <class T>
Task<T> TaskPromise<T>::get_return_object() noexcept {
  return Task<T>{std::coroutine_handle<TaskPromise>::from_promise(*this)};
}

inline Task<void> TaskPromise<void>::get_return_object() noexcept {
  return Task<void>{std::coroutine_handle<TaskPromise>::from_promise(*this)};
}

} // namespace detail

/// A task that nobody awaits: it is started here, and tells its end to a function.
class RunningTask {
public:
  /// `on_end` gets the exception that left the task, or nullptr. It may destroy the RunningTask.
  using OnEnd = std::function<void(std::exception_ptr)>;

  RunningTask(Task<void> task, OnEnd on_end) noexcept : task_{std::move(task)}, on_end_{std::move(on_end)} {}
  RunningTask(const RunningTask&) = delete;
  RunningTask& operator=(const RunningTask&) = delete;

  /// Runs the task to its first wait, or to its end: then `on_end` runs inside. Once. `context` must outlive
  /// this.
  void start(TaskContext& context) {
    auto& promise = task_.coroutine_.promise();
    promise.set_context(context);
    promise.call_when_done(&RunningTask::done, this);
    task_.coroutine_.resume();
  }

private:
  static void done(void* self) {
    auto* me = static_cast<RunningTask*>(self);
    // The callback leaves this object first, since it may destroy it.
    const OnEnd on_end = std::move(me->on_end_);
    on_end(me->task_.coroutine_.promise().exception());
  }

  Task<void> task_;
  OnEnd on_end_;
};

/// co_await sleep_for(delay) goes on after `delay` on the loop's clock; see Timer for the granularity.
class [[nodiscard]] SleepAwaitable {
public:
  explicit SleepAwaitable(Duration delay) noexcept : delay_{delay} {}
  SleepAwaitable(const SleepAwaitable&) = delete;
  SleepAwaitable& operator=(const SleepAwaitable&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    timer_.emplace([waiter] { std::coroutine_handle<>{waiter}.resume(); });
    timer_->start_after(waiter.promise().context().loop(), delay_);
  }
  void await_resume() const noexcept {}

private:
  Duration delay_;
  std::optional<Timer> timer_;
};

/// Waits; 0 and less wait for the next turn. Cancelled when the task is destroyed.
inline SleepAwaitable sleep_for(Duration delay) noexcept { return SleepAwaitable{delay}; }

} // namespace squall
