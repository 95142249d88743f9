// SPDX-License-Identifier: BSD-3-Clause
//
// pipe_io_stream.hpp: an IOStream on one end of a pipe, as Tornado's PipeIOStream.
//
// Everything that IOStream says holds, but that a pipe has one direction: on its writing end every read closes the
// stream with EBADF, on its reading end every write. SIGPIPE is never raised. Any other descriptor that poll(2) can
// wait for (a FIFO, a terminal, a character device) will do; a regular file will not.
#pragma once

#include <squall/net/io_stream.hpp>

namespace squall {

class PipeIOStream : public IOStream {
public:
  /// Takes over `descriptor` and makes it non-blocking, for every process that shares it (fcntl(2)).
  /// @throws std::system_error when the system refuses to watch it (EPERM: a regular file)
  PipeIOStream(EventLoop& loop, Socket descriptor, const StreamOptions& options = {})
      : IOStream{loop, make_pipe_transport(std::move(descriptor)), options} {}
};

} // namespace squall
