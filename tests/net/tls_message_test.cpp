// SPDX-License-Identifier: BSD-3-Clause
//
// tls_message_test.cpp: messages of TLS that come between the bytes of the application, and where they come across them: new
// keys, tickets.
#include "net/tls_idle_records.hpp"
#include "tests/net/tls_fixture.hpp"

#include <numeric>

namespace squall {

namespace {

using namespace testing_support;

class KeyUpdate : public TLSTest {
protected:
  /// Over a unix socket, whose room is exact; `filler` may send past the stream.
  struct Exact {
    ToClient both;
    Socket filler;
    std::size_t filled = 0;

    void fill() {
      const std::string junk(4096, 'j');
      for (const std::size_t size : {4096U, 64U, 1U})
        for (ssize_t sent; (sent = ::send(filler.fd(), junk.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
          filled += static_cast<std::size_t>(sent);
    }
    /// Takes out what fill() has put in.
    void drain() {
      std::string junk(65536, '\0');
      while (filled > 0) {
        const ssize_t got =
            ::recv(both.peer->socket().fd(), junk.data(), std::min(filled, junk.size()), MSG_DONTWAIT);
        ASSERT_GT(got, 0);
        filled -= static_cast<std::size_t>(got);
      }
    }
  };
  Exact serve_exactly() {
    auto [ours, theirs] = make_socket_pair();
    Socket filler{::fcntl(ours.fd(), F_DUPFD_CLOEXEC, 0)};
    Exact exact{{IOStream{loop, make_tls_transport(std::move(ours), server_context<TLSVersion::tls_1_3>())},
                 std::make_unique<RawTLS>(std::move(theirs), TLSSide::client)},
                std::move(filler)};
    shake(exact.both);
    return exact;
  }
  /// The stream has read that it is to answer with new keys of its own, and has not yet.
  void ask_for_new_keys(Exact& exact, TestRead& read) {
    read.start(exact.both.stream, ReadBytes{1});
    ASSERT_EQ(SSL_key_update(exact.both.peer->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    ASSERT_EQ(SSL_do_handshake(exact.both.peer->ssl()), 1);
    run_turns(loop);
  }
};

TEST_F(KeyUpdate, IsAnsweredBetweenTheBytes) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  std::string expected;
  TestRead read{both.stream, ReadUntil{"\n"}};
  for (int i = 0; i < max_idle_records; ++i) {
    ASSERT_EQ(SSL_key_update(both.peer->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
    both.peer->send_some("x");
    static_cast<void>(both.stream.write(Bytes{"y"}));
    run_turns(loop, 2);
    both.peer->receive();
  }
  both.peer->send_some("\n");
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return read.answered() && both.peer->received.size() == max_idle_records;
  }));
  EXPECT_EQ(read.text(), std::string(max_idle_records, 'x') + "\n");
}

TEST_F(KeyUpdate, WaitsForRoomAndGoesOnWhenThereIs) {
  auto both = serve(server_context<TLSVersion::tls_1_3>());
  shake(both);
  const std::string data = pattern(4 * 1024 * 1024);
  static_cast<void>(both.stream.write(Bytes{data}));
  run_turns(loop, 20); // the connection is full
  TestRead read{both.stream, ReadUntil{"\n"}};
  ASSERT_EQ(SSL_key_update(both.peer->ssl(), SSL_KEY_UPDATE_REQUESTED), 1);
  both.peer->send_some("behind the new key\n");
  run_turns(loop);
  ASSERT_TRUE(run_until([&] {
    both.peer->receive();
    return read.answered() && both.peer->received.size() == data.size();
  }));
  EXPECT_EQ(read.text(), "behind the new key\n");
  EXPECT_EQ(both.peer->received, data);
}

/// The answer to a KeyUpdate comes first: while it waits for room OpenSSL has none of the bytes yet, so it must get those
/// that are queued when there is room, and no others.
TEST_F(KeyUpdate, ItsAnswerWaitsWithBytesThatAreDroppedMeanwhile) {
  auto one = serve_exactly();
  auto other = serve_exactly();
  TestRead read;
  ask_for_new_keys(one, read);
  one.fill();
  one.filler.reset();
  TestWrite kept;
  const auto early = one.both.stream.start_paced_write(Bytes{"answered"}, kept);
  ASSERT_TRUE(early && *early) << "the stream answers for these bytes";
  static_cast<void>(one.both.stream.write(Bytes{std::string(8000, 'd')}));
  one.both.stream.close();                                                   // drops the others
  static_cast<void>(other.both.stream.write(Bytes{std::string(4000, 'S')})); // secrets of somebody else
  static_cast<void>(other.both.stream.write(Bytes{std::string(6000, 'T')}));
  run_turns(loop);
  one.drain();
  ASSERT_TRUE(run_until([&] {
    one.both.peer->receive();
    other.both.peer->receive();
    return (one.both.peer->saw_end || one.both.peer->saw_error) && other.both.peer->received.size() == 10'000;
  }));
  EXPECT_EQ(one.both.peer->received, "answered");
}

TEST_F(KeyUpdate, ItsAnswerComesBeforeCloseNotify) {
  auto exact = serve_exactly();
  TestRead read;
  ask_for_new_keys(exact, read);
  exact.fill();
  exact.both.stream.close();
  exact.filler.reset();
  run_turns(loop);
  exact.drain();
  ASSERT_TRUE(run_until([&] {
    exact.both.peer->receive();
    return exact.both.peer->saw_end || exact.both.peer->saw_error;
  }));
  EXPECT_TRUE(exact.both.peer->saw_end);
}

/// What carries no bytes may be more than a turn's share; nobody reads, and nothing else happens.
TEST_F(KeyUpdate, AnEndBehindManyIsNoticedWithoutAReader) {
  auto exact = serve_exactly();
  exact.filler.reset();
  bool told = false;
  exact.both.stream.set_close_callback([&] { told = true; }, EndNotice::at_once);
  SSL* const ssl = exact.both.peer->ssl();
  BIO* const memory = BIO_new(BIO_s_mem());
  BIO_up_ref(memory);
  const MemoryBio keep{memory};
  SSL_set0_wbio(ssl, memory);
  for (int i = 0; i < 5000; ++i) {
    SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED);
    ASSERT_EQ(SSL_do_handshake(ssl), 1);
  }
  const std::string flood = text_of(keep);
  ASSERT_GT(flood.size(), 100'000U);
  ASSERT_EQ(::send(exact.both.peer->socket().fd(), flood.data(), flood.size(), MSG_DONTWAIT | MSG_NOSIGNAL),
            static_cast<ssize_t>(flood.size()));
  exact.both.peer->socket().reset();
  EXPECT_TRUE(run_until([&] { return told; }));
}

/// A ticket that comes in several records, and a line of the application behind it.
class Ticket : public TLSTest {
protected:
  Ticket() : peer_{nullptr} {
    auto [ours, theirs] = make_socket_pair();
    peer_ = std::make_unique<RawTLS>(std::move(theirs), TLSSide::server, &test_server());
    SSL_CTX_set_session_ticket_cb(
        peer_->ctx(),
        [](SSL* ssl, void*) {
          const std::string large(1500, 't');
          return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), large.data(), large.size());
        },
        nullptr, nullptr);
    SSL_set_num_tickets(peer_->ssl(), 0);
    SSL_set_max_send_fragment(peer_->ssl(), 512);
    stream_ = IOStream{
        loop, make_tls_transport(std::move(ours), client_context<TLSVersion::tls_1_3>(), "localhost")};
    TestWait done{stream_, StreamEvent::handshaken};
    EXPECT_TRUE(run_until([&] { return peer_->shake() && done.answered(); }));
    make_messages();
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(peer_->socket().fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  std::unique_ptr<RawTLS> peer_;
  IOStream stream_;
  std::string first_record_; ///< a part of the ticket
  std::string rest_;         ///< of it, and "line\n"

private:
  void make_messages() {
    SSL* const ssl = peer_->ssl();
    BIO* const memory = BIO_new(BIO_s_mem());
    BIO_up_ref(memory);
    const MemoryBio keep{memory};
    BIO* const socket = SSL_get_wbio(ssl);
    BIO_up_ref(socket);
    SSL_set0_wbio(ssl, memory);
    SSL_new_session_ticket(ssl);
    EXPECT_EQ(SSL_do_handshake(ssl), 1);
    EXPECT_EQ(SSL_write(ssl, "line\n", 5), 5);
    SSL_set0_wbio(ssl, socket);
    rest_ = text_of(keep);
    const auto byte = [&](std::size_t at) {
      return static_cast<std::size_t>(static_cast<unsigned char>(rest_.at(at)));
    };
    const std::size_t size = 5 + (byte(3) << 8U | byte(4));
    first_record_ = rest_.substr(0, size);
    rest_.erase(0, size);
  }
};

TEST_F(Ticket, InHalvesHoldsAWriteUpUntilItIsWhole) {
  TestRead read{stream_, ReadUntil{"\n"}};
  send(first_record_);
  run_turns(loop);
  TestWrite write{stream_, Bytes{"hello\n"}};
  run_turns(loop);
  EXPECT_FALSE(write.answered()) << "it waits for bytes of the peer";
  send(rest_);
  ASSERT_TRUE(run_until([&] {
    peer_->receive();
    return write.answered() && read.answered();
  }));
  EXPECT_EQ(read.text(), "line\n");
  EXPECT_EQ(peer_->received, "hello\n");
}

/// The write itself takes the rest of the ticket from the socket, and the line with it.
TEST_F(Ticket, AWriteThatReceivesBytesDoesNotHideThem) {
  TestRead read{stream_, ReadUntil{"\n"}};
  send(first_record_);
  run_turns(loop);
  TestWrite write;
  loop.post([&] {
    send(rest_);
    static_cast<void>(stream_.start_write(Bytes{"hello\n"}, write));
  });
  ASSERT_TRUE(run_until([&] { return write.answered() && read.answered(); }));
  EXPECT_EQ(read.text(), "line\n");
}

} // namespace

} // namespace squall
