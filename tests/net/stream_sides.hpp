// SPDX-License-Identifier: BSD-3-Clause
//
// stream_sides.hpp: the fixture of tests of ends, closes and time limits.
#pragma once

#include "tests/net/stream_contract.hpp"
#include <squall/net/task.hpp>

namespace squall::testing_support {

inline StreamError closed_by(CloseReason reason) { return {StreamErrc::closed, reason, {}}; }

/// Remembers the outcome of a shutdown_write or a close_after_flush; a refusal is its outcome as well.
struct TestEnd final : WriteCompletion {
  void on_write(Result<void> result) override {
    ++answers;
    outcome.emplace(std::move(result));
  }
  void take(const std::optional<StreamError>& refused) {
    if (refused)
      on_write(*refused);
  }
  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] bool succeeded() const { return outcome && outcome->has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }

  std::optional<Result<void>> outcome;
  int answers = 0;
};

class SidesTest : public StreamTest {
protected:
  void start(Task<> task) {
    running = std::make_unique<RunningTask>(std::move(task), [this](std::exception_ptr error) {
      ended = true;
      failure = error;
    });
    running->start(context);
  }

  ~SidesTest() override { // the stream goes with the base: its callbacks must not outlive what they count
    if (!stream())
      return;
    stream().set_end_callback(nullptr);
    stream().set_close_callback(nullptr, EndNotice::lenient);
  }

  void pass(Duration duration) {
    clock.advance(duration);
    run_turns(loop, 3);
  }

  /// Reads until the stream's side ends.
  void receive_all() {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().saw_end || peer().saw_error;
    }));
  }

  void receive(std::size_t size) {
    ASSERT_TRUE(run_until([&] {
      peer().receive();
      return peer().received.size() >= size;
    }));
  }

  /// Counts the ends and closes that the stream tells.
  void count_callbacks() {
    stream().set_end_callback([this] { ++ends; });
    stream().set_close_callback([this] { ++closes; }, EndNotice::lenient);
  }

  [[nodiscard]] bool is(std::string_view name) const { return GetParam().name == name; }

  int ends = 0;
  int closes = 0;
  TaskContext context{loop};
  bool ended = false;
  std::exception_ptr failure;
  std::unique_ptr<RunningTask> running;
};

} // namespace squall::testing_support
