// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor_memory_test.cpp: what a stream actor holds of requests, also of those whose requester has ended.
#include "tests/actors/support.hpp"
#include "tests/memory_in_use.hpp"
#include <squall/net/memory_budget.hpp>

namespace squall::actor_tests {

namespace {

constexpr std::size_t mib = 1024 * 1024;

class StreamActorMemory : public ActorTest {
protected:
  /// A stream whose peer takes no more.
  void connect_blocked() {
    StreamOptions options = short_linger();
    options.memory_budget = budget_;
    connected_ = connect(options, 4096);
    self()->send(connected_.stream, Write{Bytes{pattern(8 * mib)}});
    sync(connected_.stream);
    before_ = testing_support::memory_in_use();
    price_before_ = budget_->used();
  }
  /// Asks without a timeout, which would hold memory of its own, and does not wait for the answer.
  template <class Message>
  void leave(int count, Message message) {
    for (int i = 0; i < count; ++i)
      static_cast<void>(self()->request(connected_.stream, caf::infinite, message));
    sync(connected_.stream);
  }
  void expect_fair(std::size_t least) const {
    constexpr std::size_t free_of_price = 256 * 1024; // what actors and threads keep for later
    const std::size_t memory = testing_support::memory_in_use() - before_;
    const std::size_t price = budget_->used() - price_before_;
    EXPECT_GE(price, least);
    EXPECT_LE(memory, price + price / 2 + free_of_price);
    EXPECT_LE(price, memory + memory / 2 + free_of_price);
  }
  /// Runs `ask` in an actor that ends before it gets an answer, and waits for its end.
  template <class Ask>
  void ask_and_end(Ask ask) {
    const caf::actor asker = system_.spawn([=](caf::event_based_actor* own) {
      ask(own);
      own->quit();
    });
    self()->wait_for(asker);
  }

  std::shared_ptr<MemoryBudget> budget_ = std::make_shared<MemoryBudget>(1024 * mib);
  Connected connected_;
  std::size_t before_ = 0;
  std::size_t price_before_ = 0;
};

TEST_F(StreamActorMemory, RequestsOfOneByteCountWhatTheyHold) {
  if (!testing_support::memory_is_told())
    GTEST_SKIP() << "malloc does not tell";
  connect_blocked();
  leave(100'000, Write{Bytes{"x"}});
  expect_fair(9 * mib);
}

TEST_F(StreamActorMemory, EmptyRequestsCountWhatTheyHold) {
  if (!testing_support::memory_is_told())
    GTEST_SKIP() << "malloc does not tell";
  connect_blocked();
  leave(100'000, Write{});
  expect_fair(9 * mib);
}

TEST_F(StreamActorMemory, RequestsThatWaitCountWhatTheyHold) {
  if (!testing_support::memory_is_told())
    GTEST_SKIP() << "malloc does not tell";
  connect_blocked();
  leave(20'000, AwaitClose{});
  expect_fair(3 * mib);
}

TEST_F(StreamActorMemory, AWriteThatNobodyWaitsForCostsItsBytes) {
  connect_blocked();
  for (const auto* line : {"", "line\n"}) { // the first round leaves what the loop keeps for later
    before_ = testing_support::memory_in_use();
    for (int i = 0; i < 100'000; ++i) {
      self()->send(connected_.stream, Write{Bytes{line}});
      if (i % 1000 == 999)
        sync(
            connected_.stream); // so that the loop's queue does not grow with the time that the loop is given
    }
  }
  EXPECT_LE(budget_->used() - price_before_, 600'000U);
  if (testing_support::memory_is_told()) {
    EXPECT_LE(testing_support::memory_in_use() - before_, mib);
  }
}

TEST_F(StreamActorMemory, WaitsOfThoseWhoHaveEndedAreForgotten) {
  StreamOptions options = short_linger();
  options.memory_budget = budget_;
  connected_ = connect(options);
  const auto alive = begin(connected_.stream, AwaitClose{});
  for (int i = 0; i < 300; ++i)
    ask_and_end([stream = connected_.stream](caf::event_based_actor* own) {
      own->request(stream, caf::infinite, AwaitClose{}).then([](const StreamError&) {});
    });
  sync(connected_.stream);
  EXPECT_LE(budget_->used(), 4096U) << "of 300 no more than 16 are left";
  self()->send(connected_.stream, Close{});
  EXPECT_TRUE(take<StreamError>(alive));
}

TEST_F(StreamActorMemory, AReadOfOneWhoHasEndedMakesRoomForTheNext) {
  connected_ = connect(short_linger());
  ask_and_end([stream = connected_.stream](caf::event_based_actor* own) {
    own->request(stream, caf::infinite, ReadUntil{"\n"}).then([](const Bytes&) {});
  });
  const auto next = begin(connected_.stream, ReadBytes{6});
  sync(connected_.stream);
  connected_.client.send("hello\n");
  EXPECT_EQ(text(take<Bytes>(next)), "hello\n");
}

} // namespace

} // namespace squall::actor_tests
