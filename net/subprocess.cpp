// SPDX-License-Identifier: BSD-3-Clause
//
// subprocess.cpp: a program that was started, and the news of its end.
//
// A pidfd (pidfd_open(2)) becomes readable when the program ends. So no handler of SIGCHLD is needed, of which a process has
// one only, and signals and waits can never meet another process that got the same id.
#include "net/descriptor.hpp"
#include "net/exit_status.hpp"
#include "net/regular_file.hpp"
#include "net/spawn.hpp"
#include <squall/net/log.hpp>
#include <squall/net/subprocess.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <deque>
#include <mutex>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

/// What is told where the exit status was lost.
constexpr int lost_returncode = 255;

void tell_lost() noexcept {
  log_event(
      LogLevel::error, "exit_status_lost",
      "the exit status of a program is lost: somebody waits for every child, or SIGCHLD was ignored later");
}

/// Where SIGCHLD is ignored, a child is forgotten when it ends (wait(2)): its status is lost, and its id is given out again.
/// That outlives exec, so it may be no wish of this program's.
void keep_children_until_waited_for() noexcept {
  struct sigaction action {};
  sigaction(SIGCHLD, nullptr, &action);
  const bool is_handler =
      (action.sa_flags & SA_SIGINFO) != 0 || (action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL);
  if (action.sa_handler != SIG_IGN && (action.sa_flags & SA_NOCLDWAIT) == 0)
    return;
  if (!is_handler)
    action.sa_handler = SIG_DFL;
  action.sa_flags &= ~SA_NOCLDWAIT;
  sigaction(SIGCHLD, &action, nullptr);
}

/// @returns the returncode; nothing while the program runs
std::optional<int> take_exit(const Socket& pidfd) noexcept {
  siginfo_t info{};
  int result;
  do
    result = waitid(P_PIDFD, static_cast<id_t>(pidfd.fd()), &info, WEXITED | WNOHANG);
  while (result != 0 && errno == EINTR);
  if (result != 0) {
    tell_lost();
    return lost_returncode;
  }
  if (info.si_pid == 0)
    return std::nullopt;
  return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/// Programs that outlived their loop.
class LeftPrograms {
public:
  void add(Socket pidfd) noexcept {
    const std::lock_guard lock{mutex_};
    try {
      pidfds_.push_back(std::move(pidfd));
    } catch (const std::bad_alloc&) { // it stays a zombie until this process ends
    }
  }
  void reap() noexcept {
    const std::lock_guard lock{mutex_};
    std::erase_if(pidfds_, [](const Socket& pidfd) { return take_exit(pidfd).has_value(); });
  }

private:
  std::mutex mutex_;
  std::vector<Socket> pidfds_;
};

LeftPrograms& left_programs() {
  static LeftPrograms programs;
  return programs;
}

/// True while `id` is a child of ours, also one that has ended and was not waited for.
bool is_child(idtype_t kind, id_t id) noexcept {
  siginfo_t info{};
  return waitid(kind, id, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/// Empty: somebody else has waited for the program, so its id may be that of another by now.
/// @throws std::system_error, and the program is killed
Socket open_pidfd(pid_t pid) {
  const auto id = static_cast<id_t>(pid);
  Socket pidfd{above_standard(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)))}; // close-on-exec
  if (pidfd)
    return is_child(P_PIDFD, static_cast<id_t>(pidfd.fd())) ? std::move(pidfd) : Socket{};
  const std::system_error failure{errno, std::generic_category(), "pidfd_open"};
  if (!is_child(P_PID, id))
    return Socket{};
  ::kill(pid, SIGKILL); // nobody could hear of its end
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw failure;
}

} // namespace

/// Keeps itself until the exit is told to all, or the loop ends.
class Subprocess::State final : public std::enable_shared_from_this<State>,
                                private Watcher,
                                private LoopTask {
public:
  State(EventLoop& loop, std::string program) : program_{std::move(program)}, loop_{loop} {}

  /// After what else needs memory. @throws std::system_error; the program is killed then
  void watch(pid_t pid) {
    pid_ = pid;
    pidfd_ = open_pidfd(pid);
    if (!pidfd_) {
      tell_lost();
      returncode_ = lost_returncode;
      return;
    }
    keep_ = shared_from_this();
    try {
      loop_.watch(pidfd_.fd(), *this);
    } catch (...) {
      kill(SIGKILL);
      left_programs().add(std::move(pidfd_));
      keep_.reset();
      throw;
    }
  }

  bool kill(int signal) const {
    if (returncode_ || !pidfd_)
      return false;
    if (syscall(SYS_pidfd_send_signal, pidfd_.fd(), signal, nullptr, 0) == 0)
      return true;
    if (errno == ESRCH)
      return false;
    throw std::system_error{errno, std::generic_category(), "pidfd_send_signal"};
  }

  void call_at_exit(ExitCallback callback) {
    callbacks_.push_back(std::move(callback));
    tell_soon();
  }
  void set_exit_callback(ExitCallback callback) {
    exit_callback_ = std::move(callback);
    tell_soon();
  }
  void add_waiter(ExitAwaitable& waiter) noexcept { waiters_.push_back_if_unlinked(waiter); }

  [[nodiscard]] const std::string& program() const noexcept { return program_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  [[nodiscard]] std::optional<int> returncode() const noexcept { return returncode_; }

private:
  void on_ready(Readiness) override {
    returncode_ = take_exit(pidfd_);
    if (!returncode_)
      return;
    loop_.unwatch(pidfd_.fd(), *this);
    pidfd_.reset();
    loop_.defer(*this);
  }

  void on_loop_end() noexcept override {
    const std::shared_ptr<State> keep = std::move(keep_);
    if (!returncode_)
      left_programs().add(std::move(pidfd_));
  }

  void tell_soon() {
    if (!returncode_)
      return;
    keep_ = shared_from_this();
    loop_.defer(*this);
  }

  /// An exception of a callback leaves the loop; those behind it are called in the next turn.
  void run_task() override {
    const std::shared_ptr<State> keep = std::move(keep_);
    struct Rest {
      State& state;
      ~Rest() {
        if (state.exit_callback_ || !state.callbacks_.empty() || !state.waiters_.empty())
          state.tell_soon();
      }
    } rest{*this};
    if (exit_callback_)
      std::exchange(exit_callback_, nullptr)(*returncode_);
    for (std::size_t count = callbacks_.size(); count > 0; --count) {
      const ExitCallback callback = std::move(callbacks_.front());
      callbacks_.pop_front();
      callback(*returncode_);
    }
    while (ExitAwaitable* waiter = waiters_.pop_front())
      waiter->waiter_.resume();
  }

  const std::string program_;
  EventLoop& loop_;
  pid_t pid_ = 0;
  Socket pidfd_; ///< empty after the exit
  std::optional<int> returncode_;
  ExitCallback exit_callback_;
  std::deque<ExitCallback> callbacks_;
  IntrusiveList<ExitAwaitable> waiters_;
  std::shared_ptr<State> keep_;
};

CalledProcessError::CalledProcessError(const std::string& program, int returncode)
    : std::runtime_error{quoted_path(program) + " ended with " + describe_returncode(returncode)},
      returncode_{returncode} {}

Subprocess::Subprocess(EventLoop& loop, const std::vector<std::string>& command,
                       const SubprocessOptions& options) {
  left_programs().reap();
  keep_children_until_waited_for();
  state_ = std::make_shared<State>(loop, command.empty() ? "" : command.front());
  Spawned spawned = spawn(command, options);
  state_->watch(spawned.pid);
  try {
    const auto open = [&](std::optional<PipeIOStream>& stream, Socket& descriptor) {
      if (descriptor)
        stream.emplace(loop, std::move(descriptor), options.stream);
    };
    open(standard_input_, spawned.standard_input);
    open(standard_output_, spawned.standard_output);
    open(standard_error_, spawned.standard_error);
  } catch (...) {
    state_->kill(SIGKILL); // the loop takes note of its end
    throw;
  }
}

namespace {

PipeIOStream& checked_stream(std::optional<PipeIOStream>& stream, const char* name) {
  if (!stream)
    throw std::logic_error{std::string{name} + " of this Subprocess is not a StandardStream::stream"};
  return *stream;
}

} // namespace

PipeIOStream& Subprocess::standard_input() { return checked_stream(standard_input_, "standard_input"); }
PipeIOStream& Subprocess::standard_output() { return checked_stream(standard_output_, "standard_output"); }
PipeIOStream& Subprocess::standard_error() { return checked_stream(standard_error_, "standard_error"); }

pid_t Subprocess::pid() const noexcept { return state_->pid(); }
std::optional<int> Subprocess::returncode() const noexcept { return state_->returncode(); }
bool Subprocess::kill(int signal) { return state_->kill(signal); }
ExitAwaitable Subprocess::wait_for_exit(bool raise_error) { return {state_, raise_error}; }
void Subprocess::call_at_exit(ExitCallback callback) { state_->call_at_exit(std::move(callback)); }
void Subprocess::set_exit_callback(ExitCallback callback) { state_->set_exit_callback(std::move(callback)); }

bool ExitAwaitable::await_ready() const noexcept { return state_->returncode().has_value(); }

void ExitAwaitable::await_suspend(std::coroutine_handle<> waiter) noexcept {
  waiter_ = waiter;
  state_->add_waiter(*this);
}

int ExitAwaitable::await_resume() const {
  const int returncode = *state_->returncode();
  if (raise_error_ && returncode != 0)
    throw CalledProcessError{state_->program(), returncode};
  return returncode;
}

} // namespace squall
