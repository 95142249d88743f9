// SPDX-License-Identifier: BSD-3-Clause
//
// forced_end_test.cpp: SIGTERM ends a server in the time that it has, whatever holds it up.
#include "tests/actors/support.hpp"
#include "tests/process_support.hpp"

#include <nlohmann/json.hpp>

#include <csignal>
#include <fstream>

namespace squall::actor_tests {

namespace {

using testing_support::Helper;
using testing_support::occurrences;

bool catches_sigterm(pid_t pid) {
  std::ifstream status{"/proc/" + std::to_string(pid) + "/status"};
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigCgt:\t"))
      return (std::stoull(line.substr(8), nullptr, 16) >> (SIGTERM - 1) & 1) == 1;
  return false;
}

class ForcedEnd : public testing::Test {
protected:
  /// A server with a client whose handler is stuck.
  struct Stuck {
    Stuck(EventLoop& loop, std::vector<std::string> arguments)
        : helper{loop, std::move(arguments), SQUALL_SERVER_HELPER},
          client{Endpoint{"127.0.0.1", static_cast<std::uint16_t>(std::stoi(helper.line())),
                          AddressFamily::ipv4}} {
      client.send("x");
      EXPECT_EQ(helper.line(), "stuck");
    }
    Helper helper;
    Client client;
  };

  EventLoop loop;
};

TEST_F(ForcedEnd, ComesWhateverAHandlerDoes) {
  for (const std::string how : {"computes", "blocks", "destructor", "worker", "loop_actor"}) {
    Stuck server{loop, {"stuck", how}};
    server.helper.process().kill(SIGTERM);
    EXPECT_EQ(server.helper.returncode(), 70) << how;
    const std::string errors = server.helper.errors();
    EXPECT_EQ(
        occurrences(
            errors,
            " error ended_by_force: the server did not end within drain_timeout and stop_timeout stage=\""),
        1u)
        << how << ": " << errors;
  }
}

TEST_F(ForcedEnd, ComesBySigintToo) {
  Stuck server{loop, {"stuck", "blocks"}};
  server.helper.process().kill(SIGINT);
  EXPECT_EQ(server.helper.returncode(), 70);
}

TEST_F(ForcedEnd, SaysWhatDidNotEnd) {
  Stuck on_loop{loop, {"stuck", "blocks"}};
  on_loop.helper.process().kill(SIGTERM);
  const std::string blocked = on_loop.helper.errors();
  EXPECT_TRUE(blocked.find(" busy_loops=\"0\" ") != blocked.npos ||
              blocked.find(" busy_loops=\"1\" ") != blocked.npos)
      << blocked;
  EXPECT_NE(blocked.find(" connections=\"1\" handlers=\"0\" lookups=\"0\"\n"), blocked.npos) << blocked;

  Stuck on_worker{loop, {"stuck", "worker", "3000"}}; // time for the stages before
  on_worker.helper.process().kill(SIGTERM);
  const std::string working = on_worker.helper.errors();
  EXPECT_NE(working.find(" stage=\"waiting for handlers on CAF's workers\" busy_loops=\"\" "), working.npos)
      << working;
  EXPECT_NE(working.find(" handlers=\"1\" "), working.npos) << working;
}

TEST_F(ForcedEnd, SaysItInTheFormOfTheLog) {
  Stuck server{loop, {"stuck_json", "blocks"}};
  server.helper.process().kill(SIGTERM);
  const auto line = nlohmann::json::parse(server.helper.errors());
  EXPECT_EQ(line.at("level"), "error");
  EXPECT_EQ(line.at("event"), "ended_by_force");
  EXPECT_EQ(line.at("connections"), "1");
  EXPECT_EQ(line.at("time").get<std::string>().size(), std::string{"2026-11-20T12:00:00.123Z"}.size());
}

TEST_F(ForcedEnd, ComesWhereASinkOfTheLogDoesNotReturn) {
  Stuck server{loop, {"stuck", "sink"}};
  server.helper.process().kill(SIGTERM);
  EXPECT_EQ(server.helper.returncode(), 70);
}

TEST_F(ForcedEnd, IsNotNeededForALookup) {
  Stuck server{loop, {"stuck", "lookup", "60000"}};
  server.helper.process().kill(SIGTERM);
  EXPECT_EQ(server.helper.returncode(), 0);
}

TEST_F(ForcedEnd, ASecondSignalIsFaster) {
  Stuck server{loop, {"stuck", "blocks"}};
  server.helper.process().kill(SIGTERM);
  ::poll(nullptr, 0, 150); // earlier it would be the same signal again
  server.helper.process().kill(SIGTERM);
  const int returncode = server.helper.returncode();
  EXPECT_TRUE(returncode == -SIGTERM || returncode == 70) << returncode; // 70: the machine was slow
}

TEST_F(ForcedEnd, ALoopWhoseEpollSomebodyClosedEndsInOrder) {
  Stuck server{loop, {"closed_epoll"}};
  server.helper.process().kill(SIGTERM);
  EXPECT_EQ(server.helper.returncode(), 0);
  const std::string errors = server.helper.errors();
  EXPECT_GE(occurrences(errors, " error loop_failed: "), 1u) << errors;
  EXPECT_NE(errors.find("epoll_wait: Bad file descriptor"), errors.npos) << errors;
}

TEST_F(ForcedEnd, OfAChildIsTheStatusOfItsParent) {
  Stuck server{loop, {"stuck_processes", "blocks"}};
  server.helper.process().kill(SIGTERM);
  EXPECT_EQ(server.helper.returncode(), 70);
  const auto told = occurrences(server.helper.errors(), " ended_by_force: ");
  EXPECT_TRUE(told == 1 || told == 2) << told; // 2: the machine was slow, so that the idle child is late, too
}

TEST_F(ForcedEnd, ChildrenThatAreStoppedAreKilled) {
  Stuck server{loop, {"stuck_processes", "blocks"}};
  const std::string pid = std::to_string(server.helper.process().pid());
  std::ifstream list{"/proc/" + pid + "/task/" + pid + "/children"};
  std::vector<pid_t> children;
  for (pid_t child = 0; list >> child;) {
    EXPECT_TRUE(wait_until([&] { return catches_sigterm(child); })) << "it serves";
    kill(child, SIGSTOP);
    children.push_back(child);
  }
  EXPECT_EQ(children.size(), 2u);
  server.helper.process().kill(SIGTERM);
  EXPECT_EQ(server.helper.returncode(), 70);
  const std::string errors = server.helper.errors();
  EXPECT_GE(occurrences(errors, " error child_killed: "), 1u) << errors;
}

} // namespace

} // namespace squall::actor_tests
