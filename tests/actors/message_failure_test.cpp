// SPDX-License-Identifier: BSD-3-Clause
//
// message_failure_test.cpp: a request whose handling fails is answered, once, and what is called lives while it is.
#include "actors/caf_compat.hpp"
#include "actors/connection.hpp"
#include "tests/actors/support.hpp"
#include <squall/net/transport.hpp>

#include <fcntl.h>

namespace squall::actor_tests {

namespace {

using MessageFailure = ActorTest;

/// Where the stream's socket was is something that has no address.
TEST_F(MessageFailure, InfoIsAnsweredWhenTheSystemDoesNotTellTheAddress) {
  const LogRecorder log;
  Connected ends = connect();
  const Socket nothing = checked_socket(::open("/dev/null", O_RDWR | O_CLOEXEC), "open");
  const Socket kept = checked_socket(::dup(ends.server_fd), "dup"); // else the client sees an end
  ASSERT_EQ(::dup2(nothing.fd(), ends.server_fd), ends.server_fd);
  const auto info = ask<StreamInfo>(ends.stream, Info{});
  EXPECT_TRUE(info.error == caf::sec::runtime_error);
  EXPECT_NE(error_text(info.error).find("getsockname"), std::string::npos) << error_text(info.error);
  EXPECT_EQ(log.count("message_failed"), 1U);
  ASSERT_EQ(::dup2(kept.fd(), ends.server_fd), ends.server_fd);
  EXPECT_TRUE(ask<StreamInfo>(ends.stream, Info{})); // and it goes on
}

/// A transport of a user, which throws wherever it may.
class ThrowingTransport final : public Transport {
public:
  [[nodiscard]] int fileno() const noexcept override { return -1; }
  void close_fd() noexcept override {}
  IoResult read_from_fd(char*, std::size_t) noexcept override { return IoResult::blocked(); }
  IoResult write_to_fd(const IoSlice*, std::size_t) noexcept override { return IoResult::blocked(); }
  [[nodiscard]] std::optional<TLSInfo> tls_info() const override { throw std::bad_alloc{}; }
  [[nodiscard]] Endpoint local_endpoint() const override { throw 4711; }
  [[nodiscard]] Endpoint peer_endpoint() const override { throw std::runtime_error{"no peer"}; }
  void watch(EventLoop&, Watcher&) override {}
  void unwatch(EventLoop&, Watcher&) noexcept override {}
};

class FailingMessages : public ::testing::Test {
protected:
  ~FailingMessages() override {
    unit_->end_actors();
    unit_->close();
  }
  template <class Predicate>
  void run_until(Predicate predicate) {
    EXPECT_TRUE(wait_until([&] {
      unit_->loop().run_once();
      return predicate();
    }));
  }
  LogRecorder log_;
  Config config_;
  caf::actor_system system_{config_};
  std::shared_ptr<LoopUnit> unit_ = std::make_shared<LoopUnit>(system_, nullptr);
};

TEST_F(FailingMessages, WhateverATransportThrowsIsAnsweredOnce) {
  StreamActor stream;
  unit_->loop().post([&] {
    stream = make_loop_actor<Connection>(
                 unit_, IOStream{unit_->loop(), std::make_unique<ThrowingTransport>(), StreamOptions{}},
                 Endpoint{})
                 ->handle();
  });
  run_until([&] { return stream != nullptr; });
  std::vector<std::string> answers;
  bool asked = false;
  const caf::actor handler =
      caf::actor_cast<caf::actor>(spawn_handler(unit_, [&](caf::event_based_actor* asker) {
        const auto failed = [&](const caf::error& error) { answers.push_back(error_text(error)); };
        const auto done = [&] { answers.emplace_back("done"); };
        asker->request(stream, caf::infinite, Info{}).then([=](const StreamInfo&) { done(); }, failed);
        asker->request(stream, caf::infinite, AwaitHandshake{}).then([=](const TLSInfo&) { done(); }, failed);
        asker->request(stream, caf::infinite, SetNodelay{true}).then(done, failed);
        asked = true;
        return caf::behavior{[](int) {}};
      }));
  run_until([&] { return asked && answers.size() == 3; });
  unit_->loop().run_once();
  ASSERT_EQ(answers.size(), 3U);
  EXPECT_NE(answers[0].find("no std::exception"), std::string::npos) << answers[0];
  EXPECT_EQ(answers[1].find("runtime_error"), 0U) << answers[1];
  EXPECT_EQ(answers[2], "done");
}

/// Answers late, never, or by an exception, as the text says.
class Careless final : public LoopActor {
public:
  using LoopActor::LoopActor;
  [[nodiscard]] caf::actor handle() const { return caf::actor_cast<caf::actor>(strong_ref()); }

private:
  void on_message(caf::mailbox_element& message) override {
    const auto what = message.content().get_as<std::string>(0);
    if (what == "throw before")
      throw std::runtime_error{"before"};
    Reply reply{message};
    if (what == "throw behind")
      throw std::runtime_error{"behind"};
    if (what == "answer and throw") {
      reply.deliver(*this, std::string{"answer"});
      throw std::runtime_error{"late"};
    }
    if (what == "keep")
      kept_ = std::move(reply); // and so drops the one before
    if (what == "release")
      std::exchange(kept_, std::move(reply)).deliver(*this, std::string{"released"});
  }
  void on_end(const caf::error&) override {}
  Reply kept_;
};

TEST_F(FailingMessages, EachRequestGetsOneAnswerAlsoFromACarelessActor) {
  caf::actor careless;
  unit_->loop().post([&] { careless = make_loop_actor<Careless>(unit_)->handle(); });
  run_until([&] { return careless != nullptr; });
  std::vector<std::string> answers;
  const std::vector<std::string> requests{"throw before", "throw behind", "answer and throw", "forget",
                                          "keep",         "keep",         "release"};
  spawn_handler(unit_, [&](caf::event_based_actor* asker) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto note = [&, i](const std::string& answer) {
        answers.push_back(std::to_string(i) + " " + requests[i] + ": " + answer);
      };
      asker->request(careless, caf::infinite, requests[i]).then(note, [note](const caf::error& error) {
        EXPECT_TRUE(error == caf::sec::runtime_error);
        note(error_text(error));
      });
    }
    return caf::behavior{[](int) {}};
  });
  const std::string given_up =
      error_text(caf::make_error(caf::sec::runtime_error, "the request failed with an exception"));
  run_until([&] { return answers.size() >= 6; });
  caf::anon_send_exit(careless, caf::exit_reason::kill); // and lets the last one go with it
  careless = nullptr;
  run_until([&] { return answers.size() >= 7; });
  unit_->loop().run_once();
  std::sort(answers.begin(), answers.end());
  EXPECT_EQ(answers,
            (std::vector<std::string>{"0 throw before: runtime_error: before", "1 throw behind: " + given_up,
                                      "2 answer and throw: answer", "3 forget: " + given_up,
                                      "4 keep: " + given_up, "5 keep: released", "6 release: " + given_up}));
  EXPECT_EQ(log_.count("message_failed"), 3U);
}

// -- what is called lives

/// A coroutine that is a lambda with captures refers to them as long as it runs.
TEST_F(MessageFailure, AHandlerFunctionLivesAsLongAsItsCoroutines) {
  auto captured = std::make_shared<const std::string>("captured by the handler\n");
  const std::weak_ptr<const std::string> watched = captured;
  Client client{listen([text = std::move(captured)](IOStream stream, Endpoint) -> Task<> {
    co_await stream.read_until("\n");
    co_await stream.write(Bytes{*text}); // of the function, not of the frame
    co_await stream.read_until("\n");
  })};
  wait_until([&] { return info().connection_count == 1; });
  self()->send_exit(listener_, caf::exit_reason::kill);
  self()->wait_for(listener_);
  EXPECT_FALSE(watched.expired());
  client.send("go on\n");
  EXPECT_EQ(client.receive_line(), "captured by the handler\n");
  client.close();
  EXPECT_TRUE(wait_until([&] { return watched.expired(); }));
}

} // namespace

} // namespace squall::actor_tests
