// SPDX-License-Identifier: BSD-3-Clause
//
// acceptor.hpp: accepts connections from a listening socket.
//
// Threads    The loop's.
// Ownership  Shares the listening socket; stopping does not close it. Stop it before
//            ListeningSocket::close(), which frees the descriptor's number for others.
// Fairness   At most `accepts_per_turn` connections a turn, then the loop's other work has its turn.
// Errors     An accept that fails for one connection (ECONNABORTED and its kin, accept(2)) costs that
//            connection. When the process or the system is out of descriptors or memory, connections wait in the
//            kernel, and the log says which limit to raise, at most once a second. Accepting goes on when the
//            process closes a Socket, and looks by itself after 5 ms, then after twice that, up to 100 ms. No error
//            ends accepting but that of a socket that listens no more.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace squall {

class DescriptorWait;
namespace socket_api {
struct Accepted;
}

class Acceptor final : private Watcher, private LoopTask {
public:
  /// Gets each connection, non-blocking and close-on-exec. It may stop the acceptor; it must not destroy it.
  /// What it throws is logged and costs the connection.
  using OnAccept = std::function<void(Socket connection, Endpoint peer)>;

  static constexpr int default_accepts_per_turn = 16;

  /// Accepts from now on. @throws std::system_error when the loop cannot watch the socket; EBADF when it is
  /// closed; std::invalid_argument for less than one accept a turn
  Acceptor(EventLoop& loop, ListeningSocket socket, OnAccept on_accept,
           int accepts_per_turn = default_accepts_per_turn);
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  ~Acceptor();

  /// Leaves connections waiting in the kernel, or goes on; also from inside on_accept.
  void set_paused(bool value) noexcept;

  /// Accepts what waits in the kernel now, at most `most` connections, though it is paused. @returns how many
  int accept_rest(int most);

  /// `function` is called before it looks for each connection, and may pause or stop the acceptor; it must not throw.
  void set_before_accept(std::function<void()> function) { before_accept_ = std::move(function); }

  /// `function` is called when accepting pauses for want of descriptors or memory; false: this pause is not to be
  /// logged. It must not throw.
  void set_on_pause(std::function<bool()> function) { on_pause_ = std::move(function); }

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
  void resume();
  void tell_pause(int error);

  EventLoop& loop_;
  ListeningSocket socket_;
  OnAccept on_accept_;
  std::function<void()> before_accept_;
  std::function<bool()> on_pause_;
  int accepts_per_turn_;
  Timer resume_timer_;
  std::unique_ptr<DescriptorWait> descriptor_wait_;
  Duration pause_time_{};         ///< of the last pause; zero once a connection was accepted
  std::uint64_t turn_ = 0;        ///< of the loop, when the last batch was accepted
  std::optional<TimePoint> told_; ///< when the log was last told of a pause
  bool held_ = false;             ///< by set_paused
  bool stopped_ = false;
};

/// Calls `on_accept` with each connection, as Tornado's add_accept_handler: an Acceptor that lives as long as what is
/// returned, or a copy of it.
/// @returns the remover: a call ends accepting, also from inside `on_accept`, and leaves the socket open. Doing it
///          twice is harmless, dropping it does the same. Threads: the loop's. It must not outlive the loop.
/// @throws as Acceptor
[[nodiscard]] std::function<void()>
add_accept_handler(EventLoop& loop, ListeningSocket socket, Acceptor::OnAccept on_accept,
                   int accepts_per_turn = Acceptor::default_accepts_per_turn);

} // namespace squall
