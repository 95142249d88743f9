// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor_test.cpp: each request to a stream actor and its answer, on a connection that lives.
#include "tests/actors/support.hpp"

namespace squall::actor_tests {

namespace {

class StreamActorTest : public ActorTest {
protected:
  [[nodiscard]] bool nothing_more() { return !self()->has_next_message(); }
};

TEST_F(StreamActorTest, ReadUntilReturnsTheLineWithItsDelimiter) {
  auto [stream, client, fd] = connect();
  client.send("one\ntwo\n");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n", {}})), "one\n");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n", {}})), "two\n");
  EXPECT_TRUE(nothing_more());
}

TEST_F(StreamActorTest, ReadUntilWaitsForWhatIsYetToCome) {
  auto [stream, client, fd] = connect();
  client.send("on");
  const auto pending = begin(stream, ReadUntil{"\n", {}});
  sync(stream);
  client.send("e\n");
  EXPECT_EQ(text(take<Bytes>(pending)), "one\n");
  EXPECT_TRUE(nothing_more());
}

TEST_F(StreamActorTest, ReadBytesReturnsExactlyAsManyAsAsked) {
  auto [stream, client, fd] = connect();
  const auto pending = begin(stream, ReadBytes{5, false});
  client.send("abc");
  sync(stream);
  client.send("defg");
  EXPECT_EQ(text(take<Bytes>(pending)), "abcde");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{2, false})), "fg");
}

TEST_F(StreamActorTest, ReadBytesPartialReturnsWhatIsThere) {
  auto [stream, client, fd] = connect();
  client.send("abc");
  const auto outcome = ask<Bytes>(stream, ReadBytes{100, true});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(std::string{"abc"}.rfind(outcome.value->str(), 0), 0U);
  EXPECT_FALSE(outcome.value->empty());
}

TEST_F(StreamActorTest, ReadBytesOfNothingIsAnsweredAtOnce) {
  auto [stream, client, fd] = connect();
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{0, false})), "");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{0, true})), "");
}

TEST_F(StreamActorTest, ReadUntilCloseReturnsEverything) {
  auto [stream, client, fd] = connect();
  const auto pending = begin(stream, ReadUntilClose{});
  const std::string sent = pattern(300'000);
  client.send(sent);
  client.close();
  EXPECT_EQ(text(take<Bytes>(pending)), sent);
}

TEST_F(StreamActorTest, WriteArrivesAndIsAnsweredWithNothing) {
  auto [stream, client, fd] = connect();
  const auto outcome = ask<Done>(stream, Write{"hello\n"});
  EXPECT_TRUE(outcome) << error_text(outcome.error);
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_TRUE(ask<Done>(stream, Write{}));
  EXPECT_TRUE(nothing_more());
}

TEST_F(StreamActorTest, ManyWritesKeepTheirOrder) {
  auto [stream, client, fd] = connect();
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    const std::string line = std::to_string(i) + "\n";
    expected += line;
    self()->send(stream, Write{line});
  }
  EXPECT_TRUE(ask<Done>(stream, Write{"end"}));
  expected += "end";
  EXPECT_EQ(client.receive(expected.size()), expected);
}

TEST_F(StreamActorTest, ALongSeriesOfOverlappingWritesIsAnsweredOneByOne) {
  auto [stream, client, fd] = connect();
  auto pending = begin(stream, Write{"0"});
  for (int i = 1; i < 3000; ++i) { // there is always one on its way
    const auto next = begin(stream, Write{std::to_string(i % 10)});
    ASSERT_TRUE(take<Done>(pending));
    pending = next;
  }
  EXPECT_TRUE(take<Done>(pending));
  EXPECT_EQ(client.receive(3000).size(), 3000U);
  EXPECT_TRUE(nothing_more());
}

TEST_F(StreamActorTest, AHugeWriteArrivesWhole) {
  auto [stream, client, fd] = connect();
  const std::string data = pattern(8'000'000);
  const auto pending = begin(stream, Write{data});
  EXPECT_TRUE(client.receive(data.size()) == data);
  EXPECT_TRUE(take<Done>(pending));
}

TEST_F(StreamActorTest, InfoTellsPeerAndState) {
  auto [stream, client, fd] = connect();
  auto info = *ask<StreamInfo>(stream, Info{}).value;
  EXPECT_EQ(to_string(info.peer), "127.0.0.1:4711");
  EXPECT_FALSE(info.closed || info.reading || info.writing);
  const auto pending = begin(stream, ReadUntil{"\n", {}});
  client.send("12345");
  wait_until([&] { return ask<StreamInfo>(stream, Info{}).value->unread_size == 5; });
  EXPECT_TRUE(ask<StreamInfo>(stream, Info{}).value->reading);
  client.send("\n");
  EXPECT_EQ(text(take<Bytes>(pending)), "12345\n");
}

TEST_F(StreamActorTest, InfoCountsUnsentBytes) {
  auto [stream, client, fd] = connect({}, 4096);
  const auto pending = begin(stream, Write{std::string(20'000'000, 'x')});
  wait_until([&] {
    const auto info = *ask<StreamInfo>(stream, Info{}).value;
    return info.writing && info.unsent_size > 0 && info.unsent_size < 20'000'000;
  });
  client.close();
  EXPECT_FALSE(take<Done>(pending));
}

TEST_F(StreamActorTest, SetNodelaySetsTheOption) {
  const Connected connected = connect();
  const auto nodelay = [&] {
    int value = 0;
    socklen_t size = sizeof value;
    ::getsockopt(connected.server_fd, IPPROTO_TCP, TCP_NODELAY, &value, &size);
    return value != 0;
  };
  EXPECT_TRUE(nodelay()); // the default
  EXPECT_TRUE(ask<Done>(connected.stream, SetNodelay{false}));
  EXPECT_FALSE(nodelay());
  EXPECT_TRUE(ask<Done>(connected.stream, SetNodelay{true}));
  EXPECT_TRUE(nodelay());
}

TEST_F(StreamActorTest, ASecondReadIsRefusedAndTheFirstUnharmed) {
  auto [stream, client, fd] = connect();
  const auto first = begin(stream, ReadUntil{"\n", {}});
  const auto second = ask<Bytes>(stream, ReadBytes{1, false});
  EXPECT_EQ(second.code(), StreamErrc::already_reading);
  EXPECT_FALSE(stream_closed(second.error));
  client.send("line\n");
  EXPECT_EQ(text(take<Bytes>(first)), "line\n");
}

TEST_F(StreamActorTest, AnEmptyDelimiterIsRefused) {
  auto [stream, client, fd] = connect();
  EXPECT_EQ(ask<Bytes>(stream, ReadUntil{"", {}}).code(), StreamErrc::invalid_argument);
  client.send("on\n");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n", {}})), "on\n");
}

TEST_F(StreamActorTest, AWriteBeyondTheLimitIsRefusedAndTheStreamLives) {
  StreamOptions options;
  options.max_write_buffer_size = 1000;
  auto [stream, client, fd] = connect(options);
  EXPECT_EQ(ask<Done>(stream, Write{std::string(1001, 'x')}).code(), StreamErrc::buffer_full);
  EXPECT_TRUE(ask<Done>(stream, Write{"ok\n"}));
  EXPECT_EQ(client.receive_line(), "ok\n");
}

TEST_F(StreamActorTest, AWriteThatNobodyWaitsForAndIsRefusedIsLogged) {
  const LogRecorder log;
  StreamOptions options;
  options.max_write_buffer_size = 1000;
  auto [stream, client, fd] = connect(options);
  self()->send(stream, Write{std::string(1001, 'x')});
  sync(stream);
  ASSERT_EQ(log.count("write_dropped"), 1U);
  EXPECT_EQ(log.events("write_dropped")[0].fields.at("peer"), "127.0.0.1:4711");
}

TEST_F(StreamActorTest, ADelimiterBeyondMaxBytesClosesTheStream) {
  auto [stream, client, fd] = connect();
  client.send("0123456789");
  const auto outcome = ask<Bytes>(stream, ReadUntil{"\n", 5});
  EXPECT_EQ(outcome.reason(), CloseReason::limit);
  ASSERT_TRUE(outcome.stream());
  EXPECT_EQ(outcome.stream()->real_error, make_error_code(StreamErrc::unsatisfiable_read));
  EXPECT_TRUE(client.at_end());
}

TEST_F(StreamActorTest, MessagesThatWantNoAnswerGetNone) {
  auto [stream, client, fd] = connect();
  client.send("line\nrest");
  self()->send(stream, ReadUntil{"\n", {}}); // the line goes nowhere
  self()->send(stream, Write{"written\n"});
  self()->send(stream, SetNodelay{true});
  self()->send(stream, Info{});
  EXPECT_EQ(client.receive_line(), "written\n");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{4, false})), "rest");
  EXPECT_TRUE(nothing_more());
}

TEST_F(StreamActorTest, AnUnknownRequestIsRefusedAndTheStreamLives) {
  auto [stream, client, fd] = connect();
  const auto untyped = caf::actor_cast<caf::actor>(stream);
  caf::error refused;
  self()
      ->request(untyped, caf::duration{test_deadline}, 42, std::string{"?"})
      .receive([] { FAIL(); }, [&](caf::error& error) { refused = error; });
  EXPECT_EQ(refused, caf::sec::unexpected_message);
  caf::anon_send(untyped, 1, 2, 3);
  caf::anon_send(untyped, std::string{"anything"});
  caf::anon_send(untyped, caf::make_error(caf::sec::runtime_error));
  client.send("x");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{1, false})), "x");
}

} // namespace

} // namespace squall::actor_tests
