// SPDX-License-Identifier: BSD-3-Clause
//
// acceptor.hpp: accepts connections from a listening socket.
//
// Threads    The loop's.
// Ownership  Shares the listening socket; stopping does not close it. Stop it before
//            ListeningSocket::close(), which frees the descriptor's number for others.
// Fairness   At most 16 connections a turn, then the loop's other work has its turn.
// Errors     An accept that fails for one connection (ECONNABORTED and its kin, accept(2)) costs that
//            connection. When the process or the system is out of descriptors or memory, accepting pauses for
//            100 ms at a time: connections wait in the kernel, and the log says which limit to raise.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>

#include <cstdint>
#include <functional>

namespace squall {

namespace socket_api {
struct Accepted;
}

class Acceptor final : private Watcher, private LoopTask {
public:
  /// Gets each connection, non-blocking and close-on-exec. It may stop the acceptor; it must not destroy it.
  /// What it throws is logged and costs the connection.
  using OnAccept = std::function<void(Socket connection, Endpoint peer)>;

  /// Accepts from now on. @throws std::system_error when the loop cannot watch the socket; EBADF when it is
  /// closed
  Acceptor(EventLoop& loop, ListeningSocket socket, OnAccept on_accept);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  ~Acceptor() { stop(); }

  /// Leaves connections waiting in the kernel, or goes on; also from inside on_accept.
  void set_paused(bool value) noexcept;

  /// Accepts what waits in the kernel now, at most `most` connections, though it is paused. @returns how many
  int accept_rest(int most);

  void set_accepts_per_turn(int value) noexcept { accepts_per_turn_ = value; } ///< at least 1

  /// Ends accepting, also from inside on_accept. The socket stays open. Doing it twice is harmless.
  void stop() noexcept;

  [[nodiscard]] const ListeningSocket& socket() const noexcept { return socket_; }

private:
  void on_ready(Readiness readiness) override;
  void on_loop_end() noexcept override { stop(); }
  void run_task() override;
  void accept_batch();
  void hand_over(socket_api::Accepted accepted);
  void pause(int error);

  EventLoop& loop_;
  ListeningSocket socket_;
  OnAccept on_accept_;
  Timer resume_timer_;
  std::uint64_t turn_ = 0; ///< of the loop, when the last batch was accepted
  TimePoint paused_{};     ///< when it last had to pause
  int accepts_per_turn_ = 16;
  bool held_ = false; ///< by set_paused
  bool stopped_ = false;
};

} // namespace squall
