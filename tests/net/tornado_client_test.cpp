// SPDX-License-Identifier: BSD-3-Clause
//
// tornado_client_test.cpp: the tests of Tornado's streams (tornado/test/iostream_test.py) that connect, stream in
// chunks, or are on a pipe.
//
// | Tornado's test                              | Ours                                                              |
// | ------------------------------------------- | ----------------------------------------------------------------- |
// | test_connection_closed                      | TheWholeResponseComesBeforeTheClose                               |
// | test_read_until_close                       | AResponseIsReadUntilTheClose                                      |
// | test_read_zero_bytes                        | ReadingNothingTakesNothing                                        |
// | test_future_interface                       | ConnectGivesTheStreamAndASequenceOfReadsWorks                     |
// | test_future_close_while_reading             | ACloseInAReadFailsIt                                              |
// | test_future_read_until_close                | NothingCanBeReadAfterTheRest                                      |
// | test_connection_refused(_legacy)            | ConnectTest.ClosesTheStreamWhenItIsRefused                        |
// | test_gaierror                               | ConnectTest.RefusesWhatIsNoAddressAndLeavesTheStreamAsItWas (names |
// |                                             | are not looked up here)                                           |
// | test_pipe_iostream                          | APipeIsReadLikeASocket                                            |
// | test_streaming_callback(_with_final_...)    | ChunksTest.GiveSoManyBytesAndLeaveTheRest                         |
// | test_streaming_callback_with_data_in_buffer | ChunksTest.UntilTheEndGiveEverything                              |
// | test_streaming_until_close(_future)         | ChunksTest.UntilTheEndGiveEverything                              |
// | test_streaming_read_until_close_after_close | ChunksTest.AfterTheCloseGiveWhatIsUnread                          |
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/pipe_io_stream.hpp>
#include <squall/net/task.hpp>

namespace squall {

namespace {

using namespace testing_support;

const std::string response = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nHello";

/// A server that answers each request; after one of HTTP/1.0, or with `Connection: close`, it closes.
class TornadoClient : public testing::Test {
protected:
  static Task<> serve(IOStream stream) {
    for (bool go_on = true; go_on;) {
      const Result<Bytes> head = co_await stream.read_until("\r\n\r\n").as_result();
      if (!head)
        co_return;
      const std::string_view text = *head;
      go_on = text.find("HTTP/1.0") == text.npos && text.find("Connection: close") == text.npos;
      co_await stream.write(Bytes{response}).as_result();
    }
    stream.close();
  }

  /// Runs a client to its end.
  void run(Task<> (*client)(IOStream stream, Endpoint server)) {
    bool ended = false;
    RunningTask task{client(IOStream{loop}, listener.local_endpoint()), [&](std::exception_ptr error) {
                       ended = true;
                       EXPECT_EQ(error, nullptr);
                     }};
    task.start(context);
    ASSERT_TRUE(run_until(loop, [&] { return ended; }));
  }

  EventLoop loop;
  TaskContext context{loop};
  ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  std::vector<std::unique_ptr<RunningTask>> served;
  Acceptor acceptor{loop, listener, [this](Socket socket, const Endpoint&) {
                      served.push_back(std::make_unique<RunningTask>(serve(IOStream{loop, std::move(socket)}),
                                                                     [](std::exception_ptr) {}));
                      served.back()->start(context);
                    }};
};

TEST_F(TornadoClient, TheWholeResponseComesBeforeTheClose) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    co_await stream.connect(server);
    co_await stream.write("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(co_await stream.read_bytes(response.size()), response);
    static_cast<void>(co_await stream.read_bytes(1).as_result()); // which meets the close
    co_await stream.wait_closed();
    EXPECT_EQ(stream.error().reason, CloseReason::peer_closed);
    EXPECT_FALSE(stream.error().real_error);
  });
}

TEST_F(TornadoClient, AResponseIsReadUntilTheClose) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    co_await stream.connect(server);
    co_await stream.write("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(co_await stream.read_until_close(), response);
  });
}

TEST_F(TornadoClient, ReadingNothingTakesNothing) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    co_await stream.connect(server);
    co_await stream.write("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(co_await stream.read_bytes(9), "HTTP/1.1 ");
    EXPECT_EQ(co_await stream.read_bytes(0), "");
    EXPECT_EQ(co_await stream.read_bytes(3), "200");
  });
}

TEST_F(TornadoClient, ConnectGivesTheStreamAndASequenceOfReadsWorks) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    IOStream same = co_await stream.connect(server);
    stream = IOStream{}; // not needed any more
    co_await same.write("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(co_await same.read_until("\r\n"), "HTTP/1.1 200 OK\r\n");
    const Bytes head = co_await same.read_until("\r\n\r\n");
    EXPECT_TRUE(head.view().ends_with("Content-Length: 5\r\n\r\n"));
    EXPECT_EQ(co_await same.read_bytes(5), "Hello");
  });
}

TEST_F(TornadoClient, ACloseInAReadFailsIt) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    co_await stream.connect(server);
    co_await stream.write("GET / HTTP/1.0\r\n\r\n");
    const auto result = co_await stream.read_bytes(1024 * 1024).as_result();
    EXPECT_FALSE(result.has_value());
    EXPECT_EQ(result.error().reason, CloseReason::peer_closed);
  });
}

TEST_F(TornadoClient, NothingCanBeReadAfterTheRest) {
  run([](IOStream stream, Endpoint server) -> Task<> {
    co_await stream.connect(server);
    co_await stream.write("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    co_await stream.read_until("\r\n\r\n");
    EXPECT_EQ(co_await stream.read_until_close(), "Hello");
    TestRead at_once{stream, ReadBytes{1}};
    EXPECT_EQ(at_once.error().code, StreamErrc::closed) << "without waiting";
  });
}

TEST_F(TornadoClient, APipeIsReadLikeASocket) {
  int fds[2];
  ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
  bool ended = false;
  auto converse = [](IOStream rs, IOStream ws) -> Task<> {
    co_await ws.write("hel");
    co_await ws.write("lo world");
    EXPECT_EQ(co_await rs.read_until(" "), "hello ");
    EXPECT_EQ(co_await rs.read_bytes(3), "wor");
    ws.close();
    EXPECT_EQ(co_await rs.read_until_close(), "ld");
  };
  RunningTask task{converse(PipeIOStream{loop, Socket{fds[0]}}, PipeIOStream{loop, Socket{fds[1]}}),
                   [&](std::exception_ptr error) {
                     ended = true;
                     EXPECT_EQ(error, nullptr);
                   }};
  task.start(context);
  ASSERT_TRUE(run_until(loop, [&] { return ended; }));
}

} // namespace

} // namespace squall
