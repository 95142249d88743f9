// SPDX-License-Identifier: BSD-3-Clause
//
// log_output_test.cpp: standard error that is full, slow, gone, closed or odd costs lines, and nothing else.
#include "net/descriptor.hpp"
#include "net/log_output.hpp"
#include <squall/net/log.hpp>
#include <squall/net/socket.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace squall {

namespace {

const std::string line = std::string(99, 'x') + '\n';

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reading = Socket{ends[0]};
    writing = Socket{ends[1]};
  }
  Socket reading;
  Socket writing;
};

/// What is in a pipe, a socket or a terminal now.
std::string read_now(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  std::string text;
  std::array<char, 4096> buffer;
  for (ssize_t count; (count = ::read(fd, buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(count));
  fcntl(fd, F_SETFL, flags);
  return text;
}

/// Writes until nothing more goes. @returns how many lines went
std::size_t fill(LineOutput& output) {
  std::size_t count = 0;
  while (output.write(line))
    ++count;
  return count;
}

std::string repeated(std::size_t count) {
  std::string text;
  for (; count > 0; --count)
    text += line;
  return text;
}

TEST(LineOutput, DoesNotWaitForTheReaderOfAPipe) {
  const Pipe pipe;
  const int flags = fcntl(pipe.writing.fd(), F_GETFL);
  LineOutput output{pipe.writing.fd()};
  const std::size_t count = fill(output);
  EXPECT_GT(count, 100u);
  EXPECT_FALSE(output.write(line));
  EXPECT_EQ(read_now(pipe.reading.fd()), repeated(count));
  EXPECT_TRUE(output.write("and on\n"));
  EXPECT_EQ(read_now(pipe.reading.fd()), "and on\n");
  EXPECT_EQ(fcntl(pipe.writing.fd(), F_GETFL), flags); // others have it, too
}

TEST(LineOutput, SurvivesAPipeThatNobodyReads) {
  Pipe pipe;
  LineOutput output{pipe.writing.fd()};
  pipe.reading.reset();
  EXPECT_FALSE(output.write(line)); // SIGPIPE would end the test
  EXPECT_FALSE(output.write(line));
}

TEST(LineOutput, FindsANamedPipeAgainWhenItHasAReaderAgain) {
  const std::string path = testing::TempDir() + "squall_log_" + std::to_string(getpid());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  Socket reading{open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  const Socket writing{open(path.c_str(), O_WRONLY | O_CLOEXEC)};
  LineOutput output{writing.fd()};
  reading.reset();
  EXPECT_FALSE(output.write("lost\n"));
  reading = Socket{open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  EXPECT_TRUE(output.write("found\n"));
  EXPECT_EQ(read_now(reading.fd()), "found\n");
  unlink(path.c_str());
}

TEST(LineOutput, DropsForADescriptorThatIsClosedOrOnlyRead) {
  EXPECT_FALSE(LineOutput{-1}.write(line));
  EXPECT_FALSE(LineOutput{1 << 20}.write(line));
  const Socket read_only{open("/dev/zero", O_RDONLY | O_CLOEXEC)};
  LineOutput{read_only.fd()}.write(line); // whether it goes is the device's to say
  const Pipe pipe;
  LineOutput{pipe.reading.fd()}.write(line);
}

TEST(LineOutput, DoesNotWaitForTheReaderOfASocketThatBlocks) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Socket writing{ends[0]};
  Socket reading{ends[1]};
  LineOutput output{writing.fd()};
  std::size_t count = fill(output);
  EXPECT_GT(count, 10u);
  std::string text = read_now(reading.fd());
  count += output.write(line) ? 1 : 0;
  text += read_now(reading.fd());
  EXPECT_EQ(text, repeated(count));
  reading.reset();
  EXPECT_FALSE(output.write(line));
}

TEST(LineOutput, EndsALineThatHasBegunBeforeTheNext) {
  const Pipe pipe;
  const std::string large = std::string(3 * 65536, 'l') + '\n'; // more than a pipe holds
  LineOutput output{pipe.writing.fd()};
  EXPECT_TRUE(output.write(large));
  std::string text;
  for (int lost = 0; lost < 100 && !output.write(line); ++lost) // each time there is more room
    text += read_now(pipe.reading.fd());
  text += read_now(pipe.reading.fd());
  EXPECT_EQ(text, large + line);
}

TEST(LineOutput, DoesNotWaitForATerminalThatIsStopped) {
  const Socket master{posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  ASSERT_TRUE(master && grantpt(master.fd()) == 0 && unlockpt(master.fd()) == 0);
  const Socket terminal{open(ptsname(master.fd()), O_RDWR | O_NOCTTY | O_CLOEXEC)};
  ASSERT_TRUE(terminal);
  termios raw{};
  tcgetattr(terminal.fd(), &raw);
  cfmakeraw(&raw);
  tcsetattr(terminal.fd(), TCSANOW, &raw);
  LineOutput output{terminal.fd()};
  EXPECT_TRUE(output.write(line));
  tcflow(terminal.fd(), TCOOFF);
  EXPECT_FALSE(output.write("lost\n"));
  tcflow(terminal.fd(), TCOON);
  EXPECT_TRUE(output.write("and on\n"));
  EXPECT_EQ(read_now(master.fd()), line + "and on\n");
}

TEST(LineOutput, SurvivesADiskThatIsFull) {
  const Socket full{open("/dev/full", O_WRONLY | O_CLOEXEC)};
  LineOutput output{full.fd()};
  EXPECT_FALSE(output.write(line));
}

TEST(LineOutput, SurvivesAFileThatMustNotGrow) {
  const std::string path = testing::TempDir() + "squall_log_" + std::to_string(getpid());
  const Socket file{open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit limit = before;
  limit.rlim_cur = 150;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  LineOutput output{file.fd()};
  EXPECT_TRUE(output.write(line));
  EXPECT_TRUE(output.write(line)); // it has begun
  EXPECT_FALSE(output.write(line));
  EXPECT_FALSE(output.write(line)); // SIGXFSZ would end the test
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(output.write("last\n"));
  std::string text(300, '\0');
  text.resize(static_cast<std::size_t>(pread(file.fd(), text.data(), text.size(), 0)));
  EXPECT_EQ(text, line + line + "last\n");
  unlink(path.c_str());
}

TEST(LineOutput, DoesNotWaitWhereNoDescriptorIsLeft) {
  const Pipe pipe;
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit limit = before;
  limit.rlim_cur = 1; // which poll(2) looks at, too
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  LineOutput output{pipe.writing.fd()};
  const std::size_t count = fill(output);
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_GT(count, 100u);
  EXPECT_EQ(read_now(pipe.reading.fd()), repeated(count));
}

TEST(LineOutput, LeavesASignalThatWasPendingBefore) {
  Pipe pipe;
  pipe.reading.reset();
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  raise(SIGPIPE);
  EXPECT_FALSE(LineOutput{pipe.writing.fd()}.write(line));
  const timespec at_once{};
  EXPECT_EQ(sigtimedwait(&set, nullptr, &at_once), SIGPIPE);
  EXPECT_EQ(sigtimedwait(&set, nullptr, &at_once), -1);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// -- the log

/// Standard error is something else while it lives.
class StandardError {
public:
  explicit StandardError(int fd) : before_{fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, first_other_descriptor)} {
    if (fd >= 0)
      dup2(fd, STDERR_FILENO);
    else
      close(STDERR_FILENO);
    set_log_rate(0, 1);
  }
  StandardError(const StandardError&) = delete;
  StandardError& operator=(const StandardError&) = delete;
  ~StandardError() {
    dup2(before_.fd(), STDERR_FILENO);
    set_log_sink({});
    log_event(LogLevel::error, "test", "this one tells what was dropped to whom it does not concern");
    set_log_rate(10, 20);
  }

private:
  Socket before_;
};

std::size_t count_of(const std::string& text, char c) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), c));
}

TEST(LogOutput, TellsHowManyLinesWereDroppedWhenThereIsRoomAgain) {
  const Pipe pipe;
  const StandardError replaced{pipe.writing.fd()};
  constexpr std::size_t count = 3000;
  for (std::size_t i = 0; i < count; ++i)
    log_event(LogLevel::info, "e", "m", {{"v", std::string(100, 'x')}});
  const std::size_t written = count_of(read_now(pipe.reading.fd()), '\n');
  ASSERT_LT(written, count);
  log_event(LogLevel::info, "later", "there is room");
  const std::string told = read_now(pipe.reading.fd());
  EXPECT_NE(told.find(" warning log_lines_dropped: lines of the log were dropped count=\"" +
                      std::to_string(count - written) + "\"\n"),
            std::string::npos)
      << told;
  EXPECT_EQ(count_of(told, '\n'), 2u);
  EXPECT_TRUE(told.ends_with(" info later: there is room\n"));
  log_event(LogLevel::info, "later", "there is room");
  EXPECT_EQ(count_of(read_now(pipe.reading.fd()), '\n'), 1u); // it is told once
}

TEST(LogOutput, GoesOnWhereStandardErrorIsGoneOrClosed) {
  Pipe pipe;
  {
    const StandardError replaced{pipe.writing.fd()};
    pipe.reading.reset();
    for (int i = 0; i < 10; ++i)
      log_event(LogLevel::info, "e", "m");
  }
  const StandardError closed{-1};
  for (int i = 0; i < 10; ++i)
    log_event(LogLevel::info, "e", "m");
}

TEST(LogOutput, FollowsStandardErrorToAnotherFile) {
  const Pipe first;
  const Pipe second;
  const StandardError replaced{first.writing.fd()};
  log_event(LogLevel::info, "one", "m");
  dup2(second.writing.fd(), STDERR_FILENO);
  log_event(LogLevel::info, "two", "m");
  EXPECT_EQ(count_of(read_now(first.reading.fd()), '\n'), 1u);
  EXPECT_TRUE(read_now(second.reading.fd()).ends_with(" info two: m\n"));
}

/// Stays inside its first call until it is let go, and notes the names that it gets.
class StuckSink {
public:
  StuckSink() {
    set_log_rate(0, 1);
    set_log_sink([this](const LogEvent& event) {
      inside = true;
      while (!let_go.load())
        std::this_thread::yield();
      names.emplace_back(event.name);
      if (event.name == "log_lines_dropped")
        dropped = event.fields.at(0).second;
    });
    stuck = std::thread{[] { log_event(LogLevel::info, "first", "m"); }};
    while (!inside.load())
      std::this_thread::yield();
  }
  StuckSink(const StuckSink&) = delete;
  StuckSink& operator=(const StuckSink&) = delete;
  ~StuckSink() {
    end();
    set_log_sink({});
    set_log_rate(10, 20);
  }
  void end() {
    let_go = true;
    if (stuck.joinable())
      stuck.join();
  }

  std::atomic<bool> inside{false};
  std::atomic<bool> let_go{false};
  std::vector<std::string> names; ///< for who has called end()
  std::string dropped;
  std::thread stuck;
};

TEST(LogSinkOfTheUser, HoldsUpOneThreadOnlyWhenItIsSlow) {
  StuckSink sink;
  std::vector<std::string> expected{"first"};
  for (int i = 0; i < 100; ++i) {
    expected.push_back("e" + std::to_string(i));
    log_event(LogLevel::info, expected.back(), "m");
  }
  sink.end();
  EXPECT_EQ(sink.names, expected);
  EXPECT_EQ(sink.dropped, "");
}

TEST(LogSinkOfTheUser, IsToldWhatDidNotFitIntoTheQueue) {
  StuckSink sink;
  for (int i = 0; i < 300; ++i)
    log_event(LogLevel::info, "e", "m");
  sink.end();
  EXPECT_EQ(sink.names.size(), 1u + 256u + 1u);
  EXPECT_EQ(sink.dropped, "44");
}

TEST(LogSinkOfTheUser, TellsAnEventThatItThrewAtAsDropped) {
  std::vector<std::string> names;
  set_log_rate(0, 1);
  set_log_sink([&](const LogEvent& event) {
    if (event.name == "bad")
      throw std::runtime_error{"the disk is full"};
    names.emplace_back(event.name);
  });
  for (const char* name : {"one", "bad", "bad", "two"})
    log_event(LogLevel::info, name, "m");
  set_log_sink({});
  set_log_rate(10, 20);
  EXPECT_EQ(names, (std::vector<std::string>{"one", "log_lines_dropped", "log_lines_dropped", "two"}));
}

TEST(LogSinkOfTheUser, ThatIsReplacedLeavesWhatWaitsToTheNext) {
  StuckSink sink;
  log_event(LogLevel::info, "waits", "m");
  std::vector<std::string> names;
  std::thread replacing{
      [&] { set_log_sink([&](const LogEvent& event) { names.emplace_back(event.name); }); }};
  sink.end();
  replacing.join();
  set_log_sink({});
  EXPECT_EQ(sink.names.size() + names.size(), 2u);
  EXPECT_EQ(sink.names.front(), "first");
}

} // namespace

} // namespace squall
