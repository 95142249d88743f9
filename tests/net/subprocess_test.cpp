// SPDX-License-Identifier: BSD-3-Clause
//
// subprocess_test.cpp: programs that are started beside this one.
#include "tests/process_support.hpp"
#include <squall/net/log.hpp>
#include <squall/net/task.hpp>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;
using Command = std::vector<std::string>;

SubprocessOptions all_streams() {
  SubprocessOptions options;
  options.standard_input = StandardStream::stream;
  options.standard_output = StandardStream::stream;
  options.standard_error = StandardStream::stream;
  return options;
}

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd"})
    ++count;
  return count;
}

/// This process has no child, running or a zombie.
bool childless() {
  siginfo_t info{};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD;
}

class SubprocessTest : public testing::Test {
protected:
  void TearDown() override {
    if (!HasFailure()) {
      EXPECT_TRUE(run_until(loop, childless));
    }
  }

  int end_of(Subprocess& process) {
    EXPECT_TRUE(run_until(loop, [&] { return process.returncode().has_value(); }));
    return process.returncode().value_or(-1000);
  }

  std::string read(IOStream& stream, ReadRequest request = ReadUntilClose{}) {
    TestRead read{stream, std::move(request)};
    if (!run_until(loop, [&] { return read.answered(); }))
      stream.forget_read(read); // it must not outlive `read`
    return read.text();
  }

  /// Runs a coroutine to its end, and hands on what it throws.
  void run(Task<> task) {
    std::optional<std::exception_ptr> end;
    TaskContext context{loop};
    RunningTask running{std::move(task), [&](std::exception_ptr error) { end = error; }};
    running.start(context);
    ASSERT_TRUE(run_until(loop, [&] { return end.has_value(); }));
    if (*end)
      std::rethrow_exception(*end);
  }

  /// What the constructor throws.
  std::system_error failure(const Command& command, const SubprocessOptions& options = all_streams()) {
    try {
      const Subprocess process{loop, command, options};
    } catch (const std::system_error& error) {
      return error;
    }
    return std::system_error{0, std::generic_category(), "no failure"};
  }

  EventLoop loop;
};

// -- tornado/test/process_test.py, whose names these have

class SubprocessOfTornado : public SubprocessTest {
protected:
  static SubprocessOptions interactive() {
    SubprocessOptions options = all_streams();
    options.standard_error = StandardStream::output;
    return options;
  }
  Subprocess python{loop, {"python3", "-u", "-i"}, interactive()};
};

TEST_F(SubprocessOfTornado, TestSubprocess) {
  run([&]() -> Task<> {
    co_await python.standard_output().read_until(">>> ");
    co_await python.standard_input().write("print('hello')\n");
    EXPECT_EQ((co_await python.standard_output().read_until("\n")).str(), "hello\n");
    co_await python.standard_output().read_until(">>> ");
    co_await python.standard_input().write("raise SystemExit\n");
    EXPECT_EQ((co_await python.standard_output().read_until_close()).str(), "");
    EXPECT_EQ(co_await python.wait_for_exit(), 0);
  }());
}

TEST_F(SubprocessOfTornado, TestCloseStdin) {
  run([&]() -> Task<> {
    co_await python.standard_output().read_until(">>> ");
    python.standard_input().close();
    EXPECT_EQ((co_await python.standard_output().read_until_close()).str(), "\n");
    co_await python.wait_for_exit();
  }());
}

TEST_F(SubprocessTest, TestSigchild) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  std::optional<int> got;
  process.set_exit_callback([&](int returncode) { got = returncode; });
  EXPECT_TRUE(run_until(loop, [&] { return got.has_value(); }));
  EXPECT_EQ(got, 0);
  EXPECT_EQ(process.returncode(), 0);
}

TEST_F(SubprocessTest, TestSigchildFuture) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  run([&]() -> Task<> { EXPECT_EQ(co_await process.wait_for_exit(), 0); }());
  EXPECT_EQ(process.returncode(), 0);
}

TEST_F(SubprocessTest, TestSigchildSignal) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "sleep"}, all_streams()};
  EXPECT_EQ(read(process.standard_output(), ReadUntil{"\n"}), "ready\n");
  EXPECT_TRUE(process.kill(SIGTERM));
  std::optional<int> got;
  process.set_exit_callback([&](int returncode) { got = returncode; });
  EXPECT_TRUE(run_until(loop, [&] { return got.has_value(); }));
  EXPECT_EQ(got, -SIGTERM);
}

TEST_F(SubprocessTest, TestWaitForExitRaise) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "1"}};
  run([&]() -> Task<> {
    try {
      co_await process.wait_for_exit();
      ADD_FAILURE() << "no exception";
    } catch (const CalledProcessError& error) {
      EXPECT_EQ(error.returncode(), 1);
      EXPECT_STREQ(error.what(), "\"" SQUALL_PROCESS_HELPER "\" ended with status 1");
    }
    EXPECT_EQ(co_await process.wait_for_exit(false), 1);
  }());
}

// -- the exit

TEST_F(SubprocessTest, TellsTheExitAsOftenAsOneLikes) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "42"}};
  std::vector<std::string> told;
  process.wait_for_exit([&](int code) { told.push_back("first " + std::to_string(code)); });
  process.wait_for_exit([&](int code) { told.push_back("second " + std::to_string(code)); });
  process.set_exit_callback([&](int) { told.push_back("replaced"); });
  process.set_exit_callback([&](int code) { told.push_back("exit " + std::to_string(code)); });
  EXPECT_TRUE(run_until(loop, [&] { return told.size() == 3; }));
  EXPECT_EQ(told, (std::vector<std::string>{"exit 42", "first 42", "second 42"}));
  told.clear();
  process.wait_for_exit([&](int) { told.push_back("late"); });
  process.set_exit_callback([&](int) { told.push_back("late exit"); });
  EXPECT_TRUE(told.empty()); // never inside the call
  run_turns(loop);
  EXPECT_EQ(told, (std::vector<std::string>{"late exit", "late"}));
}

TEST_F(SubprocessTest, AnExitCallbackCanBeTakenBack) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  process.set_exit_callback([](int) { ADD_FAILURE(); });
  process.set_exit_callback(nullptr);
  end_of(process);
  run_turns(loop);
}

TEST_F(SubprocessTest, ACallbackMayDestroyItsSubprocess) {
  auto process = std::make_unique<Subprocess>(loop, Command{SQUALL_PROCESS_HELPER, "exit_with", "0"});
  int calls = 0;
  process->set_exit_callback([&](int) {
    process.reset();
    ++calls;
  });
  process->wait_for_exit([&](int) { ++calls; });
  EXPECT_TRUE(run_until(loop, [&] { return calls == 2; }));
}

TEST_F(SubprocessTest, ACallbackThatThrowsKeepsNoneOfTheOthersFromRunning) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  int calls = 0;
  process.set_exit_callback([](int) { throw std::runtime_error{"first"}; });
  process.wait_for_exit([](int) { throw std::runtime_error{"second"}; });
  process.wait_for_exit([&](int) { ++calls; });
  int thrown = 0;
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (calls == 0 && std::chrono::steady_clock::now() < deadline) {
    try {
      loop.run_once(1ms);
    } catch (const std::runtime_error&) {
      ++thrown;
    }
  }
  EXPECT_EQ(thrown, 2);
  EXPECT_EQ(calls, 1);
}

TEST_F(SubprocessTest, ATaskThatWaitsCanBeDestroyed) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "sleep"}};
  TaskContext context{loop};
  {
    RunningTask waiting{[](Subprocess& child) -> Task<> { co_await child.wait_for_exit(); }(process),
                        [](std::exception_ptr) { ADD_FAILURE(); }};
    waiting.start(context);
    run_turns(loop);
  }
  process.kill();
  EXPECT_EQ(end_of(process), -SIGKILL);
  run_turns(loop);
}

TEST_F(SubprocessTest, KillsNobodyAfterTheExit) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  EXPECT_GT(process.pid(), 1);
  end_of(process);
  EXPECT_FALSE(process.kill());
  EXPECT_FALSE(process.kill(SIGTERM));
}

TEST_F(SubprocessTest, RefusesASignalThatDoesNotExist) {
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "sleep"}};
  EXPECT_THROW(process.kill(1000), std::system_error);
  EXPECT_TRUE(process.kill());
  end_of(process);
}

// -- ownership

TEST_F(SubprocessTest, AnObjectThatGoesLeavesNoZombie) {
  for (int i = 0; i < 10; ++i)
    const Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  EXPECT_TRUE(run_until(loop, childless));
}

TEST_F(SubprocessTest, AProgramRunsOnWhenItsObjectGoes) {
  std::optional<Subprocess> process;
  process.emplace(loop, Command{"sh", "-c", "read line; echo $line"}, all_streams());
  PipeIOStream input = process->standard_input();
  PipeIOStream output = process->standard_output();
  process.reset();
  const TestWrite write{input, "on it goes\n"};
  EXPECT_EQ(read(output), "on it goes\n");
}

TEST_F(SubprocessTest, AProgramThatOutlivesItsLoopIsReapedWithTheNextOne) {
  {
    EventLoop short_lived;
    Subprocess process{short_lived, {"sh", "-c", "read line"}, all_streams()};
    process.wait_for_exit([](int) { ADD_FAILURE(); });
  } // the end of its input ends it
  EXPECT_FALSE(childless());
  const auto deadline = std::chrono::steady_clock::now() + test_deadline;
  while (!childless() && std::chrono::steady_clock::now() < deadline) {
    Subprocess next{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
    end_of(next);
  }
  EXPECT_TRUE(childless());
}

TEST_F(SubprocessTest, AStatusThatSomebodyElseTookIsToldAsLost) {
  std::vector<std::string> events;
  set_log_sink([&](const LogEvent& event) { events.emplace_back(event.name); });
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "0"}};
  while (waitpid(process.pid(), nullptr, 0) < 0 && errno == EINTR) {
  }
  EXPECT_EQ(end_of(process), 255);
  set_log_sink({});
  EXPECT_EQ(events, std::vector<std::string>{"exit_status_lost"});
}

/// SIGCHLD is as a test wants it while it lives.
class ChildSignal {
public:
  ChildSignal(void (*handler)(int), int flags) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(SIGCHLD, &action, &before_);
  }
  ChildSignal(const ChildSignal&) = delete;
  ChildSignal& operator=(const ChildSignal&) = delete;
  ~ChildSignal() { sigaction(SIGCHLD, &before_, nullptr); }

private:
  struct sigaction before_ {};
};

TEST_F(SubprocessTest, NoStatusIsLostWhereTheEndOfChildrenIsIgnored) {
  struct Way {
    void (*handler)(int);
    int flags;
  };
  for (const Way way :
       {Way{SIG_IGN, 0}, Way{SIG_DFL, SA_NOCLDWAIT}, Way{[](int) {}, SA_NOCLDWAIT | SA_RESTART}}) {
    const ChildSignal signal{way.handler, way.flags};
    for (int i = 0; i < 50; ++i) { // short enough for some to end before anybody looks
      Subprocess process{loop, {"true"}};
      ASSERT_EQ(end_of(process), 0);
    }
    Subprocess process{loop, {SQUALL_PROCESS_HELPER, "exit_with", "7"}};
    EXPECT_EQ(end_of(process), 7);
  }
}

TEST_F(SubprocessTest, AProgramThatSomebodyElseWaitsForIsNeverMistakenForAnother) {
  set_log_sink([](const LogEvent&) {});
  std::atomic<bool> done{false};
  std::thread reaper{[&] {
    while (!done)
      if (waitpid(-1, nullptr, WNOHANG) <= 0)
        std::this_thread::yield();
  }};
  for (int i = 0; i < 100; ++i) {
    Subprocess process{loop, {"true"}};
    const int returncode = end_of(process);
    EXPECT_TRUE(returncode == 0 || returncode == 255) << returncode;
    EXPECT_FALSE(process.kill());
  }
  done = true;
  reaper.join();
  set_log_sink({});
}

TEST_F(SubprocessTest, NothingOfOursTakesThePlaceOfAStandardStreamThatIsMissing) {
  Helper helper{loop, {"closed_streams"}};
  EXPECT_EQ(helper.rest(), (std::vector<std::string>{"has an input"}));
  EXPECT_EQ(helper.returncode(), 0);
}

// -- streams, environment, folder

TEST_F(SubprocessTest, HasEachOfItsStreams) {
  Subprocess process{loop, {"sh", "-c", "read line; echo out $line; echo err $line >&2"}, all_streams()};
  const TestWrite write{process.standard_input(), "x\n"};
  EXPECT_EQ(read(process.standard_output()), "out x\n");
  EXPECT_EQ(read(process.standard_error()), "err x\n");
  EXPECT_EQ(end_of(process), 0);
}

TEST_F(SubprocessTest, MovesMegabytesThroughAProgram) {
  Subprocess process{loop, {"cat"}, all_streams()};
  const std::string text = pattern(8 * 1024 * 1024);
  const TestWrite write{process.standard_input(), Bytes{text}};
  TestRead read{process.standard_output(), ReadBytes{text.size()}};
  EXPECT_TRUE(run_until(loop, [&] { return read.answered(); }));
  EXPECT_TRUE(read.text() == text);
  process.standard_input().close();
  EXPECT_EQ(end_of(process), 0);
}

TEST_F(SubprocessTest, MayHaveDevNull) {
  SubprocessOptions options;
  options.standard_input = StandardStream::null;
  options.standard_output = StandardStream::null;
  options.standard_error = StandardStream::stream;
  Subprocess process{
      loop,
      {"sh", "-c",
       "cat; echo gone; in=$(readlink /proc/$$/fd/0); out=$(readlink /proc/$$/fd/1); echo $in $out >&2"},
      options};
  EXPECT_EQ(read(process.standard_error()), "/dev/null /dev/null\n");
  EXPECT_THROW(static_cast<void>(process.standard_input()), std::logic_error);
  EXPECT_THROW(static_cast<void>(process.standard_output()), std::logic_error);
  EXPECT_EQ(end_of(process), 0);
}

TEST_F(SubprocessTest, InheritsStreamsByDefault) {
  Subprocess process{loop, {"sh", "-c", "test /proc/self/fd/2 -ef /proc/$PPID/fd/2"}};
  EXPECT_EQ(end_of(process), 0);
}

TEST_F(SubprocessTest, HasTheEnvironmentThatIsGiven) {
  const Command command{SQUALL_PROCESS_HELPER, "environment", "SQUALL_TEST_GIVEN", "SQUALL_TEST_OURS"};
  ASSERT_EQ(setenv("SQUALL_TEST_OURS", "ours", 1), 0);
  SubprocessOptions options = all_streams();
  options.working_directory = "/";
  Subprocess inheriting{loop, command, options};
  EXPECT_EQ(read(inheriting.standard_output()), "SQUALL_TEST_GIVEN is not set\nSQUALL_TEST_OURS=ours\n/\n");
  options.environment.emplace();
  options.environment->emplace("SQUALL_TEST_GIVEN", "a=b c");
  if (const char* const sanitizer = std::getenv("ASAN_OPTIONS"))
    options.environment->emplace("ASAN_OPTIONS", sanitizer);
  Subprocess given{loop, command, options};
  EXPECT_EQ(read(given.standard_output()), "SQUALL_TEST_GIVEN=a=b c\nSQUALL_TEST_OURS is not set\n/\n");
}

TEST_F(SubprocessTest, BeginsWithoutBlockedOrIgnoredSignals) {
  std::signal(SIGUSR2, SIG_IGN);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "signal_state"}, all_streams()};
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  std::signal(SIGUSR2, SIG_DFL);
  EXPECT_EQ(read(process.standard_output()), "blocked 0\nignored 0\n");
}

TEST_F(SubprocessTest, HasNoDescriptorButItsStreams) {
  const Socket leaking{::fcntl(2, F_DUPFD, 100)}; // of somebody who does not set close-on-exec
  ASSERT_TRUE(leaking);
  Subprocess process{loop, {SQUALL_PROCESS_HELPER, "descriptors"}, all_streams()};
  EXPECT_EQ(read(process.standard_output()), "0 1 2 \n");
}

TEST_F(SubprocessTest, WorksWhereStandardStreamsAreClosed) {
  const Socket saved[2] = {Socket{::fcntl(0, F_DUPFD_CLOEXEC, 100)},
                           Socket{::fcntl(1, F_DUPFD_CLOEXEC, 100)}};
  ASSERT_TRUE(saved[0] && saved[1]);
  ::close(0);
  ::close(1);
  std::optional<Subprocess> process;
  process.emplace(loop, Command{"sh", "-c", "read line; echo out $line; echo err $line >&2"}, all_streams());
  const TestWrite write{process->standard_input(), "x\n"};
  const std::string output = read(process->standard_output());
  const std::string errors = read(process->standard_error());
  const int returncode = end_of(*process);
  process.reset();
  run_turns(loop); // until no descriptor is left that may have got one of the numbers
  EXPECT_EQ(::dup2(saved[0].fd(), 0), 0);
  EXPECT_EQ(::dup2(saved[1].fd(), 1), 1);
  EXPECT_EQ(output, "out x\n");
  EXPECT_EQ(errors, "err x\n");
  EXPECT_EQ(returncode, 0);
}

// -- what cannot be started

TEST_F(SubprocessTest, AFailureIsToldAtOnceAndLeavesNothing) {
  const std::size_t before = open_descriptors();
  std::system_error error = failure({"/no/such/program"});
  EXPECT_EQ(error.code(), std::errc::no_such_file_or_directory);
  EXPECT_STREQ(error.what(), "cannot start \"/no/such/program\": No such file or directory");
  EXPECT_EQ(failure({"no-such-program-in-the-path"}).code(), std::errc::no_such_file_or_directory);
  error = failure({"/"});
  EXPECT_EQ(error.code(), std::errc::permission_denied);
  SubprocessOptions elsewhere = all_streams();
  elsewhere.working_directory = "/no/such/folder";
  EXPECT_STREQ(failure({"true"}, elsewhere).what(),
               "cannot start \"true\": the working directory \"/no/such/folder\" cannot be "
               "entered: No such file or directory");
  elsewhere.working_directory = "/";
  EXPECT_STREQ(failure({"./true-no"}, elsewhere).what(),
               "cannot start \"./true-no\" in \"/\": No such file or directory");
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_TRUE(childless());
}

TEST_F(SubprocessTest, AFailureForWantOfDescriptorsLeavesNothing) {
  const std::size_t before = open_descriptors();
  std::vector<Socket> taken;
  for (std::size_t free = 0; free < 10; ++free) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlimit few = limit;
    few.rlim_cur = before + free; // one of which looking at them has taken
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    try {
      Subprocess process{loop, {"true"}, all_streams()};
      setrlimit(RLIMIT_NOFILE, &limit);
      end_of(process);
    } catch (const std::system_error& error) {
      setrlimit(RLIMIT_NOFILE, &limit);
      EXPECT_EQ(error.code(), std::errc::too_many_files_open) << error.what();
      EXPECT_LT(free, 9u);
    }
    EXPECT_EQ(open_descriptors(), before) << free;
  }
}

TEST_F(SubprocessTest, RefusesArgumentsThatCanNeverWork) {
  const auto refused = [&](const Command& command, const SubprocessOptions& options = {}) {
    EXPECT_THROW((Subprocess{loop, command, options}), std::invalid_argument);
  };
  refused({});
  refused({""});
  refused({std::string{"a\0b", 3}});
  refused({"true", std::string{"a\0b", 3}});
  SubprocessOptions options;
  options.standard_output = StandardStream::output;
  refused({"true"}, options);
  for (const auto& [name, value] : std::map<std::string, std::string>{
           {"", "x"}, {"a=b", "x"}, {std::string{"a\0", 2}, "x"}, {"a", std::string{"\0", 1}}}) {
    SubprocessOptions bad;
    bad.environment.emplace();
    bad.environment->emplace(name, value);
    refused({"true"}, bad);
  }
}

TEST_F(SubprocessTest, WorksInSeveralThreadsAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      EventLoop own;
      for (int k = 0; k < 10; ++k) {
        Subprocess process{own, {"sh", "-c", "echo hello; exit 3"}, all_streams()};
        const TestRead read{process.standard_output(), ReadUntilClose{}};
        const bool ended = run_until(own, [&] { return read.answered() && process.returncode(); });
        right += ended && read.text() == "hello\n" && process.returncode() == 3 ? 1 : 0;
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_EQ(right, 40);
}

} // namespace

} // namespace squall
