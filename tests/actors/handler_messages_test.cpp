// SPDX-License-Identifier: BSD-3-Clause
//
// handler_messages_test.cpp: handlers that exchange messages: order, skipped messages, awaited responses,
// many receivers.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

using HandlerMessages = ActorTest;

/// Handler actors that do nothing but wait for what `behavior` understands; each is told when it is there.
class Crowd {
public:
  /// `make` makes the behavior; each handler says hello to its client, so that all are there when connect
  /// returns.
  using Make = std::function<caf::behavior(caf::event_based_actor*, StreamActor)>;
  explicit Crowd(Make make) : make_{std::move(make)} {}

  Handler handler(HandlerPlacement placement = HandlerPlacement::connection_loop) {
    return {[this](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
              {
                const std::lock_guard lock{mutex_};
                handlers_.emplace_back(self);
                streams_.push_back(stream);
              }
              self->send(stream, Write{"hello\n"});
              return make_(self, stream);
            },
            placement};
  }
  void connect(const Endpoint& server, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      clients_.emplace_back(server);
    for (Client& client : clients_)
      EXPECT_EQ(client.receive_line(), "hello\n");
  }
  /// Before the actor system goes.
  void clear() {
    handlers_.clear();
    streams_.clear();
    clients_.clear();
  }
  std::vector<caf::actor>& handlers() { return handlers_; }
  std::vector<StreamActor>& streams() { return streams_; }
  std::vector<Client>& clients() { return clients_; }

private:
  Make make_;
  std::mutex mutex_;
  std::vector<caf::actor> handlers_;
  std::vector<StreamActor> streams_;
  std::vector<Client> clients_;
};

TEST_F(HandlerMessages, AHandlerForwardsALineToAHundredStreams) {
  Crowd crowd{[](caf::event_based_actor*, const StreamActor&) { return caf::behavior{[](int) {}}; }};
  const Endpoint quiet = listen(crowd.handler());
  crowd.connect(quiet, 100);
  const ListenerActor keep = listener_;
  const Endpoint loud = listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
    self->send(self, 0);
    return caf::behavior{[=, &crowd](int) {
      self->request(stream, caf::infinite, ReadUntil{"\n", {}})
          .then(
              [=, &crowd](const Bytes& line) {
                for (const StreamActor& other : crowd.streams())
                  self->send(other, Write{line});
                self->send(self, 0);
              },
              [=](const caf::error&) { self->quit(); });
    }};
  });
  Client client{loud};
  for (int i = 0; i < 20; ++i) {
    const std::string line = std::to_string(i) + "\n";
    client.send(line);
    for (Client& listener : crowd.clients())
      ASSERT_EQ(listener.receive_line(), line);
  }
  crowd.clear();
}

/// What one handler got, in its order.
struct Got {
  std::mutex mutex;
  std::vector<int> values;
  void add(int value) {
    const std::lock_guard lock{mutex};
    values.push_back(value);
  }
  std::size_t size() {
    const std::lock_guard lock{mutex};
    return values.size();
  }
};

std::vector<int> numbers(int count) {
  std::vector<int> result(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i)
    result[static_cast<std::size_t>(i)] = i;
  return result;
}

TEST_F(HandlerMessages, MessagesThatWereSkippedComeLaterInOrder) {
  Got got;
  Crowd crowd{[&](caf::event_based_actor* self, const StreamActor&) {
    self->set_default_handler(caf::skip);
    return caf::behavior{
        [=, &got](const std::string&) { self->become([&got](int value) { got.add(value); }); }};
  }};
  crowd.connect(listen(crowd.handler()), 2);
  const caf::actor& handler = crowd.handlers()[0];
  // From a thread and, through the other handler's loop, from handlers.
  for (int i = 0; i < 500; ++i)
    self()->send(handler, i);
  self()->send(handler, std::string{"go"});
  for (int i = 500; i < 1000; ++i)
    self()->send(handler, i);
  wait_until([&] { return got.size() == 1000; });
  EXPECT_EQ(got.values, numbers(1000));
  crowd.clear();
}

TEST_F(HandlerMessages, MessagesOfTheOwnLoopThatWereSkippedComeLaterInOrder) {
  Got got;
  Crowd crowd{[&](caf::event_based_actor* self, const StreamActor&) {
    self->set_default_handler(caf::skip);
    return caf::behavior{
        [=, &got](const std::string&) { self->become([&got](int value) { got.add(value); }); },
        [=](const caf::actor& other) { // sends to it from its own loop
          for (int i = 0; i < 100; ++i)
            self->send(other, i);
          self->send(other, std::string{"go"});
          for (int i = 100; i < 200; ++i)
            self->send(other, i);
        }};
  }};
  crowd.connect(listen(crowd.handler()), 3); // the first and the third share a loop
  auto [first, third] = std::pair{crowd.handlers()[0], crowd.handlers()[2]};
  self()->send(first, third);
  wait_until([&] { return got.size() == 200; });
  EXPECT_EQ(got.values, numbers(200));
  crowd.clear();
}

TEST_F(HandlerMessages, WhatComesDuringAnAwaitedRequestComesLaterInOrder) {
  Got got;
  Crowd crowd{[&](caf::event_based_actor* self, const StreamActor& stream) {
    return caf::behavior{[=, &got](int value) {
      got.add(value);
      if (value % 10 == 0) // the stream actor answers at once; what comes until then is skipped
        self->request(stream, caf::infinite, Write{"x"}).await([] {});
    }};
  }};
  crowd.connect(listen(crowd.handler()), 1);
  for (int i = 0; i < 1000; ++i)
    self()->send(crowd.handlers()[0], i);
  wait_until([&] { return got.size() == 1000; });
  EXPECT_EQ(got.values, numbers(1000));
  EXPECT_EQ(crowd.clients()[0].receive(100).size(), 100U);
  crowd.clear();
}

TEST_F(HandlerMessages, MessagesOfEachSenderKeepTheirOrderUnderLoad) {
  constexpr int per_sender = 2000;
  constexpr int senders = 4;
  Got got;
  Crowd crowd{[&](caf::event_based_actor* self, const StreamActor&) {
    return caf::behavior{[&](int value) { got.add(value); },
                         [=](const caf::actor& target, int sender) {
                           for (int i = 0; i < per_sender; ++i)
                             self->send(target, sender * per_sender + i);
                         }};
  }};
  crowd.connect(listen(crowd.handler()), senders + 1);
  const auto& handlers = crowd.handlers();
  for (int sender = 0; sender < senders; ++sender) // two of the target's own loop, two of the other
    self()->send(handlers[static_cast<std::size_t>(sender) + 1], handlers[0], sender);
  wait_until([&] { return got.size() == senders * per_sender; });
  std::array<int, senders> next{};
  for (const int value : got.values) {
    auto& expected = next.at(static_cast<std::size_t>(value / per_sender));
    ASSERT_EQ(value % per_sender, expected);
    ++expected;
  }
  crowd.clear();
}

} // namespace

} // namespace squall::actor_tests
