// SPDX-License-Identifier: BSD-3-Clause
//
// fault_test.cpp: conversations in which the n-th call of the transport meets a fault, for each n, until one
// passes untouched. Nothing hangs, nothing is answered twice, and no acknowledged byte is lost where the
// connection lives. Faults of the system calls themselves are in system_call_fault_test.cpp.
#include "tests/net/fault_tour.hpp"
#include "tests/net/memory_transport.hpp"
#include "tests/net/support.hpp"
#include <squall/net/task.hpp>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

namespace squall {

namespace {

using namespace testing_support;

constexpr int lines = 6;

/// What the two sides saw.
struct Conversation {
  std::string acknowledged; ///< what the client wrote, and was told it is done
  std::string client_read;
  std::string server_read;
  int client_ends = 0;
  int server_ends = 0;
  int closes = 0;
  StreamError failure{{}, {}, {}}; ///< of the client
};

std::string line(int number) {
  return pattern(static_cast<std::size_t>(10 + 37 * number), static_cast<std::size_t>(number)) + "\r\n";
}

Task<> client(IOStream stream, Conversation& seen) {
  try {
    for (int i = 0; i < lines; ++i) {
      co_await stream.write(line(i));
      seen.acknowledged += line(i);
      seen.client_read += (co_await stream.read_until("\r\n", 1000)).view();
    }
    co_await stream.write(line(lines)); // and goes, without waiting for anything
    seen.acknowledged += line(lines);
  } catch (const StreamClosedError& error) {
    seen.failure = error.error();
  }
}

Task<> server(IOStream stream, Conversation& seen) {
  try {
    for (int i = 0; i <= lines; ++i) {
      const Bytes received = co_await stream.read_until("\r\n", 1000);
      seen.server_read += received.view();
      if (i < lines)
        co_await stream.write(received);
    }
  } catch (const StreamClosedError&) {
  }
}

class FaultTest : public testing::Test {
protected:
  /// Runs the conversation; the client's transport meets the fault.
  Conversation converse(const std::shared_ptr<FaultPlan>& plan) {
    Conversation seen;
    ManualClock clock;
    EventLoop loop{&clock};
    TaskContext context{loop};
    auto connection = std::make_shared<MemoryConnection>();
    connection->a.capacity = connection->b.capacity = 50; // so that writes block, too
    const StreamOptions options{.read_chunk_size = 16};
    IOStream ours{loop, std::make_unique<MemoryTransport>(connection, connection->a, plan), options};
    IOStream theirs{loop, std::make_unique<MemoryTransport>(connection, connection->b), options};
    ours.set_close_callback([&] { ++seen.closes; });
    auto client_task = std::make_unique<RunningTask>(client(std::move(ours), seen),
                                                     [&](std::exception_ptr) { ++seen.client_ends; });
    auto server_task = std::make_unique<RunningTask>(server(std::move(theirs), seen),
                                                     [&](std::exception_ptr) { ++seen.server_ends; });
    client_task->start(context);
    server_task->start(context);
    for (int turn = 0; turn < 2000 && (seen.server_ends == 0 || seen.closes == 0); ++turn) {
      loop.run_once();
      if (seen.client_ends > 0)
        client_task.reset(); // the last handle goes: the stream closes
    }
    server_task.reset();
    run_turns(loop);
    return seen;
  }

  /// What holds whatever happens.
  void expect_sound(const Conversation& seen) {
    EXPECT_EQ(seen.client_ends, 1) << "no hang, no second end";
    EXPECT_EQ(seen.server_ends, 1);
    EXPECT_EQ(seen.closes, 1);
    EXPECT_TRUE(all().starts_with(seen.server_read));
    EXPECT_TRUE(all().starts_with(seen.client_read));
    EXPECT_TRUE(all().starts_with(seen.acknowledged));
  }

  static std::string all() {
    std::string text;
    for (int i = 0; i <= lines; ++i)
      text += line(i);
    return text;
  }

  /// Runs the conversation for each n until the fault is not met any more.
  template <class Check>
  void for_each_call(Fault fault, Check check) {
    for (int n = 0;; ++n) {
      SCOPED_TRACE("fault at call " + std::to_string(n));
      const auto plan = std::make_shared<FaultPlan>();
      plan->fail_at = n;
      plan->fault = fault;
      const Conversation seen = converse(plan);
      expect_sound(seen);
      if (!plan->met()) {
        EXPECT_GT(n, 30) << "the conversation makes enough calls to be worth it";
        EXPECT_EQ(seen.server_read, all());
        return;
      }
      check(seen);
      if (HasFailure())
        return;
    }
  }

  void expect_untouched(Fault fault) {
    for_each_call(fault, [&](const Conversation& seen) {
      EXPECT_EQ(seen.failure.reason, CloseReason::none);
      EXPECT_EQ(seen.acknowledged, all());
      EXPECT_EQ(seen.server_read, all()) << "every acknowledged byte arrived";
      EXPECT_EQ(seen.client_read + line(lines), all());
    });
  }

  void expect_failure(int error, CloseReason reason) {
    for_each_call({Fault::Kind::error, error}, [&](const Conversation& seen) {
      if (seen.acknowledged == all()) // the fault came when the client had gone
        return;
      EXPECT_EQ(seen.failure.reason, reason);
      EXPECT_EQ(seen.failure.real_error, (std::error_code{error, std::generic_category()}));
    });
  }
};

TEST_F(FaultTest, ACallThatWouldBlockChangesNothing) { expect_untouched({Fault::Kind::would_block}); }

TEST_F(FaultTest, ACallThatMovesOneByteChangesNothing) { expect_untouched({Fault::Kind::one_byte}); }

TEST_F(FaultTest, AResetFailsTheClient) { expect_failure(ECONNRESET, CloseReason::reset); }

TEST_F(FaultTest, ABrokenPipeFailsTheClient) { expect_failure(EPIPE, CloseReason::reset); }

TEST_F(FaultTest, ATimeOutOfTheConnectionFailsTheClient) { expect_failure(ETIMEDOUT, CloseReason::reset); }

TEST_F(FaultTest, ASystemWithoutBuffersFailsTheClientWithItsError) {
  expect_failure(ENOBUFS, CloseReason::transport_error);
}

TEST_F(FaultTest, AnyOtherErrorFailsTheClientWithIt) { expect_failure(EIO, CloseReason::transport_error); }

TEST_F(FaultTest, EveryCallMayMoveOneByteOnly) {
  // There is never room for more than one.
  Conversation seen;
  EventLoop loop;
  TaskContext context{loop};
  auto connection = std::make_shared<MemoryConnection>();
  connection->a.capacity = connection->b.capacity = 1;
  RunningTask client_task{
      client(IOStream{loop, std::make_unique<MemoryTransport>(connection, connection->a)}, seen),
      [&](std::exception_ptr) { ++seen.client_ends; }};
  RunningTask server_task{
      server(IOStream{loop, std::make_unique<MemoryTransport>(connection, connection->b)}, seen),
      [&](std::exception_ptr) { ++seen.server_ends; }};
  client_task.start(context);
  server_task.start(context);
  ASSERT_TRUE(run_until(loop, [&] { return seen.client_ends + seen.server_ends == 2; }));
  EXPECT_EQ(seen.server_read, all());
  EXPECT_EQ(seen.client_read + line(lines), all());
}

/// A client that uses every operation.
class FaultTourTest : public testing::TestWithParam<TourEnd> {
protected:
  struct Run {
    std::shared_ptr<FaultPlan> client_faults = std::make_shared<FaultPlan>();
    std::shared_ptr<FaultPlan> server_faults = std::make_shared<FaultPlan>();
  };

  /// Runs the tour for each n until no call meets the fault any more.
  template <class Check>
  void for_each_call(Fault fault, bool of_server, Check check) {
    for (int n = 0;; ++n) {
      SCOPED_TRACE("fault at call " + std::to_string(n) + (of_server ? " of the server" : " of the client"));
      Run run;
      FaultPlan& plan = *(of_server ? run.server_faults : run.client_faults);
      plan.fail_at = n;
      plan.fault = fault;
      ManualClock clock;
      EventLoop loop{&clock};
      const auto connection = std::make_shared<MemoryConnection>();
      connection->a.capacity = connection->b.capacity = 70; // so that writes block, too
      const StreamOptions options{.read_chunk_size = 16, .half_close = true};
      auto ours = std::make_unique<MemoryTransport>(connection, connection->a, run.client_faults);
      auto theirs = std::make_unique<MemoryTransport>(connection, connection->b, run.server_faults);
      const std::array logs{ours->log, theirs->log};
      Tour tour{loop, clock, GetParam(), IOStream{loop, std::move(ours), options},
                IOStream{loop, std::move(theirs), options}};
      tour.run();
      tour.expect_sound();
      for (const auto& log : logs) {
        EXPECT_EQ(log->closes, 1) << "the transport";
        EXPECT_FALSE(log->watched);
      }
      if (!plan.met()) {
        EXPECT_GT(n, 30) << "the tour makes enough calls to be worth it";
        tour.expect_complete();
        return;
      }
      check(tour);
      if (HasFailure())
        return;
    }
  }

  void expect_untouched(Fault fault) {
    for (const bool of_server : {false, true})
      for_each_call(fault, of_server, [](const Tour& tour) { tour.expect_complete(); });
  }

  void expect_failure(int error, CloseReason reason) {
    for_each_call({Fault::Kind::error, error}, false, [&](const Tour& tour) {
      if (tour.complete) // the fault came when everything was done
        return;
      EXPECT_EQ(tour.failure.reason, reason);
      EXPECT_EQ(tour.failure.real_error, (std::error_code{error, std::generic_category()}));
    });
    for_each_call({Fault::Kind::error, error}, true, [&](const Tour& tour) {
      EXPECT_TRUE(tour.complete || tour.failure.reason == CloseReason::reset)
          << "the client sees a reset: " << to_string(tour.failure);
    });
  }
};
INSTANTIATE_TEST_SUITE_P(Ends, FaultTourTest, testing::ValuesIn(all_tour_ends),
                         [](const auto& tested) { return name_of(tested.param); });

TEST_P(FaultTourTest, ACallThatWouldBlockChangesNothing) { expect_untouched({Fault::Kind::would_block}); }

TEST_P(FaultTourTest, ACallThatMovesOneByteChangesNothing) { expect_untouched({Fault::Kind::one_byte}); }

TEST_P(FaultTourTest, AResetFailsTheOperationThatMeetsIt) { expect_failure(ECONNRESET, CloseReason::reset); }

TEST_P(FaultTourTest, ABrokenPipeFailsTheOperationThatMeetsIt) { expect_failure(EPIPE, CloseReason::reset); }

TEST_P(FaultTourTest, ASystemWithoutBuffersFailsTheOperationThatMeetsIt) {
  expect_failure(ENOBUFS, CloseReason::transport_error);
}

} // namespace

} // namespace squall
