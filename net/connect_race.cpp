// SPDX-License-Identifier: BSD-3-Clause
//
// connect_race.cpp
#include "net/connect_race.hpp"

#include <algorithm>
#include <cerrno>
#include <new>

namespace squall {

namespace {

constexpr std::size_t most_addresses = 32;
constexpr std::chrono::milliseconds least_delay{10};
constexpr std::chrono::milliseconds most_delay = std::chrono::hours{24};

/// True for errors that come from this machine, before the peer was asked.
bool is_local(const std::error_code& error) noexcept {
  switch (error.value()) {
  case EINVAL:
  case EACCES:
  case EPERM:
  case EADDRINUSE:
  case EADDRNOTAVAIL:
  case EAFNOSUPPORT:
  case ENETUNREACH:
  case ENOMEM:
    return true;
  default:
    return false;
  }
}

} // namespace

Addresses in_race_order(const Addresses& addresses) {
  Addresses first;
  Addresses others;
  for (const Endpoint& address : addresses)
    (address.family == addresses.front().family ? first : others).push_back(address);
  Addresses order;
  for (std::size_t i = 0; i < std::max(first.size(), others.size()) && order.size() < most_addresses; ++i) {
    if (i < first.size())
      order.push_back(first[i]);
    if (i < others.size())
      order.push_back(others[i]);
  }
  order.resize(std::min(order.size(), most_addresses));
  return order;
}

/// One address.
struct ConnectRace::Attempt final : EventCompletion {
  Attempt(ConnectRace& given, const Endpoint& address) : race{given}, record{address, {}} {}
  void on_event(Result<void> result) override { race.attempt_ended(*this, result); }

  ConnectRace& race;
  ConnectAttempt record;
  IOStream stream; ///< while it is under way
  bool started = false;
};

ConnectRace::ConnectRace(EventLoop& loop, Addresses addresses, const ConnectOptions& options,
                         MakeTransport make_transport, OnEnd on_end)
    : loop_{loop}, options_{options.stream}, delay_{std::clamp(options.attempt_delay, least_delay,
                                                               most_delay)},
      make_transport_{std::move(make_transport)}, on_end_{std::move(on_end)} {
  for (const Endpoint& address : addresses)
    attempts_.emplace_back(*this, address);
  next_ = attempts_.begin();
}

ConnectRace::~ConnectRace() { give_up(std::errc::operation_canceled); }

void ConnectRace::start_next() {
  while (next_ != attempts_.end()) {
    Attempt& attempt = *next_++;
    const auto result = start(attempt);
    if (!result) {
      ++pending_count_;
      if (next_ != attempts_.end())
        timer_.start_after(loop_, delay_);
      return;
    }
    if (*result)
      return win(attempt);
    note_failure(attempt, result->error());
  }
  if (pending_count_ > 0)
    return;
  const OnEnd on_end = std::move(on_end_); // it may destroy this
  on_end(*error_);
}

std::optional<Result<void>> ConnectRace::start(Attempt& attempt) {
  const auto failed = [](std::error_code error) {
    return Result<void>{StreamError{StreamErrc::closed, CloseReason::transport_error, error}};
  };
  attempt.started = true;
  try {
    attempt.stream = IOStream{loop_, make_transport_(attempt.record.address), options_};
    return attempt.stream.start_connect(Connect{attempt.record.address}, attempt);
  } catch (const std::system_error& refused) {
    return failed(refused.code());
  } catch (const std::bad_alloc&) {
    return failed(std::make_error_code(std::errc::not_enough_memory));
  }
}

void ConnectRace::attempt_ended(Attempt& attempt, const Result<void>& result) {
  --pending_count_;
  if (result)
    return win(attempt);
  note_failure(attempt, result.error());
  timer_.cancel();
  start_next();
}

void ConnectRace::win(Attempt& attempt) {
  IOStream winner = std::exchange(attempt.stream, IOStream{});
  give_up(std::errc::operation_canceled);  // the others
  const OnEnd on_end = std::move(on_end_); // it may destroy this
  on_end(std::move(winner));
}

void ConnectRace::note_failure(Attempt& attempt, StreamError error) {
  if (error.code != StreamErrc::closed) // such as an address that the system's connect(2) does not take
    error = {StreamErrc::closed, CloseReason::transport_error, error.real_error};
  attempt.stream = IOStream{};
  attempt.record.error = error.real_error;
  if (!error_ || (is_local(error_->real_error) && !is_local(error.real_error)))
    error_ = error;
}

void ConnectRace::give_up(std::errc why) noexcept {
  timer_.cancel();
  next_ = attempts_.end();
  for (Attempt& attempt : attempts_) {
    if (!attempt.stream)
      continue;
    attempt.stream.forget_wait(attempt);
    attempt.stream = IOStream{};
    attempt.record.error = std::make_error_code(why);
  }
}

std::vector<ConnectAttempt> ConnectRace::attempts() const {
  std::vector<ConnectAttempt> tried;
  for (const Attempt& attempt : attempts_)
    if (attempt.started)
      tried.push_back(attempt.record);
  return tried;
}

} // namespace squall
