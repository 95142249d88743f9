// SPDX-License-Identifier: BSD-3-Clause
//
// actor_echo.cpp: answers each line with itself; the handler is an actor, each read and write a request.
#include <squall/squall.hpp>

// [handler]
void read_line(caf::event_based_actor* self, const squall::StreamActor& stream) {
  self->request(stream, caf::infinite, squall::ReadUntil{"\n"}).then([=](const squall::Bytes& line) {
    self->request(stream, caf::infinite, squall::Write{line}).then([=] { read_line(self, stream); });
  });
}

// Lives as long as it waits for a response. The first request that fails, since the connection is gone, ends
// it.
caf::behavior echo(caf::event_based_actor* self, squall::StreamActor stream, squall::Endpoint) {
  read_line(self, stream);
  return {};
}
// [handler]

int main(int argc, char** argv) {
  squall::TCPServer server{echo};
  return squall::serve(argc, argv, server);
}
