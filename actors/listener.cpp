// SPDX-License-Identifier: BSD-3-Clause
//
// listener.cpp
#include "actors/listener.hpp"

#include "net/listening_sockets.hpp"
#include "net/socket_api.hpp"
#include <squall/net/log.hpp>
#include <squall/net/memory_budget.hpp>

#include <algorithm>

namespace squall {

Listener::Listener(caf::actor_config& config, std::shared_ptr<LoopUnit> unit,
                   std::shared_ptr<const LoopUnits> units, Handler handler, const ListenerOptions& options)
    : LoopActor{config, std::move(unit)}, units_{std::move(units)}, handler_{std::make_shared<const Handler>(
                                                                        std::move(handler))},
      options_{share_options(options.stream)}, accept_{options.accept}, limits_{options.limits} {
  if (accept_.tls && accept_.tls.side() != TLSSide::server)
    throw std::invalid_argument{"a listener needs a TLS context of a server, and this is one of a client"};
  if (const std::string problem = check_limits(limits_); !problem.empty())
    throw std::invalid_argument{problem};
  handle_later_only(); // Drain accepts the rest, whose handlers begin
  accept_tokens_ = static_cast<double>(limits_.max_accept_rate);
  tokens_counted_at_ = loop().turn_time();
  if (options.handover != nullptr)
    adopt(options.handover);
  else
    watch_room();
  update_pause();
}

/// Hears of places that come back.
void Listener::watch_room() {
  state_->set_on_room([home = unit(), weak = caf::weak_actor_ptr{ctrl()}] {
    home->post([weak] {
      if (const caf::strong_actor_ptr self = weak.lock())
        static_cast<Listener*>(self->get())->room_is_free();
    });
  });
}

Listener::Entry::Entry(Listener& listener, const ListeningSocket& socket, AcceptOptions options)
    : accept{std::move(options)}, is_tcp{socket_api::is_tcp(socket.fd())},
      acceptor{listener.loop(), socket, [this, &listener](Socket connection, const Endpoint& peer) {
                 listener.take(*this, std::move(connection), peer);
               }} {
  if (listener.options_->memory_budget != nullptr)
    acceptor.set_before_accept([&listener] {
      if (listener.must_wait_for_memory() && !listener.waits_for_memory_)
        listener.update_pause();
    });
  acceptor.set_on_pause([&listener] { return listener.count_pause(); });
  if (accept.proxy_protocol)
    proxy.emplace(
        listener.loop(), *accept.proxy_protocol,
        [this, &listener](Socket connection, const Endpoint& client) {
          listener.serve(std::move(connection), client, *this);
        },
        [&listener] {
          ++listener.state_->refused;
          listener.state_->tell_room(); // later: it is still counted
        });
}

void Listener::on_message(caf::mailbox_element& message) {
  const bool single = message.content().size() == 1;
  if (single && (socket_message(message) || connection_message(message)))
    return;
  if (single && message.content().match_element<Info>(0)) {
    ListenerInfo now = info();
    Reply{message}.deliver(*this, std::move(now));
  } else {
    Reply{message}.deliver(*this, caf::make_error(caf::sec::unexpected_message));
  }
}

/// Does what a message about the sockets says, when it is one; else returns false.
bool Listener::socket_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  const auto then_reply = [&](auto step) {
    Reply reply{message};
    step();
    reply.deliver(*this);
  };
  if (content.match_element<Listen>(0)) {
    listen(Reply{message}, content.get_as<Listen>(0));
  } else if (content.match_element<AddSockets>(0)) {
    const auto& request = content.get_as<AddSockets>(0);
    add_sockets(Reply{message}, request.sockets, request.accept);
  } else if (content.match_element<AddSocket>(0)) {
    const auto& request = content.get_as<AddSocket>(0);
    add_sockets(Reply{message}, {request.socket}, request.accept);
  } else if (content.match_element<ReloadTLS>(0)) {
    reload_tls(Reply{message});
  } else if (content.match_element<ReplaceTLS>(0)) {
    replace_tls(Reply{message}, content.get_as<ReplaceTLS>(0));
  } else if (content.match_element<Stop>(0)) {
    then_reply([&] { stop(); });
  } else if (content.match_element<Pause>(0)) {
    then_reply([&] { pause(true); });
  } else if (content.match_element<Resume>(0)) {
    then_reply([&] { pause(false); });
  } else {
    return false;
  }
  return true;
}

/// Does what a message about connections says, when it is one; else returns false.
bool Listener::connection_message(caf::mailbox_element& message) {
  const auto& content = message.content();
  if (content.match_element<SetLimits>(0))
    set_limits(Reply{message}, content.get_as<SetLimits>(0).limits);
  else if (content.match_element<Connections>(0))
    list_connections(Reply{message});
  else if (content.match_element<CloseConnection>(0))
    close_connection(Reply{message}, content.get_as<CloseConnection>(0));
  else if (content.match_element<Drain>(0))
    drain(Reply{message}, content.get_as<Drain>(0).deadline);
  else
    return false;
  return true;
}

void Listener::listen(Reply reply, const Listen& request) {
  const bool is_number = request.address.empty() || is_valid_ip(request.address);
  if (is_number || request.options.family == AddressFamily::unix_domain) // which bind_sockets refuses
    return listen(std::move(reply),
                  [&] { return bind_sockets(request.port, request.address, request.options); });
  const auto lookup = lookups_.insert(lookups_.end(), {std::move(reply), request, {}});
  lookup->lookup = default_resolver()->start_resolve(
      loop(), Resolve{request.address, request.port, request.options.family},
      [this, lookup](const Result<Addresses>& found) { listen(lookup, found); });
}

/// The host name of a Listen is looked up.
void Listener::listen(std::list<NameLookup>::iterator lookup, const Result<Addresses>& found) {
  NameLookup done = std::move(*lookup);
  lookups_.erase(lookup);
  listen(std::move(done.reply), [&] {
    const Listen& request = done.request;
    if (found)
      return bind_found(request.port, request.address, *found, request.options);
    const StreamError& error = found.error();
    throw lookup_failure(request.address, error.real_error ? error.real_error : make_error_code(error.code));
  });
}

template <class Bind>
void Listener::listen(Reply reply, Bind bind) {
  std::vector<ListeningSocket> sockets;
  try {
    sockets = bind();
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
  if (!drain_replies_.empty()) {
    reply.deliver(
        *this, make_error(ListenerErrc::cannot_listen, "the listener drains; add sockets when that is over"));
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
  update_pause();
  reply.deliver(*this, std::move(listening));
}

void Listener::stop() {
  for (NameLookup& lookup : std::exchange(lookups_, {}))
    lookup.reply.deliver(*this, make_error(ListenerErrc::cannot_listen,
                                           "the listener was stopped while it looked the host name up"));
  for (const auto& entry : entries_) {
    entry->acceptor.stop();
    ListeningSocket{entry->acceptor.socket()}.close();
  }
  // What was accepted goes on, also where its header is still to come.
  const ReserveUse use;
  std::vector<std::shared_ptr<Entry>> gone;
  std::vector<std::shared_ptr<Entry>> waiting;
  gone.reserve(entries_.size() + ending_.size()); // from here on they move
  waiting.reserve(entries_.size() + ending_.size());
  for (auto* entries : {&entries_, &ending_})
    for (std::shared_ptr<Entry>& entry : *entries)
      (entry->proxy && entry->proxy->pending_count() > 0 ? waiting : gone).push_back(std::move(entry));
  entries_.clear();
  ending_ = std::move(waiting);
  update_memory_wait();
  drop_later(std::move(gone));
  publish_info();
}

/// One of them may be accepting just now: they go when the loop is out of it. Until then they know this listener.
void Listener::drop_later(std::vector<std::shared_ptr<Entry>> entries) {
  unit()->post([keep = strong_ref(), gone = std::make_shared<decltype(entries)>(std::move(entries))] {
    gone->clear();
  });
}

void Listener::publish_info() {
  ListenerInfo now;
  for (const auto& entry : entries_)
    now.endpoints.push_back(entry->acceptor.socket().local_endpoint());
  now.paused = paused_ || limited();
  now.draining = !drain_replies_.empty();
  now.limits = limits_;
  const std::lock_guard lock{info_mutex_};
  info_ = std::move(now);
}

ListenerInfo Listener::info() const {
  ListenerInfo result;
  {
    const std::lock_guard lock{info_mutex_};
    result = info_;
  }
  result.connection_count = state_->open;
  result.place_count = state_->places;
  result.accepted_count = state_->accepted;
  result.failed_count = state_->failed;
  result.rejected_count = state_->rejected;
  result.pause_count = state_->pauses;
  result.refused_count = state_->refused;
  if (options_->memory_budget != nullptr) {
    result.memory_budget = options_->memory_budget->limit();
    result.memory_used = options_->memory_budget->used();
  }
  return result;
}

/// An accepted connection.
void Listener::take(Entry& entry, Socket socket, const Endpoint& peer) {
  accept_tokens_ = std::max(0.0, accept_tokens_ - 1); // a drain takes more than the rate lets in
  const auto pause_if_full = [this] {
    if (!refill_accepts() || full())
      update_pause();
  };
  try {
    if (entry.proxy)
      entry.proxy->accept(std::move(socket), peer);
    else
      serve(std::move(socket), peer, entry);
  } catch (...) {
    pause_if_full();
    throw;
  }
  pause_if_full();
}

/// Accepting pauses for want of descriptors or memory. @returns whether the log is to tell, which it does once a second
/// however many sockets there are
bool Listener::count_pause() {
  ++state_->pauses;
  const TimePoint now = loop().now();
  if (pause_told_ && now - *pause_told_ < std::chrono::seconds{1})
    return false;
  pause_told_ = now;
  return true;
}

void Listener::serve(Socket socket, const Endpoint& peer, const Entry& entry) {
  if (handler_ == nullptr) // it has ended
    return;
  const std::uint64_t id = ++state_->accepted;
  const bool no_place = limits_.max_connections > 0 && state_->places >= limits_.max_connections;
  // Where it is to wait in the kernel it does not come here, but for one with a late PROXY header.
  const bool no_memory = limits_.when_full != WhenFull::queue && memory_exhausted();
  auto place = no_place || no_memory ? nullptr : state_->take_place(peer, limits_.max_connections_per_ip);
  if (place == nullptr) {
    const char* limit = no_place ? "max_connections" : no_memory ? "memory_budget" : "max_connections_per_ip";
    reject(std::move(socket), peer, entry.accept, limit);
    if (waits_for_room_) // behind a proxy it was counted until its header told whose it is
      update_pause();
    return;
  }
  const std::shared_ptr<LoopUnit>& target = (*units_)[next_unit_++ % units_->size()];
  NewConnection connection{std::move(socket), entry.is_tcp,           peer,    entry.accept.tls, id,
                           std::move(place),  OpenConnection{state_}, options_};
  if (target == unit()) {
    spawn_connection(target, std::move(connection), handler_);
    return;
  }
  // std::function wants what can be copied.
  const auto shared = std::make_shared<NewConnection>(std::move(connection));
  target->post(
      [target, shared, handler = handler_] { spawn_connection(target, std::move(*shared), handler); });
}

void Listener::on_end(const caf::error&) {
  // Each step is tried, whatever the one before lacked; a Reply that is not delivered answers when it goes.
  const auto without_memory = [](auto step) {
    try {
      step();
    } catch (const std::bad_alloc&) {
    }
  };
  auto lookups = std::exchange(lookups_, {});
  auto drains = std::exchange(drain_replies_, {});
  drain_timer_.cancel();
  rate_timer_.cancel();
  without_memory([&] { end_reload(); });
  without_memory([&] {
    for (NameLookup& lookup : lookups)
      lookup.reply.deliver(*this, refusal());
  });
  without_memory([&] {
    if (handover_ != nullptr)
      leave_estate();
  });
  without_memory([&] { stop(); });
  without_memory([&] { drop_later(std::exchange(ending_, {})); });
  without_memory([&] {
    for (Reply& reply : drains)
      reply.deliver(*this, refusal());
  });
  handler_ = nullptr; // handles to an ended listener do not keep what it refers to
}

} // namespace squall
