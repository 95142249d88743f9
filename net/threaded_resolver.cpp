// SPDX-License-Identifier: BSD-3-Clause
//
// threaded_resolver.cpp: lookups that wait for the system, on threads of their own.
#include "net/signals_blocked.hpp"
#include "net/socket_api.hpp"
#include "net/unended.hpp"
#include <squall/net/resolver.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

StreamError failed(std::error_code error) { return {StreamErrc::lookup_failed, CloseReason::none, error}; }

} // namespace

/// Shared by the resolver and its threads, so that one that outlives the resolver finds it.
struct ThreadedResolver::Pool : std::enable_shared_from_this<Pool> {
  struct Job {
    Resolve request;
    LookupAnswer answer;
  };
  struct Worker {
    std::thread thread;
    bool inside = false; ///< a lookup
  };

  Pool(const ThreadedResolverOptions& given, Function function)
      : options{given}, look_up{std::move(function)} {}

  void add(Job job);
  void run(Worker& worker);
  void end() noexcept;
  /// This process is a child that was forked when there were workers: it has none of them, but perhaps their lock.
  [[nodiscard]] bool is_forked() const noexcept {
    const pid_t owner = process.load();
    return owner != 0 && owner != ::getpid();
  }

  const ThreadedResolverOptions options;
  const Function look_up;
  std::mutex mutex; // of all below
  std::condition_variable wake;
  std::deque<Job> waiting;
  std::deque<Worker> workers; ///< whose addresses stay
  std::size_t idle_count = 0;
  bool ending = false;
  std::atomic<pid_t> process{0}; ///< that has the workers; 0: there are none
};

void ThreadedResolver::Pool::add(Job job) {
  if (is_forked()) {
    job.answer(failed(LookupErrc::dropped));
    return;
  }
  std::vector<Job> forgotten; // their ends call back, and must not hold the lock
  std::unique_lock lock{mutex};
  if (waiting.size() >= options.max_waiting) {
    const auto rest = std::stable_partition(waiting.begin(), waiting.end(),
                                            [](const Job& other) { return other.answer.wanted(); });
    std::move(rest, waiting.end(), std::back_inserter(forgotten));
    waiting.erase(rest, waiting.end());
  }
  if (waiting.size() >= options.max_waiting) {
    lock.unlock();
    job.answer(failed(LookupErrc::busy));
    return;
  }
  waiting.push_back(std::move(job));
  if (waiting.size() <= idle_count || workers.size() == options.max_threads) {
    wake.notify_one();
    return;
  }
  Worker& worker = workers.emplace_back();
  try {
    const SignalsBlocked guard;
    worker.thread = std::thread{[pool = shared_from_this(), &worker] { pool->run(worker); }};
    process = ::getpid();
  } catch (const std::system_error& refused) {
    workers.pop_back();
    if (!workers.empty())
      return; // those that there are will come to it
    job = std::move(waiting.back());
    waiting.pop_back();
    lock.unlock();
    job.answer(failed(refused.code()));
  }
}

void ThreadedResolver::Pool::run(Worker& worker) {
  std::unique_lock lock{mutex};
  for (;;) {
    ++idle_count;
    wake.wait(lock, [this] { return ending || !waiting.empty(); });
    --idle_count;
    if (ending)
      return;
    worker.inside = true;
    {
      const Job job = std::move(waiting.front());
      waiting.pop_front();
      lock.unlock();
      const unended::Counted counted{unended::lookups};
      try {
        if (job.answer.wanted())
          job.answer(look_up(job.request));
      } catch (...) { // the end of the job answers
      }
    }
    lock.lock();
    worker.inside = false;
  }
}

void ThreadedResolver::Pool::end() noexcept {
  std::deque<Job> dropped;
  // Handles of threads that are not here may be those of new ones: nothing is detached or joined. What these threads
  // held is never freed, so the pool stays, and no handle is destroyed.
  if (is_forked())
    return;
  {
    const std::lock_guard lock{mutex};
    ending = true;
    dropped.swap(waiting);
    for (Worker& worker : workers)
      if (worker.inside)
        worker.thread.detach();
  }
  wake.notify_all();
  for (Worker& worker : workers)
    if (worker.thread.joinable())
      worker.thread.join();
}

ThreadedResolver::ThreadedResolver(const ThreadedResolverOptions& options, Function look_up) {
  if (options.max_threads < 1 || options.max_threads > 256)
    throw std::invalid_argument{"max_threads of a resolver is " + std::to_string(options.max_threads) +
                                ": 1 to 256 are allowed"};
  if (options.max_waiting < 1)
    throw std::invalid_argument{"max_waiting of a resolver is 0: at least 1 is needed"};
  pool_ = std::make_shared<Pool>(options, look_up ? std::move(look_up) : Function{system_lookup});
}

ThreadedResolver::~ThreadedResolver() { pool_->end(); }

void ThreadedResolver::lookup(Resolve request, LookupAnswer answer) {
  if (is_valid_ip(request.host))
    return answer(system_lookup(request));
  pool_->add({std::move(request), std::move(answer)});
}

Result<Addresses> system_lookup(const Resolve& request) {
  if (const auto wrong = check_host(request.host))
    return StreamError{StreamErrc::invalid_argument, CloseReason::none, *wrong};
  Addresses found;
  const std::error_code error = socket_api::look_up(request.host, request.port, request.family, found);
  if (error)
    return failed(error);
  return found;
}

std::shared_ptr<Resolver> default_resolver() {
  static std::mutex mutex;
  static std::shared_ptr<Resolver> resolver;
  static pid_t process = 0;
  const std::lock_guard lock{mutex};
  if (resolver == nullptr || process != ::getpid()) {
    process = ::getpid();
    resolver = std::make_shared<ThreadedResolver>();
  }
  return resolver;
}

} // namespace squall
