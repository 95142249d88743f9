// SPDX-License-Identifier: BSD-3-Clause
//
// listener_state.hpp: what a listener and its connections share: counts, and places under its limits.
//
// Threads    Any, but for what says otherwise.
// Ownership  Shared by the listener, its connections and their places; it outlives the listener.
#pragma once

#include "net/unended.hpp"
#include <squall/net/endpoint.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/ip_network.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

namespace squall {

struct ListenerState : std::enable_shared_from_this<ListenerState> {
  std::atomic<std::uint64_t> open{0}; ///< connections whose actor lives, or is about to be made
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> rejected{0}; ///< by a limit
  std::atomic<std::uint64_t> refused{0};  ///< without a good PROXY header
  std::atomic<std::uint64_t> pauses{0};
  std::atomic<std::uint64_t> places{0}; ///< descriptors: a closed stream keeps its own while it sends

  std::atomic<bool> draining{false};
  std::atomic<TimePoint> drain_began{TimePoint{}};
  std::atomic<std::uint64_t> ended_draining{0}; ///< connections, since the draining began
  std::atomic<std::uint64_t> idle_draining{0};  ///< of these, closed since they were idle
  std::atomic<std::uint64_t> cut_draining{0};   ///< of these, cut

  /// Called once, on the thread that gives a place back, after wants_room was set; set before there is a place.
  std::function<void()> on_room;
  std::atomic<bool> wants_room{false};

  /// A place for a connection, given back when the last copy goes; null when `most_per_network` connections are open
  /// from where `peer` is. 0: there is no such limit, and the connection is not counted for one.
  struct Place;
  std::shared_ptr<Place> take_place(const Endpoint& peer, std::uint64_t most_per_network);

  /// The actor of the connection that has `place` has ended, its closed stream still sends; on the stream's loop.
  void linger(const std::shared_ptr<Place>& place, const IOStream& stream);
  /// Aborts those that linger on `loop`, on its thread, and counts those that still sent as cut.
  void cut_lingering(const EventLoop& loop);

private:
  bool count_in(const ClientNetwork& network, std::uint64_t most);
  void count_out(const ClientNetwork& network) noexcept;

  std::mutex networks_mutex_;
  std::map<ClientNetwork, std::uint64_t> networks_; ///< guarded by networks_mutex_
  std::mutex lingering_mutex_;
  std::set<Place*> lingering_; ///< guarded by lingering_mutex_
};

/// Counts a connection as open while it lives.
class OpenConnection {
public:
  OpenConnection() noexcept = default;
  explicit OpenConnection(std::shared_ptr<ListenerState> listener) : listener_{std::move(listener)} {
    ++listener_->open;
    ++unended::connections;
  }
  OpenConnection(OpenConnection&&) noexcept = default;
  OpenConnection& operator=(OpenConnection&&) = delete;
  ~OpenConnection() { end(); }

  void end() noexcept {
    if (listener_ == nullptr)
      return;
    --listener_->open;
    --unended::connections;
    listener_ = nullptr;
  }
  /// nullptr: of no listener, or at its end.
  [[nodiscard]] const std::shared_ptr<ListenerState>& listener() const noexcept { return listener_; }

private:
  std::shared_ptr<ListenerState> listener_;
};

} // namespace squall
