// SPDX-License-Identifier: BSD-3-Clause
//
// handler_end_test.cpp: how a handler ended: its own peer left or was late, which is no failure, or something failed.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

StreamOptions half_close() {
  StreamOptions options = short_linger();
  options.half_close = true;
  return options;
}

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

/// Takes a line and ends with the error of the next read, which it does not handle.
caf::behavior listen_twice(caf::event_based_actor* self, const StreamActor& stream, Timeout timeout) {
  ReadUntil second{"\n"};
  second.timeout = timeout;
  self->request(stream, caf::infinite, ReadUntil{"\n"}).then([=](const Bytes& line) {
    self->send(stream, Write{line});
    self->request(stream, caf::infinite, second).then([](const Bytes&) {});
  });
  return {[](int) {}};
}

class HandlerEndTest : public ActorTest {
protected:
  static Handler actor(HandlerPlacement placement, Timeout timeout = no_timeout) {
    return {[timeout](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
              return listen_twice(self, stream, timeout);
            },
            placement};
  }
  static Client served(const Endpoint& server) {
    Client client{server};
    client.send("hello\n");
    EXPECT_EQ(client.receive_line(), "hello\n");
    return client;
  }
  void expect_no_failure(const LogRecorder& log) {
    wait_for_quiet();
    EXPECT_EQ(info().failed_count, 0U);
    EXPECT_EQ(log.count("handler_failed"), 0U);
  }
  void expect_ordinary(const LogRecorder& log, const std::string& peer, std::string_view reason) {
    expect_no_failure(log);
    const auto events = log.events("connection_ended");
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].level, LogLevel::info);
    EXPECT_EQ(events[0].fields.at("peer"), peer);
    EXPECT_NE(events[0].fields.at("reason").find(reason), std::string::npos) << events[0].fields.at("reason");
  }
  void expect_failure(const LogRecorder& log, const std::string& peer) {
    wait_until([&] { return info().failed_count == 1; });
    wait_for_no_connection();
    const auto events = log.events("handler_failed");
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].level, LogLevel::error);
    EXPECT_EQ(events[0].fields.at("peer"), peer);
    EXPECT_EQ(log.count("connection_ended"), 0U);
  }
};

TEST_F(HandlerEndTest, AClientThatLeavesIsNoFailureOfItsHandler) {
  for (const Handler& handler :
       {Handler{echo}, actor(HandlerPlacement::connection_loop), actor(HandlerPlacement::worker_pool)}) {
    const LogRecorder log;
    Client client = served(listen(handler, half_close()));
    const std::string peer = client.address();
    client.close();
    expect_ordinary(log, peer, to_string(CloseReason::peer_closed));
  }
}

/// The stream actor then ends before an actor does.
TEST_F(HandlerEndTest, AClientWhoseStreamClosesWithItIsNoFailureOfItsHandler) {
  for (const bool reset : {false, true})
    for (const Handler& handler :
         {Handler{echo}, actor(HandlerPlacement::connection_loop), actor(HandlerPlacement::worker_pool)}) {
      const LogRecorder log;
      Client client = served(listen(handler, reset ? half_close() : short_linger()));
      const std::string peer = client.address();
      if (reset)
        client.reset();
      else
        client.close();
      if (handler.coroutine() != nullptr)
        expect_ordinary(log, peer, to_string(reset ? CloseReason::reset : CloseReason::peer_closed));
      else
        expect_no_failure(log);
    }
}

TEST_F(HandlerEndTest, AReadThatIsOverBeforeTheClientSpeaksIsNoFailure) {
  const CoroutineHandler impatient = [](IOStream stream, Endpoint) -> Task<> {
    co_await stream.write(co_await stream.read_until("\n"));
    co_await stream.read_until("\n", std::nullopt, 1ms);
  };
  const CoroutineHandler asking = [](IOStream stream, Endpoint) -> Task<> {
    co_await stream.write(co_await stream.read_until("\n"));
    (co_await stream.read_until("\n", std::nullopt, 1ms).as_result()).value();
  };
  for (const Handler& handler :
       {Handler{impatient}, Handler{asking}, actor(HandlerPlacement::connection_loop, 1ms),
        actor(HandlerPlacement::worker_pool, 1ms)}) {
    const LogRecorder log;
    Client client = served(listen(handler, half_close()));
    EXPECT_TRUE(client.at_end());
    expect_ordinary(log, client.address(), to_string(StreamErrc::timed_out));
  }
}

/// A handler that reads from `backend` when its client has sent a line.
class RelayTest : public HandlerEndTest {
protected:
  Handler relay_coroutine() {
    return [this](IOStream stream, Endpoint) -> Task<> {
      co_await stream.write(co_await stream.read_until("\n"));
      IOStream backend{stream.loop()};
      co_await backend.connect(backend_.local_endpoint());
      co_await stream.write(co_await backend.read_until("\n"));
    };
  }
  Handler relay_actor(HandlerPlacement placement) {
    const StreamActor backend = io_->spawn_stream();
    EXPECT_TRUE(ask<Done>(backend, Connect{backend_.local_endpoint()}));
    return {
        [backend](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) -> caf::behavior {
          self->request(stream, caf::infinite, ReadUntil{"\n"}).then([=](const Bytes& line) {
            self->send(stream, Write{line});
            self->request(backend, caf::infinite, ReadUntil{"\n"}).then([](const Bytes&) {});
          });
          return {[](int) {}};
        },
        placement};
  }
  Client accept_backend() {
    int accepted = -1;
    wait_until([&] { return (accepted = ::accept4(backend_.fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0; });
    return Client{checked_socket(accepted, "accept4")};
  }

  const ListeningSocket backend_ = bind_sockets(0, "127.0.0.1").front();
};

TEST_F(RelayTest, TheEndOfAnotherStreamFailsTheHandler) {
  for (const StreamOptions& options : {half_close(), short_linger()})
    for (int form = 0; form < 3; ++form) {
      const LogRecorder log;
      Client client = served(listen(form == 0   ? relay_coroutine()
                                    : form == 1 ? relay_actor(HandlerPlacement::connection_loop)
                                                : relay_actor(HandlerPlacement::worker_pool),
                                    options));
      accept_backend().close();
      EXPECT_TRUE(client.at_end());
      expect_failure(log, client.address());
    }
}

TEST_F(RelayTest, TheEndOfAnotherStreamFailsTheHandlerThoughItsOwnClientHasLeft) {
  const LogRecorder log;
  Client client = served(listen(relay_coroutine(), short_linger()));
  const std::string peer = client.address();
  Client backend = accept_backend();
  client.reset();
  wait_until([&] { return ask<ConnectionList>(listener_, Connections{}).value->connections.at(0).closed; });
  backend.close();
  expect_failure(log, peer);
}

/// What relays do: the end of one side closes the other.
TEST_F(RelayTest, AnotherStreamThatTheProgramClosesBecauseItsClientLeftIsNoFailure) {
  const LogRecorder log;
  Client client = served(listen(
      [this](IOStream stream, Endpoint) -> Task<> {
        co_await stream.write(co_await stream.read_until("\n"));
        IOStream backend{stream.loop()};
        co_await backend.connect(backend_.local_endpoint());
        stream.wait(StreamEvent::closed, [backend](Result<void>) mutable { backend.close(); });
        co_await stream.write(co_await backend.read_until("\n"));
      },
      short_linger()));
  const std::string peer = client.address();
  const Client backend = accept_backend();
  client.reset();
  expect_ordinary(log, peer, to_string(CloseReason::reset));
}

TEST_F(RelayTest, AnotherStreamThatTheProgramClosesWhileItsClientWaitsFailsTheHandler) {
  const LogRecorder log;
  Client client = served(listen([this](IOStream stream, Endpoint) -> Task<> {
    co_await stream.write(co_await stream.read_until("\n"));
    IOStream backend{stream.loop()};
    co_await backend.connect(backend_.local_endpoint());
    backend.close();
    co_await backend.read_until("\n");
  }));
  EXPECT_TRUE(client.at_end());
  expect_failure(log, client.address());
}

TEST_F(HandlerEndTest, WrongUseOfItsOwnStreamFailsTheHandler) {
  const LogRecorder log;
  Client client = served(listen([](IOStream stream, Endpoint) -> Task<> {
    co_await stream.write(co_await stream.read_until("\n"));
    co_await stream.read_until("");
  }));
  EXPECT_TRUE(client.at_end());
  expect_failure(log, client.address());
}

TEST_F(HandlerEndTest, ErrorsOfStreamActorsTellTheirStreamsApart) {
  Connected one = connect();
  Connected other = connect();
  one.client.close();
  other.client.close();
  const auto first = ask<Bytes>(one.stream, ReadUntil{"\n"}).stream();
  const auto second = ask<Bytes>(other.stream, ReadUntil{"\n"}).stream();
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->stream, 0U);
  EXPECT_NE(first->stream, second->stream);
  EXPECT_EQ(*first, *second) << "they say the same";
}

} // namespace

} // namespace squall::actor_tests
