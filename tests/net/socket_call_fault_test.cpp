// SPDX-License-Identifier: BSD-3-Clause
//
// socket_call_fault_test.cpp: binding and accepting where the system refuses.
//
// The calls are this file's own, which stand before the system's for the whole program and pass on what no test asked
// to fail.
#include "tests/net/support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/log.hpp>

#include <dirent.h>
#include <dlfcn.h>
#include <functional>
#include <memory>

namespace squall {

namespace {

enum class Call { socket, bind, listen, accept };

/// Says which calls fail, and with which errno; 0: none.
using CallFault = std::function<int(Call call, int number)>;

struct Faults {
  CallFault fault;
  int counts[4] = {};
};

thread_local Faults* current_faults = nullptr; // while a test wants them

/// The errno with which this call fails; 0: it does its work.
int next_error(Call call) {
  if (current_faults == nullptr)
    return 0;
  const int number = current_faults->counts[static_cast<int>(call)]++;
  return current_faults->fault(call, number);
}

/// The function that `name` would be without this file.
template <class Function>
Function* original(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

} // namespace

} // namespace squall

extern "C" int socket(int domain, int type, int protocol) noexcept {
  static auto* const call = squall::original<int(int, int, int)>("socket");
  if (const int error = squall::next_error(squall::Call::socket); error != 0) {
    errno = error;
    return -1;
  }
  return call(domain, type, protocol);
}

extern "C" int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  static auto* const call = squall::original<int(int, const sockaddr*, socklen_t)>("bind");
  if (const int error = squall::next_error(squall::Call::bind); error != 0) {
    errno = error;
    return -1;
  }
  return call(fd, address, size);
}

extern "C" int listen(int fd, int backlog) noexcept {
  static auto* const call = squall::original<int(int, int)>("listen");
  if (const int error = squall::next_error(squall::Call::listen); error != 0) {
    errno = error;
    return -1;
  }
  return call(fd, backlog);
}

extern "C" int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  static auto* const call = squall::original<int(int, sockaddr*, socklen_t*, int)>("accept4");
  if (const int error = squall::next_error(squall::Call::accept); error != 0) {
    errno = error;
    return -1;
  }
  return call(fd, address, size, flags);
}

namespace squall {

namespace {

using namespace testing_support;

class FaultScope {
public:
  explicit FaultScope(CallFault fault) : faults_{std::move(fault), {}} { current_faults = &faults_; }
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
  ~FaultScope() { current_faults = nullptr; }
  [[nodiscard]] int count(Call call) const { return faults_.counts[static_cast<int>(call)]; }

private:
  Faults faults_;
};

/// The one call that fails.
CallFault fail_once(Call call, int number, int error) {
  return [=](Call made, int n) { return made == call && n == number ? error : 0; };
}

int descriptor_count() {
  int count = 0;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder{::opendir("/proc/self/fd"), &::closedir};
  while (::readdir(folder.get()) != nullptr)
    ++count;
  return count;
}

bool have_ipv6() {
  try {
    bind_sockets(0, "::1");
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

// -- binding

TEST(BindSocketsFault, WeakSpot26RetriesAPortThatIsTakenInTheOtherFamily) {
  if (!have_ipv6())
    GTEST_SKIP() << "no IPv6 here";
  const FaultScope faults{fail_once(Call::bind, 1, EADDRINUSE)};
  const auto sockets = bind_sockets(0);
  ASSERT_EQ(sockets.size(), 2u);
  EXPECT_EQ(sockets[0].local_endpoint().port, sockets[1].local_endpoint().port);
  EXPECT_EQ(faults.count(Call::bind), 4) << "both, twice";
}

TEST(BindSocketsFault, GivesUpAPortThatIsAlwaysTaken) {
  const int before = descriptor_count();
  const FaultScope faults{[](Call call, int n) { return call == Call::bind && n % 2 == 1 ? EADDRINUSE : 0; }};
  if (!have_ipv6())
    GTEST_SKIP() << "no IPv6 here";
  try {
    bind_sockets(0);
    FAIL() << "bound what is taken";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::address_in_use);
  }
  EXPECT_LT(faults.count(Call::bind), 40);
  EXPECT_EQ(descriptor_count(), before);
}

TEST(BindSocketsFault, WeakSpot26LeavesNoDescriptorWhereAnyCallFails) {
  const int before = descriptor_count();
  for (const Call call : {Call::socket, Call::bind, Call::listen}) {
    for (int n = 0;; ++n) {
      const FaultScope faults{fail_once(call, n, EACCES)};
      bool failed = false;
      try {
        const auto sockets = bind_sockets(0);
      } catch (const std::system_error& error) {
        failed = true;
        EXPECT_EQ(error.code(), std::errc::permission_denied);
      }
      EXPECT_EQ(descriptor_count(), before);
      EXPECT_EQ(failed, faults.count(call) > n);
      if (!failed)
        break;
    }
  }
}

TEST(BindSocketsFault, WeakSpot26FailsWhereNothingWasBound) {
  const FaultScope faults{[](Call call, int) { return call == Call::socket ? EAFNOSUPPORT : 0; }};
  EXPECT_THROW(bind_sockets(0), std::system_error);
  EXPECT_THROW(bind_sockets(0, "127.0.0.1"), std::system_error);
}

TEST(BindSocketsFault, GoesWithoutAFamilyThatTheMachineLacks) {
  const FaultScope faults{fail_once(Call::socket, 1, EAFNOSUPPORT)};
  EXPECT_EQ(bind_sockets(0).size(), 1u);
}

TEST(BindUnixSocketFault, LeavesNeitherDescriptorNorFile) {
  const int before = descriptor_count();
  const std::string path = testing::TempDir() + "squall-fault-" + std::to_string(::getpid()) + ".sock";
  for (const Call call : {Call::bind, Call::listen}) {
    const FaultScope faults{fail_once(call, 0, EACCES)};
    EXPECT_THROW(bind_unix_socket(path), std::system_error);
    EXPECT_EQ(descriptor_count(), before);
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
  }
}

// -- accepting

class AcceptFaultTest : public testing::TestWithParam<int> {
protected:
  AcceptFaultTest() {
    set_log_rate(0, 1); // everything passes
    set_log_sink([this](const LogEvent& event) {
      events.emplace_back(event.name);
      last_message = event.message;
    });
  }
  ~AcceptFaultTest() override {
    set_log_sink({});
    set_log_rate(10, 20);
  }

  void accept() {
    acceptor = std::make_unique<Acceptor>(loop, listener, [this](Socket connection, const Endpoint&) {
      accepted.push_back(std::move(connection));
    });
  }
  /// Turns, with time passing between them.
  [[nodiscard]] bool wait_for(std::size_t count) {
    return run_until(loop, [&] {
      clock.advance(1ms);
      return accepted.size() >= count;
    });
  }

  ManualClock clock;
  EventLoop loop{&clock};
  ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  std::vector<Socket> accepted;
  std::unique_ptr<Acceptor> acceptor;
  std::vector<std::string> events;
  std::string last_message;
};

// Each errno of accept(2), those of connections that broke in the queue, and what else a system may say.
INSTANTIATE_TEST_SUITE_P(Errnos, AcceptFaultTest,
                         testing::Values(EAGAIN, EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE,
                                         ENOBUFS, ENOMEM, ENOTSOCK, EOPNOTSUPP, EPERM, EPROTO, ENETDOWN,
                                         ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, ENETUNREACH, ENOSR,
                                         ESOCKTNOSUPPORT, EPROTONOSUPPORT, ETIMEDOUT),
                         [](const auto& tested) { return std::string{::strerrorname_np(tested.param)}; });

TEST_P(AcceptFaultTest, IsSurvived) {
  const FaultScope faults{fail_once(Call::accept, 0, GetParam())};
  accept();
  const Socket one = connect_to(listener);
  const Socket two = connect_to(listener);
  run_turns(loop);
  const Socket three = connect_to(listener); // after an EAGAIN that was none only a new connection can tell
  ASSERT_TRUE(wait_for(3));
}

TEST_P(AcceptFaultTest, IsSurvivedHoweverLongItLasts) {
  if (GetParam() == EAGAIN)
    GTEST_SKIP() << "no error: nothing waits";
  bool refused = true;
  const FaultScope faults{[&](Call call, int) { return call == Call::accept && refused ? GetParam() : 0; }};
  accept();
  const Socket client = connect_to(listener);
  for (int i = 0; i < 2000; ++i) { // two seconds
    loop.run_once();
    clock.advance(1ms);
  }
  EXPECT_LE(faults.count(Call::accept), 16 * 30) << "it pauses";
  EXPECT_LE(events.size(), 3u) << "one line a second";
  for (const std::string& event : events)
    EXPECT_EQ(event, "accept_paused");
  refused = false;
  const TimePoint began = clock.now();
  ASSERT_TRUE(wait_for(1));
  EXPECT_LE(clock.now() - began, 250ms);
}

class AcceptWithoutDescriptorsTest : public AcceptFaultTest {
protected:
  bool exhausted = true;
  FaultScope faults{[this](Call call, int) { return call == Call::accept && exhausted ? GetParam() : 0; }};
};

INSTANTIATE_TEST_SUITE_P(Errnos, AcceptWithoutDescriptorsTest,
                         testing::Values(EMFILE, ENFILE, ENOBUFS, ENOMEM),
                         [](const auto& tested) { return std::string{::strerrorname_np(tested.param)}; });

TEST_P(AcceptWithoutDescriptorsTest, WeakSpot1PausesLongerAndLonger) {
  accept();
  const Socket client = connect_to(listener);
  std::vector<int> counts;
  for (const auto time : {0ms, 5ms, 10ms, 20ms, 40ms, 80ms, 100ms, 100ms}) {
    clock.advance(time);
    run_turns(loop);
    counts.push_back(faults.count(Call::accept));
  }
  EXPECT_EQ(counts, (std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8}));
  exhausted = false;
  clock.advance(100ms);
  run_turns(loop);
  ASSERT_EQ(accepted.size(), 1u);
  exhausted = true;
  const Socket another = connect_to(listener);
  const int before = faults.count(Call::accept);
  run_turns(loop);
  clock.advance(5ms);
  run_turns(loop);
  EXPECT_EQ(faults.count(Call::accept), before + 2) << "short again after a success";
}

TEST_P(AcceptWithoutDescriptorsTest, WeakSpot1GoesOnAtOnceWhenADescriptorIsFree) {
  Socket spare{::dup(listener.fd())};
  accept();
  const Socket client = connect_to(listener);
  run_turns(loop);
  EXPECT_TRUE(accepted.empty());
  exhausted = false;
  run_turns(loop);
  EXPECT_TRUE(accepted.empty()) << "nobody told it";
  spare.reset();
  run_turns(loop);
  EXPECT_EQ(accepted.size(), 1u) << "no time has passed";
}

TEST_P(AcceptWithoutDescriptorsTest, SaysWhichLimitToRaise) {
  accept();
  const Socket client = connect_to(listener);
  run_turns(loop);
  ASSERT_EQ(events, std::vector<std::string>{"accept_paused"});
  const char* const name = GetParam() == EMFILE   ? "`ulimit -n`"
                           : GetParam() == ENFILE ? "fs.file-max"
                                                  : "memory";
  EXPECT_NE(last_message.find(name), std::string::npos) << last_message;
}

TEST_P(AcceptWithoutDescriptorsTest, MayBeStoppedWhileItPauses) {
  accept();
  const Socket client = connect_to(listener);
  run_turns(loop);
  acceptor.reset();
  exhausted = false;
  Socket{::dup(listener.fd())}.reset();
  clock.advance(1s);
  run_turns(loop);
  EXPECT_TRUE(accepted.empty());
}

TEST(AcceptFault, ASocketThatListensNoMoreIsGivenUp) {
  std::vector<std::string> events;
  set_log_sink([&](const LogEvent& event) { events.emplace_back(event.name); });
  ManualClock clock;
  EventLoop loop{&clock};
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  Acceptor acceptor{loop, listener, [](Socket, const Endpoint&) { FAIL(); }};
  ::shutdown(listener.fd(), SHUT_RD); // ends listening (not in POSIX)
  run_turns(loop);
  clock.advance(10s);
  run_turns(loop);
  EXPECT_EQ(events, std::vector<std::string>{"listener_broken"});
  set_log_sink({});
}

TEST(AcceptFault, AllowsOneAcceptATurnWithoutABusyLoop) {
  ManualClock clock;
  EventLoop loop{&clock};
  const ListeningSocket listener = bind_sockets(0, "127.0.0.1").front();
  set_log_level(LogLevel::off);
  const FaultScope faults{[](Call call, int) { return call == Call::accept ? EPERM : 0; }};
  Acceptor acceptor{loop, listener, [](Socket, const Endpoint&) { FAIL(); }, 1};
  const Socket client = connect_to(listener);
  run_turns(loop, 100);
  EXPECT_EQ(faults.count(Call::accept), 1);
  set_log_level(LogLevel::info);
}

} // namespace

} // namespace squall
