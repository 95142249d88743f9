// SPDX-License-Identifier: BSD-3-Clause
//
// short_read_test.cpp: a read that gives less than it was asked for is followed by another, but where the transport knows
// that nothing is left. What these tests send is there before the loop looks, so that no readiness comes for its rest.
#include "tests/net/support.hpp"
#include "tests/net/tls_support.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/pipe_io_stream.hpp>

#include <cstring>
#include <filesystem>
#include <sys/wait.h>

namespace squall {

namespace {

using namespace testing_support;

void set_option(int fd, int name) {
  const int on = 1;
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, name, &on, sizeof on), 0);
}

/// Sends `text` with a descriptor (SCM_RIGHTS, unix(7)).
void send_with_descriptor(int fd, std::string_view text) {
  const int handed = STDERR_FILENO;
  iovec piece{const_cast<char*>(text.data()), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof handed)] = {};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof handed);
  std::memcpy(CMSG_DATA(header), &handed, sizeof handed);
  ASSERT_EQ(::sendmsg(fd, &message, MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

void send(int fd, std::string_view text) {
  ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

/// Runs `write` in another process, which the system tells apart from this one.
template <class Write>
void in_another_process(Write write) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    write();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
}

class ShortReadTest : public testing::Test {
protected:
  /// A read that waits when `send` sends; then one readiness tells of all that it sends.
  template <class Send>
  void expect(IOStream stream, std::string_view bytes, Send send_all, ReadRequest request = ReadUntil{"\n"}) {
    TestRead read{stream, std::move(request)};
    run_turns(loop, 3);
    ASSERT_FALSE(read.answered());
    send_all();
    EXPECT_TRUE(run_until(loop, [&] { return read.answered(); }));
    EXPECT_EQ(read.text(), bytes);
    stream.forget_read(read);
  }
  EventLoop loop;
};

TEST_F(ShortReadTest, BytesBehindADescriptorAreRead) {
  for (const ReadRequest& request :
       std::vector<ReadRequest>{ReadUntil{"\n"}, ReadBytes{7}, ReadInto{MutableBytes{7}}, Peek{7}}) {
    auto [ours, theirs] = make_socket_pair();
    const auto send_all = [fd = theirs.fd()] {
      send_with_descriptor(fd, "abc");
      send(fd, "def\n");
    };
    expect(IOStream{loop, std::move(ours)}, "abcdef\n", send_all, request);
  }
}

TEST_F(ShortReadTest, BytesBehindSeveralDescriptorsAreRead) {
  auto [ours, theirs] = make_socket_pair();
  std::string expected;
  for (int i = 0; i < 20; ++i)
    expected += "ab";
  const auto send_all = [fd = theirs.fd()] {
    for (int i = 0; i < 20; ++i)
      send_with_descriptor(fd, "ab");
    send(fd, "c\n");
  };
  expect(IOStream{loop, std::move(ours)}, expected + "c\n", send_all);
}

/// Sends from two processes.
void send_from_two(int fd) {
  send(fd, "abc");
  in_another_process([fd] { static_cast<void>(::send(fd, "def\n", 4, MSG_NOSIGNAL)); });
}

TEST_F(ShortReadTest, BytesOfTwoWritersAreReadWithCredentials) {
  auto [ours, theirs] = make_socket_pair();
  set_option(ours.fd(), SO_PASSCRED);
  expect(IOStream{loop, std::move(ours)}, "abcdef\n", [fd = theirs.fd()] { send_from_two(fd); });
}

TEST_F(ShortReadTest, AConnectionInheritsCredentialsFromItsListeningSocket) {
  const std::string path =
      (std::filesystem::temp_directory_path() / ("squall-short-" + std::to_string(::getpid()))).string();
  const ListeningSocket listening = bind_unix_socket(path);
  set_option(listening.fd(), SO_PASSCRED); // as with systemd's PassCredentials=yes
  const Socket client = connect_to(listening);
  IOStream stream;
  const Acceptor acceptor{loop, listening, [&](Socket socket, const Endpoint&) {
                            stream = IOStream{loop, std::move(socket)};
                          }};
  ASSERT_TRUE(run_until(loop, [&] { return static_cast<bool>(stream); }));
  expect(stream, "abcdef\n", [fd = client.fd()] { send_from_two(fd); });
}

TEST_F(ShortReadTest, RecordsOfTwoWritersAreReadOverTLS) {
  auto [ours, theirs] = make_socket_pair();
  set_option(ours.fd(), SO_PASSCRED);
  RawTLS peer{std::move(theirs), TLSSide::client};
  const IOStream stream{loop, std::move(ours), server_context<TLSVersion::tls_1_3>()};
  ASSERT_TRUE(run_until(loop, [&] { return peer.shake() && stream.tls_info(); }));
  run_turns(loop, 3);
  peer.receive(); // the tickets
  expect(stream, "abcdef\n", [&] {
    EXPECT_EQ(peer.send_some("abc"), 3u);
    in_another_process([&] { static_cast<void>(peer.send_some("def\n")); });
  });
}

TEST_F(ShortReadTest, PacketsOfAPipeAreReadThoughItsReaderDoesNotKnowOfThem) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  Socket reading{ends[0]};
  const Socket writing{ends[1]};
  ASSERT_EQ(::fcntl(writing.fd(), F_SETFL, O_DIRECT | O_NONBLOCK), 0); // of this end only (pipe(2))
  expect(PipeIOStream{loop, std::move(reading)}, "abcdef\n", [&] {
    EXPECT_EQ(::write(writing.fd(), "abc", 3), 3);
    EXPECT_EQ(::write(writing.fd(), "def\n", 4), 4);
  });
}

TEST_F(ShortReadTest, NoPacketOfAPipeIsCutAtTheEndOfARead) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK | O_DIRECT), 0);
  Socket reading{ends[0]};
  const Socket writing{ends[1]};
  const std::string packet = pattern(3'000);
  std::string sent;
  for (int i = 0; i < 15; ++i) // the system keeps sixteen
    sent += packet;
  const auto send_all = [&] {
    for (int i = 0; i < 15; ++i)
      EXPECT_EQ(::write(writing.fd(), packet.data(), packet.size()), static_cast<ssize_t>(packet.size()));
  };
  StreamOptions options;
  options.read_chunk_size = 10'000; // no multiple of a packet
  expect(PipeIOStream{loop, std::move(reading), options}, sent, send_all, ReadBytes{sent.size()});
}

/// Gives a byte a read, and does not say whether that was all.
class OneByteTransport final : public Transport {
public:
  explicit OneByteTransport(Socket socket) : socket_{std::move(socket)} {}
  [[nodiscard]] int fileno() const noexcept override { return socket_.fd(); }
  void close_fd() noexcept override { socket_.reset(); }
  IoResult read_from_fd(char* buffer, std::size_t) noexcept override {
    const ssize_t count = ::recv(socket_.fd(), buffer, 1, 0);
    if (count > 0)
      return IoResult::moved(1);
    return count == 0 ? IoResult::ended() : IoResult::blocked();
  }
  IoResult write_to_fd(const IoSlice*, std::size_t) noexcept override { return IoResult::blocked(); }

private:
  Socket socket_;
};

TEST_F(ShortReadTest, ATransportThatSaysNothingIsReadUntilItGivesNothing) {
  auto [ours, theirs] = make_tcp_pair();
  const IOStream stream{loop, std::make_unique<OneByteTransport>(std::move(ours))};
  expect(stream, "abcdef\n", [fd = theirs.fd()] { send(fd, "abcdef\n"); });
}

} // namespace

} // namespace squall
