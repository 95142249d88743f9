// SPDX-License-Identifier: BSD-3-Clause
//
// last_look_test.cpp: what came before a timeout is seen before it, however late the loop's thread is.
#include "tests/net/proxy_support.hpp"
#include "tests/net/stream_sides.hpp"
#include <squall/net/proxy_reader.hpp>
#include <squall/net/resolver.hpp>

#include <poll.h>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

/// In which phase of a turn something keeps the thread busy.
enum class Phase { watcher, posted, timer, deferred, end_of_turn };
constexpr std::array every_phase{Phase::watcher, Phase::posted, Phase::timer, Phase::deferred,
                                 Phase::end_of_turn};

class LastLook : public testing::Test {
protected:
  /// Runs `meanwhile` in one phase of a turn, in which `time` passes, and then turns.
  void be_busy(Phase phase, Duration time, std::function<void()> meanwhile) {
    const auto busy = [&] {
      meanwhile();
      clock.advance(time);
    };
    TestTask task{busy};
    Timer timer{busy};
    auto [ours, theirs] = make_socket_pair();
    bool done = false;
    TestWatcher watcher{[&](Readiness) {
      if (!std::exchange(done, true))
        busy();
    }};
    if (phase == Phase::posted)
      loop.post(busy);
    if (phase == Phase::timer)
      timer.start_after(loop, 0ms);
    if (phase == Phase::deferred)
      loop.defer(task);
    if (phase == Phase::end_of_turn)
      loop.at_end_of_turn(task);
    if (phase == Phase::watcher) {
      ASSERT_EQ(::send(theirs.fd(), "x", 1, 0), 1);
      loop.watch(ours.fd(), watcher);
    }
    run_turns(loop);
    if (phase == Phase::watcher)
      loop.unwatch(ours.fd(), watcher);
  }

  /// Until the system shows at `fd` what was sent to it.
  static void wait_for(int fd, short what = POLLIN) {
    pollfd ready{fd, what, 0};
    ASSERT_EQ(::poll(&ready, 1, 20'000), 1);
  }

  ManualClock clock;
  EventLoop loop{&clock};
};

TEST_F(LastLook, GivesAReadWhatCameInTimeWhateverKeptTheThreadBusy) {
  for (const Phase phase : every_phase) {
    SCOPED_TRACE(static_cast<int>(phase));
    auto [ours, theirs] = make_tcp_pair();
    const int fd = ours.fd();
    IOStream stream{loop, std::move(ours)};
    run_turns(loop);
    TestRead read{stream, ReadUntil{"\n", {}, 1s}};
    be_busy(phase, 1700ms, [&] {
      ASSERT_EQ(::send(theirs.fd(), "line\n", 5, 0), 5);
      wait_for(fd);
    });
    EXPECT_EQ(read.text(), "line\n");
    TestRead late{stream, ReadUntil{"\n", {}, 1s}};
    be_busy(phase, 1700ms, [] {});
    EXPECT_EQ(late.error().code, StreamErrc::timed_out);
  }
}

TEST_F(LastLook, GivesAReadWhatTlsStillHasToDecrypt) {
  auto [ours, theirs] = make_tcp_pair();
  const int fd = ours.fd();
  TLSPeer peer{std::move(theirs)};
  IOStream stream{loop, std::move(ours), server_context<TLSVersion::tls_1_3>()};
  ASSERT_TRUE(run_until(loop, [&] { return peer.raw.shake() && stream.tls_info(); }));
  run_turns(loop);
  TestRead read{stream, ReadUntil{"\n", {}, 1s}};
  be_busy(Phase::posted, 2s, [&] {
    peer.send("line\n");
    wait_for(fd);
  });
  EXPECT_EQ(read.text(), "line\n");
}

TEST_F(LastLook, MeetsEveryDescriptorThoughOneLookDoesNot) {
  constexpr std::size_t count = 300; // more than one call of epoll_wait tells of
  std::vector<std::pair<IOStream, Socket>> links;
  std::vector<std::unique_ptr<TestRead>> reads;
  for (std::size_t i = 0; i < count; ++i) {
    auto [ours, theirs] = make_socket_pair();
    links.emplace_back(IOStream{loop, std::move(ours)}, std::move(theirs));
  }
  run_turns(loop);
  for (auto& [stream, peer] : links)
    reads.push_back(std::make_unique<TestRead>(stream, ReadUntil{"\n", {}, 1s}));
  be_busy(Phase::posted, 2s, [&] {
    for (auto& [stream, peer] : links)
      ASSERT_EQ(::send(peer.fd(), "\n", 1, 0), 1);
  });
  for (const auto& read : reads)
    EXPECT_EQ(read->text(), "\n");
}

TEST_F(LastLook, IsNotPutOffByAFlood) {
  struct Flood final : Watcher {
    explicit Flood(EventLoop& its_loop) : loop{its_loop}, ends{make_socket_pair()} {
      loop.watch(ends.first.fd(), *this);
    }
    ~Flood() { loop.unwatch(ends.first.fd(), *this); }
    void on_ready(Readiness) override { static_cast<void>(::send(ends.second.fd(), "x", 1, MSG_DONTWAIT)); }
    EventLoop& loop;
    std::pair<Socket, Socket> ends;
  };
  std::vector<std::unique_ptr<Flood>> floods;
  for (int i = 0; i < 300; ++i)
    floods.push_back(std::make_unique<Flood>(loop));
  int calls = 0;
  Timer timer{[&] { ++calls; }};
  for (int round = 1; round <= 5; ++round) {
    timer.start_after(loop, 1ms);
    clock.advance(1ms);
    run_turns(loop, 4);
    EXPECT_EQ(calls, round);
  }
}

TEST_F(LastLook, GivesWhatWaitsForTheStreamsShareOfATurn) {
  auto connection = std::make_shared<MemoryConnection>();
  connection->a.capacity = 8 << 20;
  IOStream stream{loop, std::make_unique<MemoryTransport>(connection, connection->a)};
  run_turns(loop);
  const std::string much = pattern(3 << 20);
  TestRead read{stream, ReadBytes{much.size(), false, 1s}};
  be_busy(Phase::posted, 2s, [&] { ASSERT_EQ(connection->b.send(much), much.size()); });
  ASSERT_TRUE(read.succeeded());
  EXPECT_TRUE(read.text() == much);
}

TEST_F(LastLook, GivesAPollWhatWaitsForTheStreamsShareOfATurn) {
  auto connection = std::make_shared<MemoryConnection>();
  connection->a.capacity = 8 << 20;
  IOStream stream{loop, std::make_unique<MemoryTransport>(connection, connection->a)};
  const std::string much = pattern(3 << 20);
  ASSERT_EQ(connection->b.send(much), much.size());
  std::string got;
  for (int i = 0; i < 3; ++i) { // in one turn
    TestRead poll{stream, ReadBytes{much.size() / 3, false, 0ms}};
    if (!poll.answered())
      run_turns(loop, 2);
    got += poll.text();
  }
  EXPECT_TRUE(got == much);
}

TEST_F(LastLook, SendsWhatThePeerHadMadeRoomFor) {
  for (const Phase phase : every_phase) {
    SCOPED_TRACE(static_cast<int>(phase));
    auto [ours, theirs] = make_socket_pair();
    SocketPeer peer{std::move(theirs)};
    IOStream stream{loop, std::move(ours)};
    TestWrite write;
    ASSERT_FALSE(stream.start_write(Bytes{pattern(300'000)}, write, 1s));
    run_turns(loop);
    ASSERT_FALSE(write.answered()) << "the system takes less than that";
    be_busy(phase, 2s, [&] { peer.receive(); });
    EXPECT_TRUE(write.succeeded()) << to_string(write.error());
  }
}

TEST_F(LastLook, KeepsAStreamOpenThatNobodyReadsButWhosePeerSpokeInTime) {
  auto [ours, theirs] = make_socket_pair();
  IOStream stream{loop, std::move(ours), {.idle_timeout = 1s}};
  run_turns(loop);
  be_busy(Phase::posted, 700ms, [&] { ASSERT_EQ(::send(theirs.fd(), "x", 1, 0), 1); });
  be_busy(Phase::posted, 700ms, [] {});
  EXPECT_FALSE(stream.closed());
  const TestRead read{stream, ReadBytes{1}};
  EXPECT_EQ(read.text(), "x");
  be_busy(Phase::posted, 1s, [] {});
  EXPECT_EQ(stream.error(), closed_by(CloseReason::timed_out));
}

TEST_F(LastLook, CountsActivityFromItsOwnTimeInALongTurn) {
  auto [ours, theirs] = make_socket_pair();
  IOStream stream{loop, std::move(ours), {.idle_timeout = 1s}};
  run_turns(loop);
  loop.post([&] {
    static_cast<void>(loop.turn_time());
    clock.advance(900ms);
    ASSERT_EQ(::send(theirs.fd(), "x", 1, 0), 1);
    const TestRead read{stream, ReadBytes{1}};
    EXPECT_EQ(read.text(), "x");
  });
  run_turns(loop, 1);
  clock.advance(200ms);
  run_turns(loop);
  EXPECT_FALSE(stream.closed());
  clock.advance(800ms);
  run_turns(loop);
  EXPECT_TRUE(stream.closed());
}

TEST_F(LastLook, LetsEachHandshakeTakeItsStepThatWaitsForItsTurn) {
  constexpr std::size_t count = 50; // a turn takes 16
  TLSOptions options = server_options();
  options.handshake_timeout = 1s;
  const TLSContext context{options};
  std::vector<std::unique_ptr<TLSPeer>> peers;
  std::vector<IOStream> streams;
  for (std::size_t i = 0; i < count; ++i) {
    auto [ours, theirs] = make_socket_pair();
    peers.push_back(std::make_unique<TLSPeer>(std::move(theirs)));
    streams.emplace_back(loop, std::move(ours), context);
  }
  run_turns(loop, 20);
  const auto shake_all = [&] {
    for (const auto& peer : peers)
      peer->raw.shake();
  };
  shake_all(); // the first flight, and its answer
  run_turns(loop, 20);
  be_busy(Phase::posted, 2s, shake_all);
  for (const IOStream& stream : streams)
    EXPECT_TRUE(stream.tls_info()) << to_string(stream.error());
}

TEST_F(LastLook, EndsAHandshakeThatIsLateAllTheSame) {
  TLSOptions options = server_options();
  options.handshake_timeout = 1s;
  auto [ours, theirs] = make_socket_pair();
  TLSPeer peer{std::move(theirs)};
  IOStream stream{loop, std::move(ours), TLSContext{options}};
  run_turns(loop);
  peer.raw.shake();
  be_busy(Phase::posted, 2s, [] {});
  EXPECT_EQ(stream.error().reason, CloseReason::tls_failed);
}

TEST_F(LastLook, ConnectsWhereThePeerHadAccepted) {
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  for (const Phase phase : every_phase) {
    SCOPED_TRACE(static_cast<int>(phase));
    IOStream stream{loop};
    TestWait connected{stream, Connect{listener.local_endpoint(), {}, 1s}};
    be_busy(phase, 2s, [&] { wait_for(listener.fd()); });
    EXPECT_TRUE(connected.succeeded()) << to_string(connected.error());
    const Socket accepted{::accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC)};
  }
}

TEST_F(LastLook, TakesAnAddressThatCameInTimeFromAnotherThread) {
  class HeldResolver final : public Resolver {
  public:
    void lookup(Resolve, LookupAnswer given) override { answer.emplace(std::move(given)); }
    std::optional<LookupAnswer> answer;
  };
  const Addresses addresses{{"192.0.2.1", 80, AddressFamily::ipv4}};
  for (const Phase phase : every_phase) {
    SCOPED_TRACE(static_cast<int>(phase));
    HeldResolver resolver;
    std::optional<Result<Addresses>> found;
    const Lookup lookup =
        resolver.start_resolve(loop, Resolve{"example.org", 80, AddressFamily::unspec, 1s},
                               [&](Result<Addresses> result) { found.emplace(std::move(result)); });
    be_busy(phase, 2s, [&] { std::thread{[&] { (*resolver.answer)(addresses); }}.join(); });
    ASSERT_TRUE(found);
    EXPECT_TRUE(found->has_value());
  }
}

TEST_F(LastLook, ReadsAProxyHeaderThatCameInTime) {
  ProxyOptions options;
  options.from = {IPNetwork{"127.0.0.1"}};
  options.timeout = 1s;
  int served = 0;
  ProxyReader reader{loop, options, [&](const Socket&, const Endpoint&) { ++served; }};
  const Endpoint proxy{"127.0.0.1", 1, AddressFamily::ipv4};
  auto [late, late_peer] = make_tcp_pair();
  reader.accept(std::move(late), proxy);
  run_turns(loop);
  clock.advance(900ms);
  auto [ours, theirs] = make_tcp_pair();
  const int fd = ours.fd();
  reader.accept(std::move(ours), proxy);
  run_turns(loop);
  // The first is late at 1000 ms, the second at 1900: a timer that rings for the first must not end the second, for
  // which nobody has looked again.
  clock.advance(100ms);
  Timer busy{[&] {
    ASSERT_GT(::send(theirs.fd(), "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL), 0);
    wait_for(fd);
    clock.advance(2s);
  }};
  busy.start(loop, clock.now() - 1ms);
  run_turns(loop);
  EXPECT_EQ(served, 1);
  EXPECT_EQ(reader.refused_count(), 1u);
}

TEST_F(LastLook, TellsAnEventThatCameInTime) {
  auto [ours, theirs] = make_socket_pair();
  SocketPeer peer{std::move(theirs)};
  IOStream stream{loop, std::move(ours), {.write_high_water_mark = 1, .write_low_water_mark = 1}};
  static_cast<void>(stream.write(Bytes{pattern(300'000)}));
  run_turns(loop);
  TestWait writable{stream, StreamEvent::writable, 1s};
  ASSERT_FALSE(writable.answered());
  be_busy(Phase::end_of_turn, 2s, [&] { peer.receive(); });
  EXPECT_TRUE(writable.succeeded());
}

TEST_F(LastLook, RunsWhatWasPutOffBeforeATimerThatIsDue) {
  std::string order;
  TestTask task{[&] { order += 'd'; }};
  Timer timer{[&] { order += 't'; }};
  timer.start_after(loop, 1ms);
  clock.advance(1ms);
  loop.defer(task);
  loop.post([&] { order += 'p'; });
  loop.run_once();
  EXPECT_EQ(order, "pdt");
}

} // namespace

} // namespace squall
