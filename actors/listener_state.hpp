// SPDX-License-Identifier: BSD-3-Clause
//
// listener_state.hpp: what a listener and its connections share: counts, and places under its limits.
//
// Threads    Any, but for what says otherwise.
// Ownership  Shared by the listener, its connections and their places; it outlives the listener.
#pragma once

#include "net/descriptor_guest.hpp"
#include "net/unended.hpp"
#include <squall/net/endpoint.hpp>
#include <squall/net/intrusive_list.hpp>
#include <squall/net/ip_network.hpp>

#include <caf/actor_control_block.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace squall {

struct ListenerState : std::enable_shared_from_this<ListenerState> {
  std::atomic<std::uint64_t> open{0}; ///< connections whose actor lives, or is about to be made
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> failed{0};
  std::atomic<std::uint64_t> rejected{0}; ///< by a limit
  std::atomic<std::uint64_t> refused{0};  ///< without a good PROXY header
  std::atomic<std::uint64_t> pauses{0};
  std::atomic<std::uint64_t> places{0};      ///< connections and what is left of them: see Place
  std::atomic<std::uint64_t> descriptors{0}; ///< of places: a closed stream keeps its own while it sends

  std::atomic<bool> draining{false};
  std::atomic<TimePoint> drain_began{TimePoint{}};
  std::atomic<std::uint64_t> ended_draining{0}; ///< connections, since the draining began
  std::atomic<std::uint64_t> idle_draining{0};  ///< of these, closed since they were idle
  std::atomic<std::uint64_t> cut_draining{0};   ///< of these, cut

  /// `function` is called once, on the thread that gives a place back, after wants_room was set.
  void set_on_room(std::function<void()> function);
  void tell_room();
  std::atomic<bool> wants_room{false};

  /// A place for a connection; null when `most_per_network` connections are open from where `peer` is. 0: there is no such
  /// limit, and the connection is not counted for one.
  class Place;
  std::shared_ptr<Place> take_place(const Endpoint& peer, std::uint64_t most_per_network);

  /// Cuts what connections have left: the descriptors of `loop`, and handlers as far as they can be killed, of any loop where no
  /// descriptor is left. A closed stream that has sent everything, and waits for its peer's end only, does not count as cut. On
  /// the thread of `loop`.
  void cut_left(const EventLoop& loop);
  /// Nothing is left that cut_left has not dealt with.
  [[nodiscard]] bool all_cut();

private:
  using Networks = std::map<ClientNetwork, std::uint64_t>;

  /// The end of networks_ where `most` are counted already.
  Networks::iterator count_in(const ClientNetwork& network, std::uint64_t most);
  void count_out(Networks::iterator network) noexcept;

  std::mutex room_mutex_;
  std::function<void()> on_room_; ///< guarded by room_mutex_
  std::mutex networks_mutex_;
  Networks networks_; ///< guarded by networks_mutex_, but for its end()
  std::mutex left_mutex_;
  /// Whose stream actor has ended; guarded by left_mutex_, and so is what they keep of that.
  IntrusiveList<Place> left_;
};

/// The place of one connection. Its descriptor, its stream actor and its handler share it: it is given back when the last
/// of the three is gone. Otherwise clients that come and go could have more handlers at once than there are places
/// (CVE-2023-44487).
class ListenerState::Place final : public DescriptorGuest,
                                   public IntrusiveNode<ListenerState::Place>,
                                   public std::enable_shared_from_this<ListenerState::Place> {
public:
  Place(std::shared_ptr<ListenerState> state, Networks::iterator network);
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() override;

  [[nodiscard]] const std::shared_ptr<ListenerState>& listener() const noexcept { return state_; }
  /// The stream actor has ended, or is not made: the connection is not open any more. Once or more, on one thread.
  void count_closed() noexcept;
  /// The handler that holds it, too, until its end.
  void set_handler(const caf::strong_actor_ptr& handler);
  /// Counts the connection as cut by a drain; once.
  void count_cut();
  /// The stream actor has ended; its closed stream may still send. On the stream's loop.
  void leave(const IOStream& stream);

  void on_descriptor_closed() noexcept override;

private:
  friend struct ListenerState;

  void cut();

  const std::shared_ptr<ListenerState> state_;
  const Networks::iterator network_; ///< that it is counted for, or the end
  caf::weak_actor_ptr handler_;      ///< guarded by left_mutex_ once it is shared
  IOStream stream_;                  ///< that still sends; lets go of this place with its descriptor
  std::atomic<bool> has_descriptor_{true};
  bool open_ = true;            ///< it is counted as open
  bool ended_draining_ = false; ///< its end is counted
  bool cut_ = false;            ///< it is counted as cut; guarded by left_mutex_, too
};

} // namespace squall
