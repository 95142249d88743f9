// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor_events_test.cpp: requests to a stream actor that connect, wait for an event, read in chunks, and write
// pieces and files.
#include "tests/actors/support.hpp"

#include <atomic>
#include <sys/un.h>

namespace squall::actor_tests {

namespace {

class StreamEventsTest : public ActorTest {
protected:
  /// Receives chunks and answers each when told to.
  struct Receiver {
    caf::actor actor;
    std::shared_ptr<std::mutex> mutex = std::make_shared<std::mutex>();
    std::shared_ptr<std::string> received = std::make_shared<std::string>();

    [[nodiscard]] std::string text() const {
      const std::lock_guard lock{*mutex};
      return *received;
    }
  };

  /// Accepts each chunk with `answer`.
  template <class Answer>
  Receiver receiver(Answer answer) {
    Receiver result;
    result.actor = system_.spawn([=](caf::event_based_actor* own) {
      return caf::behavior{[=](const Chunk& chunk) {
        {
          const std::lock_guard lock{*result.mutex};
          result.received->append(chunk.data.view());
        }
        return answer(own);
      }};
    });
    return result;
  }
  Receiver willing() {
    return receiver([](caf::event_based_actor*) { return caf::unit; });
  }
  /// Keeps each chunk until the test ends.
  Receiver unwilling() {
    return receiver([promises = std::make_shared<std::vector<caf::response_promise>>()](auto* own) {
      promises->push_back(own->make_response_promise());
      return promises->back();
    });
  }
  void end(const Receiver& receiver) { caf::anon_send_exit(receiver.actor, caf::exit_reason::user_shutdown); }
};

TEST_F(StreamEventsTest, ConnectConnectsAndKeepsWhatWasWrittenBefore) {
  const ListeningSocket listening = bind_sockets(0, "127.0.0.1").front();
  const StreamActor stream = io_->spawn_stream();
  const auto early = begin(stream, Write{"early\n"});
  ASSERT_TRUE(ask<Done>(stream, Connect{listening.local_endpoint()}));
  int accepted = -1;
  wait_until([&] { return (accepted = ::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0; });
  Client peer{checked_socket(accepted, "accept4")};
  EXPECT_EQ(peer.receive_line(), "early\n");
  EXPECT_TRUE(take<Done>(early));
  const auto info = *ask<StreamInfo>(stream, Info{}).value;
  EXPECT_EQ(info.peer, listening.local_endpoint());
  EXPECT_EQ(to_string(info.local), to_string({"127.0.0.1", info.local.port, AddressFamily::ipv4}));
  EXPECT_EQ(info.bytes_sent, 6U);
  EXPECT_EQ(ask<Done>(stream, Connect{listening.local_endpoint()}).code(), StreamErrc::already_connected);
  ASSERT_TRUE(ask<Done>(stream, Close{}));
}

TEST_F(StreamEventsTest, ARefusedConnectEndsTheActor) {
  Endpoint nobody;
  { nobody = bind_sockets(0, "127.0.0.1").front().local_endpoint(); }
  const StreamActor stream = io_->spawn_stream();
  EXPECT_EQ(ask<Done>(stream, Connect{{"no number", 1, AddressFamily::ipv4}}).code(),
            StreamErrc::invalid_argument);
  const auto refused = ask<Done>(stream, Connect{nobody});
  ASSERT_TRUE(stream_closed(refused.error));
  EXPECT_EQ(stream_closed(refused.error)->real_error(), std::errc::connection_refused);
  EXPECT_EQ(ask<StreamError>(stream, AwaitClose{}).value->real_error, std::errc::connection_refused);
}

TEST_F(StreamEventsTest, AwaitCloseTellsWhyBeforeAndAfter) {
  auto [stream, client, fd] = connect();
  const auto first = begin(stream, AwaitClose{});
  const auto second = begin(stream, AwaitClose{});
  sync(stream);
  client.reset();
  const auto read = ask<Bytes>(stream, ReadBytes{1});
  EXPECT_EQ(read.reason(), CloseReason::reset);
  const auto told = take<StreamError>(first);
  ASSERT_TRUE(told);
  EXPECT_EQ(told.value->reason, CloseReason::reset);
  EXPECT_EQ(told.value->real_error, std::errc::connection_reset);
  EXPECT_EQ(take<StreamError>(second).value, told.value);
  EXPECT_EQ(ask<StreamError>(stream, AwaitClose{}).value, told.value) << "also when it is over";
}

TEST_F(StreamEventsTest, AwaitCloseIsAnsweredWhenTheActorIsKilledAndWhenTheSystemEnds) {
  auto killed = connect();
  const auto of_killed = begin(killed.stream, AwaitClose{});
  const auto end_of_killed = begin(killed.stream, AwaitEnd{});
  sync(killed.stream);
  caf::anon_send_exit(killed.stream, caf::exit_reason::kill);
  EXPECT_EQ(take<StreamError>(of_killed).value->reason, CloseReason::shutting_down);
  EXPECT_TRUE(take<Done>(end_of_killed));
  auto ended = connect();
  const auto of_ended = begin(ended.stream, AwaitClose{});
  const auto writable = begin(ended.stream, AwaitWritable{});
  sync(ended.stream);
  end_io();
  EXPECT_EQ(take<StreamError>(of_ended).value->reason, CloseReason::shutting_down);
  EXPECT_TRUE(take<Done>(writable)) << "it was";
  EXPECT_EQ(ask<StreamError>(ended.stream, AwaitClose{}).value->reason, CloseReason::shutting_down);
}

TEST_F(StreamEventsTest, AwaitEndTellsThePeersEnd) {
  StreamOptions options;
  options.half_close = true;
  auto [stream, client, fd] = connect(options);
  EXPECT_EQ(ask<Done>(stream, AwaitEnd{Duration::zero()}).code(), StreamErrc::timed_out);
  const auto end = begin(stream, AwaitEnd{});
  client.end_sending();
  EXPECT_TRUE(take<Done>(end));
  EXPECT_TRUE(ask<Done>(stream, Write{"still\n"}));
  EXPECT_EQ(client.receive_line(), "still\n");
  ASSERT_TRUE(ask<Done>(stream, Close{}));
}

TEST_F(StreamEventsTest, AwaitWritableHoldsAProducer) {
  StreamOptions options;
  options.write_high_water_mark = 100'000;
  options.write_low_water_mark = 1'000;
  auto [stream, client, fd] = connect(options, 4096);
  const std::string data = pattern(8'000'000);
  const auto write = begin(stream, Write{data});
  const auto writable = begin(stream, AwaitWritable{});
  EXPECT_FALSE(ask<StreamInfo>(stream, Info{}).value->writable);
  EXPECT_TRUE(client.receive(data.size()) == data);
  EXPECT_TRUE(take<Done>(write));
  EXPECT_TRUE(take<Done>(writable));
  EXPECT_TRUE(ask<StreamInfo>(stream, Info{}).value->writable);
  const auto cut = begin(stream, Write{data});
  const auto never = begin(stream, AwaitWritable{});
  sync(stream);
  client.reset();
  EXPECT_EQ(take<Done>(never).reason(), CloseReason::reset);
  EXPECT_FALSE(take<Done>(cut));
}

TEST_F(StreamEventsTest, WritesPiecesAndFiles) {
  auto [stream, client, fd] = connect();
  EXPECT_TRUE(ask<Done>(stream, WritePieces{{"one ", "two ", "three\n"}}));
  EXPECT_EQ(client.receive_line(), "one two three\n");
  EXPECT_TRUE(ask<Done>(stream, WriteFile{"/proc/self/exe", 1, 3}));
  EXPECT_TRUE(ask<Done>(stream, WriteFile{File::open("/proc/self/exe"), 2, 2}));
  EXPECT_EQ(client.receive(5), "ELFLF");
  const auto missing = ask<Done>(stream, WriteFile{"/nonexistent/file"});
  EXPECT_EQ(missing.code(), StreamErrc::file_failed);
  EXPECT_EQ(stream_error(missing.error)->real_error, std::errc::no_such_file_or_directory);
  EXPECT_TRUE(ask<Done>(stream, Write{"alive\n"}));
}

TEST_F(StreamEventsTest, SetKeepAliveSetsTheOptions) {
  const Connected connected = connect();
  EXPECT_TRUE(ask<Done>(connected.stream, SetKeepAlive{{.idle = 7s}}));
  int idle = 0;
  socklen_t size = sizeof idle;
  ASSERT_EQ(::getsockopt(connected.server_fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, &size), 0);
  EXPECT_EQ(idle, 7);
}

TEST_F(StreamEventsTest, SendChunksGivesTheReceiverSoManyBytes) {
  auto [stream, client, fd] = connect();
  const Receiver to = willing();
  const auto done = begin(stream, SendChunks{{.num_bytes = 6}, to.actor});
  client.send("1234");
  wait_until([&] { return to.text() == "1234"; });
  client.send("5678");
  EXPECT_TRUE(take<Done>(done));
  EXPECT_EQ(to.text(), "123456");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{2})), "78");
  EXPECT_TRUE(ask<Done>(stream, SendChunks{{.num_bytes = 0}, to.actor}));
  end(to);
}

TEST_F(StreamEventsTest, SendChunksUntilTheCloseGivesEverything) {
  auto [stream, client, fd] = connect();
  const Receiver to = willing();
  const auto done = begin(stream, SendChunks{{}, to.actor});
  const std::string sent = pattern(1'000'000);
  client.send(sent);
  client.close();
  EXPECT_TRUE(take<Done>(done));
  EXPECT_TRUE(to.text() == sent);
  end(to);
}

TEST_F(StreamEventsTest, SendChunksWaitsForItsReceiver) {
  StreamOptions options;
  options.read_chunk_size = 1000;
  auto [stream, client, fd] = connect(options);
  const Receiver to = unwilling();
  const auto done = begin(stream, SendChunks{{.num_bytes = 6, .chunk_size = 3}, to.actor});
  client.send("123456");
  wait_until([&] { return to.text() == "123"; });
  sync(stream);
  EXPECT_EQ(to.text(), "123");
  EXPECT_EQ(ask<Bytes>(stream, ReadBytes{1}).code(), StreamErrc::already_reading);
  EXPECT_EQ(ask<Done>(stream, SendChunks{{}, to.actor}).code(), StreamErrc::already_reading);
  EXPECT_TRUE(ask<Done>(stream, CancelRead{}));
  EXPECT_EQ(take<Done>(done).code(), StreamErrc::cancelled);
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{3})), "456");
  end(to);
}

TEST_F(StreamEventsTest, SendChunksEndsWithItsReceiver) {
  auto [stream, client, fd] = connect();
  const Receiver refusing =
      receiver([](auto*) { return caf::result<void>{caf::make_error(caf::sec::invalid_argument)}; });
  client.send("123456");
  EXPECT_EQ(ask<Done>(stream, SendChunks{{.chunk_size = 2}, refusing.actor}).error,
            caf::sec::invalid_argument);
  end(refusing);
  wait_until([&] {
    return ask<Done>(stream, SendChunks{{.num_bytes = 1, .chunk_size = 1}, refusing.actor}).error ==
           caf::sec::request_receiver_down;
  });
  EXPECT_EQ(ask<Done>(stream, SendChunks{{.num_bytes = 1}, caf::actor{}}).error, caf::sec::invalid_argument);
  EXPECT_FALSE(ask<StreamInfo>(stream, Info{}).value->closed);
}

TEST_F(StreamEventsTest, AReceiverOnTheSameLoopMayEndTheTransferOrTheStreamWithAChunkInHand) {
  for (const bool close : {false, true}) {
    SCOPED_TRACE(close);
    std::atomic<int> code{0};
    const Endpoint server =
        listen([&, close](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
          self->request(stream, caf::infinite, SendChunks{{}, self})
              .then([] {},
                    [&](const caf::error& error) {
                      code = static_cast<int>(stream_error(error).value_or(StreamError{}).code);
                    });
          return caf::behavior{[=](const Chunk&) {
            if (close)
              self->send(stream, Close{});
            else
              self->send(stream, CancelRead{});
          }};
        });
    Client client{server};
    client.send("123456");
    wait_until([&] { return code != 0; });
    EXPECT_EQ(code, static_cast<int>(close ? StreamErrc::closed : StreamErrc::cancelled));
    client.close();
    ask<Drained>(listener_, Drain{0s});
    wait_for_quiet();
  }
}

TEST_F(StreamEventsTest, SendChunksEndsAtItsTimeoutWhenTheReceiverDoesNotAnswer) {
  auto [stream, client, fd] = connect();
  const Receiver to = unwilling();
  client.send("123456");
  const auto late =
      ask<Done>(stream, SendChunks{{.num_bytes = 6, .chunk_size = 3, .timeout = 20ms}, to.actor});
  EXPECT_EQ(late.code(), StreamErrc::timed_out);
  EXPECT_EQ(text(ask<Bytes>(stream, ReadBytes{3})), "456");
  end(to);
}

TEST_F(StreamEventsTest, ACloseThatFlushesEndsTheActorWhateverIsUnread) {
  auto [stream, client, fd] = connect();
  client.send("head\nbody that nobody reads");
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n"})), "head\n");
  const auto closed = begin(stream, AwaitClose{});
  EXPECT_TRUE(ask<Done>(stream, Write{"answer\n"}));
  EXPECT_TRUE(ask<Done>(stream, CloseAfterFlush{10s}));
  EXPECT_EQ(client.receive_line(), "answer\n");
  client.close();
  EXPECT_EQ(take<StreamError>(closed).value->reason, CloseReason::local_close);
  wait_until([&] { return system_.registry().running() <= 1; }); // the test's own
  EXPECT_TRUE(ask<Done>(stream, Close{})) << "a closed stream answers at once";
  EXPECT_TRUE(ask<Done>(stream, AwaitEnd{}));
}

TEST_F(StreamEventsTest, SendChunksIsAnsweredWhenTheActorEnds) {
  auto waiting = connect();
  const Receiver to = unwilling();
  const auto read = begin(waiting.stream, SendChunks{{}, to.actor});
  sync(waiting.stream);
  caf::anon_send_exit(waiting.stream, caf::exit_reason::kill);
  EXPECT_EQ(take<Done>(read).reason(), CloseReason::shutting_down);
  auto delivering = connect();
  const auto held = begin(delivering.stream, SendChunks{{}, to.actor});
  delivering.client.send("x");
  wait_until([&] { return to.text() == "x"; });
  delivering.client.close(); // the receiver may still accept: the actor stays
  sync(delivering.stream);
  end_io();
  EXPECT_EQ(take<Done>(held).reason(), CloseReason::shutting_down);
  end(to);
}

} // namespace

} // namespace squall::actor_tests
