// SPDX-License-Identifier: BSD-3-Clause
//
// target_down_test.cpp: what waits for the answer of another actor ends with that actor.
#include "actors/caf_compat.hpp"
#include "tests/actors/support.hpp"

#include <caf/forwarding_actor_proxy.hpp>

namespace squall::actor_tests {

namespace {

class TargetDown : public ActorTest {
protected:
  /// Takes ints, answers nothing, and quits when it has got `count`.
  caf::actor spawn_taker(int count) {
    return system_.spawn([this, count](caf::event_based_actor* self) {
      const auto kept = std::make_shared<std::vector<caf::response_promise>>();
      return caf::behavior{[=, this](int) {
                             kept->push_back(self->make_response_promise());
                             ++taken_;
                             if (static_cast<int>(kept->size()) == count)
                               self->quit();
                             return kept->back();
                           },
                           [=, this](const Chunk&) {
                             kept->push_back(self->make_response_promise());
                             ++taken_;
                             if (static_cast<int>(kept->size()) == count)
                               self->quit();
                             return kept->back();
                           }};
    });
  }
  /// Serves coroutines that ask `target` and write the outcome.
  Endpoint listen_for(const caf::actor& target) {
    return listen([target](IOStream stream, Endpoint) -> Task<> {
      const auto result = co_await request<int>(target, caf::infinite, 1).as_result();
      const std::string outcome = result ? std::to_string(*result) : error_text(result.error());
      co_await stream.write(outcome + "\n");
    });
  }

  std::atomic<int> taken_{0};
};

TEST_F(TargetDown, ARequestWithoutATimeoutEndsWithATargetThatTakesItAndQuits) {
  Client client{listen_for(spawn_taker(1))};
  EXPECT_EQ(client.receive_line(), "request_receiver_down\n");
}

TEST_F(TargetDown, EveryRequestOfEveryConnectionEndsWithItsTarget) {
  constexpr int count = 50;
  const Endpoint server = listen_for(spawn_taker(count));
  std::vector<Client> clients;
  for (int i = 0; i < count; ++i)
    clients.emplace_back(server);
  for (Client& client : clients)
    EXPECT_EQ(client.receive_line(), "request_receiver_down\n");
}

TEST_F(TargetDown, AnAnswerThatCameBeforeTheEndCounts) {
  for (int i = 0; i < 50; ++i) {
    const caf::actor target = system_.spawn([](caf::event_based_actor* self) {
      return caf::behavior{[=](int x) {
        self->quit();
        return x + 1;
      }};
    });
    Client client{listen_for(target)};
    EXPECT_EQ(client.receive_line(), "2\n");
  }
}

TEST_F(TargetDown, ATargetThatIsDeadAlreadyIsTold) {
  const caf::actor target = spawn_taker(1);
  self()->send_exit(target, caf::exit_reason::kill);
  self()->wait_for(target);
  Client client{listen_for(target)};
  EXPECT_EQ(client.receive_line(), "request_receiver_down\n");
}

TEST_F(TargetDown, ManyRequestsInARowWatchTheirTargetOnlyWhileTheyWait) {
  const caf::actor adder =
      system_.spawn([](caf::event_based_actor*) { return caf::behavior{[](int x) { return x + 1; }}; });
  std::atomic<std::size_t> left{0};
  Client client{listen([&, adder](IOStream stream, Endpoint) -> Task<> {
    int sum = 0;
    for (int i = 0; i < 1000; ++i)
      sum = co_await request<int>(adder, caf::infinite, sum);
    const auto slow = co_await request<int>(adder, 10s, sum).as_result(); // with a timer, too
    co_await stream.write(std::to_string(*slow) + "\n");
  })};
  EXPECT_EQ(client.receive_line(), "1001\n");
  EXPECT_TRUE(client.at_end());
  self()->send_exit(adder, caf::exit_reason::kill); // nobody is told
  self()->wait_for(adder);
}

TEST_F(TargetDown, SendChunksEndsWithAReceiverThatTakesAChunkAndQuits) {
  Connected ends = connect();
  const caf::actor receiver = spawn_taker(1);
  const auto done = begin(ends.stream, SendChunks{{.chunk_size = 3}, receiver});
  ends.client.send("123456");
  EXPECT_TRUE(take<Done>(done).error == caf::sec::request_receiver_down);
  EXPECT_EQ(text(ask<Bytes>(ends.stream, ReadBytes{3})), "456"); // and the stream is idle
}

TEST_F(TargetDown, SendChunksThatWaitsForItsPeerEndsWithItsReceiver) {
  Connected ends = connect();
  const caf::actor receiver = spawn_taker(2);
  const auto done = begin(ends.stream, SendChunks{{}, receiver});
  sync(ends.stream);
  self()->send_exit(receiver, caf::exit_reason::kill);
  EXPECT_TRUE(take<Done>(done).error == caf::sec::request_receiver_down);
  ends.client.send("123");
  EXPECT_EQ(text(ask<Bytes>(ends.stream, ReadBytes{3})), "123");
}

/// What CAF has for an actor on another node, which it ends when the node is lost.
TEST_F(TargetDown, ALostNodeEndsItsRequestsAndIsAReasonOfItsOwn) {
  const caf::actor forward = system_.spawn([](caf::event_based_actor* self) -> caf::behavior {
    self->set_default_handler(caf::drop);
    return {[](int) {}};
  });
  caf::actor_config config;
  const caf::actor remote = caf::make_actor<caf::forwarding_actor_proxy, caf::actor>(
      4711, caf::make_node_id(42, std::string(40, 'a')).value(), &system_, config, forward);
  const Endpoint server = listen_for(remote);
  Client client{server};
  wait_until([&] { return info().connection_count == 1; });
  self()->monitor(remote);
  static_cast<caf::actor_proxy*>(caf::actor_cast<caf::abstract_actor*>(remote))
      ->kill_proxy(nullptr, caf::make_error(caf::exit_reason::remote_link_unreachable));
  EXPECT_EQ(client.receive_line(), "request_receiver_down\n");
  caf::error reason;
  self()->receive([&](const caf::down_msg& down) { reason = down.reason; },
                  caf::after(test_deadline) >> [] {});
  const auto closed = stream_closed(reason);
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->reason(), CloseReason::node_lost);
  self()->send_exit(forward, caf::exit_reason::kill);
}

} // namespace

} // namespace squall::actor_tests
