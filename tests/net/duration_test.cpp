// SPDX-License-Identifier: BSD-3-Clause
//
// duration_test.cpp: no time that a user can name overflows, in no option and no operation.
#include "tests/net/stream_sides.hpp"
#include <squall/net/memory_budget.hpp>
#include <squall/net/proxy_reader.hpp>
#include <squall/net/tcp_client.hpp>

#include <limits>

namespace squall {

namespace {

using namespace testing_support;
namespace chrono = std::chrono;

// -- the type

template <class Unit>
class DurationOf : public testing::Test {};
using Units = testing::Types<chrono::nanoseconds, chrono::microseconds, chrono::milliseconds, chrono::seconds,
                             chrono::minutes, chrono::hours, chrono::days, chrono::years>;
TYPED_TEST_SUITE(DurationOf, Units);

TYPED_TEST(DurationOf, IsAtMostACentury) {
  const Duration most = TypeParam::max();
  const Duration least = TypeParam::min();
  EXPECT_EQ(most, Duration::longest);
  EXPECT_EQ(least, -Duration::longest);
  EXPECT_EQ(Duration{TypeParam::zero()}, Duration::zero());
  EXPECT_GT(chrono::steady_clock::now() + most, chrono::steady_clock::now());
  EXPECT_LT(chrono::steady_clock::now() + least, chrono::steady_clock::now());
  const Timeout timeout = TypeParam::max();
  EXPECT_EQ(timeout, Duration{Duration::longest});
}

TYPED_TEST(DurationOf, IsExactInBetween) {
  for (const int count : {-90, -1, 0, 1, 90})
    EXPECT_EQ(Duration{TypeParam{count}}, chrono::duration_cast<chrono::nanoseconds>(TypeParam{count}));
}

TEST(DurationTest, IsMadeOfACountWithinTheSameBounds) {
  EXPECT_EQ(Duration{std::int64_t{7}}, 7ns);
  EXPECT_EQ(Duration{std::numeric_limits<std::int64_t>::max()}, Duration::longest);
  EXPECT_EQ(Duration{std::numeric_limits<std::int64_t>::min()}, -Duration::longest);
}

TEST(DurationTest, OfANumberThatIsNotWholeIsRoundedTowardsZero) {
  using Seconds = chrono::duration<double>;
  EXPECT_EQ(Duration::of(Seconds{0.25}), 250ms);
  EXPECT_EQ(Duration::of(Seconds{-0.25}), -250ms);
  EXPECT_EQ(Duration::of(Seconds{1e300}), Duration::longest);
  EXPECT_EQ(Duration::of(Seconds{std::numeric_limits<double>::infinity()}), Duration::longest);
  EXPECT_EQ(Duration::of(Seconds{-std::numeric_limits<double>::infinity()}), -Duration::longest);
  EXPECT_EQ(Duration::of(Seconds{std::numeric_limits<double>::quiet_NaN()}), -Duration::longest);
  EXPECT_EQ(Duration::of(chrono::hours::max()), Duration::longest);
}

// -- where one is given

constexpr chrono::milliseconds for_ever = chrono::milliseconds::max();
constexpr chrono::milliseconds past = chrono::milliseconds::min();
constexpr Duration ten_years = 10 * 365 * 24h;

class EveryDuration : public SidesTest {};
SQUALL_STREAM_CONTRACT(EveryDuration);

TEST_P(EveryDuration, AnIdleTimeoutOfTheGreatestNeverCloses) {
  relink({.idle_timeout = for_ever});
  TestRead read{stream(), ReadBytes{1}};
  pass(1s);
  peer().send("x");
  await(read);
  pass(ten_years);
  EXPECT_FALSE(stream().closed());
}

TEST_P(EveryDuration, AnIdleTimeoutOfLessThanZeroIsNone) {
  for (const chrono::milliseconds time : {0ms, -1ms, past}) {
    relink({.idle_timeout = time});
    pass(ten_years);
    EXPECT_FALSE(stream().closed());
  }
}

TEST_P(EveryDuration, AReadMayWaitForEver) {
  for (const ReadRequest& request : std::vector<ReadRequest>{
           ReadBytes{1, false, for_ever}, ReadUntil{"\n", {}, for_ever}, ReadUntilClose{for_ever},
           ReadInto{MutableBytes{1}, false, for_ever}, Peek{1, for_ever}, Peek{1, chrono::hours::max()}}) {
    SCOPED_TRACE(request.index());
    TestRead read{stream(), request};
    pass(1h);
    EXPECT_FALSE(read.answered());
    pass(ten_years);
    EXPECT_FALSE(read.answered());
    stream().forget_read(read);
  }
}

TEST_P(EveryDuration, AReadOfThePastPolls) {
  const TestRead read{stream(), ReadBytes{1, false, past}};
  EXPECT_EQ(read.error().code, StreamErrc::timed_out);
}

TEST_P(EveryDuration, AWriteMayWaitForEver) {
  fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_write("x", write, for_ever));
  pass(ten_years);
  EXPECT_FALSE(write.answered());
  EXPECT_FALSE(stream().closed());
  stream().cancel_write(write);
}

TEST_P(EveryDuration, AWriteOfThePastIsLateAtOnce) {
  fill_connection();
  TestWrite write;
  ASSERT_FALSE(stream().start_write("x", write, past));
  await(write);
  EXPECT_EQ(write.error(), closed_by(CloseReason::timed_out));
}

TEST_P(EveryDuration, AWaitForAnEventMayLastForEver) {
  TestWait wait{stream(), StreamEvent::draining, for_ever};
  pass(ten_years);
  EXPECT_FALSE(wait.answered());
  TestWait late{stream(), StreamEvent::draining, past};
  EXPECT_EQ(late.error().code, StreamErrc::timed_out);
  stream().forget_wait(wait);
}

TEST_P(EveryDuration, AClosedStreamMaySendForEver) {
  for (const bool by_deadline : {false, true}) {
    SCOPED_TRACE(by_deadline);
    relink({.linger_timeout = for_ever});
    const std::string expected = fill_connection();
    TestEnd end;
    if (by_deadline)
      end.take(stream().start_close_after_flush(for_ever, end));
    else
      end.take(stream().start_close_after_flush(Duration::max(), end));
    pass(ten_years);
    EXPECT_FALSE(end.answered());
    receive_all();
    EXPECT_TRUE(peer().received == expected);
  }
}

TEST_P(EveryDuration, ACoroutineMaySleepForEver) {
  const auto body = []() -> Task<> { co_await sleep_for(chrono::hours::max()); };
  start(body());
  pass(ten_years);
  EXPECT_FALSE(ended);
  const auto in_the_past = []() -> Task<> { co_await sleep_for(past); };
  start(in_the_past());
  pass(0ms);
  EXPECT_TRUE(ended);
}

TEST(EveryDurationOf, AConnectMayBeGreatAndAnAttemptsDelay) {
  ManualClock clock;
  EventLoop loop{&clock};
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  for (const chrono::milliseconds time : {for_ever, 20'000ms}) {
    IOStream stream{loop};
    TestWait connected{stream, Connect{listener.local_endpoint(), {}, time}};
    EXPECT_TRUE(run_until(loop, [&] { return connected.answered(); }));
    EXPECT_TRUE(connected.succeeded());
  }
  TCPClient client{loop, std::make_shared<ThreadedResolver>()};
  ConnectOptions options;
  options.timeout = for_ever;
  options.attempt_delay = for_ever;
  std::optional<bool> connected;
  client.connect("127.0.0.1", listener.local_endpoint().port, options,
                 [&](const ConnectResult& result) { connected = result.has_value(); });
  EXPECT_TRUE(run_until(loop, [&] { return connected.has_value(); }));
  EXPECT_TRUE(*connected);
}

TEST(EveryDurationOf, ALookupMayBeGreat) {
  EventLoop loop;
  ThreadedResolver resolver;
  std::optional<Result<Addresses>> found;
  resolver.resolve(loop, Resolve{"127.0.0.1", 80, AddressFamily::unspec, for_ever},
                   [&](Result<Addresses> result) { found.emplace(std::move(result)); });
  EXPECT_TRUE(run_until(loop, [&] { return found.has_value(); }));
  EXPECT_TRUE(found->has_value());
}

TEST(EveryDurationOf, APatienceMayBeGreat) {
  EXPECT_EQ(MemoryBudget(1024, for_ever).patience(), Duration::longest);
  EXPECT_EQ(MemoryBudget(1024, past).patience(), -Duration::longest);
}

TEST(EveryDurationOf, AKeepAliveKeepsToTheBoundsOfTheSystem) {
  ManualClock clock;
  EventLoop loop{&clock};
  const auto option = [](int fd, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, name, &value, &size), 0);
    return value;
  };
  auto [ours, theirs] = make_tcp_pair();
  const int fd = ours.fd();
  IOStream stream{loop, std::move(ours)};
  stream.set_keep_alive({chrono::seconds::max(), chrono::seconds::max(), 1'000'000, for_ever});
  EXPECT_EQ(option(fd, TCP_KEEPIDLE), 32767);
  EXPECT_EQ(option(fd, TCP_KEEPINTVL), 32767);
  EXPECT_EQ(option(fd, TCP_KEEPCNT), 127);
  EXPECT_EQ(option(fd, TCP_USER_TIMEOUT), std::numeric_limits<int>::max());
  stream.set_keep_alive({chrono::seconds::min(), 0s, -1, past});
  EXPECT_EQ(option(fd, TCP_KEEPIDLE), 1);
  EXPECT_EQ(option(fd, TCP_KEEPINTVL), 1);
  EXPECT_EQ(option(fd, TCP_KEEPCNT), 1);
  EXPECT_EQ(option(fd, TCP_USER_TIMEOUT), 0);
}

TEST(EveryDurationOf, AProxyHeaderMayTakeVeryLong) {
  for (const chrono::milliseconds time : {for_ever, 0ms, past}) {
    SCOPED_TRACE(time.count());
    ManualClock clock;
    EventLoop loop{&clock};
    auto [ours, theirs] = make_tcp_pair();
    ProxyOptions options;
    options.from = {IPNetwork{"127.0.0.1"}};
    options.timeout = time;
    int served = 0;
    ProxyReader reader{loop, options, [&](const Socket&, const Endpoint&) { ++served; }};
    reader.accept(std::move(ours), {"127.0.0.1", 1, AddressFamily::ipv4});
    clock.advance(23h); // of the day that is the most
    run_turns(loop);
    EXPECT_EQ(reader.pending_count(), 1u);
    ASSERT_GT(::send(theirs.fd(), "PROXY UNKNOWN\r\n", 15, MSG_NOSIGNAL), 0);
    EXPECT_TRUE(run_until(loop, [&] { return served == 1; }));
  }
}

} // namespace

} // namespace squall
