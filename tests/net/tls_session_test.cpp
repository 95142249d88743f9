// SPDX-License-Identifier: BSD-3-Clause
//
// tls_session_test.cpp: which handshakes resume a session, and which must not.
#include "net/tls_sessions.hpp"
#include "net/tls_ticket_keys.hpp"
#include "tests/net/tls_fixture.hpp"

#include <cstdlib>
#include <ctime>
#include <thread>

namespace squall {

namespace {

using namespace testing_support;

using RawSession = std::unique_ptr<SSL_SESSION, Frees<&SSL_SESSION_free>>;

const Identity& many_names() {
  static const Identity server = issue(
      {.common_name = "server", .dns_names = {"localhost", "other", "*.many.example"}}, &test_authority());
  return server;
}

/// A server and a client of Squall; each connection is a new one.
class Resumption : public TLSTest, public testing::WithParamInterface<TLSVersion> {
protected:
  struct Both {
    IOStream server;
    IOStream client;
  };
  /// Over a unix socket, which has no port: only the name says whose the session is.
  Both begin(const TLSContext& of_server, const TLSContext& of_client,
             const std::string& name = "localhost") {
    auto [ours, theirs] = make_socket_pair();
    return {IOStream{loop, std::move(ours), of_server},
            IOStream{loop, make_tls_transport(std::move(theirs), of_client, name)}};
  }
  /// Both ends know how it ended, and the client has its tickets, which come before a byte of the server.
  void finish(Both& both) {
    TestWait at_server{both.server, StreamEvent::handshaken};
    TestWait at_client{both.client, StreamEvent::handshaken};
    ASSERT_TRUE(run_until([&] { return at_server.answered() && at_client.answered(); }));
    if (!at_server.succeeded())
      return;
    static_cast<void>(both.server.write(Bytes{"x"}));
    TestRead read{both.client, ReadBytes{1}};
    ASSERT_TRUE(run_until([&] { return read.answered(); }));
  }
  /// Whether a connection resumed a session; both ends have to agree.
  bool resumes(const TLSContext& of_server, const TLSContext& of_client,
               const std::string& name = "localhost") {
    auto both = begin(of_server, of_client, name);
    finish(both);
    const auto info = both.client.tls_info();
    EXPECT_TRUE(info) << to_string(both.client.error());
    if (!info)
      return false;
    EXPECT_EQ(both.server.tls_info()->resumed, info->resumed);
    EXPECT_EQ(both.server.tls_info()->server_name, name) << "also when it is resumed";
    EXPECT_EQ(info->version, GetParam() == TLSVersion::tls_1_2 ? "TLSv1.2" : "TLSv1.3");
    EXPECT_EQ(info->peer_certificates.size(), 1U) << "known also when it was not sent again";
    return info->resumed;
  }
  [[nodiscard]] TLSContext server_of(const Identity& identity = many_names()) const {
    return context_of(server_options(identity), GetParam());
  }
  static std::size_t sessions_of(const TLSContext& of_client) {
    return TLSContextState::of(of_client).sessions->size();
  }

  TLSContext server = server_of();
  TLSContext client{client_options()};
};
INSTANTIATE_TEST_SUITE_P(Versions, Resumption, testing::Values(TLSVersion::tls_1_2, TLSVersion::tls_1_3),
                         [](const auto& tested) {
                           return tested.param == TLSVersion::tls_1_2 ? "Tls12" : "Tls13";
                         });

TEST_P(Resumption, IsOfTheSecondConnectionAndAllBehindIt) {
  EXPECT_FALSE(resumes(server, client));
  for (int i = 0; i < 5; ++i)
    EXPECT_TRUE(resumes(server, client));
}

TEST_P(Resumption, OffersEachSessionOnceAtATime) {
  EXPECT_FALSE(resumes(server, client));
  const std::size_t kept = sessions_of(client);
  EXPECT_EQ(kept, GetParam() == TLSVersion::tls_1_2 ? 1U : 2U);
  std::vector<Both> all;
  std::vector<Socket> sockets;
  for (int i = 0; i < 4; ++i) {
    auto [ours, theirs] = make_socket_pair();
    sockets.push_back(std::move(ours));
    all.push_back({IOStream{}, IOStream{loop, make_tls_transport(std::move(theirs), client, "localhost")}});
  }
  run_turns(loop, 2); // all have sent their ClientHello
  EXPECT_EQ(sessions_of(client), 0U);
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i].server = IOStream{loop, std::move(sockets[i]), server};
  std::size_t resumed = 0;
  for (Both& both : all) {
    finish(both);
    resumed += both.client.tls_info()->resumed ? 1U : 0U;
  }
  EXPECT_EQ(resumed, kept);
}

TEST_P(Resumption, IsNeverOfAnotherName) {
  EXPECT_FALSE(resumes(server, client, "localhost"));
  EXPECT_FALSE(resumes(server, client, "other")) << "although it is the same server";
  EXPECT_TRUE(resumes(server, client, "other"));
  EXPECT_TRUE(resumes(server, client, "localhost"));
}

TEST_P(Resumption, IsNeverOfAnotherPort) {
  const ListeningSocket one = bind_sockets(0, "127.0.0.1").front();
  const ListeningSocket two = bind_sockets(0, "127.0.0.1").front();
  const auto resumes_at = [&](const ListeningSocket& listener, const TLSContext& of_client,
                              const char* name) {
    IOStream stream{loop, of_client};
    const TestWait connected{stream, Connect{listener.local_endpoint(), name}};
    int fd = -1;
    EXPECT_TRUE(run_until([&] {
      fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      return fd >= 0;
    }));
    Both both{IOStream{loop, Socket{fd}, server}, std::move(stream)};
    EXPECT_TRUE(run_until([&] { return connected.answered(); }));
    finish(both);
    return both.client.tls_info()->resumed;
  };
  const TLSContext lenient{insecure_tls_client_options()};
  for (const auto& [of_client, name] : {std::pair{client, "localhost"}, std::pair{lenient, ""}}) {
    EXPECT_FALSE(resumes_at(one, of_client, name));
    EXPECT_FALSE(resumes_at(two, of_client, name));
    EXPECT_TRUE(resumes_at(one, of_client, name));
    EXPECT_TRUE(resumes_at(two, of_client, name));
  }
}

TEST_P(Resumption, IsNeverOfAnotherContext) {
  EXPECT_FALSE(resumes(server, client));
  EXPECT_FALSE(resumes(server, TLSContext{client_options()}));
  EXPECT_TRUE(resumes(server, client));
  EXPECT_FALSE(resumes(server_of(), client))
      << "nor is a ticket worth anything to another context of the server";
}

TEST_P(Resumption, CanBeTurnedOff) {
  TLSOptions options = client_options();
  options.session_cache_size = 0;
  const TLSContext off{options};
  EXPECT_FALSE(resumes(server, off));
  EXPECT_FALSE(resumes(server, off));
  options = server_options(many_names());
  options.session_tickets = false;
  const TLSContext no_tickets = context_of(options, GetParam());
  EXPECT_FALSE(resumes(no_tickets, client));
  EXPECT_FALSE(resumes(no_tickets, client));
}

TEST_P(Resumption, WorksWithACacheOfTheServerInsteadOfTickets) {
  TLSOptions options = server_options(many_names());
  options.session_tickets = false;
  options.session_cache_size = 10;
  const TLSContext cached = context_of(options, GetParam());
  EXPECT_FALSE(resumes(cached, client));
  EXPECT_TRUE(resumes(cached, client));
}

/// The cache is that of the context that a connection begins with; the one of its name needs none.
TEST_P(Resumption, WorksWithACacheBesideTheNames) {
  for (const std::size_t size : {0U, 10U}) {
    TLSOptions named = server_options(many_names());
    named.session_tickets = false;
    named.min_version = named.max_version = GetParam();
    TLSOptions options = named;
    options.session_cache_size = size;
    options.server_names = {{"localhost", TLSContext{named}}};
    const TLSContext cached{options};
    EXPECT_FALSE(resumes(cached, client));
    const bool kept = size > 0 && GetParam() == TLSVersion::tls_1_2;
    EXPECT_EQ(resumes(cached, client), kept);
    EXPECT_EQ(SSL_CTX_sess_number(TLSContextState::of(cached).ctx.get()) > 0, kept);
  }
}

TEST_P(Resumption, IsOfferedOnlyOnceIfTheHandshakeFails) {
  EXPECT_FALSE(resumes(server, client));
  for (std::size_t left = sessions_of(client); left > 0; --left) {
    auto [ours, theirs] = make_socket_pair();
    IOStream stream{loop, make_tls_transport(std::move(theirs), client, "localhost")};
    run_turns(loop, 2);
    ours.reset();
    ASSERT_TRUE(run_until([&] { return stream.closed(); }));
    EXPECT_EQ(sessions_of(client), left - 1);
  }
  EXPECT_FALSE(resumes(server, client));
}

TEST_P(Resumption, IsNotForAnExpiredCertificate) {
  const TLSContext lenient{insecure_tls_client_options()};
  const TLSContext expired = server_of(issue({.begins = -7200, .ends = -3600}, &test_authority()));
  EXPECT_FALSE(resumes(expired, lenient));
  EXPECT_FALSE(resumes(expired, lenient));
  EXPECT_FALSE(resumes(server, lenient, "other"));
  EXPECT_TRUE(resumes(server, lenient, "other"));
}

TEST_P(Resumption, WithoutANameIsNotOfAPeerWithoutAnAddress) {
  const TLSContext lenient{insecure_tls_client_options()};
  EXPECT_FALSE(resumes(server, lenient, ""));
  EXPECT_FALSE(resumes(server, lenient, "")) << "it may be anyone";
}

TEST_P(Resumption, IsAlsoOfAStreamThatTurnsToTLS) {
  for (const bool resumed : {false, true}) {
    auto [one, two] = pair_sockets<&make_socket_pair>(loop, {});
    TestWait at_server{one, StartTLS{true, server}};
    TestWait at_client{two, StartTLS{false, client, "localhost"}};
    ASSERT_TRUE(run_until([&] { return at_server.answered() && at_client.answered(); }));
    Both both{std::move(one), std::move(two)};
    finish(both);
    EXPECT_EQ(both.client.tls_info()->resumed, resumed);
  }
}

TEST_P(Resumption, ATicketOfASquallServerIsOfItsContextOnly) { // with another client than ours
  for (const bool same : {true, false}) {
    auto first = serve(server);
    shake(first);
    ASSERT_TRUE(run_until([&] {
      first.peer->receive();
      return SSL_SESSION_is_resumable(SSL_get_session(first.peer->ssl())) == 1;
    }));
    const RawSession session{SSL_get1_session(first.peer->ssl())};
    auto second = serve(same ? server : server_of());
    SSL_set_session(second.peer->ssl(), session.get());
    shake(second);
    ASSERT_TRUE(second.stream.tls_info());
    EXPECT_EQ(second.stream.tls_info()->resumed, same);
  }
}

TEST_P(Resumption, AContextServesAnyThread) {
  std::vector<std::thread> threads;
  std::atomic<int> resumed{0};
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      EventLoop own;
      for (int n = 0; n < 25; ++n) {
        auto [ours, theirs] = make_socket_pair();
        IOStream at_server{own, std::move(ours), server};
        IOStream at_client{own, make_tls_transport(std::move(theirs), client, "localhost")};
        static_cast<void>(at_server.write(Bytes{"x"}));
        TestRead read{at_client, ReadBytes{1}};
        if (!testing_support::run_until(own, [&] { return read.answered(); }) || !at_client.tls_info())
          return;
        resumed += at_client.tls_info()->resumed ? 1 : 0;
      }
    });
  for (std::thread& thread : threads)
    thread.join();
  EXPECT_GE(resumed, 4 * 25 - 8) << "all but the first ones";
}

// -- keys of tickets

TEST(TLSTicketKeysTest, AKeyMakesTicketsForOnePeriodAndOpensThemForTheirLifetime) {
  TLSTicketKeys keys{3600s};
  const auto first = keys.current(1000);
  ASSERT_TRUE(first);
  EXPECT_EQ(keys.current(4599)->name, first->name);
  const auto second = keys.current(4600);
  EXPECT_NE(second->name, first->name);
  EXPECT_NE(second->cipher, first->cipher);
  EXPECT_NE(second->mac, first->mac);
  EXPECT_FALSE(keys.retired(*first, 4599));
  EXPECT_TRUE(keys.retired(*first, 4600));
  EXPECT_EQ(keys.find(first->name.data(), 8199)->cipher, first->cipher) << "made at 4599 at the latest";
  EXPECT_FALSE(keys.find(first->name.data(), 8200));
  EXPECT_EQ(keys.find(second->name.data(), 8200)->cipher, second->cipher);
  const std::array<unsigned char, 16> unknown{};
  EXPECT_FALSE(keys.find(unknown.data(), 1000));
}

TEST(TLSTicketKeysTest, AKeyMakesTicketsForADayAtMost) {
  TLSTicketKeys keys{7 * 24h};
  const auto first = keys.current(0);
  EXPECT_EQ(keys.current(24 * 3600 - 1)->name, first->name);
  EXPECT_NE(keys.current(24 * 3600)->name, first->name);
  EXPECT_TRUE(keys.find(first->name.data(), 8 * 24 * 3600 - 1)) << "a ticket of its last second is good";
  EXPECT_FALSE(keys.find(first->name.data(), 8 * 24 * 3600));
}

TEST_P(Resumption, ItsKeysChangeByAClockThatNobodySets) {
  const auto seconds = [] {
    return std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now())
        .time_since_epoch()
        .count();
  };
  const std::int64_t before = seconds();
  EXPECT_FALSE(resumes(server, client));
  const auto key = TLSContextState::of(server).ticket_keys->current(before);
  EXPECT_GE(key->made, before);
  EXPECT_LE(key->made, seconds());
}

TEST_P(Resumption, OutlivesTheKeyOfItsTicketByItsLifetime) {
  TLSTicketKeys& keys = *TLSContextState::of(server).ticket_keys;
  const std::int64_t now = TLSTicketKeys::now();
  EXPECT_FALSE(resumes(server, client));
  const auto before = keys.current(now);
  ASSERT_NE(keys.current(now + 7200)->name, before->name);
  EXPECT_TRUE(resumes(server, client)) << "with the key before, which gets it a ticket of the new one";
  ASSERT_TRUE(keys.current(now + 4 * 7200)); // both are forgotten
  EXPECT_FALSE(resumes(server, client));
  EXPECT_TRUE(resumes(server, client));
}

// -- nothing resumes past the rules

class RuleC12Resumption : public Resumption {
protected:
  TLSContext verifying(const Identity& authority) {
    TLSOptions options = server_options(many_names());
    options.ca_pem = authority.certificate_pem();
    options.client_certificates = ClientCertificates::require;
    return context_of(options, GetParam());
  }
  TLSContext client_with(const Identity& identity) {
    TLSOptions options = client_options();
    options.certificate_pem = identity.certificate_pem();
    options.key_pem = identity.key_pem();
    return TLSContext{options};
  }
  StreamError refusal(const TLSContext& by, const TLSContext& whom) {
    auto both = begin(by, whom);
    finish(both);
    EXPECT_TRUE(run_until([&] { return both.server.closed(); }));
    return both.server.error();
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, RuleC12Resumption,
                         testing::Values(TLSVersion::tls_1_2, TLSVersion::tls_1_3), [](const auto& tested) {
                           return tested.param == TLSVersion::tls_1_2 ? "Tls12" : "Tls13";
                         });

TEST_P(RuleC12Resumption, NothingIsResumedWhereClientsAreVerified) {
  const TLSContext strict = verifying(test_authority());
  const TLSContext known = client_with(issue({.common_name = "client"}, &test_authority()));
  EXPECT_FALSE(resumes(strict, known));
  EXPECT_FALSE(resumes(strict, known));
}

TEST_P(RuleC12Resumption, ASessionDoesNotOutliveTheTrustOfTheServer) {
  const Identity other = issue({.common_name = "Other Authority", .is_authority = true});
  const TLSContext known = client_with(issue({.common_name = "client"}, &test_authority()));
  EXPECT_FALSE(resumes(server, known));
  EXPECT_EQ(refusal(verifying(other), known), tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
  EXPECT_FALSE(resumes(verifying(test_authority()), known));
  EXPECT_EQ(refusal(verifying(other), known), tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
}

TEST_P(RuleC12Resumption, ASessionDoesNotOutliveTheTrustOfTheClient) {
  EXPECT_FALSE(resumes(server, client));
  EXPECT_TRUE(resumes(server, client));
  TLSOptions changed = client_options();
  changed.ca_pem = issue({.common_name = "Other Authority", .is_authority = true}).certificate_pem();
  auto both = begin(server, TLSContext{changed});
  ASSERT_TRUE(run_until([&] { return both.client.closed(); }));
  EXPECT_EQ(both.client.error(), tls_error(X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY));
}

// -- bounds

class RuleC13 : public Resumption {};
INSTANTIATE_TEST_SUITE_P(Versions, RuleC13, testing::Values(TLSVersion::tls_1_2, TLSVersion::tls_1_3),
                         [](const auto& tested) {
                           return tested.param == TLSVersion::tls_1_2 ? "Tls12" : "Tls13";
                         });

TEST_P(RuleC13, AClientKeepsSoManySessions) {
  TLSOptions options = client_options();
  options.session_cache_size = 5;
  const TLSContext bounded{options};
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(resumes(server, bounded, std::string(1, static_cast<char>('a' + i)) + ".many.example"));
    EXPECT_LE(sessions_of(bounded), 5U);
  }
  EXPECT_EQ(sessions_of(bounded), 5U);
  EXPECT_TRUE(resumes(server, bounded, "j.many.example")) << "the newest stay";
  EXPECT_FALSE(resumes(server, bounded, "a.many.example"));
}

TEST_P(RuleC13, AServerKeepsSoManySessionsAndNoneUnlessAsked) {
  for (const std::size_t most : {0UL, 4UL}) {
    TLSOptions options = server_options(many_names());
    options.session_tickets = most == 0;
    options.session_cache_size = most;
    const TLSContext bounded = context_of(options, GetParam());
    for (int i = 0; i < 12; ++i)
      EXPECT_FALSE(resumes(bounded, TLSContext{client_options()}));
    EXPECT_LE(SSL_CTX_sess_number(TLSContextState::of(bounded).ctx.get()), static_cast<long>(most));
  }
}

/// The rule asks for 100,000: SQUALL_TEST_RESUMPTIONS says how many.
int resumption_count() {
  const char* text = std::getenv("SQUALL_TEST_RESUMPTIONS");
  return text != nullptr ? std::atoi(text) : measures_heap ? 1000 : 100;
}

TEST_P(RuleC13, ManyResumptionsLeaveMemoryFlat) {
  constexpr int until_steady = 50;
  EXPECT_FALSE(resumes(server, client));
  for (int i = 0; i < until_steady; ++i)
    ASSERT_TRUE(resumes(server, client));
  const std::size_t before = heap_in_use();
  const int count = resumption_count();
  for (int i = 0; i < count; ++i)
    ASSERT_TRUE(resumes(server, client));
  const std::size_t after = heap_in_use();
  RecordProperty("grown_by", std::to_string(static_cast<long>(after) - static_cast<long>(before)));
  if (measures_heap) {
    EXPECT_LT(after, before + 32U * 1024) << "a session needs more than a kilobyte, and there were " << count;
  }
}

TEST_P(RuleC13, OneServerDoesNotTakeThePlaceOfAllOthers) {
  auto raw = serve(server); // OpenSSL spoils the session of a connection that goes without an end
  shake(raw);
  ASSERT_TRUE(run_until([&] {
    raw.peer->receive();
    return SSL_SESSION_is_resumable(SSL_get_session(raw.peer->ssl())) == 1;
  }));
  const RawSession session{SSL_get1_session(raw.peer->ssl())};
  TLSSessions sessions{TLSSessions::most_of_one_server + 2};
  sessions.keep("quiet", *session);
  for (std::size_t i = 0; i < 100; ++i)
    sessions.keep("busy", *session);
  EXPECT_EQ(sessions.size(), TLSSessions::most_of_one_server + 1);
  EXPECT_NE(sessions.take("quiet"), nullptr);
  EXPECT_EQ(sessions.take("quiet"), nullptr);
  EXPECT_EQ(sessions.take("nobody"), nullptr);
  sessions.keep("a", *session);
  sessions.keep("b", *session);
  sessions.keep("c", *session);
  EXPECT_EQ(sessions.size(), TLSSessions::most_of_one_server + 2) << "in all";
  EXPECT_NE(sessions.take("a"), nullptr) << "the oldest made room, which are the busy one's";
  // What is over is not handed out.
  SSL_SESSION_set_time(session.get(),
                       static_cast<long>(std::time(nullptr)) - SSL_SESSION_get_timeout(session.get()));
  sessions.keep("old", *session);
  EXPECT_EQ(sessions.take("old"), nullptr);
  SSL_SESSION_set_time(session.get(), static_cast<long>(std::time(nullptr)) + 3600);
  sessions.keep("of tomorrow", *session);
  EXPECT_EQ(sessions.take("of tomorrow"), nullptr);
}

} // namespace

} // namespace squall
