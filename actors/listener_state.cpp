// SPDX-License-Identifier: BSD-3-Clause
//
// listener_state.cpp
#include "actors/listener_state.hpp"

#include <new>
#include <vector>

namespace squall {

struct ListenerState::Place {
  explicit Place(std::shared_ptr<ListenerState> of) : state{std::move(of)} { ++state->places; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    if (stream) {
      const std::lock_guard lock{state->lingering_mutex_};
      state->lingering_.erase(this);
    }
    if (network)
      state->count_out(*network);
    --state->places;
    if (state->wants_room.load() && state->wants_room.exchange(false)) {
      try {
        state->on_room();
      } catch (const std::bad_alloc&) { // the next place that comes back tells it
        state->wants_room = true;
      }
    }
  }
  const std::shared_ptr<ListenerState> state;
  std::optional<ClientNetwork> network; ///< that it is counted for
  IOStream stream;                      ///< that lingers; lets go of this place with its descriptor
  const EventLoop* loop = nullptr;      ///< of stream, for any thread
  bool ended_draining = false;          ///< its end is counted
};

std::shared_ptr<ListenerState::Place> ListenerState::take_place(const Endpoint& peer,
                                                                std::uint64_t most_per_network) {
  const auto network = most_per_network > 0 ? ClientNetwork::of(peer) : std::nullopt;
  auto place = std::make_shared<Place>(shared_from_this());
  if (network && !count_in(*network, most_per_network))
    return nullptr;
  place->network = network;
  return place;
}

void ListenerState::linger(const std::shared_ptr<Place>& place, const IOStream& stream) {
  const std::lock_guard lock{lingering_mutex_};
  lingering_.insert(place.get());
  place->stream = stream;
  place->loop = &stream.loop();
  place->ended_draining = draining;
}

void ListenerState::cut_lingering(const EventLoop& loop) {
  std::vector<IOStream> cut;
  {
    const std::lock_guard lock{lingering_mutex_};
    for (Place* place : lingering_) {
      if (place->loop != &loop)
        continue;
      cut.push_back(place->stream);
      if (!place->ended_draining)
        ++ended_draining;
    }
  }
  for (IOStream& stream : cut) {
    const auto place = stream.kept_until_closed(); // until it is counted
    stream.abort();
    if (stream.error().reason ==
        CloseReason::aborted) // else everything was sent, and it waited for the peer's end only
      ++cut_draining;
  }
}

bool ListenerState::count_in(const ClientNetwork& network, std::uint64_t most) {
  const std::lock_guard lock{networks_mutex_};
  std::uint64_t& count = networks_[network];
  if (count >= most)
    return false;
  ++count;
  return true;
}

void ListenerState::count_out(const ClientNetwork& network) noexcept {
  const std::lock_guard lock{networks_mutex_};
  const auto found = networks_.find(network);
  if (found != networks_.end() && --found->second == 0)
    networks_.erase(found);
}

} // namespace squall
