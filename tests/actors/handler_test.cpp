// SPDX-License-Identifier: BSD-3-Clause
//
// handler_test.cpp: the three forms of a handler: where each runs, and that its end closes its stream.
#include "tests/actors/support.hpp"

#include <atomic>
#include <set>
#include <thread>

namespace squall::actor_tests {

namespace {

using HandlerTest = ActorTest;

Task<> echo_coroutine(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

caf::behavior echo_actor(caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
  self->send(self, caf::ok_atom_v);
  return {[=](caf::ok_atom) {
    self->request(stream, caf::infinite, ReadUntil{"\n", {}})
        .then(
            [=](const Bytes& line) {
              self->request(stream, caf::infinite, Write{line}).then([=] {
                self->send(self, caf::ok_atom_v);
              });
            },
            [=](const caf::error&) { self->quit(); });
  }};
}

void expect_echo(const Endpoint& server, int lines = 20) {
  Client client{server};
  for (int i = 0; i < lines; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    client.send(line);
    ASSERT_EQ(client.receive_line(), line);
  }
}

TEST_F(HandlerTest, ACoroutineServes) {
  const LogRecorder log;
  expect_echo(listen(echo_coroutine));
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U); // StreamClosedError leaves it at the end: an ordinary end
  EXPECT_EQ(log.count("handler_failed"), 0U);
}

TEST_F(HandlerTest, APinnedActorServes) {
  expect_echo(listen(echo_actor));
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U);
}

TEST_F(HandlerTest, AWorkerPoolActorServes) {
  expect_echo(listen({echo_actor, HandlerPlacement::worker_pool}));
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U);
}

TEST_F(HandlerTest, ManyConnectionsOfEachFormServeAtOnce) {
  for (const Handler& handler :
       {Handler{echo_coroutine}, Handler{echo_actor}, Handler{echo_actor, HandlerPlacement::worker_pool}}) {
    const Endpoint server = listen(handler);
    std::vector<Client> clients;
    for (int i = 0; i < 100; ++i)
      clients.emplace_back(server);
    for (int round = 0; round < 3; ++round) {
      for (Client& client : clients)
        client.send("ping\n");
      for (Client& client : clients)
        ASSERT_EQ(client.receive_line(), "ping\n");
    }
    EXPECT_EQ(info().connection_count, 100U);
    clients.clear();
    wait_for_quiet();
  }
}

/// What a handler saw of threads, told by itself.
struct Seen {
  std::mutex mutex;
  std::set<EventLoop*> loops; ///< EventLoop::current() in handlers
  std::set<std::thread::id> threads;
  void add() {
    const std::lock_guard lock{mutex};
    loops.insert(EventLoop::current());
    threads.insert(std::this_thread::get_id());
  }
};

/// Notes its thread in every function; each message comes from a stream, from itself and from another thread.
caf::behavior noting_actor(caf::event_based_actor* self, const StreamActor& stream, Seen& seen) {
  seen.add();
  self->send(self, 0);
  return {[=, &seen](int) {
    seen.add();
    self->request(stream, caf::infinite, ReadUntil{"\n", {}})
        .then(
            [=, &seen](const Bytes& line) {
              seen.add();
              self->send(stream, Write{line});
              self->delayed_send(self, 1us, 0); // comes from CAF's clock
            },
            [=, &seen](const caf::error&) {
              seen.add();
              self->quit();
            });
  }};
}

TEST_F(HandlerTest, APinnedActorStaysOnTheLoopOfItsConnection) {
  std::array<Seen, 2> seen;
  std::atomic<std::size_t> next{0};
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        return noting_actor(self, stream, seen.at(next++));
      });
  for (std::size_t i = 0; i < 2; ++i)
    expect_echo(server, 30);
  wait_for_quiet();
  for (const Seen& one : seen) {
    EXPECT_EQ(one.loops.size(), 1U);
    EXPECT_EQ(one.loops.count(nullptr), 0U);
  }
  EXPECT_NE(seen[0].loops, seen[1].loops); // connections go to the loops in turn
}

TEST_F(HandlerTest, AWorkerPoolActorNeverRunsOnAnIOThread) {
  Seen seen;
  const Endpoint server = listen({[&](caf::event_based_actor* self, const StreamActor& stream,
                                      const Endpoint&) { return noting_actor(self, stream, seen); },
                                  HandlerPlacement::worker_pool});
  for (int i = 0; i < 4; ++i)
    expect_echo(server, 30);
  wait_for_quiet();
  EXPECT_EQ(seen.loops, std::set<EventLoop*>{nullptr});
  EXPECT_EQ(seen.threads.count(std::this_thread::get_id()), 0U);
}

TEST_F(HandlerTest, AnActorThatAPinnedHandlerSpawnsRunsOnAWorker) {
  std::atomic<bool> on_worker{false};
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        const caf::actor child = self->spawn([&](caf::event_based_actor*) {
          return caf::behavior{[&](int x) {
            on_worker = EventLoop::current() == nullptr;
            return x + 1;
          }};
        });
        self->request(child, caf::infinite, 1).then([=](int x) {
          self->request(stream, caf::infinite, Write{std::to_string(x)}).then([] {});
        });
        return caf::behavior{};
      });
  EXPECT_EQ(Client{server}.receive_all(), "2");
  EXPECT_TRUE(on_worker);
}

TEST_F(HandlerTest, ACoroutineThatReturnsClosesItsStream) {
  const Endpoint server = listen([](IOStream, Endpoint) -> Task<> { co_return; });
  EXPECT_TRUE(Client{server}.at_end());
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U);
}

TEST_F(HandlerTest, AnActorThatQuitsClosesItsStream) {
  for (const auto placement : {HandlerPlacement::connection_loop, HandlerPlacement::worker_pool}) {
    const Endpoint server = listen({[](caf::event_based_actor* self, const StreamActor&, const Endpoint&) {
                                      self->send(self, 0);
                                      return caf::behavior{[=](int) { self->quit(); }};
                                    },
                                    placement});
    EXPECT_TRUE(Client{server}.at_end());
    wait_for_quiet();
    EXPECT_EQ(info().failed_count, 0U);
  }
}

TEST_F(HandlerTest, AnActorWithoutABehaviorClosesItsStream) {
  for (const auto placement : {HandlerPlacement::connection_loop, HandlerPlacement::worker_pool}) {
    const Endpoint server =
        listen({[](caf::event_based_actor*, const StreamActor&, const Endpoint&) { return caf::behavior{}; },
                placement});
    EXPECT_TRUE(Client{server}.at_end());
    wait_for_quiet();
    EXPECT_EQ(info().failed_count, 0U);
  }
}

/// Tornado's test_handle_stream_native_coroutine.
TEST_F(HandlerTest, WhatAReturningCoroutineWroteUnawaitedIsDelivered) {
  const Endpoint server = listen([](IOStream stream, Endpoint) -> Task<> {
    stream.write("data");
    co_return;
  });
  EXPECT_EQ(Client{server}.receive_all(), "data");
}

TEST_F(HandlerTest, WhatAReturningCoroutineAwaitedIsDeliveredToASlowPeer) {
  const std::string data = pattern(60'000);
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    for (int i = 0; i < 50; ++i)
      co_await stream.write(data);
  });
  Client client{server, 4096};
  std::string expected;
  for (int i = 0; i < 50; ++i)
    expected += data;
  EXPECT_TRUE(client.receive_all() == expected);
}

TEST_F(HandlerTest, WhatAnActorWroteBeforeItQuitIsDelivered) {
  for (const auto placement : {HandlerPlacement::connection_loop, HandlerPlacement::worker_pool}) {
    const Endpoint server =
        listen({[](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
                  self->send(stream, Write{"data"});
                  return caf::behavior{};
                },
                placement});
    EXPECT_EQ(Client{server}.receive_all(), "data");
  }
}

TEST_F(HandlerTest, AnActorThatNobodyRefersToEndsWithItsConnection) {
  const std::size_t before = system_.registry().running();
  const Endpoint server = listen(
      [](caf::event_based_actor*, const StreamActor&, const Endpoint&) { return caf::behavior{[](int) {}}; },
      short_linger());
  {
    Client client{server};
    wait_until([&] { return system_.registry().running() == before + 3; }); // listener, stream, handler
  }
  wait_until([&] { return system_.registry().running() == before + 1; });
}

TEST_F(HandlerTest, AnExitOfTheStreamActorEndsItsHandler) {
  std::promise<StreamActor> told;
  std::atomic<bool> heard{false};
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        self->set_exit_handler([=, &heard](const caf::exit_msg&) {
          self->send(stream, Write{"too late"}); // harms nobody
          self->request(stream, caf::infinite, Info{})
              .then([](const StreamInfo&) {},
                    [=, &heard](const caf::error& error) {
                      heard = stream_closed(error).has_value();
                      self->quit();
                    });
        });
        told.set_value(stream);
        return caf::behavior{[](int) {}};
      });
  Client client{server};
  self()->send_exit(told.get_future().get(), caf::exit_reason::user_shutdown);
  EXPECT_TRUE(client.at_end());
  wait_until([&] { return heard.load(); });
}

} // namespace

} // namespace squall::actor_tests
