// SPDX-License-Identifier: BSD-3-Clause
//
// intrusive_list.hpp: a doubly linked list whose links live in its elements, so that joining and leaving it
// neither allocate nor fail. An element leaves by itself when it goes.
//
// Threads    A list and its elements belong to one thread at a time.
// Ownership  The list owns nothing.
#pragma once

namespace squall {

template <class T>
class IntrusiveList;

/// Base of an element that is in at most one list of T.
template <class T>
class IntrusiveNode {
public:
  IntrusiveNode() noexcept = default;
  IntrusiveNode(const IntrusiveNode&) = delete;
  IntrusiveNode& operator=(const IntrusiveNode&) = delete;

  [[nodiscard]] bool linked() const noexcept { return next_ != nullptr; }
  void unlink() noexcept {
    if (!linked())
      return;
    next_->previous_ = previous_;
    previous_->next_ = next_;
    next_ = previous_ = nullptr;
  }

protected:
  ~IntrusiveNode() { unlink(); }

private:
  friend class IntrusiveList<T>;
  IntrusiveNode* next_ = nullptr;
  IntrusiveNode* previous_ = nullptr;
};

template <class T>
class IntrusiveList {
public:
  IntrusiveList() noexcept { reset(); }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() {
    while (pop_front() != nullptr) {
    }
    head_.next_ = head_.previous_ = nullptr;
  }

  [[nodiscard]] bool empty() const noexcept { return head_.next_ == &head_; }

  void push_back_if_unlinked(T& element) noexcept {
    IntrusiveNode<T>& node = element;
    if (node.linked())
      return;
    node.next_ = &head_;
    node.previous_ = head_.previous_;
    head_.previous_->next_ = &node;
    head_.previous_ = &node;
  }

  /// Takes the first element out; nullptr when there is none.
  T* pop_front() noexcept {
    if (empty())
      return nullptr;
    IntrusiveNode<T>* node = head_.next_;
    node->unlink();
    return static_cast<T*>(node);
  }

  /// Calls `function` with each element, which must neither join nor leave a list meanwhile.
  template <class F>
  void for_each(F function) {
    for (IntrusiveNode<T>* node = head_.next_; node != &head_; node = node->next_)
      function(static_cast<T&>(*node));
  }

  /// Moves everything of `other` behind what is here.
  void append(IntrusiveList& other) noexcept {
    if (other.empty())
      return;
    IntrusiveNode<T>* first = other.head_.next_;
    IntrusiveNode<T>* last = other.head_.previous_;
    first->previous_ = head_.previous_;
    head_.previous_->next_ = first;
    last->next_ = &head_;
    head_.previous_ = last;
    other.reset();
  }

private:
  struct Head : IntrusiveNode<T> {};
  void reset() noexcept { head_.next_ = head_.previous_ = &head_; }
  Head head_;
};

} // namespace squall
