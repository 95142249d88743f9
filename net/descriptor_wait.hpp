// SPDX-License-Identifier: BSD-3-Clause
//
// descriptor_wait.hpp: hears of it when the process has closed a descriptor, so that what had none goes on at once.
//
// Threads    A wait belongs to the thread of its loop; tell_descriptor_closed() may be called from any thread.
// Lifetime   The loop outlives the wait that it was started with.
#pragma once

#include <squall/net/event_loop.hpp>

#include <functional>
#include <memory>

namespace squall {

/// Socket says that it has closed a descriptor. Costs one load of an atomic where nobody waits.
void tell_descriptor_closed() noexcept;

class DescriptorWait {
public:
  /// `on_closed` runs once for each start(), on the loop; it may start again.
  explicit DescriptorWait(std::function<void()> on_closed);
  DescriptorWait(const DescriptorWait&) = delete;
  DescriptorWait& operator=(const DescriptorWait&) = delete;
  ~DescriptorWait() { cancel(); }

  /// Does nothing while it waits already. @throws std::bad_alloc
  void start(EventLoop& loop);
  /// Does nothing when it does not wait.
  void cancel() noexcept;

private:
  friend void tell_descriptor_closed() noexcept;
  void told();

  std::function<void()> on_closed_;
  std::shared_ptr<DescriptorWait*> self_; ///< while it waits; what is posted knows from it that it still does
};

} // namespace squall
