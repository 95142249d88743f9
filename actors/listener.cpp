// SPDX-License-Identifier: BSD-3-Clause
//
// listener.cpp
#include "actors/listener.hpp"

#include <squall/net/log.hpp>

#include <algorithm>

namespace squall {

Listener::Listener(caf::actor_config& config, std::shared_ptr<LoopUnit> unit,
                   std::shared_ptr<const LoopUnits> units, Handler handler, const ListenerOptions& options)
    : LoopActor{config, std::move(unit)}, units_{std::move(units)}, handler_{std::make_shared<const Handler>(
                                                                        std::move(handler))},
      options_{share_options(options.stream)}, accept_{options.accept} {
  if (accept_.tls && accept_.tls.side() != TLSSide::server)
    throw std::invalid_argument{"a listener needs a TLS context of a server, and this is one of a client"};
}

Listener::Entry::Entry(Listener& listener, const ListeningSocket& socket, AcceptOptions options)
    : accept{std::move(options)}, acceptor{listener.loop(), socket,
                                           [this, &listener](Socket connection, const Endpoint& peer) {
                                             if (proxy)
                                               proxy->accept(std::move(connection), peer);
                                             else
                                               listener.serve(std::move(connection), peer, accept);
                                           }} {
  if (accept.proxy_protocol)
    proxy.emplace(
        listener.loop(), *accept.proxy_protocol,
        [this, &listener](Socket connection, const Endpoint& client) {
          listener.serve(std::move(connection), client, accept);
        },
        [counters = listener.counters_] { ++counters->refused; });
}

void Listener::on_message(caf::mailbox_element& message) {
  auto& content = message.content();
  const bool single = content.size() == 1;
  Reply reply{message};
  if (single && content.match_element<Listen>(0)) {
    listen(std::move(reply), content.get_as<Listen>(0));
  } else if (single && content.match_element<AddSockets>(0)) {
    const auto& request = content.get_as<AddSockets>(0);
    add_sockets(std::move(reply), request.sockets, request.accept);
  } else if (single && content.match_element<AddSocket>(0)) {
    const auto& request = content.get_as<AddSocket>(0);
    add_sockets(std::move(reply), {request.socket}, request.accept);
  } else if (single && content.match_element<ReloadTLS>(0)) {
    reload_tls(std::move(reply));
  } else if (single && content.match_element<ReplaceTLS>(0)) {
    replace_tls(std::move(reply), content.get_as<ReplaceTLS>(0));
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
  add_sockets(std::move(reply), sockets, std::nullopt);
}

/// All or none.
void Listener::add_sockets(Reply reply, const std::vector<ListeningSocket>& sockets,
                           const std::optional<AcceptOptions>& accept) {
  if (accept && accept->tls && accept->tls.side() != TLSSide::server) {
    reply.deliver(
        *this, make_error(ListenerErrc::cannot_listen,
                          "a listening socket needs a TLS context of a server, and this is one of a client"));
    return;
  }
  std::vector<std::shared_ptr<Entry>> added;
  Listening listening;
  for (const ListeningSocket& socket : sockets) {
    const auto same = [&](const auto& entry) { return entry->acceptor.socket() == socket; };
    if (std::any_of(entries_.begin(), entries_.end(), same) ||
        std::any_of(added.begin(), added.end(), same)) {
      reply.deliver(*this,
                    make_error(ListenerErrc::already_listening,
                               "the socket on " + to_string(socket.local_endpoint()) + " was added before"));
      return;
    }
    try {
      added.push_back(std::make_shared<Entry>(*this, socket, accept.value_or(accept_)));
    } catch (const std::exception& error) {
      reply.deliver(*this, make_error(ListenerErrc::cannot_listen,
                                      to_string(socket.local_endpoint()) + ": " + error.what()));
      return;
    }
    listening.endpoints.push_back(socket.local_endpoint());
  }
  entries_.insert(entries_.end(), added.begin(), added.end());
  publish_endpoints();
  reply.deliver(*this, std::move(listening));
}

void Listener::stop() {
  for (const auto& entry : entries_) {
    entry->acceptor.stop();
    ListeningSocket{entry->acceptor.socket()}.close();
  }
  // What was accepted goes on, also where its header is still to come.
  std::vector<std::shared_ptr<Entry>> gone;
  std::vector<std::shared_ptr<Entry>> waiting;
  for (auto* entries : {&entries_, &ending_})
    for (std::shared_ptr<Entry>& entry : *entries)
      (entry->proxy && entry->proxy->pending_count() > 0 ? waiting : gone).push_back(std::move(entry));
  entries_.clear();
  ending_ = std::move(waiting);
  drop_later(std::move(gone));
  publish_endpoints();
}

/// One of them may be accepting just now: they go when the loop is out of it. Until then they know this listener.
void Listener::drop_later(std::vector<std::shared_ptr<Entry>> entries) {
  unit()->post([keep = strong_ref(), gone = std::make_shared<decltype(entries)>(std::move(entries))] {
    gone->clear();
  });
}

// -- TLS

/// All or none.
void Listener::reload_tls(Reply reply) {
  std::vector<AcceptOptions*> options{&accept_};
  for (const auto& entry : entries_)
    options.push_back(&entry->accept);
  std::vector<std::pair<TLSContext, TLSContext>> reloaded; // sockets that share a context go on sharing one
  try {
    for (const AcceptOptions* of : options) {
      const auto same = [&](const auto& pair) { return pair.first == of->tls; };
      if (of->tls && std::none_of(reloaded.begin(), reloaded.end(), same))
        reloaded.emplace_back(of->tls, of->tls.reload());
    }
  } catch (const std::exception& error) {
    reply.deliver(*this, make_error(ListenerErrc::cannot_reload, error.what()));
    return;
  }
  for (AcceptOptions* of : options)
    for (const auto& [before, after] : reloaded)
      if (of->tls == before) {
        of->tls = after;
        break;
      }
  reply.deliver(*this);
}

void Listener::replace_tls(Reply reply, const ReplaceTLS& request) {
  const bool fits = request.replaced && request.replacement && request.replacement.side() == TLSSide::server;
  bool used = false;
  const auto replace = [&](AcceptOptions& options) {
    if (!fits || options.tls != request.replaced)
      return;
    options.tls = request.replacement;
    used = true;
  };
  replace(accept_);
  for (const auto& entry : entries_)
    replace(entry->accept);
  if (used)
    reply.deliver(*this);
  else
    reply.deliver(*this, make_error(ListenerErrc::cannot_reload,
                                    fits ? "no socket of the listener uses the context that is to be replaced"
                                         : "two contexts of TLS for servers are needed"));
}

void Listener::publish_endpoints() {
  const std::lock_guard lock{endpoints_mutex_};
  endpoints_.clear();
  for (const auto& entry : entries_)
    endpoints_.push_back(entry->acceptor.socket().local_endpoint());
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
  result.refused_count = counters_->refused;
  return result;
}

void Listener::serve(Socket socket, const Endpoint& peer, const AcceptOptions& accept) {
  if (handler_ == nullptr) // it has ended
    return;
  ++counters_->accepted;
  const std::shared_ptr<LoopUnit>& target = (*units_)[next_unit_++ % units_->size()];
  if (target == unit()) {
    spawn_connection(target, std::move(socket), peer, *handler_, options_, accept.tls, counters_);
    return;
  }
  const auto shared = std::make_shared<Socket>(std::move(socket)); // std::function wants what can be copied
  target->post([=, handler = handler_, options = options_, tls = accept.tls, counters = counters_] {
    spawn_connection(target, std::move(*shared), peer, *handler, options, tls, counters);
  });
}

void Listener::on_end(const caf::error&) {
  stop();
  drop_later(std::exchange(ending_, {}));
  handler_ = nullptr; // handles to an ended listener do not keep what it refers to
}

} // namespace squall
