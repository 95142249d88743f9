// SPDX-License-Identifier: BSD-3-Clause
//
// listener_state.cpp
#include "actors/listener_state.hpp"

#include <caf/all.hpp>

#include <new>
#include <vector>

namespace squall {

ListenerState::Place::Place(std::shared_ptr<ListenerState> state, Networks::iterator network)
    : state_{std::move(state)}, network_{network} {
  ++state_->open;
  ++unended::connections;
  ++state_->places;
  ++state_->descriptors;
}

ListenerState::Place::~Place() {
  on_descriptor_closed(); // where it never had a stream
  count_closed();         // nor an actor
  {
    const std::lock_guard lock{state_->left_mutex_};
    IntrusiveNode<Place>::unlink();
  }
  if (network_ != state_->networks_.end())
    state_->count_out(network_);
  --state_->places;
  if (state_->wants_room.load() && state_->wants_room.exchange(false)) {
    try {
      state_->tell_room();
    } catch (const std::bad_alloc&) { // the next place that comes back tells it
      state_->wants_room = true;
    }
  }
}

void ListenerState::Place::count_closed() noexcept {
  if (!std::exchange(open_, false))
    return;
  --state_->open;
  --unended::connections;
}

void ListenerState::Place::count_cut() {
  const std::lock_guard lock{state_->left_mutex_};
  if (!std::exchange(cut_, true))
    ++state_->cut_draining;
}

/// The deadline of a drain has come. On the stream's loop.
void ListenerState::Place::cut() {
  IOStream stream;
  caf::actor handler;
  {
    const std::lock_guard lock{state_->left_mutex_};
    if (!std::exchange(ended_draining_, true))
      ++state_->ended_draining;
    stream = stream_;
    handler = caf::actor_cast<caf::actor>(handler_);
  }
  if (stream)
    stream.abort();
  if (handler || (stream && stream.error().reason == CloseReason::aborted))
    count_cut();
  if (handler)
    caf::anon_send_exit(handler, caf::exit_reason::kill);
}

void ListenerState::Place::set_handler(const caf::strong_actor_ptr& handler) {
  handler_ = caf::weak_actor_ptr{handler.get()};
  handler->get()->attach_functor([place = shared_from_this()](const caf::error&) {
    const std::lock_guard lock{place->state_->left_mutex_};
    place->handler_ = nullptr;
  });
}

void ListenerState::Place::leave(const IOStream& stream) {
  const std::lock_guard lock{state_->left_mutex_};
  state_->left_.push_back_if_unlinked(*this);
  if (has_descriptor_) {
    stream_ = stream;
    DescriptorGuest::hold(stream);
  }
  ended_draining_ = state_->draining;
}

void ListenerState::Place::on_descriptor_closed() noexcept {
  if (!has_descriptor_.exchange(false))
    return;
  --state_->descriptors;
  IOStream gone;
  const std::lock_guard lock{state_->left_mutex_};
  std::swap(gone, stream_);
}

void ListenerState::set_on_room(std::function<void()> function) {
  const std::lock_guard lock{room_mutex_};
  on_room_ = std::move(function);
}

void ListenerState::tell_room() {
  const std::lock_guard lock{room_mutex_};
  on_room_();
}

std::shared_ptr<ListenerState::Place> ListenerState::take_place(const Endpoint& peer,
                                                                std::uint64_t most_per_network) {
  auto counted = networks_.end();
  if (const auto network = most_per_network > 0 ? ClientNetwork::of(peer) : std::nullopt) {
    counted = count_in(*network, most_per_network);
    if (counted == networks_.end())
      return nullptr;
  }
  try {
    return std::make_shared<Place>(shared_from_this(), counted);
  } catch (...) {
    if (counted != networks_.end())
      count_out(counted);
    throw;
  }
}

void ListenerState::cut_left(const EventLoop& loop) {
  std::vector<std::shared_ptr<Place>> found;
  {
    const std::lock_guard lock{left_mutex_};
    left_.for_each([&](Place& place) {
      if (place.stream_ && &place.stream_.loop() != &loop)
        return;
      if (auto kept = place.weak_from_this().lock()) // else it goes just now
        found.push_back(std::move(kept));
    });
  }
  for (const auto& place : found)
    place->cut();
}

bool ListenerState::all_cut() {
  bool all = descriptors == 0;
  const std::lock_guard lock{left_mutex_};
  left_.for_each([&](const Place& place) { all = all && place.cut_; });
  return all;
}

ListenerState::Networks::iterator ListenerState::count_in(const ClientNetwork& network, std::uint64_t most) {
  const std::lock_guard lock{networks_mutex_};
  const auto found = networks_.try_emplace(network, 0).first;
  if (found->second >= most)
    return networks_.end();
  ++found->second;
  return found;
}

void ListenerState::count_out(Networks::iterator network) noexcept {
  const std::lock_guard lock{networks_mutex_};
  if (--network->second == 0)
    networks_.erase(network);
}

} // namespace squall
