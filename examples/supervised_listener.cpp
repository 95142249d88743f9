// SPDX-License-Identifier: BSD-3-Clause
//
// supervised_listener.cpp: an actor that owns a listener: neither outlives the other. It ends with its input.
#include <squall/io_system.hpp>

#include <exception>
#include <iostream>

squall::Task<> echo(squall::IOStream stream, squall::Endpoint) {
  for (;;)
    co_await stream.write(co_await stream.read_until("\n"));
}

// [owner]
caf::behavior service(caf::event_based_actor* self, squall::IOSystem* io) {
  const squall::ListenerActor listener = io->spawn_listener(echo);
  self->link_to(listener); // the end of one ends the other
  // An error would end the service, and the listener with it.
  self->request(listener, caf::infinite, squall::Listen{0, "127.0.0.1", {}})
      .then([](const squall::Listening& added) {
        std::cout << "listening on " << to_string(added.endpoints[0]) << std::endl;
      });
  return {[](const std::string&) {}}; // what else the service understands
}
// [owner]

int main() try {
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing")); // the default policy polls while it is idle
  caf::actor_system system{config};
  squall::IOSystem io{system};
  caf::scoped_actor self{system};
  const caf::actor owner = system.spawn(service, &io);
  std::string line;
  std::getline(std::cin, line);
  self->send_exit(owner, caf::exit_reason::user_shutdown);
  self->wait_for(owner);
  std::cout << "the service has ended" << std::endl;
  std::getline(std::cin, line); // connections live on until the IOSystem ends
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
