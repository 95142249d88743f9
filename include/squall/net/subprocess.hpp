// SPDX-License-Identifier: BSD-3-Clause
//
// subprocess.hpp: another program, run beside this one, as Tornado's Subprocess.
//
//     squall::SubprocessOptions options;
//     options.standard_output = squall::StandardStream::stream;
//     squall::Subprocess date{loop, {"date", "-u"}, options};
//     squall::Bytes text = co_await date.standard_output().read_until_close();
//     co_await date.wait_for_exit();
//
// Threads    The loop's thread. Any number of threads may run subprocesses, each on a loop of its own.
// Ownership  The object owns its ends of the streams as handles: a copy of a handle keeps the stream open. A program
//            whose Subprocess goes runs on; the loop takes note of its end, so that it leaves no zombie. Who wants its
//            end calls kill() first. Of a program that outlives the loop note is taken when the next one is started.
// Order      A program that has ended may have output that is still unread; its end says nothing about that, nor of
//            programs that it has started itself and that hold its streams.
// Lifetime   The loop must outlive the object. When the loop ends before the program, waits for the exit are dropped
//            unanswered, as its timers are.
// Signals    A program begins with no signal blocked or ignored. No handler of SIGCHLD is needed, nor changed; but
//            where SIGCHLD is ignored (which a process inherits), the first Subprocess sets it to its default, as the
//            system would forget each child at its end. Where somebody waits for every child (wait(2)), the exit status
//            may be lost: then 255 is told, with an error in the log, and no signal is sent to anybody.
#pragma once

#include <squall/net/event_loop.hpp>
#include <squall/net/intrusive_list.hpp>
#include <squall/net/pipe_io_stream.hpp>

#include <concepts>
#include <coroutine>
#include <csignal>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/types.h>
#include <vector>

namespace squall {

/// What a program has as one of its standard streams.
enum class StandardStream : std::uint8_t {
  inherit, ///< the one of this process; /dev/null where it has none
  null,    ///< /dev/null: nothing to read, everything is taken
  stream,  ///< a pipe, whose other end is a PipeIOStream here
  output,  ///< of standard_error only: the same as the program's standard output
};

struct SubprocessOptions {
  StandardStream standard_input = StandardStream::inherit;
  StandardStream standard_output = StandardStream::inherit;
  StandardStream standard_error = StandardStream::inherit;
  StreamOptions stream; ///< of the PipeIOStreams
  /// All that the program gets; none: the variables of this process. It is not searched for a PATH.
  std::optional<std::map<std::string, std::string>> environment;
  std::string
      working_directory; ///< empty: that of this process. A relative name of the program is relative to it
};

/// A program ended with a status that is not 0, or of a signal.
class CalledProcessError : public std::runtime_error {
public:
  CalledProcessError(const std::string& program, int returncode);
  /// As Subprocess::returncode.
  [[nodiscard]] int returncode() const noexcept { return returncode_; }

private:
  int returncode_;
};

class ExitAwaitable;

class Subprocess {
public:
  using ExitCallback = std::function<void(int returncode)>;

  /// Starts `command[0]`, searched in PATH when it has no slash, with the arguments that follow. Of this process's
  /// descriptors it gets none but its standard streams.
  /// @throws std::system_error when it cannot be started (ENOENT, EACCES, EMFILE, EAGAIN): nothing is left behind, and
  ///         what() names program and folder; std::invalid_argument for an empty command, a NUL byte, a name of a
  ///         variable that is empty or has a '=', and StandardStream::output where it does not belong
  Subprocess(EventLoop& loop, const std::vector<std::string>& command, const SubprocessOptions& options = {});
  Subprocess(Subprocess&&) noexcept = default;
  Subprocess& operator=(Subprocess&&) noexcept = default;
  ~Subprocess() = default;

  /// Its end of the stream that was asked for as StandardStream::stream. Closing standard_input is the end of the
  /// program's input. @throws std::logic_error when it was not asked for
  [[nodiscard]] PipeIOStream& standard_input();
  [[nodiscard]] PipeIOStream& standard_output();
  [[nodiscard]] PipeIOStream& standard_error();

  /// The process id; after the exit another process may have it.
  [[nodiscard]] pid_t pid() const noexcept;

  /// The exit status, 0 to 255, or the negative number of the signal that ended the program. None: the loop has not
  /// seen it end.
  [[nodiscard]] std::optional<int> returncode() const noexcept;

  /// Sends a signal; never to a process that has the program's id after its end. @returns false when it has ended
  /// @throws std::system_error EINVAL: no such signal; EPERM: the program runs as somebody else
  bool kill(int signal = SIGKILL);

  /// co_await returns the returncode; as often as one likes, also after the exit. Destroying a coroutine that waits is
  /// harmless. @throws (awaited) CalledProcessError when it is not 0 and `raise_error`
  [[nodiscard]] ExitAwaitable wait_for_exit(bool raise_error = true);

  /// Calls `callback` once from the loop; as often as one likes, also after the exit.
  template <std::invocable<int> Callback> // not ExitCallback: a lambda would convert to bool just as well
  void wait_for_exit(Callback callback) {
    call_at_exit(ExitCallback{std::move(callback)});
  }

  /// Calls `callback` once from the loop at the exit, or soon when that was before. A later call replaces a callback
  /// that has not run; an empty one removes it. The callbacks of wait_for_exit run after it.
  void set_exit_callback(ExitCallback callback);

private:
  friend class ExitAwaitable;
  class State;
  void call_at_exit(ExitCallback callback);

  std::shared_ptr<State> state_;
  std::optional<PipeIOStream> standard_input_;
  std::optional<PipeIOStream> standard_output_;
  std::optional<PipeIOStream> standard_error_;
};

/// What Subprocess::wait_for_exit returns.
class [[nodiscard]] ExitAwaitable : private IntrusiveNode<ExitAwaitable> {
public:
  ExitAwaitable(const ExitAwaitable&) = delete;
  ExitAwaitable& operator=(const ExitAwaitable&) = delete;

  [[nodiscard]] bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> waiter) noexcept;
  int await_resume() const;

private:
  friend class Subprocess;
  friend class IntrusiveList<ExitAwaitable>;
  friend class IntrusiveNode<ExitAwaitable>;
  ExitAwaitable(std::shared_ptr<Subprocess::State> state, bool raise_error) noexcept
      : state_{std::move(state)}, raise_error_{raise_error} {}

  std::shared_ptr<Subprocess::State> state_;
  std::coroutine_handle<> waiter_;
  bool raise_error_;
};

} // namespace squall
