// SPDX-License-Identifier: BSD-3-Clause
//
// allocation_failure_test.cpp: what a server does when there is no memory, at any point where it asks for some.
#include "tests/allocation/client_scenarios.hpp"
#include "tests/allocation/listener_scenarios.hpp"

namespace squall::allocation_tests {

namespace {

using testing_support::tour_of_allocations;
using testing_support::TourResult;

void expect_sound(const TourResult& tour, long at_least) {
  std::string findings;
  for (const std::string& finding : tour.findings)
    findings += "  " + finding + '\n';
  EXPECT_TRUE(tour.findings.empty()) << tour.findings.size() << " findings at " << tour.points << " points:\n"
                                     << findings;
  EXPECT_GE(tour.points, at_least) << "the tour fails what it should";
}

class AllocationFailure : public testing::TestWithParam<Shortage> {
protected:
  template <class T, class... Args>
  static TourResult tour(Args... args) {
    return tour_of_allocations(GetParam(), FailingThreads::io, [&] { return std::make_unique<T>(args...); });
  }
  /// Tours a server that serves one client with `handler`.
  static TourResult serve_one(const Handler& handler, FailingThreads threads = FailingThreads::io) {
    return tour_of_allocations(GetParam(), threads,
                               [&] { return std::make_unique<ServeOne>(handler, ListenerOptions{}, false); });
  }
  static TourResult serve_one_by_tls(TLSVersion version) {
    const auto identity = actor_tests::issue({.common_name = "server"}, &actor_tests::test_authority());
    TLSOptions options = testing_support::server_options(identity);
    options.min_version = options.max_version = version;
    // A handshake has some 800 allocations; SQUALL_ALL_POINTS=1 fails each of them.
    const long step = std::getenv("SQUALL_ALL_POINTS") != nullptr ? 1 : 7;
    const auto make = [&] {
      ListenerOptions listener;
      listener.accept.tls = TLSContext{options};
      return std::make_unique<ServeOne>(echo_in(Form::coroutine), listener, true);
    };
    return tour_of_allocations(GetParam(), FailingThreads::io, make, step);
  }
};

TEST_P(AllocationFailure, OfACoroutineCostsItsConnection) {
  expect_sound(serve_one(echo_in(Form::coroutine)), 6);
}

TEST_P(AllocationFailure, OfAPinnedHandlerCostsItsConnection) {
  expect_sound(serve_one(echo_in(Form::pinned_actor)), 15);
}

TEST_P(AllocationFailure, OfTheLoopOfAPoolHandlerCostsItsConnection) {
  expect_sound(serve_one(echo_in(Form::pool_actor)), 12);
}

TEST_P(AllocationFailure, OfAConnectToANumberIsItsAnswer) {
  expect_sound(tour<Connecting>(Target::number, TLSContext{}, TLSContext{}), 10);
}

TEST_P(AllocationFailure, OfAConnectToSeveralAddressesIsItsAnswer) {
  expect_sound(tour<Connecting>(Target::addresses, TLSContext{}, TLSContext{}), 20);
}

TEST_P(AllocationFailure, OfAConnectWithTLSIsItsAnswer) {
  const TLSContext client{testing_support::client_options()};
  const TLSContext server{testing_support::server_options()};
  const auto make = [&] { return std::make_unique<Connecting>(Target::tls, client, server); };
  const long step = std::getenv("SQUALL_ALL_POINTS") != nullptr ? 1 : 7;
  expect_sound(tour_of_allocations(GetParam(), FailingThreads::io, make, step), 50);
}

TEST_P(AllocationFailure, OfTLS12CostsItsConnection) {
  expect_sound(serve_one_by_tls(TLSVersion::tls_1_2), 50);
}

TEST_P(AllocationFailure, OfTLS13CostsItsConnection) {
  expect_sound(serve_one_by_tls(TLSVersion::tls_1_3), 50);
}

TEST_P(AllocationFailure, OfAStartIsToldAndLeavesNothing) { expect_sound(tour<StartAndStop>(), 10); }

TEST_P(AllocationFailure, AtALimitLeavesTheLimitAndItsPlaces) { expect_sound(tour<Limits>(), 10); }

TEST_P(AllocationFailure, OfAListOfConnectionsIsTold) { expect_sound(tour<Inspection>(), 10); }

TEST_P(AllocationFailure, DoesNotHoldUpADrain) { expect_sound(tour<Draining>(1s, Clients::leave), 5); }

TEST_P(AllocationFailure, DoesNotHoldUpADrainWithoutTime) {
  expect_sound(tour<Draining>(0s, Clients::stay), 5);
}

TEST_P(AllocationFailure, DoesNotHoldUpTheEndOfCoroutines) { expect_sound(tour<End>(Form::coroutine), 3); }

TEST_P(AllocationFailure, DoesNotHoldUpTheEndOfHandlers) { expect_sound(tour<End>(Form::pinned_actor), 5); }

std::string name_of(const testing::TestParamInfo<Shortage>& info) {
  return info.param == Shortage::once ? "Once" : info.param == Shortage::lasts ? "Lasting" : "Total";
}

INSTANTIATE_TEST_SUITE_P(Shortages, AllocationFailure,
                         testing::Values(Shortage::once, Shortage::lasts, Shortage::total), name_of);

} // namespace

} // namespace squall::allocation_tests
