// SPDX-License-Identifier: BSD-3-Clause
//
// client_operations.cpp: each way to look up a host and to connect to it.
#include "stream_example.hpp"
#include <squall/squall.hpp>

#include <map>

namespace {

using namespace example;

// [own_resolver]
/// Knows its hosts by heart.
class TableResolver final : public squall::Resolver {
public:
  explicit TableResolver(std::map<std::string, std::string> table) : table_{std::move(table)} {}

  void lookup(squall::Resolve request, squall::LookupAnswer answer) override {
    const auto found = table_.find(request.host);
    if (found == table_.end())
      answer(squall::StreamError{squall::StreamErrc::lookup_failed, {}, squall::LookupErrc::no_address});
    else
      answer(squall::Addresses{{found->second, request.port, squall::AddressFamily::ipv4}});
  }

private:
  const std::map<std::string, std::string> table_;
};
// [own_resolver]

/// Accepts connections and lets them be.
struct Server {
  explicit Server(squall::EventLoop& loop)
      : acceptor{loop, squall::bind_sockets(0, "127.0.0.1").front(),
                 [this, &loop](squall::Socket socket, const squall::Endpoint&) {
                   accepted.emplace_back(loop, std::move(socket));
                 }} {}
  [[nodiscard]] std::uint16_t port() const { return acceptor.socket().local_endpoint().port; }

  std::vector<squall::IOStream> accepted;
  squall::Acceptor acceptor;
};

squall::Task<> lookups() {
  // [resolve]
  std::shared_ptr<squall::Resolver> resolver = squall::default_resolver();
  squall::Addresses addresses = co_await resolver->resolve("localhost", 80);
  for (const squall::Endpoint& address : addresses)
    check(address.port == 80 && squall::is_valid_ip(address.address));

  squall::Result<squall::Addresses> none =
      co_await resolver->resolve("no such host", 80, squall::AddressFamily::ipv4, 5s).as_result();
  bool unknown = !none && none.error().code == squall::StreamErrc::lookup_failed;
  // [resolve]
  check(unknown);

  // [threads]
  squall::ThreadedResolverOptions threads;
  threads.max_threads = 16;
  auto many = std::make_shared<squall::ThreadedResolver>(threads);
  // [threads]
  check(!(co_await many->resolve("localhost", 80)).empty());
}

squall::Task<> overrides(squall::EventLoop& loop) {
  Server server{loop};
  const std::uint16_t port = server.port();
  // [overrides]
  std::vector<squall::HostOverride> table;
  table.emplace_back("db.example", "127.0.0.1");             // whatever the port
  table.emplace_back("www.example", 443, "127.0.0.1", port); // only port 443, and another one instead
  auto resolver = std::make_shared<squall::OverrideResolver>(squall::default_resolver(), table);
  squall::TCPClient client{loop, resolver};
  squall::IOStream stream = co_await client.connect("www.example", 443);
  // [overrides]
  check(stream.peer_endpoint().port == port);

  std::map<std::string, std::string> known{{"printer", "127.0.0.1"}};
  squall::TCPClient other{loop, std::make_shared<TableResolver>(known)};
  check((co_await other.connect("printer", port)).connected());
  check(!co_await other.connect("scanner", port).as_result());
}

squall::Task<> connects(squall::EventLoop& loop) {
  Server server{loop};
  const std::uint16_t port = server.port();
  // [connect]
  squall::TCPClient client{loop};
  squall::ConnectOptions options;
  options.timeout = 5s; // of lookup, attempts and handshake together
  options.source_ip = "127.0.0.1";
  options.stream.idle_timeout = 10min;
  squall::IOStream stream = co_await client.connect("localhost", port, options);
  // [connect]
  check(stream.local_endpoint().address == "127.0.0.1");

  squall::ListeningSocket closed = squall::bind_sockets(0, "127.0.0.1").front();
  const std::uint16_t nobody = closed.local_endpoint().port;
  closed.close();
  std::string text;
  // [failure]
  try {
    co_await client.connect("127.0.0.1", nobody);
  } catch (const squall::StreamClosedError& error) { // of the attempt that says most; what() tells of all
    text = error.what();
  }

  const squall::ConnectResult result = co_await client.connect("127.0.0.1", nobody).as_result();
  for (const squall::ConnectAttempt& attempt : result.attempts())
    text += to_string(attempt.address) + ": " + attempt.error.message();
  // [failure]
  check(text.find("Connection refused") != std::string::npos && result.attempts().size() == 1);
}

void callbacks() {
  squall::EventLoop loop;
  squall::Timer watchdog{[&] { loop.stop(); }};
  watchdog.start_after(loop, deadline);
  Server server{loop};
  const std::uint16_t port = server.port();
  const std::shared_ptr<squall::Resolver> resolver = squall::default_resolver();
  std::string log;
  // [resolve_callback]
  resolver->resolve(loop, squall::Resolve{"localhost", 80}, [&](squall::Result<squall::Addresses> result) {
    log = result ? "found" : "not found";
    loop.stop();
  });
  loop.run(); // until the answer stops it
  // [resolve_callback]
  check(log == "found");

  squall::TCPClient client{loop};
  const squall::ConnectOptions options;
  // [callback]
  client.connect("127.0.0.1", port, options, [&](squall::ConnectResult done) {
    log = done ? "connected to " + to_string(done.value().peer_endpoint()) : done.message();
    loop.stop();
  });
  loop.run();
  // [callback]
  check(log == "connected to 127.0.0.1:" + std::to_string(port));

  // [cancel]
  squall::PendingConnect pending =
      client.start_connect("127.0.0.1", port, options, [&](const squall::ConnectResult&) { log = "called"; });
  pending = squall::PendingConnect{}; // cancelled: every socket is closed, nothing is called
  // [cancel]
  client.connect("127.0.0.1", port, options, [&](const squall::ConnectResult&) { loop.stop(); });
  loop.run(); // one that began later is done
  check(log != "called");
}

void actors() {
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing"));
  caf::actor_system system{config};
  squall::IOSystem io{system};
  caf::scoped_actor self{system};
  const squall::ListeningSocket listening = squall::bind_sockets(0, "127.0.0.1").front();
  const std::uint16_t port = listening.local_endpoint().port;
  std::string failure;
  squall::StreamActor stream;
  // [actor]
  squall::ClientActor client = io.spawn_client();
  squall::Connect request{{"localhost", port, squall::AddressFamily::unspec}};
  request.timeout = 5s; // less than the time of the request below
  self->request(client, 6s, request)
      .receive([&](const squall::StreamActor& connected) { stream = connected; },
               [&](const caf::error& error) { failure = squall::error_text(error); });
  // [actor]
  check(failure.empty() && stream);
  self->request(stream, 5s, squall::Close{}).receive([] {}, [](const caf::error&) { check(false); });
  self->send_exit(client, caf::exit_reason::user_shutdown);
}

squall::Task<> all(squall::EventLoop& loop) {
  co_await lookups();
  co_await overrides(loop);
  co_await connects(loop);
}

} // namespace

int main() try {
  actors();
  callbacks();
  return run(all);
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
