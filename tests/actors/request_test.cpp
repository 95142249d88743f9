// SPDX-License-Identifier: BSD-3-Clause
//
// request_test.cpp: CAF requests that a coroutine handler awaits.
#include "tests/actors/support.hpp"

#include <atomic>

namespace squall::actor_tests {

namespace {

using Adder = TypedActor<caf::result<int>(int, int)>;
using Silent = TypedActor<caf::result<void>(int)>;

/// What a coroutine under test writes to its client, line by line, is what the test compares.
class RequestTest : public ActorTest {
protected:
  /// The lines that `body` writes; it runs once on each loop, and has to do the same on both.
  std::string run(std::function<Task<>(IOStream&)> body) {
    const auto shared = std::make_shared<std::function<Task<>(IOStream&)>>(std::move(body));
    const Endpoint server =
        listen([shared](IOStream stream, Endpoint) -> Task<> { // NOLINT: `shared` outlives the task
          co_await (*shared)(stream);
        });
    std::vector<Client> clients;
    for (int i = 0; i < 2; ++i)
      clients.emplace_back(server);
    const std::string first = clients[0].receive_all();
    EXPECT_EQ(clients[1].receive_all(), first);
    wait_for_quiet();
    EXPECT_EQ(info().failed_count, 0U);
    return first;
  }

  /// A pinned actor: a handler whose connection lives as long as the test's client.
  caf::actor spawn_pinned(std::function<caf::behavior(caf::event_based_actor*)> make) {
    std::promise<caf::actor> made;
    const ListenerActor listener =
        io_->spawn_listener([&](caf::event_based_actor* self, const StreamActor&, const Endpoint&) {
          auto behavior = make(self);
          made.set_value(self);
          return behavior;
        });
    keep_.emplace_back(listen_with(listener));
    return made.get_future().get();
  }

  void TearDown() override {
    keep_.clear();
    ActorTest::TearDown();
  }

  caf::actor spawn_adder() {
    return system_.spawn(
        [](caf::event_based_actor*) { return caf::behavior{[](int a, int b) { return a + b; }}; });
  }
  /// Never answers.
  caf::actor spawn_mute() {
    return system_.spawn([](caf::event_based_actor* self) {
      auto kept = std::make_shared<std::vector<caf::response_promise>>();
      return caf::behavior{[=](int) {
        kept->push_back(self->make_response_promise());
        return kept->back();
      }};
    });
  }

private:
  std::vector<Client> keep_;
};

TEST_F(RequestTest, AsksAWorkerPoolActor) {
  const caf::actor adder = spawn_adder();
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              const int sum = co_await request<int>(adder, test_deadline, 1, 2);
              co_await stream.write(std::to_string(sum));
            }),
            "3");
}

TEST_F(RequestTest, AsksAPinnedActorOfItsOwnLoopAndOfTheOther) {
  const caf::actor doubler =
      spawn_pinned([](caf::event_based_actor*) { return caf::behavior{[](int x) { return 2 * x; }}; });
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              int sum = 0;
              for (int i = 0; i < 100; ++i)
                sum += co_await request<int>(doubler, caf::infinite, i);
              co_await stream.write(std::to_string(sum));
            }),
            "9900");
}

TEST_F(RequestTest, AsksATypedActor) {
  const Adder adder = caf::actor_cast<Adder>(spawn_adder());
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              const int sum = co_await request(adder, test_deadline, 20, 22);
              co_await stream.write(std::to_string(sum));
            }),
            "42");
}

TEST_F(RequestTest, AsksStreamActorsOfItsOwnLoopAndOfTheOther) {
  for (int i = 0; i < 2; ++i) { // streams go to the loops in turn
    auto [other, client, fd] = connect();
    client.send("one\ntwo\n");
    EXPECT_EQ(run([other = other](IOStream& stream) -> Task<> {
                const StreamInfo found = co_await request(other, test_deadline, Info{});
                co_await request(other, test_deadline, Write{"asked\n"});
                const Bytes line = co_await request(other, test_deadline, ReadUntil{"\n"});
                co_await stream.write(to_string(found.peer) + " " + std::to_string(line.size()));
              }),
              "127.0.0.1:4711 4");
    EXPECT_EQ(client.receive_line() + client.receive_line(), "asked\nasked\n");
  }
}

TEST_F(RequestTest, TakesNoValueAndSeveralValues) {
  const caf::actor target = system_.spawn([](caf::event_based_actor*) {
    return caf::behavior{[](int) {},
                         [](const std::string& text) -> caf::result<int, std::string> {
                           return {static_cast<int>(text.size()), text + text};
                         }};
  });
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              co_await request<void>(target, test_deadline, 1);
              const auto [size, twice] =
                  co_await request<std::tuple<int, std::string>>(target, test_deadline, std::string{"ab"});
              co_await stream.write(std::to_string(size) + twice);
            }),
            "2abab");
}

/// The error that a request threw, as text.
template <class Request>
Task<std::string> error_of(Request request) {
  try {
    co_await std::move(request);
  } catch (const RequestError& error) {
    co_return error_text(error.error());
  } catch (const StreamClosedError& error) {
    co_return std::string{"closed: "} + to_string(error.reason());
  } catch (const StreamException& error) {
    co_return std::string{"stream: "} + to_string(error.code());
  }
  co_return "no error";
}

TEST_F(RequestTest, EndsAtItsTimeoutAndDropsALateResponse) {
  std::atomic<int> asked{0};
  int told = 0;
  std::vector<caf::response_promise> promises;
  const caf::actor slow = system_.spawn([&](caf::event_based_actor* self) {
    return caf::behavior{[&, self](int) {
                           promises.push_back(self->make_response_promise());
                           ++asked;
                           return promises.back();
                         },
                         [&](const std::string&) { // answers what timed out, once both did, then this
                           if (++told == 2)
                             for (auto& promise : promises)
                               promise.deliver(13);
                           return std::string{"late"};
                         }};
  });
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              co_await stream.write(co_await error_of(request<int>(slow, 1ms, 1)));
              co_await stream.write(co_await request<std::string>(slow, test_deadline, std::string{}));
            }),
            "request_timeoutlate");
  EXPECT_EQ(asked, 2);
}

TEST_F(RequestTest, FailsAtOnceForADeadTarget) {
  const caf::actor dead = spawn_adder();
  self()->send_exit(dead, caf::exit_reason::kill);
  self()->wait_for(dead);
  auto [stream, client, fd] = connect();
  ASSERT_TRUE(ask<Done>(stream, Close{}));
  EXPECT_EQ(run([=, closed = stream](IOStream& out) -> Task<> {
              co_await out.write(co_await error_of(request<int>(dead, caf::infinite, 1, 2)) + "; ");
              co_await out.write(co_await error_of(request<int>(caf::actor{}, caf::infinite, 1, 2)) + "; ");
              const Write write{"x"};
              co_await out.write(co_await error_of(request(closed, caf::infinite, write)));
            }),
            "request_receiver_down; invalid_argument; closed: " +
                std::string{to_string(CloseReason::local_close)});
}

TEST_F(RequestTest, ThrowsWhatTheTargetAnswers) {
  const caf::actor refusing = system_.spawn([](caf::event_based_actor*) {
    return caf::behavior{
        [](int) -> caf::result<int> { return caf::make_error(caf::sec::bad_function_call, "not today"); },
        [](double) -> caf::result<int> {
          return make_error(StreamError{StreamErrc::closed, CloseReason::reset, {}});
        },
        [](char) -> caf::result<int> {
          return make_error(StreamError{StreamErrc::buffer_full, CloseReason::none, {}});
        }};
  });
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              co_await stream.write(co_await error_of(request<int>(refusing, test_deadline, 1)) + "; ");
              co_await stream.write(co_await error_of(request<int>(refusing, test_deadline, 1.0)) + "; ");
              co_await stream.write(co_await error_of(request<int>(refusing, test_deadline, 'x')));
            }),
            "bad_function_call: not today; closed: " + std::string{to_string(CloseReason::reset)} +
                "; stream: " + to_string(StreamErrc::buffer_full));
}

TEST_F(RequestTest, RefusesAResponseOfAnotherType) {
  const caf::actor adder = spawn_adder();
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              co_await stream.write(co_await error_of(request<std::string>(adder, test_deadline, 1, 2)) +
                                    "; ");
              co_await stream.write(co_await error_of(request<void>(adder, test_deadline, 1, 2)));
            }),
            "unexpected_response; unexpected_response");
}

TEST_F(RequestTest, ReturnsTheErrorAsAResult) {
  const caf::actor adder = spawn_adder();
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              const auto sum = co_await request<int>(adder, test_deadline, 1, 2).as_result();
              const auto wrong = co_await request<std::string>(adder, test_deadline, 1, 2).as_result();
              co_await stream.write(std::to_string(*sum) + " " + error_text(wrong.error()));
            }),
            "3 unexpected_response");
}

TEST_F(RequestTest, TheStreamGoesOnWhileARequestWaits) {
  const caf::actor adder = spawn_adder();
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              stream.write("before ");
              const int sum = co_await request<int>(adder, test_deadline, 1, 2);
              stream.write(std::to_string(sum));
            }),
            "before 3");
}

TEST_F(RequestTest, TheEndOfTheStreamActorDestroysAWaitingCoroutine) {
  const caf::actor mute = spawn_mute();
  std::atomic<int> destroyed{0};
  struct Witness {
    std::atomic<int>& count;
    ~Witness() { ++count; }
  };
  std::promise<StreamActor> told;
  const Endpoint server = listen([&](IOStream, Endpoint) -> Task<> {
    const Witness witness{destroyed};
    told.set_value(co_await current_stream_actor());
    co_await request<int>(mute, caf::infinite, 1);
    ADD_FAILURE() << "it went on";
  });
  Client client{server};
  const StreamActor stream = told.get_future().get();
  self()->send_exit(stream, caf::exit_reason::kill);
  EXPECT_TRUE(client.at_end());
  wait_until([&] { return destroyed == 1; });
  self()->send_exit(mute, caf::exit_reason::kill); // and whatever it may answer harms nobody
}

TEST_F(RequestTest, TheCurrentStreamActorIsTheCoroutinesOwn) {
  const Endpoint server = listen([](IOStream stream, Endpoint) -> Task<> {
    const StreamActor self = co_await current_stream_actor();
    caf::anon_send(self, Write{"first "});
    co_await stream.write("second ");
    const Write third{"third"};
    co_await request(self, test_deadline, third); // even so
  });
  EXPECT_EQ(Client{server}.receive_all(), "first second third");
}

TEST_F(RequestTest, SleepsAndNestedTasksWork) {
  struct Nested {
    static Task<int> sum(caf::actor adder, int depth) {
      co_await sleep_for(1us);
      if (depth == 0)
        co_return 0;
      const int rest = co_await sum(adder, depth - 1);
      co_return co_await request<int>(adder, test_deadline, rest, depth);
    }
  };
  const caf::actor adder = spawn_adder();
  EXPECT_EQ(run([=](IOStream& stream) -> Task<> {
              co_await stream.write(std::to_string(co_await Nested::sum(adder, 10)));
            }),
            "55");
}

TEST_F(RequestTest, OutsideOfAStreamActorItThrows) {
  EventLoop loop;
  TaskContext context{loop};
  bool threw = false;
  const caf::actor adder = spawn_adder();
  RunningTask task{[](caf::actor target) -> Task<> { co_await request<int>(target, 1s, 1, 2); }(adder),
                   [&](const std::exception_ptr& exception) {
                     try {
                       std::rethrow_exception(exception);
                     } catch (const std::logic_error&) {
                       threw = true;
                     }
                   }};
  task.start(context);
  EXPECT_TRUE(threw);
}

} // namespace

} // namespace squall::actor_tests
