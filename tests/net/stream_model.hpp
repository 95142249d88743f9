// SPDX-License-Identifier: BSD-3-Clause
//
// stream_model.hpp: what may happen to a stream, told by a model that knows nothing of how it works: the
// bytes that each end was given to write, how many of them the other one read, and who ended what.
//
// An outcome that the model does not allow is a failure of the test, with the last operations before it.
#pragma once

#include "tests/net/memory_transport.hpp"
#include "tests/net/support.hpp"

#include <algorithm>
#include <deque>
#include <random>
#include <sstream>

namespace squall::testing_support {

class Dice {
public:
  explicit Dice(std::uint64_t seed) : random_{seed} {}
  std::size_t up_to(std::size_t most) { return random_() % (most + 1); }
  bool chance(std::size_t percent) { return up_to(99) < percent; }
  template <class T>
  T one_of(std::initializer_list<T> values) {
    return values.begin()[up_to(values.size() - 1)];
  }

private:
  std::mt19937_64 random_;
};

/// The operations of an episode, and whether all went as the model says.
class Journal {
public:
  template <class... Parts>
  void note(const Parts&... parts) {
    std::ostringstream line;
    (line << ... << parts);
    lines_.push_back(line.str());
    if (lines_.size() > 40)
      lines_.pop_front();
  }
  void check(bool holds, const char* what) {
    if (holds || failed_)
      return;
    failed_ = true;
    std::string text = what;
    for (const std::string& line : lines_)
      text += "\n  " + line;
    ADD_FAILURE() << text;
  }
  [[nodiscard]] bool failed() const { return failed_; }

private:
  std::deque<std::string> lines_;
  bool failed_ = false;
};

/// A pattern and, written by hand, when a match of it ends at the end of a text.
struct ModelPattern {
  const char* text;
  bool (*ends)(std::string_view text);

  [[nodiscard]] std::size_t find_end(std::string_view in) const {
    for (std::size_t end = 1; end <= in.size(); ++end)
      if (ends(in.substr(0, end)))
        return end;
    return std::string_view::npos;
  }
};

inline const std::vector<std::pair<ModelPattern, Regex>>& model_patterns() {
  static const std::vector<std::pair<ModelPattern, Regex>> patterns = [] {
    std::vector<std::pair<ModelPattern, Regex>> made;
    for (const ModelPattern& pattern :
         {ModelPattern{"a+b", [](std::string_view text) { return text.ends_with("ab"); }},
          ModelPattern{"\n[ab]|bb",
                       [](std::string_view text) {
                         return text.ends_with("\na") || text.ends_with("\nb") || text.ends_with("bb");
                       }},
          ModelPattern{"b.*\n", [](std::string_view text) {
                         const auto line = text.substr(0, text.size() - 1).rfind('\n');
                         return text.ends_with('\n') && text.find('b', line + 1) != std::string_view::npos;
                       }}})
      made.emplace_back(pattern, Regex{pattern.text});
    return made;
  }();
  return patterns;
}

/// What the bytes alone say about a read.
struct Verdict {
  enum class Kind { value, beyond_limit, wants_more };
  Kind kind;
  std::size_t least = 0; ///< size of the value
  std::size_t most = 0;
};

/// The verdict once `bytes` have arrived. A read never takes what it leaves to a later one, so a value is the
/// same for every longer text, but for the size of a partial one.
inline Verdict judge(const ReadRequest& request, const ModelPattern* pattern, std::string_view bytes,
                     std::size_t max_buffer_size) {
  using Kind = Verdict::Kind;
  const auto exactly = [&](std::size_t size) {
    return bytes.size() >= size ? Verdict{Kind::value, size, size} : Verdict{Kind::wants_more};
  };
  const auto at_most = [&](std::size_t size) {
    return size == 0 || !bytes.empty() ? Verdict{Kind::value, std::min<std::size_t>(size, 1), size}
                                       : Verdict{Kind::wants_more};
  };
  const auto within = [&](std::optional<std::size_t> max_bytes, auto find_end) {
    const std::size_t limit = std::min(max_bytes.value_or(max_buffer_size), max_buffer_size);
    const std::size_t end = find_end(bytes.substr(0, limit));
    if (end != std::string_view::npos)
      return exactly(end);
    return Verdict{bytes.size() > limit ? Kind::beyond_limit : Kind::wants_more};
  };
  if (const auto* fixed = std::get_if<ReadBytes>(&request))
    return fixed->partial ? at_most(fixed->num_bytes) : exactly(fixed->num_bytes);
  if (const auto* into = std::get_if<ReadInto>(&request))
    return into->partial ? at_most(into->buffer.size()) : exactly(into->buffer.size());
  if (const auto* peek = std::get_if<Peek>(&request))
    return exactly(peek->num_bytes);
  if (const auto* until = std::get_if<ReadUntil>(&request))
    return within(until->max_bytes, [&](std::string_view in) {
      const std::size_t found = in.find(until->delimiter);
      return found == std::string_view::npos ? found : found + until->delimiter.size();
    });
  if (const auto* match = std::get_if<ReadUntilRegex>(&request))
    return within(match->max_bytes, [&](std::string_view in) { return pattern->find_end(in); });
  return {bytes.size() > max_buffer_size ? Kind::beyond_limit : Kind::wants_more};
}

/// One end of the connection: its stream and what the model knows of it.
struct ModelSide {
  [[nodiscard]] bool gone() const { return !stream; }
  [[nodiscard]] bool closed() const { return gone() || stream.closed(); }
  /// The other end will read, or has read, an end.
  [[nodiscard]] bool ends() const { return closed() || shutdown_asked; }
  /// Bytes that left the stream.
  [[nodiscard]] std::size_t sent() const { return written.size() - stream.unsent_size(); }
  [[nodiscard]] std::string_view to_read() const { return std::string_view{peer->written}.substr(consumed); }
  /// Bytes whose write was answered may be lost: the peer was cut off, or the time to send them is over.
  [[nodiscard]] bool may_lose(TimePoint now) const {
    return aborted || (closed() && grace_ends.value_or(now + grace()) <= now);
  }
  /// For how long it sends what it answers for, once it is closed.
  [[nodiscard]] Duration grace() const { return flush_time.value_or(options.linger_timeout); }

  const char* name = "";
  ModelSide* peer = nullptr;
  StreamOptions options;
  IOStream stream;

  std::string written;      ///< what its writes queued
  std::size_t consumed = 0; ///< how much of what the peer wrote was read
  std::size_t acked = 0;    ///< writes up to here were answered
  std::size_t largest_into = 0;
  bool shutdown_asked = false;
  bool close_asked = false;
  bool flush_asked = false;
  bool aborted = false;
  bool limit_passed = false;
  TimePoint first_deadline = TimePoint::max(); ///< of its writes
  std::optional<Duration> flush_time;
  std::optional<TimePoint> grace_ends; ///< since the close was seen
  CloseReason reason = CloseReason::none;
  class ModelRead* reading = nullptr;
  std::deque<class ModelWrite*> writing; ///< in order
};

/// What every operation has.
struct ModelBase {
  ModelBase(Journal& journal_, ManualClock& clock_, ModelSide& side_, Timeout timeout_)
      : journal{journal_}, clock{clock_}, side{side_}, timeout{timeout_}, deadline{timeout_
                                                                                       ? clock_.now() +
                                                                                             *timeout_
                                                                                       : TimePoint::max()} {}

  /// The error of a stream that closed is the one that it shows.
  void check_closed_error(const StreamError& error) const {
    journal.check(error.code == StreamErrc::closed, "an error that the operation cannot have");
    if (!side.gone() && side.closed() && !side.flush_asked)
      journal.check(error == side.stream.error(), "not the error of the stream");
  }

  Journal& journal;
  ManualClock& clock;
  ModelSide& side;
  Timeout timeout;
  TimePoint deadline;
  std::function<void()> then; ///< after an answer that came from the loop
  int answers = 0;
};

class ModelRead final : public ReadCompletion, public ModelBase {
public:
  using ModelBase::ModelBase;

  void start(ReadRequest given, const ModelPattern* pattern_) {
    request = std::move(given);
    pattern = pattern_;
    std::visit([&](auto& any) { any.timeout = timeout; }, request);
    const std::optional<StreamErrc> refusal = expected_refusal();
    started_closed = side.closed();
    ModelRead* before = std::exchange(side.reading, refusal ? side.reading : this);
    auto result = side.stream.start_read(request, *this);
    if (refusal) {
      journal.check(result && !*result && result->error().code == *refusal, "a read that must be refused");
      ++answers;
      side.reading = before;
      return;
    }
    journal.check(result || !started_closed, "a read of a closed stream is answered at once");
    journal.check(result || deadline > clock.now(), "a read that polls is answered at once");
    if (result)
      answer(std::move(*result));
  }

  void on_read(Result<Bytes> result) override {
    answer(std::move(result));
    if (then)
      then();
  }

  [[nodiscard]] Verdict verdict(std::string_view bytes) const {
    return judge(request, pattern, bytes, side.options.max_buffer_size);
  }

  ReadRequest request;
  const ModelPattern* pattern = nullptr;
  bool started_closed = false;
  bool cancelling = false;

private:
  [[nodiscard]] std::optional<StreamErrc> expected_refusal() const {
    if (side.reading != nullptr)
      return StreamErrc::already_reading;
    if (const auto* fixed = std::get_if<ReadBytes>(&request))
      if (!fixed->partial && fixed->num_bytes > side.options.max_buffer_size)
        return StreamErrc::buffer_full;
    if (const auto* peek = std::get_if<Peek>(&request))
      if (peek->num_bytes > side.options.max_buffer_size)
        return StreamErrc::buffer_full;
    return std::nullopt;
  }

  void answer(Result<Bytes> result) {
    journal.note(side.name, " is told of its read: ",
                 result ? std::to_string(result->size()) + " bytes" : to_string(result.error()));
    journal.check(++answers == 1, "a read is answered once");
    if (cancelling) { // the stream was idle from then on
      journal.check(!result && result.error().code == StreamErrc::cancelled,
                    "not the outcome of a cancelled read");
      return;
    }
    journal.check(side.reading == this, "a read is answered that is not pending");
    side.reading = nullptr;
    if (result)
      check_value(result->view());
    else
      check_error(result.error());
  }

  void check_value(std::string_view value) {
    const std::string_view bytes = side.to_read();
    journal.check(bytes.starts_with(value), "the bytes of a read are not those that were written");
    if (std::holds_alternative<ReadUntilClose>(request)) {
      journal.check(side.peer->ends() || side.closed(), "an end that nobody caused");
      if (!started_closed)
        check_whole(value.size());
    } else {
      const Verdict said = verdict(bytes);
      journal.check(said.kind == Verdict::Kind::value, "a value that the bytes do not give");
      journal.check(said.least <= value.size() && value.size() <= said.most, "a value of the wrong size");
    }
    if (!std::holds_alternative<Peek>(request))
      side.consumed += value.size();
  }

  /// The peer ended in an orderly way: nothing that it was told is done may be missing.
  void check_whole(std::size_t taken) const {
    const ModelSide& peer = *side.peer;
    const std::size_t got = side.consumed + taken + (side.gone() ? 0 : side.stream.unread_size());
    if (!side.gone() && !peer.may_lose(clock.now()))
      journal.check(got >= peer.acked, "an orderly end, but bytes are lost whose write was answered");
  }

  void check_error(const StreamError& error) {
    if (!side.gone()) {
      const Verdict unread = verdict(side.to_read().substr(0, side.stream.unread_size()));
      journal.check(unread.kind != Verdict::Kind::value, "a read fails that what is unread satisfies");
      journal.check(!side.stream.reading(), "the stream is idle after a read");
    }
    if (error.code == StreamErrc::timed_out) {
      journal.check(deadline <= clock.now(), "a read times out too early");
    } else if (error.code == StreamErrc::cancelled) {
      journal.check(false, "a read is cancelled by nobody");
    } else if (error.code == StreamErrc::unsatisfiable_read || error.code == StreamErrc::buffer_full) {
      check_limit(error.code);
      journal.check(limit_policy() == LimitPolicy::keep, "the stream closes with this read");
    } else if (error.reason == CloseReason::peer_closed) {
      journal.check(error.code == StreamErrc::closed, "an end is told as a close");
      journal.check(side.closed() || side.options.half_close, "the stream closes with its input");
      journal.check(side.peer->ends(), "an end that nobody caused");
      if (!started_closed)
        check_whole(0);
    } else if (error.reason == CloseReason::limit && !started_closed) {
      check_closed_error(error);
      side.limit_passed = true;
      check_limit(static_cast<StreamErrc>(error.real_error.value()));
      journal.check(limit_policy() == LimitPolicy::close, "the stream stays open with this read");
    } else {
      check_closed_error(error);
      journal.check(side.closed(), "the error of a close, but the stream is open");
    }
  }

  void check_limit(StreamErrc code) const {
    journal.check(verdict(side.to_read()).kind == Verdict::Kind::beyond_limit, "no limit is passed");
    const std::size_t bound = side.options.max_buffer_size;
    journal.check(code == (max_bytes().value_or(bound + 1) <= bound ? StreamErrc::unsatisfiable_read
                                                                    : StreamErrc::buffer_full),
                  "the code of another limit");
  }

  [[nodiscard]] LimitPolicy limit_policy() const {
    return std::visit(
        [](const auto& any) {
          if constexpr (requires { any.on_limit; })
            return any.on_limit;
          else
            return LimitPolicy::close;
        },
        request);
  }
  [[nodiscard]] std::optional<std::size_t> max_bytes() const {
    return std::visit(
        [](const auto& any) -> std::optional<std::size_t> {
          if constexpr (requires { any.max_bytes; })
            return any.max_bytes;
          else
            return std::nullopt;
        },
        request);
  }
};

class ModelWrite final : public WriteCompletion, public ModelBase {
public:
  ModelWrite(Journal& journal_, ManualClock& clock_, ModelSide& side_, Timeout timeout_)
      : ModelBase{journal_, clock_, side_, timeout_} {
    side.first_deadline = std::min(side.first_deadline, deadline);
  }

  /// It was refused, or answered inside the call.
  void answer_at_once(const Result<void>& result) {
    ++answers;
    journal.note(side.name,
                 " is told of its write at once: ", result ? std::string{"done"} : to_string(result.error()));
    if (result)
      side.acked = std::max(side.acked, end);
  }

  void on_write(Result<void> result) override {
    journal.note(side.name, " is told of its write to ", end, ": ",
                 result ? std::string{"done"} : to_string(result.error()));
    journal.check(++answers == 1, "a write is answered once");
    journal.check(!side.writing.empty() && side.writing.front() == this,
                  "writes are answered in their order");
    std::erase(side.writing, this);
    if (result) {
      if (!side.closed())
        journal.check(side.sent() >= end, "a write is answered whose bytes are unsent");
      side.acked = std::max(side.acked, end);
    } else {
      journal.check(side.closed(), "a write fails although the stream is open");
      journal.check(side.reading == nullptr, "the read is answered before the writes");
      check_closed_error(result.error());
    }
    if (then)
      then();
  }

  std::size_t end = 0; ///< how much the side had written with it
};

/// What always holds, whatever was done.
class ModelObserver {
public:
  ModelObserver(Journal& journal, const Clock& clock)
      : journal_{journal}, clock_{clock}, start_{clock.now()} {}

  void look_at(ModelSide& side) {
    if (side.closed() && !side.grace_ends)
      side.grace_ends = clock_.now() + side.grace();
    if (side.gone())
      return;
    const IOStream& stream = side.stream;
    const StreamOptions& options = side.options;
    journal_.check(stream.closed() || stream.reading() == (side.reading != nullptr), "reading() is wrong");
    journal_.check(stream.writing() == (stream.unsent_size() > 0), "writing() is wrong");
    journal_.check(stream.unsent_size() <= options.max_write_buffer_size, "too much is unsent");
    journal_.check(stream.unread_size() <= std::max(options.max_buffer_size + 1, side.largest_into),
                   "too much is unread");
    journal_.check(side.consumed + stream.unread_size() <= side.peer->written.size(), "bytes from nowhere");
    const CloseReason reason = stream.error().reason;
    journal_.check(stream.closed() == (reason != CloseReason::none), "closed() and error() disagree");
    if (reason != side.reason)
      journal_.check(side.reason == CloseReason::none || side.flush_asked ||
                         (side.aborted && reason == CloseReason::aborted), // answered bytes were dropped
                     "the reason of a close changes");
    side.reason = reason;
    journal_.check(may_close_by(side), "a reason to close that is not there");
  }

  /// What was written is read, unread, on its way or unsent: no byte is lost or doubled.
  void count_bytes(const ModelSide& side, std::size_t on_its_way) {
    if (side.gone())
      return;
    const ModelSide& peer = *side.peer;
    const std::size_t unsent = peer.gone() ? 0 : peer.stream.unsent_size();
    const std::size_t seen = side.consumed + side.stream.unread_size() + on_its_way + unsent;
    std::size_t hidden = 0; // lies in the buffer of a pending read
    if (side.reading != nullptr)
      if (const auto* into = std::get_if<ReadInto>(&side.reading->request))
        hidden = into->buffer.size();
    journal_.check(seen <= peer.written.size(), "bytes are doubled");
    if (!side.closed() && !peer.closed())
      journal_.check(seen + hidden >= peer.written.size(), "bytes are lost");
  }

private:
  [[nodiscard]] bool may_close_by(const ModelSide& side) const {
    const TimePoint now = clock_.now();
    const Duration idle = side.options.idle_timeout;
    switch (side.reason) {
    case CloseReason::none:
      return true;
    case CloseReason::local_close:
      return side.close_asked;
    case CloseReason::aborted:
      return side.aborted;
    case CloseReason::peer_closed:
      return side.peer->ends();
    case CloseReason::reset:
      return side.peer->closed();
    case CloseReason::tls_truncated: // the peer dropped bytes, and says so by leaving close_notify out
      return side.peer->may_lose(now) ||
             (side.peer->closed() && side.peer->acked < side.peer->written.size());
    case CloseReason::limit:
      return side.limit_passed;
    case CloseReason::timed_out:
      return (idle > Duration::zero() && now - start_ >= idle) || side.first_deadline <= now ||
             (side.flush_asked && side.grace_ends && *side.grace_ends <= now);
    default:
      return false;
    }
  }

  Journal& journal_;
  const Clock& clock_;
  TimePoint start_;
};

} // namespace squall::testing_support
