// SPDX-License-Identifier: BSD-3-Clause
//
// listener_actor.hpp: the actor that accepts connections, and the handlers that serve them.
//
// A listener gives each connection a stream actor, on one of the I/O threads in turn, and a handler. A
// handler that returns, throws or dies closes its stream; one that failed is counted and logged once
// ("handler_failed"), one that just ended with its connection is not (docs/logging.md). Other connections never notice.
//
// Threads    Any actor on any thread may send any request. A handler runs on the thread of its connection,
//            several handlers on several threads at once.
// Ownership  A listener lives until it is told to exit; its end closes its sockets, unless its options have a handover.
//            Connections outlive it, and each keeps the handler function, with what that captured, as long as its
//            coroutine lives.
//            Link to a listener (caf::local_actor::link_to) to have it end with you.
// Errors     Listen, AddSockets, AddSocket, ReloadTLS and ReplaceTLS fail as a whole, with a ListenerErrc and a text
//            that names the address or the file.
#pragma once

#include <squall/caf_compat.hpp>
#include <squall/listener_handover.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/task.hpp>
#include <squall/stream_actor.hpp>

#include <functional>
#include <memory>
#include <type_traits>
#include <variant>

namespace squall {

using ListenerActor = TypedActor<caf::result<Listening>(Listen),           //
                                 caf::result<Listening>(AddSockets),       //
                                 caf::result<Listening>(AddSocket),        //
                                 caf::result<void>(Stop),                  //
                                 caf::result<void>(Pause),                 //
                                 caf::result<void>(Resume),                //
                                 caf::result<Drained>(Drain),              //
                                 caf::result<void>(SetLimits),             //
                                 caf::result<ConnectionList>(Connections), //
                                 caf::result<void>(CloseConnection),       //
                                 caf::result<void>(ReloadTLS),             //
                                 caf::result<void>(ReplaceTLS),            //
                                 caf::result<ListenerInfo>(Info)>;

/// Runs in the stream actor: reads and writes are plain calls on the stream.
using CoroutineHandler = std::function<Task<>(IOStream stream, Endpoint peer)>;

/// The initial behavior of an actor of its own, which sends requests to the stream actor. Its end closes the
/// stream.
using ActorHandler =
    std::function<caf::behavior(caf::event_based_actor* self, StreamActor stream, Endpoint peer)>;

/// Where the actor of an ActorHandler runs.
enum class HandlerPlacement : std::uint8_t {
  connection_loop, ///< on the loop of its connection: messages between the two never leave the thread. The
                   ///< default
  worker_pool,     ///< on CAF's workers, for handlers that compute or block
};

/// What a listener does with each connection.
struct ListenerOptions {
  StreamOptions stream = {};
  AcceptOptions accept = {}; ///< of the sockets of Listen, and of those that are added without their own
  ListenerLimits limits = {};
  /// Where it leaves its connections and its listening sockets at its end, and takes those from that the listener
  /// before it has left: they keep their AcceptOptions, and count for these limits. nullptr: its end closes the
  /// sockets.
  std::shared_ptr<ListenerHandover> handover = {};
};

/// How to serve a connection: one of the three forms.
class Handler {
public:
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Handler> &&
           std::is_invocable_r_v<Task<>, F&, IOStream, Endpoint>) Handler(F function)
      : function_{CoroutineHandler{std::move(function)}} {}

  template <class F>
  requires std::is_invocable_r_v<caf::behavior, F&, caf::event_based_actor*, StreamActor, Endpoint>
  Handler(F function, HandlerPlacement placement = HandlerPlacement::connection_loop)
      : function_{ActorHandler{std::move(function)}}, placement_{placement} {}

  [[nodiscard]] const CoroutineHandler* coroutine() const noexcept {
    return std::get_if<CoroutineHandler>(&function_);
  }
  [[nodiscard]] const ActorHandler* actor() const noexcept { return std::get_if<ActorHandler>(&function_); }
  [[nodiscard]] HandlerPlacement placement() const noexcept { return placement_; }

private:
  std::variant<CoroutineHandler, ActorHandler> function_;
  HandlerPlacement placement_ = HandlerPlacement::connection_loop;
};

} // namespace squall
