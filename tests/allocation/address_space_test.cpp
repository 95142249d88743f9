// SPDX-License-Identifier: BSD-3-Clause
//
// address_space_test.cpp: a server whose process may have no more memory, while its peers send what it must keep.
#include "tests/allocation/scenarios.hpp"

#include <fstream>
#include <sys/resource.h>
#include <sys/wait.h>

namespace squall::allocation_tests {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool under_sanitizer = true; // which have address spaces of their own
#else
constexpr bool under_sanitizer = false;
#endif

constexpr std::size_t size_of_a_peer = 60'000;
constexpr std::size_t peer_count = 400;
constexpr std::size_t room = 8U << 20U; ///< a third of what the peers send

/// Exit statuses of the child.
enum Finding : int {
  sound = 0,
  peer_waits = 10,
  does_not_serve = 11,
  does_not_end = 12,
  limit_not_reached = 13
};

std::size_t address_space() {
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

void limit_address_space(rlim_t most) {
  rlimit limit{};
  ::getrlimit(RLIMIT_AS, &limit);
  limit.rlim_cur = std::min(most, limit.rlim_max);
  ::setrlimit(RLIMIT_AS, &limit);
}

/// The part of a client that takes no memory.
struct Peers {
  std::array<Client, peer_count> clients;
  std::array<char, size_of_a_peer> bytes;
  std::array<char, 4096> answer;

  /// Each sends a line that has no end, as far as the server takes it.
  void send_all(const Endpoint& server) {
    bytes.fill('a');
    for (Client& client : clients) {
      client = connect_to(server);
      static_cast<void>(::send(client.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
    }
  }
  /// One of them has met the end: the server has read until it had no more memory.
  bool any_ended() {
    return std::any_of(clients.begin(), clients.end(), [](const Client& client) {
      pollfd ready{client.fd(), POLLIN, 0};
      return ::poll(&ready, 1, 0) > 0;
    });
  }
  /// Each ends its line, and waits for the answer or the end. @returns how many met the end; -1: one waits for ever
  int end_lines() {
    int ended = 0;
    for (Client& client : clients)
      static_cast<void>(::send(client.fd(), "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
    for (Client& client : clients) {
      ssize_t size = ::recv(client.fd(), answer.data(), answer.size(), 0);
      if (size < 0 && errno == EAGAIN)
        return -1;
      ended += size <= 0 ? 1 : 0;
      client.close();
    }
    return ended;
  }
};

int serve_without_room(Form form) {
  Server server{2};
  const Endpoint address = server.listen(echo_in(form));
  if (ask_plainly(address) != Met::answered)
    return does_not_serve;
  const auto peers = std::make_unique<Peers>();
  limit_address_space(address_space() + room);
  peers->send_all(address);
  if (!soon([&] { return peers->any_ended(); }))
    return limit_not_reached;
  const int ended = peers->end_lines();
  if (ended < 0)
    return peer_waits;
  limit_address_space(RLIM_INFINITY);
  if (!soon([&] { return ask_plainly(address) == Met::answered; }))
    return does_not_serve;
  server.end();
  return sound;
}

void expect_sound(Form form) {
  if (under_sanitizer)
    GTEST_SKIP() << "sanitizers have an address space of their own";
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60); // does_not_end
    set_log_level(LogLevel::off);
    _exit(serve_without_room(form));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << "died by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), sound);
}

TEST(AddressSpace, ThatIsUsedUpCostsConnectionsOfCoroutinesOnly) { expect_sound(Form::coroutine); }

TEST(AddressSpace, ThatIsUsedUpCostsConnectionsOfPinnedHandlersOnly) { expect_sound(Form::pinned_actor); }

} // namespace

} // namespace squall::allocation_tests
