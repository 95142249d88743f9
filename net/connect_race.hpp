// SPDX-License-Identifier: BSD-3-Clause
//
// connect_race.hpp: which of several addresses is connected first (RFC 8305).
//
// Threads    The loop's.
#pragma once

#include <squall/net/tcp_client.hpp>

#include <functional>
#include <list>
#include <memory>
#include <vector>

namespace squall {

/// The order of RFC 8305, 4: as given, but the families take turns, beginning with that of the first; at most 32.
Addresses in_race_order(const Addresses& addresses);

class ConnectRace {
public:
  /// Makes what one attempt connects with. @throws std::system_error
  using MakeTransport = std::function<std::unique_ptr<Transport>(const Endpoint&)>;
  using OnEnd = std::function<void(Result<IOStream>)>;

  /// Tries `addresses`, at least one, in their order. `on_end` is called once, from the loop or inside start(), whatever
  /// memory lacks; it throws nothing, and may destroy the race. @throws std::bad_alloc
  ConnectRace(EventLoop& loop, Addresses addresses, const ConnectOptions& options,
              MakeTransport make_transport, OnEnd on_end);
  ConnectRace(const ConnectRace&) = delete;
  ConnectRace& operator=(const ConnectRace&) = delete;
  ~ConnectRace();

  void start() { start_next(); }

  /// Closes the attempts that are under way, which `why` is the error of, and starts no more. on_end is not called.
  void give_up(std::errc why) noexcept;
  /// Those that were started, in their order.
  /// @throws std::bad_alloc
  [[nodiscard]] std::vector<ConnectAttempt> attempts() const;

private:
  struct Attempt;

  void start_next();
  std::optional<Result<void>> start(Attempt& attempt);
  void attempt_ended(Attempt& attempt, const Result<void>& result);
  void win(Attempt& attempt);
  void note_failure(Attempt& attempt, StreamError error);

  EventLoop& loop_;
  const StreamOptions options_;
  const Duration delay_;
  MakeTransport make_transport_;
  OnEnd on_end_;

  std::list<Attempt> attempts_; ///< all, so that none needs memory to begin
  std::list<Attempt>::iterator next_;
  std::size_t pending_count_ = 0;
  std::optional<StreamError> error_; ///< of the attempt that says most until now
  Timer timer_{[this] { start_next(); }};
};

} // namespace squall
