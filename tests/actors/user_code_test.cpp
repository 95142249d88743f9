// SPDX-License-Identifier: BSD-3-Clause
//
// user_code_test.cpp: code of a user never runs inside other code of a user on the same loop. Who sends, closes or
// cancels sets a flag around its call, and whoever hears of it must not see the flag set.
#include "actors/caf_compat.hpp"
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

class UserCode : public ActorTest {
protected:
  UserCode() { io_.emplace(system_, IOOptions{1, nullptr}); }

  /// Runs `call` with the flag set.
  template <class F>
  void inside(F call) {
    inside_ = true;
    call();
    inside_ = false;
  }
  /// Somebody hears of it.
  void hear() {
    EXPECT_FALSE(inside_);
    ++heard_;
  }
  [[nodiscard]] bool wait_for_heard(int count) {
    return wait_until([&] { return heard_ >= count; });
  }

  /// Handlers that wait for ints and for lines; `on_line` runs in the one whose client has sent "go\n".
  Endpoint listen_for(std::function<void(caf::event_based_actor*)> on_line) {
    return listen([this, on_line](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
      handlers_.emplace_back(self);
      streams_.push_back(stream);
      self->send(stream, Write{"hello\n"});
      self->request(stream, caf::infinite, ReadUntil{"\n"})
          .then([=](const Bytes&) { on_line(self); }, [this](const caf::error&) { hear(); });
      return caf::behavior{[this](int) { hear(); }};
    });
  }
  Client connect_to(const Endpoint& server) {
    Client client{server};
    EXPECT_EQ(client.receive_line(), "hello\n");
    return client;
  }

  void TearDown() override {
    handlers_.clear();
    streams_.clear();
    ActorTest::TearDown();
  }

  std::vector<caf::actor> handlers_;
  std::vector<StreamActor> streams_;
  std::atomic<bool> inside_{false};
  std::atomic<int> heard_{0};
};

TEST_F(UserCode, AMessageToAnIdleHandlerWaitsForItsSender) {
  const Endpoint server = listen_for([&](caf::event_based_actor* self) {
    inside([&] {
      self->send(handlers_[1], 1);
      self->send(handlers_[1], 2);
      self->send(handlers_[2], 3);
      caf::anon_send(handlers_[2], 4);
    });
  });
  Client first = connect_to(server);
  const Client second = connect_to(server);
  const Client third = connect_to(server);
  first.send("go\n");
  EXPECT_TRUE(wait_for_heard(4));
}

TEST_F(UserCode, WhatEndsTheReadOfAThirdHandlerIsToldWhenTheSenderIsDone) {
  const Endpoint server = listen_for([&](caf::event_based_actor* self) {
    inside([&] {
      self->send(streams_[1], Close{});
      self->send(streams_[2], Abort{});
      self->send(streams_[3], CancelRead{});
      self->send_exit(streams_[4], caf::exit_reason::kill);
    });
  });
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i)
    clients.push_back(connect_to(server));
  for (std::size_t i = 1; i < 3; ++i)
    streams_[i]->attach_functor([this](const caf::error&) { hear(); });
  clients[0].send("go\n");
  EXPECT_TRUE(wait_for_heard(6));
}

TEST_F(UserCode, ACoroutineThatSendsIsDoneBeforeAHandlerHearsOfIt) {
  const Endpoint handlers = listen_for([](caf::event_based_actor*) {});
  const Client client = connect_to(handlers);
  const ListenerActor keep = listener_;
  Client sender{listen([this](IOStream stream, Endpoint) -> Task<> {
    co_await stream.read_until("\n");
    inside([&] { caf::anon_send(handlers_[0], 1); });
    inside([&] { caf::anon_send(streams_[0], Close{}); });
  })};
  sender.send("go\n");
  EXPECT_TRUE(wait_for_heard(2));
  self()->send_exit(keep, caf::exit_reason::kill);
}

TEST_F(UserCode, ACoroutineGoesOnWhenTheHandlerThatClosesItsStreamIsDone) {
  std::atomic<bool> ready{false};
  StreamActor waiting;
  Client reader{listen([&](IOStream stream, Endpoint) -> Task<> {
    waiting = co_await current_stream_actor();
    ready = true;
    EXPECT_THROW(co_await stream.read_until("\n"), CancelledError);
    hear();
    EXPECT_THROW(co_await stream.read_until("\n"), StreamClosedError);
    hear();
  })};
  EXPECT_TRUE(wait_until([&] { return ready.load(); }));
  const ListenerActor keep = listener_;
  const Endpoint server = listen_for([&](caf::event_based_actor* self) {
    inside([&] { self->send(waiting, CancelRead{}); });
    self->delayed_send(self, 0ms, 1);
    self->become([this, self, &waiting](int) { inside([&] { self->send(waiting, Close{}); }); });
  });
  Client client = connect_to(server);
  client.send("go\n");
  EXPECT_TRUE(wait_for_heard(2));
  self()->send_exit(keep, caf::exit_reason::kill);
  client.close();
  waiting = nullptr;
}

TEST_F(UserCode, ACoroutineGoesOnWhenTheOneThatCancelsClosesOrAbortsItsStreamIsDone) {
  std::vector<IOStream> others;
  std::atomic<int> waiting{0};
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    if (others.size() < 3) {
      others.push_back(stream);
      ++waiting;
      EXPECT_THROW(co_await stream.read_until("\n"), StreamException);
      hear();
      co_return;
    }
    co_await stream.read_until("\n");
    inside([&] {
      others[0].cancel_read();
      others[1].close();
      others[2].abort();
    });
    others.clear();
  });
  std::vector<Client> clients;
  for (int i = 1; i <= 3; ++i) {
    clients.emplace_back(server);
    EXPECT_TRUE(wait_until([&] { return waiting == i; }));
  }
  Client last{server};
  last.send("go\n");
  EXPECT_TRUE(wait_for_heard(3));
  EXPECT_TRUE(last.at_end());
}

/// Its drain takes the connection that waits in the kernel, whose coroutine begins.
TEST_F(UserCode, AHandlerBeginsWhenWhoDrainsItsListenerIsDone) {
  const Endpoint server = listen([this](IOStream stream, Endpoint) -> Task<> {
    hear();
    co_await stream.write("begun\n");
  });
  const ListenerActor drained = listener_;
  EXPECT_TRUE(ask<Done>(drained, Pause{}));
  Client waiting{server};
  const Endpoint handlers = listen_for(
      [&](caf::event_based_actor* self) { inside([&] { self->send(drained, Drain{test_deadline}); }); });
  Client client = connect_to(handlers);
  client.send("go\n");
  EXPECT_EQ(waiting.receive_line(), "begun\n");
  EXPECT_TRUE(wait_for_heard(1));
  self()->send_exit(drained, caf::exit_reason::kill);
}

// -- when it is handled instead

class SameTurn : public ::testing::Test {
protected:
  ~SameTurn() override {
    unit_->end_actors();
    unit_->close();
  }
  caf::actor spawn(InitialBehavior behavior) {
    return caf::actor_cast<caf::actor>(spawn_handler(unit_, std::move(behavior)));
  }

  Config config_;
  caf::actor_system system_{config_};
  std::shared_ptr<LoopUnit> unit_ = std::make_shared<LoopUnit>(system_, nullptr);
};

TEST_F(SameTurn, MessagesDownAChainAreHandledInTheTurnOfTheirSendingAndInOrder) {
  std::vector<std::pair<std::size_t, std::uint64_t>> handled; // by whom, in which turn
  std::vector<caf::actor> handlers;
  for (std::size_t i = 0; i < 6; ++i)
    handlers.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int) {
        handled.emplace_back(i, unit_->loop().turn());
        if (i == 0) // to three, and each goes on to the last
          for (std::size_t next = 1; next < 4; ++next)
            self->send(handlers[next], 0);
        else if (i < 4)
          self->send(handlers[i == 3 ? 5 : 4], 0);
      }};
    }));
  unit_->loop().run_once(); // they have begun
  unit_->loop().post([&] { caf::anon_send(handlers[0], 0); });
  unit_->loop().run_once();
  std::vector<std::size_t> order;
  for (const auto& [who, turn] : handled) {
    order.push_back(who);
    EXPECT_EQ(turn, handled[0].second);
  }
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4, 4, 5}));
  handlers.clear();
}

TEST_F(SameTurn, HandlersThatSendToEachOtherForEverDoNotHoldUpTheLoop) {
  std::vector<caf::actor> two;
  std::size_t count = 0;
  bool over = false;
  for (std::size_t i = 0; i < 2; ++i)
    two.push_back(spawn([&, i](caf::event_based_actor* self) {
      return caf::behavior{[&, self, i](int value) {
        ++count;
        if (!over)
          self->send(two[1 - i], value);
      }};
    }));
  caf::anon_send(two[0], 0);
  for (int turn = 0; turn < 10; ++turn)
    unit_->loop().run_once();
  EXPECT_GT(count, 100U);
  EXPECT_LT(count, 10'000U);
  over = true;
  unit_->loop().run_once();
  two.clear();
}

} // namespace

} // namespace squall::actor_tests
