// SPDX-License-Identifier: BSD-3-Clause
//
// tls_operations.cpp: what contexts, listeners and stream actors do with TLS. Its argument is a folder that
// examples/make_certificates has made.
#include "stream_example.hpp"
#include <squall/io_system.hpp>
#include <squall/tcp_server.hpp>

#include <filesystem>

namespace {

using namespace example;
using squall::TLSContext;
using squall::TLSOptions;

/// A failure that was not asked for.
[[noreturn]] void fail(const caf::error& error) { throw std::runtime_error{squall::error_text(error)}; }

// [greet]
squall::Task<> greet(squall::IOStream stream, squall::Endpoint) {
  co_await stream.wait_for_handshake(); // the handler runs before it is done
  const auto tls = stream.tls_info();
  if (!tls)
    co_return; // the stream has closed since
  const std::string who = tls->peer_certificates.empty() ? "nobody" : tls->peer_certificates[0].subject;
  co_await stream.write("hello " + who + " by " + tls->version + "\n");
  co_await stream.read_until_close();
}
// [greet]

/// A handler that turns to TLS when its client asks for it.
caf::behavior secure(caf::event_based_actor* self, const squall::StreamActor& stream,
                     const TLSContext& context) {
  self->request(stream, caf::infinite, squall::ReadUntil{"\n", 100}).then([=](const squall::Bytes&) {
    self->send(stream, squall::Write{"go ahead\n"});
    self->request(stream, caf::infinite, squall::StartTLS{true, context}).then([=](const squall::TLSInfo&) {
      self->request(stream, caf::infinite, squall::Write{"secret\n"}).then([] {});
    });
  });
  return {};
}

/// The examples, and what they work with.
struct Examples {
  std::string folder; ///< of the certificates
  squall::IOSystem& io;
  caf::scoped_actor& self;

  [[nodiscard]] std::string path(const std::string& name) const { return folder + "/" + name; }
  [[nodiscard]] TLSOptions server_options() const {
    return squall::tls_server_options(path("server.pem"), path("server.key"));
  }
  [[nodiscard]] TLSOptions client_options() const {
    TLSOptions options = squall::tls_client_options();
    options.ca_file = path("ca.pem");
    return options;
  }
  [[nodiscard]] squall::Endpoint listen(const squall::ListenerActor& listener) const {
    squall::Endpoint endpoint;
    self->request(listener, deadline, squall::AddSockets{squall::bind_sockets(0, "127.0.0.1")})
        .receive([&](const squall::Listening& added) { endpoint = added.endpoints[0]; }, fail);
    return endpoint;
  }
  [[nodiscard]] std::string read_line(const squall::StreamActor& stream) const {
    std::string line;
    self->request(stream, deadline, squall::ReadUntil{"\n"})
        .receive([&](const squall::Bytes& bytes) { line = bytes.str(); }, fail);
    return line;
  }
  /// Connects to `server` as `name`, and returns what the handshake agreed on.
  [[nodiscard]] squall::TLSInfo info_at(const squall::Endpoint& server, const TLSOptions& options,
                                        const std::string& name) const {
    const squall::StreamActor stream = io.spawn_stream(TLSContext{options});
    self->request(stream, deadline, squall::Connect{server, name}).receive([] {}, fail);
    squall::TLSInfo info;
    // [await_handshake]
    self->request(stream, 5s, squall::AwaitHandshake{})
        .receive([&](const squall::TLSInfo& tls) { info = tls; }, fail);
    // [await_handshake]
    self->request(stream, deadline, squall::Close{}).receive([] {}, fail);
    return info;
  }

  void client_certificates() const {
    TLSOptions options = server_options();
    // [client_certificates]
    options.ca_file = path("ca.pem");                                  // who signs certificates of clients
    options.client_certificates = squall::ClientCertificates::require; // or request
    squall::ListenerActor listener = io.spawn_listener(greet, {.accept = {TLSContext{options}}});
    // [client_certificates]
    const squall::Endpoint server = listen(listener);

    TLSOptions client = client_options();
    client.certificate_file = path("client.pem");
    client.key_file = path("client.key");
    // [client_actor]
    squall::StreamActor stream = io.spawn_stream(TLSContext{client});
    self->request(stream, 5s, squall::Connect{server, "localhost"}).receive([] {}, fail);
    // [client_actor]
    check(read_line(stream) == "hello CN=client by TLSv1.3\n");
    self->request(stream, deadline, squall::Close{}).receive([] {}, fail);
    self->send_exit(listener, caf::exit_reason::user_shutdown);
  }

  void names_and_protocols() const {
    TLSOptions options = server_options();
    // [server_names]
    TLSOptions inner = squall::tls_server_options(path("server.pem"), path("server.key"));
    inner.max_version = squall::TLSVersion::tls_1_2;           // not only the certificate may differ by name
    options.server_names = {{"localhost", TLSContext{inner}}}; // also "*.example.com"
    options.unknown_server_name = squall::UnknownServerName::refuse;
    // [server_names]
    const squall::ListenerActor named = io.spawn_listener(greet, {.accept = {TLSContext{options}}});
    const squall::TLSInfo info = info_at(listen(named), client_options(), "localhost");
    check(info.version == "TLSv1.2" && info.server_name == "localhost");

    TLSOptions server = server_options();
    TLSOptions client = client_options();
    // [alpn]
    server.alpn = {"line/2", "line/1"}; // the best first
    client.alpn = {"line/1"};
    // [alpn]
    const squall::ListenerActor speaks = io.spawn_listener(greet, {.accept = {TLSContext{server}}});
    check(info_at(listen(speaks), client, "localhost").alpn == "line/1");
    self->send_exit(named, caf::exit_reason::user_shutdown);
    self->send_exit(speaks, caf::exit_reason::user_shutdown);
  }

  void options_of_connections() const {
    TLSOptions options = server_options();
    // [resumption]
    options.session_tickets = true;     // the default: the client keeps the session, encrypted
    options.session_cache_size = 10000; // for clients of TLS 1.2 without tickets; the default is 0
    options.session_lifetime = 30min;
    // [resumption]
    // [ktls]
    options.ktls = true;
    // [ktls]
    const squall::ListenerActor listener = io.spawn_listener(greet, {.accept = {TLSContext{options}}});
    const squall::Endpoint server = listen(listener);
    // [insecure]
    TLSOptions anyone = squall::insecure_tls_client_options(); // nothing is verified
    TLSOptions any_name = squall::tls_client_options();        // the chain is verified,
    any_name.insecure_skip_name_check = true;                  // the name is not
    // [insecure]
    any_name.ca_file = path("ca.pem");
    check(info_at(server, anyone, "").version == "TLSv1.3");
    check(info_at(server, any_name, "other.example").version == "TLSv1.3");
    self->send_exit(listener, caf::exit_reason::user_shutdown);
  }

  void reload() const {
    const TLSContext old{server_options()};
    const squall::ListenerActor listener = io.spawn_listener(greet, {.accept = {old}});
    const squall::Endpoint endpoint = listen(listener);
    const TLSContext fresh{server_options()};
    std::string problem;
    const auto tell = [&](const caf::error& error) { problem = squall::error_text(error); };
    // [replace]
    self->request(listener, 5s, squall::ReplaceTLS{old, fresh}).receive([] {}, tell);
    // [replace]
    // [reload_message]
    self->request(listener, 5s, squall::ReloadTLS{}).receive([] {}, tell); // all files again, or none
    // [reload_message]
    check(problem.empty());
    check(info_at(endpoint, client_options(), "localhost").version == "TLSv1.3");
    self->send_exit(listener, caf::exit_reason::user_shutdown);

    squall::TCPServer server{squall::Handler{greet}, {.io_threads = 1, .accept = {fresh}}};
    server.listen(0, "127.0.0.1");
    // [reload]
    server.reload_tls(); // throws when a file is not right; the old certificate stays in use then
    // [reload]
  }

  void failures() const {
    const squall::ListenerActor listener =
        io.spawn_listener(greet, {.accept = {TLSContext{server_options()}}});
    const squall::Endpoint server = listen(listener);
    const squall::StreamActor stream = io.spawn_stream(TLSContext{client_options()});
    squall::CloseReason reason{};
    std::string why;
    // [failure]
    self->request(stream, 5s, squall::Connect{server, "other.example"})
        .receive([] {},
                 [&](const caf::error& error) {
                   if (const auto closed = squall::stream_closed(error)) {
                     reason = closed->reason();            // CloseReason::tls_failed
                     why = closed->real_error().message(); // "hostname mismatch"
                   }
                 });
    // [failure]
    check(reason == squall::CloseReason::tls_failed && why == "hostname mismatch");
    // [wrong_file]
    try {
      const TLSContext wrong{squall::tls_server_options(path("server.pem"), path("client.key"))};
    } catch (const squall::TLSError& error) {
      why = error.what(); // which file, why, and what to do
    }
    // [wrong_file]
    check(why.find("client.key\" does not belong to the certificate file") != std::string::npos);
    self->send_exit(listener, caf::exit_reason::user_shutdown);
  }

  /// Turns both ends of a connection to TLS, after a line that agrees to it.
  void start_tls() const {
    const TLSContext server{server_options()};
    const TLSContext client{client_options()};
    const squall::ListenerActor listener =
        io.spawn_listener([server](caf::event_based_actor* own, const squall::StreamActor& stream,
                                   const squall::Endpoint&) { return secure(own, stream, server); });
    const squall::Endpoint endpoint = listen(listener);
    const squall::StreamActor stream = io.spawn_stream();
    self->request(stream, deadline, squall::Connect{endpoint}).receive([] {}, fail);
    std::string version;
    // [start_tls_message]
    self->request(stream, 5s, squall::Write{"STARTTLS\n"}).receive([] {}, fail);
    check(read_line(stream) == "go ahead\n");
    self->request(stream, 5s, squall::StartTLS{false, client, "localhost"})
        .receive([&](const squall::TLSInfo& tls) { version = tls.version; }, fail);
    // [start_tls_message]
    check(version == "TLSv1.3" && read_line(stream) == "secret\n");
    self->request(stream, deadline, squall::Close{}).receive([] {}, fail);
    self->send_exit(listener, caf::exit_reason::user_shutdown);
  }
};

} // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER_OF_CERTIFICATES\n";
    return 2;
  }
  squall::set_log_level(squall::LogLevel::error); // that a handshake fails is wanted here
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing"));
  caf::actor_system system{config};
  squall::IOSystem io{system, {.io_threads = 1}};
  caf::scoped_actor self{system};
  const Examples examples{argv[1], io, self};
  examples.client_certificates();
  examples.names_and_protocols();
  examples.options_of_connections();
  examples.reload();
  examples.failures();
  examples.start_tls();
  std::cout << "all operations done" << std::endl;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
