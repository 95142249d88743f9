// SPDX-License-Identifier: BSD-3-Clause
//
// never_destroyed.hpp: an object of the process that outlives the destructors of static objects, and needs no memory.
#pragma once

namespace squall {

/// Holds a T in its own storage. As a static local object it is made at first use and never destroyed. Nothing is
/// allocated, so that a noexcept function may be the first to use it.
template <class T>
class NeverDestroyed {
public:
  NeverDestroyed() noexcept(noexcept(T{})) : object_{} {}
  ~NeverDestroyed() {
  } // NOLINT(modernize-use-equals-default): the defaulted one of a union with a T is deleted
  NeverDestroyed(const NeverDestroyed&) = delete;
  NeverDestroyed& operator=(const NeverDestroyed&) = delete;

  [[nodiscard]] T& operator*() noexcept { return object_; }

private:
  union {
    T object_;
  };
};

} // namespace squall
