// SPDX-License-Identifier: BSD-3-Clause
//
// target_watch.hpp: hears of the end of the actors from which those of a loop wait for something.
//
// Each loop has one, which watches a target once, however many wait for it: CAF looks through all who watch an actor
// when one of them does no more.
//
// Threads    The loop's.
#pragma once

#include <squall/net/intrusive_list.hpp>

#include <caf/actor_control_block.hpp>

#include <memory>
#include <unordered_map>

namespace squall {

class LoopUnit;

class TargetWatch {
public:
  class Target;

  /// Waits for something of a target.
  class Dependent : public IntrusiveNode<Dependent> {
  public:
    Dependent() = default;
    Dependent(const Dependent&) = delete;
    Dependent& operator=(const Dependent&) = delete;
    /// The target has ended, or its node is lost; from the loop. Nothing of it comes any more, and the dependent waits no
    /// longer.
    virtual void on_target_down() = 0;

  protected:
    virtual ~Dependent() = default;

  private:
    friend class TargetWatch;
    Target* target_ = nullptr;
  };

  TargetWatch();
  TargetWatch(const TargetWatch&) = delete;
  TargetWatch& operator=(const TargetWatch&) = delete;
  ~TargetWatch();

  /// `dependent` waits from now on, until remove(); once. Not for a LoopActor, which answers whatever comes. `unit` is the loop's. @throws std::bad_alloc
  void add(const std::shared_ptr<LoopUnit>& unit, const caf::strong_actor_ptr& target, Dependent& dependent);
  /// Does nothing when it does not wait.
  void remove(Dependent& dependent) noexcept;

private:
  class Attachment;
  void target_down(caf::actor_control_block* key);

  std::unordered_map<caf::actor_control_block*, std::unique_ptr<Target>> targets_;
};

} // namespace squall
