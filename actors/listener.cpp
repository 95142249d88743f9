// SPDX-License-Identifier: BSD-3-Clause
//
// listener.cpp
#include "actors/listener.hpp"

#include <squall/net/log.hpp>

#include <algorithm>

namespace squall {

Listener::Listener(caf::actor_config& config, std::shared_ptr<LoopUnit> unit,
                   std::shared_ptr<const LoopUnits> units, Handler handler, const StreamOptions& options)
    : LoopActor{config, std::move(unit)}, units_{std::move(units)},
      handler_{std::make_shared<const Handler>(std::move(handler))}, options_{share_options(options)} {}

void Listener::on_message(caf::mailbox_element& message) {
  auto& content = message.content();
  const bool single = content.size() == 1;
  Reply reply{message};
  if (single && content.match_element<Listen>(0)) {
    listen(std::move(reply), content.get_as<Listen>(0));
  } else if (single && content.match_element<AddSockets>(0)) {
    add_sockets(std::move(reply), content.get_as<AddSockets>(0).sockets);
  } else if (single && content.match_element<AddSocket>(0)) {
    add_sockets(std::move(reply), {content.get_as<AddSocket>(0).socket});
  } else if (single && content.match_element<Stop>(0)) {
    stop();
    reply.deliver(*this);
  } else if (single && content.match_element<Info>(0)) {
    reply.deliver(*this, info());
  } else {
    reply.deliver(*this, caf::make_error(caf::sec::unexpected_message));
  }
}

void Listener::listen(Reply reply, const Listen& request) {
  std::vector<ListeningSocket> sockets;
  try {
    sockets = bind_sockets(request.port, request.address, request.options);
  } catch (const std::exception& error) {
    reply.deliver(*this, make_error(ListenerErrc::cannot_listen, error.what()));
    return;
  }
  add_sockets(std::move(reply), sockets);
}

/// All or none.
void Listener::add_sockets(Reply reply, const std::vector<ListeningSocket>& sockets) {
  std::vector<std::shared_ptr<Acceptor>> added;
  Listening listening;
  for (const ListeningSocket& socket : sockets) {
    const auto same = [&](const auto& acceptor) { return acceptor->socket() == socket; };
    if (std::any_of(acceptors_.begin(), acceptors_.end(), same) ||
        std::any_of(added.begin(), added.end(), same)) {
      reply.deliver(*this,
                    make_error(ListenerErrc::already_listening,
                               "the socket on " + to_string(socket.local_endpoint()) + " was added before"));
      return;
    }
    try {
      added.push_back(
          std::make_shared<Acceptor>(loop(), socket, [this](Socket connection, const Endpoint& peer) {
            serve(std::move(connection), peer);
          }));
    } catch (const std::exception& error) {
      reply.deliver(*this, make_error(ListenerErrc::cannot_listen,
                                      to_string(socket.local_endpoint()) + ": " + error.what()));
      return;
    }
    listening.endpoints.push_back(socket.local_endpoint());
  }
  acceptors_.insert(acceptors_.end(), added.begin(), added.end());
  publish_endpoints();
  reply.deliver(*this, std::move(listening));
}

void Listener::stop() {
  for (const auto& acceptor : acceptors_) {
    acceptor->stop();
    ListeningSocket{acceptor->socket()}.close();
  }
  // One of them may be accepting just now: they go when the loop is out of it.
  unit()->post(
      [gone = std::make_shared<decltype(acceptors_)>(std::exchange(acceptors_, {}))] { gone->clear(); });
  publish_endpoints();
}

void Listener::publish_endpoints() {
  const std::lock_guard lock{endpoints_mutex_};
  endpoints_.clear();
  for (const auto& acceptor : acceptors_)
    endpoints_.push_back(acceptor->socket().local_endpoint());
}

ListenerInfo Listener::info() const {
  ListenerInfo result;
  {
    const std::lock_guard lock{endpoints_mutex_};
    result.endpoints = endpoints_;
  }
  result.connection_count = counters_->open;
  result.accepted_count = counters_->accepted;
  result.failed_count = counters_->failed;
  return result;
}

void Listener::serve(Socket socket, const Endpoint& peer) {
  ++counters_->accepted;
  const std::shared_ptr<LoopUnit>& target = (*units_)[next_unit_++ % units_->size()];
  if (target == unit()) {
    spawn_connection(target, std::move(socket), peer, *handler_, options_, counters_);
    return;
  }
  const auto shared = std::make_shared<Socket>(std::move(socket)); // std::function wants what can be copied
  target->post([=, handler = handler_, options = options_, counters = counters_] {
    spawn_connection(target, std::move(*shared), peer, *handler, options, counters);
  });
}

void Listener::on_end(const caf::error&) {
  stop();
  handler_ = nullptr; // handles to an ended listener do not keep what it refers to
}

} // namespace squall
