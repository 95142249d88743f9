// SPDX-License-Identifier: BSD-3-Clause
//
// connect_race_test.cpp: which address is tried when, with connections whose outcome the test decides and a clock that only
// the test moves. A1 and A2 are IPv4 addresses, B1 and B2 IPv6 addresses.
//
// | Test of Tornado (tcpclient_test)                     | Here                                                     |
// | ---------------------------------------------------- | -------------------------------------------------------- |
// | TestConnectorSplit.test_one_family, test_mixed       | InRaceOrder.KeepsOneFamilyAsItIs, .FamiliesTakeTurns     |
// | ConnectorTest.test_immediate_failure                 | AFailureOfTheOnlyAddress                                 |
// | .test_one_family_second_try                          | TriesTheSecondOfAFamilyWhenTheFirstFails                 |
// | .test_one_family_second_try_failure                  | FailsWhenBothOfAFamilyFail                               |
// | .test_one_family_second_try_timeout                  | WeakSpot25.StaggersWithinAFamily: it does not wait       |
// | .test_two_families_timeout                           | TheSecondFamilyOvertakesTheFirst                         |
// | .test_success_after_timeout                          | TheFirstMayStillWin                                      |
// | .test_all_fail                                       | FailsWhenAllFail                                         |
// | .test_one_family_timeout_after_connect_timeout       | GivingUpClosesTheOnlyAttemptAndStartsNone                |
// | .test_one_family_second_try_after_connect_timeout    | GivingUpClosesTheSecondTry                               |
// | .test_one_family_second_try_failure_before_connect.. | GivingUpAfterTheEndChangesNothing                        |
// | .test_two_family_timeout_before_connect_timeout      | GivingUpClosesBothFamilies                               |
// | .test_two_family_success_after_timeout               | TheLoserIsClosedAtOnce                                   |
#include "net/connect_race.hpp"
#include "tests/net/support.hpp"

#include <map>

namespace squall {

namespace {

using namespace testing_support;

const Endpoint A1{"192.0.2.1", 1, AddressFamily::ipv4};
const Endpoint A2{"192.0.2.2", 1, AddressFamily::ipv4};
const Endpoint B1{"2001:db8::1", 1, AddressFamily::ipv6};
const Endpoint B2{"2001:db8::2", 1, AddressFamily::ipv6};

/// One connection of the test, which both see.
struct Script {
  int begins = EINPROGRESS; ///< what connect() says
  int error = 0;            ///< what the connection ends with
  bool started = false;
  bool closed = false;
  EventLoop* loop = nullptr;
  Watcher* watcher = nullptr;
};

class ScriptedTransport final : public Transport {
public:
  explicit ScriptedTransport(Script& script) : script_{script} {}
  [[nodiscard]] int fileno() const noexcept override { return -1; }
  void close_fd() noexcept override { script_.closed = true; }
  IoResult read_from_fd(char*, std::size_t) noexcept override { return IoResult::blocked(); }
  IoResult write_to_fd(const IoSlice*, std::size_t) noexcept override { return IoResult::blocked(); }
  [[nodiscard]] bool connected() const noexcept override { return false; }
  int connect(const Endpoint&, const std::string&) noexcept override {
    script_.started = true;
    return script_.begins;
  }
  [[nodiscard]] std::error_code get_fd_error() noexcept override {
    return {script_.error, std::generic_category()};
  }
  void watch(EventLoop& loop, Watcher& watcher) override {
    script_.watcher = &watcher;
    loop.watch_end(watcher);
  }
  void unwatch(EventLoop&, Watcher& watcher) noexcept override {
    script_.watcher = nullptr;
    watcher.unlink();
  }

private:
  Script& script_;
};

class ConnectRaceTest : public testing::Test {
protected:
  void start(const Addresses& addresses) {
    race.emplace(
        loop, in_race_order(addresses), options,
        [this](const Endpoint& address) -> std::unique_ptr<Transport> {
          if (refused_to_bind.count(address.address) > 0)
            throw std::system_error{EADDRINUSE, std::generic_category(), "bind"};
          return std::make_unique<ScriptedTransport>(scripts[address.address]);
        },
        [this](Result<IOStream> given) {
          ++ends;
          result.emplace(std::move(given));
        });
    race->start();
  }
  Script& script(const Endpoint& address) { return scripts[address.address]; }

  void succeed(const Endpoint& address) { end(address, 0); }
  void fail(const Endpoint& address, int error = ECONNREFUSED) { end(address, error); }
  void end(const Endpoint& address, int error) {
    Script& which = script(address);
    ASSERT_NE(which.watcher, nullptr) << to_string(address) << " is not under way";
    which.error = error;
    which.watcher->on_ready({false, true, error != 0, error != 0});
    run_turns(loop, 3);
  }
  void pass(Duration duration) {
    clock.advance(duration);
    run_turns(loop, 3);
  }

  /// Those that are under way.
  std::string pending() {
    std::string names;
    for (const auto& [name, address] :
         std::map<std::string, Endpoint>{{"A1", A1}, {"A2", A2}, {"B1", B1}, {"B2", B2}})
      if (script(address).watcher != nullptr)
        names += (names.empty() ? "" : " ") + name;
    return names;
  }
  [[nodiscard]] bool won(const Endpoint& address) {
    return result && *result && (*result)->connected() && !script(address).closed;
  }
  [[nodiscard]] int failed_with() const {
    return result && !*result ? result->error().real_error.value() : 0;
  }

  ManualClock clock;
  EventLoop loop{&clock};
  ConnectOptions options;
  std::map<std::string, Script> scripts;
  std::map<std::string, int> refused_to_bind;
  std::optional<Result<IOStream>> result;
  int ends = 0;
  std::optional<ConnectRace> race;
};
class WeakSpot25 : public ConnectRaceTest {};

// -- the order

TEST(InRaceOrder, KeepsOneFamilyAsItIs) {
  EXPECT_EQ(in_race_order({A1, A2}), (Addresses{A1, A2}));
  EXPECT_EQ(in_race_order({B2, B1}), (Addresses{B2, B1}));
}

TEST(InRaceOrder, FamiliesTakeTurns) {
  EXPECT_EQ(in_race_order({A1, B1, A2, B2}), (Addresses{A1, B1, A2, B2}));
  EXPECT_EQ(in_race_order({A1, A2, B1, B2}), (Addresses{A1, B1, A2, B2}));
  EXPECT_EQ(in_race_order({B1, B2, A1}), (Addresses{B1, A1, B2}));
  EXPECT_EQ(in_race_order({B1, A1, A2}), (Addresses{B1, A1, A2}));
}

TEST(InRaceOrder, TakesThirtyTwo) {
  Addresses many;
  for (int i = 0; i < 200; ++i)
    many.emplace_back("192.0.2." + std::to_string(i), 1, i < 100 ? AddressFamily::ipv4 : AddressFamily::ipv6);
  const Addresses order = in_race_order(many);
  EXPECT_EQ(order.size(), 32u);
  EXPECT_EQ(order.at(1), many.at(100));
}

// -- the race

TEST_F(ConnectRaceTest, AFailureOfTheOnlyAddress) {
  start({A1});
  EXPECT_FALSE(result);
  fail(A1);
  EXPECT_EQ(result->error(), (StreamError{StreamErrc::closed, CloseReason::transport_error,
                                          std::make_error_code(std::errc::connection_refused)}));
}

TEST_F(ConnectRaceTest, TriesTheSecondOfAFamilyWhenTheFirstFails) {
  start({A1, A2});
  EXPECT_EQ(pending(), "A1");
  fail(A1);
  EXPECT_EQ(pending(), "A2");
  succeed(A2);
  EXPECT_TRUE(won(A2));
}

TEST_F(ConnectRaceTest, FailsWhenBothOfAFamilyFail) {
  start({A1, A2});
  fail(A1);
  fail(A2);
  EXPECT_EQ(failed_with(), ECONNREFUSED);
}

TEST_F(ConnectRaceTest, TheSecondFamilyOvertakesTheFirst) {
  start({A1, A2, B1, B2});
  pass(250ms);
  EXPECT_EQ(pending(), "A1 B1");
  succeed(B1);
  EXPECT_TRUE(won(B1));
  EXPECT_TRUE(script(A1).closed);
  pass(1h);
  EXPECT_EQ(pending(), "B1");
  EXPECT_FALSE(script(A2).started || script(B2).started);
}

TEST_F(ConnectRaceTest, TheFirstMayStillWin) {
  start({A1, A2, B1, B2});
  pass(250ms);
  succeed(A1);
  EXPECT_TRUE(won(A1));
  race->give_up(std::errc::operation_canceled);
  EXPECT_TRUE(script(B1).closed);
  EXPECT_EQ(ends, 1);
}

TEST_F(ConnectRaceTest, TheLoserIsClosedAtOnce) {
  start({A1, A2, B1, B2});
  pass(250ms);
  EXPECT_EQ(pending(), "A1 B1");
  succeed(A1);
  EXPECT_EQ(pending(), "A1");
  EXPECT_TRUE(script(B1).closed);
  EXPECT_TRUE(won(A1));
}

TEST_F(ConnectRaceTest, FailsWhenAllFail) {
  start({A1, A2, B1, B2});
  pass(250ms);
  EXPECT_EQ(pending(), "A1 B1");
  fail(B1);
  EXPECT_EQ(pending(), "A1 A2"); // the next in the order, whose turn it is
  fail(A2);
  EXPECT_EQ(pending(), "A1 B2");
  fail(B2);
  EXPECT_EQ(pending(), "A1");
  EXPECT_FALSE(result);
  fail(A1);
  EXPECT_EQ(failed_with(), ECONNREFUSED);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(race->attempts().size(), 4u);
}

TEST_F(ConnectRaceTest, GivingUpClosesTheOnlyAttemptAndStartsNone) {
  start({A1, A2});
  race->give_up(std::errc::timed_out);
  EXPECT_TRUE(script(A1).closed);
  pass(1h);
  EXPECT_EQ(pending(), "");
  EXPECT_FALSE(script(A2).started);
  EXPECT_FALSE(result);
  ASSERT_EQ(race->attempts().size(), 1u);
  EXPECT_EQ(race->attempts().front().error, std::errc::timed_out);
}

TEST_F(ConnectRaceTest, GivingUpClosesTheSecondTry) {
  start({A1, A2});
  fail(A1);
  race->give_up(std::errc::timed_out);
  EXPECT_TRUE(script(A1).closed && script(A2).closed);
  EXPECT_EQ(pending(), "");
  EXPECT_EQ(race->attempts().size(), 2u);
}

TEST_F(ConnectRaceTest, GivingUpAfterTheEndChangesNothing) {
  start({A1, A2});
  fail(A1);
  fail(A2);
  race->give_up(std::errc::timed_out);
  EXPECT_EQ(failed_with(), ECONNREFUSED);
  ASSERT_EQ(race->attempts().size(), 2u);
  EXPECT_EQ(race->attempts().back().error, std::errc::connection_refused);
}

TEST_F(ConnectRaceTest, GivingUpClosesBothFamilies) {
  start({A1, A2, B1, B2});
  pass(250ms);
  race->give_up(std::errc::timed_out);
  EXPECT_TRUE(script(A1).closed && script(B1).closed);
  EXPECT_FALSE(script(A2).started || script(B2).started);
}

TEST_F(ConnectRaceTest, ItsEndClosesWhatIsUnderWay) {
  start({A1, B1});
  pass(250ms);
  race.reset();
  EXPECT_TRUE(script(A1).closed && script(B1).closed);
  EXPECT_FALSE(result);
}

TEST_F(ConnectRaceTest, AFailureBeginsTheDelayAnew) {
  start({A1, B1, A2});
  pass(200ms);
  fail(A1);
  EXPECT_EQ(pending(), "B1");
  pass(249ms);
  EXPECT_EQ(pending(), "B1");
  pass(1ms);
  EXPECT_EQ(pending(), "A2 B1");
}

TEST_F(ConnectRaceTest, PassesOverAddressesThatFailAtOnce) {
  script(A1).begins = ENETUNREACH;
  script(B1).begins = EINVAL; // not one that can be connected to
  refused_to_bind[A2.address] = 1;
  start({A1, A2, B1, B2});
  EXPECT_EQ(pending(), "B2");
  EXPECT_EQ(race->attempts().size(), 4u);
  succeed(B2);
  EXPECT_TRUE(won(B2));
}

TEST_F(ConnectRaceTest, TakesAnAddressThatIsConnectedAtOnce) {
  script(A1).begins = 0;
  start({A1, B1});
  EXPECT_TRUE(won(A1));
  EXPECT_FALSE(script(B1).started);
}

TEST_F(ConnectRaceTest, KeepsTheDelayAtTenMilliseconds) {
  options.attempt_delay = 0ms;
  start({A1, B1});
  pass(9ms);
  EXPECT_EQ(pending(), "A1");
  pass(1ms);
  EXPECT_EQ(pending(), "A1 B1");
}

TEST_F(ConnectRaceTest, TakesADelayThatIsNeverOver) {
  options.attempt_delay = std::chrono::milliseconds::max();
  start({A1, B1});
  pass(1h);
  EXPECT_EQ(pending(), "A1");
}

TEST_F(ConnectRaceTest, EndsWithItsLoop) {
  EventLoop other;
  Script one;
  int answers = 0;
  ConnectRace own{other,
                  {A1},
                  options,
                  [&](const Endpoint&) { return std::make_unique<ScriptedTransport>(one); },
                  [&](const Result<IOStream>& given) { answers += given ? 0 : 1; }};
  own.start();
  other.end();
  EXPECT_EQ(answers, 1);
  EXPECT_TRUE(one.closed);
}

// -- where Tornado's connector hurts

// A black hole in front holds up the second address of its family until the system gives up.
TEST_F(WeakSpot25, StaggersWithinAFamily) {
  start({A1, A2});
  pass(249ms);
  EXPECT_EQ(pending(), "A1");
  pass(1ms);
  EXPECT_EQ(pending(), "A1 A2");
  succeed(A2);
  EXPECT_TRUE(won(A2));
}

// The connect never ends when a later attempt cannot bind.
TEST_F(WeakSpot25, EndsWhenALaterAttemptCannotBind) {
  refused_to_bind[B1.address] = 1;
  start({A1, B1});
  pass(250ms);
  EXPECT_EQ(pending(), "A1");
  fail(A1);
  EXPECT_EQ(failed_with(), ECONNREFUSED);
}

// The first attempt that cannot bind ends the connect, although another family could.
TEST_F(WeakSpot25, GoesOnWhenTheFirstAttemptCannotBind) {
  refused_to_bind[B1.address] = 1;
  start({B1, A1});
  EXPECT_EQ(pending(), "A1");
  succeed(A1);
  EXPECT_TRUE(won(A1));
}

// "Network is unreachable" of the last family hides that the server refused the first.
TEST_F(WeakSpot25, ALateErrorDoesNotHideOneThatSaysMore) {
  script(B1).begins = ENETUNREACH;
  start({A1, B1});
  fail(A1, ECONNREFUSED);
  EXPECT_EQ(failed_with(), ECONNREFUSED);
  ASSERT_EQ(race->attempts().size(), 2u);
  EXPECT_EQ(race->attempts().front().error, std::errc::connection_refused);
  EXPECT_EQ(race->attempts().back().error, std::errc::network_unreachable);
}
TEST_F(WeakSpot25, AnErrorThatSaysMoreReplacesOneThatSaysLess) {
  script(B1).begins = ENETUNREACH;
  start({B1, A1, A2});
  fail(A1, ETIMEDOUT);
  fail(A2, ECONNREFUSED);
  EXPECT_EQ(failed_with(), ETIMEDOUT) << "the first that says as much";
}

} // namespace

} // namespace squall
