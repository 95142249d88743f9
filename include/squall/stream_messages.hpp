// SPDX-License-Identifier: BSD-3-Clause
//
// stream_messages.hpp: the messages of stream actors and listeners, and StreamError as caf::error.
//
// The reads, the writes, Connect and StartTLS are those of net/stream_requests.hpp. All messages but AddSockets,
// AddSocket, ReplaceTLS, StartTLS, ReadInto and WriteFile, whose sockets, contexts, buffers and files belong to one
// process, can be sent to another node once init_messages has been called.
//
// Ownership  Messages own what they hold; Bytes are shared and immutable.
#pragma once

#include <squall/net/endpoint.hpp>
#include <squall/net/errors.hpp>
#include <squall/net/proxy_reader.hpp>
#include <squall/net/socket.hpp>
#include <squall/net/stream_options.hpp>
#include <squall/net/stream_requests.hpp>
#include <squall/net/tls_info.hpp>

#include <caf/all.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace squall {

// -- to a stream actor

/// Closes the stream; see IOStream::close. Answered when it is closed; a closed stream answers at once.
struct Close {
  friend bool operator==(const Close&, const Close&) = default;
};

/// Ends our side behind what is unsent (half-close); see IOStream::shutdown_write. Answered when everything
/// is sent.
struct ShutdownWrite {
  friend bool operator==(const ShutdownWrite&, const ShutdownWrite&) = default;
};

/// Closes the stream when everything is sent, at most after `deadline`; see IOStream::close_after_flush.
/// Answered when it is sent, or with StreamErrc::closed when it was not.
struct CloseAfterFlush {
  Duration deadline{};
  friend bool operator==(const CloseAfterFlush&, const CloseAfterFlush&) = default;
};

/// Breaks the connection; see IOStream::abort.
struct Abort {
  friend bool operator==(const Abort&, const Abort&) = default;
};

/// Ends the pending read, if there is one: it is answered with StreamErrc::cancelled, every byte stays
/// unread.
struct CancelRead {
  friend bool operator==(const CancelRead&, const CancelRead&) = default;
};

/// Reads as `read` says and sends each chunk to `receiver`, as a request; the next when that is answered, with
/// whatever: the receiver's pace holds the peer back. Answered when everything was accepted. ReadChunks::timeout is
/// that of each chunk to come, and then that of its answer.
/// @error as ReadChunks; and the error with which the receiver refused a chunk, such as
///        caf::sec::request_receiver_down: that chunk is lost, what follows it is unread
struct SendChunks {
  SendChunks() = default;
  SendChunks(const ReadChunks& read_, caf::actor receiver_) : read{read_}, receiver{std::move(receiver_)} {}

  ReadChunks read;
  caf::actor receiver;
};
/// What the receiver gets; at least one byte.
struct Chunk {
  Chunk() = default;
  explicit Chunk(Bytes data_) : data{std::move(data_)} {}

  Bytes data;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

/// Answered when the stream is writable; see IOStream::wait_writable. A producer that sends it before each Write stays
/// near the high mark. @error StreamErrc::closed, timed_out
struct AwaitWritable {
  Timeout timeout = no_timeout;
  friend bool operator==(const AwaitWritable&, const AwaitWritable&) = default;
};

/// Answered when the peer has ended its side, or the stream closed; see IOStream::wait_end. @error
/// StreamErrc::timed_out
struct AwaitEnd {
  Timeout timeout = no_timeout;
  friend bool operator==(const AwaitEnd&, const AwaitEnd&) = default;
};

/// Answered when the listener of the connection drains; see IOStream::begin_drain. @error StreamErrc::closed, timed_out
struct AwaitDrain {
  Timeout timeout = no_timeout;
  friend bool operator==(const AwaitDrain&, const AwaitDrain&) = default;
};

/// Answered when the stream is closed, also when it is already, with a StreamError that says why. How soon a stream
/// that nobody reads notices the peer's end: see IOStream::wait_closed. @error StreamErrc::timed_out
struct AwaitClose {
  Timeout timeout = no_timeout;
  friend bool operator==(const AwaitClose&, const AwaitClose&) = default;
};

/// Answered when the handshake of TLS is done, as often as one asks, with what it agreed on; on a plain stream at once,
/// and TLSInfo::version is empty. @error StreamErrc::closed when it failed or the stream has closed, timed_out
struct AwaitHandshake {
  Timeout timeout = no_timeout;
  friend bool operator==(const AwaitHandshake&, const AwaitHandshake&) = default;
};

/// Probes of the idle connection; see KeepAlive.
struct SetKeepAlive {
  KeepAlive value;
  friend bool operator==(const SetKeepAlive&, const SetKeepAlive&) = default;
};

/// TCP_NODELAY on or off; does nothing where there is no such thing.
struct SetNodelay {
  bool value = true;
  friend bool operator==(const SetNodelay&, const SetNodelay&) = default;
};

/// Asks a stream actor for StreamInfo, a listener for ListenerInfo.
struct Info {
  friend bool operator==(const Info&, const Info&) = default;
};

struct StreamInfo {
  Endpoint peer;
  bool closed = false;
  bool reading = false;          ///< a read is pending
  bool writing = false;          ///< there are unsent bytes
  std::uint64_t unread_size = 0; ///< bytes
  std::uint64_t unsent_size = 0; ///< bytes
  Endpoint local;                ///< empty on a closed stream
  bool writable = false;         ///< see IOStream::writable
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  bool connected = false; ///< it is connected, and not closed
  StreamError error = {}; ///< why it closed; CloseReason::none while it is open
};

// -- to a listener

/// Binds sockets as bind_sockets does, and accepts from them. A host name is looked up by the default_resolver(), for
/// 30 s at most; a Stop that comes meanwhile ends that, too. @error ListenerErrc::cannot_listen
struct Listen {
  Listen() = default;
  explicit Listen(std::uint16_t port_, std::string address_ = {}, const BindOptions& options_ = {})
      : port{port_}, address{std::move(address_)}, options{options_} {}

  std::uint16_t port = 0; ///< 0: the system chooses
  std::string address;    ///< empty: every interface
  BindOptions options;
};

/// How the connections of a listening socket begin.
struct AcceptOptions {
  /// They speak TLS. The handler starts at once, its reads and writes wait for the handshake, and
  /// IOStream::wait_for_handshake for its end. Empty: they do not.
  TLSContext tls = {};
  /// They begin with a header of the PROXY protocol, in front of TLS; the handler's peer is the client that it tells.
  /// nullopt: they do not.
  std::optional<ProxyOptions> proxy_protocol = {};
};

/// Accepts from listening sockets; the listener closes them when it stops.
struct AddSockets {
  AddSockets() = default;
  explicit AddSockets(std::vector<ListeningSocket> sockets_,
                      std::optional<AcceptOptions> accept_ = std::nullopt)
      : sockets{std::move(sockets_)}, accept{std::move(accept_)} {}

  std::vector<ListeningSocket> sockets;
  std::optional<AcceptOptions> accept; ///< nullopt: ListenerOptions::accept
};
struct AddSocket {
  AddSocket() = default;
  explicit AddSocket(ListeningSocket socket_, std::optional<AcceptOptions> accept_ = std::nullopt)
      : socket{std::move(socket_)}, accept{std::move(accept_)} {}

  ListeningSocket socket;
  std::optional<AcceptOptions> accept; ///< nullopt: ListenerOptions::accept
};

/// Reads the certificates, keys and authorities of every context of TLS again (TLSContext::reload); connections that
/// are accepted later get the new ones, those that are open keep theirs. A thread of its own reads the files.
/// @error ListenerErrc::cannot_reload, also when they are not read in 10 s: nothing has changed
struct ReloadTLS {
  friend bool operator==(const ReloadTLS&, const ReloadTLS&) = default;
};

/// Uses `replacement` for the connections that are accepted later, wherever `replaced` was used.
/// @error ListenerErrc::cannot_reload when `replaced` is not used, or `replacement` not one of a server; nothing has
///        changed
struct ReplaceTLS {
  ReplaceTLS() = default;
  ReplaceTLS(TLSContext replaced_, TLSContext replacement_)
      : replaced{std::move(replaced_)}, replacement{std::move(replacement_)} {}

  TLSContext replaced;
  TLSContext replacement;
};

/// Closes the listening sockets. Connections go on, those that wait in the kernel are reset. Stopping twice
/// is harmless; sockets may be added again later.
struct Stop {
  friend bool operator==(const Stop&, const Stop&) = default;
};

/// Accepts no more until Resume; the sockets stay, connections wait in the kernel, up to the backlog.
struct Pause {
  friend bool operator==(const Pause&, const Pause&) = default;
};
struct Resume {
  friend bool operator==(const Resume&, const Resume&) = default;
};

/// Ends a listener's work in an orderly way: closes its sockets after taking those who wait in the kernel, tells every
/// handler (StreamEvent::draining, AwaitDrain), closes connections that are idle (a handler waits for the peer, nothing
/// is unread or unsent, bytes have passed before, and the last were ours: what came since may be a request under way)
/// as soon as they are, waits for the others, and cuts those that are left after `deadline`, also closed ones that
/// still send and actor handlers that have not ended. Answered when no connection is left; after `deadline` it does not
/// wait for an actor handler that keeps its thread busy. Those that wait in the kernel beyond
/// ListenerLimits::max_connections are reset. Several at once are answered together, at the earliest deadline; sockets
/// can be added again later.
struct Drain {
  Duration deadline{};
  friend bool operator==(const Drain&, const Drain&) = default;
};
/// How the connections ended that a Drain found, or accepted.
struct Drained {
  std::uint64_t finished = 0; ///< by themselves
  std::uint64_t idle = 0;     ///< closed, since they were idle
  std::uint64_t cut = 0;      ///< at the deadline
  friend bool operator==(const Drained&, const Drained&) = default;
};

/// What happens with a connection beyond a limit, and while a MemoryBudget is exhausted.
enum class WhenFull : std::uint8_t {
  queue, ///< it waits in the kernel, up to the backlog; beyond ListenerLimits::max_connections_per_ip, where only one
  ///< client is to wait, it is reset
  reset, ///< it is reset
  answer, ///< it gets ListenerLimits::full_answer, through TLS where that is spoken, and its end; when 256 get theirs,
  ///< the next is reset
};

/// 0: no limit.
struct ListenerLimits {
  /// Never more at once, counting those that are closed and still send, and those whose handler has not ended.
  std::uint64_t max_connections = 0;
  /// For each IPv4 address and each IPv6 /64; those of unix sockets have no such limit.
  std::uint64_t max_connections_per_ip = 0;
  /// Connections a second, of which one second's may come at once; more wait in the kernel. Those that are then reset
  /// or answered count, too.
  std::uint64_t max_accept_rate = 0;
  std::uint64_t accepts_per_turn = 16; ///< of each socket, before other work has its turn; at least 1
  WhenFull when_full = WhenFull::queue;
  Bytes full_answer = {};
};

/// Uses other limits from now on. Connections that are open stay, and only those accepted under a
/// max_connections_per_ip count for it. What the old max_accept_rate would let in now is let in under the new one as
/// well, but no more than that has at once; where there was no rate, nothing. @error ListenerErrc::invalid_limits
struct SetLimits {
  SetLimits() = default;
  explicit SetLimits(ListenerLimits limits_) : limits{std::move(limits_)} {}

  ListenerLimits limits;
};

/// Asks a listener for its connections.
struct Connections {
  friend bool operator==(const Connections&, const Connections&) = default;
};
/// One of a listener's connections.
struct ConnectionInfo {
  std::uint64_t id = 0; ///< unique in the listener: 1 is the first that it accepted
  Endpoint peer;
  Duration age{};  ///< since it was accepted
  Duration idle{}; ///< since bytes last moved
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t unread_size = 0; ///< bytes
  std::uint64_t unsent_size = 0; ///< bytes
  std::string pending;           ///< "read_until \"\\n\"", "write", "handshake", several with ", "; or empty
  bool closed = false;           ///< its stream is; the handler still runs
  std::string tls_version;       ///< empty: plain, or the handshake is not done
  std::string tls_cipher;
  std::string tls_server_name;
  std::string tls_alpn;
};
/// Ordered by id.
struct ConnectionList {
  std::vector<ConnectionInfo> connections;
};

/// Ends a connection; its handler ends with it. @error ListenerErrc::no_such_connection
struct CloseConnection {
  std::uint64_t id = 0;
  bool abort = false; ///< with a reset
  friend bool operator==(const CloseConnection&, const CloseConnection&) = default;
};

/// The addresses that a Listen, AddSockets or AddSocket added, with their real ports.
struct Listening {
  std::vector<Endpoint> endpoints;
};

struct ListenerInfo {
  std::vector<Endpoint> endpoints;    ///< that are listened on now
  std::uint64_t connection_count = 0; ///< open now
  std::uint64_t accepted_count = 0;   ///< ever accepted
  std::uint64_t failed_count = 0;     ///< handlers that threw, could not start or died of an error
  std::uint64_t refused_count = 0;    ///< closed before they had a handler: without a good PROXY header
  std::uint64_t rejected_count = 0;   ///< connections that a limit reset or answered
  /// How often connections were left in the kernel, by a limit, or for want of descriptors or memory.
  std::uint64_t pause_count = 0;
  bool paused = false; ///< connections wait in the kernel now, by Pause or a limit
  bool draining = false;
  std::uint64_t memory_budget = 0; ///< bytes; 0: there is none
  std::uint64_t memory_used = 0;   ///< bytes of it, by all streams that share it
  ListenerLimits limits = {};
  std::uint64_t place_count = 0; ///< what counts for max_connections now: see there
};

// -- errors

/// Failures of a listener's requests. The numbers are fixed: they travel in messages.
enum class ListenerErrc : std::uint8_t {
  cannot_listen = 1,     ///< the system refused a socket or an address; nothing was added
  already_listening = 2, ///< a socket was added before; nothing was added
  cannot_reload = 3,     ///< TLS cannot be set up so; nothing has changed
  no_such_connection = 4,
  invalid_limits = 5, ///< nothing has changed
};

/// `error` as a message: code, reason, real error and stream travel in it, and `text`, which error_text shows then.
[[nodiscard]] caf::error make_error(const StreamError& error);
[[nodiscard]] caf::error make_error(const StreamError& error, std::string text);
[[nodiscard]] caf::error make_error(ListenerErrc code, std::string text);

/// The StreamError in `error`, when there is one, whatever its code.
[[nodiscard]] std::optional<StreamError> stream_error(const caf::error& error);

/// The StreamClosedError in `error`, when it is one: of a request that a stream actor answered so, and of the
/// reason in a caf::down_msg from it. A stream actor on a node that is lost ends with CloseReason::node_lost
/// (caf::exit_reason::remote_link_unreachable).
[[nodiscard]] std::optional<StreamClosedError> stream_closed(const caf::error& error);

/// `error` as text, with the sentence of a StreamError or a ListenerErrc.
[[nodiscard]] std::string error_text(const caf::error& error);

/// Makes the messages known to `config`, so that they can be sent to other nodes, and its systems render our
/// errors. Call it before the actor_system is made. Within one process nothing needs it.
void init_messages(caf::actor_system_config& config);

// -- serialisation (CAF calls these)

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Bytes& x) {
  std::string bytes = x.str();
  return f(caf::meta::type_name("squall::Bytes"), bytes, caf::meta::load_callback([&] {
             x = Bytes{bytes};
             return caf::error{};
           }));
}
namespace detail {

/// An optional of something that is a number, as two fields.
template <class T>
struct OptionalField {
  template <class Number>
  OptionalField(const std::optional<T>& from, Number (*to_number)(const T&))
      : present{from.has_value()}, number{from ? static_cast<std::int64_t>(to_number(*from)) : 0} {}
  bool present;
  std::int64_t number;
};

inline std::int64_t count_of(const Duration& time) { return time.count(); }
inline std::int64_t size_of(const std::size_t& size) { return static_cast<std::int64_t>(size); }

inline std::int64_t count_of_bytes(const std::uint64_t& count) { return static_cast<std::int64_t>(count); }

inline Timeout to_timeout(const OptionalField<Duration>& field) {
  return field.present ? Timeout{Duration{field.number}} : no_timeout;
}

/// Fields and a timeout.
template <class Inspector, class Request, class... Fields>
typename Inspector::result_type inspect_timed(Inspector& f, const char* name, Request& x, Fields&... fields) {
  OptionalField<Duration> timeout{x.timeout, count_of};
  return f(caf::meta::type_name(name), fields..., timeout.present, timeout.number,
           caf::meta::load_callback([&] {
             x.timeout = to_timeout(timeout);
             return caf::error{};
           }));
}

/// The bounds that reads of an unknown length share.
template <class Inspector, class Request, class... Fields>
typename Inspector::result_type inspect_bounded(Inspector& f, const char* name, Request& x,
                                                Fields&... fields) {
  OptionalField<std::size_t> max_bytes{x.max_bytes, size_of};
  OptionalField<Duration> timeout{x.timeout, count_of};
  auto on_limit = static_cast<std::uint8_t>(x.on_limit);
  return f(caf::meta::type_name(name), fields..., max_bytes.present, max_bytes.number, timeout.present,
           timeout.number, on_limit, caf::meta::load_callback([&] {
             x.max_bytes =
                 max_bytes.present ? std::optional{static_cast<std::size_t>(max_bytes.number)} : std::nullopt;
             x.timeout = to_timeout(timeout);
             x.on_limit = static_cast<LimitPolicy>(on_limit);
             return caf::error{};
           }));
}

/// A number of bytes to wait for.
template <class Inspector, class Request, class... Fields>
typename Inspector::result_type inspect_counted(Inspector& f, const char* name, Request& x,
                                                Fields&... fields) {
  std::uint64_t num_bytes = x.num_bytes;
  OptionalField<Duration> timeout{x.timeout, count_of};
  return f(caf::meta::type_name(name), num_bytes, fields..., timeout.present, timeout.number,
           caf::meta::load_callback([&] {
             x.num_bytes = static_cast<std::size_t>(num_bytes);
             x.timeout = to_timeout(timeout);
             return caf::error{};
           }));
}

} // namespace detail

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Regex& x) {
  std::string pattern = x.pattern();
  return f(caf::meta::type_name("squall::Regex"), pattern, caf::meta::load_callback([&]() -> caf::error {
             try {
               x = pattern.empty() ? Regex{} : Regex{pattern};
               return {};
             } catch (const std::invalid_argument&) {
               return caf::make_error(caf::sec::invalid_argument, pattern);
             }
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReadBytes& x) {
  return detail::inspect_counted(f, "squall::ReadBytes", x, x.partial);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Peek& x) {
  return detail::inspect_counted(f, "squall::Peek", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReadUntil& x) {
  return detail::inspect_bounded(f, "squall::ReadUntil", x, x.delimiter);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReadUntilRegex& x) {
  return detail::inspect_bounded(f, "squall::ReadUntilRegex", x, x.regex);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReadUntilClose& x) {
  return detail::inspect_timed(f, "squall::ReadUntilClose", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReadChunks& x) {
  detail::OptionalField<std::uint64_t> num_bytes{x.num_bytes, detail::count_of_bytes};
  std::uint64_t chunk_size = x.chunk_size;
  detail::OptionalField<Duration> timeout{x.timeout, detail::count_of};
  return f(caf::meta::type_name("squall::ReadChunks"), num_bytes.present, num_bytes.number, chunk_size,
           timeout.present, timeout.number, caf::meta::load_callback([&] {
             x.num_bytes = num_bytes.present ? std::optional{static_cast<std::uint64_t>(num_bytes.number)}
                                             : std::nullopt;
             x.chunk_size = static_cast<std::size_t>(chunk_size);
             x.timeout = detail::to_timeout(timeout);
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, SendChunks& x) {
  return f(caf::meta::type_name("squall::SendChunks"), x.read, x.receiver);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Chunk& x) {
  return f(caf::meta::type_name("squall::Chunk"), x.data);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, WritePieces& x) {
  return detail::inspect_timed(f, "squall::WritePieces", x, x.pieces);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Connect& x) {
  return detail::inspect_timed(f, "squall::Connect", x, x.address, x.server_hostname);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, AwaitWritable& x) {
  return detail::inspect_timed(f, "squall::AwaitWritable", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, AwaitEnd& x) {
  return detail::inspect_timed(f, "squall::AwaitEnd", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, AwaitClose& x) {
  return detail::inspect_timed(f, "squall::AwaitClose", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, AwaitDrain& x) {
  return detail::inspect_timed(f, "squall::AwaitDrain", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, AwaitHandshake& x) {
  return detail::inspect_timed(f, "squall::AwaitHandshake", x);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, PeerCertificate& x) {
  return f(caf::meta::type_name("squall::PeerCertificate"), x.subject, x.issuer, x.dns_names, x.ip_addresses,
           x.pem);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, TLSInfo& x) {
  return f(caf::meta::type_name("squall::TLSInfo"), x.version, x.cipher, x.server_name, x.alpn, x.resumed,
           x.ktls_send, x.ktls_receive, x.peer_certificates);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ReloadTLS&) {
  return f(caf::meta::type_name("squall::ReloadTLS"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, SetKeepAlive& x) {
  std::int64_t idle = x.value.idle.count();
  std::int64_t interval = x.value.interval.count();
  std::int32_t count = x.value.count;
  std::int64_t user_timeout = x.value.user_timeout.count();
  return f(caf::meta::type_name("squall::SetKeepAlive"), idle, interval, count, user_timeout,
           caf::meta::load_callback([&] {
             x.value = {std::chrono::seconds{idle}, std::chrono::seconds{interval}, count,
                        std::chrono::milliseconds{user_timeout}};
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, StreamError& x) {
  caf::error error = make_error(x);
  return f(caf::meta::type_name("squall::StreamError"), error, caf::meta::load_callback([&] {
             if (const auto found = stream_error(error))
               x = *found;
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, CancelRead&) {
  return f(caf::meta::type_name("squall::CancelRead"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Write& x) {
  return detail::inspect_timed(f, "squall::Write", x, x.data);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Close&) {
  return f(caf::meta::type_name("squall::Close"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ShutdownWrite&) {
  return f(caf::meta::type_name("squall::ShutdownWrite"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, CloseAfterFlush& x) {
  std::int64_t deadline = x.deadline.count();
  return f(caf::meta::type_name("squall::CloseAfterFlush"), deadline, caf::meta::load_callback([&] {
             x.deadline = Duration{deadline};
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Abort&) {
  return f(caf::meta::type_name("squall::Abort"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, SetNodelay& x) {
  return f(caf::meta::type_name("squall::SetNodelay"), x.value);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Info&) {
  return f(caf::meta::type_name("squall::Info"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Endpoint& x) {
  auto family = static_cast<std::uint8_t>(x.family);
  return f(caf::meta::type_name("squall::Endpoint"), x.address, x.port, family, caf::meta::load_callback([&] {
             x.family = static_cast<AddressFamily>(family);
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, StreamInfo& x) {
  return f(caf::meta::type_name("squall::StreamInfo"), x.peer, x.closed, x.reading, x.writing, x.unread_size,
           x.unsent_size, x.local, x.writable, x.bytes_received, x.bytes_sent, x.connected, x.error);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, BindOptions& x) {
  auto family = static_cast<std::uint8_t>(x.family);
  std::int32_t backlog = x.backlog;
  return f(caf::meta::type_name("squall::BindOptions"), family, backlog, x.reuse_port,
           caf::meta::load_callback([&] {
             x.family = static_cast<AddressFamily>(family);
             x.backlog = backlog;
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Listen& x) {
  return f(caf::meta::type_name("squall::Listen"), x.port, x.address, x.options);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Stop&) {
  return f(caf::meta::type_name("squall::Stop"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Pause&) {
  return f(caf::meta::type_name("squall::Pause"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Resume&) {
  return f(caf::meta::type_name("squall::Resume"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Drain& x) {
  std::int64_t deadline = x.deadline.count();
  return f(caf::meta::type_name("squall::Drain"), deadline, caf::meta::load_callback([&] {
             x.deadline = Duration{deadline};
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Drained& x) {
  return f(caf::meta::type_name("squall::Drained"), x.finished, x.idle, x.cut);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ListenerLimits& x) {
  auto when_full = static_cast<std::uint8_t>(x.when_full);
  return f(caf::meta::type_name("squall::ListenerLimits"), x.max_connections, x.max_connections_per_ip,
           x.max_accept_rate, x.accepts_per_turn, when_full, x.full_answer, caf::meta::load_callback([&] {
             x.when_full = static_cast<WhenFull>(when_full);
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, SetLimits& x) {
  return f(caf::meta::type_name("squall::SetLimits"), x.limits);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Connections&) {
  return f(caf::meta::type_name("squall::Connections"));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ConnectionInfo& x) {
  std::int64_t age = x.age.count();
  std::int64_t idle = x.idle.count();
  return f(caf::meta::type_name("squall::ConnectionInfo"), x.id, x.peer, age, idle, x.bytes_received,
           x.bytes_sent, x.unread_size, x.unsent_size, x.pending, x.closed, x.tls_version, x.tls_cipher,
           x.tls_server_name, x.tls_alpn, caf::meta::load_callback([&] {
             x.age = Duration{age};
             x.idle = Duration{idle};
             return caf::error{};
           }));
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ConnectionList& x) {
  return f(caf::meta::type_name("squall::ConnectionList"), x.connections);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, CloseConnection& x) {
  return f(caf::meta::type_name("squall::CloseConnection"), x.id, x.abort);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, Listening& x) {
  return f(caf::meta::type_name("squall::Listening"), x.endpoints);
}
template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, ListenerInfo& x) {
  return f(caf::meta::type_name("squall::ListenerInfo"), x.endpoints, x.connection_count, x.accepted_count,
           x.failed_count, x.refused_count, x.rejected_count, x.pause_count, x.paused, x.draining,
           x.memory_budget, x.memory_used, x.limits, x.place_count);
}

} // namespace squall

CAF_BEGIN_TYPE_ID_BLOCK(squall, caf::first_custom_type_id + 500)

CAF_ADD_TYPE_ID(squall, (squall::Abort))
CAF_ADD_TYPE_ID(squall, (squall::AwaitClose))
CAF_ADD_TYPE_ID(squall, (squall::AwaitDrain))
CAF_ADD_TYPE_ID(squall, (squall::AwaitEnd))
CAF_ADD_TYPE_ID(squall, (squall::AwaitHandshake))
CAF_ADD_TYPE_ID(squall, (squall::AwaitWritable))
CAF_ADD_TYPE_ID(squall, (squall::Bytes))
CAF_ADD_TYPE_ID(squall, (squall::CancelRead))
CAF_ADD_TYPE_ID(squall, (squall::Chunk))
CAF_ADD_TYPE_ID(squall, (squall::Close))
CAF_ADD_TYPE_ID(squall, (squall::CloseAfterFlush))
CAF_ADD_TYPE_ID(squall, (squall::CloseConnection))
CAF_ADD_TYPE_ID(squall, (squall::Connect))
CAF_ADD_TYPE_ID(squall, (squall::ConnectionList))
CAF_ADD_TYPE_ID(squall, (squall::Connections))
CAF_ADD_TYPE_ID(squall, (squall::Drain))
CAF_ADD_TYPE_ID(squall, (squall::Drained))
CAF_ADD_TYPE_ID(squall, (squall::Endpoint))
CAF_ADD_TYPE_ID(squall, (squall::Info))
CAF_ADD_TYPE_ID(squall, (squall::Listen))
CAF_ADD_TYPE_ID(squall, (squall::ListenerInfo))
CAF_ADD_TYPE_ID(squall, (squall::Listening))
CAF_ADD_TYPE_ID(squall, (squall::Pause))
CAF_ADD_TYPE_ID(squall, (squall::Peek))
CAF_ADD_TYPE_ID(squall, (squall::ReadBytes))
CAF_ADD_TYPE_ID(squall, (squall::ReadChunks))
CAF_ADD_TYPE_ID(squall, (squall::ReadUntil))
CAF_ADD_TYPE_ID(squall, (squall::ReadUntilClose))
CAF_ADD_TYPE_ID(squall, (squall::ReadUntilRegex))
CAF_ADD_TYPE_ID(squall, (squall::Regex))
CAF_ADD_TYPE_ID(squall, (squall::ReloadTLS))
CAF_ADD_TYPE_ID(squall, (squall::Resume))
CAF_ADD_TYPE_ID(squall, (squall::SendChunks))
CAF_ADD_TYPE_ID(squall, (squall::SetKeepAlive))
CAF_ADD_TYPE_ID(squall, (squall::SetLimits))
CAF_ADD_TYPE_ID(squall, (squall::SetNodelay))
CAF_ADD_TYPE_ID(squall, (squall::ShutdownWrite))
CAF_ADD_TYPE_ID(squall, (squall::Stop))
CAF_ADD_TYPE_ID(squall, (squall::StreamError))
CAF_ADD_TYPE_ID(squall, (squall::StreamInfo))
CAF_ADD_TYPE_ID(squall, (squall::TLSInfo))
CAF_ADD_TYPE_ID(squall, (squall::Write))
CAF_ADD_TYPE_ID(squall, (squall::WritePieces))

CAF_END_TYPE_ID_BLOCK(squall)

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::AddSocket)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::AddSockets)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::ReadInto)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::ReplaceTLS)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::StartTLS)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(squall::WriteFile)
