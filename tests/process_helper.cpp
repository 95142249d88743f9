// SPDX-License-Identifier: BSD-3-Clause
//
// process_helper.cpp: what the tests of processes run, as a program of its own: a test binary should not fork itself.
// It knows streams only; tests/server_helper.cpp knows servers.
//
//     process_helper WHAT [ARGUMENTS]
#include <squall/net/acceptor.hpp>
#include <squall/net/file.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>
#include <squall/net/process.hpp>
#include <squall/net/subprocess.hpp>
#include <squall/net/task.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <iostream>
#include <list>
#include <map>
#include <netinet/in.h>
#include <new>
#include <optional>
#include <sched.h>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Arguments = std::vector<std::string>;

int number(const Arguments& arguments, std::size_t at) { return std::stoi(arguments.at(at)); }

/// One write(2), so that lines of several processes do not mix.
void say(const std::string& text) {
  const std::string line = text + '\n';
  if (write(STDOUT_FILENO, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    _exit(99);
}

std::string own_status(const std::string& key) {
  std::ifstream file{"/proc/self/status"};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key + ":\t"))
      return line.substr(key.size() + 2);
  return "(none)";
}

/// A set of standard signals; the others include those that the C library has for itself.
std::string signals_in(const std::string& key) {
  return std::to_string(std::stoull(own_status(key), nullptr, 16) & 0x7fffffff);
}

/// Counters that all processes share.
std::atomic<int>* shared_counters() {
  void* const memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    _exit(98);
  return new (memory) std::atomic<int>[64] {};
}

/// Blocks the signals, so that none is lost before wait_for.
void hold(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int one : numbers)
    sigaddset(&set, one);
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

int wait_for(std::initializer_list<int> numbers) {
  sigset_t set;
  sigemptyset(&set);
  for (const int one : numbers)
    sigaddset(&set, one);
  siginfo_t info;
  int got;
  do
    got = sigwaitinfo(&set, &info);
  while (got < 0 && errno == EINTR);
  return got;
}

[[noreturn]] void pause_for_ever() {
  for (;;)
    pause();
}

// -- faults of fork(2), and a SIGCHLD that is lost

int failing_fork = 0; ///< the how manieth fails; 0: none
int fork_count = 0;
bool child_kills_parent = false;
bool child_signals_lost = false;

/// Each child says that it is there, and ends; the parent says what was thrown.
int fork_fails(const Arguments& arguments) {
  std::atomic<int>* const starts = shared_counters();
  failing_fork = number(arguments, 0);
  try {
    const int id = squall::fork_processes(2);
    say(std::to_string(id));
    if (id == 0 && starts[0]++ == 0)
      return 1;
    if (failing_fork == 2)
      pause_for_ever();
    return 0;
  } catch (const std::system_error& error) {
    say(error.what());
    return 3;
  }
}

/// The parent dies before its child can ask to be told of that.
int early_orphan(const Arguments&) {
  child_kills_parent = true;
  squall::fork_processes(1);
  say("an orphan serves");
  return 0;
}

/// Says in each child what fork_processes returned.
int ids(const Arguments& arguments) {
  const int id = squall::fork_processes(number(arguments, 0), number(arguments, 1));
  say(squall::task_id() == id ? std::to_string(id) : "task_id() is wrong");
  return 0;
}

int count(const Arguments&) {
  say(std::to_string(squall::cpu_count()));
  say(squall::task_id() ? "a task" : "no task");
  say(std::to_string(squall::process_count()));
  return 0;
}

int process_counts(const Arguments&) {
  squall::fork_processes(3);
  say(std::to_string(squall::process_count()));
  return 0;
}

/// Each child ends abnormally a number of times, by exit status or (negative) signal, and then well.
int fail(const Arguments& arguments) {
  std::atomic<int>* const starts = shared_counters();
  const int how = number(arguments, 2);
  const int id = squall::fork_processes(number(arguments, 0), number(arguments, 1));
  const bool again = ++starts[id] <= number(arguments, 3);
  if (again && how < 0)
    raise(-how);
  if (again)
    _exit(how);
  say(std::to_string(id) + " started " + std::to_string(starts[id]) + " times");
  return 0;
}

/// Child 0 ends abnormally, the others stay. The parent says why it gave up.
int give_up(const Arguments& arguments) {
  std::atomic<int>* const counters = shared_counters();
  try {
    if (squall::fork_processes(3, number(arguments, 0)) == 0) {
      while (counters[0] < 2) // until the others are there
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
      _exit(5);
    }
    ++counters[0];
    pause_for_ever();
  } catch (const std::runtime_error& error) {
    say(error.what());
    return 3;
  }
}

/// Each child tells the signals that it gets; SIGTERM and SIGINT end it, with the status in the arguments.
int signals(const Arguments& arguments) {
  const int id = squall::fork_processes(2);
  hold({SIGTERM, SIGINT, SIGHUP});
  say("ready " + std::to_string(id));
  for (;;) {
    const int got = wait_for({SIGTERM, SIGINT, SIGHUP});
    say(std::to_string(id) + " got " + std::to_string(got));
    if (got != SIGHUP)
      return number(arguments, 0);
  }
}

/// Each child has the signals as a program begins with them, tells its id, and stays.
int stay(const Arguments&) {
  squall::fork_processes(2);
  say(std::to_string(getpid()));
  pause_for_ever();
}

/// As `stay`, but the parent never hears of the end of a child.
int deaf(const Arguments&) {
  child_signals_lost = true;
  return stay({});
}

int ignored_hang_up(const Arguments&) {
  std::signal(SIGHUP, SIG_IGN);
  return stay({});
}

/// What a child should have of its parent as it was before.
int state(const Arguments&) {
  std::signal(SIGCHLD, SIG_IGN);
  hold({SIGUSR1});
  const std::string before = signals_in("SigBlk") + ' ' + signals_in("SigIgn");
  std::srand(1);
  std::printf("written once\n");
  std::cout << "this too\n";
  squall::fork_processes(3);
  const std::string after = signals_in("SigBlk") + ' ' + signals_in("SigIgn");
  say(after == before ? "same signals" : "signals " + after + " instead of " + before);
  int death = 0;
  prctl(PR_GET_PDEATHSIG, &death);
  say("death signal " + std::to_string(death));
  say("random " + std::to_string(std::rand()));
  return 0;
}

/// A child of the program's own, that fork_processes has not made.
int other_child(const Arguments&) {
  if (fork() == 0)
    _exit(9);
  squall::fork_processes(1, 0);
  say("child");
  return 0;
}

int refused(const std::function<void()>& make) {
  try {
    make();
    say("not refused");
  } catch (const std::logic_error& error) {
    say(error.what());
  }
  return 0;
}

int refused_thread(const Arguments&) {
  std::atomic<bool> done{false};
  std::thread other{[&] {
    while (!done)
      std::this_thread::yield();
  }};
  refused([] { squall::fork_processes(2); });
  done = true;
  other.join();
  squall::fork_processes(2); // it is gone
  say("forked");
  return 0;
}

int refused_loop(const Arguments&) {
  {
    const squall::EventLoop loop;
    refused([] { squall::fork_processes(2); });
  }
  squall::fork_processes(2);
  say("forked");
  return 0;
}

int refused_child(const Arguments&) {
  squall::fork_processes(1);
  return refused([] { squall::fork_processes(2); });
}

int refused_number(const Arguments&) {
  return refused([] { squall::fork_processes(2, -1); });
}

// -- the server of spec test_multi_process

squall::Task<> serve(squall::IOStream stream) {
  const std::string request = (co_await stream.read_until("\r\n\r\n")).str();
  if (const auto at = request.find("exit="); at != std::string::npos)
    _exit(request[at + 5] - '0');
  const std::string body = std::to_string(getpid());
  co_await stream.write("HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
                        body);
  stream.close();
}

struct Connection {
  Connection(squall::EventLoop& loop, squall::Socket socket)
      : context{loop}, task{serve(squall::IOStream{loop, std::move(socket)}), [](std::exception_ptr) {}} {
    task.start(context);
  }
  squall::TaskContext context;
  squall::RunningTask task;
};

[[noreturn]] void serve_for_ever(const squall::ListeningSocket& listening) {
  squall::EventLoop loop;
  std::list<Connection> connections;
  const squall::Acceptor acceptor{loop, listening, [&](squall::Socket socket, const squall::Endpoint&) {
                                    connections.emplace_back(loop, std::move(socket));
                                  }};
  for (;;)
    loop.run();
}

/// What the server answers; nothing when it died of the question.
std::string fetch(std::uint16_t port, const std::string& path) {
  const squall::Socket client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(client.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return {};
  const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
  if (::send(client.fd(), request.data(), request.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(request.size()))
    return {};
  std::string answer;
  char buffer[1024];
  for (ssize_t count; (count = ::recv(client.fd(), buffer, sizeof buffer, 0)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(count));
  const auto body = answer.find("\r\n\r\n");
  return body == std::string::npos ? std::string{} : answer.substr(body + 4);
}

int client_of_multi_process(std::uint16_t port) {
  fetch(port, "/?exit=2");
  fetch(port, "/?exit=3");
  const std::string first = fetch(port, "/");
  fetch(port, "/?exit=0");
  const std::string second = fetch(port, "/");
  fetch(port, "/?exit=4");
  const std::string third = fetch(port, "/");
  fetch(port, "/?exit=0");
  const bool right = !first.empty() && !second.empty() && !third.empty() && second != third;
  say(right ? "all served" : "wrong: '" + first + "' '" + second + "' '" + third + "'");
  return 0;
}

int multi_process(const Arguments&) {
  squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  const std::uint16_t port = listening.local_endpoint().port;
  const int id = squall::fork_processes(3, 3);
  alarm(20);
  if (id != squall::task_id() || id < 0 || id > 2)
    say("wrong id");
  if (id < 2)
    serve_for_ever(listening);
  listening.close();
  return client_of_multi_process(port);
}

// -- for Subprocess

/// Says what it was started with.
int environment(const Arguments& arguments) {
  for (const std::string& name : arguments) {
    const char* const value = std::getenv(name.c_str());
    say(name + (value == nullptr ? " is not set" : '=' + std::string{value}));
  }
  char folder[4096];
  say(getcwd(folder, sizeof folder) == nullptr ? "nowhere" : folder);
  return 0;
}

/// Says which descriptors it has.
int descriptors(const Arguments&) {
  DIR* const folder = opendir("/proc/self/fd");
  std::string all;
  while (const dirent* entry = readdir(folder))
    if (entry->d_name[0] != '.' && std::stoi(entry->d_name) != dirfd(folder))
      all += std::string{entry->d_name} + ' ';
  closedir(folder);
  say(all);
  return 0;
}

int signal_state(const Arguments&) {
  say("blocked " + signals_in("SigBlk"));
  say("ignored " + signals_in("SigIgn"));
  return 0;
}

/// Without standard streams, makes everything that has a descriptor; says which of 0 to 2 are taken.
int closed_streams(const Arguments&) {
  const int output = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 100);
  for (const int fd : {0, 1, 2})
    close(fd);
  squall::set_log_level(squall::LogLevel::debug);
  squall::EventLoop loop;
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  std::optional<squall::IOStream> accepted;
  const squall::Acceptor acceptor{loop, listening, [&](squall::Socket socket, const squall::Endpoint&) {
                                    accepted.emplace(loop, std::move(socket));
                                  }};
  squall::IOStream client{loop};
  client.connect(squall::Connect{listening.local_endpoint()}, [](const auto&) {});
  while (!accepted)
    loop.run_once(std::chrono::seconds{1});
  const squall::File file = squall::File::open("/proc/self/status");
  squall::SubprocessOptions options;
  options.standard_output = squall::StandardStream::stream;
  options.standard_error = squall::StandardStream::output;
  squall::Subprocess program{loop, {"sh", "-c", "[ -e /proc/$$/fd/0 ] && echo has an input"}, options};
  std::string said;
  program.standard_output().read(squall::ReadUntilClose{}, [&](const squall::Result<squall::Bytes>& text) {
    said = text ? text->str() : "?";
  });
  while (!program.returncode() || said.empty())
    loop.run_once(std::chrono::seconds{1});
  squall::log_event(squall::LogLevel::error, "nobody", "gets this");
  for (const int fd : {0, 1, 2})
    if (fcntl(fd, F_GETFD) >= 0)
      said += "taken " + std::to_string(fd) + '\n';
  return write(output, said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0 : 99;
}

int exit_with(const Arguments& arguments) { return number(arguments, 0); }

/// Says that it is there, then stays.
int sleep(const Arguments&) {
  say("ready");
  pause_for_ever();
}

const std::map<std::string, int (*)(const Arguments&)> programs{
    {"ids", ids},
    {"count", count},
    {"process_counts", process_counts},
    {"fork_fails", fork_fails},
    {"early_orphan", early_orphan},
    {"fail", fail},
    {"give_up", give_up},
    {"signals", signals},
    {"stay", stay},
    {"deaf", deaf},
    {"ignored_hang_up", ignored_hang_up},
    {"state", state},
    {"other_child", other_child},
    {"refused_thread", refused_thread},
    {"refused_loop", refused_loop},
    {"refused_child", refused_child},
    {"refused_number", refused_number},
    {"multi_process", multi_process},
    {"environment", environment},
    {"descriptors", descriptors},
    {"signal_state", signal_state},
    {"closed_streams", closed_streams},
    {"exit_with", exit_with},
    {"sleep", sleep},
};

} // namespace

/// In front of the system's.
extern "C" pid_t fork() noexcept {
  static const auto next = reinterpret_cast<pid_t (*)()>(dlsym(RTLD_NEXT, "fork"));
  if (++fork_count == failing_fork) {
    errno = EAGAIN;
    return -1;
  }
  const pid_t parent = getpid();
  const pid_t pid = next();
  if (pid == 0 && child_kills_parent) {
    kill(parent, SIGKILL);
    while (getppid() == parent)
      sched_yield();
  }
  return pid;
}

extern "C" int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* longest) {
  static const auto next = reinterpret_cast<int (*)(const sigset_t*, siginfo_t*, const timespec*)>(
      dlsym(RTLD_NEXT, "sigtimedwait"));
  sigset_t heard = *set;
  if (child_signals_lost)
    sigdelset(&heard, SIGCHLD);
  return next(&heard, info, longest);
}

int main(int argc, char** argv) {
  const Arguments arguments(argv + std::min(argc, 2), argv + argc);
  const auto program = argc > 1 ? programs.find(argv[1]) : programs.end();
  if (program == programs.end())
    return 97;
  return program->second(arguments);
}
