// SPDX-License-Identifier: BSD-3-Clause
//
// stream_actor.hpp: the actor that owns a connection's IOStream.
//
// It answers each request exactly once, also when it is told to exit or is killed: with the reply that
// StreamActor names, or with a caf::error from which stream_error() takes the StreamError; where an exception came
// between, with caf::sec::runtime_error and what it says.
//
// Threads    Any actor on any thread may send any request. The actor runs on the loop of its connection;
//            requests from actors on the same loop take no lock and wake nobody.
// Ownership  The actor alone owns the stream. It lives until its stream is closed and nothing is unread, or
//            its handler ends, or it is told to exit (caf::exit_msg); a handle does not keep the connection
//            open.
// Order      Writes leave in order of arrival. A read that arrives while one is pending is refused with
//            StreamErrc::already_reading; the first is unharmed.
// Lifetime   After the close, what is unread can be read. Requests pending at the close, and all later ones,
//            fail with StreamErrc::closed and the reason. Monitor the handle to hear of the end with nothing
//            pending: stream_closed(down.reason) tells why.
// Units      Sizes are bytes.
#pragma once

#include <squall/caf_compat.hpp>
#include <squall/stream_messages.hpp>

namespace squall {

using StreamActor = TypedActor<caf::result<Bytes>(ReadBytes),        //
                               caf::result<Bytes>(ReadInto),         //
                               caf::result<Bytes>(ReadUntil),        //
                               caf::result<Bytes>(ReadUntilRegex),   //
                               caf::result<Bytes>(ReadUntilClose),   //
                               caf::result<Bytes>(Peek),             //
                               caf::result<void>(CancelRead),        //
                               caf::result<void>(SendChunks),        //
                               caf::result<void>(Connect),           //
                               caf::result<TLSInfo>(StartTLS),       //
                               caf::result<TLSInfo>(AwaitHandshake), //
                               caf::result<void>(Write),             //
                               caf::result<void>(WritePieces),       //
                               caf::result<void>(WriteFile),         //
                               caf::result<void>(AwaitWritable),     //
                               caf::result<void>(AwaitEnd),          //
                               caf::result<void>(AwaitDrain),        //
                               caf::result<StreamError>(AwaitClose), //
                               caf::result<void>(ShutdownWrite),     //
                               caf::result<void>(Close),             //
                               caf::result<void>(CloseAfterFlush),   //
                               caf::result<void>(Abort),             //
                               caf::result<void>(SetNodelay),        //
                               caf::result<void>(SetKeepAlive),      //
                               caf::result<StreamInfo>(Info)>;

} // namespace squall
