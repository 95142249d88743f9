// SPDX-License-Identifier: BSD-3-Clause
//
// target_watch.cpp
#include "actors/target_watch.hpp"

#include "actors/caf_compat.hpp"

#include <caf/attachable.hpp>

namespace squall {

namespace {

/// Of the attachments below; CAF's own tokens have small numbers.
constexpr std::size_t token_type = 0x5155414C;

} // namespace

/// An actor that somebody waits for.
class TargetWatch::Target {
public:
  explicit Target(const caf::strong_actor_ptr& target)
      : actor{caf::actor_cast<caf::weak_actor_ptr>(target)} {}
  const caf::weak_actor_ptr actor; ///< keeps its control block, and so the key, for itself
  IntrusiveList<Dependent> dependents;
};

/// What the target keeps of a loop, and calls at its end in its own thread.
class TargetWatch::Attachment final : public caf::attachable {
public:
  Attachment(std::shared_ptr<LoopUnit> unit, const caf::strong_actor_ptr& target)
      : unit_{std::move(unit)}, tell_{[unit = unit_.get(),
                                       keep = caf::actor_cast<caf::weak_actor_ptr>(target)] {
          unit->targets().target_down(keep.get());
        }} {}
  void actor_exited(const caf::error&, caf::execution_unit*) override {
    // A response of the target was posted before. The function must not outlive its loop.
    // Without memory for it, this is called again.
    const std::shared_ptr<LoopUnit> unit = unit_;
    unit->post([unit, tell = tell_] { tell(); });
  }
  bool matches(const token& what) override {
    return what.subtype == token_type && what.ptr == &unit_->targets();
  }

private:
  std::shared_ptr<LoopUnit> unit_;
  std::function<void()> tell_;
};

TargetWatch::TargetWatch() = default;
TargetWatch::~TargetWatch() = default;

void TargetWatch::add(const std::shared_ptr<LoopUnit>& unit, const caf::strong_actor_ptr& target,
                      Dependent& dependent) {
  if (dynamic_cast<LoopActor*>(target->get()) != nullptr)
    return; // it answers each request itself, also after its end, and says why
  auto& found = targets_[target.get()];
  const bool fresh = found == nullptr;
  if (fresh) {
    caf::attachable_ptr attachment;
    try {
      found = std::make_unique<Target>(target);
      attachment = std::make_unique<Attachment>(unit, target);
    } catch (...) {
      targets_.erase(target.get());
      throw;
    }
    target->get()->attach(std::move(attachment)); // to one that has ended already, it is told at once
  }
  dependent.target_ = found.get();
  found->dependents.push_back_if_unlinked(dependent);
}

void TargetWatch::remove(Dependent& dependent) noexcept {
  Target* target = std::exchange(dependent.target_, nullptr);
  if (target == nullptr)
    return;
  dependent.unlink();
  const auto found = targets_.find(target->actor.get());
  if (!target->dependents.empty() || found == targets_.end() || found->second.get() != target)
    return; // others wait, or it has just ended
  if (const caf::strong_actor_ptr actor = target->actor.lock())
    actor->get()->detach(caf::attachable::token{token_type, this});
  targets_.erase(found);
}

void TargetWatch::target_down(caf::actor_control_block* key) {
  const auto node = targets_.extract(key);
  if (node.empty())
    return;
  while (Dependent* dependent = node.mapped()->dependents.pop_front()) {
    dependent->target_ = nullptr;
    dependent->on_target_down();
  }
}

} // namespace squall
