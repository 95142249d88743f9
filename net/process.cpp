// SPDX-License-Identifier: BSD-3-Clause
//
// process.cpp: the parent of forked children.
//
// The parent waits with sigtimedwait(2) for SIGCHLD and the signals that it hands on, which are blocked meanwhile: no handler,
// no race, and no descriptor of its own that a child would have to close.
#include "net/exit_status.hpp"
#include "net/listening_sockets.hpp"
#include "net/parent_process.hpp"
#include "net/restart_limit.hpp"
#include "net/tell.hpp"
#include <squall/net/event_loop.hpp>
#include <squall/net/log.hpp>
#include <squall/net/process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <iostream>
#include <new>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

using std::chrono::steady_clock;

/// How long children have before SIGKILL when the parent gives up and they have not said how long they take.
constexpr std::chrono::seconds end_grace{10};
/// What they get beyond what they have said, to come to their own end and say why it took so long.
constexpr std::chrono::seconds kill_grace{1};
/// How often the parent looks itself whether a child has ended, when it waits for that: a SIGCHLD may be lost.
constexpr std::chrono::seconds look_interval{1};
constexpr std::array<int, 3> forwarded_signals{SIGTERM, SIGINT, SIGHUP};

int current_task_id = -1;
int current_process_count = 1;

/// In memory that all processes of a family share: how long the end of a child takes at most, in milliseconds; 0: it has not
/// said so.
using EndTime = std::atomic<std::int64_t>;
static_assert(EndTime::is_always_lock_free);
EndTime* current_end_time = nullptr;

/// The signals that were blocked when the program began, so by whoever started it and not by its own wish.
const sigset_t blocked_at_start = [] {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return set;
}();

/// 0 where that cannot be told: /proc is not mounted.
int count_threads() {
  DIR* const folder = opendir("/proc/self/task");
  if (folder == nullptr)
    return 0;
  int count = 0;
  while (const dirent* entry = readdir(folder))
    count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(folder);
#if defined(__SANITIZE_THREAD__)
  --count; // ThreadSanitizer has one of its own, which it takes care of
#endif
  return count;
}

/// A thread that was joined may still be on its way out (the system wakes who joins it first): it gets a moment.
int count_lasting_threads() {
  constexpr int most_looks = 100;
  int count = count_threads();
  for (int look = 0; count > 1 && look < most_looks; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
    count = count_threads();
  }
  return count;
}

void check_that_forking_is_safe() {
  const std::string refused = "fork_processes must come first in a process: ";
  if (current_task_id >= 0)
    throw std::logic_error{refused + "this one is its child " + std::to_string(current_task_id) + " already"};
  if (EventLoop::count() > 0)
    throw std::logic_error{refused +
                           "an EventLoop exists, which its children would share; make it after the fork"};
  if (const int threads = count_lasting_threads(); threads > 1)
    throw std::logic_error{
        refused + std::to_string(threads) +
        " threads run, and only this one would be in the children; make the actor_system, the server "
        "that listens and every other thread after the fork"};
}

/// Blocks the signals that the parent waits for, until it goes. SIGTERM always ends a family: where it is ignored or was blocked
/// when the program began, it is neither any more.
class WaitedSignals {
public:
  WaitedSignals() {
    struct sigaction by_default {};
    by_default.sa_handler = SIG_DFL;
    sigemptyset(&set_);
    sigaddset(&set_, SIGCHLD);
    for (const int number : forwarded_signals) {
      const bool ignored = is_ignored(number);
      if (ignored && number == SIGTERM)
        sigaction(SIGTERM, &by_default, nullptr);
      if (!ignored || number == SIGTERM)
        sigaddset(&set_, number);
    }
    pthread_sigmask(SIG_BLOCK, &set_, &old_mask_);
    for (const int number : forwarded_signals)
      if (sigismember(&blocked_at_start, number) == 1)
        sigdelset(&old_mask_, number);
    sigaction(SIGCHLD, &by_default,
              &old_child_); // where it is ignored, nobody hears how a child ended (wait(2))
  }
  WaitedSignals(const WaitedSignals&) = delete;
  WaitedSignals& operator=(const WaitedSignals&) = delete;
  ~WaitedSignals() {
    sigaction(SIGCHLD, &old_child_, nullptr);
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
  }

  /// The next signal; 0 when `longest` is over first.
  [[nodiscard]] int wait(Duration longest) const {
    const auto whole = std::chrono::floor<std::chrono::seconds>(longest);
    timespec time{};
    time.tv_sec = whole.count();
    time.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(longest - whole).count();
    const int number = sigtimedwait(&set_, nullptr, &time);
    return number > 0 ? number : 0; // EAGAIN: the time is over; EINTR: some handler ran
  }

private:
  static bool is_ignored(int number) {
    struct sigaction action {};
    sigaction(number, nullptr, &action);
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_IGN;
  }

  sigset_t set_{};
  sigset_t old_mask_{};
  struct sigaction old_child_ {};
};

struct Child {
  explicit Child(int task, std::size_t max_restarts) : task_id{task}, restarts{max_restarts} {}

  int task_id;
  pid_t pid = 0;        ///< 0: none runs
  bool hung_up = false; ///< SIGHUP was sent to it
  bool killed = false;  ///< it did not end in time
  RestartLimit restarts;
  std::optional<TimePoint> start_at; ///< when the next is due
};

/// Returns in a child, with the signals as they were before; the caller has made it one.
void become_child(int id, int count, pid_t parent, EndTime& end_time) {
  current_task_id = id;
  current_process_count = count;
  current_end_time = &end_time;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) // which died before it could be told
    _exit(EXIT_FAILURE);
  unsigned seed = 0;
  if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
    seed = static_cast<unsigned>(std::time(nullptr)) ^ static_cast<unsigned>(getpid());
  std::srand(seed);
}

/// One for each child, for as long as one of the processes lives.
EndTime* share_end_times(int count) {
  const std::size_t size = sizeof(EndTime) * static_cast<std::size_t>(count);
  void* const memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw std::system_error{errno, std::generic_category(), "mmap"};
  return new (memory) EndTime[static_cast<std::size_t>(count)]{};
}

/// What the parent does.
class Family {
public:
  Family(int count, int max_restarts) : end_times_{share_end_times(count)} {
    for (int id = 0; id < count; ++id)
      children_.emplace_back(id, static_cast<std::size_t>(max_restarts));
  }

  /// True in a child. False in the parent, when the last child has ended.
  bool run() {
    for (Child& child : children_) {
      if (start(child))
        return true;
      if (child.pid == 0) {
        const std::system_error failure{errno, std::generic_category(), "fork"};
        end_all();
        throw failure;
      }
    }
    while (!done()) {
      handle(signals_.wait(time_to_next_step()));
      reap();
      kill_overdue();
      if (start_due())
        return true;
    }
    return false;
  }

  [[nodiscard]] int exit_status() const noexcept {
    return overdue_ ? status_ended_by_force : failed_ ? EXIT_FAILURE : EXIT_SUCCESS;
  }

private:
  /// True in the child. Without a pid of the child, fork(2) has failed with errno.
  bool start(Child& child) const {
    const pid_t parent = getpid();
    child.start_at.reset();
    child.hung_up = false;
    end_time(child) = 0;
    const pid_t pid = fork();
    if (pid == 0)
      become_child(child.task_id, static_cast<int>(children_.size()), parent, end_time(child));
    else if (pid > 0)
      child.pid = pid;
    return pid == 0;
  }

  bool start_due() {
    for (Child& child : children_) {
      if (!child.start_at || *child.start_at > steady_clock::now())
        continue;
      if (start(child))
        return true;
      if (child.pid == 0)
        restart(child, "fork: " + std::generic_category().message(errno));
    }
    return false;
  }

  [[nodiscard]] bool done() const noexcept {
    for (const Child& child : children_)
      if (child.pid != 0 || child.start_at)
        return false;
    return true;
  }

  [[nodiscard]] EndTime& end_time(const Child& child) const noexcept {
    return end_times_[static_cast<std::size_t>(child.task_id)];
  }

  /// None: it may run as long as it likes.
  [[nodiscard]] std::optional<TimePoint> kill_time(const Child& child) const {
    if (!ending_since_ || child.pid == 0 || child.killed)
      return std::nullopt;
    if (const std::chrono::milliseconds told{end_time(child).load()}; told.count() > 0)
      return *ending_since_ + told + kill_grace;
    return giving_up_ ? std::optional{*ending_since_ + end_grace} : std::nullopt;
  }

  [[nodiscard]] Duration time_to_next_step() const {
    Duration time = std::chrono::hours{1};
    const TimePoint now = steady_clock::now();
    for (const Child& child : children_) {
      if (ending_since_ && child.pid != 0)
        time = std::min<Duration>(time, look_interval);
      for (const auto& step : {child.start_at, kill_time(child)})
        if (step)
          time = std::min<Duration>(time, std::max<Duration>(Duration::zero(), *step - now));
    }
    return time;
  }

  void kill_overdue() {
    const TimePoint now = steady_clock::now();
    for (Child& child : children_) {
      const auto time = kill_time(child);
      if (!time || now < *time)
        continue;
      child.killed = overdue_ = true;
      kill(child.pid, SIGKILL); // not reaped yet, so the id is still that child's
      tell(LogLevel::error, "child_killed", "a child process did not end in time and was killed", [&] {
        return LogFields{{"task_id", std::to_string(child.task_id)}, {"pid", std::to_string(child.pid)}};
      });
    }
  }

  void handle(int number) {
    if (number == 0 || number == SIGCHLD)
      return;
    for (Child& child : children_) {
      if (number == SIGHUP)
        child.hung_up = true;
      else
        child.start_at.reset();
    }
    if (number != SIGHUP)
      begin_end();
    send_all(number);
  }

  /// No child is started any more, so nobody needs the parent's copies of the sockets.
  void begin_end() noexcept {
    if (!ending_since_)
      ending_since_ = steady_clock::now();
    close_listening_sockets();
  }

  void send_all(int number) const noexcept {
    for (const Child& child : children_)
      if (child.pid != 0)
        kill(child.pid, number); // not reaped yet, so the id is still that child's
  }

  /// Looks at each child of its own: those that the program made otherwise are not for it to reap.
  void reap() {
    for (Child& child : children_) {
      int status = 0;
      if (child.pid == 0 || waitpid(child.pid, &status, WNOHANG) != child.pid)
        continue;
      child.pid = 0;
      on_end(child, to_returncode(status));
    }
  }

  void on_end(Child& child, int returncode) {
    if (returncode == 0 || (child.hung_up && returncode == -SIGHUP))
      return;
    if (ending_since_) {
      failed_ = failed_ || (returncode != -SIGTERM && returncode != -SIGINT);
      overdue_ = overdue_ || returncode == status_ended_by_force;
    } else {
      restart(child, describe_returncode(returncode));
    }
  }

  void restart(Child& child, const std::string& why) {
    const TimePoint now = steady_clock::now();
    const std::optional<Duration> delay = child.restarts.next(now);
    if (!delay)
      give_up(child, why);
    child.start_at = now + *delay;
    const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*delay).count();
    tell(LogLevel::warning, "child_ended", "a child process ended abnormally and is started anew", [&] {
      return LogFields{{"task_id", std::to_string(child.task_id)},
                       {"end", why},
                       {"restarts", std::to_string(child.restarts.count())},
                       {"delay_ms", std::to_string(milliseconds)}};
    });
  }

  [[noreturn]] void give_up(const Child& child, const std::string& why) {
    const std::string message =
        "child " + std::to_string(child.task_id) + " ended abnormally again (" + why + ") after " +
        std::to_string(child.restarts.count()) +
        " restarts within ten minutes, the most that max_restarts allows; all children were ended";
    end_all();
    throw std::runtime_error{message};
  }

  /// SIGTERM, and after a while SIGKILL, to all; returns when they have ended.
  void end_all() {
    giving_up_ = true;
    begin_end();
    for (Child& child : children_)
      child.start_at.reset();
    send_all(SIGTERM);
    for (reap(); !done(); reap()) {
      static_cast<void>(signals_.wait(time_to_next_step()));
      kill_overdue();
    }
  }

  const WaitedSignals signals_;
  std::vector<Child> children_;
  EndTime* end_times_;
  std::optional<TimePoint> ending_since_; ///< no child is started any more
  bool giving_up_ = false;
  bool failed_ = false;  ///< a child did not end as it should have when all were to
  bool overdue_ = false; ///< a child did not end in time
};

} // namespace

int cpu_count() noexcept {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 0)
    return CPU_COUNT(&cores);
  const long online = sysconf(_SC_NPROCESSORS_ONLN); // more cores than the set has room for
  return online > 0 ? static_cast<int>(online) : 1;
}

void tell_parent_how_long_an_end_takes(std::chrono::milliseconds longest) noexcept {
  if (current_end_time != nullptr)
    *current_end_time = longest.count();
}

int process_count() noexcept { return current_process_count; }

std::optional<int> task_id() noexcept {
  return current_task_id < 0 ? std::nullopt : std::optional{current_task_id};
}

int fork_processes(int num_processes, int max_restarts) {
  if (max_restarts < 0)
    throw std::invalid_argument{"max_restarts is " + std::to_string(max_restarts) +
                                ", but must be 0 or more"};
  check_that_forking_is_safe();
  std::cout.flush();
  std::fflush(nullptr); // or each child would write it again
  Family family{num_processes > 0 ? num_processes : cpu_count(), max_restarts};
  if (family.run())
    return current_task_id;
  close_listening_sockets();       // also the files of unix sockets
  std::exit(family.exit_status()); // with the signals still blocked: one more must not change the status now
}

} // namespace squall
