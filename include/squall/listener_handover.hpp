// SPDX-License-Identifier: BSD-3-Clause
//
// listener_handover.hpp: what a listener leaves to the one that is spawned in its place.
//
// Connections outlive their listener, but without one nobody can list, drain, count or limit them, and its sockets
// close with it. Who supervises a listener puts a ListenerHandover into its options, and into those of each listener
// that it spawns in its place (docs/servers.md):
//
//     options.handover = std::make_shared<squall::ListenerHandover>();
//
// Threads    Any.
// Ownership  Shared by the supervisor and the listener that lives. At the listener's end, whatever the reason, its
//            listening sockets stay open in here, with those who wait in their backlogs, until the next listener takes
//            them, or until this goes, which closes them. Only the end of the whole IOSystem closes them at once.
#pragma once

#include <memory>

namespace squall {

class ListenerHandover {
public:
  ListenerHandover();
  ListenerHandover(const ListenerHandover&) = delete;
  ListenerHandover& operator=(const ListenerHandover&) = delete;
  ~ListenerHandover();

private:
  friend class Listener;
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

} // namespace squall
