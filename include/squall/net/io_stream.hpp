// SPDX-License-Identifier: BSD-3-Clause
//
// io_stream.hpp: buffered, asynchronous reading and writing on a connection, as Tornado's IOStream.
//
// Every operation has exactly one outcome, a value or a StreamError, and comes in two forms here: awaited in
// a coroutine (an error is thrown as an exception of errors.hpp; with .as_result() it is returned) and with a
// completion or a callback. As requests to a stream actor the same operations are in stream_actor.hpp.
//
// Threads    A stream belongs to the thread of its loop; every call, and the end of the last handle, happens
//            there.
// Ownership  An IOStream is a handle; copies share the stream. It closes when its last handle goes. An operation with a
//            callback holds a handle until it has called.
// Order      One read at a time: a second is refused with StreamErrc::already_reading. Writes leave in order.
//            When a stream closes, its pending read is answered first, then its writes, then the close
//            callback.
// Lifetime   The stream, with its unread bytes, lives on after the close: reads go on until nothing is left.
//            When its loop ends it closes (CloseReason::shutting_down); from then on only the state,
//            start_read and the end of the handles may be used.
// Fairness   A stream that has done its share of a turn (128 reads and writes, or 1 MiB) goes on in the
//            next, behind the others.
// Units      Sizes are bytes.
#pragma once

#include <squall/net/bytes.hpp>
#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/event_loop.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/stream_requests.hpp>
#include <squall/net/transport.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace squall {

class StreamCore;
class ReadAwaitable;
class ReadIntoAwaitable;
class ChunkReader;
class WriteAwaitable;
class ConnectAwaitable;
class EventAwaitable;

/// Hears the outcome of a read that could not be answered at once. Must live until then, or until
/// forget_read.
class ReadCompletion {
public:
  virtual void on_read(Result<Bytes> result) = 0;

protected:
  ~ReadCompletion() = default;
};

/// Hears the outcome of a write. Must live until then, or until cancel_write.
class WriteCompletion {
public:
  virtual void on_write(Result<void> result) = 0;

protected:
  ~WriteCompletion() = default;
};

/// Hears that an event came, or cannot come. Must live until then, or until forget_wait.
class EventCompletion {
public:
  virtual void on_event(Result<void> result) = 0;

protected:
  ~EventCompletion() = default;
};

/// How soon a stream that nobody reads notices that its peer has ended its side.
enum class EndNotice : std::uint8_t {
  at_once, ///< it closes when nothing is unread, as in Tornado; an answer that is not written yet is lost
  lenient, ///< it closes after StreamOptions::linger_timeout, so that a peer that ended its side only gets
           ///< its answer; a read meets the end at once. What a stream does without a close callback
};

class IOStream {
public:
  using ReadCallback = std::function<void(Result<Bytes>)>;
  using WriteCallback = std::function<void(Result<void>)>;
  using EventCallback = std::function<void(Result<void>)>;
  /// Takes one chunk; the next is read when it calls `accept`, at once or later, on the loop's thread. When it lets
  /// every copy of `accept` go without a call, the read ends with StreamErrc::cancelled.
  using ChunkCallback = std::function<void(Bytes chunk, std::function<void()> accept)>;

  IOStream() noexcept = default; ///< no stream: only assignment, operator bool and the destructor may be used

  /// A stream on a connected socket. @throws std::system_error when the system refuses to watch it
  IOStream(EventLoop& loop, Socket socket, const StreamOptions& options = {});

  /// As above, with options that many streams share (share_options).
  IOStream(EventLoop& loop, Socket socket, std::shared_ptr<const StreamOptions> options);

  /// A stream on a transport of your own. @throws std::system_error as watch() of the transport
  IOStream(EventLoop& loop, std::unique_ptr<Transport> transport, const StreamOptions& options = {});
  IOStream(EventLoop& loop, std::unique_ptr<Transport> transport,
           std::shared_ptr<const StreamOptions> options);

  /// A stream that is not connected yet; connect() makes its socket. For a socket of your own, such as one that is
  /// bound to a source address, pass make_unconnected_transport(socket) to the constructor above.
  explicit IOStream(EventLoop& loop, const StreamOptions& options = {});

  /// A stream of TLS on a connected socket, for a server; the handshake begins by itself, and reads and writes wait for
  /// it. For a client see make_tls_transport, or connect().
  /// @throws std::system_error; std::invalid_argument for a client's context that verifies a name
  IOStream(EventLoop& loop, Socket socket, const TLSContext& context, const StreamOptions& options = {});
  IOStream(EventLoop& loop, Socket socket, const TLSContext& context,
           std::shared_ptr<const StreamOptions> options);

  /// A stream of TLS that is not connected yet, for a client: connect() makes the handshake, too.
  /// @throws std::invalid_argument for a server's context
  IOStream(EventLoop& loop, const TLSContext& context, const StreamOptions& options = {});

  IOStream(const IOStream& other) noexcept;
  IOStream(IOStream&& other) noexcept : core_{std::exchange(other.core_, nullptr)} {}
  IOStream& operator=(IOStream other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~IOStream();

  explicit operator bool() const noexcept { return core_ != nullptr; }

  // -- in coroutines: co_await each; nothing starts before that, but for write

  /// Any read: co_await stream.read(squall::ReadUntil{"\n", 4096, 5s}). The calls below are short for it.
  /// @returns (awaited) Bytes
  /// @throws (awaited) StreamClosedError; TimeoutError and CancelledError, which leave every byte unread;
  ///         StreamUsageError for a second read; and what the request names
  [[nodiscard]] ReadAwaitable read(ReadRequest request);

  /// See ReadBytes. @throws also StreamBufferFullError
  [[nodiscard]] ReadAwaitable read_bytes(std::size_t num_bytes, bool partial = false,
                                         Timeout timeout = no_timeout);

  /// See ReadInto. @returns (awaited) std::size_t: how many bytes at the front of `buffer` were filled
  [[nodiscard]] ReadIntoAwaitable read_into(MutableBytes buffer, bool partial = false,
                                            Timeout timeout = no_timeout);

  /// See ReadUntil. @throws also UnsatisfiableReadError, with LimitPolicy::keep
  [[nodiscard]] ReadAwaitable read_until(std::string_view delimiter,
                                         std::optional<std::size_t> max_bytes = std::nullopt,
                                         Timeout timeout = no_timeout,
                                         LimitPolicy on_limit = LimitPolicy::close);

  /// See ReadUntilRegex. @throws also UnsatisfiableReadError, with LimitPolicy::keep
  [[nodiscard]] ReadAwaitable read_until_regex(const Regex& regex,
                                               std::optional<std::size_t> max_bytes = std::nullopt,
                                               Timeout timeout = no_timeout,
                                               LimitPolicy on_limit = LimitPolicy::close);

  /// See ReadUntilClose.
  [[nodiscard]] ReadAwaitable read_until_close(Timeout timeout = no_timeout);

  /// See ReadChunks: `while (const auto chunk = co_await chunks.next())`. What is awaited between two calls holds
  /// the peer back.
  [[nodiscard]] ChunkReader read_chunks(const ReadChunks& request = {});

  /// See Peek. @throws also StreamBufferFullError
  [[nodiscard]] ReadAwaitable peek(std::size_t num_bytes, Timeout timeout = no_timeout);

  /// Begins to connect when it is awaited; see Connect. Awaiting it may stop: the connect goes on. Name `address`
  /// before, as the request of read().
  /// @returns (awaited) this stream
  /// @throws (awaited) StreamClosedError: the stream closed; StreamUsageError
  [[nodiscard]] ConnectAwaitable connect(Endpoint address, std::string server_hostname = {},
                                         Timeout timeout = no_timeout);

  /// Turns the stream to TLS, in place, when it is awaited; see StartTLS. Done with the handshake.
  /// @param server_side  this end is the server, and `context` one of a server
  /// @throws (awaited) StreamClosedError: TLS failed, the stream closed; StreamUsageError
  [[nodiscard]] EventAwaitable start_tls(bool server_side, TLSContext context,
                                         std::string server_hostname = {}, Timeout timeout = no_timeout);

  /// Waits until the handshake of TLS is done, as often as one likes; at once where there is none. After that
  /// tls_info() tells who the peer is. @throws (awaited) StreamClosedError: it failed, or the stream closed before;
  /// TimeoutError
  [[nodiscard]] EventAwaitable wait_for_handshake(Timeout timeout = no_timeout);

  /// Waits until the stream is writable(). A producer that awaits it before each write stays near the high mark.
  /// @throws (awaited) StreamClosedError, TimeoutError
  [[nodiscard]] EventAwaitable wait_writable(Timeout timeout = no_timeout);

  /// Waits until the peer has ended its side (StreamOptions::half_close; without it that is the close) or the stream
  /// closed. It is no read: an orderly end that nobody reads shows as EndNotice says. @throws (awaited) TimeoutError
  [[nodiscard]] EventAwaitable wait_end(Timeout timeout = no_timeout);

  /// Waits until the stream is closed and what was pending is answered; error() says why. How soon a stream that nobody
  /// reads notices: as wait_end. @throws (awaited) TimeoutError
  [[nodiscard]] EventAwaitable wait_closed(Timeout timeout = no_timeout);

  /// Waits until the listener of the connection drains: the handler should come to an end. See begin_drain.
  /// @throws (awaited) StreamClosedError, TimeoutError
  [[nodiscard]] EventAwaitable wait_draining(Timeout timeout = no_timeout);

  /// Queues `data` at once; see Write for when it is done. Await it to keep pace with the peer.
  /// @param timeout  counts while it waits; when it is over, the stream closes (CloseReason::timed_out),
  ///         since a part of `data` may be sent
  /// @throws (awaited) StreamClosedError, StreamBufferFullError; StreamUsageError after shutdown_write
  WriteAwaitable write(Bytes data, Timeout timeout = no_timeout);

  /// Queues several pieces as one write: all of them, or none; see WritePieces. Make the vector before: g++ 12 cannot
  /// compile a braced list inside a co_await.
  /// @throws (awaited) as write
  WriteAwaitable write_pieces(std::vector<Bytes> pieces, Timeout timeout = no_timeout);

  /// Queues a part of a file at once; see WriteFile. Awaiting it waits until the system took everything.
  /// @throws (awaited) FileError, StreamClosedError; StreamUsageError after shutdown_write
  WriteAwaitable write_file(std::variant<std::string, File> file, std::uint64_t offset = 0,
                            std::optional<std::uint64_t> count = std::nullopt, Timeout timeout = no_timeout);

  /// Ends our side at once behind what is unsent (half-close): the peer reads the end of its input, and
  /// further writes are refused. Reads go on. Awaiting it waits until everything is sent. @throws (awaited)
  /// StreamClosedError
  WriteAwaitable shutdown_write();

  /// Closes, but hands over what is unsent: reads end as with close(), writes queued until now are answered
  /// when they are sent. Then it waits for the peer to end its side, so that no reset overtakes the data. All
  /// that for `deadline` at most. Awaiting it waits until everything is sent.
  /// @throws (awaited) StreamClosedError: CloseReason::timed_out, or what broke the connection; the rest was
  /// dropped
  WriteAwaitable close_after_flush(Duration deadline);

  // -- with completions

  /// Starts a read. Answers at once where it can; otherwise returns nothing and calls `completion` later,
  /// once.
  std::optional<Result<Bytes>> start_read(ReadRequest request, ReadCompletion& completion);

  /// Forgets the pending read of `completion`, if there is one: every byte stays unread, the stream is idle.
  void forget_read(ReadCompletion& completion) noexcept;

  /// Ends the pending read, if there is one, with StreamErrc::cancelled: every byte stays unread, the stream is
  /// idle when this returns. Who reads hears of it from the loop. @throws std::bad_alloc; the read goes on
  void cancel_read();

  /// Queues a write; always answers by calling `completion` once, never from inside this call, unless the
  /// write is refused: then the error is returned and `completion` not called.
  [[nodiscard]] std::optional<StreamError> start_write(Bytes data, WriteCompletion& completion,
                                                       Timeout timeout = no_timeout);
  /// Queues a write and answers at once where Write says so; otherwise returns nothing and calls `completion`
  /// later, once.
  [[nodiscard]] std::optional<Result<void>> start_paced_write(Bytes data, WriteCompletion& completion,
                                                              Timeout timeout = no_timeout);
  [[nodiscard]] std::optional<Result<void>> start_paced_write(WritePieces request,
                                                              WriteCompletion& completion);
  /// As start_write.
  [[nodiscard]] std::optional<StreamError> start_write_file(const WriteFile& request,
                                                            WriteCompletion& completion);
  [[nodiscard]] std::optional<StreamError> start_shutdown_write(WriteCompletion& completion);
  [[nodiscard]] std::optional<StreamError> start_close_after_flush(Duration deadline,
                                                                   WriteCompletion& completion);

  /// Forgets the pending write of `completion`, if there is one: its bytes are sent all the same.
  void cancel_write(WriteCompletion& completion) noexcept;

  /// Connects; answers as start_wait(StreamEvent::connected).
  [[nodiscard]] std::optional<Result<void>> start_connect(const Connect& request,
                                                          EventCompletion& completion);

  /// Turns the stream to TLS; answers as start_wait(StreamEvent::handshaken).
  [[nodiscard]] std::optional<Result<void>> start_tls(const StartTLS& request, EventCompletion& completion);

  /// Waits for an event. Answers at once where it has come, or cannot come any more (StreamErrc::closed); otherwise
  /// returns nothing and calls `completion` later, once; with StreamErrc::timed_out after `timeout`.
  [[nodiscard]] std::optional<Result<void>> start_wait(StreamEvent event, EventCompletion& completion,
                                                       Timeout timeout = no_timeout);

  /// Forgets the wait of `completion`, if there is one. A connect goes on.
  void forget_wait(EventCompletion& completion) noexcept;

  /// As start_read, but always calls `callback`, once, from the loop, never from inside this call.
  void read(ReadRequest request, ReadCallback callback);

  /// As start_write, but always calls `callback`, once, from the loop, never from inside this call.
  void write(Bytes data, WriteCallback callback, Timeout timeout = no_timeout);
  void shutdown_write(WriteCallback callback);
  void close_after_flush(Duration deadline, WriteCallback callback);
  void write_pieces(std::vector<Bytes> pieces, WriteCallback callback, Timeout timeout = no_timeout);
  void write_file(const WriteFile& request, WriteCallback callback);
  void connect(const Connect& request, EventCallback callback);
  void start_tls(const StartTLS& request, EventCallback callback);
  void wait(StreamEvent event, EventCallback callback, Timeout timeout = no_timeout);

  /// Reads in chunks, as Tornado's streaming_callback, but no further than the receiver goes along: `on_chunk` gets
  /// each chunk, the next one after it accepted the last. Then `done` is called once, from the loop.
  /// @error in `done` as ReadChunks
  void read_chunks(const ReadChunks& request, ChunkCallback on_chunk, WriteCallback done);

  // -- closing

  /// Closes at once. Pending operations fail with StreamErrc::closed; a pending read is first given what is unread. All
  /// are answered from the loop: the read, then the writes, then the close callback. Unsent bytes that the system does
  /// not take now are dropped, unless their write was answered already. So that these arrive, what still comes is taken
  /// until the peer's end (StreamOptions::linger_timeout), while the stream is closed. Calling it on a closed stream
  /// does nothing.
  void close(CloseReason reason = CloseReason::local_close, std::error_code real_error = {});

  /// Breaks the connection: unsent bytes are dropped, the peer sees a reset (CloseReason::aborted). On a
  /// closed stream it ends what still lingers, with a reset (and that reason) where bytes are dropped.
  void abort();

  /// `callback` runs once, from the loop, when the peer has ended its side (StreamOptions::half_close;
  /// without it that is the close) or the stream closed, after the pending read was answered; also when that
  /// is so already.
  void set_end_callback(std::function<void()> callback);

  /// `callback` runs once, from the loop, after the stream closed and pending operations were answered; also
  /// when the stream is closed already. A later call replaces the callback; an empty one takes it away.
  /// @param notice  how soon the peer's end closes a stream that nobody reads
  void set_close_callback(std::function<void()> callback, EndNotice notice = EndNotice::at_once);

  // -- state

  [[nodiscard]] bool closed() const noexcept;
  [[nodiscard]] bool reading() const noexcept; ///< a read is pending
  [[nodiscard]] bool writing() const noexcept; ///< there are unsent bytes
  [[nodiscard]] std::size_t unread_size() const noexcept;
  [[nodiscard]] std::size_t unsent_size() const noexcept;

  /// Why it closed: code closed with reason and real error; CloseReason::none while it is open.
  [[nodiscard]] StreamError error() const noexcept;

  /// Tells the handler that it should come to an end: wait(StreamEvent::draining) is answered, and draining() true. A
  /// listener does it when it drains.
  void begin_drain() noexcept;
  [[nodiscard]] bool draining() const noexcept;

  /// Internal, for listeners: no program needs it, and it may change. Receives for the pending read what the system has
  /// by now, also what the loop has not told of yet. A drain looks once more before it calls a connection idle.
  /// @returns whether a read is pending that still waits, and nothing has come for it
  bool look_for_input();

  /// Bytes came, and no write was queued since: the peer may wait for an answer.
  [[nodiscard]] bool awaits_answer() const noexcept;

  /// When bytes last moved, or, before that, when the stream connected.
  [[nodiscard]] TimePoint last_activity() const noexcept;
  /// The read that is pending, for people: `read_until "\n"`; empty where none is.
  [[nodiscard]] std::string pending_read() const;

  [[nodiscard]] bool
  connected() const noexcept; ///< it is connected, no handshake is under way, and it is not closed
  /// What the handshake agreed on; nothing on a plain stream, before the handshake is done, and on a closed stream.
  [[nodiscard]] std::optional<TLSInfo> tls_info() const;
  /// False from when more than StreamOptions::write_high_water_mark bytes are unsent until write_low_water_mark is
  /// reached, and on a closed stream.
  [[nodiscard]] bool writable() const noexcept;
  [[nodiscard]] std::uint64_t bytes_received() const noexcept; ///< ever, from the transport
  [[nodiscard]] std::uint64_t bytes_sent() const noexcept;     ///< ever, taken by the transport

  /// The addresses of the connection; empty where there is none, and on a closed stream. Each call asks the system.
  /// @throws std::system_error (getsockname)
  [[nodiscard]] Endpoint local_endpoint() const;
  [[nodiscard]] Endpoint peer_endpoint() const;
  /// Of the peer of a unix socket; nothing on other and on closed streams.
  [[nodiscard]] std::optional<PeerCredentials> peer_credentials() const noexcept;

  /// TCP_NODELAY. Does nothing where there is no such thing, and on a closed stream.
  void set_nodelay(bool value) noexcept;

  /// Probes of the idle connection; see KeepAlive. Does nothing where there is no such thing, and on a closed stream.
  /// @throws std::bad_alloc on a stream that is not connected yet
  void set_keep_alive(const KeepAlive& keep_alive);

  /// Tells streams of this process apart: the number that StreamError::stream of their failures has. Never 0.
  [[nodiscard]] std::uint32_t id() const noexcept;

  [[nodiscard]] EventLoop& loop() const noexcept;

private:
  friend class DescriptorGuest;
  friend class ReadOperation;
  friend class WriteOperation;
  explicit IOStream(StreamCore* core) noexcept;
  StreamCore* core_ = nullptr;
};

} // namespace squall

#include <squall/net/stream_awaitables.hpp> // what the calls above return
