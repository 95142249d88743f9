// SPDX-License-Identifier: BSD-3-Clause
//
// reliability_test.cpp: rules that come from the failures of other servers.
//
// | Rule                                                       | Held by                                                  |
// | ---------------------------------------------------------- | -------------------------------------------------------- |
// | C6: nobody connects to a unix socket before its mode is    | BindUnixSocket.RuleC6                                    |
// | set (CVE-2023-45145)                                       |                                                          |
// | C7: no descriptor reaches a child (CVE-2024-21626)         | AcceptHandler.RuleC7, RuleC7 (start_patterns_test.cpp)   |
// | C8: names are refused, never cut (CVE-2024-24806)          | RuleC8, RuleC8Lookup, RuleC8Connect,                     |
// |                                                            | BindUnixSocket.RuleC8, SocketConfig.RuleC8               |
// | C10: the PROXY protocol (CVE-2024-23325, CVE-2022-41881)   | ProxyV1, ProxyV2, ProxyReaderTest, SocketListenerTest    |
// |                                                            | and SocketConfig, each .RuleC10                          |
// | C17: privileges are dropped whole (CVE-2015-0278)          | nobody: Squall changes neither user nor group;           |
// |                                                            | docs/servers.md says when a program should               |
// | C18: no memory for a size that is only declared            | RuleC18, RuleC3.ItIsRefusedForWhatItDeclares             |
// | (CVE-2026-49855)                                           |                                                          |
// | C19: no line end of a peer ends a line of ours             | RuleC19, FormatLogEvent.IsOnePrintableLineWhatever...    |
// | (CVE-2025-67724)                                           | Nothing here writes PROXY headers                        |
// | C20: a process listens on its own sockets only             | tests/examples/operations.py, RuleC20                    |
// | C22: no descriptor is closed twice                         | RuleC22                                                  |
#include "tests/net/proxy_support.hpp"
#include "tests/net/support.hpp"
#include "tests/net/tls_fixture.hpp"
#include <squall/net/io_stream.hpp>
#include <squall/net/log.hpp>
#include <squall/net/proxy_reader.hpp>

#include <atomic>
#include <sys/eventfd.h>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

/// Headers that declare 64 KiB, of which 16 bytes are there.
TEST(RuleC18, AHeaderThatIsToComeNeedsNoMemory) {
  constexpr std::size_t count = 200;
  EventLoop loop;
  ProxyOptions options;
  options.from = {IPNetwork{"unix"}};
  options.max_header_size = 16 + 65535;
  ProxyReader reader{loop, options, [](Socket, const Endpoint&) { FAIL() << "served"; }};
  const std::string header = proxy_v2(0x21, 0x11, std::string(65535, '\0')).substr(0, 16);
  std::vector<Socket> peers;
  peers.reserve(count);
  const std::size_t before = heap_in_use();
  for (std::size_t i = 0; i < count; ++i) {
    auto [ours, theirs] = make_socket_pair();
    ASSERT_EQ(::send(theirs.fd(), header.data(), header.size(), MSG_NOSIGNAL), 16);
    reader.accept(std::move(ours), {"", 0, AddressFamily::unix_domain});
    peers.push_back(std::move(theirs));
    run_turns(loop, 2);
  }
  ASSERT_EQ(reader.pending_count(), count);
  if (measures_heap) {
    EXPECT_LT((heap_in_use() - before) / count, 2048U) << "bytes for each connection";
  }
}

/// The path of a unix socket, which a peer of a trusted proxy chooses, may hold any byte.
TEST(RuleC19, ALineOfTheLogIsOneLineWhateverThePeersAddress) {
  const std::string path = "/run/x\r\n2026-01-01T00:00:00.000Z error forged: line\x1b[2J";
  const std::string header = proxy_v2(0x21, 0x31, path + std::string(216 - path.size(), '\0'));
  const ProxyOutcome outcome = parse_proxy_header(header, ProxyOutcome::default_max_size);
  ASSERT_EQ(outcome.kind, ProxyOutcome::Kind::complete);
  ASSERT_EQ(outcome.header.source.address, path);
  const LogFields fields{{"peer", to_string(outcome.header.source)}};
  const LogEvent event{LogLevel::warning, "connection_rejected", "beyond the limits", fields, 0};
  for (const LogFormat format : {LogFormat::text, LogFormat::json}) {
    const std::string line = format_log_event(event, format, std::chrono::system_clock::time_point{});
    EXPECT_EQ(std::count_if(line.begin(), line.end(), [](char c) { return c < ' ' || c > '~'; }),
              line.ends_with('\n') ? 1 : 0)
        << line;
  }
}

/// Opens and closes descriptors, and fails the test when somebody else closes or replaces one of them.
void use_descriptors(const std::atomic<bool>& over, std::uint64_t owner) {
  for (std::uint64_t i = 1; !over; ++i) {
    const std::uint64_t mark = owner << 32 | i;
    const int first = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int second = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    ASSERT_GE(first, 0);
    ASSERT_GE(second, 0);
    ASSERT_EQ(::eventfd_write(first, mark), 0);
    std::this_thread::yield();
    eventfd_t got = 0;
    ASSERT_EQ(::eventfd_read(first, &got), 0) << "closed by somebody else";
    ASSERT_EQ(got, mark) << "somebody else's";
    ASSERT_EQ(::close(second), 0) << "closed before";
    ASSERT_EQ(::close(first), 0) << "closed before";
  }
}

/// Two threads have the numbers that streams give back, at once.
TEST(RuleC22, NoStreamClosesADescriptorOfSomebodyElse) {
  std::atomic<bool> over{false};
  std::thread one{[&] { use_descriptors(over, 1); }};
  std::thread two{[&] { use_descriptors(over, 2); }};
  {
    EventLoop loop;
    for (int i = 0; i < 10000; ++i) {
      auto [ours, theirs] = make_socket_pair();
      IOStream stream{loop, std::move(ours)};
      stream.read(ReadBytes{1}, [](const Result<Bytes>&) {});
      stream.write("hello\n", [](const Result<void>&) {});
      if (i % 2 == 0)
        theirs.reset(); // both ends at once
      switch (i % 5) {
      case 0:
        stream.close();
        break;
      case 1:
        stream.abort();
        break;
      case 2:
        stream.close_after_flush(std::chrono::seconds{1}, [](const Result<void>&) {});
        break;
      case 3:
        theirs.reset();
        break;
      default:
        break; // its handle goes
      }
      run_turns(loop, i % 3);
      stream.close();
    }
  } // with streams that are still to close
  over = true;
  one.join();
  two.join();
}

} // namespace

} // namespace squall
