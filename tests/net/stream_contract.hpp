// SPDX-License-Identifier: BSD-3-Clause
//
// stream_contract.hpp: the ground of the tests that every transport must pass. A new transport adds one
// factory to stream_factories() and so joins them all.
#pragma once

#include "tests/net/duplex_pipe.hpp"
#include "tests/net/memory_transport.hpp"
#include "tests/net/support.hpp"
#include "tests/net/tls_support.hpp"

#include <array>
#include <csignal>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace squall::testing_support {

/// The other end of a stream's connection, moved by the test.
class Peer {
public:
  virtual ~Peer() = default;
  /// Sends at once as much as there is room for; returns how much.
  virtual std::size_t send_some(std::string_view data) = 0;
  /// Everything that has arrived; adds to `received`.
  virtual void receive() = 0;
  /// Ends its side; it can still receive.
  virtual void end() = 0;
  /// Ends both sides in an orderly way.
  virtual void close() = 0;
  /// Breaks the connection.
  virtual void reset() = 0;

  /// For what surely has room.
  void send(std::string_view data) { ASSERT_EQ(send_some(data), data.size()); }

  std::string received;
  bool saw_end = false;   ///< the stream ended its side
  bool saw_error = false; ///< the connection broke
};

/// A stream and the other end of its connection.
struct Link {
  IOStream stream;
  std::unique_ptr<Peer> peer;
};

struct StreamFactory {
  const char* name;
  Link (*make)(EventLoop& loop, const StreamOptions& options);
  /// Two streams that are connected to each other.
  std::pair<IOStream, IOStream> (*make_pair)(EventLoop& loop, const StreamOptions& options);
  bool shows_resets = true; ///< to a stream that reads; a pipe shows an end
};

inline std::ostream& operator<<(std::ostream& out, const StreamFactory& factory) {
  return out << factory.name;
}

class SocketPeer final : public Peer {
public:
  explicit SocketPeer(Socket socket) : socket_{std::move(socket)} {}

  std::size_t send_some(std::string_view data) override {
    std::size_t done = 0;
    while (done < data.size()) {
      const auto sent = ::send(socket_.fd(), data.data() + done, data.size() - done, MSG_NOSIGNAL);
      if (sent <= 0)
        break;
      done += static_cast<std::size_t>(sent);
    }
    return done;
  }
  void receive() override {
    std::array<char, 65536> buffer;
    for (;;) {
      const auto count = ::recv(socket_.fd(), buffer.data(), buffer.size(), 0);
      if (count < 0) {
        saw_error = saw_error || (errno != EAGAIN && errno != EINTR);
        return;
      }
      saw_end = saw_end || count == 0;
      if (count == 0)
        return;
      received.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }
  void end() override { ASSERT_EQ(::shutdown(socket_.fd(), SHUT_WR), 0); }
  void close() override { socket_.reset(); }
  void reset() override {
    // TCP: a close that does not linger resets. A unix socket breaks when it closes with unread bytes, or
    // else as seen by the stream's next write.
    const linger at_once{1, 0};
    ASSERT_EQ(::setsockopt(socket_.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    socket_.reset();
  }

private:
  Socket socket_;
};

class MemoryPeer final : public Peer {
public:
  explicit MemoryPeer(std::shared_ptr<MemoryConnection> connection) : connection_{std::move(connection)} {}

  std::size_t send_some(std::string_view data) override { return ours().send(data); }
  void receive() override {
    received += ours().take();
    saw_end = saw_end || ours().ended;
    saw_error = saw_error || ours().broken != 0;
  }
  void end() override { ours().end(); }
  void close() override { ours().close(); }
  void reset() override {
    ours().break_other(ECONNRESET);
    ours().close();
  }

private:
  MemoryEnd& ours() { return connection_->b; }
  std::shared_ptr<MemoryConnection> connection_;
};

class PipePeer final : public Peer {
public:
  explicit PipePeer(PipeEnds ends) : ends_{std::move(ends)} {
    ::signal(SIGPIPE, SIG_IGN);
  } // of its own writes

  std::size_t send_some(std::string_view data) override {
    std::size_t done = 0;
    while (done < data.size()) {
      const auto sent = ::write(ends_.out.fd(), data.data() + done, data.size() - done);
      if (sent <= 0)
        break;
      done += static_cast<std::size_t>(sent);
    }
    return done;
  }
  void receive() override {
    std::array<char, 65536> buffer;
    for (;;) {
      const auto count = ::read(ends_.in.fd(), buffer.data(), buffer.size());
      saw_end = saw_end || count == 0;
      if (count <= 0)
        return;
      received.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }
  void end() override { ends_.out.reset(); }
  void close() override { ends_ = PipeEnds{}; }
  void reset() override { close(); }

private:
  PipeEnds ends_;
};

class TLSPeer final : public Peer {
public:
  explicit TLSPeer(Socket socket) : raw{std::move(socket), TLSSide::client} {}

  std::size_t send_some(std::string_view data) override { return raw.send_some(data); }
  void receive() override {
    raw.receive();
    received += std::exchange(raw.received, {});
    saw_end = raw.saw_end;
    saw_error = raw.saw_error;
  }
  void end() override {
    raw.notify();
    ASSERT_EQ(::shutdown(raw.socket().fd(), SHUT_WR), 0);
  }
  void close() override {
    raw.notify();
    raw.socket().reset();
  }
  void reset() override {
    const linger at_once{1, 0};
    ASSERT_EQ(::setsockopt(raw.socket().fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    raw.socket().reset();
  }

  RawTLS raw;
};

/// The handshake is done, so that the tests begin with a connection as every other.
template <TLSVersion version>
Link link_tls(EventLoop& loop, const StreamOptions& options) {
  auto [ours, theirs] = make_tcp_pair();
  auto peer = std::make_unique<TLSPeer>(std::move(theirs));
  IOStream stream{loop, std::move(ours), server_context<version>(), options};
  EXPECT_TRUE(run_until(loop, [&] { return peer->raw.shake() && stream.tls_info(); }));
  peer->receive(); // the tickets
  return {std::move(stream), std::move(peer)};
}

template <TLSVersion version>
std::pair<IOStream, IOStream> pair_tls(EventLoop& loop, const StreamOptions& options) {
  auto [one, two] = make_tcp_pair();
  IOStream server{loop, std::move(one), server_context<version>(), options};
  IOStream client{loop, make_tls_transport(std::move(two), client_context<version>(), "localhost"), options};
  EXPECT_TRUE(run_until(loop, [&] { return server.connected() && client.connected(); }));
  return {std::move(server), std::move(client)};
}

inline Link link_pipes(EventLoop& loop, const StreamOptions& options) {
  auto [ours, theirs] = make_pipe_ends();
  return {IOStream{loop, std::make_unique<DuplexPipeTransport>(std::move(ours)), options},
          std::make_unique<PipePeer>(std::move(theirs))};
}

inline std::pair<IOStream, IOStream> pair_pipes(EventLoop& loop, const StreamOptions& options) {
  auto [one, two] = make_pipe_ends();
  return {IOStream{loop, std::make_unique<DuplexPipeTransport>(std::move(one)), options},
          IOStream{loop, std::make_unique<DuplexPipeTransport>(std::move(two)), options}};
}

inline Link link_memory(EventLoop& loop, const StreamOptions& options) {
  auto connection = std::make_shared<MemoryConnection>();
  auto transport = std::make_unique<MemoryTransport>(connection, connection->a);
  return {IOStream{loop, std::move(transport), options}, std::make_unique<MemoryPeer>(connection)};
}

inline std::pair<IOStream, IOStream> pair_memory(EventLoop& loop, const StreamOptions& options) {
  auto connection = std::make_shared<MemoryConnection>();
  return {IOStream{loop, std::make_unique<MemoryTransport>(connection, connection->a), options},
          IOStream{loop, std::make_unique<MemoryTransport>(connection, connection->b), options}};
}

template <std::pair<Socket, Socket> (*make_sockets)()>
Link link_sockets(EventLoop& loop, const StreamOptions& options) {
  auto [ours, theirs] = make_sockets();
  return {IOStream{loop, std::move(ours), options}, std::make_unique<SocketPeer>(std::move(theirs))};
}

template <std::pair<Socket, Socket> (*make_sockets)()>
std::pair<IOStream, IOStream> pair_sockets(EventLoop& loop, const StreamOptions& options) {
  auto [one, two] = make_sockets();
  return {IOStream{loop, std::move(one), options}, IOStream{loop, std::move(two), options}};
}

inline std::vector<StreamFactory> stream_factories() {
  return {{"Memory", &link_memory, &pair_memory},
          {"Tcp", &link_sockets<&make_tcp_pair>, &pair_sockets<&make_tcp_pair>},
          {"Unix", &link_sockets<&make_socket_pair>, &pair_sockets<&make_socket_pair>},
          {"Pipe", &link_pipes, &pair_pipes, false},
          {"Tls12", &link_tls<TLSVersion::tls_1_2>, &pair_tls<TLSVersion::tls_1_2>},
          {"Tls13", &link_tls<TLSVersion::tls_1_3>, &pair_tls<TLSVersion::tls_1_3>}};
}

/// A test that runs for every transport, with one linked stream.
class StreamTest : public testing::TestWithParam<StreamFactory> {
protected:
  Link make_link(const StreamOptions& options = {}) { return GetParam().make(loop, options); }

  /// Replaces the stream of the test by one with these options.
  void relink(const StreamOptions& options) {
    link = Link{};
    link = make_link(options);
  }

  [[nodiscard]] bool run_until(const std::function<bool()>& predicate) {
    return testing_support::run_until(loop, predicate);
  }

  [[nodiscard]] bool shows_resets() const { return GetParam().shows_resets; }

  /// Waits for a read or a write.
  template <class Operation>
  void await(Operation& operation) {
    ASSERT_TRUE(run_until([&] { return operation.answered(); }));
  }

  /// Writes so much that megabytes stay unsent as long as the peer does not read; returns what was written.
  /// No transport of these tests takes more than half of it.
  std::string fill_connection() {
    const std::string written = pattern(4 * 1024 * 1024);
    static_cast<void>(stream().write(Bytes{written}));
    run_turns(loop, 20);
    EXPECT_GT(stream().unsent_size(), written.size() / 2);
    return written;
  }

  IOStream& stream() { return link.stream; }
  Peer& peer() { return *link.peer; }

  ManualClock clock;
  EventLoop loop{&clock};
  Link link = make_link();
};

} // namespace squall::testing_support

/// Runs the tests of `suite`, a class derived from StreamTest, for every transport.
#define SQUALL_STREAM_CONTRACT(suite)                                                                        \
  INSTANTIATE_TEST_SUITE_P(Transports, suite,                                                                \
                           testing::ValuesIn(squall::testing_support::stream_factories()),                   \
                           [](const auto& tested) { return tested.param.name; })
