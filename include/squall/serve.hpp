// SPDX-License-Identifier: BSD-3-Clause
//
// serve.hpp: the main function of a server that is configured from JSON.
//
//     int main(int argc, char** argv) {
//       EchoServer server;
//       return squall::serve(argc, argv, server);
//     }
//
// The program then takes --config FILE (see docs/configuration.md), --check (validate the configuration and
// end) and
// --help. Without --config it listens on 127.0.0.1:8888.
#pragma once

#include <squall/config.hpp>
#include <squall/tcp_server.hpp>

namespace squall {

/// With "processes" other than 1 it forks, as fork_processes says, when it has bound and printed, and before it starts
/// a thread; so `server` must not listen yet.
///
/// Configures `server`, listens, prints "listening on ADDRESS:PORT" for each socket to standard output,
/// flushed, and runs until SIGINT or SIGTERM, when it drains, as TCPServer::run; SIGHUP reads certificates and keys
/// again. It raises the process's soft limit of descriptors to the hard one. Everything that goes wrong is told on
/// standard error. Whatever it inherits (signals blocked or ignored, standard streams missing) is put right; see
/// docs/servers.md.
/// @param defaults  the configuration without --config; with it, what the file does not mention (see parse_config)
/// @returns the exit status: 0 after a run, after --check of a valid configuration and after --help; 1 when
///         an address cannot be listened on, or the children ended too often; 2 for a mistake on the command line or in
///         the configuration: then nothing was started.
///         The process ends with 70 where it does not end in time, see TCPServer::run
int serve(int argc, char** argv, TCPServer& server, const ServerConfig& defaults = {});

} // namespace squall
