// SPDX-License-Identifier: BSD-3-Clause
//
// embedded_listener.cpp: a listener inside an application that has an actor system of its own. It serves one
// connection, on which it talks first, and ends.
#include <squall/io_system.hpp>

#include <exception>
#include <iostream>

// [handler]
caf::behavior greet(caf::event_based_actor* self, squall::StreamActor stream, squall::Endpoint peer) {
  self->request(stream, caf::infinite, squall::Write{"hello " + to_string(peer) + ", who are you?\n"})
      .then([] {});
  self->request(stream, caf::infinite, squall::ReadUntil{"\n", 1024})
      .then(
          [=](const squall::Bytes& name) {
            self->request(stream, caf::infinite, squall::Write{"goodbye, " + name.str()}).then([=] {
              self->quit();
            });
          },
          [=](const caf::error& error) {
            if (const auto closed = squall::stream_closed(error))
              std::cerr << "the peer left: " << closed->what() << '\n';
            self->quit();
          });
  return {};
}
// [handler]

int main() try {
  // [system]
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing")); // the default policy polls while it is idle
  caf::actor_system system{config};
  squall::IOSystem io{system};

  squall::ListenerActor server = io.spawn_listener(greet);
  caf::scoped_actor self{system};
  self->request(server, caf::infinite, squall::AddSockets{squall::bind_sockets(0, "127.0.0.1")})
      .receive(
          [](const squall::Listening& added) {
            std::cout << "listening on " << to_string(added.endpoints[0]) << std::endl;
          },
          [](const caf::error& error) { std::cerr << squall::error_text(error) << '\n'; });
  // [system]

  std::cin.get(); // until the end of the input, or a key
  self->send(server, squall::Stop{});
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
