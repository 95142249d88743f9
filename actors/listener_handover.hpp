// SPDX-License-Identifier: BSD-3-Clause
//
// listener_handover.hpp: the inside of a ListenerHandover.
//
// Threads    Any.
#pragma once

#include "actors/caf_compat.hpp"
#include "actors/listener_state.hpp"
#include <squall/listener_handover.hpp>
#include <squall/net/proxy_reader.hpp>
#include <squall/net/socket.hpp>
#include <squall/stream_messages.hpp>

#include <memory>
#include <mutex>
#include <vector>

namespace squall {

/// The loops of an IOSystem.
using LoopUnits = std::vector<std::shared_ptr<LoopUnit>>;

/// What a listener leaves.
struct ListenerEstate {
  struct Entry {
    ListeningSocket socket;
    AcceptOptions accept;
    std::vector<ProxyReader::Unserved> unserved;
  };
  std::shared_ptr<ListenerState> state; ///< with its connections; null before the first listener
  std::vector<Entry> entries;
};

class ListenerHandover::Impl {
public:
  ~Impl();

  /// Takes what is here, for a listener of `units`, which has to leave() it.
  /// @throws std::invalid_argument while another listener has it, or when that was one of another IOSystem
  ListenerEstate take(const std::shared_ptr<const LoopUnits>& units);
  void leave(ListenerEstate estate);

private:
  std::mutex mutex_; ///< guards the rest
  bool taken_ = false;
  std::shared_ptr<const LoopUnits> units_; ///< of the first listener
  ListenerEstate estate_;
};

} // namespace squall
