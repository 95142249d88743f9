// SPDX-License-Identifier: BSD-3-Clause
//
// lookup_operation.hpp: a lookup that is under way.
#pragma once

#include <squall/net/resolver.hpp>

#include <memory>
#include <mutex>

namespace squall {

/// What a lookup shares with whoever answers it.
///
/// Threads    answer and wanted: any; the rest: the loop's.
struct LookupState : std::enable_shared_from_this<LookupState> {
public:
  LookupState(EventLoop& loop, LookupOperation& operation) noexcept : loop_{&loop}, operation_{&operation} {}

  /// Hands the first answer to the loop, which cannot end meanwhile: forget() comes before. @throws std::bad_alloc
  void answer(Result<Addresses> result);
  /// Answers with `error` where nobody has answered. Without memory for it a thread of a resolver waits for some.
  void drop(const StreamError& error) noexcept;
  [[nodiscard]] bool wanted() const noexcept;
  /// From now on no answer is wanted, nor delivered.
  void forget() noexcept;

private:
  mutable std::mutex mutex_;
  EventLoop* loop_;            ///< guarded by mutex_; null when no answer is wanted
  LookupOperation* operation_; ///< the loop's thread only
};

/// Threads    The loop's.
class LookupOperation final : private Watcher, private LoopTask {
public:
  LookupOperation(EventLoop& loop, Resolver::Callback callback);
  LookupOperation(const LookupOperation&) = delete;
  LookupOperation& operator=(const LookupOperation&) = delete;
  ~LookupOperation();

  void start(Resolver& resolver, Resolve request);
  void finish(Result<Addresses> result);
  void finish_later(StreamError error) noexcept;

private:
  void on_ready(Readiness) override {}
  void on_loop_end() noexcept override { finish_later({StreamErrc::closed, CloseReason::shutting_down, {}}); }
  void run_task() override { finish(std::move(*result_)); }
  void end() noexcept;

  EventLoop& loop_;
  Resolver::Callback callback_;
  std::shared_ptr<LookupState> state_;
  Timer timer_{[this] { finish(StreamError{StreamErrc::timed_out, CloseReason::none, {}}); }};
  std::optional<Result<Addresses>> result_;
};

} // namespace squall
