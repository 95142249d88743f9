// SPDX-License-Identifier: BSD-3-Clause
//
// client.hpp: the client actor.
//
// Threads    Everything on the client's loop.
#pragma once

#include "actors/caf_compat.hpp"
#include <squall/client_actor.hpp>
#include <squall/net/tcp_client.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

namespace squall {

class Client final : public LoopActor {
public:
  Client(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, const ConnectOptions& options,
         std::shared_ptr<Resolver> resolver);

  [[nodiscard]] const char* name() const override { return "squall.client"; }

private:
  /// A request that is not answered.
  struct Request {
    Reply reply;
    PendingConnect connect;
  };
  /// Who asked, who is monitored, and which of the requests.
  using Key = std::pair<caf::strong_actor_ptr, std::uint64_t>;

  void on_message(caf::mailbox_element& message) override;
  void on_down(caf::down_msg& down) override;
  void on_end(const caf::error& reason) override;

  void connect(caf::mailbox_element& message, const Connect& request);
  Request take(const Key& key);
  void answer(const Key& key, ConnectResult result);
  [[nodiscard]] bool waits(const caf::strong_actor_ptr& requester) const;

  const ConnectOptions options_;
  TCPClient client_;
  std::map<Key, Request> requests_;
  std::uint64_t next_number_ = 0;
};

} // namespace squall
