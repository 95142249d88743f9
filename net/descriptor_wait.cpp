// SPDX-License-Identifier: BSD-3-Clause
//
// descriptor_wait.cpp
#include "net/descriptor_wait.hpp"

#include "net/never_destroyed.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>
#include <vector>

namespace squall {

namespace {

struct Waiting {
  EventLoop* loop;
  std::weak_ptr<DescriptorWait*> wait;
};

/// The waits of the process. Never destroyed: sockets may close after everything else.
struct Waits {
  std::mutex mutex;
  std::vector<Waiting> waiting; ///< guarded by mutex
  std::atomic<bool> any{false}; ///< whether there are some
};

Waits& waits() noexcept {
  static NeverDestroyed<Waits> all;
  return *all;
}

} // namespace

DescriptorWait::DescriptorWait(std::function<void()> on_closed) : on_closed_{std::move(on_closed)} {}

void DescriptorWait::start(EventLoop& loop) {
  if (self_ != nullptr)
    return;
  auto self = std::make_shared<DescriptorWait*>(this);
  Waits& all = waits();
  const std::lock_guard lock{all.mutex};
  all.waiting.push_back({&loop, self});
  all.any = true;
  self_ = std::move(self);
}

void DescriptorWait::cancel() noexcept {
  if (self_ == nullptr)
    return;
  Waits& all = waits();
  const std::lock_guard lock{all.mutex};
  std::erase_if(all.waiting, [&](const Waiting& entry) {
    return !entry.wait.owner_before(self_) && !self_.owner_before(entry.wait);
  });
  all.any = !all.waiting.empty();
  self_ = nullptr;
}

void tell_descriptor_closed() noexcept {
  Waits& all = waits();
  if (!all.any.load(std::memory_order_relaxed)) // who waits looks again by its timer
    return;
  try {
    const std::lock_guard lock{all.mutex}; // whose loop ends, waits for it in cancel()
    while (!all.waiting.empty()) {
      const Waiting& entry = all.waiting.back();
      entry.loop->post([wait = entry.wait] {
        if (const auto self = wait.lock()) {
          DescriptorWait& waited = **self;
          waited.told();
        }
      });
      all.waiting.pop_back();
    }
    all.any = false;
  } catch (const std::bad_alloc&) { // the others' timers tell
  }
}

void DescriptorWait::told() {
  self_ = nullptr;
  on_closed_();
}

} // namespace squall
