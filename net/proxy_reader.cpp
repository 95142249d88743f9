// SPDX-License-Identifier: BSD-3-Clause
//
// proxy_reader.cpp
#include "net/socket_api.hpp"
#include "net/tell.hpp"
#include <squall/net/proxy_reader.hpp>

#include <algorithm>
#include <array>
#include <system_error>

namespace squall {

namespace {

constexpr std::size_t least_header_size = 16;
constexpr std::size_t most_header_size = 16 + 65535;

ProxyOptions checked(ProxyOptions options) {
  options.max_header_size = std::clamp(options.max_header_size, least_header_size, most_header_size);
  options.max_pending = std::max<std::size_t>(options.max_pending, 1);
  options.timeout = std::min<std::chrono::milliseconds>(options.timeout, std::chrono::hours{24});
  return options;
}

/// Takes the `size` bytes that a peek has shown. @returns false where the connection broke meanwhile
bool take(int fd, std::size_t size) {
  std::array<char, 4096> taken{};
  while (size > 0) {
    const IoResult result = socket_api::receive(fd, taken.data(), std::min(size, taken.size()));
    if (result.status != IoResult::Status::done)
      return false;
    size -= result.size;
  }
  return true;
}

} // namespace

/// A connection without a complete header.
class ProxyReader::Pending final : public Watcher {
public:
  Pending(ProxyReader& reader, Socket given, Endpoint from, TimePoint until)
      : connection{std::move(given)}, peer{std::move(from)}, deadline{until}, reader_{reader} {}
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  Socket connection;
  const Endpoint peer;
  const TimePoint deadline;
  std::size_t header_size = 0;        ///< once its head has told it
  std::list<Pending>::iterator place; ///< in the reader's list

private:
  void on_ready(Readiness readiness) override { reader_.look(*this, readiness.hang_up); }
  void on_loop_end() noexcept override { connection.reset(); }

  ProxyReader& reader_;
};

ProxyReader::ProxyReader(EventLoop& loop, ProxyOptions options, OnConnection on_connection,
                         std::function<void()> on_refused)
    : loop_{loop}, options_{checked(std::move(options))}, on_connection_{std::move(on_connection)},
      on_refused_{std::move(on_refused)}, timer_{[this] { close_late(); }} {}

ProxyReader::~ProxyReader() {
  for (Pending& pending : pending_)
    if (pending.connection) // else the loop has ended
      loop_.unwatch(pending.connection.fd(), pending);
}

void ProxyReader::accept(Socket connection, const Endpoint& peer) {
  const bool trusted = std::any_of(options_.from.begin(), options_.from.end(),
                                   [&](const IPNetwork& network) { return network.contains(peer); });
  if (!trusted && options_.untrusted == UntrustedPeer::serve)
    return serve(std::move(connection), peer);
  if (!trusted)
    return refuse(peer, "the peer is not among those who may send one");
  if (pending_.size() >= options_.max_pending)
    return refuse(peer, "too many connections wait for theirs");
  Pending& pending =
      pending_.emplace_back(*this, std::move(connection), peer, loop_.now() + Duration{options_.timeout});
  pending.place = std::prev(pending_.end());
  try {
    loop_.watch(pending.connection.fd(), pending); // tells what is there already, too
  } catch (...) {
    pending_.pop_back();
    throw;
  }
  if (pending_.size() == 1)
    start_timer();
}

void ProxyReader::look(Pending& pending, bool ended) {
  const int fd = pending.connection.fd();
  if (!ended && pending.header_size > 0 && socket_api::waiting_size(fd) < pending.header_size)
    return; // a header that comes byte by byte is not copied with each
  std::string seen(std::max<std::size_t>(options_.max_header_size, 107), '\0');
  const IoResult result = socket_api::peek(fd, seen.data(), seen.size());
  if (result.status == IoResult::Status::would_block)
    return;
  const bool broken = result.status != IoResult::Status::done;
  ProxyOutcome outcome;
  if (!broken)
    outcome = parse_proxy_header({seen.data(), result.size}, options_.max_header_size);
  if (outcome.kind == ProxyOutcome::Kind::wants_more) {
    if (broken || ended) { // a look whether the port is open, for example: nothing to log
      count_refused();
      drop(pending);
    } else {
      pending.header_size = outcome.header.size;
    }
    return; // the next byte makes the connection readable anew (epoll(7))
  }
  const Endpoint peer = pending.peer;
  Socket connection;
  if (outcome.kind == ProxyOutcome::Kind::complete && take(fd, outcome.header.size)) {
    loop_.unwatch(fd, pending);
    connection = std::move(pending.connection);
  }
  drop(pending);
  if (outcome.kind == ProxyOutcome::Kind::malformed)
    refuse(peer, outcome.reason);
  else if (!connection)
    count_refused();
  else
    serve(std::move(connection),
          outcome.header.source.family == AddressFamily::unspec ? peer : std::move(outcome.header.source));
}

void ProxyReader::serve(Socket connection, Endpoint client) {
  try {
    on_connection_(std::move(connection), std::move(client));
  } catch (const std::exception& error) { // it costs this connection, and nothing else of the loop
    tell(LogLevel::error, "connection_failed", "a connection could not be served", [&] {
      return LogFields{{"error", error.what()}};
    });
  } catch (...) {
    log_event(LogLevel::error, "connection_failed", "a connection could not be served");
  }
}

void ProxyReader::count_refused() {
  ++refused_;
  if (on_refused_)
    on_refused_();
}

void ProxyReader::refuse(const Endpoint& peer, std::string_view reason, LogLevel level) {
  count_refused();
  tell(level, "proxy_header_refused", "a connection without a good PROXY header is closed", [&] {
    return LogFields{{"peer", to_string(peer)}, {"reason", std::string{reason}}};
  });
}

void ProxyReader::drop(Pending& pending) {
  if (pending.connection)
    loop_.unwatch(pending.connection.fd(), pending);
  const bool was_first = pending.place == pending_.begin();
  pending_.erase(pending.place);
  if (was_first)
    start_timer();
}

void ProxyReader::close_late() {
  const TimePoint rings = timer_.when(); // until then every header was looked for, and not until now
  while (!pending_.empty() && pending_.front().deadline <= rings) {
    const Endpoint peer = pending_.front().peer;
    drop(pending_.front());
    refuse(peer, "its time is over");
  }
}

void ProxyReader::close_pending(std::string_view reason) {
  while (!pending_.empty()) {
    const Endpoint peer = pending_.front().peer;
    drop(pending_.front());
    refuse(peer, reason, LogLevel::info);
  }
}

std::vector<ProxyReader::Unserved> ProxyReader::release_pending() {
  std::vector<Unserved> released;
  released.reserve(pending_.size());
  while (!pending_.empty()) {
    Pending& pending = pending_.front();
    if (pending.connection) { // else the loop has ended
      loop_.unwatch(pending.connection.fd(), pending);
      released.push_back({std::move(pending.connection), pending.peer});
    }
    drop(pending);
  }
  return released;
}

void ProxyReader::start_timer() {
  timer_.cancel();
  if (!pending_.empty() && options_.timeout > std::chrono::milliseconds::zero())
    timer_.start(loop_, pending_.front().deadline);
}

} // namespace squall
