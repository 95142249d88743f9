// SPDX-License-Identifier: BSD-3-Clause
//
// fairness_actors_test.cpp: a peer that floods its message-driven handler does not hold up the others of its
// loop.
#include "tests/actors/support.hpp"

#include <atomic>

namespace squall::actor_tests {

namespace {

class FairnessActors : public ActorTest {
protected:
  FairnessActors() {
    io_.reset();
    io_.emplace(system_, IOOptions{1, nullptr}); // all on one loop
  }
  void TearDown() override {
    enough_ = true;
    first_.reset();
    ActorTest::TearDown();
  }

  /// A line of another connection of the loop comes back, again and again.
  void expect_echoes() {
    Client client{listen([](IOStream stream, Endpoint) -> Task<> {
      for (;;)
        co_await stream.write(co_await stream.read_until("\n"));
    })};
    for (int i = 0; i < 20; ++i) {
      client.send("ping\n");
      ASSERT_EQ(client.receive_line(), "ping\n");
    }
  }

  // What handlers use until the I/O threads end.
  std::atomic<int> handled_{0};
  std::atomic<bool> enough_{false};
  std::optional<caf::actor> first_;
};

constexpr int flood_lines = 200'000;

/// A flooding peer: its lines wait in the kernel and in the stream's buffer, and the handler takes them one
/// by one. In the time of one echo on another connection of the loop it may get through a few turns with
/// their share, not through all.
TEST_F(FairnessActors, AFloodDoesNotHoldUpAnEcho) {
  const Endpoint flooded =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        self->send(self, 0);
        return caf::behavior{[=, this](int) {
          self->request(stream, caf::infinite, ReadUntil{"\n"})
              .then(
                  [=, this](const Bytes&) {
                    ++handled_;
                    self->send(self, 0);
                  },
                  [=](const caf::error&) { self->quit(); });
        }};
      });
  // The echo's handler itself counts how many lines of the flood were handled between two of its own.
  std::atomic<int> least{flood_lines};
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        self->send(self, handled_.load());
        return caf::behavior{[=, this, &least](int before) {
          self->request(stream, caf::infinite, ReadUntil{"\n"})
              .then(
                  [=, this, &least](const Bytes&) {
                    const int now = handled_;
                    if (now > before && now < flood_lines)
                      least = std::min(least.load(), now - before);
                    self->send(self, now);
                  },
                  [=](const caf::error&) { self->quit(); });
        }};
      });
  Client quiet{server};
  quiet.send(std::string(20'000, '\n')); // there is always one more
  Client flood{flooded};
  std::string lines;
  for (int i = 0; i < flood_lines; ++i)
    lines += "x\n";
  flood.send(lines);
  wait_until([&] { return handled_ == flood_lines; });
  quiet.close();
  wait_until([&] { return info().connection_count == 0; });
  end_io();
  EXPECT_LE(least, 256); // two turns' share
}

/// Messages instead of bytes: a handler that sends to itself without end.
TEST_F(FairnessActors, AHandlerThatSendsToItselfDoesNotHoldUpAnEcho) {
  const Client trouble{listen([&](caf::event_based_actor* self, const StreamActor&, const Endpoint&) {
    self->send(self, 0);
    return caf::behavior{[=, this](int) {
      ++handled_;
      if (!enough_)
        self->send(self, 0);
    }};
  })};
  wait_until([&] { return handled_ > 0; });
  const int before = handled_;
  expect_echoes();
  EXPECT_GT(handled_, before + 20); // it went on meanwhile
}

/// Two handlers of one loop that play ping-pong without end, which is handled inside each other.
TEST_F(FairnessActors, TwoHandlersThatSendToEachOtherDoNotHoldUpAnEcho) {
  const Endpoint table =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        self->send(stream, Write{"here\n"});
        if (!first_)
          first_ = self;
        else
          self->send(*first_, caf::actor{self});
        return caf::behavior{[=, this](const caf::actor& other) {
          ++handled_;
          if (!enough_)
            self->send(other, caf::actor{self});
        }};
      });
  Client one{table};
  EXPECT_EQ(one.receive_line(), "here\n");
  Client two{table};
  EXPECT_EQ(two.receive_line(), "here\n");
  wait_until([&] { return handled_ > 0; });
  const int before = handled_;
  expect_echoes();
  EXPECT_GT(handled_, before + 20);
}

} // namespace

} // namespace squall::actor_tests
