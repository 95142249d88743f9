// SPDX-License-Identifier: BSD-3-Clause
//
// messages_test.cpp: the messages as bytes, and errors as caf::error and as text.
#include "tests/actors/support.hpp"

#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>

namespace squall::actor_tests {

namespace {

class Messages : public ::testing::Test {
protected:
  template <class T>
  T round_trip(const T& value) {
    std::vector<char> buffer;
    caf::binary_serializer sink{system_, buffer};
    auto copy = value;
    if (const auto error = sink(copy))
      ADD_FAILURE() << system_.render(error);
    T result{};
    caf::binary_deserializer source{system_, buffer};
    if (const auto error = source(result))
      ADD_FAILURE() << system_.render(error);
    return result;
  }
  /// As one node sends it to another: with its type's name.
  template <class T>
  T travel(const T& value) {
    const caf::message arrived = round_trip(caf::make_message(value));
    if (!arrived.match_elements<T>()) {
      ADD_FAILURE() << "another type arrived";
      return T{};
    }
    return arrived.get_as<T>(0);
  }

  Config config_;
  caf::actor_system system_{config_};
};

TEST_F(Messages, StreamRequestsTravel) {
  const Bytes every_byte{[] {
    std::string all;
    for (int i = 0; i < 256; ++i)
      all.push_back(static_cast<char>(i));
    return all;
  }()};
  EXPECT_EQ(travel(every_byte), every_byte);
  EXPECT_EQ(travel(Bytes{}), Bytes{});
  EXPECT_EQ(travel(Write{every_byte}), Write{every_byte});
  for (const bool partial : {false, true})
    EXPECT_EQ(travel(ReadBytes{std::size_t{1} << 40, partial}), (ReadBytes{std::size_t{1} << 40, partial}));
  EXPECT_EQ(travel(ReadUntil{"\r\n", {}}), (ReadUntil{"\r\n", {}}));
  EXPECT_EQ(travel(ReadUntil{"", 0}), (ReadUntil{"", 0}));
  EXPECT_EQ(travel(ReadUntil{"x", std::size_t{1} << 40}), (ReadUntil{"x", std::size_t{1} << 40}));
  EXPECT_EQ(travel(ReadUntilClose{}), ReadUntilClose{});
  const ReadChunks chunks{std::uint64_t{1} << 40, 7, std::chrono::seconds{3}};
  EXPECT_EQ(travel(chunks), chunks);
  EXPECT_EQ(travel(ReadChunks{}), ReadChunks{});
  const caf::actor receiver = system_.spawn([](caf::event_based_actor*) {});
  EXPECT_EQ(caf::make_message(SendChunks{chunks, receiver}).get_as<SendChunks>(0).receiver, receiver);
  EXPECT_EQ(travel(Chunk{every_byte}), Chunk{every_byte});
  const WritePieces pieces{{"a", every_byte, ""}, std::chrono::seconds{3}};
  EXPECT_EQ(travel(pieces), pieces);
  const Connect connect{{"::1", 80, AddressFamily::ipv6}, "example.com", std::chrono::seconds{3}};
  EXPECT_EQ(travel(connect), connect);
  EXPECT_EQ(travel(AwaitWritable{std::chrono::seconds{3}}), AwaitWritable{std::chrono::seconds{3}});
  EXPECT_EQ(travel(AwaitEnd{}), AwaitEnd{});
  EXPECT_EQ(travel(AwaitClose{}), AwaitClose{});
  const SetKeepAlive keep_alive{
      {std::chrono::seconds{1}, std::chrono::seconds{2}, 3, std::chrono::milliseconds{4}}};
  EXPECT_EQ(travel(keep_alive), keep_alive);
  EXPECT_EQ(travel(Close{}), Close{});
  EXPECT_EQ(travel(Info{}), Info{});
  EXPECT_EQ(travel(Stop{}), Stop{});
  for (const bool value : {false, true})
    EXPECT_EQ(travel(SetNodelay{value}), SetNodelay{value});
}

TEST_F(Messages, EndpointsAndInfosTravel) {
  const Endpoint peer{"::1", 65535, AddressFamily::ipv6};
  EXPECT_EQ(travel(peer), peer);
  const auto info = travel(StreamInfo{peer, true, false, true, std::uint64_t{1} << 50, 7, peer, true, 8, 9});
  EXPECT_EQ(info.peer, peer);
  EXPECT_TRUE(info.closed);
  EXPECT_FALSE(info.reading);
  EXPECT_TRUE(info.writing);
  EXPECT_EQ(info.unread_size, std::uint64_t{1} << 50);
  EXPECT_EQ(info.unsent_size, 7U);
  EXPECT_EQ(info.local, peer);
  EXPECT_TRUE(info.writable);
  EXPECT_EQ(info.bytes_received, 8U);
  EXPECT_EQ(info.bytes_sent, 9U);
  const auto listening = travel(Listening{{peer, {"/run/x", 0, AddressFamily::unix_domain}}});
  EXPECT_EQ(listening.endpoints, (std::vector<Endpoint>{peer, {"/run/x", 0, AddressFamily::unix_domain}}));
  const auto listener = travel(ListenerInfo{{peer}, 1, 2, 3});
  EXPECT_EQ(listener.endpoints, std::vector{peer});
  EXPECT_EQ(listener.connection_count, 1U);
  EXPECT_EQ(listener.accepted_count, 2U);
  EXPECT_EQ(listener.failed_count, 3U);
  ListenerInfo with_memory;
  with_memory.memory_budget = std::uint64_t{1} << 40;
  with_memory.memory_used = 4;
  with_memory.place_count = 5;
  with_memory = travel(with_memory);
  EXPECT_EQ(with_memory.memory_budget, std::uint64_t{1} << 40);
  EXPECT_EQ(with_memory.memory_used, 4U);
  EXPECT_EQ(with_memory.place_count, 5U);
}

TEST_F(Messages, ListenTravels) {
  const auto listen = travel(Listen{8888, "localhost", {AddressFamily::ipv4, 511, true}});
  EXPECT_EQ(listen.port, 8888);
  EXPECT_EQ(listen.address, "localhost");
  EXPECT_EQ(listen.options.family, AddressFamily::ipv4);
  EXPECT_EQ(listen.options.backlog, 511);
  EXPECT_TRUE(listen.options.reuse_port);
}

TEST_F(Messages, WhatListenersAreToldTravels) {
  EXPECT_EQ(travel(Pause{}), Pause{});
  EXPECT_EQ(travel(Resume{}), Resume{});
  EXPECT_EQ(travel(Connections{}), Connections{});
  for (const Duration deadline :
       std::initializer_list<Duration>{Duration::zero(), Duration{std::chrono::hours{24}}, Duration{-1}})
    EXPECT_EQ(travel(Drain{deadline}), Drain{deadline});
  for (const bool abort : {false, true})
    EXPECT_EQ(travel(CloseConnection{std::uint64_t{1} << 63, abort}),
              (CloseConnection{std::uint64_t{1} << 63, abort}));
  EXPECT_EQ(travel(AwaitDrain{std::chrono::seconds{3}}), AwaitDrain{std::chrono::seconds{3}});
  EXPECT_EQ(travel(AwaitDrain{}), AwaitDrain{});
  for (const WhenFull when : {WhenFull::queue, WhenFull::reset, WhenFull::answer}) {
    const auto limits =
        travel(SetLimits{{std::uint64_t{1} << 40, 2, 3, 4, when, Bytes{std::string{"a\0b\n", 4}}}}).limits;
    EXPECT_EQ(limits.max_connections, std::uint64_t{1} << 40);
    EXPECT_EQ(limits.max_connections_per_ip, 2U);
    EXPECT_EQ(limits.max_accept_rate, 3U);
    EXPECT_EQ(limits.accepts_per_turn, 4U);
    EXPECT_EQ(limits.when_full, when);
    EXPECT_EQ(limits.full_answer.str(), (std::string{"a\0b\n", 4}));
  }
}

TEST_F(Messages, WhatListenersTellTravels) {
  EXPECT_EQ(travel(Drained{1, std::uint64_t{1} << 40, 3}), (Drained{1, std::uint64_t{1} << 40, 3}));
  ConnectionInfo row;
  row.id = std::uint64_t{1} << 63;
  row.peer = {"::1", 65535, AddressFamily::ipv6};
  row.age = 5s;
  row.idle = 1ns;
  row.bytes_received = 3;
  row.bytes_sent = 4;
  row.unread_size = 5;
  row.unsent_size = 6;
  row.pending = R"(read_until "\n", write)";
  row.closed = true;
  row.tls_version = "TLSv1.3";
  row.tls_cipher = "cipher";
  row.tls_server_name = "localhost";
  row.tls_alpn = "h2";
  const auto list = travel(ConnectionList{{ConnectionInfo{}, row}});
  ASSERT_EQ(list.connections.size(), 2U);
  EXPECT_EQ(list.connections[0].id, 0U);
  const ConnectionInfo& got = list.connections[1];
  EXPECT_EQ(got.id, row.id);
  EXPECT_EQ(got.peer, row.peer);
  EXPECT_EQ(got.age, row.age);
  EXPECT_EQ(got.idle, row.idle);
  EXPECT_EQ(got.bytes_received, 3U);
  EXPECT_EQ(got.bytes_sent, 4U);
  EXPECT_EQ(got.unread_size, 5U);
  EXPECT_EQ(got.unsent_size, 6U);
  EXPECT_EQ(got.pending, row.pending);
  EXPECT_TRUE(got.closed);
  EXPECT_EQ(got.tls_version, "TLSv1.3");
  EXPECT_EQ(got.tls_cipher, "cipher");
  EXPECT_EQ(got.tls_server_name, "localhost");
  EXPECT_EQ(got.tls_alpn, "h2");
  ListenerInfo full;
  full.refused_count = 4;
  full.rejected_count = 5;
  full.pause_count = 6;
  full.paused = true;
  full.draining = true;
  full.limits.max_connections = 7;
  const auto info = travel(full);
  EXPECT_EQ(info.refused_count, 4U);
  EXPECT_EQ(info.rejected_count, 5U);
  EXPECT_EQ(info.pause_count, 6U);
  EXPECT_TRUE(info.paused);
  EXPECT_TRUE(info.draining);
  EXPECT_EQ(info.limits.max_connections, 7U);
}

std::vector<StreamError> stream_errors() {
  std::vector<StreamError> errors;
  for (const auto code : {StreamErrc::already_reading, StreamErrc::buffer_full,
                          StreamErrc::unsatisfiable_read, StreamErrc::invalid_argument})
    errors.push_back({code, CloseReason::none, {}});
  for (int reason = 0; reason <= static_cast<int>(CloseReason::shutting_down); ++reason)
    for (const std::error_code& real :
         {std::error_code{}, std::error_code{ECONNRESET, std::generic_category()},
          make_error_code(StreamErrc::unsatisfiable_read)})
      errors.push_back({StreamErrc::closed, static_cast<CloseReason>(reason), real});
  return errors;
}

TEST_F(Messages, AStreamErrorBecomesACafErrorAndBack) {
  for (const StreamError& error : stream_errors()) {
    const caf::error made = make_error(error);
    EXPECT_TRUE(made);
    EXPECT_EQ(stream_error(made), error);
    EXPECT_EQ(stream_error(round_trip(made)), error);
    EXPECT_EQ(stream_closed(made).has_value(), error.code == StreamErrc::closed);
    if (const auto closed = stream_closed(made)) {
      EXPECT_EQ(closed->error(), error);
    }
    EXPECT_EQ(error_text(made), to_string(error));
  }
}

TEST_F(Messages, AStreamErrorKeepsWhoseItIs) {
  const StreamError error{StreamErrc::timed_out, CloseReason::none, {}, 4'000'000'000U};
  for (const caf::error& made : {make_error(error), make_error(error, "too late")})
    for (const caf::error& arrived : {made, round_trip(made)}) {
      ASSERT_TRUE(stream_error(arrived));
      EXPECT_EQ(stream_error(arrived)->stream, 4'000'000'000U);
    }
  EXPECT_EQ(error_text(round_trip(make_error(error, "too late"))), "too late");
}

TEST_F(Messages, OtherErrorsAreNoStreamErrors) {
  for (const caf::error& error :
       {caf::error{}, caf::make_error(caf::sec::runtime_error), caf::error{caf::exit_reason::kill},
        make_error(ListenerErrc::cannot_listen, "no"), caf::error{1, caf::atom("other")}}) {
    EXPECT_FALSE(stream_error(error));
    EXPECT_FALSE(stream_closed(error));
  }
}

TEST_F(Messages, ACafErrorOfOursWithAnotherContextIsHarmless) {
  const caf::error odd{1, make_error(StreamError{}).category(), caf::make_message(std::string{"?"}, 7)};
  ASSERT_TRUE(stream_error(odd));
  EXPECT_EQ(stream_error(odd)->reason, CloseReason::none);
  EXPECT_FALSE(error_text(odd).empty());
  const caf::error bare{1, make_error(ListenerErrc::cannot_listen, "").category()};
  EXPECT_FALSE(error_text(bare).empty());
}

TEST_F(Messages, TheSystemRendersOurErrors) {
  const caf::error reset =
      make_error(StreamError{StreamErrc::closed, CloseReason::reset, {ECONNRESET, std::generic_category()}});
  EXPECT_NE(system_.render(reset).find(error_text(reset)), std::string::npos) << system_.render(reset);
  const caf::error listener = make_error(ListenerErrc::cannot_listen, "127.0.0.1:80: no");
  EXPECT_NE(system_.render(listener).find("127.0.0.1:80: no"), std::string::npos) << system_.render(listener);
}

TEST_F(Messages, ErrorsHaveTexts) {
  EXPECT_EQ(error_text({}), "no error");
  EXPECT_EQ(error_text(make_error(ListenerErrc::already_listening, "twice")), "twice");
  EXPECT_EQ(error_text(caf::make_error(caf::sec::request_timeout)), "request_timeout");
  EXPECT_EQ(error_text(caf::make_error(caf::sec::runtime_error, "what it says")),
            "runtime_error: what it says");
  EXPECT_EQ(error_text(caf::exit_reason::kill), "kill");
  EXPECT_FALSE(error_text(caf::error{7, caf::atom("foreign")}).empty());
}

} // namespace

} // namespace squall::actor_tests
