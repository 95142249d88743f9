// SPDX-License-Identifier: BSD-3-Clause
//
// pipe_stream_test.cpp: streams on pipes.
#include "tests/net/support.hpp"
#include <squall/net/pipe_io_stream.hpp>
#include <squall/net/task.hpp>

#include <csignal>
#include <cstdlib>

namespace squall {

namespace {

using namespace testing_support;

class PipeTest : public testing::Test {
protected:
  PipeTest() { // what a program has that never thought of it: SIGPIPE ends it
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &standard, &before_);
    make({});
  }
  ~PipeTest() override { ::sigaction(SIGPIPE, &before_, nullptr); }

  void make(const StreamOptions& options) {
    int fds[2];
    ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    reader = PipeIOStream{loop, Socket{fds[0]}, options};
    writer = PipeIOStream{loop, Socket{fds[1]}, options};
  }
  template <class Operation>
  void await(Operation& operation) {
    ASSERT_TRUE(run_until(loop, [&] { return operation.answered(); }));
  }
  static std::error_code system_error(int error) { return {error, std::generic_category()}; }

  ManualClock clock;
  EventLoop loop{&clock};
  IOStream reader;
  IOStream writer;

private:
  struct sigaction before_ {};
};

TEST_F(PipeTest, CarriesBytesOneWay) {
  TestRead read{reader, ReadBytes{4}};
  TestWrite write{writer, "hello"};
  await(read);
  EXPECT_EQ(read.text(), "hell");
  EXPECT_TRUE(write.succeeded());
  reader.set_nodelay(true); // no effect
  EXPECT_EQ(reader.peer_endpoint(), Endpoint{});
}

TEST_F(PipeTest, CarriesMoreThanItHolds) {
  const std::string sent = pattern(3'000'000);
  TestWrite write{writer, Bytes{sent}};
  TestWrite end{writer, "\r\n"};
  TestRead read{reader, ReadUntil{"\r\n"}};
  await(read);
  EXPECT_EQ(read.text(), sent + "\r\n");
  EXPECT_TRUE(write.succeeded());
}

TEST_F(PipeTest, SendsPiecesAndFiles) {
  writer.write_pieces({"a", "b", "c"}, [](Result<void> result) { EXPECT_TRUE(result.has_value()); });
  static_cast<void>(writer.write_file("/proc/self/exe", 1, 3));
  TestRead read{reader, ReadBytes{6}};
  await(read);
  EXPECT_EQ(read.text(), "abcELF");
}

TEST_F(PipeTest, EndsWhenTheWriterLeaves) {
  static_cast<void>(writer.write("1234"));
  TestRead one{reader, ReadBytes{1}};
  await(one);
  writer.close();
  TestRead rest{reader, ReadUntilClose{}};
  await(rest);
  EXPECT_EQ(rest.text(), "234");
  EXPECT_EQ(reader.error().reason, CloseReason::peer_closed);
}

TEST_F(PipeTest, NoticesThatTheReaderLeft) {
  int closes = 0;
  writer.set_close_callback([&] { ++closes; });
  run_turns(loop);
  EXPECT_EQ(closes, 0);
  reader.close();
  ASSERT_TRUE(run_until(loop, [&] { return closes == 1; }));
  EXPECT_EQ(writer.error(), (StreamError{StreamErrc::closed, CloseReason::reset, system_error(EPIPE)}));
}

TEST_F(PipeTest, RaisesNoSignalWhenItWritesToNobody) {
  reader.close();
  reader = IOStream{};
  TestWrite write{writer, "lost"};
  await(write);
  EXPECT_EQ(write.error().reason, CloseReason::reset);
  sigset_t pending;
  ASSERT_EQ(::sigpending(&pending), 0);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0) << "none is left for later";
}

TEST_F(PipeTest, LeavesASignalOfOthersPending) {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  sigset_t before;
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &only, &before), 0);
  ASSERT_EQ(::pthread_kill(::pthread_self(), SIGPIPE), 0);
  reader.close();
  reader = IOStream{};
  TestWrite write{writer, "lost"};
  await(write);
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 1);
  const timespec at_once{};
  EXPECT_EQ(::sigtimedwait(&only, nullptr, &at_once), SIGPIPE);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(PipeTest, HasOneDirection) {
  TestRead read{writer, ReadBytes{1}};
  await(read);
  EXPECT_EQ(read.error(),
            (StreamError{StreamErrc::closed, CloseReason::transport_error, system_error(EBADF)}));
  TestWrite write{reader, "x"};
  await(write);
  EXPECT_EQ(write.error(),
            (StreamError{StreamErrc::closed, CloseReason::transport_error, system_error(EBADF)}));
}

TEST_F(PipeTest, ReadsATerminalToTheLastLine) {
  Socket master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  ASSERT_GE(master.fd(), 0);
  ASSERT_EQ(::grantpt(master.fd()), 0);
  ASSERT_EQ(::unlockpt(master.fd()), 0);
  PipeIOStream terminal{loop, Socket{::open(::ptsname(master.fd()), O_RDWR | O_NOCTTY | O_CLOEXEC)}};
  ASSERT_EQ(::write(master.fd(), "a\nb\n", 4), 4);
  TestRead read{terminal, ReadUntil{"b\n"}};
  await(read);
  EXPECT_EQ(read.text(), "a\nb\n");
  master.reset();
  TestRead end{terminal, ReadUntilClose{}};
  await(end);
  EXPECT_TRUE(terminal.closed());
}

TEST_F(PipeTest, RefusesARegularFile) {
  EXPECT_THROW((PipeIOStream{loop, Socket{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)}}),
               std::system_error);
  EXPECT_THROW((PipeIOStream{loop, Socket{}}), std::system_error);
}

TEST_F(PipeTest, KeepsTheLimitsOfAStream) {
  make({.max_buffer_size = 1000, .max_write_buffer_size = 100});
  TestWrite refused{writer, Bytes{pattern(101)}};
  EXPECT_EQ(refused.error().code, StreamErrc::buffer_full);
  TestWrite exact{writer, Bytes{pattern(100)}};
  TestRead read{reader, ReadUntil{"\n", 99}};
  await(read);
  EXPECT_EQ(read.error().reason, CloseReason::limit);
  EXPECT_EQ(reader.unread_size(), 100u);
}

TEST_F(PipeTest, WorksInCoroutines) {
  TaskContext context{loop};
  std::string got;
  bool ended = false;
  auto run = [](IOStream from, IOStream to, std::string& line) -> Task<> {
    co_await to.write("line\n");
    line = (co_await from.read_until("\n")).str();
  };
  RunningTask task{run(reader, writer, got), [&](std::exception_ptr error) {
                     ended = true;
                     EXPECT_EQ(error, nullptr);
                   }};
  task.start(context);
  ASSERT_TRUE(run_until(loop, [&] { return ended; }));
  EXPECT_EQ(got, "line\n");
}

} // namespace

} // namespace squall
