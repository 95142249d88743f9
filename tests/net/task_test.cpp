// SPDX-License-Identifier: BSD-3-Clause
//
// task_test.cpp: coroutines that await each other and timers.
#include "tests/net/support.hpp"
#include <squall/net/task.hpp>

#include <memory>
#include <stdexcept>
#include <string>

namespace squall {

namespace {

using namespace testing_support;

class TaskTest : public testing::Test {
protected:
  /// Starts `task`; its end shows in `ends` and `failure`.
  void start(Task<> task) {
    running = std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ++ends;
      failure = error;
    });
    running->start(context);
  }
  void pass(Duration duration) {
    clock.advance(duration);
    loop.run_once();
  }
  std::string failure_text() const {
    try {
      if (failure)
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      return error.what();
    }
    return "none";
  }

  ManualClock clock;
  EventLoop loop{&clock};
  TaskContext context{loop};
  std::string order;
  int ends = 0;
  std::exception_ptr failure;
  std::unique_ptr<RunningTask> running; // last: it goes first
};

/// Notes when it goes.
struct Witness {
  explicit Witness(std::string& given, std::string given_name) : order{given}, name{std::move(given_name)} {}
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  ~Witness() { order += "~" + name + " "; }
  std::string& order;
  std::string name;
};

Task<int> add(int a, int b) { co_return a + b; }

Task<> fail_with(std::string text) {
  throw std::runtime_error{text};
  co_return;
}

TEST_F(TaskTest, BeginsWhenItIsStartedAndNotBefore) {
  const auto body = [&]() -> Task<> {
    order += "ran";
    co_return;
  };
  Task<> task = body();
  EXPECT_EQ(order, "");
  start(std::move(task));
  EXPECT_EQ(order, "ran");
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(failure, nullptr);
}

TEST_F(TaskTest, NeedNotBeStarted) {
  const auto body = [&](std::shared_ptr<int> held) -> Task<> {
    order += std::to_string(*held);
    co_return;
  };
  const auto held = std::make_shared<int>(1);
  {
    const Task<> task = body(held);
    const RunningTask never_started{body(held), [](std::exception_ptr) { FAIL(); }};
    EXPECT_EQ(held.use_count(), 3);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(order, "");
}

TEST_F(TaskTest, ReturnsValuesToWhoAwaitsIt) {
  const auto body = [&]() -> Task<> {
    order += std::to_string(co_await add(1, 2));
    order += std::to_string(co_await add(co_await add(1, 1), co_await add(2, 2)));
  };
  start(body());
  EXPECT_EQ(order, "36");
}

TEST_F(TaskTest, ReturnsValuesThatCanOnlyMove) {
  const auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  const auto pass_on = [&]() -> Task<std::unique_ptr<int>> { co_return co_await make(); };
  const auto body = [&]() -> Task<> {
    const std::unique_ptr<int> value = co_await pass_on();
    order += std::to_string(*value);
  };
  start(body());
  EXPECT_EQ(order, "7");
}

TEST_F(TaskTest, ReturnsWhatConvertsToItsType) {
  const auto text = []() -> Task<std::string> { co_return "text"; };
  const auto body = [&]() -> Task<> { order += co_await text(); };
  start(body());
  EXPECT_EQ(order, "text");
}

TEST_F(TaskTest, PassesExceptionsToWhoAwaitsIt) {
  const auto inner = [&]() -> Task<int> {
    const Witness witness{order, "inner"};
    co_await fail_with("deep");
    co_return 1;
  };
  const auto body = [&]() -> Task<> {
    try {
      co_await inner();
    } catch (const std::runtime_error& error) {
      order += error.what();
    }
  };
  start(body());
  EXPECT_EQ(order, "~inner deep");
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(failure, nullptr);
}

TEST_F(TaskTest, TellsTheExceptionThatNobodyCaught) {
  const auto body = [&]() -> Task<> { co_await fail_with("lost"); };
  start(body());
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(failure_text(), "lost");
}

TEST_F(TaskTest, GoesOnAfterASleepOnTheLoopsClock) {
  const auto body = [&]() -> Task<> {
    order += "a";
    co_await sleep_for(10ms);
    order += "b";
    co_await sleep_for(10ms);
    order += "c";
  };
  start(body());
  EXPECT_EQ(order, "a");
  pass(9ms);
  EXPECT_EQ(order, "a");
  pass(1ms);
  EXPECT_EQ(order, "ab");
  EXPECT_EQ(ends, 0);
  pass(10ms);
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(ends, 1);
}

TEST_F(TaskTest, WaitsForTheNextTurnInASleepOfZeroOrLess) {
  const auto body = [&]() -> Task<> {
    for (const Duration delay : {Duration{0}, Duration{-1h}, Duration{0}}) {
      co_await sleep_for(delay);
      order += "x";
    }
  };
  start(body());
  EXPECT_EQ(order, "");
  for (const char* expected : {"x", "xx", "xxx"}) {
    loop.run_once(1h); // does not wait
    EXPECT_EQ(order, expected);
  }
}

TEST_F(TaskTest, InheritsItsContextHoweverDeep) {
  const auto deepest = [&]() -> Task<> {
    co_await sleep_for(1ms);
    order += "woke ";
  };
  const auto middle = [&]() -> Task<int> {
    co_await deepest();
    co_return 1;
  };
  const auto body = [&]() -> Task<> { order += std::to_string(co_await middle() + co_await middle()); };
  start(body());
  pass(1ms);
  pass(1ms);
  EXPECT_EQ(order, "woke woke 2");
}

TEST_F(TaskTest, DestroysItsFramesFromTheInsideWhenItIsDestroyedWhileItSleeps) {
  const auto inner = [&]() -> Task<> {
    const Witness witness{order, "inner"};
    co_await sleep_for(1ms);
    order += "woke ";
  };
  const auto body = [&]() -> Task<> {
    const Witness witness{order, "outer"};
    co_await inner();
    order += "went on ";
  };
  start(body());
  running.reset();
  EXPECT_EQ(order, "~inner ~outer ");
  pass(1h);
  EXPECT_EQ(order, "~inner ~outer ");
  EXPECT_EQ(ends, 0) << "it did not end: it was taken away";
}

TEST_F(TaskTest, MayBeDestroyedByWhatHearsOfItsEnd) {
  const auto body = [&]() -> Task<> {
    const Witness witness{order, "frame"};
    co_await sleep_for(1ms);
  };
  running = std::make_unique<RunningTask>(body(), [this](std::exception_ptr) {
    running.reset();
    order += "ended ";
  });
  running->start(context);
  pass(1ms);
  EXPECT_EQ(order, "~frame ended ");
  EXPECT_EQ(running, nullptr);
}

TEST_F(TaskTest, MayBeDestroyedByItsEndInsideStart) {
  const auto body = []() -> Task<> { co_return; };
  running = std::make_unique<RunningTask>(body(), [this](std::exception_ptr) {
    running.reset();
    ++ends;
  });
  running->start(context);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(running, nullptr);
}

/// Awaiting it takes the task away at once.
struct Destroy {
  std::unique_ptr<RunningTask>& task;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const { task.reset(); }
  void await_resume() const noexcept {}
};

TEST_F(TaskTest, MayBeDestroyedByWhatANestedTaskAwaits) {
  const auto inner = [&]() -> Task<> {
    const Witness witness{order, "inner"};
    co_await Destroy{running};
    order += "went on ";
  };
  const auto body = [&]() -> Task<> {
    const Witness witness{order, "outer"};
    co_await inner();
    order += "went on ";
  };
  start(body());
  EXPECT_EQ(order, "~inner ~outer ");
  EXPECT_EQ(ends, 0);
}

TEST_F(TaskTest, MayStartAnotherFromItsEnd) {
  std::unique_ptr<RunningTask> second;
  const auto next = [&]() -> Task<> {
    order += "second ";
    co_return;
  };
  const auto body = [&]() -> Task<> {
    order += "first ";
    co_return;
  };
  running = std::make_unique<RunningTask>(body(), [&](std::exception_ptr) {
    second = std::make_unique<RunningTask>(next(), [&](std::exception_ptr) { order += "end"; });
    second->start(context);
  });
  running->start(context);
  EXPECT_EQ(order, "first second end");
}

TEST_F(TaskTest, AwaitsAMillionTasksInARowWithoutGrowingTheStack) {
  const auto nothing = []() -> Task<int> { co_return 1; };
  const auto body = [&]() -> Task<> {
    int sum = 0;
    for (int i = 0; i < 1'000'000; ++i)
      sum += co_await nothing();
    order = std::to_string(sum);
  };
  start(body());
  EXPECT_EQ(order, "1000000");
}

TEST_F(TaskTest, AwaitsTasksInARowThatEndLaterWithoutGrowingTheStack) {
  const auto sometimes = [](bool wait) -> Task<> {
    if (wait)
      co_await sleep_for(0ms);
  };
  const auto body = [&]() -> Task<> {
    for (int i = 0; i < 200'000; ++i)
      co_await sometimes(i % 50'000 == 0);
    order = "done";
  };
  start(body());
  run_turns(loop, 10);
  EXPECT_EQ(order, "done");
}

TEST_F(TaskTest, IsLeftWaitingByTheEndOfItsLoop) {
  auto own = std::make_unique<EventLoop>();
  TaskContext own_context{*own};
  const auto body = [&]() -> Task<> {
    const Witness witness{order, "frame"};
    co_await sleep_for(1h);
    order += "woke ";
  };
  auto task = std::make_unique<RunningTask>(body(), [&](std::exception_ptr) { ++ends; });
  task->start(own_context);
  own.reset();
  EXPECT_EQ(order, "");
  task.reset();
  EXPECT_EQ(order, "~frame ");
}

} // namespace

} // namespace squall
