// SPDX-License-Identifier: BSD-3-Clause
//
// resolver.cpp: what all lookups share: checks, deadline, cancellation, and the way back to the loop.
#include "net/lookup_operation.hpp"
#include "net/socket_api.hpp"
#include <squall/net/log.hpp>

#include <algorithm>
#include <stdexcept>
#include <strings.h>
#include <thread>

namespace squall {

namespace {

StreamError lookup_error(LookupErrc code, StreamErrc kind = StreamErrc::lookup_failed) {
  return {kind, CloseReason::none, code};
}

} // namespace

bool is_valid_ip(std::string_view text) noexcept { return socket_api::is_number(text); }

std::optional<LookupErrc> check_host(std::string_view host) noexcept {
  constexpr std::size_t longest_host = 253;
  constexpr std::size_t longest_label = 63;
  if (host.empty())
    return LookupErrc::empty_host;
  if (host.find('\0') != std::string_view::npos)
    return LookupErrc::nul_in_host;
  if (is_valid_ip(host))
    return std::nullopt;
  if (host.back() == '.')
    host.remove_suffix(1); // a name that is complete, whatever the system would search for
  if (host.size() > longest_host)
    return LookupErrc::host_too_long;
  for (;;) {
    const std::size_t end = std::min(host.find('.'), host.size());
    if (end == 0)
      return LookupErrc::empty_label;
    if (end > longest_label)
      return LookupErrc::label_too_long;
    if (end == host.size())
      return std::nullopt;
    host.remove_prefix(end + 1);
  }
}

// -- answers

/// Copies of a LookupAnswer share it; its end is that of the last.
struct LookupAnswer::Share {
  explicit Share(std::shared_ptr<LookupState> given) : state{std::move(given)} {}
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  ~Share() { state->drop(lookup_error(LookupErrc::dropped)); }
  std::shared_ptr<LookupState> state;
};

LookupAnswer::LookupAnswer(std::shared_ptr<LookupState> state)
    : share_{std::make_shared<Share>(std::move(state))} {}

void LookupAnswer::operator()(Result<Addresses> result) const { share_->state->answer(std::move(result)); }

bool LookupAnswer::wanted() const noexcept { return share_->state->wanted(); }

void LookupState::answer(Result<Addresses> result) {
  const std::lock_guard lock{mutex_};
  if (loop_ == nullptr)
    return;
  loop_->post([state = shared_from_this(), result = std::move(result)]() mutable {
    if (state->operation_ != nullptr)
      state->operation_->finish(std::move(result));
  });
  loop_ = nullptr;
}

void LookupState::drop(const StreamError& error) noexcept {
  constexpr std::chrono::milliseconds retry_time{10};
  for (;;) {
    const EventLoop* loop;
    {
      const std::lock_guard lock{mutex_};
      loop = loop_;
    }
    if (loop == nullptr)
      return;
    try {
      return answer(error);
    } catch (const std::bad_alloc&) {
    }
    if (loop->in_loop())
      return operation_->finish_later(error);
    std::this_thread::sleep_for(retry_time); // a thread of a resolver, which waits for memory
  }
}

bool LookupState::wanted() const noexcept {
  const std::lock_guard lock{mutex_};
  return loop_ != nullptr;
}

void LookupState::forget() noexcept {
  operation_ = nullptr;
  const std::lock_guard lock{mutex_};
  loop_ = nullptr;
}

// -- operations

LookupOperation::LookupOperation(EventLoop& loop, Resolver::Callback callback)
    : loop_{loop}, callback_{std::move(callback)}, state_{std::make_shared<LookupState>(loop, *this)} {
  loop.watch_end(*this);
}

LookupOperation::~LookupOperation() { state_->forget(); }

void LookupOperation::start(Resolver& resolver, Resolve request) {
  if (const auto wrong = check_host(request.host))
    return finish_later(lookup_error(*wrong, StreamErrc::invalid_argument));
  if (request.family == AddressFamily::unix_domain)
    return finish_later(StreamError{StreamErrc::invalid_argument, CloseReason::none,
                                    std::make_error_code(std::errc::address_family_not_supported)});
  if (request.timeout)
    timer_.start_after(loop_, *request.timeout);
  try {
    resolver.lookup(std::move(request), LookupAnswer{state_});
  } catch (...) {
    finish_later(lookup_error(LookupErrc::dropped));
  }
}

void LookupOperation::finish(Result<Addresses> result) {
  end();
  if (result && result->empty())
    result = lookup_error(LookupErrc::no_address);
  const Resolver::Callback callback = std::move(callback_); // it may destroy this
  callback(std::move(result));
}

/// Calls back in the loop's next phase: not inside the call that starts the lookup, and also on the loop's end.
void LookupOperation::finish_later(StreamError error) noexcept {
  end();
  result_.emplace(error);
  loop_.defer(*this);
}

void LookupOperation::end() noexcept {
  state_->forget();
  timer_.cancel();
  Watcher::unlink();
}

Lookup::Lookup() noexcept = default;
Lookup::Lookup(std::unique_ptr<LookupOperation> operation) noexcept : operation_{std::move(operation)} {}
Lookup::Lookup(Lookup&& other) noexcept = default;
Lookup& Lookup::operator=(Lookup&& other) noexcept = default;
Lookup::~Lookup() = default;

// -- the calls

Lookup Resolver::start_resolve(EventLoop& loop, Resolve request, Callback callback) {
  auto operation = std::make_unique<LookupOperation>(loop, std::move(callback));
  operation->start(*this, std::move(request));
  return Lookup{std::move(operation)};
}

void Resolver::resolve(EventLoop& loop, Resolve request, Callback callback) {
  const auto kept = std::make_shared<Lookup>(); // by the callback, which goes when it has been called
  *kept = start_resolve(loop, std::move(request),
                        [kept, callback = std::move(callback)](Result<Addresses> result) mutable {
                          callback(std::move(result));
                        });
}

ResolveAwaitable Resolver::resolve(std::string host, std::uint16_t port, AddressFamily family,
                                   Timeout timeout) {
  return {*this, Resolve{std::move(host), port, family, timeout}};
}

void ResolveOperation::begin(EventLoop& loop, std::coroutine_handle<> waiter) {
  lookup_ = resolver_.start_resolve(loop, std::move(request_), [this, waiter](Result<Addresses> result) {
    result_.emplace(std::move(result));
    waiter.resume();
  });
}

// -- overrides

OverrideResolver::OverrideResolver(std::shared_ptr<Resolver> resolver, std::vector<HostOverride> overrides)
    : resolver_{std::move(resolver)}, overrides_{std::move(overrides)} {
  if (resolver_ == nullptr)
    throw std::invalid_argument{"there is no resolver behind the overrides"};
  for (const HostOverride& entry : overrides_) {
    if (const auto wrong = check_host(entry.host))
      throw std::invalid_argument{"the host that is overridden, \"" + escape_bytes(entry.host) +
                                  "\": " + make_error_code(*wrong).message()};
    if (const auto wrong = check_host(entry.to_host))
      throw std::invalid_argument{"the host that overrides \"" + escape_bytes(entry.host) +
                                  "\": " + make_error_code(*wrong).message()};
  }
}

void OverrideResolver::lookup(Resolve request, LookupAnswer answer) {
  const HostOverride* best = nullptr;
  const auto exactness = [](const HostOverride& entry) {
    return (entry.port ? 1 : 0) + (entry.family ? 2 : 0);
  };
  for (const HostOverride& entry : overrides_) {
    if (::strcasecmp(entry.host.c_str(), request.host.c_str()) == 0 &&
        entry.port.value_or(request.port) == request.port &&
        entry.family.value_or(request.family) == request.family &&
        (best == nullptr || exactness(entry) > exactness(*best)))
      best = &entry;
  }
  if (best != nullptr) {
    request.host = best->to_host;
    request.port = best->to_port.value_or(request.port);
  }
  resolver_->lookup(std::move(request), std::move(answer));
}

} // namespace squall
