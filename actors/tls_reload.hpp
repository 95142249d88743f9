// SPDX-License-Identifier: BSD-3-Clause
//
// tls_reload.hpp: contexts of TLS made anew from their files, on a thread of its own.
//
// A read that the system does not end, such as one of a file server that has gone, cannot be broken off: such a thread is left
// to itself, touches nothing any more but what it owns, and holds up neither the loop nor the end of the program.
//
// Threads    All of it on the loop's thread, but for what `State` guards.
#pragma once

#include "actors/caf_compat.hpp"
#include <squall/net/tls_context.hpp>

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace squall {

class TLSReload {
public:
  /// What came of it.
  struct Outcome {
    std::vector<std::pair<TLSContext, TLSContext>> reloaded; ///< the old one and the new one
    std::string error;                                       ///< empty: all of them are there
  };

  /// Begins. Calls `done` once, later and on the loop of `home`; not when this object is destroyed before.
  /// @throws std::system_error when the system has no thread
  TLSReload(std::shared_ptr<LoopUnit> home, std::vector<TLSContext> contexts,
            std::function<void(Outcome)> done);
  TLSReload(const TLSReload&) = delete;
  TLSReload& operator=(const TLSReload&) = delete;
  /// Waits for the thread unless it reads.
  ~TLSReload();

  /// The file that it reads now, or read last.
  [[nodiscard]] std::string reading() const;

private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

} // namespace squall
