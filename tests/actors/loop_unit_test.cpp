// SPDX-License-Identifier: BSD-3-Clause
//
// loop_unit_test.cpp: actors on a loop that the test runs itself: order, depth, failures.
#include "actors/caf_compat.hpp"
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

/// Remembers the ints that it gets; a request is answered with the number of messages before it.
class Recorder final : public LoopActor {
public:
  Recorder(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, std::vector<int>& got)
      : LoopActor{config, std::move(unit)}, got_{got} {}
  [[nodiscard]] caf::actor handle() const { return caf::actor_cast<caf::actor>(strong_ref()); }

private:
  void on_message(caf::mailbox_element& message) override {
    if (message.content().match_elements<int>())
      got_.push_back(message.content().get_as<int>(0));
    Reply{message}.deliver(*this, static_cast<int>(got_.size()));
  }
  void on_end(const caf::error&) override {}
  std::vector<int>& got_;
};

class LoopUnitTest : public ::testing::Test {
protected:
  ~LoopUnitTest() override {
    unit_->end_actors();
    unit_->close();
  }
  template <class Predicate>
  void run_until(Predicate predicate) {
    EXPECT_TRUE(wait_until([&] {
      unit_->loop().run_once();
      return predicate();
    }));
  }
  caf::actor spawn(InitialBehavior behavior) {
    return caf::actor_cast<caf::actor>(spawn_handler(unit_, std::move(behavior)));
  }

  Config config_;
  caf::actor_system system_{config_};
  std::shared_ptr<LoopUnit> unit_ = std::make_shared<LoopUnit>(system_, nullptr);
};

TEST_F(LoopUnitTest, ATokenGoesRoundARingOfTenThousandHandlers) {
  std::vector<caf::actor> ring;
  std::size_t steps = 0;
  for (std::size_t i = 0; i < 10'000; ++i)
    ring.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int rounds) {
        ++steps;
        const std::size_t next = (i + 1) % ring.size();
        if (next != 0 || rounds > 1)
          self->send(ring[next], next == 0 ? rounds - 1 : rounds);
      }};
    }));
  caf::anon_send(ring[0], 3);
  run_until([&] { return steps == 30'000; });
  ring.clear();
}

TEST_F(LoopUnitTest, RequestsDownAChainOfHandlersAreAnswered) {
  std::vector<caf::actor> chain;
  for (std::size_t i = 0; i < 500; ++i)
    chain.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int value) -> caf::result<int> {
        if (i + 1 == chain.size())
          return value;
        auto promise = self->make_response_promise<int>();
        self->request(chain[i + 1], caf::infinite, value + 1).then([promise](int result) mutable {
          promise.deliver(result);
        });
        return promise;
      }};
    }));
  int result = -1;
  spawn([&](caf::event_based_actor* self) {
    self->request(chain[0], caf::infinite, 0).then([&](int value) { result = value; });
    return caf::behavior{};
  });
  run_until([&] { return result == 499; });
  chain.clear();
}

/// A message that comes when its sender is deep inside others has to wait; those that the sender sends later,
/// when it is not, must not overtake it.
TEST_F(LoopUnitTest, MessagesKeepTheirOrderWhateverTheDepth) {
  std::vector<int> got;
  caf::actor recorder;
  std::vector<caf::actor> chain;
  unit_->loop().post([&] { recorder = make_loop_actor<Recorder>(unit_, got)->handle(); });
  run_until([&] { return recorder != nullptr; });
  for (std::size_t i = 0; i < 60; ++i)
    chain.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int depth) {
        if (i + 1 < chain.size()) {
          self->send(chain[i + 1], depth + 1);
          return;
        }
        self->send(recorder, 1000 + depth);
      }};
    }));
  // Every handler of a second chain sends before and after it passes on.
  std::vector<caf::actor> around;
  for (std::size_t i = 0; i < 60; ++i)
    around.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int round) {
        const auto base = static_cast<int>(i) * 10;
        self->send(recorder, base + 2 * round);
        if (i + 1 < around.size())
          self->send(around[i + 1], round);
        self->send(recorder, base + 2 * round + 1);
      }};
    }));
  run_until([&] { return true; });
  unit_->loop().post([&] {
    caf::anon_send(around[0], 0);
    caf::anon_send(around[0], 1);
  });
  run_until([&] { return got.size() == 240; });
  std::map<int, std::vector<int>> by_sender;
  for (const int value : got)
    by_sender[value / 10].push_back(value % 10);
  for (const auto& [sender, values] : by_sender)
    EXPECT_EQ(values, (std::vector{0, 1, 2, 3})) << "sender " << sender;
  chain.clear();
  around.clear();
}

/// The deepest of a chain sends to the recorder, which must wait; its caller sends directly afterwards.
TEST_F(LoopUnitTest, AMessageFromTheDepthIsNotOvertakenByItsOwnSender) {
  std::vector<int> got;
  caf::actor recorder;
  unit_->loop().post([&] { recorder = make_loop_actor<Recorder>(unit_, got)->handle(); });
  run_until([&] { return recorder != nullptr; });
  unit_->loop().post([&] {
    std::vector<std::unique_ptr<LoopUnit::Nesting>> deep;
    while (unit_->may_handle_now())
      deep.push_back(std::make_unique<LoopUnit::Nesting>(*unit_));
    EXPECT_GT(deep.size(), 10U);
    caf::anon_send(recorder, 1);
    EXPECT_TRUE(got.empty());
    deep.clear();
    caf::anon_send(recorder, 2);
    caf::anon_send_exit(recorder, caf::exit_reason::normal); // waits, and what follows waits behind it
    caf::anon_send(recorder, 3);
  });
  run_until([&] { return got.size() == 3; });
  EXPECT_EQ(got, (std::vector{1, 2, 3}));
  unit_->loop().post([&] {
    caf::anon_send(recorder, 4); // nothing waits any more
    EXPECT_EQ(got.size(), 4U);
  });
  run_until([&] { return got.size() == 4; });
}

TEST_F(LoopUnitTest, AnActorWhoseConstructorThrowsNeverWas) {
  struct Thrower final : LoopActor {
    Thrower(caf::actor_config& config, std::shared_ptr<LoopUnit> unit) : LoopActor{config, std::move(unit)} {
      throw std::runtime_error{"no"};
    }
    void on_message(caf::mailbox_element&) override {}
    void on_end(const caf::error&) override {}
  };
  const auto before = system_.registry().running();
  EXPECT_THROW(make_loop_actor<Thrower>(unit_), std::runtime_error);
  EXPECT_EQ(system_.registry().running(), before);
  // And the destructor of the test does not wait for it.
}

TEST_F(LoopUnitTest, AnAttachedFunctionThatThrowsHoldsNothingUp) {
  std::vector<int> got;
  caf::actor recorder;
  unit_->loop().post([&] { recorder = make_loop_actor<Recorder>(unit_, got)->handle(); });
  run_until([&] { return recorder != nullptr; });
  recorder->attach_functor([](const caf::error&) { throw std::runtime_error{"attached"}; });
  const auto running = system_.registry().running();
  caf::anon_send_exit(recorder, caf::exit_reason::kill);
  EXPECT_THROW(run_until([] { return false; }), std::runtime_error);
  EXPECT_EQ(system_.registry().running(), running - 1);
  // A handler that is ended the same way, with others of its loop behind it.
  std::size_t count = 0;
  std::vector<caf::actor> handlers;
  for (int i = 0; i < 5; ++i)
    handlers.push_back(spawn([&, i](caf::event_based_actor* self) {
      ++count;
      if (i == 2)
        self->attach_functor([](const caf::error&) { throw std::runtime_error{"attached"}; });
      return i == 2 ? caf::behavior{} : caf::behavior{[](int) {}};
    }));
  for (int turn = 0; turn < 5; ++turn) {
    try {
      unit_->loop().run_once();
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_EQ(count, 5U);
  handlers.clear();
}

TEST_F(LoopUnitTest, WhatIsPostedAfterTheCloseRunsAtOnce) {
  unit_->end_actors();
  unit_->post([] {});
  unit_->close();
  bool ran = false;
  unit_->post([&] { unit_->post([&] { ran = true; }); });
  EXPECT_TRUE(ran);
}

} // namespace

} // namespace squall::actor_tests
