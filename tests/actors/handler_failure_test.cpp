// SPDX-License-Identifier: BSD-3-Clause
//
// handler_failure_test.cpp: every way in which a handler can fail closes its own stream, is counted and
// logged once, and no other connection notices.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

enum class Fault {
  coroutine_throws_at_once,
  coroutine_throws_later,
  coroutine_throws_no_exception,
  coroutine_throws_in_a_nested_task,
  function_throws_without_a_coroutine,
  actor_throws_in_its_function,
  actor_throws_in_a_message_handler,
  actor_throws_in_a_response_handler,
  actor_throws_no_exception,
  actor_quits_with_an_error,
  actor_gets_an_error_that_it_does_not_handle,
  actor_is_killed,
};

struct Case {
  Fault fault;
  HandlerPlacement placement;
  std::string text; ///< that the log shows
};

Task<> fail_nested(IOStream stream) {
  co_await stream.read_until("\n");
  throw std::runtime_error{"nested fault"};
}

Task<> faulty_coroutine(Fault fault, IOStream stream) {
  if (fault == Fault::coroutine_throws_at_once)
    throw std::runtime_error{"early fault"};
  if (fault == Fault::coroutine_throws_in_a_nested_task)
    co_await fail_nested(stream);
  co_await stream.read_until("\n");
  if (fault == Fault::coroutine_throws_no_exception)
    throw 42;
  throw std::runtime_error{"late fault"};
}

caf::behavior faulty_actor(Fault fault, caf::event_based_actor* self, const StreamActor& stream) {
  if (fault == Fault::actor_throws_in_its_function)
    throw std::runtime_error{"early fault"};
  self->request(stream, caf::infinite, ReadUntil{"\n", {}}).then([=](const Bytes&) {
    if (fault == Fault::actor_throws_in_a_response_handler)
      throw std::runtime_error{"fault in a response"};
    if (fault == Fault::actor_throws_no_exception)
      throw 42;
    if (fault == Fault::actor_quits_with_an_error)
      self->quit(caf::make_error(caf::sec::bad_function_call, "quit in anger"));
    if (fault == Fault::actor_is_killed)
      caf::anon_send_exit(self, caf::exit_reason::kill);
    if (fault == Fault::actor_gets_an_error_that_it_does_not_handle)
      self->request(caf::actor{}, caf::infinite, 1).then([](int) {});
    self->send(self, 1);
  });
  return {[=](int) {
    if (fault == Fault::actor_throws_in_a_message_handler)
      throw std::runtime_error{"fault in a message"};
  }};
}

Handler make_handler(const Case& given) {
  const Fault fault = given.fault;
  if (fault == Fault::function_throws_without_a_coroutine)
    return [](IOStream, Endpoint) -> Task<> { throw std::runtime_error{"no coroutine"}; };
  if (fault < Fault::function_throws_without_a_coroutine)
    return [=](IOStream stream, Endpoint) { return faulty_coroutine(fault, std::move(stream)); };
  return {[=](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
            return faulty_actor(fault, self, stream);
          },
          given.placement};
}

class HandlerFailure : public ActorTest, public ::testing::WithParamInterface<Case> {};

TEST_P(HandlerFailure, WeakSpot22ClosesItsOwnStreamAndIsCountedAndLoggedOnce) {
  const LogRecorder log;
  const ListenerActor other = io_->spawn_listener([](IOStream stream, Endpoint) -> Task<> {
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  });
  Client bystander{listen_with(other)};
  bystander.send("there\n");
  ASSERT_EQ(bystander.receive_line(), "there\n");
  const Endpoint server = listen(make_handler(GetParam()));
  for (std::size_t i = 1; i <= 4; ++i) { // on both loops
    Client client{server};
    const std::string address = client.address();
    client.send("go\n");
    EXPECT_TRUE(client.at_end());
    wait_for_quiet();
    EXPECT_EQ(info().failed_count, i);
    const auto events = log.events("handler_failed");
    ASSERT_EQ(events.size(), i);
    EXPECT_EQ(events.back().fields.at("peer"), address);
    EXPECT_NE(events.back().fields.at("error").find(GetParam().text), std::string::npos)
        << events.back().fields.at("error");
    bystander.send("still there\n");
    EXPECT_EQ(bystander.receive_line(), "still there\n");
  }
  EXPECT_EQ(info().accepted_count, 4U);
  EXPECT_EQ(ask<ListenerInfo>(other, Info{}).value->failed_count, 0U);
}

std::vector<Case> cases() {
  const auto loop = HandlerPlacement::connection_loop;
  std::vector<Case> all{{Fault::coroutine_throws_at_once, loop, "early fault"},
                        {Fault::coroutine_throws_later, loop, "late fault"},
                        {Fault::coroutine_throws_no_exception, loop, "no std::exception"},
                        {Fault::coroutine_throws_in_a_nested_task, loop, "nested fault"},
                        {Fault::function_throws_without_a_coroutine, loop, "no coroutine"}};
  for (const auto placement : {loop, HandlerPlacement::worker_pool}) {
    all.push_back({Fault::actor_throws_in_its_function, placement, "early fault"});
    all.push_back({Fault::actor_throws_in_a_message_handler, placement, "fault in a message"});
    all.push_back({Fault::actor_throws_in_a_response_handler, placement, "fault in a response"});
    all.push_back({Fault::actor_throws_no_exception, placement, "no std::exception"});
    all.push_back({Fault::actor_quits_with_an_error, placement, "quit in anger"});
    all.push_back({Fault::actor_gets_an_error_that_it_does_not_handle, placement, "invalid_argument"});
    all.push_back({Fault::actor_is_killed, placement, "kill"});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Every, HandlerFailure, ::testing::ValuesIn(cases()), [](const auto& given) {
  return std::to_string(static_cast<int>(given.param.fault)) +
         (given.param.placement == HandlerPlacement::worker_pool ? "OnAWorker" : "OnTheLoop");
});

using HandlerEnd = ActorTest;

TEST_F(HandlerEnd, AHandlerThatDiesOfTheStreamsErrorDidNotFail) {
  const LogRecorder log;
  const Endpoint server = listen([](caf::event_based_actor* self, const StreamActor& stream,
                                    const Endpoint&) {
    self->request(stream, caf::infinite, ReadUntil{"\n", {}}).then([](const Bytes&) {}); // no error handler
    return caf::behavior{[](int) {}};
  });
  for (int i = 0; i < 4; ++i)
    Client{server}.send("no line");
  wait_until([&] { return info().accepted_count == 4; });
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U);
  EXPECT_EQ(log.count("handler_failed"), 0U);
}

TEST_F(HandlerEnd, AHandlerThatIsToldToShutDownDidNotFail) {
  std::promise<caf::actor> told;
  const Endpoint server = listen([&](caf::event_based_actor* self, const StreamActor&, const Endpoint&) {
    told.set_value(self);
    return caf::behavior{[](int) {}};
  });
  Client client{server};
  self()->send_exit(told.get_future().get(), caf::exit_reason::user_shutdown);
  EXPECT_TRUE(client.at_end());
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 0U);
}

TEST_F(HandlerEnd, TheHandlersDeathAnswersItsPendingOperations) {
  std::promise<std::pair<StreamActor, caf::actor>> told;
  const Endpoint server =
      listen([&](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        told.set_value({stream, self});
        return caf::behavior{[](int) {}};
      });
  Client client{server, 4096};
  auto [stream, handler] = told.get_future().get();
  const auto read = begin(stream, ReadUntil{"\n", {}});
  const auto write = begin(stream, Write{std::string(20'000'000, 'x')});
  sync(stream);
  self()->send_exit(handler, caf::exit_reason::kill);
  EXPECT_EQ(take<Bytes>(read).reason(), CloseReason::handler_failed);
  EXPECT_EQ(take<Done>(write).reason(), CloseReason::handler_failed);
  EXPECT_EQ(ask<Bytes>(stream, ReadBytes{1, false}).reason(), CloseReason::handler_failed);
}

TEST_F(HandlerEnd, AFunctionThatThrowsWhenItIsCopiedCostsItsConnection) {
  struct Uncopyable {
    std::shared_ptr<bool> armed = std::make_shared<bool>(false);
    Uncopyable() = default;
    Uncopyable(const Uncopyable& other) : armed{other.armed} {
      if (*armed)
        throw std::runtime_error{"no copy"};
    }
    Uncopyable(Uncopyable&&) = default;
    caf::behavior operator()(caf::event_based_actor*, const StreamActor&, const Endpoint&) const {
      return {};
    }
  };
  const LogRecorder log;
  const Uncopyable function;
  const Endpoint server = listen(Handler{function});
  *function.armed = true;
  for (int i = 0; i < 2; ++i)
    EXPECT_TRUE(Client{server}.at_end());
  wait_for_quiet();
  EXPECT_EQ(info().failed_count, 2U);
  EXPECT_EQ(log.count("handler_failed"), 2U);
}

TEST_F(HandlerEnd, AnExceptionOfAnAttachedFunctionLeavesTheLoopInOrder) {
  const LogRecorder log;
  const Endpoint server = listen(
      [](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
        self->attach_functor([](const caf::error&) { throw std::runtime_error{"attached fault"}; });
        self->request(stream, caf::infinite, ReadUntil{"\n", {}}).then([](const Bytes&) {});
        return caf::behavior{};
      },
      short_linger());
  for (int i = 0; i < 4; ++i) {
    std::vector<Client> clients;
    for (int j = 0; j < 5; ++j)
      clients.emplace_back(server).send("go\n");
  }
  wait_until([&] { return info().accepted_count == 20; });
  wait_for_quiet(); // nobody monitors any more, but the stream's end is the peer's
}

} // namespace

} // namespace squall::actor_tests
