// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor_senders_test.cpp: requests from every kind of actor, on every thread, also from ones that die.
#include "tests/actors/support.hpp"

#include <future>
#include <thread>

namespace squall::actor_tests {

namespace {

using StreamActorSenders = ActorTest;

/// Reads lines from `stream` and tells `target` each, as text; "closed" at the end.
caf::behavior line_reader(caf::event_based_actor* self, const StreamActor& stream, const caf::actor& target) {
  self->send(self, 0);
  return {[=](int) {
    self->request(stream, caf::infinite, ReadUntil{"\n", {}})
        .then(
            [=](const Bytes& line) {
              self->send(target, line.str());
              self->send(self, 0);
            },
            [=](const caf::error& error) {
              self->send(target, stream_closed(error) ? std::string{"closed"} : error_text(error));
              self->quit();
            });
  }};
}

std::vector<std::string> receive_texts(caf::scoped_actor& self, std::size_t count) {
  std::vector<std::string> texts;
  while (texts.size() < count) {
    bool late = false;
    self->receive([&](std::string& text) { texts.push_back(std::move(text)); },
                  caf::after(test_deadline) >> [&] { late = true; });
    if (late) {
      ADD_FAILURE() << "only " << texts.size() << " texts came";
      break;
    }
  }
  return texts;
}

TEST_F(StreamActorSenders, AWorkerPoolActorReadsEveryLine) {
  auto [stream, client, fd] = connect();
  system_.spawn(line_reader, stream, caf::actor{self().ptr()});
  std::vector<std::string> expected;
  for (int i = 0; i < 500; ++i) {
    expected.push_back(std::to_string(i) + "\n");
    client.send(expected.back());
  }
  client.close();
  expected.emplace_back("closed");
  EXPECT_EQ(receive_texts(self(), expected.size()), expected);
}

TEST_F(StreamActorSenders, PinnedHandlersReadStreamsOfTheirOwnAndOfTheOtherLoop) {
  const caf::actor target{self().ptr()};
  for (int i = 0; i < 2; ++i) { // streams go to the loops in turn
    auto [stream, client, fd] = connect();
    const Endpoint server = listen([=, read = stream](caf::event_based_actor* me, StreamActor, Endpoint) {
      me->request(read, caf::infinite, ReadUntil{"\n", {}}).then([=](const Bytes& line) {
        me->send(target, line.str());
      });
      return caf::behavior{};
    });
    for (const std::string line : {"first\n", "second\n"}) { // so do connections with their handlers
      const Client trigger{server};
      client.send(line);
      EXPECT_EQ(receive_texts(self(), 1), std::vector{line});
    }
    self()->send_exit(listener_, caf::exit_reason::user_shutdown);
  }
}

TEST_F(StreamActorSenders, ThreadsWithScopedActorsWriteWholeLines) {
  auto [stream, client, fd] = connect();
  constexpr int per_thread = 200;
  std::vector<std::thread> threads;
  for (char name : {'a', 'b', 'c'})
    threads.emplace_back([this, name, &stream = stream] {
      caf::scoped_actor sender{system_};
      for (int i = 0; i < per_thread; ++i)
        EXPECT_TRUE(
            actor_tests::ask<Done>(sender, stream, Write{std::string(1, name) + std::to_string(i) + "\n"}));
    });
  std::map<char, int> next;
  for (int i = 0; i < 3 * per_thread; ++i) {
    const std::string line = client.receive_line();
    EXPECT_EQ(line.substr(1), std::to_string(next[line[0]]++) + "\n");
  }
  for (std::thread& thread : threads)
    thread.join();
}

TEST_F(StreamActorSenders, ARequesterThatDiesWithAReadInFlightHarmsNobody) {
  auto [stream, client, fd] = connect();
  {
    const caf::actor reader = system_.spawn(line_reader, stream, caf::actor{self().ptr()});
    wait_until([&] { return ask<StreamInfo>(stream, Info{}).value->reading; });
    caf::anon_send_exit(reader, caf::exit_reason::kill);
    self()->wait_for(reader);
  }
  client.send("for the dead\nfor the living\n");
  wait_until([&] { return !ask<StreamInfo>(stream, Info{}).value->reading; });
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n", {}})), "for the living\n");
}

TEST_F(StreamActorSenders, ARequesterThatGoesWithWritesInFlightHarmsNobody) {
  auto [stream, client, fd] = connect({}, 4096);
  {
    caf::scoped_actor passing{system_};
    for (int i = 0; i < 10; ++i)
      passing->request(stream, caf::infinite, Write{std::string(2'000'000, 'x')});
  }
  client.send("in\n");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n", {}})), "in\n");
  EXPECT_EQ(client.receive(20'000'000).size(), 20'000'000U);
}

/// Turns Bytes into a text.
caf::behavior shout(caf::event_based_actor*) {
  return {[](const Bytes& line) { return "<" + line.str() + ">"; }};
}

TEST_F(StreamActorSenders, AComposedActorGetsTheReplyAsItsRequest) {
  auto [stream, client, fd] = connect();
  const caf::actor shouter = system_.spawn(shout);
  const caf::actor composed = shouter * caf::actor_cast<caf::actor>(stream);
  client.send("quiet\n");
  std::string found;
  self()
      ->request(composed, caf::duration{test_deadline}, ReadUntil{"\n", {}})
      .receive([&](std::string& text) { found = std::move(text); },
               [](const caf::error& error) { FAIL() << error_text(error); });
  EXPECT_EQ(found, "<quiet\n>");
}

TEST_F(StreamActorSenders, ACoroutinesReadIsCancelledAlsoAfterTheReadOfADeadActor) {
  std::promise<StreamActor> made;
  std::promise<StreamErrc> ended;
  std::promise<caf::response_promise> asked;
  const caf::actor gate = system_.spawn([&asked](caf::event_based_actor* self) {
    return caf::behavior{[&asked, self](int) {
      auto promise = self->make_response_promise();
      asked.set_value(promise);
      return promise;
    }};
  });
  Client client{listen([&](IOStream stream, Endpoint) -> Task<> {
    made.set_value(co_await current_stream_actor());
    co_await request<int>(gate, test_deadline, 1);
    const auto line = co_await stream.read_until("\n").as_result();
    ended.set_value(line.error().code);
  })};
  client.send("x");
  const StreamActor stream = made.get_future().get();
  caf::response_promise go_on = asked.get_future().get();
  {
    caf::scoped_actor dies{system_};
    static_cast<void>(dies->request(stream, caf::duration{test_deadline}, ReadUntil{"\n", {}}));
    ASSERT_TRUE(wait_until([&] { return ask<StreamInfo>(stream, Info{}).value->reading; }));
  }
  EXPECT_EQ(*ask<Bytes>(stream, ReadBytes{1}).value, "x"); // which drops the dead actor's read
  go_on.deliver(1);
  ASSERT_TRUE(wait_until([&] { return ask<StreamInfo>(stream, Info{}).value->reading; }));
  EXPECT_TRUE(ask<Done>(stream, CancelRead{}));
  auto outcome = ended.get_future();
  ASSERT_EQ(outcome.wait_for(test_deadline), std::future_status::ready);
  EXPECT_EQ(outcome.get(), StreamErrc::cancelled);
}

TEST_F(StreamActorSenders, AComposedActorHandsOnAPendingReply) {
  auto [stream, client, fd] = connect();
  const caf::actor shouter = system_.spawn(shout);
  const caf::actor composed = shouter * caf::actor_cast<caf::actor>(stream);
  const auto pending = self()->request(composed, caf::duration{test_deadline}, ReadUntil{"\n", {}});
  wait_until([&, &stream = stream] { return ask<StreamInfo>(stream, Info{}).value->reading; });
  client.send("late\n");
  EXPECT_EQ(*take<std::string>(pending).value, "<late\n>");
}

TEST_F(StreamActorSenders, AnErrorGoesPastTheComposedActorsToTheRequester) {
  auto [stream, client, fd] = connect();
  const caf::actor shouter = system_.spawn(shout);
  const caf::actor composed = shouter * caf::actor_cast<caf::actor>(stream);
  const auto pending = self()->request(composed, caf::duration{test_deadline}, ReadUntil{"\n", {}});
  wait_until([&, &stream = stream] { return ask<StreamInfo>(stream, Info{}).value->reading; });
  self()->send(stream, Close{});
  EXPECT_EQ(take<std::string>(pending).reason(), CloseReason::local_close);
  // The actor in front of the stream lives.
  EXPECT_EQ(*ask<std::string>(shouter, Bytes{"x"}).value, "<x>");
}

} // namespace

} // namespace squall::actor_tests
