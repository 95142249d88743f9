// SPDX-License-Identifier: BSD-3-Clause
//
// listener.hpp: the listener actor.
//
// Threads    Everything on the listener's loop, but for info(); the connections go to all loops in turn.
#pragma once

#include "actors/connection.hpp"
#include <squall/net/acceptor.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace squall {

/// The loops of an IOSystem.
using LoopUnits = std::vector<std::shared_ptr<LoopUnit>>;

class Listener final : public LoopActor {
public:
  Listener(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, std::shared_ptr<const LoopUnits> units,
           Handler handler, const ListenerOptions& options);

  [[nodiscard]] const char* name() const override { return "squall.listener"; }

  /// Any thread.
  [[nodiscard]] ListenerInfo info() const;

private:
  /// A listening socket.
  struct Entry {
    Entry(Listener& listener, const ListeningSocket& socket, AcceptOptions options);
    AcceptOptions accept;
    std::optional<ProxyReader> proxy;
    Acceptor acceptor;
  };

  void on_message(caf::mailbox_element& message) override;
  void on_end(const caf::error& reason) override;

  void listen(Reply reply, const Listen& request);
  void add_sockets(Reply reply, const std::vector<ListeningSocket>& sockets,
                   const std::optional<AcceptOptions>& accept);
  void reload_tls(Reply reply);
  void replace_tls(Reply reply, const ReplaceTLS& request);
  void stop();
  void drop_later(std::vector<std::shared_ptr<Entry>> entries);
  void publish_endpoints();
  void serve(Socket socket, const Endpoint& peer, const AcceptOptions& accept);

  std::shared_ptr<const LoopUnits> units_;
  std::size_t next_unit_ = 0;
  std::shared_ptr<const Handler> handler_;
  const std::shared_ptr<const StreamOptions> options_;
  std::shared_ptr<ConnectionCounters> counters_ = std::make_shared<ConnectionCounters>();
  AcceptOptions accept_; ///< of what is added without its own
  std::vector<std::shared_ptr<Entry>> entries_;
  std::vector<std::shared_ptr<Entry>>
      ending_; ///< that accept no more, and have connections without their header
  mutable std::mutex endpoints_mutex_;
  std::vector<Endpoint> endpoints_; ///< of entries_; guarded by endpoints_mutex_
};

} // namespace squall
