// SPDX-License-Identifier: BSD-3-Clause
//
// inherited_sockets_test.cpp: sockets that the process was started with.
//
// Each test runs in a child of its own (as EXPECT_EXIT makes one), whose descriptors from 3 on are its to give.
#include "tests/net/support.hpp"
#include <squall/net/inherited_sockets.hpp>

#include <cstdlib>
#include <iostream>
#include <stdexcept>

namespace squall {

namespace {

using namespace testing_support;

/// Puts descriptors at 3 and on, and the variables of sd_listen_fds(3) in the environment.
void give(const std::vector<int>& descriptors, const char* names = nullptr) {
  std::vector<int> high;
  for (const int fd : descriptors)
    high.push_back(::fcntl(fd, F_DUPFD, 100));
  for (std::size_t i = 0; i < high.size(); ++i)
    ::dup2(high[i], static_cast<int>(i) + 3); // not close-on-exec, as a starter leaves them
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv("LISTEN_FDS", std::to_string(descriptors.size()).c_str(), 1);
  if (names != nullptr)
    ::setenv("LISTEN_FDNAMES", names, 1);
}

/// So that no socket of a test has a number that give() wants.
void occupy_low_descriptors() {
  for (int fd = 3; fd < 10; ++fd)
    ::dup2(2, fd);
}

void require(bool holds, const char* what) {
  if (holds)
    return;
  std::cerr << what << '\n';
  std::_Exit(1);
}

void require_unset() {
  for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"})
    require(std::getenv(name) == nullptr, name);
}

std::string failure() {
  try {
    inherited_sockets();
    return "none";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

/// Runs `body` in a child, which ends with status 0 unless it says what is wrong.
#define IN_A_CHILD(...)                                                                                      \
  EXPECT_EXIT(                                                                                               \
      {                                                                                                      \
        occupy_low_descriptors();                                                                            \
        (__VA_ARGS__)();                                                                                     \
        std::_Exit(0);                                                                                       \
      },                                                                                                     \
      testing::ExitedWithCode(0), "")

TEST(InheritedSockets, AreTakenInTheirOrderWithTheirNames) {
  IN_A_CHILD([] {
    const auto one = bind_sockets(0, "127.0.0.1").front();
    const auto two = bind_sockets(0, "127.0.0.1").front();
    give({one.fd(), two.fd()}, "web:admin");
    const auto sockets = inherited_sockets();
    require(sockets.size() == 2, "two");
    require(sockets[0].name == "web" && sockets[1].name == "admin", "names");
    require(sockets[0].socket.local_endpoint() == one.local_endpoint(), "the first is first");
    require(sockets[1].socket.local_endpoint() == two.local_endpoint(), "the second is second");
    for (const auto& inherited : sockets) {
      require((::fcntl(inherited.socket.fd(), F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec");
      require((::fcntl(inherited.socket.fd(), F_GETFL) & O_NONBLOCK) != 0, "non-blocking");
      connect_to(inherited.socket);
    }
    require_unset();
    require(inherited_sockets().empty(), "a second call takes nothing");
  });
}

TEST(InheritedSockets, AreUnknownWithoutNames) {
  IN_A_CHILD([] {
    give({bind_sockets(0, "127.0.0.1").front().fd()});
    require(inherited_sockets().at(0).name == "unknown", "as sd_listen_fds_with_names");
  });
}

TEST(InheritedSockets, AreNoneWithoutTheVariables) {
  IN_A_CHILD([] {
    require(inherited_sockets().empty(), "none");
    ::setenv("LISTEN_FDS", "1", 1);
    require(inherited_sockets().empty(), "without LISTEN_PID");
    require_unset();
  });
}

TEST(InheritedSockets, OfAnotherProcessAreLeftAlone) {
  IN_A_CHILD([] {
    give({bind_sockets(0, "127.0.0.1").front().fd()}, "web");
    ::setenv("LISTEN_PID", std::to_string(::getppid()).c_str(), 1);
    require(inherited_sockets().empty(), "none");
    require(::fcntl(3, F_GETFD) >= 0, "descriptor 3 is somebody's");
    require_unset();
  });
}

TEST(InheritedSockets, NoneMayBeGiven) {
  IN_A_CHILD([] {
    give({}, "");
    require(inherited_sockets().empty(), "none");
  });
}

TEST(InheritedSockets, RefusesVariablesThatMakeNoSense) {
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, const char*>>{{"LISTEN_PID", ""},
                                                                  {"LISTEN_PID", "x"},
                                                                  {"LISTEN_PID", "0"},
                                                                  {"LISTEN_PID", "-1"},
                                                                  {"LISTEN_PID", " 1"},
                                                                  {"LISTEN_PID", "99999999999999999999"},
                                                                  {"LISTEN_FDS", ""},
                                                                  {"LISTEN_FDS", "-1"},
                                                                  {"LISTEN_FDS", "1x"},
                                                                  {"LISTEN_FDS", "2000000000"},
                                                                  {"LISTEN_FDNAMES", "a:b"},
                                                                  {"LISTEN_FDNAMES", "a:"}}) {
    IN_A_CHILD(([name = name, value = value] {
      give({bind_sockets(0, "127.0.0.1").front().fd()});
      ::setenv(name, value, 1);
      const std::string text = failure();
      require(text.find(name) != std::string::npos, text.c_str());
      require_unset();
    }));
  }
}

TEST(InheritedSockets, RefusesWhatDoesNotListen) {
  IN_A_CHILD([] {
    give({bind_sockets(0, "127.0.0.1").front().fd(), make_socket_pair().first.fd()});
    const std::string text = failure();
    require(text.find("descriptor 4") != std::string::npos, text.c_str());
    require(text.find("Accept=no") != std::string::npos, text.c_str());
    require(::fcntl(3, F_GETFD) < 0 && ::fcntl(4, F_GETFD) < 0, "all are closed");
    require_unset();
  });
}

TEST(InheritedSockets, RefusesWhatIsNotOpen) {
  IN_A_CHILD([] {
    ::close(3);
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "1", 1);
    require(failure().find("descriptor 3") != std::string::npos, "descriptor 3");
  });
}

TEST(InheritedSockets, AreSelectedByNameOrIndex) {
  const auto listen = [] { return bind_sockets(0, "127.0.0.1").front(); };
  const std::vector<InheritedSocket> sockets{
      {"web", listen()}, {"web", listen()}, {"1", listen()}, {"a b", listen()}};
  EXPECT_EQ(select_inherited(sockets, "web"), (std::vector{sockets[0].socket, sockets[1].socket}))
      << "all of a name";
  EXPECT_EQ(select_inherited(sockets, "0"), std::vector{sockets[0].socket});
  EXPECT_EQ(select_inherited(sockets, "1"), std::vector{sockets[2].socket}) << "a name comes first";
  EXPECT_EQ(select_inherited(sockets, "3"), std::vector{sockets[3].socket});
  for (const char* wrong : {"", "wob", "4", "-1", "0x0"}) {
    try {
      static_cast<void>(select_inherited(sockets, wrong));
      ADD_FAILURE() << wrong;
    } catch (const std::runtime_error& error) {
      EXPECT_NE(std::string{error.what()}.find("\"web\", \"web\", \"1\", \"a b\""), std::string::npos)
          << error.what();
    }
  }
  EXPECT_THROW(static_cast<void>(select_inherited({}, "web")), std::runtime_error);
}

} // namespace

} // namespace squall
