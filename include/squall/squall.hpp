// SPDX-License-Identifier: BSD-3-Clause
//
// squall.hpp: everything.
#pragma once

#include <squall/client_actor.hpp>
#include <squall/config.hpp>
#include <squall/io_system.hpp>
#include <squall/listener_actor.hpp>
#include <squall/listener_handover.hpp>
#include <squall/net/acceptor.hpp>
#include <squall/net/bytes.hpp>
#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/inherited_sockets.hpp>
#include <squall/net/io_stream.hpp>
#include <squall/net/ip_network.hpp>
#include <squall/net/log.hpp>
#include <squall/net/memory_budget.hpp>
#include <squall/net/pipe_io_stream.hpp>
#include <squall/net/process.hpp>
#include <squall/net/proxy_protocol.hpp>
#include <squall/net/proxy_reader.hpp>
#include <squall/net/resolver.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/stream_requests.hpp>
#include <squall/net/subprocess.hpp>
#include <squall/net/task.hpp>
#include <squall/net/tcp_client.hpp>
#include <squall/net/tls_context.hpp>
#include <squall/net/tls_info.hpp>
#include <squall/net/transport.hpp>
#include <squall/request.hpp>
#include <squall/serve.hpp>
#include <squall/stream_actor.hpp>
#include <squall/stream_messages.hpp>
#include <squall/tcp_server.hpp>
