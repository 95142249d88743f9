// SPDX-License-Identifier: BSD-3-Clause
//
// request.hpp: CAF requests, awaited by a coroutine handler.
//
//     int sum = co_await squall::request<int>(adder, 5s, 1, 2);  // caf::actor: name the reply's type
//     squall::Bytes line = co_await squall::request(other, 5s, squall::ReadUntil{"\n"});  // typed: it is known
//
// g++ 12 destroys the members of a temporary aggregate twice when it is made inside a co_await expression, and so
// corrupts memory. Squall's messages have constructors and are safe; a message type of your own whose members have
// destructors needs one as well, or must be named before (docs/decisions/0009-requests-have-constructors.md).
//
// The handler's stream actor sends the request; its stream and its loop go on meanwhile.
//
// Threads    In a coroutine that runs in a stream actor (a CoroutineHandler, and the tasks it awaits); elsewhere
//            std::logic_error is thrown.
// Errors     co_await throws StreamClosedError (or its kin) for the error of a stream actor, else RequestError: what
//            the target answered, caf::sec::request_timeout, caf::sec::request_receiver_down (the target is dead, ends
//            without an answer, or its node is lost; one that delegates a request must live until the answer) or
//            caf::sec::unexpected_response. With .as_result() a caf::expected is returned instead.
// Lifetime   Destroying a waiting coroutine drops the response.
#pragma once

#include <squall/caf_compat.hpp>
#include <squall/net/task.hpp>
#include <squall/stream_actor.hpp>

#include <coroutine>
#include <optional>
#include <stdexcept>

namespace squall {

/// A request failed with an error that is none of a stream.
class RequestError : public std::runtime_error {
public:
  explicit RequestError(caf::error error) : std::runtime_error{error_text(error)}, error_{std::move(error)} {}
  [[nodiscard]] const caf::error& error() const noexcept { return error_; }

private:
  caf::error error_;
};

/// How long to wait for a response: any duration, or caf::infinite.
class RequestTimeout {
public:
  template <class Rep, class Period>
  RequestTimeout(std::chrono::duration<Rep, Period> time) : time_{Duration::of(time)} {}
  RequestTimeout(caf::infinite_t) {}
  [[nodiscard]] const std::optional<Duration>& time() const noexcept { return time_; }

private:
  std::optional<Duration> time_;
};

namespace detail {

/// The coroutine side of an actor: what TaskContext is in a stream actor.
class ActorTaskContext : public TaskContext {
public:
  using TaskContext::TaskContext;

  /// Hears the outcome of a request: a response, or the error that ended it.
  class Waiter {
  public:
    virtual void on_response(caf::message response) = 0;

  protected:
    ~Waiter() = default;
  };

  virtual void send_request(const caf::strong_actor_ptr& target, const RequestTimeout& timeout,
                            caf::message content, Waiter& waiter) = 0;
  virtual void cancel_request(Waiter& waiter) noexcept = 0;
  [[nodiscard]] virtual StreamActor stream_actor() const = 0;

  /// The context of a stream actor; @throws std::logic_error when `context` is none
  static ActorTaskContext& of(TaskContext& context);
};

[[noreturn]] void throw_request_error(caf::error error);

template <class Out>
struct ResponseReader {
  static caf::expected<Out> read(caf::message& response) {
    if (response.match_elements<Out>())
      return std::move(response.get_mutable_as<Out>(0));
    return caf::make_error(caf::sec::unexpected_response);
  }
};
template <>
struct ResponseReader<void> {
  static caf::expected<void> read(caf::message& response) {
    if (response.empty() || response.match_elements<caf::unit_t>())
      return caf::unit;
    return caf::make_error(caf::sec::unexpected_response);
  }
};
template <class... Outs>
struct ResponseReader<std::tuple<Outs...>> {
  static caf::expected<std::tuple<Outs...>> read(caf::message& response) {
    if (response.match_elements<Outs...>())
      return read(response, std::index_sequence_for<Outs...>{});
    return caf::make_error(caf::sec::unexpected_response);
  }
  template <std::size_t... Is>
  static std::tuple<Outs...> read(caf::message& response, std::index_sequence<Is...>) {
    return {std::move(response.get_mutable_as<Outs>(Is))...};
  }
};

} // namespace detail

/// What the two forms of an awaited request share. Destroying it while it waits drops the response.
class RequestOperation : private detail::ActorTaskContext::Waiter {
public:
  RequestOperation(const RequestOperation&) = delete;
  RequestOperation& operator=(const RequestOperation&) = delete;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> waiter) {
    start(waiter.promise().context(), waiter);
  }

protected:
  RequestOperation(caf::strong_actor_ptr target, RequestTimeout timeout, caf::message content)
      : target_{std::move(target)}, timeout_{timeout}, content_{std::move(content)} {}
  RequestOperation(RequestOperation&& other) noexcept = default;
  ~RequestOperation();

  template <class Out>
  caf::expected<Out> take() {
    if (content_.match_elements<caf::error>())
      return std::move(content_.get_mutable_as<caf::error>(0));
    return detail::ResponseReader<Out>::read(content_);
  }

private:
  void start(TaskContext& context, std::coroutine_handle<> waiter);
  void on_response(caf::message response) override;

  caf::strong_actor_ptr target_;
  RequestTimeout timeout_;
  caf::message content_;                        ///< the request, then the response
  detail::ActorTaskContext* context_ = nullptr; ///< while it waits
  std::coroutine_handle<> waiter_;
};

/// co_await returns caf::expected<Out>.
template <class Out>
class [[nodiscard]] RequestResultAwaitable final : public RequestOperation {
public:
  explicit RequestResultAwaitable(RequestOperation&& operation) : RequestOperation{std::move(operation)} {}
  caf::expected<Out> await_resume() { return take<Out>(); }
};

/// co_await returns Out or throws.
template <class Out>
class [[nodiscard]] RequestAwaitable final : public RequestOperation {
public:
  RequestAwaitable(caf::strong_actor_ptr target, RequestTimeout timeout, caf::message content)
      : RequestOperation{std::move(target), timeout, std::move(content)} {}

  Out await_resume() {
    caf::expected<Out> result = take<Out>();
    if (!result)
      detail::throw_request_error(std::move(result.error()));
    if constexpr (!std::is_void_v<Out>)
      return std::move(*result);
  }

  /// The same request, not throwing.
  [[nodiscard]] RequestResultAwaitable<Out> as_result() && {
    return RequestResultAwaitable<Out>{std::move(static_cast<RequestOperation&>(*this))};
  }
};

/// Sends `message...` and awaits the one reply, of type Out (void: an empty reply; std::tuple: several
/// values).
template <class Out, class... In>
RequestAwaitable<Out> request(const caf::actor& target, RequestTimeout timeout, In&&... message) {
  return {caf::actor_cast<caf::strong_actor_ptr>(target), timeout,
          caf::make_message(std::forward<In>(message)...)};
}

/// The same to a typed actor, whose reply is known.
template <class... Signatures, class... In>
auto request(const caf::typed_actor<Signatures...>& target, RequestTimeout timeout, In&&... message)
    -> RequestAwaitable<detail::ReplyOf<caf::typed_actor<Signatures...>, std::decay_t<In>...>> {
  return {caf::actor_cast<caf::strong_actor_ptr>(target), timeout,
          caf::make_message(std::forward<In>(message)...)};
}

/// co_await current_stream_actor() returns the stream actor that the coroutine runs in, to give it to other
/// actors.
class [[nodiscard]] CurrentStreamActor {
public:
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> waiter) {
    actor_ = detail::ActorTaskContext::of(waiter.promise().context()).stream_actor();
    return false;
  }
  StreamActor await_resume() { return std::move(actor_); }

private:
  StreamActor actor_;
};

/// @throws (awaited) std::logic_error outside of a stream actor
inline CurrentStreamActor current_stream_actor() noexcept { return {}; }

} // namespace squall
