// SPDX-License-Identifier: BSD-3-Clause
//
// event_loop.hpp: one thread's loop over descriptors, timers and posted functions.
//
// A turn waits until a descriptor is ready, a function is posted or a timer is due, and not at all where something is
// queued from the turn before. Then it runs, in this order: ready descriptors; functions posted until then; where
// timers are due, the tasks deferred until then and these timers; the tasks deferred until then; and the end-of-turn
// phase, in which streams send what the turn wrote. Each phase takes what was there when it began, so that no source
// can starve another.
//
// A timer is due in the first turn that begins at its time or later, and comes behind all that was ready when
// that turn began, also behind the tasks deferred until then: however late the thread is, what came before a
// timeout is seen before it.
//
// Threads    post(), stop() and wake_up() may be called from any thread; everything else belongs to the
//            thread that runs the loop (or, before it runs, to the thread that made it).
// Ownership  The loop owns none of the watchers, timers and tasks; each takes itself out of the loop when it
//            goes.
// Lifetime   A loop must outlive what is registered with it. On its end it tells every watcher
//            (Watcher::on_loop_end), drops functions that did not run, and runs deferred tasks a last time.
// Errors     An exception that leaves a callback leaves run() or run_once(). What it kept from running runs
//            in the next turn. On the loop's end it is logged.
// Units      Times are points and durations of std::chrono::steady_clock; see Duration.
#pragma once

#include <squall/net/duration.hpp>
#include <squall/net/intrusive_list.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

namespace squall {

class EventLoop;

/// Where a loop gets the time from.
class Clock {
public:
  virtual ~Clock() = default;
  /// Monotonic. Called by the loop's thread.
  [[nodiscard]] virtual TimePoint now() const = 0;
};

/// What happened to a descriptor, as flags.
struct Readiness {
  bool readable = false;
  bool writable = false;
  bool hang_up = false; ///< the peer ended its side, or the descriptor broke: a read will tell which
  bool broken = false;  ///< the connection failed: no byte will pass any more in either direction (EPOLLERR)
  bool urgent = false; ///< urgent data lies between the bytes, at which a read stops short (EPOLLPRI, tcp(7))
};

/// Hears of a descriptor's readiness. Edge-triggered (epoll(7)): a watcher that is told "readable" must read
/// until nothing is left, or remember that it did not.
class Watcher : public IntrusiveNode<Watcher> {
public:
  virtual void on_ready(Readiness readiness) = 0;
  /// The loop ends; the watcher is out of it already.
  virtual void on_loop_end() noexcept {}

protected:
  ~Watcher() = default;
};

/// Something to run in a later phase of the loop; see EventLoop::defer and at_end_of_turn. Takes itself out
/// when it goes.
class LoopTask : public IntrusiveNode<LoopTask> {
public:
  virtual void run_task() = 0;

protected:
  ~LoopTask() = default;
};

/// Calls a function once, at a time.
class Timer : private IntrusiveNode<Timer> {
public:
  explicit Timer(std::function<void()> callback) : callback_{std::move(callback)} {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { cancel(); }

  /// Arms the timer, or moves it. A time in the past is due in the next turn. Timers of the same time run in
  /// the order of arming. Granularity: one millisecond, never early.
  void start(EventLoop& loop, TimePoint when) noexcept;
  void start_after(EventLoop& loop, Duration delay) noexcept;
  /// Does nothing when it is not armed.
  void cancel() noexcept;
  [[nodiscard]] bool armed() const noexcept { return loop_ != nullptr; }
  /// What it was armed for last.
  [[nodiscard]] TimePoint when() const noexcept { return when_; }

private:
  friend class TimerQueue;
  friend class IntrusiveList<Timer>;
  friend class IntrusiveNode<Timer>;
  std::function<void()> callback_;
  EventLoop* loop_ = nullptr;
  TimePoint when_{};
  std::uint64_t sequence_ = 0; ///< of arming
  std::size_t index_ = 0;      ///< its place in the queue, while it is in no list of it
};

class EventLoop {
public:
  /// @throws std::system_error when the system refuses the descriptors (epoll_create1, eventfd)
  explicit EventLoop(const Clock* clock = nullptr); ///< nullptr: the system's steady clock
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  /// Runs turns until stop(). An exception that leaves a callback leaves run(); the loop may be run again.
  void run();

  /// One turn. Waits for something to do, at most `max_wait`.
  void run_once(Duration max_wait = Duration::zero());

  /// Makes run() return after the turn that is under way; it may be called before run().
  void stop() noexcept;

  /// Runs `function` in a coming turn, in the order of posting. @throws std::bad_alloc
  void post(std::function<void()> function);

  /// Runs `task` once in a coming turn, without memory. Called by any thread; the task is not queued anywhere, and lives
  /// until it has run.
  void post_task(LoopTask& task) noexcept;

  /// Runs what was posted until now, and nothing else: for a loop that no thread runs any more.
  void run_posted();

  /// Tells every watcher that the loop ends, and runs what that defers: for a loop that no thread will run
  /// any more. The destructor does it, too.
  void end() noexcept;

  /// Makes a waiting loop begin a turn.
  void wake_up() noexcept;

  /// Tells `watcher` of `fd`'s readiness until unwatch(); readiness that is there already is told, too.
  /// @throws std::system_error (epoll_ctl)
  void watch(int fd, Watcher& watcher);
  /// Stops telling, at once: what the turn already collected is dropped. Call it before the descriptor is
  /// closed.
  void unwatch(int fd, Watcher& watcher) noexcept;
  /// Tells `watcher` of the loop's end, until it unlinks itself; for those that watch no descriptor. watch()
  /// does so, too.
  void watch_end(Watcher& watcher) noexcept;

  /// Runs `task` once in the deferred phase: of this turn, if that is still to come, else of the next, which
  /// then begins without waiting. A task that is queued already stays where it is.
  void defer(LoopTask& task) noexcept { deferred_.push_back_if_unlinked(task); }
  /// Runs `task` once at the end of this turn, after all else. A task that is queued already stays where it
  /// is.
  void at_end_of_turn(LoopTask& task) noexcept { end_of_turn_.push_back_if_unlinked(task); }

  /// Runs `task` once in a coming turn, which begins after ten milliseconds at the latest: for what lacked memory, and
  /// must be done. A task that is queued already stays where it is.
  void retry(LoopTask& task) noexcept { retries_.push_back_if_unlinked(task); }

  /// The clock's time.
  [[nodiscard]] TimePoint now() const;

  /// The clock's time when something first asked for it in this turn: cheaper than now(). On the loop's thread.
  [[nodiscard]] TimePoint turn_time() const {
    if (turn_time_of_ != turn_) {
      turn_time_ = now();
      turn_time_of_ = turn_;
    }
    return turn_time_;
  }

  /// Counts turns; for budgets that renew themselves with each.
  [[nodiscard]] std::uint64_t turn() const noexcept { return turn_; }

  /// The calling thread is the one that runs this loop.
  [[nodiscard]] bool in_loop() const noexcept { return current() == this; }
  /// The loop that the calling thread runs, or nullptr.
  [[nodiscard]] static EventLoop* current() noexcept;
  /// How many loops the process has. May be called by any thread.
  [[nodiscard]] static std::size_t count() noexcept;

private:
  friend class Timer;
  struct Impl;
  static void run_tasks(IntrusiveList<LoopTask>& list);
  static void run_last(IntrusiveList<LoopTask>& list) noexcept;

  std::unique_ptr<Impl> impl_;
  IntrusiveList<LoopTask> deferred_;
  IntrusiveList<LoopTask> end_of_turn_;
  IntrusiveList<LoopTask> retries_;
  std::uint64_t turn_ = 1;
  mutable std::uint64_t turn_time_of_ = 0; ///< the turn of turn_time_
  mutable TimePoint turn_time_{};
};

} // namespace squall
