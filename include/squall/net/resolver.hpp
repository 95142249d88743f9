// SPDX-License-Identifier: BSD-3-Clause
//
// resolver.hpp: host names to addresses, as Tornado's Resolver.
//
//   auto resolver = squall::default_resolver();
//   squall::Addresses addresses = co_await resolver->resolve("example.com", 443);
//
// The default asks getaddrinfo(3), and so what the system is set up to ask (/etc/hosts, DNS, nsswitch.conf), on threads
// of its own. Write another by implementing Resolver::lookup; deadlines, cancellation and the checks of names are done
// here for every resolver. Nothing is kept: each lookup asks anew.
//
// Threads    A resolver may be used from any thread. A lookup belongs to the thread of the loop that it is for, where
//            it is answered.
// Ownership  Whoever uses a resolver shares it (std::shared_ptr).
// Order      A lookup is answered once, never from inside the call that starts it. Lookups may overtake each other.
// Lifetime   A lookup ends with its Lookup; at its deadline (StreamErrc::timed_out); with its loop
//            (CloseReason::shutting_down); with its resolver (LookupErrc::dropped).
// Errors     StreamErrc::lookup_failed with a real error of lookup_category(), or an errno;
//            StreamErrc::invalid_argument for a host that can never be one, with a LookupErrc as real error.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/stream_requests.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace squall {

/// Numbers and ports, ready to connect to, best first; at least one.
using Addresses = std::vector<Endpoint>;

/// Why a lookup failed, beside what getaddrinfo(3) says, whose values (EAI_NONAME and so on) are negative here.
enum class LookupErrc : int {
  no_address = 1,     ///< the resolver found none
  empty_host = 2,     ///< the host name is empty
  host_too_long = 3,  ///< it has more than 253 bytes (RFC 1035, 2.3.4), without a dot at its end
  label_too_long = 4, ///< a part between two dots has more than 63 bytes
  empty_label = 5,    ///< there is nothing between two dots
  nul_in_host = 6,    ///< it has a NUL byte, where the system would cut it
  busy = 7,           ///< ThreadedResolverOptions::max_waiting lookups wait already
  dropped = 8,        ///< the resolver ended, or forgot the lookup
};
[[nodiscard]] const std::error_category& lookup_category() noexcept;
[[nodiscard]] inline std::error_code make_error_code(LookupErrc code) noexcept {
  return {static_cast<int>(code), lookup_category()};
}

/// True for the text of an IPv4 address of four numbers or an IPv6 address, and nothing before or behind it.
[[nodiscard]] bool is_valid_ip(std::string_view text) noexcept;

/// What makes `host` one that can never be looked up. A name that is too long is refused, never cut: what is left might
/// be somebody else's (CVE-2024-24806).
[[nodiscard]] std::optional<LookupErrc> check_host(std::string_view host) noexcept;

/// The time of a lookup that names none: what glibc takes for three servers that do not answer.
inline constexpr std::chrono::seconds default_lookup_timeout{30};

/// Looks a host up. `host` is a name or a number; the name of an IDN as "xn--…".
/// @error StreamErrc::invalid_argument, lookup_failed, timed_out; closed with CloseReason::shutting_down
struct Resolve {
  Resolve() = default;
  explicit Resolve(std::string host_, std::uint16_t port_ = 0, AddressFamily family_ = AddressFamily::unspec,
                   Timeout timeout_ = default_lookup_timeout)
      : host{std::move(host_)}, port{port_}, family{family_}, timeout{timeout_} {}

  std::string host;
  std::uint16_t port = 0;                       ///< of the addresses that come out
  AddressFamily family = AddressFamily::unspec; ///< unspec, ipv4 or ipv6: only addresses of this one
  Timeout timeout = Timeout{default_lookup_timeout};

  friend bool operator==(const Resolve&, const Resolve&) = default;
};

class LookupOperation;
struct LookupState;
class ResolveAwaitable;

/// Answers one lookup: call it once, from any thread; further calls do nothing. When its last copy goes without a call,
/// the lookup fails with LookupErrc::dropped.
class LookupAnswer {
public:
  explicit LookupAnswer(std::shared_ptr<LookupState> state);

  void operator()(Result<Addresses> result) const;
  /// False when the answer is not waited for any more.
  [[nodiscard]] bool wanted() const noexcept;

private:
  struct Share;
  std::shared_ptr<Share> share_;
};

/// A lookup that is under way. Destroying it, on its loop's thread, cancels: nothing is called any more.
class [[nodiscard]] Lookup {
public:
  Lookup() noexcept; ///< none
  Lookup(Lookup&& other) noexcept;
  Lookup& operator=(Lookup&& other) noexcept;
  ~Lookup();

private:
  friend class Resolver;
  explicit Lookup(std::unique_ptr<LookupOperation> operation) noexcept;
  std::unique_ptr<LookupOperation> operation_;
};

class Resolver {
public:
  using Callback = std::function<void(Result<Addresses>)>;

  Resolver() = default;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  virtual ~Resolver() = default;

  /// Looks up when it is awaited, in a Task; see Resolve. The resolver must live until then.
  /// @returns (awaited) Addresses
  /// @throws (awaited) LookupError, TimeoutError; StreamUsageError for what can never be a host; StreamClosedError: the
  ///         loop ends
  [[nodiscard]] ResolveAwaitable resolve(std::string host, std::uint16_t port,
                                         AddressFamily family = AddressFamily::unspec,
                                         Timeout timeout = default_lookup_timeout);

  /// Looks up and calls `callback`, once, from `loop`, on whose thread this is called.
  void resolve(EventLoop& loop, Resolve request, Callback callback);

  /// As above, while the Lookup lives. The callback may destroy it.
  Lookup start_resolve(EventLoop& loop, Resolve request, Callback callback);

  /// For those who write a resolver; never called by users. Looks `request` up, without keeping the thread waiting, and
  /// answers, at once or later. The host has passed check_host; the time is not the resolver's matter. An
  /// exception counts as LookupErrc::dropped.
  virtual void lookup(Resolve request, LookupAnswer answer) = 0;
};

/// What the two forms of an awaited lookup share. Destroying it while it waits cancels the lookup.
class ResolveOperation {
public:
  ResolveOperation(const ResolveOperation&) = delete;
  ResolveOperation& operator=(const ResolveOperation&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    begin(waiter.promise().context().loop(), waiter);
  }

protected:
  ResolveOperation(Resolver& resolver, Resolve request) : resolver_{resolver}, request_{std::move(request)} {}
  ~ResolveOperation() = default;

  Resolver& resolver_;
  Resolve request_;
  std::optional<Result<Addresses>> result_;

private:
  void begin(EventLoop& loop, std::coroutine_handle<> waiter);
  Lookup lookup_;
};

/// co_await returns Result<Addresses>.
class [[nodiscard]] ResolveResultAwaitable final : public ResolveOperation {
public:
  Result<Addresses> await_resume() { return std::move(*result_); }

private:
  friend class ResolveAwaitable;
  using ResolveOperation::ResolveOperation;
};

/// co_await returns Addresses or throws.
class [[nodiscard]] ResolveAwaitable final : public ResolveOperation {
public:
  Addresses await_resume() { return std::move(*result_).value(); }

  /// The same lookup, not throwing.
  [[nodiscard]] ResolveResultAwaitable as_result() && { return {resolver_, std::move(request_)}; }

private:
  friend class Resolver;
  using ResolveOperation::ResolveOperation;
};

struct ThreadedResolverOptions {
  std::size_t max_threads = 4; ///< that look up at the same time; started when they are needed; 1 to 256
  std::size_t max_waiting =
      1024; ///< lookups that wait for a thread; one more fails with LookupErrc::busy; at least 1
};

/// Looks up with a function that may take its time, on threads of its own. Numbers need neither.
///
/// The system's lookups cannot be broken off. One that lasts is answered at its deadline, but keeps its thread; when
/// all threads are kept, lookups wait for one until their own deadlines. The destructor joins the threads that are
/// idle, and leaves those that are inside a lookup to themselves: they end with it, touch nothing any more but what
/// they own, and hold up neither a loop's end nor the program's.
///
/// The threads stay behind when the process forks. In the child, a resolver that had some fails each lookup with
/// LookupErrc::dropped, except of numbers, and its end leaves alone what it had; one that had none starts its own
/// there. No other thread may be inside a call of it at the fork.
class ThreadedResolver final : public Resolver {
public:
  /// Called by several threads at once; what it throws counts as LookupErrc::dropped. What it uses must outlive its
  /// calls, also those that outlive the resolver.
  using Function = std::function<Result<Addresses>(const Resolve&)>;

  /// @param look_up  empty: the system's, system_lookup
  /// @throws std::invalid_argument for options out of bounds
  explicit ThreadedResolver(const ThreadedResolverOptions& options = {}, Function look_up = {});
  ~ThreadedResolver() override;

  void lookup(Resolve request, LookupAnswer answer) override;

  struct Pool;

private:
  std::shared_ptr<Pool> pool_;
};

/// What getaddrinfo(3) says, in its order, without duplicates; waits for it.
[[nodiscard]] Result<Addresses> system_lookup(const Resolve& request);

/// The ThreadedResolver with system_lookup that all share who name no other. A process that was forked gets one of its
/// own.
[[nodiscard]] std::shared_ptr<Resolver> default_resolver();

/// One entry of an OverrideResolver: what is asked, and what is looked up instead.
struct HostOverride {
  HostOverride(std::string host_, std::string to_host_)
      : host{std::move(host_)}, to_host{std::move(to_host_)} {}
  HostOverride(std::string host_, std::uint16_t port_, std::string to_host_, std::uint16_t to_port_)
      : host{std::move(host_)}, port{port_}, to_host{std::move(to_host_)}, to_port{to_port_} {}
  HostOverride(std::string host_, std::uint16_t port_, AddressFamily family_, std::string to_host_,
               std::uint16_t to_port_)
      : host{std::move(host_)}, port{port_}, family{family_}, to_host{std::move(to_host_)}, to_port{
                                                                                                to_port_} {}

  std::string host;                          ///< compared without regard to the case of ASCII letters
  std::optional<std::uint16_t> port = {};    ///< none: any
  std::optional<AddressFamily> family = {};  ///< of the request (unspec: of those that name none); none: any
  std::string to_host;                       ///< a name or a number
  std::optional<std::uint16_t> to_port = {}; ///< none: the port that was asked for
};

/// Looks up something else for some hosts, and passes all others on, as Tornado's OverrideResolver: for tests, and in
/// front of tunnels. Of the entries that match, one with a family comes before those without, then one with a port
/// before those without, then the first.
class OverrideResolver final : public Resolver {
public:
  /// @throws std::invalid_argument without a resolver, and when an entry has, or leads to, what check_host refuses
  OverrideResolver(std::shared_ptr<Resolver> resolver, std::vector<HostOverride> overrides);

  void lookup(Resolve request, LookupAnswer answer) override;

private:
  std::shared_ptr<Resolver> resolver_;
  std::vector<HostOverride> overrides_;
};

} // namespace squall

template <>
struct std::is_error_code_enum<squall::LookupErrc> : std::true_type {};
