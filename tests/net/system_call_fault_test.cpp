// SPDX-License-Identifier: BSD-3-Clause
//
// system_call_fault_test.cpp: a client that uses every operation on a real socket, of which the n-th system
// call that moves bytes meets a fault, for each n, until one passes untouched.
//
// The calls are this file's own, which stand before the system's for the whole program and pass on what no
// test asked to fail. A receive that falls short, or EAGAIN where there is something, is no fault of a socket:
// the system would not tell its readiness again (epoll(7)). In memory it does: fault_test.cpp.
#include "tests/net/fault_tour.hpp"
#include "tests/net/stream_contract.hpp"
#include "tests/net/tls_fixture.hpp"
#include <squall/net/log.hpp>

#include <algorithm>
#include <dlfcn.h>
#include <sys/sendfile.h>

namespace squall {

namespace {

/// What one call on one descriptor does instead of its work.
struct SystemCallFault {
  int fd = -1;
  int error = 0;         ///< the call fails with it
  bool one_byte = false; ///< or sends one byte only
  int fail_at = -1;      ///< the number of the call, from 0
  int calls = 0;

  [[nodiscard]] bool met() const { return fail_at >= 0 && calls > fail_at; }
};

thread_local SystemCallFault* current_fault = nullptr; // while a test wants one

/// The fault that this call meets, if any.
SystemCallFault* next_fault(int fd) {
  SystemCallFault* fault = current_fault;
  return fault != nullptr && fault->fd == fd && fault->calls++ == fault->fail_at ? fault : nullptr;
}

/// The function that `name` would be without this file.
template <class Function>
Function* system_function(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

} // namespace

} // namespace squall

extern "C" ssize_t recv(int fd, void* buffer, size_t size, int flags) {
  static auto* const original = squall::system_function<ssize_t(int, void*, size_t, int)>("recv");
  const auto* fault = squall::next_fault(fd);
  if (fault == nullptr || fault->one_byte)
    return original(fd, buffer, size, flags);
  errno = fault->error;
  return -1;
}

extern "C" ssize_t send(int fd, const void* buffer, size_t size, int flags) {
  static auto* const original = squall::system_function<ssize_t(int, const void*, size_t, int)>("send");
  const auto* fault = squall::next_fault(fd);
  if (fault == nullptr)
    return original(fd, buffer, size, flags);
  if (fault->one_byte)
    return original(fd, buffer, std::min<size_t>(size, 1), flags);
  errno = fault->error;
  return -1;
}

extern "C" ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static auto* const original = squall::system_function<ssize_t(int, const msghdr*, int)>("sendmsg");
  const auto* fault = squall::next_fault(fd);
  if (fault == nullptr)
    return original(fd, message, flags);
  if (fault->one_byte)
    return ::send(fd, message->msg_iov[0].iov_base, 1, flags);
  errno = fault->error;
  return -1;
}

extern "C" ssize_t sendfile(int fd, int file, off_t* offset, size_t size) {
  static auto* const original = squall::system_function<ssize_t(int, int, off_t*, size_t)>("sendfile");
  const auto* fault = squall::next_fault(fd);
  if (fault == nullptr)
    return original(fd, file, offset, size);
  if (fault->one_byte)
    return original(fd, file, offset, std::min<size_t>(size, 1));
  errno = fault->error;
  return -1;
}

namespace squall {

namespace {

using namespace testing_support;

struct SocketTour {
  const char* name;
  std::pair<Socket, Socket> (*make_pair)();
  TourEnd end;
};

class SystemCallFaultTest : public testing::TestWithParam<SocketTour> {
protected:
  SystemCallFaultTest() { set_log_level(LogLevel::error); } // each fault would be told
  ~SystemCallFaultTest() override {
    current_fault = nullptr;
    set_log_level(LogLevel::info);
  }

  template <class Check>
  void for_each_call(SystemCallFault fault, Check check) {
    for (int n = 0;; ++n) {
      SCOPED_TRACE("fault at call " + std::to_string(n));
      ManualClock clock;
      EventLoop loop{&clock};
      auto [ours, theirs] = GetParam().make_pair();
      SystemCallFault met = fault;
      met.fd = ours.fd();
      met.fail_at = n;
      const StreamOptions options{.read_chunk_size = 16, .half_close = true};
      Tour tour{loop, clock, GetParam().end, IOStream{loop, std::move(ours), options},
                IOStream{loop, std::move(theirs), options}};
      current_fault = &met;
      tour.run();
      current_fault = nullptr;
      tour.expect_sound();
      if (!met.met()) {
        EXPECT_GT(n, 20) << "the tour makes enough calls to be worth it";
        tour.expect_complete();
        return;
      }
      check(tour);
      if (HasFailure())
        return;
    }
  }

  void expect_failure(int error, CloseReason reason) {
    for_each_call({.error = error}, [&](const Tour& tour) {
      if (tour.complete) // the fault came when everything was done
        return;
      EXPECT_EQ(tour.failure.reason, reason);
      EXPECT_EQ(tour.failure.real_error, (std::error_code{error, std::generic_category()}));
    });
  }
};

std::vector<SocketTour> all_socket_tours() {
  std::vector<SocketTour> tours;
  for (const TourEnd end : all_tour_ends) {
    tours.push_back({"Tcp", &make_tcp_pair, end});
    tours.push_back({"Unix", &make_socket_pair, end});
  }
  return tours;
}

INSTANTIATE_TEST_SUITE_P(Sockets, SystemCallFaultTest, testing::ValuesIn(all_socket_tours()),
                         [](const auto& tested) {
                           return std::string{tested.param.name} + name_of(tested.param.end);
                         });

TEST_P(SystemCallFaultTest, AnInterruptedCallChangesNothing) {
  for_each_call({.error = EINTR}, [](const Tour& tour) { tour.expect_complete(); });
}

TEST_P(SystemCallFaultTest, ASendOfOneByteChangesNothing) {
  for_each_call({.one_byte = true}, [](const Tour& tour) { tour.expect_complete(); });
}

TEST_P(SystemCallFaultTest, AResetFailsTheOperationThatMeetsIt) {
  expect_failure(ECONNRESET, CloseReason::reset);
}

TEST_P(SystemCallFaultTest, ABrokenPipeFailsTheOperationThatMeetsIt) {
  expect_failure(EPIPE, CloseReason::reset);
}

TEST_P(SystemCallFaultTest, ATimeOutOfTheConnectionFailsTheOperationThatMeetsIt) {
  expect_failure(ETIMEDOUT, CloseReason::reset);
}

TEST_P(SystemCallFaultTest, ASystemWithoutBuffersFailsTheOperationThatMeetsIt) {
  expect_failure(ENOBUFS, CloseReason::transport_error);
}

class TLSFaultTest : public TLSTest {
protected:
  TLSFaultTest() {
    auto [ours, theirs] = make_tcp_pair();
    fd = ours.fd();
    both = {IOStream{loop, std::move(ours), server_context<TLSVersion::tls_1_3>()},
            std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)};
  }
  ~TLSFaultTest() override { current_fault = nullptr; }

  int fd; ///< the stream's
  ToClient both;
};

/// The system takes all bytes, but not the close_notify behind them: the close waits until it does.
TEST_F(TLSFaultTest, ACloseNotifyThatTheSystemDoesNotTakeIsSentLater) {
  shake(both);
  TestWrite write{both.stream, "last words"};
  ASSERT_TRUE(run_until([&] { return write.answered(); }));
  SystemCallFault full{.fd = fd, .error = EAGAIN, .fail_at = 0};
  current_fault = &full;
  both.stream.close();
  ASSERT_TRUE(full.met()) << "it was tried";
  current_fault = nullptr;
  loop.run_once(Duration::zero());
  both.peer->receive();
  EXPECT_EQ(both.peer->received, "last words");
  EXPECT_FALSE(both.peer->saw_end);
  EXPECT_FALSE(both.peer->saw_error) << "the connection is not cut";
  both.peer->send_some("x"); // wakes the stream, as room in the socket would
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  EXPECT_TRUE(both.peer->saw_end);
}

/// As above, but there never is room: the close ends with the linger_timeout.
TEST_F(TLSFaultTest, ACloseNotifyThatTheSystemNeverTakesIsGivenUp) {
  shake(both);
  SystemCallFault full{.fd = fd, .error = EAGAIN, .fail_at = 0};
  current_fault = &full;
  both.stream.close();
  full.fail_at = 1; // also at the very end
  clock.advance(std::chrono::seconds{10});
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return both.peer->saw_end || both.peer->saw_error;
  }));
  current_fault = nullptr;
  EXPECT_TRUE(both.peer->saw_error) << "it looks cut, which it is";
}

} // namespace

} // namespace squall
