// SPDX-License-Identifier: BSD-3-Clause
//
// listener_handover.cpp: what a listener leaves at its end, and how another one takes it over.
#include "actors/listener_handover.hpp"

#include "actors/listener.hpp"
#include "net/tell.hpp"

#include <stdexcept>

namespace squall {

ListenerHandover::ListenerHandover() : impl_{std::make_unique<Impl>()} {}

ListenerHandover::~ListenerHandover() = default;

ListenerHandover::Impl::~Impl() {
  for (ListenerEstate::Entry& entry : estate_.entries)
    entry.socket.close(); // as the end of a listener does, whoever has a copy
}

ListenerEstate ListenerHandover::Impl::take(const std::shared_ptr<const LoopUnits>& units) {
  const std::lock_guard lock{mutex_};
  if (taken_)
    throw std::invalid_argument{"the listener with this handover has not ended"};
  if (units_ != nullptr && units_ != units)
    throw std::invalid_argument{"a handover belongs to the IOSystem of its first listener"};
  units_ = units;
  taken_ = true;
  return std::exchange(estate_, {});
}

void ListenerHandover::Impl::leave(ListenerEstate estate) {
  const std::lock_guard lock{mutex_};
  estate_ = std::move(estate);
  taken_ = false;
}

// -- the listener's side

/// Takes over what the listener before it has left.
void Listener::adopt(const std::shared_ptr<ListenerHandover>& handover) {
  ListenerEstate estate = handover->impl_->take(units_);
  try {
    for (const ListenerEstate::Entry& left : estate.entries)
      entries_.push_back(std::make_shared<Entry>(*this, left.socket, left.accept));
    if (estate.state != nullptr)
      state_ = estate.state;
    watch_room();
  } catch (...) {
    entries_.clear();
    handover->impl_->leave(std::move(estate));
    throw;
  }
  handover_ = handover;
  state_->draining = false; // a drain that was under way has ended with its listener
  for (std::size_t i = 0; i < entries_.size(); ++i)
    for (ProxyReader::Unserved& unserved : estate.entries[i].unserved)
      adopt_unserved(*entries_[i], std::move(unserved));
}

/// A connection that waits for its PROXY header.
void Listener::adopt_unserved(Entry& entry, ProxyReader::Unserved unserved) {
  try {
    entry.proxy->accept(std::move(unserved.connection), unserved.peer);
  } catch (const std::exception& error) { // costs this connection
    tell(LogLevel::error, "connection_failed", "a connection could not be served", [&] {
      return LogFields{{"peer", to_string(unserved.peer)}, {"error", error.what()}};
    });
  }
}

/// The listener ends: its connections and its sockets, as they are, are for another one.
void Listener::leave_estate() {
  const auto handover = std::exchange(handover_, nullptr); // handles to an ended listener do not keep it
  ListenerEstate estate;
  estate.state = state_;
  if (!unit()->ending()) { // else no other will come
    try_step([&] {
      for (const auto& entry : entries_) {
        entry->acceptor.stop();
        if (entry->acceptor.socket().fd() < 0) // somebody has closed it
          continue;
        estate.entries.push_back({entry->acceptor.socket(), entry->accept, {}});
        if (entry->proxy)
          estate.entries.back().unserved = entry->proxy->release_pending();
      }
    });
    try_step([this] { drop_later(std::exchange(entries_, {})); });
  }
  handover->impl_->leave(std::move(estate));
}

} // namespace squall
