// SPDX-License-Identifier: BSD-3-Clause
//
// event_loop.cpp: the loop over epoll(7) and eventfd(2).
#include "net/descriptor.hpp"
#include "net/tell.hpp"
#include "net/timer_queue.hpp"
#include "net/unended.hpp"
#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

class SteadyClock : public Clock {
  TimePoint now() const override { return std::chrono::steady_clock::now(); }
};

const SteadyClock steady_clock;

thread_local EventLoop* current_loop = nullptr;
std::atomic<std::size_t> loop_count{0};

/// Between two looks whether there is memory again for what needs some.
constexpr std::chrono::milliseconds retry_time{10};

/// Makes the loop the thread's current one while it lives, and `reserve` the thread's.
class CurrentLoop {
public:
  CurrentLoop(EventLoop* loop, MemoryReserve& reserve) noexcept
      : previous_{std::exchange(current_loop, loop)}, previous_reserve_{
                                                          MemoryReserve::set_current(&reserve)} {}
  CurrentLoop(const CurrentLoop&) = delete;
  CurrentLoop& operator=(const CurrentLoop&) = delete;
  ~CurrentLoop() {
    current_loop = previous_;
    MemoryReserve::set_current(previous_reserve_);
  }

private:
  EventLoop* previous_;
  MemoryReserve* previous_reserve_;
};

Socket checked(int made, const char* call) {
  const int fd = above_standard(made);
  if (fd < 0)
    throw std::system_error{errno, std::generic_category(), call};
  return Socket{fd};
}

/// epoll_wait's timeout: rounded up, so that a timer is never early.
int to_timeout(Duration wait) {
  const auto longest = std::chrono::hours{1};
  if (wait <= Duration::zero())
    return 0;
  return static_cast<int>(
      std::chrono::ceil<std::chrono::milliseconds>(std::min<Duration>(wait, longest)).count());
}

/// The loop is in a turn, and does not wait, while it lives.
class InTurn {
public:
  explicit InTurn(unended::LoopPlace& place) noexcept : place_{place} { place_.set_busy(true); }
  InTurn(const InTurn&) = delete;
  InTurn& operator=(const InTurn&) = delete;
  ~InTurn() { place_.set_busy(false); }

private:
  unended::LoopPlace& place_;
};

Readiness to_readiness(std::uint32_t events) {
  return {.readable = (events & EPOLLIN) != 0,
          .writable = (events & EPOLLOUT) != 0,
          .hang_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0,
          .broken = (events & EPOLLERR) != 0,
          .urgent = (events & EPOLLPRI) != 0};
}

} // namespace

struct EventLoop::Impl {
  explicit Impl(const Clock* given)
      : clock{given != nullptr ? given : &steady_clock}, epoll{checked(epoll_create1(EPOLL_CLOEXEC),
                                                                       "epoll_create1")},
        wake_event{checked(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd")} {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.ptr = nullptr; // the wake-up event: no watcher
    if (epoll_ctl(epoll.fd(), EPOLL_CTL_ADD, wake_event.fd(), &event) != 0)
      throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
  }

  void wait(int timeout) {
    looked = next_ready == ready_count;
    if (!looked)
      return; // an exception left the last turn: edge-triggered events are told once only, so these come
              // first
    next_ready = ready_count = 0;
    const int count = epoll_wait(epoll.fd(), ready.data(), static_cast<int>(ready.size()), timeout);
    if (count < 0 && errno != EINTR)
      wait_without_epoll(timeout);
    ready_count = static_cast<std::size_t>(std::max(count, 0));
    woken.exchange(false,
                   std::memory_order_acq_rel); // not a store: what was posted before the wake-up is seen now
  }

  /// epoll_wait(2) fails for good only where somebody has closed the descriptor of it, or taken its number. No descriptor is
  /// heard of any more, but functions are run, timers too, and the loop can be stopped; and it does not spin.
  void wait_without_epoll(int timeout) {
    tell(LogLevel::error, "loop_failed",
         "a loop hears of its descriptors no more; has somebody closed its own?", [error = errno] {
           return LogFields{{"error", "epoll_wait: " + std::generic_category().message(error)}};
         });
    constexpr int longest = 10; // milliseconds; the wake-up is not heard of either
    poll(nullptr, 0, std::min(timeout, longest));
  }

  void dispatch() {
    while (next_ready < ready_count) {
      const epoll_event& event = ready[next_ready++];
      if (event.data.ptr != nullptr)
        static_cast<Watcher*>(event.data.ptr)->on_ready(to_readiness(event.events));
    }
  }

  /// The time whose due timers this turn runs, if it runs any. All that was ready at that time is dispatched
  /// by then: where one look may not have found everything, further turns look before. Descriptors are told in
  /// the order in which they became ready (epoll(7)), so that each is met in as many turns as it takes to tell
  /// of all: a flood puts no timer off for longer.
  std::optional<TimePoint> time_to_run(TimePoint began) {
    const bool due = timers.due(began);
    const bool found_all = looked && ready_count < ready.size();
    if (due && !due_at)
      due_at = began;
    if (due && !found_all && turns_put_off < watched / ready.size() + 1) {
      ++turns_put_off;
      return std::nullopt;
    }
    turns_put_off = 0;
    const auto put_off_since = std::exchange(due_at, std::nullopt);
    return found_all && due ? began : put_off_since;
  }

  void drop_posted() {
    std::vector<std::function<void()>> dropped;
    const std::lock_guard lock{posted_mutex};
    dropped.swap(posted);
    while (posted_tasks.pop_front() != nullptr) {
    }
  }

  void run_posted() {
    if (!posted_pending.exchange(false, std::memory_order_acq_rel))
      return;
    {
      const std::lock_guard lock{posted_mutex};
      running_tasks.append(posted_tasks);
      if (running.empty())
        running.swap(posted);
      else if (!posted.empty()) // they wait behind what an exception has left
        posted_pending.store(true, std::memory_order_release);
    }
    // An exception leaves run(); what is behind it runs in the next turn, in front of later ones.
    struct Rest {
      Impl& impl;
      std::size_t done = 0;
      ~Rest() {
        impl.running.erase(impl.running.begin(), impl.running.begin() + static_cast<std::ptrdiff_t>(done));
        if (!impl.running.empty() || !impl.running_tasks.empty())
          impl.posted_pending.store(true, std::memory_order_release);
      }
    } rest{*this};
    while (rest.done < running.size())
      running[rest.done++]();
    while (LoopTask* task = running_tasks.pop_front())
      task->run_task();
  }

  const Clock* clock;
  MemoryReserve reserve;
  Socket epoll;
  Socket wake_event;
  TimerQueue timers;
  IntrusiveList<Watcher> watchers;

  std::array<epoll_event, 256> ready{};
  std::size_t ready_count = 0;
  std::size_t next_ready = 0;
  std::size_t watched = 0;         ///< how many descriptors may be ready
  bool looked = false;             ///< this turn asked the system what is ready
  std::optional<TimePoint> due_at; ///< the begin of the first turn that put off its timers
  std::size_t turns_put_off = 0;   ///< turns that did so since then

  std::mutex posted_mutex;
  std::vector<std::function<void()>> posted; ///< guarded by posted_mutex
  IntrusiveList<LoopTask> posted_tasks;      ///< guarded by posted_mutex
  std::vector<std::function<void()>> running;
  IntrusiveList<LoopTask> running_tasks;
  std::atomic<bool> posted_pending{false};
  std::atomic<bool> woken{false}; ///< the wake-up event is set and not yet seen
  std::atomic<bool> stopping{false};
  unended::LoopPlace place;
};

EventLoop::EventLoop(const Clock* clock) : impl_{std::make_unique<Impl>(clock)} {
  loop_count.fetch_add(1, std::memory_order_relaxed);
}

EventLoop::~EventLoop() {
  end();
  // A function that is dropped takes what it holds with it, whose end may put something off again.
  const CurrentLoop guard{this, impl_->reserve};
  impl_->drop_posted();
  end();
  loop_count.fetch_sub(1, std::memory_order_relaxed);
}

void EventLoop::end() noexcept {
  const CurrentLoop guard{this, impl_->reserve};
  // What ends may put something off until later, which has no later, or begin something new, which ends, too.
  // A task that queues itself for ever is left.
  constexpr int most_rounds = 16;
  for (int round = 0; round < most_rounds; ++round) {
    while (Watcher* watcher = impl_->watchers.pop_front())
      watcher->on_loop_end();
    deferred_.append(retries_);
    run_last(deferred_);
  }
}

/// Runs the tasks of an ending loop, whose exceptions have nowhere to go.
void EventLoop::run_last(IntrusiveList<LoopTask>& list) noexcept {
  IntrusiveList<LoopTask> tasks;
  tasks.append(list);
  while (LoopTask* task = tasks.pop_front()) {
    try {
      task->run_task();
    } catch (const std::exception& error) {
      tell(LogLevel::error, "callback_failed", "a callback threw while its event loop ended", [&] {
        return LogFields{{"error", error.what()}};
      });
    } catch (...) {
      log_event(LogLevel::error, "callback_failed", "a callback threw while its event loop ended");
    }
  }
}

void EventLoop::run() {
  while (!impl_->stopping.load(std::memory_order_acquire))
    run_once(std::chrono::hours{1});
  impl_->stopping.store(false, std::memory_order_release);
}

void EventLoop::run_once(Duration max_wait) {
  Impl& impl = *impl_;
  const CurrentLoop guard{this, impl.reserve};
  impl.reserve.refill();
  const bool idle =
      deferred_.empty() && end_of_turn_.empty() && !impl.posted_pending.load(std::memory_order_acquire);
  std::optional<TimePoint> began;
  if (!impl.timers.empty())
    began = impl.clock->now();
  if (idle && began)
    max_wait = impl.timers.wait_time(*began, max_wait);
  if (!retries_.empty())
    max_wait = std::min<Duration>(max_wait, retry_time);
  ++turn_;
  impl.wait(idle ? to_timeout(max_wait) : 0);
  const InTurn turn{impl.place};
  impl.dispatch();
  impl.run_posted();
  if (const auto time = began ? impl.time_to_run(*began) : std::nullopt) {
    run_tasks(deferred_); // what waits for its turn there, such as a stream beyond its share
    impl.timers.run_due(*time);
  }
  deferred_.append(retries_);
  run_tasks(deferred_);
  run_tasks(end_of_turn_);
}

void EventLoop::run_tasks(IntrusiveList<LoopTask>& list) {
  // What is queued meanwhile waits for its next turn. After an exception the rest stays queued.
  struct Rest {
    IntrusiveList<LoopTask>& list;
    IntrusiveList<LoopTask> tasks;
    ~Rest() {
      tasks.append(list);
      list.append(tasks);
    }
  } rest{list, {}};
  rest.tasks.append(list);
  while (LoopTask* task = rest.tasks.pop_front())
    task->run_task();
}

void EventLoop::stop() noexcept {
  impl_->stopping.store(true, std::memory_order_release);
  wake_up();
}

void EventLoop::post(std::function<void()> function) {
  {
    const ReserveUse use; // an answer, or an end, may be behind it
    const std::lock_guard lock{impl_->posted_mutex};
    impl_->posted.push_back(std::move(function));
  }
  impl_->posted_pending.store(true, std::memory_order_release);
  if (!in_loop())
    wake_up();
}

void EventLoop::post_task(LoopTask& task) noexcept {
  {
    const std::lock_guard lock{impl_->posted_mutex};
    impl_->posted_tasks.push_back_if_unlinked(task);
  }
  impl_->posted_pending.store(true, std::memory_order_release);
  if (!in_loop())
    wake_up();
}

void EventLoop::run_posted() {
  const CurrentLoop guard{this, impl_->reserve};
  impl_->run_posted();
}

void EventLoop::wake_up() noexcept {
  if (impl_->woken.exchange(true, std::memory_order_acq_rel))
    return;
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) wakes as well; there is nothing else that an eventfd can refuse.
  [[maybe_unused]] const auto written = ::write(impl_->wake_event.fd(), &one, sizeof one);
}

void EventLoop::watch(int fd, Watcher& watcher) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
  event.data.ptr = &watcher;
  if (epoll_ctl(impl_->epoll.fd(), EPOLL_CTL_ADD, fd, &event) != 0)
    throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
  ++impl_->watched;
  watch_end(watcher);
}

void EventLoop::watch_end(Watcher& watcher) noexcept { impl_->watchers.push_back_if_unlinked(watcher); }

void EventLoop::unwatch(int fd, Watcher& watcher) noexcept {
  if (epoll_ctl(impl_->epoll.fd(), EPOLL_CTL_DEL, fd, nullptr) == 0)
    --impl_->watched;
  watcher.unlink();
  for (std::size_t i = impl_->next_ready; i < impl_->ready_count; ++i)
    if (impl_->ready[i].data.ptr == &watcher)
      impl_->ready[i].data.ptr = nullptr;
}

TimePoint EventLoop::now() const { return impl_->clock->now(); }

EventLoop* EventLoop::current() noexcept { return current_loop; }

std::size_t EventLoop::count() noexcept { return loop_count.load(std::memory_order_relaxed); }

void Timer::start(EventLoop& loop, TimePoint when) noexcept {
  cancel();
  loop.impl_->timers.add(loop, *this, when);
}

void Timer::start_after(EventLoop& loop, Duration delay) noexcept { start(loop, loop.now() + delay); }

void Timer::cancel() noexcept {
  if (loop_ != nullptr)
    loop_->impl_->timers.remove(*this);
}

} // namespace squall
