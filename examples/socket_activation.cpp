// SPDX-License-Identifier: BSD-3-Clause
//
// socket_activation.cpp: greets one client, on a socket that the program was started with, or else on a unix socket
// whose path is the first argument. On an event loop of its own, without actors.
#include <squall/net/acceptor.hpp>
#include <squall/net/inherited_sockets.hpp>
#include <squall/net/io_stream.hpp>

#include <iostream>

int main(int argc, char** argv) try {
  // [inherited]
  std::vector<squall::ListeningSocket> sockets;
  for (const squall::InheritedSocket& inherited : squall::inherited_sockets()) {
    std::cout << inherited.name << ": " << to_string(inherited.socket.local_endpoint()) << std::endl;
    sockets.push_back(inherited.socket);
  }
  // [inherited]
  if (sockets.empty()) {
    const std::string path = argc > 1 ? argv[1] : "squall.sock";
    // [unix]
    sockets.push_back(squall::bind_unix_socket(path, {.mode = 0660}));
    // [unix]
    std::cout << "unix: " << to_string(sockets[0].local_endpoint()) << std::endl;
  }

  // [accept]
  squall::EventLoop loop;
  std::vector<squall::IOStream> streams;
  std::vector<std::function<void()>> removers;
  for (const squall::ListeningSocket& socket : sockets)
    removers.push_back(
        squall::add_accept_handler(loop, socket, [&](squall::Socket connection, squall::Endpoint) {
          for (const auto& remove : removers) // one client is enough
            remove();
          squall::IOStream& stream = streams.emplace_back(loop, std::move(connection));
          stream.set_close_callback([&] { loop.stop(); });
          stream.write("hello\n", [&](const squall::Result<void>&) { streams.front().close(); });
        }));
  loop.run();
  // [accept]
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
