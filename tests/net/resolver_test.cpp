// SPDX-License-Identifier: BSD-3-Clause
//
// resolver_test.cpp: lookups, their deadlines and their ends, and the resolvers that Squall brings. Lookups whose end the
// test decides come from functions of its own; nothing asks a DNS server.
//
// | Test of Tornado (netutil_test)                  | Here                                                          |
// | ----------------------------------------------- | ------------------------------------------------------------- |
// | BlockingResolverTest.test_localhost             | SystemLookup.FindsLocalhost                                   |
// | ThreadedResolverTest.test_localhost             | ThreadedResolverTest.FindsLocalhost                           |
// | OverrideResolverTest.test_localhost             | OverrideResolverTest.PassesOnWhatItDoesNotKnow                |
// | ThreadedResolverErrorTest.test_bad_host         | ThreadedResolverTest.TellsThatAHostDoesNotExist               |
// | OverrideResolverTest.test_resolve_multiaddr     | OverrideResolverTest.ChoosesByFamily                          |
// | ThreadedResolverImportTest.test_import          | ThreadedResolver.WorksWhileTheProgramInitialisesItsStatics     |
// | IsValidIPTest.test_is_valid_ip                  | IsValidIP.KnowsNumbersFromNames                               |
// | CaresResolverTest.test_localhost                | none: there is no resolver over c-ares                        |
#include "tests/net/support.hpp"
#include <squall/net/resolver.hpp>
#include <squall/net/task.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <optional>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace squall {

namespace {

using namespace testing_support;

/// A lookup that remembers its outcome.
struct TestLookup {
  Resolver::Callback callback() {
    return [this](Result<Addresses> result) {
      ++answers;
      outcome.emplace(std::move(result));
      thread = std::this_thread::get_id();
    };
  }
  [[nodiscard]] bool answered() const { return outcome.has_value(); }
  [[nodiscard]] StreamError error() const {
    return outcome && !*outcome ? outcome->error() : StreamError{{}, {}, {}};
  }
  [[nodiscard]] Addresses addresses() const { return outcome && *outcome ? **outcome : Addresses{}; }

  std::optional<Result<Addresses>> outcome;
  std::thread::id thread;
  int answers = 0;
};

StreamError lookup_error(std::error_code code, StreamErrc kind = StreamErrc::lookup_failed) {
  return {kind, CloseReason::none, code};
}

bool is_localhost(const Addresses& addresses, std::uint16_t port) {
  const auto is = [&](const Endpoint& endpoint) {
    return endpoint == Endpoint{"127.0.0.1", port, AddressFamily::ipv4} ||
           endpoint == Endpoint{"::1", port, AddressFamily::ipv6};
  };
  return !addresses.empty() && std::all_of(addresses.begin(), addresses.end(), is);
}

/// Keeps its lookups until the test answers.
class HeldResolver final : public Resolver {
public:
  void lookup(Resolve request, LookupAnswer answer) override {
    requests.push_back(std::move(request));
    answers.push_back(std::move(answer));
  }
  std::vector<Resolve> requests;
  std::vector<LookupAnswer> answers;
};

/// A function whose calls last until it is opened.
class Gate {
public:
  ThreadedResolver::Function function() {
    return [state = state_](const Resolve& request) -> Result<Addresses> {
      std::unique_lock lock{state->mutex};
      state->most_entered = std::max(state->most_entered, ++state->entered);
      state->changed.notify_all();
      state->changed.wait(lock, [&] { return state->open; });
      --state->entered;
      ++state->left;
      state->changed.notify_all();
      return Addresses{{request.host, request.port, AddressFamily::ipv4}};
    };
  }
  void open() {
    const std::lock_guard lock{state_->mutex};
    state_->open = true;
    state_->changed.notify_all();
  }
  [[nodiscard]] int entered() const {
    const std::lock_guard lock{state_->mutex};
    return state_->entered;
  }
  /// At the same time.
  [[nodiscard]] int most_entered() const {
    const std::lock_guard lock{state_->mutex};
    return state_->most_entered;
  }
  [[nodiscard]] bool wait_for_left(int count) const {
    std::unique_lock lock{state_->mutex};
    return state_->changed.wait_for(lock, test_deadline, [&] { return state_->left == count; });
  }

private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    int entered = 0;
    int most_entered = 0;
    int left = 0;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

/// Of a process that was forked, and does no more than `body`: 0 when that returned true.
int status_of_child(const std::function<bool()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(2 * test_deadline.count()); // SIGALRM ends one that hangs
    ::_exit(body() ? 0 : 1);
  }
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

class ResolverTest : public testing::Test {
protected:
  TestLookup look_up(Resolver& resolver, Resolve request) {
    TestLookup lookup;
    const Lookup pending = resolver.start_resolve(loop, std::move(request), lookup.callback());
    EXPECT_FALSE(lookup.answered()) << "answered inside the call";
    EXPECT_TRUE(run_until(loop, [&] { return lookup.answered(); }));
    return lookup;
  }

  ManualClock clock;
  EventLoop loop{&clock};
};
using ThreadedResolverTest = ResolverTest;
using OverrideResolverTest = ResolverTest;
using DefaultResolverTest = ResolverTest;

// -- hosts

TEST(IsValidIP, KnowsNumbersFromNames) {
  for (const char* text : {"127.0.0.1", "4.4.4.4", "::1", "2620:0:1cfe:face:b00c::3", "::ffff:1.2.3.4"})
    EXPECT_TRUE(is_valid_ip(text)) << text;
  for (const std::string& text :
       {std::string{"www.google.com"}, std::string{"localhost"}, std::string{"4.4.4.4<"},
        std::string{" 127.0.0.1"}, std::string{"127.0.0.1 "}, std::string{""}, std::string{" "},
        std::string{"\n"}, std::string{"\0", 1}, std::string{"127.0.0.1\0", 10}, std::string(100, 'a'),
        std::string{"127.1"}, std::string{"1.2.3.256"}, std::string{"::1%nosuchinterface"},
        std::string{"[::1]"}, std::string{"1.2.3.4%lo"}})
    EXPECT_FALSE(is_valid_ip(text)) << text;
  EXPECT_TRUE(is_valid_ip("fe80::1%lo"));
}

/// Hosts that no resolver gets to see (CVE-2024-24806).
const std::vector<std::pair<std::string, LookupErrc>> impossible_hosts = [] {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  return std::vector<std::pair<std::string, LookupErrc>>{
      {"", LookupErrc::empty_host},
      {longest + "c", LookupErrc::host_too_long},
      {longest + "c.", LookupErrc::host_too_long},
      {std::string(256, 'a'), LookupErrc::host_too_long},
      {std::string(65536, '1'), LookupErrc::host_too_long},
      {std::string(64, 'a'), LookupErrc::label_too_long},
      {"www." + std::string(64, 'a') + ".example", LookupErrc::label_too_long},
      {std::string{"localhost\0", 10}, LookupErrc::nul_in_host},
      {std::string{"127.0.0.1\0.example.com", 22}, LookupErrc::nul_in_host},
      {std::string{"\0", 1}, LookupErrc::nul_in_host},
      {".", LookupErrc::empty_label},
      {"a..b", LookupErrc::empty_label},
      {".a", LookupErrc::empty_label},
  };
}();

TEST(RuleC8, TheLongestHostsArePossible) {
  const std::string label(63, 'a');
  const std::string longest = label + "." + label + "." + label + "." + std::string(61, 'b');
  ASSERT_EQ(longest.size(), 253u);
  for (const std::string& host : {longest, longest + ".", label, std::string{"a"}, std::string{"localhost."}})
    EXPECT_FALSE(check_host(host)) << host;
}

class RuleC8Lookup : public ResolverTest {};
TEST_F(RuleC8Lookup, ImpossibleHostsAreRefusedAndNeverCut) {
  HeldResolver resolver;
  for (const auto& [host, why] : impossible_hosts) {
    SCOPED_TRACE(host.size());
    EXPECT_EQ(check_host(host), why);
    EXPECT_EQ(look_up(resolver, Resolve{host, 80}).error(), lookup_error(why, StreamErrc::invalid_argument));
    EXPECT_EQ(system_lookup(Resolve{host, 80}).error(), lookup_error(why, StreamErrc::invalid_argument));
    EXPECT_THROW((OverrideResolver{default_resolver(), {HostOverride{"a", host}}}), std::invalid_argument);
  }
  EXPECT_TRUE(resolver.requests.empty());
}

// -- any resolver

TEST_F(ResolverTest, AnswersOnTheLoopsThreadWhoeverAnswers) {
  HeldResolver resolver;
  TestLookup lookup;
  const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback());
  const Addresses addresses{{"192.0.2.1", 80, AddressFamily::ipv4}};
  std::thread{[&] {
    EXPECT_TRUE(resolver.answers.at(0).wanted());
    resolver.answers.at(0)(addresses);
    EXPECT_FALSE(resolver.answers.at(0).wanted());
  }}.join();
  ASSERT_TRUE(run_until(loop, [&] { return lookup.answered(); }));
  EXPECT_EQ(lookup.addresses(), addresses);
  EXPECT_EQ(lookup.thread, std::this_thread::get_id());
}

TEST_F(ResolverTest, TakesTheFirstAnswerOnly) {
  HeldResolver resolver;
  TestLookup lookup;
  const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback());
  const LookupAnswer answer = resolver.answers.at(0);
  answer(lookup_error(LookupErrc::busy));
  answer(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}});
  resolver.answers.clear();
  run_turns(loop);
  EXPECT_EQ(lookup.answers, 1);
  EXPECT_EQ(lookup.error(), lookup_error(LookupErrc::busy));
}

TEST_F(ResolverTest, TellsThatALookupWasDropped) {
  HeldResolver resolver;
  TestLookup lookup;
  const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback());
  resolver.answers.clear();
  ASSERT_TRUE(run_until(loop, [&] { return lookup.answered(); }));
  EXPECT_EQ(lookup.error(), lookup_error(LookupErrc::dropped));
}

TEST_F(ResolverTest, TakesAnExceptionForADroppedLookup) {
  class ThrowingResolver final : public Resolver {
    void lookup(Resolve request, LookupAnswer) override {
      if (request.host == "number")
        throw 42;
      throw std::runtime_error{"on purpose"};
    }
  } resolver;
  for (const char* host : {"host", "number"})
    EXPECT_EQ(look_up(resolver, Resolve{host, 80}).error(), lookup_error(LookupErrc::dropped)) << host;
}

TEST_F(ResolverTest, TakesNoAddressForAFailure) {
  HeldResolver resolver;
  TestLookup lookup;
  const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback());
  resolver.answers.at(0)(Addresses{});
  ASSERT_TRUE(run_until(loop, [&] { return lookup.answered(); }));
  EXPECT_EQ(lookup.error(), lookup_error(LookupErrc::no_address));
}

TEST_F(ResolverTest, AnswersAtTheDeadlineAndNotAgain) {
  HeldResolver resolver;
  TestLookup lookup;
  const Lookup pending =
      resolver.start_resolve(loop, Resolve{"host", 80, AddressFamily::unspec, 2s}, lookup.callback());
  clock.advance(1999ms);
  run_turns(loop);
  EXPECT_FALSE(lookup.answered());
  clock.advance(1ms);
  run_turns(loop);
  EXPECT_EQ(lookup.error().code, StreamErrc::timed_out);
  EXPECT_FALSE(resolver.answers.at(0).wanted());
  resolver.answers.at(0)(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}});
  run_turns(loop);
  EXPECT_EQ(lookup.answers, 1);
}

TEST_F(ResolverTest, HasADeadlineByDefault) {
  HeldResolver resolver;
  TestLookup lookup;
  resolver.resolve(loop, Resolve{"host", 80}, lookup.callback());
  clock.advance(default_lookup_timeout);
  run_turns(loop);
  EXPECT_EQ(lookup.error().code, StreamErrc::timed_out);
}

TEST_F(ResolverTest, IsCancelledWithItsHandle) {
  HeldResolver resolver;
  TestLookup lookup;
  {
    const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback());
    resolver.answers.at(0)(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}}); // on its way already
  }
  { const Lookup pending = resolver.start_resolve(loop, Resolve{"host", 80}, lookup.callback()); }
  EXPECT_FALSE(resolver.answers.at(1).wanted());
  { // refused, and on its way
    const Lookup pending = resolver.start_resolve(loop, Resolve{"", 80}, lookup.callback());
  }
  run_turns(loop);
  EXPECT_EQ(lookup.answers, 0);
}

TEST_F(ResolverTest, MayBeDestroyedByItsCallback) {
  HeldResolver resolver;
  std::optional<Lookup> pending;
  int answers = 0;
  const auto callback = [&](Result<Addresses>) {
    pending.reset();
    ++answers;
  };
  pending = resolver.start_resolve(loop, Resolve{"host", 80}, callback);
  resolver.answers.at(0)(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}});
  run_turns(loop);
  pending = resolver.start_resolve(loop, Resolve{"host", 80, AddressFamily::unspec, 1s}, callback);
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(answers, 2);
}

TEST_F(ResolverTest, EndsWithItsLoop) {
  HeldResolver resolver;
  TestLookup lookup;
  {
    EventLoop other;
    resolver.resolve(other, Resolve{"host", 80}, lookup.callback());
  }
  EXPECT_EQ(lookup.error(), (StreamError{StreamErrc::closed, CloseReason::shutting_down, {}}));
  EXPECT_FALSE(resolver.answers.at(0).wanted());
  resolver.answers.at(0)(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}}); // the loop is gone
  EXPECT_EQ(lookup.answers, 1);
}

TEST_F(ResolverTest, RefusesOtherFamilies) {
  HeldResolver resolver;
  EXPECT_EQ(look_up(resolver, Resolve{"host", 80, AddressFamily::unix_domain}).error().code,
            StreamErrc::invalid_argument);
}

TEST_F(ResolverTest, IsAwaited) {
  HeldResolver resolver;
  std::string text;
  StreamErrc code{};
  const auto body = [&]() -> Task<> {
    const Addresses addresses = co_await resolver.resolve("host", 80);
    text = to_string(addresses.front());
    try {
      co_await resolver.resolve("other", 80, AddressFamily::ipv6);
    } catch (const LookupError& error) {
      EXPECT_EQ(error.real_error(), std::error_code(EAI_NONAME, lookup_category()));
      text += " " + std::string{error.what()};
    }
    const auto result = co_await resolver.resolve("late", 80, AddressFamily::unspec, 1s).as_result();
    code = result ? StreamErrc{} : result.error().code;
    co_await resolver.resolve("destroyed", 80);
    text = "resumed";
  };
  TaskContext context{loop};
  std::optional<RunningTask> task;
  task.emplace(body(), [](std::exception_ptr) {});
  task->start(context);
  resolver.answers.at(0)(Addresses{{"192.0.2.1", 80, AddressFamily::ipv4}});
  ASSERT_TRUE(run_until(loop, [&] { return resolver.answers.size() == 2; }));
  EXPECT_EQ(resolver.requests.at(1).family, AddressFamily::ipv6);
  resolver.answers.at(1)(lookup_error({EAI_NONAME, lookup_category()}));
  ASSERT_TRUE(run_until(loop, [&] { return resolver.answers.size() == 3; }));
  EXPECT_EQ(text, "192.0.2.1:80 the host name could not be looked up (Name or service not known)");
  clock.advance(1s);
  ASSERT_TRUE(run_until(loop, [&] { return resolver.answers.size() == 4; }));
  EXPECT_EQ(code, StreamErrc::timed_out);
  task.reset();
  EXPECT_FALSE(resolver.answers.at(3).wanted());
  run_turns(loop);
  EXPECT_NE(text, "resumed");
}

// -- the system's

TEST(SystemLookup, FindsLocalhost) {
  const auto found = system_lookup(Resolve{"localhost", 80});
  ASSERT_TRUE(found);
  EXPECT_TRUE(is_localhost(*found, 80));
}

TEST(SystemLookup, TakesNumbersOfTheRightFamily) {
  EXPECT_EQ(*system_lookup(Resolve{"192.0.2.1", 7}), (Addresses{{"192.0.2.1", 7, AddressFamily::ipv4}}));
  EXPECT_EQ(*system_lookup(Resolve{"2001:db8::1", 7, AddressFamily::ipv6}),
            (Addresses{{"2001:db8::1", 7, AddressFamily::ipv6}}));
  EXPECT_FALSE(system_lookup(Resolve{"192.0.2.1", 7, AddressFamily::ipv6}));
  EXPECT_FALSE(system_lookup(Resolve{"2001:db8::1", 7, AddressFamily::ipv4}));
}

TEST(SystemLookup, KeepsTheScopeOfALinkLocalAddress) {
  const auto found = system_lookup(Resolve{"fe80::1%lo", 7});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->front().address, "fe80::1%1"); // the first interface of every namespace (netdevice(7))
  EXPECT_TRUE(is_valid_ip(found->front().address));
}

// -- on threads

TEST_F(ThreadedResolverTest, FindsLocalhost) {
  ThreadedResolver resolver;
  const TestLookup lookup = look_up(resolver, Resolve{"localhost", 80});
  EXPECT_TRUE(is_localhost(lookup.addresses(), 80));
  EXPECT_EQ(lookup.thread, std::this_thread::get_id());
}

TEST_F(ThreadedResolverTest, TellsThatAHostDoesNotExist) {
  ThreadedResolver resolver;
  const StreamError error = look_up(resolver, Resolve{"an invalid domain", 80}).error();
  EXPECT_EQ(error.code, StreamErrc::lookup_failed);
  EXPECT_EQ(error.real_error.category(), lookup_category());
}

TEST_F(ThreadedResolverTest, NeedsNoThreadForNumbers) {
  std::atomic<int> calls{0};
  ThreadedResolver resolver{{}, [&](const Resolve&) -> Result<Addresses> {
                              ++calls;
                              return lookup_error(LookupErrc::no_address);
                            }};
  EXPECT_EQ(look_up(resolver, Resolve{"127.0.0.1", 5}).addresses(),
            (Addresses{{"127.0.0.1", 5, AddressFamily::ipv4}}));
  EXPECT_EQ(look_up(resolver, Resolve{"::1", 5}).addresses(), (Addresses{{"::1", 5, AddressFamily::ipv6}}));
  EXPECT_EQ(look_up(resolver, Resolve{"::1", 5, AddressFamily::ipv4}).error().code,
            StreamErrc::lookup_failed);
  EXPECT_EQ(calls, 0);
}

TEST_F(ThreadedResolverTest, LooksUpOnAtMostSoManyThreads) {
  Gate gate;
  ThreadedResolver resolver{{2, 100}, gate.function()};
  std::vector<TestLookup> lookups(20);
  for (TestLookup& lookup : lookups)
    resolver.resolve(loop, Resolve{"host", 1}, lookup.callback());
  ASSERT_TRUE(run_until(loop, [&] { return gate.entered() == 2; }));
  gate.open();
  ASSERT_TRUE(run_until(loop, [&] {
    return std::all_of(lookups.begin(), lookups.end(), [](const auto& lookup) { return lookup.answered(); });
  }));
  EXPECT_EQ(gate.most_entered(), 2);
  for (const TestLookup& lookup : lookups)
    EXPECT_EQ(lookup.addresses(), (Addresses{{"host", 1, AddressFamily::ipv4}}));
}

TEST_F(ThreadedResolverTest, RefusesMoreThanMayWaitButNotForThoseThatAreGone) {
  Gate gate;
  ThreadedResolver resolver{{1, 2}, gate.function()};
  std::array<TestLookup, 5> lookups;
  resolver.resolve(loop, Resolve{"inside", 1}, lookups[0].callback());
  ASSERT_TRUE(run_until(loop, [&] { return gate.entered() == 1; }));
  resolver.resolve(loop, Resolve{"waits", 1}, lookups[1].callback());
  {
    const Lookup pending = resolver.start_resolve(loop, Resolve{"waits", 1}, lookups[2].callback());
    resolver.resolve(loop, Resolve{"too many", 1}, lookups[3].callback());
    ASSERT_TRUE(run_until(loop, [&] { return lookups[3].answered(); }));
    EXPECT_EQ(lookups[3].error(), lookup_error(LookupErrc::busy));
  }
  resolver.resolve(loop, Resolve{"has room", 1}, lookups[4].callback());
  gate.open();
  ASSERT_TRUE(run_until(loop, [&] { return lookups[4].answered() && lookups[1].answered(); }));
  EXPECT_TRUE(*lookups[4].outcome);
  EXPECT_FALSE(lookups[2].answered());
}

TEST_F(ThreadedResolverTest, ALookupThatLastsIsAnsweredAtItsDeadline) {
  Gate gate;
  ThreadedResolver resolver{{1, 10}, gate.function()};
  TestLookup lasts;
  TestLookup waits;
  resolver.resolve(loop, Resolve{"lasts", 1, AddressFamily::unspec, 1s}, lasts.callback());
  resolver.resolve(loop, Resolve{"waits", 1, AddressFamily::unspec, 2s}, waits.callback());
  ASSERT_TRUE(run_until(loop, [&] { return gate.entered() == 1; }));
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(lasts.error().code, StreamErrc::timed_out);
  EXPECT_FALSE(waits.answered());
  clock.advance(1s);
  run_turns(loop);
  EXPECT_EQ(waits.error().code, StreamErrc::timed_out);
  gate.open();
  ASSERT_TRUE(gate.wait_for_left(1)); // nobody wants the second any more
  EXPECT_EQ(look_up(resolver, Resolve{"next", 1}).addresses().size(), 1u);
}

TEST_F(ThreadedResolverTest, ItsEndDoesNotWaitForALookupThatLasts) {
  Gate gate;
  TestLookup inside;
  TestLookup waits;
  {
    ThreadedResolver resolver{{1, 10}, gate.function()};
    resolver.resolve(loop, Resolve{"inside", 1}, inside.callback());
    resolver.resolve(loop, Resolve{"waits", 1}, waits.callback());
    ASSERT_TRUE(run_until(loop, [&] { return gate.entered() == 1; }));
  }
  run_turns(loop);
  EXPECT_EQ(waits.error(), lookup_error(LookupErrc::dropped));
  EXPECT_FALSE(inside.answered());
  gate.open(); // the thread goes on by itself, and may still answer
  ASSERT_TRUE(run_until(loop, [&] { return inside.answered(); }));
  EXPECT_TRUE(*inside.outcome);
}

TEST_F(ThreadedResolverTest, ALookupMayOutliveItsLoop) {
  Gate gate;
  ThreadedResolver resolver{{1, 10}, gate.function()};
  TestLookup lookup;
  {
    EventLoop other;
    resolver.resolve(other, Resolve{"host", 1}, lookup.callback());
    ASSERT_TRUE(run_until(loop, [&] { return gate.entered() == 1; }));
  }
  EXPECT_EQ(lookup.error().reason, CloseReason::shutting_down);
  gate.open();
  ASSERT_TRUE(gate.wait_for_left(1));
  EXPECT_EQ(look_up(resolver, Resolve{"next", 1}).addresses().size(), 1u);
  EXPECT_EQ(lookup.answers, 1);
}

TEST_F(ThreadedResolverTest, AnExceptionCostsOneLookup) {
  ThreadedResolver resolver{{1, 10}, [](const Resolve& request) -> Result<Addresses> {
                              if (request.host == "bad")
                                throw std::runtime_error{"on purpose"};
                              if (request.host == "worse")
                                throw 42;
                              return Addresses{{"192.0.2.1", request.port, AddressFamily::ipv4}};
                            }};
  for (const char* host : {"bad", "worse"})
    EXPECT_EQ(look_up(resolver, Resolve{host, 1}).error(), lookup_error(LookupErrc::dropped)) << host;
  EXPECT_EQ(look_up(resolver, Resolve{"good", 1}).addresses().size(), 1u);
}

TEST_F(ThreadedResolverTest, ItsThreadsTakeNoSignals) {
  sigset_t blocked;
  ThreadedResolver resolver{{1, 10}, [&](const Resolve&) -> Result<Addresses> {
                              pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
                              return lookup_error(LookupErrc::no_address);
                            }};
  look_up(resolver, Resolve{"host", 1});
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1})
    EXPECT_EQ(sigismember(&blocked, signal), 1) << signal;
}

TEST(ThreadedResolver, RefusesOptionsOutOfBounds) {
  EXPECT_THROW((ThreadedResolver{{0, 1}}), std::invalid_argument);
  EXPECT_THROW((ThreadedResolver{{257, 1}}), std::invalid_argument);
  EXPECT_THROW((ThreadedResolver{{1, 0}}), std::invalid_argument);
}

TEST_F(DefaultResolverTest, IsShared) { EXPECT_EQ(default_resolver(), default_resolver()); }

/// Looks up before main: the threads need nothing that is initialised later.
const bool found_early = [] {
  EventLoop loop;
  TestLookup lookup;
  ThreadedResolver resolver; // of its own: it takes its threads with it
  resolver.resolve(loop, Resolve{"localhost", 80}, lookup.callback());
  return run_until(loop, [&] { return lookup.answered(); }) && is_localhost(lookup.addresses(), 80);
}();

TEST(ThreadedResolver, WorksWhileTheProgramInitialisesItsStatics) { EXPECT_TRUE(found_early); }

TEST_F(DefaultResolverTest, WorksInAForkedProcess) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot follow threads into a process that was forked";
#endif
  look_up(*default_resolver(), Resolve{"localhost", 80}); // its threads are there
  EXPECT_EQ(status_of_child([] {
              TestLookup lookup;
              EventLoop own;
              default_resolver()->resolve(own, Resolve{"localhost", 80}, lookup.callback());
              return run_until(own, [&] { return lookup.answered(); }) && lookup.outcome->has_value();
            }),
            0);
}

TEST_F(ThreadedResolverTest, AForkedProcessHasNoneOfItsThreads) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot follow threads into a process that was forked";
#endif
  std::optional<ThreadedResolver> resolver{std::in_place};
  look_up(*resolver, Resolve{"localhost", 80}); // its thread is there
  EXPECT_EQ(status_of_child([&] {
              TestLookup lookup;
              EventLoop own;
              resolver->resolve(own, Resolve{"localhost", 80}, lookup.callback());
              if (!run_until(own, [&] { return lookup.answered(); }))
                return false;
              std::promise<void> ended;
              // Perhaps it has the handle of one that is not here.
              std::thread other{[&] { ended.get_future().wait(); }};
              resolver.reset();
              ended.set_value();
              other.join();
              return lookup.error() == lookup_error(LookupErrc::dropped);
            }),
            0);
  EXPECT_TRUE(look_up(*resolver, Resolve{"localhost", 80}).outcome->has_value()) << "the parent has it still";
}

TEST_F(ThreadedResolverTest, OneThatHadNoThreadsStartsAndEndsThemInAForkedProcess) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer cannot follow threads into a process that was forked";
#endif
  auto used = std::make_shared<int>();
  const std::weak_ptr<int> watched = used; // gone when the last thread is
  std::optional<ThreadedResolver> resolver{
      std::in_place, ThreadedResolverOptions{},
      [used = std::move(used)](const Resolve& request) -> Result<Addresses> {
        return Addresses{{"192.0.2.1", request.port, AddressFamily::ipv4}};
      }};
  EXPECT_EQ(status_of_child([&] {
              TestLookup lookup;
              EventLoop own;
              resolver->resolve(own, Resolve{"host", 80}, lookup.callback());
              if (!run_until(own, [&] { return lookup.answered(); }))
                return false;
              resolver.reset();
              return lookup.outcome->has_value() && run_until(own, [&] { return watched.expired(); });
            }),
            0);
}

// -- overrides

TEST_F(OverrideResolverTest, RefusesWhatCanNeverMatchAndNoResolver) {
  const auto resolver = std::make_shared<ThreadedResolver>();
  for (const std::string& host : {std::string{}, std::string{"db\0x", 4}, std::string(254, 'x')})
    EXPECT_THROW((OverrideResolver{resolver, {HostOverride{host, "127.0.0.1"}}}), std::invalid_argument);
  EXPECT_THROW((OverrideResolver{nullptr, {}}), std::invalid_argument);
}

TEST_F(OverrideResolverTest, PassesOnWhatItDoesNotKnow) {
  OverrideResolver resolver{default_resolver(), {HostOverride{"example.com", "192.0.2.1"}}};
  EXPECT_TRUE(is_localhost(look_up(resolver, Resolve{"localhost", 80}).addresses(), 80));
}

TEST_F(OverrideResolverTest, ChoosesByFamily) {
  const std::string ipv6 = "2a02:6b8:7c:40c:c51e:495f:e23a:3";
  OverrideResolver resolver{default_resolver(),
                            {HostOverride{"google.com", 80, "1.2.3.4", 80},
                             HostOverride{"google.com", 80, AddressFamily::ipv4, "1.2.3.4", 80},
                             HostOverride{"google.com", 80, AddressFamily::ipv6, ipv6, 80}}};
  EXPECT_EQ(look_up(resolver, Resolve{"google.com", 80, AddressFamily::ipv4}).addresses(),
            (Addresses{{"1.2.3.4", 80, AddressFamily::ipv4}}));
  EXPECT_EQ(look_up(resolver, Resolve{"google.com", 80, AddressFamily::ipv6}).addresses(),
            (Addresses{{ipv6, 80, AddressFamily::ipv6}}));
}

TEST_F(OverrideResolverTest, PrefersTheMostExactEntry) {
  HostOverride of_a_family{"host", "192.0.2.4"};
  of_a_family.family = AddressFamily::ipv4;
  OverrideResolver resolver{default_resolver(),
                            {HostOverride{"Host", "192.0.2.1"}, HostOverride{"host", 80, "192.0.2.2", 8080},
                             HostOverride{"host", 80, AddressFamily::ipv4, "192.0.2.3", 81}, of_a_family}};
  const auto found = [&](const char* host, std::uint16_t port, AddressFamily family) {
    return to_string(look_up(resolver, Resolve{host, port, family}).addresses().at(0));
  };
  EXPECT_EQ(found("host", 80, AddressFamily::ipv4), "192.0.2.3:81");
  EXPECT_EQ(found("host", 443, AddressFamily::ipv4), "192.0.2.4:443");
  EXPECT_EQ(found("hOsT", 80, AddressFamily::unspec), "192.0.2.2:8080");
  EXPECT_EQ(found("host", 443, AddressFamily::unspec), "192.0.2.1:443"); // the port that was asked for
}

} // namespace

} // namespace squall
