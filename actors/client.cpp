// SPDX-License-Identifier: BSD-3-Clause
//
// client.cpp
#include "actors/client.hpp"

#include "actors/connection.hpp"

#include <limits>

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
  const Key key{requester, next_number_++};
  Request& made = requests_[key];
  made.reply = std::move(reply);
  try {
    made.connect =
        client_.start_connect(std::move(host), port, std::move(options),
                              [this, key](ConnectResult result) { answer(key, std::move(result)); });
  } catch (...) {
    take(key).reply.deliver(*this, to_error(std::current_exception()));
  }
}

/// A request is over.
Client::Request Client::take(const Key& key) {
  const auto taken = requests_.extract(key);
  if (!waits(taken.key().first))
    demonitor(taken.key().first);
  return std::move(taken.mapped());
}

void Client::answer(const Key& key, ConnectResult result) {
  const caf::strong_actor_ptr keep = strong_ref();
  Request request = take(key); // with the connect, which calls this
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
bool Client::waits(const caf::strong_actor_ptr& requester) const {
  const auto first = requests_.lower_bound({requester, 0});
  return first != requests_.end() && first->first.first == requester;
}

void Client::on_down(caf::down_msg& down) {
  const auto requester = caf::actor_cast<caf::strong_actor_ptr>(down.source); // a request of it holds it
  constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
  requests_.erase(requests_.lower_bound({requester, 0}), requests_.upper_bound({requester, last}));
}

void Client::on_end(const caf::error&) {
  const StreamError ended{StreamErrc::closed, CloseReason::shutting_down, {}};
  for (auto& [key, request] : std::exchange(requests_, {})) {
    request.connect = PendingConnect{};
    demonitor(key.first);
    request.reply.deliver(*this, make_error(ended));
  }
}

} // namespace squall
