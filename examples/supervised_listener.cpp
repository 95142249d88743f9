// SPDX-License-Identifier: BSD-3-Clause
//
// supervised_listener.cpp: an actor that owns a listener: neither outlives the other. With the argument "supervise": one
// that spawns another in the place of a listener that dies, which the line "kill" does. It ends with any other line.
#include <squall/io_system.hpp>

#include <exception>
#include <iostream>
#include <string>

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

// [supervisor]
caf::behavior supervisor(caf::event_based_actor* self, squall::IOSystem* io) {
  squall::ListenerOptions options;
  options.handover = std::make_shared<squall::ListenerHandover>();
  const auto listener = std::make_shared<squall::ListenerActor>(io->spawn_listener(echo, options));
  self->monitor(*listener);
  self->request(*listener, caf::infinite, squall::Listen{0, "127.0.0.1", {}})
      .then([](const squall::Listening& added) {
        std::cout << "listening on " << to_string(added.endpoints[0]) << std::endl;
      });
  self->set_down_handler([=](const caf::down_msg& down) {
    if (down.reason == caf::exit_reason::user_shutdown) {
      self->quit(); // it was told to, or the IOSystem ends
      return;
    }
    *listener = io->spawn_listener(echo, options); // with the sockets and the connections of the one before
    self->monitor(*listener);
    std::cout << "there is another listener" << std::endl;
  });
  return {[=](const std::string&) { self->send_exit(*listener, caf::exit_reason::kill); }};
}
// [supervisor]

int main(int argc, char** argv) try {
  const bool supervise = argc > 1 && argv[1] == std::string{"supervise"};
  caf::actor_system_config config;
  config.set("scheduler.policy", caf::atom("sharing")); // the default policy polls while it is idle
  caf::actor_system system{config};
  squall::IOSystem io{system};
  caf::scoped_actor self{system};
  const caf::actor owner = supervise ? system.spawn(supervisor, &io) : system.spawn(service, &io);
  std::string line;
  while (std::getline(std::cin, line) && line == "kill")
    self->send(owner, line);
  self->send_exit(owner, caf::exit_reason::user_shutdown);
  self->wait_for(owner);
  std::cout << "the service has ended" << std::endl;
  std::getline(std::cin, line); // connections live on until the IOSystem ends
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
