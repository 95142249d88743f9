// SPDX-License-Identifier: BSD-3-Clause
//
// tls_listener_test.cpp: listeners that speak TLS, and the change of their certificates while they run.
#include "tests/actors/tls_client.hpp"

#include <atomic>
#include <fstream>
#include <thread>
#include <unistd.h>

namespace squall::actor_tests {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool under_sanitizer = true;
#else
constexpr bool under_sanitizer = false;
#endif

Task<> echo(IOStream stream, Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

class TLSListenerTest : public ActorTest {
protected:
  TLSListenerTest() { folder_.issue_for("first"); }

  TLSContext context_from_files() {
    return TLSContext{tls_server_options(folder_.certificate(), folder_.key())};
  }
  static TLSContext context_of(const std::string& name) {
    return TLSContext{testing_support::server_options(issue({.common_name = name}, &test_authority()))};
  }
  Endpoint listen_tls(Handler handler, const TLSContext& context) {
    listener_ = io_->spawn_listener(std::move(handler), {.accept = {context}});
    quiet_count_ = system_.registry().running();
    return listen_with(listener_);
  }
  static std::string name_at(const Endpoint& server) { return TLSClient{server}.server_name(); }

  PemFolder folder_;
};

TEST_F(TLSListenerTest, AWholeListenerSpeaksTls) {
  const Endpoint server = listen_tls(echo, context_from_files());
  TLSClient client{server};
  ASSERT_TRUE(client.connected());
  EXPECT_EQ(client.server_name(), "first");
  EXPECT_EQ(client.ask("hello\n"), "hello\n");
}

TEST_F(TLSListenerTest, ASocketMaySpeakTlsBesideOneThatDoesNot) {
  listener_ = io_->spawn_listener(echo);
  const Endpoint plain = listen_with(listener_);
  const auto sockets = bind_sockets(0, "127.0.0.1");
  ASSERT_TRUE(ask<Listening>(listener_, AddSockets{sockets, AcceptOptions{context_from_files()}}));
  Client client{plain};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
  EXPECT_EQ(TLSClient{sockets[0].local_endpoint()}.ask("hello\n"), "hello\n");
}

TEST_F(TLSListenerTest, ASocketMaySpeakPlainlyInAListenerOfTls) {
  listen_tls(echo, context_from_files());
  const auto sockets = bind_sockets(0, "127.0.0.1");
  ASSERT_TRUE(ask<Listening>(listener_, AddSocket{sockets[0], AcceptOptions{}}));
  Client client{sockets[0].local_endpoint()};
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
}

TEST_F(TLSListenerTest, RefusesTheContextOfAClient) {
  const TLSContext client{insecure_tls_client_options()};
  EXPECT_THROW(static_cast<void>(io_->spawn_listener(echo, {.accept = {client}})), std::invalid_argument);
  listener_ = io_->spawn_listener(echo);
  const auto refused =
      ask<Listening>(listener_, AddSockets{bind_sockets(0, "127.0.0.1"), AcceptOptions{client}});
  EXPECT_FALSE(refused);
  EXPECT_NE(error_text(refused.error).find("client"), std::string::npos) << error_text(refused.error);
  EXPECT_TRUE(info().endpoints.empty());
}

TEST_F(TLSListenerTest, TheHandlerStartsBeforeTheHandshakeAndCanWaitForIt) {
  std::atomic<int> started{0};
  std::promise<std::optional<TLSInfo>> before;
  std::promise<std::optional<TLSInfo>> after;
  const Endpoint server = listen_tls(
      [&](IOStream stream, Endpoint) -> Task<> {
        before.set_value(stream.tls_info());
        ++started;
        co_await stream.wait_for_handshake();
        co_await stream.wait_for_handshake();
        after.set_value(stream.tls_info());
      },
      context_from_files());
  Client silent{server};
  ASSERT_TRUE(wait_until([&] { return started == 1; }));
  EXPECT_FALSE(before.get_future().get());
  TLSClient client{std::move(silent)};
  const auto info = after.get_future().get();
  ASSERT_TRUE(info);
  EXPECT_EQ(info->version, "TLSv1.3");
}

TEST_F(TLSListenerTest, AStalledOrBrokenHandshakeHoldsUpNobody) {
  const LogRecorder log;
  const Endpoint server = listen_tls(echo, context_from_files());
  Client stalled{server};
  stalled.send("\x16\x03\x01"); // the head of a record
  Client broken{server};
  broken.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(TLSClient{server}.ask("hello\n"), "hello\n");
  broken.receive_all(); // nothing, and the end
  wait_until([&] { return info().connection_count == 1; });
  EXPECT_EQ(log.count("tls_failed"), 1U);
  EXPECT_EQ(info().failed_count, 0U) << "no handler is to blame";
}

TEST_F(TLSListenerTest, AHandshakeThatTakesTooLongEnds) {
  TLSOptions options = tls_server_options(folder_.certificate(), folder_.key());
  options.handshake_timeout = 1ms;
  const Endpoint server = listen_tls(echo, TLSContext{options});
  Client silent{server};
  EXPECT_TRUE(silent.at_end());
  wait_for_quiet();
}

TEST_F(TLSListenerTest, WeakSpot31ReloadReadsTheFilesAgain) {
  const Endpoint server = listen_tls(echo, context_from_files());
  TLSClient before{server};
  folder_.issue_for("second");
  ASSERT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(name_at(server), "second");
  EXPECT_EQ(before.ask("still here\n"), "still here\n");
  EXPECT_EQ(before.server_name(), "first");
}

TEST_F(TLSListenerTest, WhatWasReloadedCanBeReplacedByTheContextThatItCameFrom) {
  const TLSContext original = context_from_files();
  const Endpoint server = listen_tls(echo, original);
  folder_.issue_for("second");
  ASSERT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  ASSERT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  ASSERT_TRUE(ask<Done>(listener_, ReplaceTLS{original, context_of("third")}));
  EXPECT_EQ(name_at(server), "third");
  EXPECT_FALSE(ask<Done>(listener_, ReplaceTLS{original, context_of("fourth")}))
      << "it is not in use any more";
}

TEST_F(TLSListenerTest, AReloadIsToldWhereThereIsSomethingToReload) {
  const LogRecorder log;
  listener_ = io_->spawn_listener(echo);
  listen_with(listener_);
  EXPECT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(log.count("tls_reloaded"), 0U);
  const auto sockets = bind_sockets(0, "127.0.0.1");
  ASSERT_TRUE(ask<Listening>(listener_, AddSockets{sockets, AcceptOptions{context_from_files()}}));
  EXPECT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(log.count("tls_reloaded"), 1U);
}

TEST_F(TLSListenerTest, ReloadReadsTheFilesOfNamesToo) {
  PemFolder other;
  other.issue_for("other first");
  TLSOptions options = tls_server_options(folder_.certificate(), folder_.key());
  options.server_names = {
      {"other.example", TLSContext{tls_server_options(other.certificate(), other.key())}}};
  const TLSContext reloaded = TLSContext{options}.reload();
  EXPECT_TRUE(reloaded);
  const Endpoint server = listen_tls(echo, TLSContext{options});
  other.issue_for("other second");
  ASSERT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ((TLSClient{server, nullptr, "other.example"}.server_name()), "other second");
  EXPECT_EQ(name_at(server), "first");
}

TEST_F(TLSListenerTest, WeakSpot31ABrokenPairLeavesTheOldOneInUse) {
  const Endpoint server = listen_tls(echo, context_from_files());
  const auto expect_refused = [&](const std::string& part) {
    const auto refused = ask<Done>(listener_, ReloadTLS{});
    EXPECT_FALSE(refused);
    EXPECT_EQ(refused.error.category(), caf::atom("squall-lis"));
    EXPECT_EQ(static_cast<ListenerErrc>(refused.error.code()), ListenerErrc::cannot_reload);
    EXPECT_NE(error_text(refused.error).find(part), std::string::npos) << error_text(refused.error);
    EXPECT_EQ(name_at(server), "first");
  };
  const Identity other = issue({.common_name = "other"}, &test_authority());
  folder_.write(folder_.certificate(), other.certificate_pem());
  expect_refused("does not belong to");
  folder_.write(folder_.certificate(), "-----BEGIN CERTIFICATE-----\nrubbish\n");
  expect_refused(folder_.certificate());
  std::filesystem::remove(folder_.certificate());
  expect_refused("No such file");
  folder_.issue_for("second");
  ASSERT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(name_at(server), "second");
}

TEST_F(TLSListenerTest, AReloadIsOfAllSocketsOrOfNone) {
  PemFolder other;
  other.issue_for("other first");
  const Endpoint server = listen_tls(echo, context_from_files());
  const auto sockets = bind_sockets(0, "127.0.0.1");
  const TLSContext of_other{tls_server_options(other.certificate(), other.key())};
  ASSERT_TRUE(ask<Listening>(listener_, AddSockets{sockets, AcceptOptions{of_other}}));
  folder_.issue_for("second");
  other.write(other.key(), "rubbish");
  EXPECT_FALSE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(name_at(server), "first");
  other.issue_for("other second");
  EXPECT_TRUE(ask<Done>(listener_, ReloadTLS{}));
  EXPECT_EQ(name_at(server), "second");
  EXPECT_EQ(name_at(sockets[0].local_endpoint()), "other second");
}

TEST_F(TLSListenerTest, ReplacePutsAContextInThePlaceOfAnother) {
  const TLSContext first = context_of("first");
  const Endpoint server = listen_tls(echo, first);
  const auto sockets = bind_sockets(0, "127.0.0.1");
  ASSERT_TRUE(ask<Listening>(listener_, AddSockets{sockets, AcceptOptions{context_of("untouched")}}));
  ASSERT_TRUE(ask<Done>(listener_, ReplaceTLS{first, context_of("second")}));
  EXPECT_EQ(name_at(server), "second");
  EXPECT_EQ(name_at(sockets[0].local_endpoint()), "untouched");
  EXPECT_EQ(name_at(listen_with(listener_)), "second") << "also of sockets that are added later";
  EXPECT_FALSE(ask<Done>(listener_, ReplaceTLS{first, context_of("third")})) << "no longer used";
  EXPECT_FALSE(ask<Done>(listener_, ReplaceTLS{first, TLSContext{insecure_tls_client_options()}}));
  EXPECT_FALSE(ask<Done>(listener_, ReplaceTLS{}));
}

/// Bytes of the process in memory.
std::size_t resident_size() {
  std::size_t pages = 0;
  std::ifstream{"/proc/self/statm"} >> pages >> pages; // the second number
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Reloads while two threads of clients connect: whoever comes gets one certificate or the other, and nothing stays behind.
TEST_F(TLSListenerTest, AThousandReloadsUnderLoadFailNoHandshakeAndKeepNoMemory) {
  constexpr int reloads = under_sanitizer ? 100 : 1000; // sanitizers make them five times slower
  constexpr int least_served = 50;
  constexpr int settled = reloads / 5; // until then pools and caches grow
  constexpr std::size_t slack =
      2U << 20U; // of allocators; a context takes some 20 KiB, so that 100 that stay show
  const Endpoint server = listen_tls(echo, context_from_files());
  std::atomic<bool> over{false};
  std::atomic<int> served{0};
  std::atomic<int> failed{0};
  const auto connect_on = [&] {
    while (!over)
      (TLSClient{server}.ask("hello\n") == "hello\n" ? served : failed)++;
  };
  std::thread one{connect_on};
  std::thread two{connect_on};
  std::size_t before = 0;
  int done = 0;
  for (; (done < reloads || served < least_served) && failed == 0; ++done) {
    if (done == settled)
      before = resident_size();
    if (!ask<Done>(listener_, ReloadTLS{}))
      break;
  }
  const std::size_t after = resident_size();
  over = true;
  one.join();
  two.join();
  EXPECT_EQ(failed, 0);
  EXPECT_GE(done, reloads);
  EXPECT_GE(served, least_served);
  if (!under_sanitizer) { // which keep freed memory
    EXPECT_LT(after, before + slack);
  }
}

TEST_F(TLSListenerTest, AServerObjectReloads) {
  TCPServer server{Handler{echo}, {.io_threads = 1, .accept = {context_from_files()}}};
  server.reload_tls(); // nothing listens yet: harmless
  const Endpoint endpoint = server.listen(0, "127.0.0.1").front();
  EXPECT_EQ(name_at(endpoint), "first");
  folder_.issue_for("second");
  server.reload_tls();
  EXPECT_EQ(name_at(endpoint), "second");
  folder_.write(folder_.key(), "rubbish");
  EXPECT_THROW(server.reload_tls(), std::runtime_error);
  EXPECT_EQ(name_at(endpoint), "second");
}

// -- by messages

/// Both ends of a connection as stream actors.
class TLSStreamTest : public ActorTest {
protected:
  struct Ends {
    StreamActor server;
    StreamActor client;
  };
  Ends connect() {
    const ListeningSocket listening = bind_sockets(0, "127.0.0.1").front();
    const StreamActor client = io_->spawn_stream();
    EXPECT_TRUE(ask<Done>(client, Connect{listening.local_endpoint()}));
    int accepted = -1;
    wait_until([&] { return (accepted = ::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0; });
    return {io_->spawn_stream(checked_socket(accepted, "accept4"), {"127.0.0.1", 4711, AddressFamily::ipv4}),
            client};
  }
  void close(const Ends& ends) {
    ask<Done>(ends.server, Close{});
    ask<Done>(ends.client, Close{});
  }

  TLSContext server_ = TLSContext{testing_support::server_options()};
  TLSContext client_ = TLSContext{testing_support::client_options()};
};

TEST_F(TLSStreamTest, StartTLSTurnsBothEndsInPlace) {
  const Ends ends = connect();
  ASSERT_TRUE(ask<Done>(ends.client, Write{"STARTTLS\r\n"}));
  EXPECT_EQ(text(ask<Bytes>(ends.server, ReadUntil{"\r\n"})), "STARTTLS\r\n");
  const auto accepted = begin(ends.server, StartTLS{true, server_});
  const auto begun = begin(ends.client, StartTLS{false, client_, "localhost"});
  EXPECT_TRUE(take<TLSInfo>(accepted));
  const auto info = take<TLSInfo>(begun);
  ASSERT_TRUE(info) << error_text(info.error);
  EXPECT_EQ(info.value->version, "TLSv1.3");
  ASSERT_FALSE(info.value->peer_certificates.empty());
  EXPECT_EQ(info.value->peer_certificates[0].subject, "CN=server");
  ASSERT_TRUE(ask<Done>(ends.client, Write{"secret\n"}));
  EXPECT_EQ(text(ask<Bytes>(ends.server, ReadUntil{"\n"})), "secret\n");
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(ask<TLSInfo>(ends.client, AwaitHandshake{}).value.value_or(TLSInfo{}), *info.value);
  close(ends);
}

TEST_F(TLSStreamTest, AwaitHandshakeOnAPlainStreamIsAnsweredAtOnce) {
  const Ends ends = connect();
  const auto info = ask<TLSInfo>(ends.client, AwaitHandshake{});
  ASSERT_TRUE(info);
  EXPECT_EQ(info.value->version, "");
  close(ends);
}

TEST_F(TLSStreamTest, AFailedHandshakeIsToldToEveryoneWhoWaitsAndLater) {
  const LogRecorder log;
  const Ends ends = connect();
  const auto server = begin(ends.server, StartTLS{true, server_});
  const auto client = begin(ends.client, StartTLS{false, client_, "other.example"});
  const auto waits = begin(ends.client, AwaitHandshake{});
  EXPECT_EQ(take<TLSInfo>(server).reason(), CloseReason::tls_failed);
  const auto refused = take<TLSInfo>(client);
  EXPECT_EQ(refused.reason(), CloseReason::tls_failed);
  ASSERT_TRUE(refused.stream());
  EXPECT_EQ(refused.stream()->real_error.category(), tls_category()) << "it travels in the message";
  EXPECT_EQ(refused.stream()->real_error.message(), "hostname mismatch");
  EXPECT_EQ(take<TLSInfo>(waits).reason(), CloseReason::tls_failed);
  EXPECT_EQ(ask<TLSInfo>(ends.client, AwaitHandshake{}).reason(), CloseReason::tls_failed);
}

TEST_F(TLSStreamTest, AwaitHandshakeGivesUpAfterItsTimeout) {
  const Ends ends = connect();
  const auto waiting = begin(ends.server, StartTLS{true, server_});
  EXPECT_EQ(ask<TLSInfo>(ends.server, AwaitHandshake{1ms}).code(), StreamErrc::timed_out);
  close(ends);
  EXPECT_EQ(take<TLSInfo>(waiting).code(), StreamErrc::closed);
}

TEST_F(TLSStreamTest, StartTLSIsRefusedWhileAReceiverHasAChunk) {
  const Ends ends = connect();
  std::promise<void> got;
  const caf::actor receiver = system_.spawn([&got](caf::event_based_actor* own) {
    auto kept = std::make_shared<caf::response_promise>();
    return caf::behavior{[&got, own, kept](const Chunk&) {
      *kept = own->make_response_promise();
      got.set_value();
      return *kept;
    }};
  });
  const auto chunks = begin(ends.server, SendChunks{{}, receiver});
  ASSERT_TRUE(ask<Done>(ends.client, Write{"x"}));
  got.get_future().wait();
  EXPECT_EQ(ask<TLSInfo>(ends.server, StartTLS{true, server_}).code(), StreamErrc::not_idle);
  ask<Done>(ends.server, CancelRead{});
  EXPECT_EQ(take<Done>(chunks).code(), StreamErrc::cancelled);
  caf::anon_send_exit(receiver, caf::exit_reason::kill);
  close(ends);
}

TEST_F(TLSStreamTest, AClientActorConnectsByTls) {
  listener_ = io_->spawn_listener(echo, {.accept = {server_}});
  const Endpoint server = listen_with(listener_);
  const StreamActor stream = io_->spawn_stream(client_);
  ASSERT_TRUE(ask<Done>(stream, Connect{server, "localhost"}));
  ASSERT_TRUE(ask<Done>(stream, Write{"hello\n"}));
  EXPECT_EQ(text(ask<Bytes>(stream, ReadUntil{"\n"})), "hello\n");
  ask<Done>(stream, Close{});
  EXPECT_THROW(static_cast<void>(io_->spawn_stream(server_)), std::invalid_argument);
}

} // namespace

} // namespace squall::actor_tests
