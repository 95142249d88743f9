// SPDX-License-Identifier: BSD-3-Clause
//
// client_actor.hpp: the actor that connects to hosts by name.
//
// It takes Connect, whose address may be a name ({"example.com", 443, AddressFamily::unspec}; a family other than
// unspec takes addresses of that one only), and answers once, with the stream actor of the connection or with an error:
// see tcp_client.hpp, and error_text for what was tried. Connect::server_hostname and Connect::timeout, where they are
// given, come before those of its ConnectOptions.
//
// Threads    Any actor on any thread may send any request. Connects run side by side.
// Ownership  A client lives until it is told to exit; connects that are under way then fail with
//            CloseReason::shutting_down. Its streams outlive it. A stream actor without a handler lives until its
//            stream closes, whoever has its handle.
// Lifetime   A connect whose requester ends meanwhile is given up. A requester that gives up waiting lives: let
//            Connect::timeout be shorter than the time in its CAF request, or the stream comes to nobody.
//            A Connect that is no request is ignored.
#pragma once

#include <squall/caf_compat.hpp>
#include <squall/stream_actor.hpp>

namespace squall {

using ClientActor = TypedActor<caf::result<StreamActor>(Connect)>;

} // namespace squall
