// SPDX-License-Identifier: BSD-3-Clause
//
// listener_state.cpp
#include "actors/listener_state.hpp"

namespace squall {

struct ListenerState::Place {
  Place(std::shared_ptr<ListenerState> of, std::optional<ClientNetwork> from)
      : state{std::move(of)}, network{from} {
    ++state->places;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    if (network)
      state->count_out(*network);
    --state->places;
    if (state->wants_room.load() && state->wants_room.exchange(false))
      state->on_room();
  }
  std::shared_ptr<ListenerState> state;
  std::optional<ClientNetwork> network;
};

std::shared_ptr<const void> ListenerState::take_place(const Endpoint& peer, std::uint64_t most_per_network) {
  const auto network = most_per_network > 0 ? ClientNetwork::of(peer) : std::nullopt;
  if (network && !count_in(*network, most_per_network))
    return nullptr;
  return std::make_shared<const Place>(shared_from_this(), network);
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
