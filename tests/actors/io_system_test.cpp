// SPDX-License-Identifier: BSD-3-Clause
//
// io_system_test.cpp: the I/O threads, and that their end leaves nothing behind, whatever goes on.
#include "tests/actors/support.hpp"

#include <atomic>
#include <random>
#include <sched.h>
#include <thread>

namespace squall::actor_tests {

namespace {

using IOSystemTest = ActorTest;

Task<> echo_coroutine(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

caf::behavior echo_actor(caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
  self->send(self, 0);
  return {[=](int) {
    self->request(stream, caf::infinite, ReadUntil{"\n", {}})
        .then(
            [=](const Bytes& line) {
              self->send(stream, Write{line});
              self->send(self, 0);
            },
            [=](const caf::error&) { self->quit(); });
  }};
}

std::vector<Handler> every_form() {
  return {Handler{echo_coroutine}, Handler{echo_actor}, Handler{echo_actor, HandlerPlacement::worker_pool}};
}

TEST_F(IOSystemTest, HasAsManyThreadsAsAskedFor) {
  EXPECT_EQ(io_->thread_count(), 2U);
  EXPECT_EQ(&io_->system(), &system_);
  EXPECT_EQ((IOSystem{system_, {1, nullptr}}.thread_count()), 1U);
  cpu_set_t cores;
  ASSERT_EQ(sched_getaffinity(0, sizeof cores, &cores), 0);
  EXPECT_EQ((IOSystem{system_, {0, nullptr}}.thread_count()), static_cast<std::size_t>(CPU_COUNT(&cores)));
}

TEST_F(IOSystemTest, MoreThan256ThreadsAreRefused) {
  EXPECT_THROW((IOSystem{system_, {257, nullptr}}), std::invalid_argument);
}

TEST_F(IOSystemTest, AnUnusableSocketIsRefused) {
  EXPECT_THROW(static_cast<void>(io_->spawn_stream(Socket{}, {})), std::system_error);
  EXPECT_EQ(system_.registry().running(), 1U); // the test's own
}

TEST_F(IOSystemTest, AHandlerMaySpawnStreamsAndListeners) {
  const Endpoint inner = listen(echo_coroutine);
  const ListenerActor keep = listener_;
  const Endpoint outer =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        Client client{inner};
        client.send("through\n");
        const Endpoint peer{};
        const StreamActor other = io_->spawn_stream(Socket{::dup(client.fd())}, peer);
        self->request(other, caf::infinite, ReadUntil{"\n", {}}).then([=](const Bytes& line) {
          self->send(stream, Write{line});
        });
        return caf::behavior{};
      });
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(Client{outer}.receive_line(), "through\n");
}

TEST_F(IOSystemTest, ItsEndAnswersEverythingAndLeavesNothing) {
  end_io();
  const std::size_t running = system_.registry().running();
  const std::size_t descriptors = descriptor_count();
  io_.emplace(system_, IOOptions{2, nullptr});
  std::vector<Client> clients;
  for (const Handler& handler : every_form()) {
    const Endpoint server = listen(handler);
    for (int i = 0; i < 10; ++i) {
      Client& client = clients.emplace_back(server);
      client.send("hello\n");
      ASSERT_EQ(client.receive_line(), "hello\n");
    }
  }
  {
    auto [stream, client, fd] = connect({}, 4096);
    const auto read = begin(stream, ReadUntil{"\n", {}});
    const auto write = begin(stream, Write{std::string(20'000'000, 'x')});
    sync(stream);
    end_io();
    EXPECT_EQ(take<Bytes>(read).reason(), CloseReason::shutting_down);
    EXPECT_EQ(take<Done>(write).reason(), CloseReason::shutting_down);
    EXPECT_EQ(ask<StreamInfo>(stream, Info{}).reason(), CloseReason::shutting_down);
    EXPECT_EQ(ask<ListenerInfo>(listener_, Info{}).error, caf::sec::request_receiver_down);
    self()->send_exit(stream, caf::exit_reason::kill); // harmless
    caf::anon_send(caf::actor_cast<caf::actor>(stream), 42);
  }
  for (Client& client : clients)
    EXPECT_TRUE(client.at_end());
  clients.clear();
  listener_ = nullptr;
  wait_until([&] { return system_.registry().running() == running; });
  wait_until([&] { return descriptor_count() == descriptors; });
}

TEST_F(IOSystemTest, ItsEndClosesALingeringConnection) {
  std::promise<StreamActor> told;
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    told.set_value(co_await current_stream_actor());
    const Bytes block{std::string(30'000, 'x')};
    while (stream.unsent_size() == 0) // until the peer's window is full
      co_await stream.write(block);
  });
  Client client{server, 4096};
  const StreamActor stream = told.get_future().get(); // a handle that outlives the I/O threads
  wait_until([&] { return !ask<StreamInfo>(stream, Info{}); });
  end_io();
  try {
    client.receive_all(); // ends
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ECONNRESET);
  }
}

TEST_F(IOSystemTest, ItsEndLetsAHandlerMakeActorsMeanwhile) {
  std::atomic<int> made{0};
  struct MakesOne { // when its coroutine is destroyed
    std::function<void()> make;
    ~MakesOne() { make(); }
  };
  const Endpoint server = listen([&](IOStream stream, Endpoint) -> Task<> {
    const MakesOne last{[&] {
      static_cast<void>(io_->spawn_listener(echo_coroutine));
      ++made;
    }};
    co_await stream.write("hello\n");
    co_await stream.read_until_close();
  });
  std::vector<Client> clients;
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(clients.emplace_back(server).receive_line(), "hello\n");
  end_io();
  EXPECT_EQ(made, 4);
}

/// Sends all kinds of messages until it is told to stop.
void pester(caf::actor_system& system, const std::vector<StreamActor>& streams, const ListenerActor& listener,
            const std::atomic<bool>& stop) {
  caf::scoped_actor sender{system};
  std::size_t next = 0;
  while (!stop) {
    const StreamActor& stream = streams[next++ % streams.size()];
    sender->send(stream, Write{"x"});
    actor_tests::ask<StreamInfo>(sender, stream, Info{});
    actor_tests::ask<Bytes>(sender, stream, ReadBytes{1, true});
    actor_tests::ask<ListenerInfo>(sender, listener, Info{});
  }
}

TEST_F(IOSystemTest, ItsEndHoldsAgainstManySenders) {
  end_io();
  for (int round = 0; round < 50; ++round) {
    io_.emplace(system_, IOOptions{2, nullptr});
    const Endpoint server = listen(every_form().at(static_cast<std::size_t>(round) % 3));
    std::vector<StreamActor> streams;
    std::vector<Client> clients;
    for (int i = 0; i < 4; ++i) {
      Connected connected = connect();
      connected.client.send(std::string(1000, 'y'));
      streams.push_back(connected.stream);
      clients.push_back(std::move(connected.client));
      clients.emplace_back(server).send("line\nline\n");
    }
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&] { pester(system_, streams, listener_, stop); });
    for (int i = 0; i <= round % 5; ++i)
      std::this_thread::yield();
    end_io();
    for (const StreamActor& stream : streams)
      EXPECT_FALSE(ask<StreamInfo>(stream, Info{}));
    stop = true;
    for (std::thread& thread : threads)
      thread.join();
    listener_ = nullptr;
    wait_until([&] { return system_.registry().running() == 1; });
  }
}

TEST_F(IOSystemTest, RandomKillsUnderLoadLeaveNothingBehind) {
  const LogRecorder log; // keeps the many handler_failed off the terminal
  std::mt19937 random{4711};
  const std::size_t descriptors = descriptor_count();
  for (const Handler& form : every_form()) {
    std::mutex mutex;
    std::vector<caf::weak_actor_ptr> victims;
    const auto add = [&](const auto& actor) {
      const std::lock_guard lock{mutex};
      victims.push_back(caf::actor_cast<caf::weak_actor_ptr>(actor));
    };
    Handler handler = form;
    if (const auto* actor = form.actor())
      handler = {
          [&, actor = *actor](caf::event_based_actor* self, const StreamActor& stream, const Endpoint& peer) {
            add(caf::actor{self});
            add(stream);
            return actor(self, stream, peer);
          },
          form.placement()};
    else
      handler = [&](IOStream stream, Endpoint peer) -> Task<> {
        add(co_await current_stream_actor());
        co_await echo_coroutine(std::move(stream), std::move(peer));
      };
    const Endpoint server = listen(handler);
    const std::size_t listening = descriptor_count();
    std::vector<Client> clients;
    for (int i = 0; i < 40; ++i)
      clients.emplace_back(server);
    wait_until([&] { // each has begun
      const std::lock_guard lock{mutex};
      return victims.size() >= 40;
    });
    for (int round = 0; round < 50; ++round) {
      for (Client& client : clients)
        ::send(client.fd(), "line\n", 5, MSG_NOSIGNAL | MSG_DONTWAIT); // a part of them is closed
      const std::lock_guard lock{mutex};
      if (const auto victim = caf::actor_cast<caf::strong_actor_ptr>(victims.at(random() % victims.size())))
        caf::anon_send_exit(victim, caf::exit_reason::kill);
    }
    clients.clear();
    wait_for_quiet();
    EXPECT_EQ(info().connection_count, 0U);
    wait_until([&] { return descriptor_count() == listening; });
    ask<Done>(listener_, Stop{});
  }
  wait_until([&] { return descriptor_count() == descriptors; });
}

} // namespace

} // namespace squall::actor_tests
