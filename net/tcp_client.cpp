// SPDX-License-Identifier: BSD-3-Clause
//
// tcp_client.cpp: a connect from the name to the last step of the handshake.
#include "net/connect_race.hpp"
#include "net/socket_api.hpp"
#include "net/tell.hpp"
#include <squall/net/log.hpp>
#include <squall/net/tcp_client.hpp>

#include <stdexcept>

namespace squall {

namespace {

StreamError usage_error() {
  return {StreamErrc::invalid_argument, CloseReason::none, std::make_error_code(std::errc::invalid_argument)};
}

StreamError no_memory() {
  return {StreamErrc::closed, CloseReason::transport_error,
          std::make_error_code(std::errc::not_enough_memory)};
}

AddressFamily family_of(const std::string& number) {
  return number.find(':') == std::string::npos ? AddressFamily::ipv4 : AddressFamily::ipv6;
}

} // namespace

/// One connect. Its steps follow each other from the loop: lookup, race, handshake, answer. From the lookup on each step
/// ends in the next one, or in fail(): nothing else would answer.
class ConnectOperation final : private Watcher, private LoopTask, private EventCompletion {
public:
  ConnectOperation(EventLoop& loop, std::shared_ptr<Resolver> resolver, std::string host, std::uint16_t port,
                   ConnectOptions options, TCPClient::Callback callback)
      : loop_{loop}, resolver_{std::move(resolver)}, host_{std::move(host)}, port_{port},
        options_{std::move(options)}, callback_{std::move(callback)} {
    loop.watch_end(*this); // before its streams do, so that their ends start no attempt
  }
  ConnectOperation(const ConnectOperation&) = delete;
  ConnectOperation& operator=(const ConnectOperation&) = delete;
  ~ConnectOperation() { drop_stream(); }

  void start();

private:
  void on_ready(Readiness) override {}
  void on_loop_end() noexcept override { fail({StreamErrc::closed, CloseReason::shutting_down, {}}); }
  void on_event(Result<void> result) override;
  void run_task() override;

  [[nodiscard]] const char* check_options() const;
  void race(Result<Addresses> addresses) noexcept;
  [[nodiscard]] std::unique_ptr<Transport> make_transport(const Endpoint& address) const;
  void shake(IOStream stream) noexcept;
  void fail(StreamError error) noexcept;
  void finish(Result<IOStream> result) noexcept;
  void drop_stream() noexcept;
  [[nodiscard]] std::string message() const;

  EventLoop& loop_;
  const std::shared_ptr<Resolver> resolver_;
  const std::string host_;
  const std::uint16_t port_;
  const ConnectOptions options_;
  TCPClient::Callback callback_;

  const char* step_ = "";       ///< that is under way, in words
  const char* wrong_ = nullptr; ///< of the options
  Lookup lookup_;
  std::unique_ptr<ConnectRace> race_;
  IOStream stream_; ///< while it makes the handshake
  Timer deadline_{[this] { fail({StreamErrc::timed_out, CloseReason::none, {}}); }};

  std::optional<Result<IOStream>> result_;
  std::vector<ConnectAttempt> attempts_;
};

/// What is wrong with the options; nullptr: nothing.
const char* ConnectOperation::check_options() const {
  if (options_.family == AddressFamily::unix_domain)
    return "a family other than IPv4 and IPv6";
  if (!options_.source_ip.empty()) {
    if (!is_valid_ip(options_.source_ip))
      return "source_ip is no IPv4 or IPv6 address";
    if (options_.family != AddressFamily::unspec && options_.family != family_of(options_.source_ip))
      return "source_ip is not of the family that is asked for";
  }
  if (options_.tls && options_.tls.side() != TLSSide::client)
    return "the TLS context is one of a server";
  return nullptr;
}

void ConnectOperation::start() {
  wrong_ = check_options();
  if (wrong_ != nullptr)
    return fail(usage_error());
  step_ = "lookup";
  if (options_.timeout)
    deadline_.start_after(loop_, *options_.timeout);
  const AddressFamily family = options_.source_ip.empty() ? options_.family : family_of(options_.source_ip);
  const Timeout timeout = options_.timeout ? no_timeout : Timeout{default_lookup_timeout};
  lookup_ = resolver_->start_resolve(loop_, Resolve{host_, port_, family, timeout},
                                     [this](Result<Addresses> addresses) { race(std::move(addresses)); });
}

void ConnectOperation::race(Result<Addresses> addresses) noexcept {
  if (!addresses)
    return fail(addresses.error());
  step_ = "connect";
  try {
    race_ = std::make_unique<ConnectRace>(
        loop_, in_race_order(*addresses), options_,
        [this](const Endpoint& address) { return make_transport(address); },
        [this](Result<IOStream> result) {
          if (!result)
            fail(result.error());
          else
            shake(std::move(*result));
        });
  } catch (const std::bad_alloc&) {
    return fail(no_memory());
  }
  race_->start();
}

std::unique_ptr<Transport> ConnectOperation::make_transport(const Endpoint& address) const {
  if (options_.source_ip.empty() && options_.source_port == 0)
    return make_unconnected_transport();
  socket_api::Bound bound =
      socket_api::bind_source({options_.source_ip, options_.source_port, address.family});
  if (bound.error != 0)
    throw std::system_error{bound.error, std::generic_category(), "bind"};
  return make_unconnected_transport(std::move(bound.socket));
}

void ConnectOperation::shake(IOStream stream) noexcept {
  if (!options_.tls)
    return finish(std::move(stream));
  step_ = "TLS handshake";
  stream_ = std::move(stream);
  try {
    std::string name = options_.server_hostname.empty() ? host_ : options_.server_hostname;
    if (name.ends_with('.'))
      name.pop_back(); // certificates and SNI have none (RFC 6066, 3)
    if (const auto result =
            stream_.start_tls(StartTLS{false, options_.tls, std::move(name), options_.timeout}, *this))
      on_event(*result);
  } catch (const std::bad_alloc&) {
    fail(no_memory());
  }
}

void ConnectOperation::on_event(Result<void> result) {
  if (!result)
    return fail(result.error());
  finish(std::exchange(stream_, IOStream{}));
}

void ConnectOperation::fail(StreamError error) noexcept {
  if (race_ != nullptr)
    race_->give_up(error.code == StreamErrc::timed_out ? std::errc::timed_out
                                                       : std::errc::operation_canceled);
  drop_stream();
  finish(error);
}

/// Calls back in the loop's next phase: not inside the call that starts the connect, nor inside those of others.
void ConnectOperation::finish(Result<IOStream> result) noexcept {
  const ReserveUse use;
  if (race_ != nullptr)
    try_step([this] { attempts_ = race_->attempts(); });
  Watcher::unlink();
  deadline_.cancel();
  lookup_ = Lookup{};
  result_.emplace(std::move(result));
  loop_.defer(*this);
}

void ConnectOperation::run_task() {
  const TCPClient::Callback callback = std::move(callback_); // it may destroy this
  std::string text;
  if (!*result_)
    try_step([&] {
      const ReserveUse use;
      text = "cannot connect"; // so short that it needs no memory
      text = message();
    });
  ConnectResult result{std::move(*result_), std::move(attempts_), std::move(text)};
  result_.reset();
  callback(std::move(result));
}

void ConnectOperation::drop_stream() noexcept {
  if (stream_)
    stream_.forget_wait(*this);
  stream_ = IOStream{};
}

std::string ConnectOperation::message() const {
  const StreamError& error = result_->error();
  std::string text = "cannot connect to " + escape_bytes(host_) + " port " + std::to_string(port_) + ": ";
  if (wrong_ != nullptr)
    return text.append(wrong_);
  text.append(to_string(error));
  if (error.code == StreamErrc::timed_out)
    text.append(" during the ").append(step_);
  const char* separator = "; tried ";
  for (const ConnectAttempt& attempt : attempts_) {
    text.append(std::exchange(separator, ", ")).append(to_string(attempt.address));
    text.append(" (").append(attempt.error ? attempt.error.message() : "connected").append(")");
  }
  return text;
}

IOStream ConnectResult::value() const {
  if (!has_value())
    throw_error(error(), message_);
  return **this;
}

PendingConnect::PendingConnect() noexcept = default;
PendingConnect::PendingConnect(std::unique_ptr<ConnectOperation> operation) noexcept
    : operation_{std::move(operation)} {}
PendingConnect::PendingConnect(PendingConnect&& other) noexcept = default;
PendingConnect& PendingConnect::operator=(PendingConnect&& other) noexcept = default;
PendingConnect::~PendingConnect() = default;

TCPClient::TCPClient(EventLoop& loop, std::shared_ptr<Resolver> resolver)
    : loop_{&loop}, resolver_{std::move(resolver)} {
  if (resolver_ == nullptr)
    throw std::invalid_argument{"a TCPClient without a resolver"};
}

PendingConnect TCPClient::start_connect(std::string host, std::uint16_t port, ConnectOptions options,
                                        Callback callback) {
  auto operation = std::make_unique<ConnectOperation>(*loop_, resolver_, std::move(host), port,
                                                      std::move(options), std::move(callback));
  operation->start();
  return PendingConnect{std::move(operation)};
}

void TCPClient::connect(std::string host, std::uint16_t port, ConnectOptions options, Callback callback) {
  const auto kept = std::make_shared<PendingConnect>(); // by the callback, which goes when it has been called
  *kept = start_connect(
      std::move(host), port, std::move(options),
      [kept, callback = std::move(callback)](ConnectResult result) { callback(std::move(result)); });
}

TCPConnectAwaitable TCPClient::connect(std::string host, std::uint16_t port, ConnectOptions options) {
  return {*this, std::move(host), port, std::move(options)};
}

void TCPConnectOperation::await_suspend(std::coroutine_handle<> waiter) {
  pending_ = client_.start_connect(std::move(host_), port_, std::move(options_),
                                   [this, waiter](ConnectResult result) {
                                     result_.emplace(std::move(result));
                                     waiter.resume();
                                   });
}

} // namespace squall
