// SPDX-License-Identifier: BSD-3-Clause
//
// relay_actors_test.cpp: as relay_test.cpp, with requests to stream actors: what goes from one stream actor through one
// buffer to another arrives as it was, though the buffer is overwritten as soon as a write is answered.
#include "tests/actors/support.hpp"
#include "tests/actors/tls_client.hpp"
#include "tests/net/relay_support.hpp"

#include <thread>

namespace squall::actor_tests {

namespace {

using testing_support::make_socket_pair;
using testing_support::make_tcp_pair;
using testing_support::read_ways;
using testing_support::ReadWay;
using testing_support::relay_plans;
using testing_support::RelayBuffer;
using testing_support::relayed_data;
using testing_support::RelayFile;
using testing_support::RelayPlan;
using testing_support::write_ways;
using testing_support::WriteWay;

/// Two connections of stream actors, and an actor between them that relays.
class RelayActorsTest : public ActorTest {
protected:
  using Pair = std::pair<StreamActor, StreamActor>;

  Pair connect_pair(std::pair<Socket, Socket> sockets) {
    const StreamOptions options{.max_buffer_size = 64 * 1024 * 1024};
    return {io_->spawn_stream(std::move(sockets.first), {}, options),
            io_->spawn_stream(std::move(sockets.second), {}, options)};
  }
  template <class Stream, class Request>
  Bytes read(const Stream& stream, Request request) {
    const auto outcome = ask<Bytes>(stream, std::move(request));
    EXPECT_TRUE(outcome) << text(outcome);
    return outcome ? *outcome.value : Bytes{};
  }
  template <class Request>
  void write(const StreamActor& stream, Request request) {
    EXPECT_TRUE(ask<Done>(stream, std::move(request)));
  }

  /// A pair of stream actors that have turned to TLS.
  Pair connect_tls() {
    auto pair = connect_pair(make_tcp_pair());
    using testing_support::client_context;
    using testing_support::server_context;
    auto server = begin(pair.first, StartTLS{true, server_context<TLSVersion::tls_1_3>()});
    EXPECT_TRUE(
        ask<TLSInfo>(pair.second, StartTLS{false, client_context<TLSVersion::tls_1_3>(), "localhost"}));
    EXPECT_TRUE(actor_tests::take<TLSInfo>(std::move(server)));
    return pair;
  }

  void relay(const StreamActor& in, const StreamActor& out, const RelayPlan& plan) {
    const RelayBuffer buffer{plan.size};
    RelayFile file;
    for (std::size_t done = 0; done < plan.total;) {
      const std::size_t rest = plan.total - done;
      const Bytes bytes = std::visit([&](auto request) { return read(in, std::move(request)); },
                                     testing_support::next_read(plan, rest, buffer));
      ASSERT_FALSE(bytes.empty()) << plan;
      done += bytes.size();
      write_taken(out, plan.write, buffer.take(bytes), file);
      buffer.overwrite();
      if (plan.read == ReadWay::peek)
        read(in, ReadBytes{bytes.size()});
    }
  }

  void write_taken(const StreamActor& out, WriteWay way, const Bytes& bytes, RelayFile& file) {
    if (way == WriteWay::whole) {
      write(out, Write{bytes});
    } else if (way == WriteWay::halves) {
      self()->send(out, Write{bytes.slice(0, bytes.size() / 2)});
      write(out, Write{bytes.slice(bytes.size() / 2)});
    } else if (way == WriteWay::pieces) {
      write(out, WritePieces{testing_support::halves_of(bytes)});
    } else {
      const std::uint64_t offset = file.append(bytes.view());
      write(out, WriteFile{file.file(), offset, bytes.size()});
    }
  }

  /// Sends everything that `plan` says at once, and reads all of it behind the relay.
  template <class Relay>
  void run(const Pair& from, const Pair& to, const RelayPlan& plan, Relay relay_it) {
    const std::string data = relayed_data(plan);
    auto fed = begin(from.first, Write{Bytes{data}});
    caf::scoped_actor collector{system_};
    auto collected = collector->request(to.second, caf::duration{test_deadline}, ReadBytes{data.size()});
    relay_it(from.second, to.first);
    EXPECT_TRUE(actor_tests::take<Done>(std::move(fed))) << plan;
    const auto came = actor_tests::take<Bytes>(std::move(collected));
    ASSERT_TRUE(came) << plan << ": " << text(came);
    EXPECT_TRUE(*came.value == data) << plan;
  }
  void run(const Pair& from, const Pair& to, const RelayPlan& plan) {
    run(from, to, plan, [&](const StreamActor& in, const StreamActor& out) { relay(in, out, plan); });
  }
  /// Every plan but those that end with their stream, or take chunks: ends go through the same reads as ReadBytes.
  void run_all(const std::function<Pair()>& make) {
    const Pair from = make();
    const Pair to = make();
    for (const RelayPlan& plan : relay_plans())
      if (plan.read != ReadWay::until_close && plan.read != ReadWay::chunks)
        run(from, to, plan);
  }
};

TEST_F(RelayActorsTest, DeliverWhatCameOverTCP) {
  run_all([&] { return connect_pair(make_tcp_pair()); });
}

TEST_F(RelayActorsTest, DeliverWhatCameOverUnixSockets) {
  run_all([&] { return connect_pair(make_socket_pair()); });
}

TEST_F(RelayActorsTest, DeliverWhatCameOverTLS) {
  run_all([&] { return connect_tls(); });
}

/// Reads what it sends itself for, to one buffer, and writes that.
caf::behavior relay_actor(caf::event_based_actor* self, const StreamActor& in, const StreamActor& out,
                          std::size_t total) {
  const auto buffer = std::make_shared<RelayBuffer>(64 * 1024);
  const auto done = std::make_shared<std::size_t>(0);
  const auto next = std::make_shared<std::function<void()>>();
  const auto fail = [self](caf::error& error) {
    ADD_FAILURE() << error_text(error);
    self->quit();
  };
  *next = [=] {
    self->request(in, caf::infinite, ReadInto{buffer->memory(), true})
        .then(
            [=](const Bytes& bytes) {
              *done += bytes.size();
              self->request(out, caf::infinite, Write{bytes})
                  .then(
                      [=] {
                        buffer->overwrite();
                        if (*done < total) {
                          (*next)();
                        } else {
                          *next = nullptr;
                          self->quit();
                        }
                      },
                      fail);
            },
            fail);
  };
  (*next)();
  return {[](int) {}};
}

TEST_F(RelayActorsTest, TheObviousRelayDelivers) {
  for (const std::size_t size : {1'000UL, 8'000'000UL}) {
    const RelayPlan plan{ReadWay::into, WriteWay::whole, 64 * 1024, size};
    const Pair from = connect_pair(make_tcp_pair());
    const Pair to = connect_pair(make_tcp_pair());
    run(from, to, plan,
        [&](const StreamActor& in, const StreamActor& out) { system_.spawn(relay_actor, in, out, size); });
  }
}

TEST_F(RelayActorsTest, ChunksStayWhileTheStreamReadsOn) {
  const Pair from = connect_pair(make_tcp_pair());
  const std::string data = testing_support::pattern(2'000'000);
  auto fed = begin(from.first, Write{Bytes{data}});
  std::vector<Bytes> chunks;
  const auto collector = system_.spawn([&](caf::event_based_actor*) -> caf::behavior {
    return {[&](const Chunk& chunk) { chunks.push_back(chunk.data); }};
  });
  EXPECT_TRUE(ask<Done>(from.second, SendChunks{ReadChunks{data.size(), 10'000}, collector}));
  EXPECT_TRUE(actor_tests::take<Done>(std::move(fed)));
  std::string came;
  for (const Bytes& chunk : chunks)
    came += chunk.view();
  EXPECT_TRUE(came == data);
  caf::anon_send_exit(collector, caf::exit_reason::user_shutdown);
}

} // namespace

} // namespace squall::actor_tests
