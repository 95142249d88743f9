// SPDX-License-Identifier: BSD-3-Clause
//
// spawn.cpp
#include "net/spawn.hpp"

#include "net/descriptor.hpp"
#include "net/regular_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace squall {

namespace {

void check(int error, const char* call) {
  if (error != 0)
    throw std::system_error{error, std::generic_category(), call};
}

/// What the child does before the program begins.
class Actions {
public:
  Actions() { check(posix_spawn_file_actions_init(&actions_), "posix_spawn_file_actions_init"); }
  Actions(const Actions&) = delete;
  Actions& operator=(const Actions&) = delete;
  ~Actions() { posix_spawn_file_actions_destroy(&actions_); }

  void duplicate(int from, int to) {
    check(posix_spawn_file_actions_adddup2(&actions_, from, to), "posix_spawn_file_actions_adddup2");
  }
  void open_null(int to) {
    check(posix_spawn_file_actions_addopen(&actions_, to, "/dev/null",
                                           to == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0),
          "posix_spawn_file_actions_addopen");
  }
  void change_directory(const std::string& path) {
    check(posix_spawn_file_actions_addchdir_np(&actions_, path.c_str()),
          "posix_spawn_file_actions_addchdir_np");
  }
  /// Ours are close-on-exec (rule of CVE-2024-21626); this is for those of others.
  void close_others() {
    check(posix_spawn_file_actions_addclosefrom_np(&actions_, first_other_descriptor),
          "posix_spawn_file_actions_addclosefrom_np");
  }
  [[nodiscard]] const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

private:
  posix_spawn_file_actions_t actions_;
};

/// No signal is blocked or ignored: an I/O thread blocks all of them, and a server may ignore SIGPIPE, which a program that
/// writes to a pipe relies on.
class CleanSignals {
public:
  CleanSignals() {
    check(posix_spawnattr_init(&attributes_), "posix_spawnattr_init");
    sigset_t set;
    sigemptyset(&set);
    posix_spawnattr_setsigmask(&attributes_, &set);
    sigfillset(&set);
    posix_spawnattr_setsigdefault(&attributes_, &set);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  CleanSignals(const CleanSignals&) = delete;
  CleanSignals& operator=(const CleanSignals&) = delete;
  ~CleanSignals() { posix_spawnattr_destroy(&attributes_); }
  [[nodiscard]] const posix_spawnattr_t* get() const noexcept { return &attributes_; }

private:
  posix_spawnattr_t attributes_;
};

/// The two ends of a pipe; the program's is above the standard streams, so that none of them is overwritten before it is
/// duplicated.
struct Pipe {
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
      throw std::system_error{errno, std::generic_category(), "pipe2"};
    reading = Socket{above_standard(ends[0])};
    const int error = errno;
    writing = Socket{above_standard(ends[1])};
    if (!reading || !writing)
      throw std::system_error{reading ? errno : error, std::generic_category(), "fcntl"};
  }
  Socket reading;
  Socket writing;
};

/// Texts as the system wants them; `texts` must live on.
std::vector<char*> to_pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts)
    pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

void check_arguments(const std::vector<std::string>& command, const SubprocessOptions& options) {
  if (command.empty() || command.front().empty())
    throw std::invalid_argument{"a command without the name of a program"};
  if (std::any_of(command.begin(), command.end(), has_nul) || has_nul(options.working_directory))
    throw std::invalid_argument{"a NUL byte in a command or in its working directory"};
  if (options.standard_input == StandardStream::output || options.standard_output == StandardStream::output)
    throw std::invalid_argument{"StandardStream::output is for standard_error only"};
  if (!options.environment)
    return;
  for (const auto& [name, value] : *options.environment)
    if (name.empty() || name.find('=') != std::string::npos || has_nul(name) || has_nul(value))
      throw std::invalid_argument{
          "a variable of the environment with an empty name, a '=' in its name or a NUL byte"};
}

std::string describe_failure(const std::string& program, const std::string& folder) {
  struct stat status {};
  if (folder.empty())
    return "cannot start " + quoted_path(program);
  if (stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || access(folder.c_str(), X_OK) != 0)
    return "cannot start " + quoted_path(program) + ": the working directory " + quoted_path(folder) +
           " cannot be entered";
  return "cannot start " + quoted_path(program) + " in " + quoted_path(folder);
}

} // namespace

Spawned spawn(const std::vector<std::string>& command, const SubprocessOptions& options) {
  check_arguments(command, options);
  Actions actions;
  std::vector<Socket> theirs; // closed here when the program has them
  Spawned spawned;
  const auto set_up = [&](StandardStream kind, int number, Socket& ours) {
    const bool has_none = kind == StandardStream::inherit && fcntl(number, F_GETFD) < 0;
    if (kind == StandardStream::null || has_none) { // or the first file that the program opens would be it
      actions.open_null(number);
    } else if (kind == StandardStream::output) {
      actions.duplicate(STDOUT_FILENO, number);
    } else if (kind == StandardStream::stream) {
      Pipe pipe;
      const bool reads = number == STDIN_FILENO;
      ours = std::move(reads ? pipe.writing : pipe.reading);
      theirs.push_back(std::move(reads ? pipe.reading : pipe.writing));
      actions.duplicate(theirs.back().fd(), number);
    }
  };
  set_up(options.standard_input, STDIN_FILENO, spawned.standard_input);
  set_up(options.standard_output, STDOUT_FILENO, spawned.standard_output);
  set_up(options.standard_error, STDERR_FILENO,
         spawned.standard_error); // last: it may be the same as the output
  if (!options.working_directory.empty())
    actions.change_directory(options.working_directory);
  actions.close_others();

  std::vector<std::string> arguments = command;
  std::vector<std::string> variables;
  if (options.environment)
    for (const auto& [name, value] : *options.environment)
      variables.push_back(name + '=' + value);
  const CleanSignals signals;
  const int error = posix_spawnp(&spawned.pid, command.front().c_str(), actions.get(), signals.get(),
                                 to_pointers(arguments).data(),
                                 options.environment ? to_pointers(variables).data() : environ);
  if (error != 0)
    throw std::system_error{error, std::generic_category(),
                            describe_failure(command.front(), options.working_directory)};
  return spawned;
}

} // namespace squall
