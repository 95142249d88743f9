// SPDX-License-Identifier: BSD-3-Clause
//
// listener.hpp: the listener actor.
//
// Threads    Everything on the listener's loop, but for info(); the connections go to all loops in turn.
#pragma once

#include "actors/connection.hpp"
#include "actors/listener_handover.hpp"
#include "actors/listener_state.hpp"
#include "actors/tls_reload.hpp"
#include <squall/net/acceptor.hpp>
#include <squall/net/resolver.hpp>

#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace squall {

/// How long reading the files of a ReloadTLS may take.
inline constexpr std::chrono::seconds reload_timeout{10};

/// What is wrong with `limits`; empty: nothing.
std::string check_limits(const ListenerLimits& limits);

class Listener final : public LoopActor {
public:
  Listener(caf::actor_config& config, std::shared_ptr<LoopUnit> unit, std::shared_ptr<const LoopUnits> units,
           Handler handler, const ListenerOptions& options);

  [[nodiscard]] const char* name() const override { return "squall.listener"; }

  /// Any thread.
  [[nodiscard]] ListenerInfo info() const;

private:
  class Rejecting final : public DescriptorGuest {};

  /// A listening socket.
  struct Entry {
    Entry(Listener& listener, const ListeningSocket& socket, AcceptOptions options);
    AcceptOptions accept;
    const bool is_tcp;
    std::optional<ProxyReader> proxy;
    Acceptor acceptor;
  };

  /// A Listen whose host name is looked up.
  struct NameLookup {
    Reply reply;
    Listen request;
    Lookup lookup;
  };

  void on_message(caf::mailbox_element& message) override;
  void on_end(const caf::error& reason) override;

  void listen(Reply reply, const Listen& request);
  void listen(std::list<NameLookup>::iterator lookup, const Result<Addresses>& found);
  template <class Bind>
  void listen(Reply reply, Bind bind);
  void add_sockets(Reply reply, const std::vector<ListeningSocket>& sockets,
                   const std::optional<AcceptOptions>& accept);
  bool socket_message(caf::mailbox_element& message);
  bool connection_message(caf::mailbox_element& message);

  void watch_room();
  void adopt(const std::shared_ptr<ListenerHandover>& handover);
  void adopt_unserved(Entry& entry, ProxyReader::Unserved unserved);
  void leave_estate();

  void pause(bool value);
  void set_limits(Reply reply, const ListenerLimits& limits);
  void update_pause() { update_pause(limited()); }
  void update_pause(bool was_limited);
  [[nodiscard]] std::uint64_t awaiting_header() const noexcept;
  [[nodiscard]] bool full() const noexcept;
  [[nodiscard]] bool memory_exhausted() const noexcept;
  /// Connections are to stay in the kernel until there is memory.
  [[nodiscard]] bool must_wait_for_memory() const noexcept {
    return limits_.when_full == WhenFull::queue && memory_exhausted();
  }
  void update_memory_wait();
  void look_for_memory();
  [[nodiscard]] bool limited() const noexcept {
    return waits_for_room_ || waits_for_memory_ || rate_timer_.armed();
  }
  bool refill_accepts();
  void room_is_free();
  void reject(Socket socket, const Endpoint& peer, const AcceptOptions& accept, const char* limit);

  template <class F>
  void for_each_connection(F function);
  void list_connections(Reply reply);
  void close_connection(Reply reply, const CloseConnection& request);
  void drain(Reply reply, Duration deadline);
  void accept_rest();
  void check_drain();

  void reload_tls(Reply reply);
  std::vector<AcceptOptions*> all_accept_options();
  void begin_reload();
  void finish_reload(const TLSReload::Outcome& outcome);
  void reload_timed_out();
  void answer_reload(const std::string& error);
  void end_reload();
  void replace_tls(Reply reply, const ReplaceTLS& request);
  void stop();
  void drop_later(std::vector<std::shared_ptr<Entry>> entries);
  void publish_info();
  bool count_pause();
  void take(Entry& entry, Socket socket, const Endpoint& peer);
  void serve(Socket socket, const Endpoint& peer, const Entry& entry);

  std::shared_ptr<const LoopUnits> units_;
  std::size_t next_unit_ = 0;
  std::shared_ptr<const Handler> handler_;
  const std::shared_ptr<const StreamOptions> options_;
  std::shared_ptr<ListenerState> state_ = std::make_shared<ListenerState>();
  std::shared_ptr<ListenerHandover> handover_; ///< or none; until the end
  AcceptOptions accept_;                       ///< of what is added without its own
  std::vector<std::shared_ptr<Entry>> entries_;
  /// That accept no more, and have connections without their header.
  std::vector<std::shared_ptr<Entry>> ending_;

  ListenerLimits limits_;
  bool paused_ = false;           ///< by Pause
  bool waits_for_room_ = false;   ///< max_connections is reached
  bool waits_for_memory_ = false; ///< the memory budget is exhausted
  double accept_tokens_ = 0;      ///< connections that max_accept_rate lets in now
  TimePoint tokens_counted_at_{}; ///< when accept_tokens_ was so many
  Timer rate_timer_{[this] { update_pause(); }};
  Timer memory_timer_{[this] { look_for_memory(); }}; ///< armed while it waits for memory
  /// Held by each stream that gets full_answer.
  std::shared_ptr<DescriptorGuest> rejecting_ = std::make_shared<Rejecting>();

  std::list<NameLookup> lookups_;
  std::unique_ptr<TLSReload> reload_;                  ///< that is under way
  std::vector<Reply> reloads_;                         ///< who waits for it
  std::vector<Reply> later_reloads_;                   ///< who waits for the next one
  Timer reload_timer_{[this] { reload_timed_out(); }}; ///< armed while somebody waits for it

  std::optional<TimePoint> pause_told_; ///< when the log was last told of a pause for want of descriptors

  std::vector<Reply> drain_replies_; ///< empty: no draining
  TimePoint drain_deadline_{};
  Timer drain_timer_{[this] { check_drain(); }};

  mutable std::mutex info_mutex_;
  ListenerInfo info_; ///< what is not counted in state_; guarded by info_mutex_
};

} // namespace squall
