// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_client.hpp: connects to hosts by name, as Tornado's TCPClient.
//
//   squall::TCPClient client{loop};
//   squall::IOStream stream = co_await client.connect("example.com", 443, options);
//
// The name is looked up, and its addresses are tried as RFC 8305 ("Happy Eyeballs") says: the families take turns,
// beginning with that of the best address; when an attempt fails the next begins at once, when it lasts the next begins
// beside it after ConnectOptions::attempt_delay; the first that is connected wins, the others are closed. At most 32
// addresses are tried. With TLS the race is over TCP alone, and the winner makes the handshake: a server that cannot
// prove who it is is an error, and no reason to ask another address.
//
// Threads    A client belongs to the thread of its loop.
// Ownership  A client is a small value: copies share the resolver. What it has begun goes on without it.
// Order      A connect is answered once, never from inside the call that starts it.
// Lifetime   A connect ends with its PendingConnect (or the coroutine that awaits it), at its deadline, or with its
//            loop; then every socket that it has opened is closed.
// Errors     StreamErrc::invalid_argument, lookup_failed: as Resolver; or for options that can never work.
//            closed             no address could be connected: the error of the first attempt that got furthest (one
//                               that was refused says more than one that had no route); or, with
//                               CloseReason::tls_failed, the handshake; or, with shutting_down, the end of the loop;
//                               or, with ENOMEM as its real_error, the lack of memory
//            server_hostname    TLS verifies its peer, and the host is neither a name nor an address
//            timed_out          ConnectOptions::timeout is over
#pragma once

#include <squall/net/io_stream.hpp>
#include <squall/net/resolver.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace squall {

/// What a connect takes beyond host and port. Name it before a co_await, and set what differs.
struct ConnectOptions {
  ConnectOptions() {} // no aggregate: g++ 12 destroys one that is made inside a co_await twice

  /// unspec: every address of the host; ipv4 or ipv6: only those.
  AddressFamily family = AddressFamily::unspec;

  /// Of all together: lookup, attempts and handshake. None: each has its own, default_lookup_timeout, the system's
  /// (about two minutes, tcp_syn_retries in tcp(7)) and TLSOptions::handshake_timeout.
  Timeout timeout = no_timeout;

  /// The address to connect from, a number; empty: the system chooses. Only addresses of its family are tried.
  std::string source_ip;
  /// The port to connect from; 0: the system chooses. One that is fixed allows one connection to each address and port.
  std::uint16_t source_port = 0;

  /// A client's: the stream speaks TLS. None: it does not.
  TLSContext tls;
  /// The name that TLS verifies and asks for; empty: the host.
  std::string server_hostname;

  StreamOptions stream; ///< of the stream that comes out

  /// How long an attempt may last before the next begins beside it; 10 ms at least (RFC 8305, 5 and 8),
  /// a day at most; else clamped.
  std::chrono::milliseconds attempt_delay{250};
};

/// One address that was tried.
struct ConnectAttempt {
  Endpoint address;
  /// Why it failed; none for the one that was connected, ECANCELED for those that it overtook, ETIMEDOUT for those that
  /// the deadline met.
  std::error_code error;
};

/// The outcome of a connect: a stream, or an error with what was tried.
class ConnectResult : public Result<IOStream> {
public:
  ConnectResult(Result<IOStream> result, std::vector<ConnectAttempt> attempts, std::string message)
      : Result{std::move(result)}, attempts_{std::move(attempts)}, message_{std::move(message)} {}

  /// @throws where there is no stream the exception of throw_error, whose what() is message()
  IOStream value() const;

  [[nodiscard]] const std::vector<ConnectAttempt>& attempts() const noexcept {
    return attempts_;
  } ///< in their order
  /// "cannot connect to example.com:80: ... tried 192.0.2.1:80 (Connection refused)"; empty where there is a stream.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

private:
  std::vector<ConnectAttempt> attempts_;
  std::string message_;
};

class ConnectOperation;
class TCPConnectAwaitable;

/// A connect that is under way. Destroying it, on its loop's thread, cancels: nothing is called any more, every socket
/// is closed.
class [[nodiscard]] PendingConnect {
public:
  PendingConnect() noexcept; ///< none
  PendingConnect(PendingConnect&& other) noexcept;
  PendingConnect& operator=(PendingConnect&& other) noexcept;
  ~PendingConnect();

private:
  friend class TCPClient;
  explicit PendingConnect(std::unique_ptr<ConnectOperation> operation) noexcept;
  std::unique_ptr<ConnectOperation> operation_;
};

class TCPClient {
public:
  using Callback = std::function<void(ConnectResult)>;

  /// @throws std::invalid_argument without a resolver
  explicit TCPClient(EventLoop& loop, std::shared_ptr<Resolver> resolver = default_resolver());

  /// Connects when it is awaited. Destroying it while it waits cancels.
  /// @param host  a name, or a number
  /// @returns (awaited) IOStream
  /// @throws (awaited) StreamClosedError, TimeoutError, LookupError, StreamUsageError; see the top
  [[nodiscard]] TCPConnectAwaitable connect(std::string host, std::uint16_t port,
                                            ConnectOptions options = ConnectOptions{});

  /// Connects and calls `callback`, once, from the loop. @throws std::bad_alloc when nothing has begun, and nothing is
  /// called
  void connect(std::string host, std::uint16_t port, ConnectOptions options, Callback callback);

  /// As above, while the PendingConnect lives. The callback may destroy it.
  PendingConnect start_connect(std::string host, std::uint16_t port, ConnectOptions options,
                               Callback callback);

private:
  friend class TCPConnectOperation;
  EventLoop* loop_;
  std::shared_ptr<Resolver> resolver_;
};

/// What the two forms of an awaited connect share.
class TCPConnectOperation {
public:
  TCPConnectOperation(const TCPConnectOperation&) = delete;
  TCPConnectOperation& operator=(const TCPConnectOperation&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter);

protected:
  TCPConnectOperation(TCPClient client, std::string host, std::uint16_t port, ConnectOptions options)
      : client_{std::move(client)}, host_{std::move(host)}, port_{port}, options_{std::move(options)} {}
  ~TCPConnectOperation() = default;

  TCPClient client_;
  std::string host_;
  std::uint16_t port_;
  ConnectOptions options_;
  std::optional<ConnectResult> result_;

private:
  PendingConnect pending_;
};

/// co_await returns ConnectResult.
class [[nodiscard]] TCPConnectResultAwaitable final : public TCPConnectOperation {
public:
  ConnectResult await_resume() { return std::move(*result_); }

private:
  friend class TCPConnectAwaitable;
  using TCPConnectOperation::TCPConnectOperation;
};

/// co_await returns IOStream or throws.
class [[nodiscard]] TCPConnectAwaitable final : public TCPConnectOperation {
public:
  IOStream await_resume() { return result_->value(); }

  /// The same connect, not throwing.
  [[nodiscard]] TCPConnectResultAwaitable as_result() && {
    return {client_, std::move(host_), port_, std::move(options_)};
  }

private:
  friend class TCPClient;
  using TCPConnectOperation::TCPConnectOperation;
};

} // namespace squall
