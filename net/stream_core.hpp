// SPDX-License-Identifier: BSD-3-Clause
//
// stream_core.hpp: the state machine behind IOStream: four parts (read buffer, read match, write queue,
// transport) and the rules that join them.
//
// Threads    The loop's.
// Ownership  Counted by its handles (IOStream) and, while it has something left to do after its close, by
// itself.
#pragma once

#include "net/descriptor_guest.hpp"
#include "net/memory_share.hpp"
#include "net/read_buffer.hpp"
#include "net/read_match.hpp"
#include "net/write_queue.hpp"
#include <squall/net/io_stream.hpp>

#include <array>
#include <cstdint>
#include <exception>
#include <forward_list>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

namespace squall {

class StreamCore final : private Watcher {
public:
  /// With one reference, the caller's.
  StreamCore(EventLoop& loop, std::unique_ptr<Transport> transport,
             std::shared_ptr<const StreamOptions> options);

  void ref() noexcept { ++references_; }
  /// Closes the stream with its last handle.
  void deref() noexcept;

  std::optional<Result<Bytes>> start_read(ReadRequest&& request, ReadCompletion& completion);
  /// Forgets the read of `completion`.
  void forget_read(ReadCompletion& completion) noexcept;
  /// Ends the pending read, if there is one; its completion hears of it from the loop.
  void cancel_read();

  bool look_for_input();

  /// Begins to connect, or refuses to; wait for StreamEvent::connected.
  std::optional<StreamError> connect(const Connect& request);

  /// Begins the handshake of TLS, or refuses to; wait for StreamEvent::handshaken.
  std::optional<StreamError> start_tls(const StartTLS& request);

  /// Waits for an event: answers at once where it has come, or cannot come any more.
  std::optional<Result<void>> start_wait(StreamEvent event, Timeout timeout, EventCompletion& completion);
  void forget_wait(EventCompletion& completion) noexcept;

  /// Queues a write and tells the position of its end, or refuses it.
  std::optional<StreamError> queue_write(Bytes&& data, std::uint64_t& end);
  std::optional<StreamError> queue_pieces(std::vector<Bytes> pieces, std::uint64_t& end);
  std::optional<StreamError> queue_file(const WriteFile& request, std::uint64_t& end);
  /// True when the write that ends at `end` is done, or may be answered before the end of the turn: the
  /// stream then answers for its bytes.
  bool answer_early(std::uint64_t end) noexcept;
  /// Answers when the write that ends at `end` is done.
  void await_write(std::uint64_t end, Timeout timeout, WriteCompletion& completion);
  void cancel_write(WriteCompletion& completion) noexcept;
  [[nodiscard]] bool sent(std::uint64_t end) const noexcept { return end <= unsent_.begin(); }

  /// Refuses further writes and ends our side behind what is unsent, which `end` tells.
  std::optional<StreamError> shutdown_write(std::uint64_t& end);

  void close(CloseReason reason, std::error_code real_error);
  /// Closes, but sends what is unsent, which `end` tells, for at most `deadline`.
  std::optional<StreamError> close_after_flush(Duration deadline, std::uint64_t& end);
  void abort();
  void set_end_callback(std::function<void()> callback);
  void set_close_callback(std::function<void()> callback, EndNotice notice);
  void set_nodelay(bool value) noexcept;
  /// Tells those who wait for StreamEvent::draining, later in the turn.
  void begin_drain() noexcept;
  void set_guest(std::shared_ptr<DescriptorGuest> guest) noexcept;
  void let_guest_hold() noexcept { guest_holds_ = guest_ != nullptr; }
  [[nodiscard]] bool has_descriptor() const noexcept { return transport_ != nullptr; }
  [[nodiscard]] bool awaits_answer() const noexcept { return awaits_answer_; }
  void set_keep_alive(const KeepAlive& keep_alive);

  [[nodiscard]] bool connected() const noexcept { return link_ == LinkState::connected && !closed_; }
  /// A closed stream tells nothing of its connection, though that may end later.
  [[nodiscard]] bool shows_peer() const noexcept { return transport_ != nullptr && !closed_; }
  [[nodiscard]] bool writable() const noexcept { return !paused_ && !closed_; }
  [[nodiscard]] std::uint64_t bytes_received() const noexcept { return bytes_received_; }
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept { return unsent_.begin(); }
  [[nodiscard]] Endpoint local_endpoint() const {
    return shows_peer() ? transport_->local_endpoint() : Endpoint{};
  }
  [[nodiscard]] Endpoint peer_endpoint() const {
    return shows_peer() ? transport_->peer_endpoint() : Endpoint{};
  }
  [[nodiscard]] std::optional<PeerCredentials> peer_credentials() const noexcept {
    return shows_peer() ? transport_->peer_credentials() : std::nullopt;
  }
  [[nodiscard]] std::optional<TLSInfo> tls_info() const {
    return shows_peer() ? transport_->tls_info() : std::nullopt;
  }
  [[nodiscard]] bool draining() const noexcept { return draining_; }
  [[nodiscard]] TimePoint last_activity() const noexcept { return last_activity_; }
  [[nodiscard]] std::string pending_read() const {
    return reader_ != nullptr ? match_.describe() : std::string{};
  }
  [[nodiscard]] bool closed() const noexcept { return closed_; }
  [[nodiscard]] bool reading() const noexcept { return reader_ != nullptr; }
  [[nodiscard]] std::size_t unread_size() const noexcept { return unread_.size(); }
  [[nodiscard]] std::size_t unsent_size() const noexcept { return closed_ ? 0 : unsent_.size(); }
  [[nodiscard]] StreamError error() const noexcept { return {StreamErrc::closed, reason_, real_error_, id_}; }
  /// What fails while the stream is open.
  [[nodiscard]] StreamError failure(StreamErrc code, std::error_code real_error = {}) const noexcept {
    return {code, CloseReason::none, real_error, id_};
  }
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] EventLoop& loop() const noexcept { return loop_; }

  /// Ends the process when a thread uses a stream of another thread's loop: what it would damage cannot be
  /// told.
  void check_thread() const noexcept {
    if (EventLoop::current() != nullptr && !loop_.in_loop())
      die_on_wrong_thread();
  }

private:
  /// Keeps the stream while one of its own functions runs, whatever a completion lets go. When a completion
  /// throws, what it kept from running follows in the next phases of the loop.
  class Guard {
  public:
    explicit Guard(StreamCore& core) noexcept : core_{core}, exceptions_{std::uncaught_exceptions()} {
      core_.ref();
    }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() {
      if (std::uncaught_exceptions() > exceptions_)
        core_.go_on_later();
      core_.deref();
    }

  private:
    StreamCore& core_;
    int exceptions_;
  };
  /// Runs one of the functions below in a phase of the loop.
  template <void (StreamCore::*step)()>
  struct Task final : LoopTask {
    explicit Task(StreamCore& owner) noexcept : core{owner} {}
    void run_task() override { (core.*step)(); }
    StreamCore& core;
  };
  struct PendingWait {
    EventCompletion* completion;
    StreamEvent event;
    std::unique_ptr<Timer> timer; ///< of its timeout
  };
  /// Those who wait for an event, each event's in the order of their asking; and the place of each.
  struct Waits {
    using List = std::list<PendingWait>;
    static constexpr std::size_t event_count = 6;
    List& of(StreamEvent event) noexcept { return lists[static_cast<std::size_t>(event)]; }
    std::array<List, event_count> lists;
    std::unordered_map<const EventCompletion*, List::iterator> places;
  };
  struct Handshake {
    Timer timer;
    Endpoint peer; ///< kept since the system forgets it when the peer resets the connection
    CloseReason late = CloseReason::none; ///< the time was over before a step that had been put off
  };
  /// Of a closed stream that still sends, or waits for its peer's end.
  struct Linger {
    Timer timer;
    TimePoint until;
    std::size_t discarded = 0; ///< bytes that came meanwhile
  };
  enum class LinkState : std::uint8_t { unconnected, connecting, handshaking, connected };
  /// What it has of a memory budget.
  struct Memory {
    Memory(StreamCore& core, std::shared_ptr<MemoryBudget> budget);
    MemoryShare share;
    Timer timer;                         ///< armed while something counts: the next look
    std::optional<TimePoint> held_since; ///< since when each look finds it so, and nothing was received
  };
  struct PendingWrite {
    std::uint64_t end;
    TimePoint deadline; ///< TimePoint::max() where there is none
    WriteCompletion* completion;
  };

  ~StreamCore() = default;
  void on_ready(Readiness readiness) override;
  void on_loop_end() noexcept override;
  [[noreturn]] static void die_on_wrong_thread() noexcept;

  // -- reading
  std::optional<Result<Bytes>> advance_read();
  std::optional<Result<Bytes>> advance_read_into(ReadInto& into);
  std::optional<Result<Bytes>> pass_limit(StreamErrc limit);
  Result<Bytes> final_read_outcome();
  [[nodiscard]] bool may_receive() noexcept;
  bool continue_read();
  void read_timed_out();
  void answer_cancelled();
  void leave_read() noexcept;
  void receive();
  void receive_unasked();
  void receive_into(ReadInto& into);
  void received(const IoResult& result);
  void after_read() noexcept;
  void drop_unread() noexcept;
  void notice_end();
  void end_input();
  bool spend_operation() noexcept;

  // -- connecting and waiting
  void begin_link();
  void begin_connected();
  void finish_connect();
  std::unique_ptr<Handshake> make_handshake(Duration longest);
  void begin_handshake(std::unique_ptr<Handshake> handshake);
  void continue_handshake();
  void link_timed_out(CloseReason reason);
  void give_up_link(CloseReason reason);
  std::optional<Result<void>> outcome_of(StreamEvent event) const;
  void answer_waits();
  void answer_waits(StreamEvent event);
  void wait_timed_out(EventCompletion& completion);

  // -- writing
  std::optional<StreamError> refuse_write(std::size_t size);
  std::uint64_t queued();
  void flush();
  void send_unsent(std::size_t most);
  void answer_writes();
  void end_own_side();
  void arm_write_timer(TimePoint deadline);
  [[nodiscard]] TimePoint next_write_deadline() const noexcept;
  void check_write_deadlines();
  void answer_first_writer(Result<void> result);

  // -- memory
  /// What it costs to keep a write that waits for its answer, and a wait for an event, with what is kept by those who
  /// asked. Docs tell both.
  static constexpr std::size_t writer_price = 96;
  static constexpr std::size_t wait_price = 192;
  /// Costs up to this sum are free, so that a small bound is one of bytes.
  static constexpr std::size_t free_costs = 16 * 1024;
  [[nodiscard]] std::size_t writers_price() const noexcept {
    return (writers_.size() - first_writer_) * writer_price;
  }
  [[nodiscard]] std::size_t waits_price() const noexcept {
    return waits_ == nullptr ? 0 : waits_->places.size() * wait_price;
  }
  /// How much may be written within max_write_buffer_size, or none where even the costs pass it.
  [[nodiscard]] std::optional<std::size_t> write_room() const noexcept {
    const std::size_t costs = unsent_.pieces_price() + writers_price();
    const std::size_t used = unsent_.memory_size() + (costs > free_costs ? costs - free_costs : 0);
    const std::size_t most = options_->max_write_buffer_size;
    return used > most ? std::nullopt : std::optional{most - used};
  }
  /// After what the stream holds has changed.
  void count_memory() noexcept {
    if (memory_ != nullptr)
      update_memory();
  }
  void update_memory() noexcept;
  bool look_at_memory(Duration delay) noexcept;
  bool held_by_memory() noexcept;
  void check_memory();
  void close_for_memory();

  // -- closing
  void shut(CloseReason reason, std::error_code real_error, Timeout flush_for = no_timeout);
  void fail(const IoResult& result, const char* what);
  [[nodiscard]] std::string peer_text() const {
    return to_string(handshake_ != nullptr ? handshake_->peer : peer_endpoint());
  }
  void begin_linger(Timeout flush_for);
  void linger_timed_out();
  void end_linger(CloseReason why) noexcept;
  void everything_sent() noexcept;
  void check_linger() noexcept;
  bool arm_linger_timer(TimePoint when) noexcept;
  bool say_goodbye() noexcept;
  void cut_flush(CloseReason why) noexcept;
  void discard_input() noexcept;
  void end_in_this_turn() noexcept;
  void check_idle();
  /// The turn's time, which is cheaper, may be older than what happened, by the length of the turn: too early for an
  /// idle timeout.
  void note_activity() { last_activity_ = idle_timer_ != nullptr ? loop_.now() : loop_.turn_time(); }
  void release_transport() noexcept;
  void finish_close();
  void run_deferred();
  void go_on();
  void go_on_later() noexcept;

  EventLoop& loop_;
  std::unique_ptr<Transport> transport_;
  std::shared_ptr<const StreamOptions> options_; ///< shared by many streams, so that each stays small

  ReadBuffer unread_;
  ReadMatch match_;
  ReadCompletion* reader_ = nullptr;             ///< of the pending read
  std::forward_list<ReadCompletion*> cancelled_; ///< in the order of cancelling; to be told from the loop
  std::size_t into_size_ = 0;                    ///< bytes that lie in the buffer of a ReadInto
  std::unique_ptr<Timer> read_timer_;

  WriteQueue unsent_;
  std::vector<PendingWrite> writers_; ///< in order of their ends
  std::uint64_t answered_ = 0;        ///< writes up to this position were answered

  std::unique_ptr<Timer> write_timer_;
  std::unique_ptr<Timer> phase_timer_; ///< of a connect; later, of an end that nobody reads

  std::unique_ptr<Waits> waits_; ///< since somebody waited

  std::function<void()> close_callback_;
  std::unique_ptr<std::function<void()>> end_callback_; ///< apart, since few streams have one
  std::shared_ptr<DescriptorGuest> guest_;              ///< let go with the descriptor
  std::unique_ptr<Timer> idle_timer_;                   ///< only with an idle_timeout
  TimePoint last_activity_{};
  std::unique_ptr<Linger> linger_;       ///< from the first lingering on
  std::unique_ptr<Handshake> handshake_; ///< while there is one
  std::unique_ptr<Memory> memory_;       ///< only with a memory_budget
  Task<&StreamCore::run_deferred> deferred_task_{*this};
  Task<&StreamCore::flush> flush_task_{*this};

  std::error_code real_error_;
  std::unique_ptr<KeepAlive> keep_alive_; ///< of set_keep_alive before the connect
  std::uint64_t bytes_received_ = 0;
  std::uint64_t turn_ = 0;

  // A server has a stream for each connection: what follows lies close together.
  const std::uint32_t id_;
  std::uint32_t references_ = 1;
  std::uint32_t received_ = 0;     ///< bytes received in turn turn_
  std::uint32_t first_writer_ = 0; ///< of writers_, those before it are answered
  std::uint16_t operations_ = 0;   ///< done in turn turn_, as far as they count
  CloseReason reason_ = CloseReason::none;
  LinkState link_ = LinkState::connected;
  EndNotice end_notice_ = EndNotice::lenient;
  bool nodelay_ : 1;
  bool started_closed_ : 1 = false; ///< the read began after the close
  bool closed_ : 1 = false;
  bool finished_ : 1 = false;   ///< the close is over: writers and close callback were told
  bool lingering_ : 1 = false;  ///< closed, but there are bytes to send, or the peer's end is to come
  bool awaits_end_ : 1 = false; ///< closed in an orderly way: it takes what comes until the peer's end
  bool input_over_ : 1 = false; ///< which has come
  bool dropped_ : 1 = false;    ///< the close dropped bytes that were to be sent
  bool flushing_ : 1 = false;   ///< it lingers for close_after_flush: the close is over when the lingering is
  bool read_ended_ : 1 = false; ///< with half_close: the peer ended its side
  bool write_end_wanted_ : 1 = false; ///< by shutdown_write
  bool write_ended_ : 1 = false;
  bool readable_ : 1 = true;       ///< a read may find something
  bool hang_up_ : 1 = false;       ///< a read will find the end, or an error
  bool broken_ : 1 = false;        ///< nothing passes any more
  bool urgent_ : 1 = false;        ///< there was urgent data: no read says that nothing is left
  bool blocked_ : 1 = false;       ///< the transport takes nothing until it tells that it is writable
  bool read_crossed_ : 1 = false;  ///< a read waits until the transport is writable
  bool write_crossed_ : 1 = false; ///< a write waits until it is readable
  bool handshaken_ : 1 = false;    ///< nothing, or no handshake any more, stands before the first byte
  bool draining_ : 1 = false;
  bool awaits_answer_ : 1 = false; ///< bytes came since the last write was queued
  bool guest_holds_ : 1 = false;   ///< one of the handles is the guest's, which reads nothing
  bool paused_ : 1 = false; ///< unsent bytes passed the high mark, and have not come down to the low one
};

} // namespace squall
