// SPDX-License-Identifier: BSD-3-Clause
//
// duplex_pipe.hpp: two pipes as one connection, so that the tests of every transport run over pipes as well. A pipe
// knows no reset: its reader sees an end, its writer EPIPE.
#pragma once

#include <squall/net/transport.hpp>

#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace squall::testing_support {

/// What one end of the connection reads from and writes to.
struct PipeEnds {
  Socket in;
  Socket out;
};

inline std::pair<PipeEnds, PipeEnds> make_pipe_ends() {
  int forth[2];
  int back[2];
  if (::pipe2(forth, O_CLOEXEC | O_NONBLOCK) != 0 || ::pipe2(back, O_CLOEXEC | O_NONBLOCK) != 0)
    throw std::system_error{errno, std::generic_category(), "pipe2"};
  return {PipeEnds{Socket{back[0]}, Socket{forth[1]}}, PipeEnds{Socket{forth[0]}, Socket{back[1]}}};
}

/// Squall's transports of both pipes, joined.
class DuplexPipeTransport final : public Transport {
public:
  explicit DuplexPipeTransport(PipeEnds ends)
      : in_{make_pipe_transport(std::move(ends.in))}, out_{make_pipe_transport(std::move(ends.out))} {}

  [[nodiscard]] int fileno() const noexcept override { return in_->fileno(); }
  void close_fd() noexcept override {
    in_->close_fd();
    out_->close_fd();
  }
  IoResult read_from_fd(char* buffer, std::size_t size) noexcept override {
    return in_->read_from_fd(buffer, size);
  }
  IoResult write_to_fd(const IoSlice* pieces, std::size_t count) noexcept override {
    return out_->write_to_fd(pieces, count);
  }
  bool shutdown_write() noexcept override {
    close_out();
    return true;
  }
  [[nodiscard]] bool half_closes() const noexcept override { return true; }
  void watch(EventLoop& loop, Watcher& watcher) override {
    loop_ = &loop;
    from_in_.target = from_out_.target = &watcher;
    loop.watch(in_->fileno(), from_in_);
    loop.watch(out_->fileno(), from_out_);
  }
  void unwatch(EventLoop& loop, Watcher&) noexcept override {
    loop.unwatch(in_->fileno(), from_in_);
    if (out_->fileno() >= 0)
      loop.unwatch(out_->fileno(), from_out_);
    loop_ = nullptr;
  }

private:
  struct Forwarder final : Watcher {
    explicit Forwarder(bool of_in) : is_in{of_in} {}
    /// That the reader of the one pipe left says nothing of the other: the next write will tell.
    void on_ready(Readiness readiness) override {
      if (is_in)
        target->on_ready({readiness.readable, false, readiness.hang_up, readiness.broken});
      else
        target->on_ready({false, readiness.writable || readiness.broken, false, false});
    }
    bool is_in;
    Watcher* target = nullptr;
  };

  void close_out() noexcept {
    if (loop_ != nullptr && out_->fileno() >= 0)
      loop_->unwatch(out_->fileno(), from_out_);
    out_->close_fd();
  }

  std::unique_ptr<Transport> in_;
  std::unique_ptr<Transport> out_;
  EventLoop* loop_ = nullptr;
  Forwarder from_in_{true};
  Forwarder from_out_{false};
};

} // namespace squall::testing_support
