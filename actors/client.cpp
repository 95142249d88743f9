// SPDX-License-Identifier: BSD-3-Clause
//
// client.cpp
#include "actors/client.hpp"

#include "actors/connection.hpp"

#include <algorithm>

namespace squall {

Client::Client(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, const ConnectOptions& options,
               std::shared_ptr<Resolver> resolver)
    : LoopActor{config, std::move(unit)}, options_{options}, client_{loop(), std::move(resolver)} {
  handle_later_only(); // the resolver may be one of a user
}

void Client::on_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  if (content.size() == 1 && content.match_element<Connect>(0))
    connect(message, content.get_as<Connect>(0));
  else
    Reply{message}.deliver(*this, caf::make_error(caf::sec::unexpected_message));
}

void Client::connect(caf::mailbox_element& message, const Connect& request) {
  ConnectOptions options = options_;
  if (request.address.family != AddressFamily::unspec)
    options.family = request.address.family;
  if (!request.server_hostname.empty())
    options.server_hostname = request.server_hostname;
  if (request.timeout)
    options.timeout = request.timeout;
  std::string host = request.address.address;
  const std::uint16_t port = request.address.port;
  const caf::strong_actor_ptr requester = message.sender;
  Reply reply{message};
  if (!reply.wanted())
    return; // the stream would come to nobody
  if (!waits(requester))
    monitor(requester);
  const std::uint64_t number = next_number_++;
  Request& made = requests_[number];
  made.reply = std::move(reply);
  made.requester = requester;
  try {
    made.connect =
        client_.start_connect(std::move(host), port, std::move(options),
                              [this, number](ConnectResult result) { answer(number, std::move(result)); });
  } catch (...) {
    take(number).reply.deliver(*this, to_error(std::current_exception()));
  }
}

/// A request is over.
Client::Request Client::take(std::uint64_t number) {
  Request request = std::move(requests_.extract(number).mapped());
  if (!waits(request.requester))
    demonitor(request.requester);
  return request;
}

void Client::answer(std::uint64_t number, ConnectResult result) {
  const caf::strong_actor_ptr keep = strong_ref();
  Request request = take(number); // with the connect, which calls this
  Reply& reply = request.reply;
  if (!result) {
    reply.deliver(*this, make_error(result.error(), result.message()));
    return;
  }
  try {
    IOStream stream = result.value();
    const Endpoint peer = stream.peer_endpoint();
    const auto connection = make_loop_actor<Connection>(unit(), std::move(stream), peer);
    reply.deliver(*this, connection->handle());
  } catch (...) {
    reply.deliver(*this, to_error(std::current_exception()));
  }
}

/// It has a request that is not answered.
bool Client::waits(const caf::strong_actor_ptr& requester) const noexcept {
  return std::any_of(requests_.begin(), requests_.end(),
                     [&](const auto& entry) { return entry.second.requester == requester; });
}

void Client::on_down(caf::down_msg& down) {
  std::erase_if(requests_,
                [&](const auto& entry) { return entry.second.requester->address() == down.source; });
}

void Client::on_end(const caf::error&) {
  const StreamError ended{StreamErrc::closed, CloseReason::shutting_down, {}};
  for (auto& [number, request] : std::exchange(requests_, {})) {
    request.connect = PendingConnect{};
    demonitor(request.requester);
    request.reply.deliver(*this, make_error(ended));
  }
}

} // namespace squall
