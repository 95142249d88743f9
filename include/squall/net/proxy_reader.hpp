// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_reader.hpp: takes the header of the PROXY protocol from accepted connections, before anything else reads.
//
// It takes exactly the header's bytes: TLS, or the handler, gets all that follow. A connection whose header is
// malformed, late or missing is closed, counted and logged ("proxy_header_refused"); none of its bytes is served. One
// whose peer leaves before the header is complete is counted only.
//
// Threads    The loop's.
// Ownership  Owns the connections whose header is not complete.
// Lifetime   The end of the reader, and of the loop, closes them.
#pragma once

#include <squall/net/event_loop.hpp>
#include <squall/net/ip_network.hpp>
#include <squall/net/log.hpp>
#include <squall/net/proxy_protocol.hpp>
#include <squall/net/socket.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string_view>
#include <vector>

namespace squall {

/// What becomes of connections from elsewhere than ProxyOptions::from.
enum class UntrustedPeer : std::uint8_t {
  refuse, ///< closed at once: who can reach the port past the proxy gets nothing. The default
  serve,  ///< served with their own address; a header from them is data to the handler
};

struct ProxyOptions {
  /// Who may say where a connection comes from; each of their connections must begin with a header. Empty: nobody.
  /// Name the proxies themselves: who is in here can pretend to be any client.
  std::vector<IPNetwork> from;
  UntrustedPeer untrusted = UntrustedPeer::refuse;
  /// From accepting to the last byte of the header; beyond it the connection closes. 0 or less: no limit; a
  /// day at most, else clamped
  std::chrono::milliseconds timeout{5000};
  std::size_t max_header_size =
      ProxyOutcome::default_max_size; ///< bytes, of version 2; 16 to 65551, else clamped
  std::size_t max_pending =
      1024; ///< connections without a complete header; the next one is closed. At least 1
};

class ProxyReader {
public:
  /// Gets each connection that may be served, with its client's address. It must not destroy the reader. What it
  /// throws is logged and costs the connection.
  using OnConnection = std::function<void(Socket connection, Endpoint client)>;

  /// `on_refused` hears of each connection that is closed; it must not destroy the reader either.
  ProxyReader(EventLoop& loop, ProxyOptions options, OnConnection on_connection,
              std::function<void()> on_refused = {});
  ProxyReader(const ProxyReader&) = delete;
  ProxyReader& operator=(const ProxyReader&) = delete;
  ~ProxyReader();

  /// Takes a connection from `peer`; its client may be served before this returns.
  /// @throws std::system_error when the loop cannot watch it: it is closed
  void accept(Socket connection, const Endpoint& peer);

  /// Closes those that wait for their header; the log says why, at info: it is none of their failures.
  void close_pending(std::string_view reason);

  /// A connection that waits for its header, of which nothing is taken yet.
  struct Unserved {
    Socket connection;
    Endpoint peer;
  };
  /// Gives those up that wait for their header: another reader may accept them.
  [[nodiscard]] std::vector<Unserved> release_pending();

  [[nodiscard]] std::size_t pending_count() const noexcept { return pending_.size(); }
  [[nodiscard]] std::uint64_t refused_count() const noexcept { return refused_; }

private:
  class Pending;

  void look(Pending& pending, bool ended);
  void serve(Socket connection, Endpoint client);
  void count_refused();
  void refuse(const Endpoint& peer, std::string_view reason, LogLevel level = LogLevel::warning);
  void drop(Pending& pending);
  void close_late();
  void start_timer();

  EventLoop& loop_;
  const ProxyOptions options_;
  OnConnection on_connection_;
  std::function<void()> on_refused_;
  std::list<Pending> pending_; ///< in the order of their deadlines
  Timer timer_;                ///< of the first
  std::uint64_t refused_ = 0;
};

} // namespace squall
