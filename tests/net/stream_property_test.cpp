// SPDX-License-Identifier: BSD-3-Clause
//
// stream_property_test.cpp: random operations on both ends of a connection, each outcome compared with a
// model of two byte queues (stream_model.hpp); on every transport.
//
// SQUALL_TEST_SEED=n begins with the episode of seed n.
#include "tests/net/stream_contract.hpp"
#include "tests/net/stream_model.hpp"
#include <squall/net/log.hpp>

#include <cstdlib>

namespace squall {

namespace {

using namespace testing_support;

/// Two streams that are connected, some operations on them, and their end.
class Episode {
public:
  Episode(const StreamFactory& factory, std::uint64_t seed) : dice_{seed} {
    in_memory_ = std::string_view{factory.name} == "Memory";
    scale_ = dice_.one_of<std::size_t>({4, 30, 200, in_memory_ ? 1000u : 50'000u});
    special_ = dice_.one_of<std::size_t>({1, 5, 40});
    ending_ = dice_.one_of<std::size_t>({0, 1, 5});
    options_.max_buffer_size = 2 + dice_.up_to(3 * scale_);
    options_.read_chunk_size = 1 + dice_.up_to(scale_);
    options_.max_write_buffer_size = 1 + dice_.up_to(4 * scale_);
    options_.linger_timeout = std::chrono::milliseconds{dice_.one_of({0, 20, 10'000})};
    options_.idle_timeout = std::chrono::milliseconds{dice_.chance(10) ? 300 : 0};
    options_.half_close = dice_.chance(50);
    connect(factory);
    note("max_buffer_size ", options_.max_buffer_size, ", chunk ", options_.read_chunk_size,
         ", max_write_buffer_size ", options_.max_write_buffer_size, ", half_close ", a_.options.half_close,
         b_.options.half_close, ", linger ", options_.linger_timeout.count());
  }

  /// Makes at most `steps` operations; returns how many it made.
  int run(int steps) {
    int made = 0;
    for (; made < steps && !journal_.failed() && !(a_.gone() && b_.gone()); ++made)
      step();
    acts_in_answers_ = false;
    if (!journal_.failed() && dice_.chance(60))
      drain();
    if (!journal_.failed())
      finish();
    return made;
  }

private:
  template <class... Parts>
  void note(const Parts&... parts) {
    journal_.note(parts...);
  }

  void connect(const StreamFactory& factory) {
    a_.options = b_.options = options_;
    if (in_memory_) {
      memory_ = std::make_shared<MemoryConnection>();
      memory_->a.capacity = memory_->b.capacity = 1 + scale_ / 4 + dice_.up_to(4 * scale_);
      b_.options.half_close = dice_.chance(50);
      auto ours = std::make_unique<MemoryTransport>(memory_, memory_->a);
      auto theirs = std::make_unique<MemoryTransport>(memory_, memory_->b);
      logs_ = {ours->log, theirs->log};
      a_.stream = IOStream{loop_, std::move(ours), a_.options};
      b_.stream = IOStream{loop_, std::move(theirs), b_.options};
    } else if (std::string_view{factory.name} == "Unix") {
      auto [ours, theirs] = make_socket_pair();
      for (const Socket* socket : {&ours, &theirs}) { // small, so that writes block
        const int size = 8192;
        journal_.check(::setsockopt(socket->fd(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0,
                       "setsockopt");
      }
      a_.stream = IOStream{loop_, std::move(ours), a_.options};
      b_.stream = IOStream{loop_, std::move(theirs), b_.options};
    } else {
      std::tie(a_.stream, b_.stream) = factory.make_pair(loop_, options_);
    }
    a_.name = "A";
    b_.name = "B";
    a_.peer = &b_;
    b_.peer = &a_;
  }

  // -- operations

  void step() {
    const std::size_t what = dice_.up_to(99);
    if (what < 70)
      act(dice_.chance(50) ? a_ : b_);
    else if (what < 90)
      run_turns(static_cast<int>(1 + dice_.up_to(2)));
    else if (what < 96)
      settle();
    else
      pass(std::chrono::milliseconds{dice_.up_to(40)});
    poll();
  }

  void act(ModelSide& side) {
    if (side.gone())
      return;
    const std::size_t what = dice_.up_to(99);
    if (dice_.up_to(99) < ending_)
      end(side);
    else if (what < 45)
      read(side);
    else if (what < 85)
      write(side);
    else if (what < 91)
      cancel_read(side);
    else if (what < 95)
      forget_read(side);
    else if (what < 98)
      set_callback(side);
    else if (!side.writing.empty())
      cancel_write(side);
  }

  Timeout timeout() {
    if (dice_.chance(75))
      return no_timeout;
    return Duration{std::chrono::milliseconds{dice_.one_of({0, 5, 30})}};
  }

  void read(ModelSide& side) {
    if (side.reading != nullptr && !dice_.chance(10))
      return;
    ModelRead& read = reads_.emplace_back(journal_, clock_, side, timeout());
    let_answer_act(read);
    const std::size_t size = dice_.chance(5) ? 0 : dice_.up_to(scale_);
    const bool partial = dice_.chance(50);
    const std::optional<std::size_t> max_bytes =
        dice_.chance(40) ? std::nullopt : std::optional{dice_.up_to(2 * scale_)};
    const LimitPolicy policy = dice_.chance(80) ? LimitPolicy::keep : LimitPolicy::close;
    const ModelPattern* pattern = nullptr;
    ReadRequest request;
    switch (dice_.up_to(ending_ == 0 ? 5 : 6)) {
    case 0:
    case 1:
      request = ReadBytes{size, partial};
      break;
    case 2:
      request = ReadInto{MutableBytes{size}, partial};
      side.largest_into = std::max(side.largest_into, size);
      break;
    case 3:
      request = ReadUntil{dice_.one_of({"\n", "ab", "xxa"}), max_bytes, no_timeout, policy};
      break;
    case 4: {
      const auto& [text, regex] = model_patterns()[dice_.up_to(model_patterns().size() - 1)];
      pattern = &text;
      request = ReadUntilRegex{regex, max_bytes, no_timeout, policy};
      break;
    }
    case 5:
      request = Peek{size};
      break;
    default:
      request = ReadUntilClose{};
    }
    note(side.name, " reads, kind ", request.index(), ", size ", size, ", partial ", partial, ", max_bytes ",
         max_bytes ? std::to_string(*max_bytes) : "none", ", keeps ", policy == LimitPolicy::keep,
         ", timeout ", read.timeout.has_value());
    read.start(std::move(request), pattern);
  }

  std::string some_bytes(std::size_t size) {
    std::string text(size, 'x');
    for (char& letter : text)
      if (dice_.chance(special_))
        letter = dice_.one_of({'a', 'b', '\n'});
    return text;
  }

  void write(ModelSide& side) {
    ModelWrite& write = new_write(side, timeout());
    const std::string data = some_bytes(dice_.up_to(dice_.chance(90) ? scale_ : 5 * scale_));
    const std::size_t unsent = side.stream.unsent_size();
    const bool was_closed = side.closed();
    side.written += data;
    write.end = side.written.size();
    const bool paced = dice_.chance(50);
    note(side.name, " writes ", data.size(), " bytes to ", write.end, ", paced ", paced, ", timeout ",
         write.timeout.has_value());
    side.writing.push_back(&write);
    std::optional<Result<void>> result;
    if (paced)
      result = side.stream.start_paced_write(Bytes{data}, write, write.timeout);
    else if (const auto refused = side.stream.start_write(Bytes{data}, write, write.timeout))
      result = *refused;
    if (!result)
      return;
    side.writing.pop_back();
    write.answer_at_once(*result);
    if (*result)
      return;
    side.written.resize(side.written.size() - data.size());
    const StreamError error = result->error();
    if (error.code == StreamErrc::closed)
      journal_.check(side.closed() && (side.flush_asked || error == side.stream.error()),
                     "refused by a stream that is open");
    else if (error.code == StreamErrc::write_ended)
      journal_.check(side.shutdown_asked && !was_closed, "refused, but nobody ended our side");
    else
      journal_.check(error.code == StreamErrc::buffer_full &&
                         unsent + data.size() > options_.max_write_buffer_size &&
                         side.stream.unsent_size() + data.size() > options_.max_write_buffer_size,
                     "refused, but there is room");
  }

  ModelWrite& new_write(ModelSide& side, Timeout timeout) {
    ModelWrite& write = writes_.emplace_back(journal_, clock_, side, timeout);
    let_answer_act(write);
    return write;
  }

  void let_answer_act(ModelBase& operation) {
    if (dice_.chance(25))
      operation.then = [this, &side = operation.side] {
        if (acts_in_answers_)
          act(side);
      };
  }

  void cancel_read(ModelSide& side) {
    note(side.name, " cancels");
    ModelRead* read = std::exchange(side.reading, nullptr);
    if (read != nullptr)
      read->cancelling = true;
    side.stream.cancel_read();
    journal_.check(!side.stream.reading(), "the stream is idle after a cancelled read");
    journal_.check(read == nullptr || read->answers == 0, "a cancelled read is answered from the loop");
  }

  void forget_read(ModelSide& side) {
    note(side.name, " forgets");
    ModelRead* read = std::exchange(side.reading, nullptr);
    if (read == nullptr)
      return;
    side.stream.forget_read(*read);
    journal_.check(!side.stream.reading(), "the stream is idle after a forgotten read");
    read->answers = 1; // it must not hear any more
  }

  void cancel_write(ModelSide& side) {
    ModelWrite* write = side.writing[dice_.up_to(side.writing.size() - 1)];
    note(side.name, " cancels its write to ", write->end);
    side.stream.cancel_write(*write);
    std::erase(side.writing, write);
    write->answers = 1;
  }

  void set_callback(ModelSide& side) {
    int& called = callbacks_.emplace_back(0); // how often it ran
    if (dice_.chance(50)) {
      note(side.name, " sets its end callback");
      last_end_callback_[&side == &b_] = &called;
      side.stream.set_end_callback([this, &side, &called] {
        note(side.name, " is told of the end");
        journal_.check(++called == 1, "an end callback runs once");
        journal_.check(side.closed() || side.peer->ends(), "an end that nobody caused");
      });
      return;
    }
    note(side.name, " sets its close callback");
    last_close_callback_[&side == &b_] = &called;
    side.stream.set_close_callback(
        [this, &side, &called] {
          note(side.name, " is told of the close");
          journal_.check(++called == 1, "a close callback runs once");
          journal_.check(side.closed(), "a close callback of an open stream");
          journal_.check(side.reading == nullptr && side.writing.empty(), "a close is told last");
        },
        dice_.one_of({EndNotice::at_once, EndNotice::lenient}));
  }

  void end(ModelSide& side) {
    switch (dice_.up_to(5)) {
    case 0:
      return close(side);
    case 1:
      note(side.name, " aborts");
      side.aborted = true;
      return side.stream.abort();
    case 2:
      return flush_and_close(side);
    case 3:
      note(side.name, " goes");
      side.close_asked = true;
      side.stream = IOStream{};
      return;
    default:
      return shutdown_write(side);
    }
  }

  void close(ModelSide& side) {
    note(side.name, " closes");
    side.close_asked = true;
    side.stream.close();
    journal_.check(side.closed(), "a closed stream is closed");
  }

  void flush_and_close(ModelSide& side) {
    const Duration time = std::chrono::milliseconds{dice_.one_of({0, 20, 10'000})};
    note(side.name, " closes after a flush");
    ModelWrite& write = new_write(side, no_timeout);
    write.end = side.written.size();
    const bool was_closed = side.closed();
    if (!was_closed) {
      side.close_asked = side.flush_asked = true;
      side.flush_time = time;
    }
    side.writing.push_back(&write);
    take_refusal(write, side.stream.start_close_after_flush(time, write), was_closed);
  }

  void shutdown_write(ModelSide& side) {
    note(side.name, " ends its side");
    ModelWrite& write = new_write(side, no_timeout);
    write.end = side.written.size();
    const bool was_closed = side.closed();
    side.writing.push_back(&write);
    side.shutdown_asked = side.shutdown_asked || !was_closed;
    take_refusal(write, side.stream.start_shutdown_write(write), was_closed);
  }

  void take_refusal(ModelWrite& write, const std::optional<StreamError>& refused, bool was_closed) {
    journal_.check(refused.has_value() == was_closed, "refused by a closed stream only");
    if (!refused)
      return;
    write.side.writing.pop_back();
    write.answer_at_once(*refused);
  }

  // -- time

  void run_turns(int count) {
    for (int i = 0; i < count && !journal_.failed(); ++i) {
      loop_.run_once();
      poll();
    }
  }

  void pass(Duration duration) {
    note("time passes");
    poll(); // so that the model knows what closed before
    clock_.advance(duration);
    run_turns(1);
  }

  /// Runs until nothing moves any more, as far as the model can tell.
  void settle() {
    reach("something pends that should be answered", [&] { return settled(a_) && settled(b_); });
  }

  template <class Predicate>
  void reach(const char* what, Predicate predicate) {
    note("runs until everything is still");
    if (in_memory_) {
      for (int turn = 0; turn < 3000 && !journal_.failed() && !predicate(); ++turn)
        run_turns(1);
      journal_.check(predicate(), what);
    } else {
      journal_.check(run_until(loop_,
                               [&] {
                                 poll();
                                 return journal_.failed() || predicate();
                               }),
                     what);
    }
  }

  bool settled(const ModelSide& side) const {
    if (const ModelRead* read = side.reading) {
      if (side.closed() || side.peer->ends() || side.peer->stream.unsent_size() > 0 ||
          read->deadline <= clock_.now() || read->verdict(side.to_read()).kind != Verdict::Kind::wants_more)
        return false;
    }
    for (const ModelWrite* write : side.writing) {
      const bool flushes = side.gone() || side.flush_asked || side.reason == CloseReason::peer_closed;
      if (side.closed() ? !flushes || side.may_lose(clock_.now())
                        : side.sent() >= write->end || write->deadline <= clock_.now())
        return false;
    }
    return true;
  }

  // -- what always holds

  void poll() {
    observer_.look_at(a_);
    observer_.look_at(b_);
    if (in_memory_) {
      observer_.count_bytes(a_, memory_->a.arrived.size());
      observer_.count_bytes(b_, memory_->b.arrived.size());
    }
  }

  // -- the end

  /// Both sides end in an orderly way and read what is left.
  void drain() {
    note("-- both end");
    const bool both_open = !a_.closed() && !b_.closed();
    for (ModelSide* side : {&a_, &b_})
      if (!side->closed())
        shutdown_write(*side);
    std::array<bool, 2> done{};
    reach("an end is not told", [&] {
      for (ModelSide* side : {&a_, &b_}) {
        bool& told = done[side == &b_];
        while (!told && !side->gone() && side->reading == nullptr && !journal_.failed()) {
          ModelRead& read = reads_.emplace_back(journal_, clock_, *side, no_timeout);
          const std::size_t before = side->consumed;
          read.start(ReadBytes{scale_ + 1, true}, nullptr);
          told = read.answers == 1 && side->consumed == before;
        }
        told = told || side->gone();
      }
      return done[0] && done[1] && (!both_open || (a_.closed() && b_.closed()));
    });
    const auto orderly = [&](const ModelSide& side) {
      return side.reason == CloseReason::peer_closed && !side.may_lose(clock_.now());
    };
    poll();
    if (!both_open || !orderly(a_) || !orderly(b_))
      return;
    journal_.check(a_.consumed == b_.written.size() && b_.consumed == a_.written.size(),
                   "both ended in an orderly way, but not everything was read");
  }

  void finish() {
    note("-- both go");
    a_.close_asked = b_.close_asked = true;
    a_.stream = b_.stream = IOStream{};
    pass(std::chrono::hours{1});
    reach("an operation is not answered", [&] {
      return std::all_of(reads_.begin(), reads_.end(), [](const auto& read) { return read.answers == 1; }) &&
             std::all_of(writes_.begin(), writes_.end(),
                         [](const auto& write) { return write.answers == 1; });
    });
    testing_support::run_turns(loop_, 4);
    for (const int* called :
         {last_close_callback_[0], last_close_callback_[1], last_end_callback_[0], last_end_callback_[1]})
      journal_.check(called == nullptr || *called == 1, "a callback did not run");
    for (const auto& log : logs_)
      journal_.check(!in_memory_ || (log->closes == 1 && !log->watched), "a transport is left open");
  }

  ManualClock clock_;
  Journal journal_;
  Dice dice_;
  bool in_memory_ = false;
  bool acts_in_answers_ = true;
  std::size_t scale_ = 0;   ///< of sizes
  std::size_t special_ = 0; ///< percent of letters that may end a read
  std::size_t ending_ = 0;  ///< percent of operations that end something
  StreamOptions options_;
  ModelObserver observer_{journal_, clock_};
  std::shared_ptr<MemoryConnection> memory_;
  std::array<std::shared_ptr<MemoryTransport::Log>, 2> logs_;
  std::deque<ModelRead> reads_;
  std::deque<ModelWrite> writes_;
  std::deque<int> callbacks_;
  std::array<const int*, 2> last_close_callback_{};
  std::array<const int*, 2> last_end_callback_{};
  ModelSide a_;
  ModelSide b_;
  EventLoop loop_{&clock_};
};

class StreamPropertyTest : public testing::TestWithParam<StreamFactory> {
protected:
  StreamPropertyTest() { set_log_level(LogLevel::warning); } // each limit that is passed would be told
  ~StreamPropertyTest() override { set_log_level(LogLevel::info); }
};
SQUALL_STREAM_CONTRACT(StreamPropertyTest);

TEST_P(StreamPropertyTest, HoldsForRandomOperationsOnBothEnds) {
  const char* given = std::getenv("SQUALL_TEST_SEED");
  std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  const int steps = std::string_view{GetParam().name} == "Memory" ? 80'000 : 20'000;
  for (int made = 0; made < steps; ++seed) {
    SCOPED_TRACE("SQUALL_TEST_SEED=" + std::to_string(seed));
    made += Episode{GetParam(), seed}.run(80) + 1;
    if (HasFailure())
      return;
  }
}

} // namespace

} // namespace squall
