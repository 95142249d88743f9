// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_server_test.cpp: TCPServer from its making to its end, with signals.
#include "tests/actors/support.hpp"

#include <atomic>
#include <csignal>
#include <thread>

namespace squall::actor_tests {

namespace {

class EchoServer : public TCPServer {
public:
  using TCPServer::TCPServer;
  ~EchoServer() override { shutdown(); }

  Task<> handle_stream(IOStream stream, Endpoint) override {
    const Count count{open_};
    for (;;)
      co_await stream.write(co_await stream.read_until("\n"));
  }
  [[nodiscard]] int open() const { return open_; }

private:
  struct Count {
    explicit Count(std::atomic<int>& open) : counter{open} { ++counter; }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;
    ~Count() { --counter; }
    std::atomic<int>& counter;
  };
  std::atomic<int> open_{0};
};

const ServerOptions two_threads{.io_threads = 2};

void expect_echo(Client& client) {
  client.send("hello\n");
  EXPECT_EQ(client.receive_line(), "hello\n");
}

void expect_served(const Endpoint& server) {
  Client client{server};
  expect_echo(client);
}

TEST(TCPServer, ServesWithHandleStream) {
  EchoServer server{two_threads};
  const auto endpoints = server.listen(0, "127.0.0.1");
  ASSERT_EQ(endpoints.size(), 1U);
  expect_served(endpoints[0]);
}

TEST(TCPServer, ServesWithAGivenHandler) {
  TCPServer server{[](IOStream stream, Endpoint) -> Task<> { co_await stream.write("given"); }, two_threads};
  EXPECT_EQ(Client{server.listen(0, "127.0.0.1")[0]}.receive_all(), "given");
}

TEST(TCPServer, ServesWithAnActorOnTheWorkers) {
  TCPServer server{Handler{[](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
                             self->send(stream, Write{"from a worker"});
                             return caf::behavior{};
                           },
                           HandlerPlacement::worker_pool},
                   two_threads};
  EXPECT_EQ(Client{server.listen(0, "127.0.0.1")[0]}.receive_all(), "from a worker");
}

TEST(TCPServer, ListensOnSeveralPortsAndAddedSockets) {
  EchoServer server{two_threads};
  std::vector<Endpoint> endpoints = server.listen(0, "127.0.0.1");
  endpoints.push_back(server.listen(0, "127.0.0.1").at(0));
  const ListeningSocket socket = bind_sockets(0, "127.0.0.1").front();
  server.add_socket(socket);
  endpoints.push_back(socket.local_endpoint());
  for (const Endpoint& endpoint : endpoints)
    expect_served(endpoint);
  EXPECT_EQ(server.info().endpoints, endpoints);
  EXPECT_EQ(server.info().accepted_count, 3U);
  EXPECT_THROW(server.add_socket(socket), std::runtime_error);
}

TEST(TCPServer, APortInUseThrowsAndNamesTheAddress) {
  const ListeningSocket taken = bind_sockets(0, "127.0.0.1").front();
  EchoServer server{two_threads};
  try {
    server.listen(taken.local_endpoint().port, "127.0.0.1");
    FAIL() << "nothing was thrown";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EADDRINUSE);
    EXPECT_NE(std::string{error.what()}.find(to_string(taken.local_endpoint())), std::string::npos)
        << error.what();
  }
  expect_served(server.listen(0, "127.0.0.1")[0]);
}

TEST(TCPServer, StopsAndListensAgain) {
  EchoServer server{two_threads};
  server.stop(); // harmless
  const Endpoint first = server.listen(0, "127.0.0.1")[0];
  Client client{first};
  expect_echo(client);
  server.stop();
  server.stop();
  EXPECT_THROW(Client{first}, std::system_error);
  expect_echo(client);
  EXPECT_TRUE(server.info().endpoints.empty());
  expect_served(server.listen(0, "127.0.0.1")[0]);
  EXPECT_EQ(server.info().accepted_count, 2U);
}

TEST(TCPServer, ConfigureComesBeforeAllElse) {
  EchoServer server;
  StreamOptions small;
  small.max_buffer_size = 100;
  server.configure({.io_threads = 1, .stream = small});
  const Endpoint endpoint = server.listen(0, "127.0.0.1")[0];
  EXPECT_THROW(server.configure({}), std::logic_error);
  Client client{endpoint};
  client.send(std::string(1000, 'x')); // the limit holds
  EXPECT_TRUE(client.at_end());
}

TEST(TCPServer, TooManyThreadsAreRefused) {
  EchoServer server{{257, {}}};
  EXPECT_THROW(server.listen(0, "127.0.0.1"), std::invalid_argument);
  server.configure(two_threads);
  expect_served(server.listen(0, "127.0.0.1")[0]);
}

TEST(TCPServer, WithoutAnOverrideEveryStreamClosesWithAnError) {
  const LogRecorder log;
  TCPServer server{two_threads};
  EXPECT_TRUE(Client{server.listen(0, "127.0.0.1")[0]}.at_end());
  wait_until([&] { return server.info().failed_count == 1; });
  wait_until([&] { return log.count("handler_failed") == 1; });
}

TEST(TCPServer, ShutdownClosesLiveConnectionsAndDestroysTheirCoroutines) {
  const std::size_t descriptors = descriptor_count();
  EchoServer server{two_threads};
  const Endpoint endpoint = server.listen(0, "127.0.0.1")[0];
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i)
    expect_echo(clients.emplace_back(endpoint));
  EXPECT_EQ(server.open(), 20);
  EXPECT_EQ(server.info().connection_count, 20U);
  server.shutdown();
  EXPECT_EQ(server.open(), 0);
  for (Client& client : clients)
    EXPECT_TRUE(client.at_end());
  clients.clear();
  EXPECT_EQ(server.info().connection_count, 0U);
  EXPECT_EQ(descriptor_count(), descriptors);
  server.shutdown();
  expect_served(server.listen(0, "127.0.0.1")[0]); // it may begin anew
}

TEST(TCPServer, ItsDestructorClosesLiveConnections) {
  std::optional<Client> client;
  {
    EchoServer server{two_threads};
    client.emplace(server.listen(0, "127.0.0.1")[0]);
    expect_echo(*client);
  }
  EXPECT_TRUE(client->at_end());
  EchoServer unused;
}

TEST(TCPServer, AHandlerThatIgnoresItsExitDoesNotKeepTheServer) {
  for (const auto placement : {HandlerPlacement::connection_loop, HandlerPlacement::worker_pool}) {
    TCPServer server{Handler{[](caf::event_based_actor* self, const StreamActor& stream, const Endpoint&) {
                               self->set_exit_handler([](const caf::exit_msg&) {});
                               self->send(stream, Write{"hello\n"});
                               return caf::behavior{[](int) {}};
                             },
                             placement},
                     two_threads};
    Client client{server.listen(0, "127.0.0.1")[0]};
    EXPECT_EQ(client.receive_line(), "hello\n");
    server.shutdown();
    EXPECT_TRUE(client.at_end());
  }
}

/// What handlers of the two signals are set.
std::pair<void (*)(int), void (*)(int)> signal_handlers() {
  struct sigaction on_int {};
  struct sigaction on_term {};
  sigaction(SIGINT, nullptr, &on_int);
  sigaction(SIGTERM, nullptr, &on_term);
  return {on_int.sa_handler, on_term.sa_handler};
}

void own_handler(int) {}

TEST(TCPServer, RunEndsWithZeroOnASignalAndRestoresTheHandlers) {
  const auto before = signal_handlers();
  std::signal(SIGINT, own_handler);
  const auto own = signal_handlers();
  for (const int signal : {SIGTERM, SIGINT, SIGTERM}) {
    EchoServer server{two_threads};
    Client client{server.listen(0, "127.0.0.1")[0]};
    expect_echo(client);
    std::thread sender{[&] {
      wait_until([&] { return signal_handlers().second != own.second; }); // the last that run() takes
      ::kill(::getpid(), signal);
    }};
    EXPECT_EQ(server.run(), 0);
    sender.join();
    EXPECT_TRUE(client.at_end());
    EXPECT_EQ(signal_handlers(), own);
  }
  std::signal(SIGINT, before.first);
}

TEST(TCPServer, OnlyOneServerOfAProcessRuns) {
  const auto before = signal_handlers();
  EchoServer first{two_threads};
  std::thread runner{[&] { EXPECT_EQ(first.run(), 0); }};
  wait_until([&] { return signal_handlers().second != before.second; });
  EchoServer second{two_threads};
  EXPECT_THROW(second.run(), std::logic_error);
  ::kill(::getpid(), SIGTERM);
  runner.join();
  EXPECT_EQ(signal_handlers(), before);
}

/// A server whose handler calls the server.
class BusyServer : public TCPServer {
public:
  BusyServer() : TCPServer{two_threads} {}
  ~BusyServer() override { shutdown(); }
  Task<> handle_stream(IOStream stream, Endpoint) override {
    for (;;) {
      co_await stream.read_until("\n");
      for (int i = 0; i < 50; ++i)
        if (info().accepted_count == 0)
          co_return;
      stop();
      co_await stream.write("stopped\n");
    }
  }
};

TEST(TCPServer, AHandlerMayAskAndStopItWhileOthersDo) {
  BusyServer server;
  std::vector<Client> clients;
  const Endpoint endpoint = server.listen(0, "127.0.0.1")[0];
  for (int i = 0; i < 4; ++i)
    clients.emplace_back(endpoint);
  wait_until([&] { return server.info().accepted_count == 4; });
  for (int round = 0; round < 30; ++round) {
    for (Client& client : clients)
      client.send("go\n");
    server.listen(0, "127.0.0.1");
    EXPECT_GE(server.info().accepted_count, 4U);
    for (Client& client : clients)
      ASSERT_EQ(client.receive_line(), "stopped\n");
  }
  server.stop();
  EXPECT_TRUE(server.info().endpoints.empty());
}

TEST(TCPServer, LimitsChangeWhileHandlersAskTheServer) {
  TCPServer* asked = nullptr;
  TCPServer server{[&](IOStream stream, Endpoint) -> Task<> {
                     for (;;) {
                       const Bytes line = co_await stream.read_until("\n");
                       for (int i = 0; i < 100; ++i)
                         static_cast<void>(asked->info());
                       co_await stream.write(line);
                     }
                   },
                   {.io_threads = 1}};
  asked = &server;
  const Endpoint address = server.listen(0, "127.0.0.1")[0];
  std::atomic<bool> done{false};
  std::thread asking{[&] {
    Client client{address};
    while (!done)
      expect_echo(client);
  }};
  for (std::uint64_t i = 1; i <= 200; ++i)
    server.set_limits({.max_connections = i});
  done = true;
  asking.join();
  EXPECT_EQ(server.info().limits.max_connections, 200U);
}

TEST(TCPServer, AHandlerThatAsksAndStopsDoesNotHoldUpTheShutdown) {
  for (int round = 0; round < 20; ++round) {
    BusyServer server;
    const Endpoint endpoint = server.listen(0, "127.0.0.1")[0];
    std::vector<Client> clients;
    for (int i = 0; i < 4; ++i)
      clients.emplace_back(endpoint);
    wait_until([&] { return server.info().accepted_count == 4; }); // the first to be served stops the server
    for (Client& client : clients)
      client.send("go\ngo\ngo\ngo\ngo\ngo\ngo\ngo\n");
    EXPECT_EQ(clients[0].receive_line(), "stopped\n");
    server.shutdown();
  }
}

} // namespace

} // namespace squall::actor_tests
