// SPDX-License-Identifier: BSD-3-Clause
//
// client_actor_test.cpp: the actor that connects to hosts by name: one answer to each Connect, whatever ends first.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

/// Keeps its lookups until the test answers.
class HeldResolver final : public Resolver {
public:
  void lookup(Resolve request, LookupAnswer answer) override {
    const std::lock_guard lock{mutex_};
    requests_.push_back(std::move(request));
    answers_.push_back(std::move(answer));
  }
  /// Waits until so many lookups have come.
  void wait_for(std::size_t count) const {
    wait_until([&] {
      const std::lock_guard lock{mutex_};
      return answers_.size() >= count;
    });
  }
  [[nodiscard]] LookupAnswer answer(std::size_t index) const {
    const std::lock_guard lock{mutex_};
    return answers_.at(index);
  }
  [[nodiscard]] Resolve request(std::size_t index) const {
    const std::lock_guard lock{mutex_};
    return requests_.at(index);
  }

private:
  mutable std::mutex mutex_;
  std::vector<Resolve> requests_;
  std::vector<LookupAnswer> answers_;
};

Connect connect_to(std::string host, std::uint16_t port, Timeout timeout = no_timeout) {
  return Connect{{std::move(host), port, AddressFamily::unspec}, {}, timeout};
}

class ClientActorTest : public ActorTest {
protected:
  Endpoint listen_and_echo() {
    return listen([](IOStream stream, Endpoint) -> Task<> {
      for (;;)
        co_await stream.write(co_await stream.read_until("\n"));
    });
  }
  void end(const ClientActor& client) { caf::anon_send_exit(client, caf::exit_reason::user_shutdown); }

  std::shared_ptr<HeldResolver> held_ = std::make_shared<HeldResolver>();
};

TEST_F(ClientActorTest, AnswersWithAStreamActorThatWorks) {
  const Endpoint server = listen_and_echo();
  const ClientActor client = io_->spawn_client();
  const auto connected = ask<StreamActor>(client, connect_to("localhost", server.port, 10s));
  ASSERT_TRUE(connected) << error_text(connected.error);
  const StreamActor stream = *connected.value;
  ASSERT_TRUE(ask<Done>(stream, Write{"hello\n"}));
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n"})), "hello\n");
  EXPECT_EQ(ask<StreamInfo>(stream, Info{}).value->peer, server);
  end(client); // its streams outlive it
  ASSERT_TRUE(ask<Done>(stream, Write{"again\n"}));
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n"})), "again\n");
  ASSERT_TRUE(ask<Done>(stream, Close{}));
  wait_for_no_connection();
}

TEST_F(ClientActorTest, AnswersWithAnErrorThatSaysWhatWasTried) {
  ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
  const Endpoint refusing = socket.local_endpoint();
  socket.close();
  const ClientActor client = io_->spawn_client();
  const auto refused = ask<StreamActor>(client, connect_to("127.0.0.1", refusing.port));
  EXPECT_EQ(refused.reason(), CloseReason::transport_error);
  EXPECT_EQ(stream_closed(refused.error)->real_error(), std::errc::connection_refused);
  EXPECT_NE(error_text(refused.error).find("tried " + to_string(refusing) + " (Connection refused)"),
            std::string::npos)
      << error_text(refused.error);
  const auto unknown = ask<StreamActor>(client, connect_to("an invalid domain", 1));
  EXPECT_EQ(unknown.code(), StreamErrc::lookup_failed);
  EXPECT_EQ(unknown.stream()->real_error.category(), lookup_category());
  EXPECT_EQ(ask<StreamActor>(client, connect_to("", 1)).code(), StreamErrc::invalid_argument);
  EXPECT_EQ(ask<StreamActor>(client, Connect{{"/tmp/socket", 0, AddressFamily::unix_domain}}).code(),
            StreamErrc::invalid_argument);
  end(client);
}

TEST_F(ClientActorTest, TakesFamilyAndTimeoutOfTheRequest) {
  const ClientActor client = io_->spawn_client(ConnectOptions{}, held_);
  const auto outcome =
      ask<StreamActor>(client, Connect{{"host.example", 7, AddressFamily::ipv6}, {}, Timeout{1ms}});
  EXPECT_EQ(outcome.code(), StreamErrc::timed_out);
  EXPECT_EQ(held_->request(0), (Resolve{"host.example", 7, AddressFamily::ipv6, no_timeout}));
  EXPECT_FALSE(held_->answer(0).wanted());
  end(client);
}

TEST_F(ClientActorTest, ItsEndAnswersEveryRequest) {
  const ClientActor client = io_->spawn_client(ConnectOptions{}, held_);
  const auto first = begin(client, connect_to("a.example", 1));
  const auto second = begin(client, connect_to("b.example", 1));
  held_->wait_for(2);
  end(client);
  EXPECT_EQ(take<StreamActor>(first).reason(), CloseReason::shutting_down);
  EXPECT_EQ(take<StreamActor>(second).reason(), CloseReason::shutting_down);
  EXPECT_FALSE(held_->answer(0).wanted());
  EXPECT_EQ(ask<StreamActor>(client, connect_to("c.example", 1)).error,
            caf::make_error(caf::sec::request_receiver_down));
}

TEST_F(ClientActorTest, TheEndOfItsIOSystemAnswersEveryRequest) {
  const std::size_t before = descriptor_count();
  const ClientActor client = io_->spawn_client(ConnectOptions{}, held_);
  const auto pending = begin(client, connect_to("a.example", 1));
  held_->wait_for(1);
  end_io();
  EXPECT_EQ(take<StreamActor>(pending).reason(), CloseReason::shutting_down);
  held_->answer(0)(Addresses{{"127.0.0.1", 1, AddressFamily::ipv4}}); // too late, and harmless
  EXPECT_LE(descriptor_count(), before);
}

TEST_F(ClientActorTest, GivesUpWhenItsRequesterEnds) {
  const ClientActor client = io_->spawn_client(ConnectOptions{}, held_);
  const auto requester = system_.spawn([client](caf::event_based_actor* own) {
    for (const char* host : {"a.example", "b.example"})
      own->request(client, caf::infinite, connect_to(host, 1)).then([](const StreamActor&) {});
    return caf::behavior{[](int) {}};
  });
  held_->wait_for(2);
  EXPECT_TRUE(held_->answer(0).wanted());
  caf::anon_send_exit(requester, caf::exit_reason::kill);
  wait_until([&] { return !held_->answer(0).wanted() && !held_->answer(1).wanted(); });
  end(client);
}

TEST_F(ClientActorTest, GivesUpWhatIsLeftWhenARequesterEndsWithSomeAnswers) {
  const ClientActor client = io_->spawn_client(ConnectOptions{}, held_);
  std::atomic<int> answers{0};
  const auto requester = system_.spawn([client, &answers](caf::event_based_actor* own) {
    for (const char* host : {"a.example", "b.example"})
      own->request(client, caf::infinite, connect_to(host, 1))
          .then([](const StreamActor&) {}, [&answers](const caf::error&) { ++answers; });
    return caf::behavior{[](int) {}};
  });
  held_->wait_for(2);
  held_->answer(0)(Addresses{}); // fails
  wait_until([&] { return answers == 1; });
  EXPECT_TRUE(held_->answer(1).wanted());
  caf::anon_send_exit(requester, caf::exit_reason::kill);
  wait_until([&] { return !held_->answer(1).wanted(); });
  end(client);
}

TEST_F(ClientActorTest, NeedsAResolver) {
  EXPECT_THROW(static_cast<void>(io_->spawn_client(ConnectOptions{}, nullptr)), std::invalid_argument);
}

TEST_F(ClientActorTest, IgnoresAConnectThatNobodyWaitsFor) {
  const Endpoint server = listen_and_echo();
  const ClientActor client = io_->spawn_client();
  self()->send(client, connect_to("127.0.0.1", server.port));
  // Messages of one sender keep their order: the first would have been connected first.
  const auto connected = ask<StreamActor>(client, connect_to("127.0.0.1", server.port));
  ASSERT_TRUE(connected);
  ASSERT_TRUE(ask<Done>(*connected.value, Write{"x\n"}));
  EXPECT_EQ(text(ask<Bytes>(*connected.value, ReadUntil{"\n"})), "x\n");
  EXPECT_EQ(info().accepted_count, 1u);
  ASSERT_TRUE(ask<Done>(*connected.value, Close{}));
  end(client);
}

TEST_F(ClientActorTest, AnswersEachOfManyOnceWhileItIsKilled) {
  const Endpoint server = listen_and_echo();
  const std::size_t before = descriptor_count();
  for (int round = 0; round < 10; ++round) {
    const ClientActor client = io_->spawn_client();
    std::vector<decltype(begin(client, connect_to("localhost", 1)))> requests;
    for (int i = 0; i < 20; ++i)
      requests.push_back(begin(client, connect_to(i % 2 == 0 ? "localhost" : "127.0.0.1", server.port)));
    caf::anon_send_exit(client, caf::exit_reason::kill);
    for (auto& request : requests) {
      const auto outcome = take<StreamActor>(request);
      if (outcome)
        caf::anon_send_exit(*outcome.value, caf::exit_reason::user_shutdown);
      else
        EXPECT_TRUE(outcome.reason() == CloseReason::shutting_down ||
                    outcome.error == caf::sec::request_receiver_down)
            << error_text(outcome.error);
    }
  }
  wait_for_no_connection();
  wait_until([&] { return descriptor_count() <= before; });
}

TEST_F(ClientActorTest, ErrorsOfEveryKindTravel) {
  for (const std::error_code code :
       {std::error_code{}, std::make_error_code(std::errc::connection_refused),
        make_error_code(LookupErrc::no_address), std::error_code{-2, lookup_category()},
        std::error_code{167772294, tls_category()}, make_error_code(StreamErrc::unread_plaintext)}) {
    const StreamError error{StreamErrc::closed, CloseReason::tls_failed, code};
    EXPECT_EQ(stream_error(make_error(error)), error);
    EXPECT_EQ(stream_error(make_error(error, "a text")), error);
    EXPECT_EQ(error_text(make_error(error, "a text")), "a text");
  }
}

} // namespace

} // namespace squall::actor_tests
