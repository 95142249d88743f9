// SPDX-License-Identifier: BSD-3-Clause
//
// outcome_matrix_test.cpp: what becomes of each pending operation when something happens to its connection;
// on every transport, and however the bytes before it arrived.
//
// Where Tornado's outcome differs, the note says so; why is in docs/decisions/ 5 and 7.
#include "tests/net/stream_sides.hpp"
#include <squall/net/log.hpp>

#include <map>

namespace squall {

namespace {

using namespace testing_support;

constexpr std::size_t max_buffer_size = 20; // of the streams here

struct Cell {
  const char* operation;
  const char* received; ///< sent by the peer before the event
  const char* event;
  const char* outcome; ///< unread bytes are told with failures
  const char* note = "";
};

constexpr const char* tens = "aaaaaaaaaa;bbb";
constexpr const char* twenty_one = "aaaaaaaaaaaaaaaaaaaaa";

// clang-format off
constexpr Cell matrix[] = {
  // enough data
  {"read_bytes(10)",            tens,         "none",  "gives 'aaaaaaaaaa'; open"},
  {"read_bytes(10) partial",    "aaa",        "none",  "gives 'aaa'; open"},
  {"read_bytes(0)",             "aaa",        "none",  "gives ''; open"},
  {"read_into(10)",             tens,         "none",  "gives 'aaaaaaaaaa'; open"},
  {"read_into(10) partial",     "aaa",        "none",  "gives 'aaa'; open"},
  {"read_until(;)",             tens,         "none",  "gives 'aaaaaaaaaa;'; open"},
  {"read_until(;, 6)",          "aaaaa;a",    "none",  "gives 'aaaaa;'; open", "ends at exactly max_bytes"},
  {"read_until(;, 6) keeping",  "aaaaa;a",    "none",  "gives 'aaaaa;'; open"},
  {"regex(b+;|a;)",             tens,         "none",  "gives 'aaaaaaaaaa;'; open"},
  {"regex(a;, 6)",              "aaaaa;a",    "none",  "gives 'aaaaa;'; open"},
  {"peek(10)",                  tens,         "none",  "gives 'aaaaaaaaaa'; open"},
  // not enough
  {"read_bytes(10)",            "aaa",        "none",  "pending; open"},
  {"read_bytes(10) partial",    "",           "none",  "pending; open"},
  {"read_into(10)",             "aaa",        "none",  "pending; open"},
  {"read_until(;)",             "aaa",        "none",  "pending; open"},
  {"read_until(;, 6)",          "aaaaaa",     "none",  "pending; open", "exactly max_bytes may still match"},
  {"regex(a;, 6)",              "aaaaaa",     "none",  "pending; open"},
  {"read_until_close",          "aaa",        "none",  "pending; open"},
  {"peek(10)",                  "aaa",        "none",  "pending; open"},
  // the peer ends its side
  {"read_bytes(10)",            "aaa",        "end",   "closed by the peer; closed, 3 unread"},
  {"read_bytes(10) partial",    "",           "end",   "closed by the peer; closed, 0 unread"},
  {"read_into(10)",             "aaa",        "end",   "closed by the peer; closed, 3 unread", "Tornado goes on using the buffer"},
  {"read_into(10) partial",     "",           "end",   "closed by the peer; closed, 0 unread"},
  {"read_until(;)",             "aaa",        "end",   "closed by the peer; closed, 3 unread"},
  {"read_until(;, 6)",          "aaaaaa",     "end",   "closed by the peer; closed, 6 unread", "not: unsatisfiable"},
  {"read_until(;, 6) keeping",  "aaaaaa",     "end",   "closed by the peer; closed, 6 unread"},
  {"regex(a;, 6)",              "aaaaaa",     "end",   "closed by the peer; closed, 6 unread"},
  {"read_until_close",          "aaa",        "end",   "gives 'aaa'; closed"},
  {"read_until_close",          "",           "end",   "gives ''; closed"},
  {"peek(10)",                  "aaa",        "end",   "closed by the peer; closed, 3 unread"},
  // the connection breaks
  {"read_bytes(10)",            "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread"},
  {"read_bytes(10) partial",    "",           "reset", "connection broken (Connection reset by peer); closed, 0 unread"},
  {"read_into(10)",             "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread"},
  {"read_until(;)",             "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread"},
  {"regex(a;, 6)",              "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread"},
  {"read_until_close",          "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread", "Tornado succeeds"},
  {"peek(10)",                  "aaa",        "reset", "connection broken (Connection reset by peer); closed, 3 unread"},
  // the stream closes here
  {"read_bytes(10)",            "aaa",        "close", "closed here; closed, 3 unread"},
  {"read_into(10)",             "aaa",        "close", "closed here; closed, 3 unread"},
  {"read_until(;)",             "aaa",        "close", "closed here; closed, 3 unread"},
  {"regex(a;, 6)",              "aaa",        "close", "closed here; closed, 3 unread"},
  {"read_until_close",          "aaa",        "close", "closed here; closed, 3 unread", "Tornado succeeds"},
  {"peek(10)",                  "aaa",        "close", "closed here; closed, 3 unread"},
  {"read_bytes(10)",            "aaa",        "close after flush", "closed here; closed, 3 unread"},
  {"read_until_close",          "aaa",        "close after flush", "closed here; closed, 3 unread"},
  {"read_bytes(10)",            "aaa",        "abort", "aborted here; closed, 3 unread"},
  {"read_into(10)",             "aaa",        "abort", "aborted here; closed, 3 unread"},
  {"read_until_close",          "aaa",        "abort", "aborted here; closed, 3 unread"},
  {"read_until_close",          "aaa",        "shutdown write", "pending; open"},
  // more than max_bytes
  {"read_until(;, 6)",          "aaaaaaa",    "none",  "limit passed (no match ends within max_bytes); closed, 7 unread"},
  {"read_until(;, 6)",          "aaaaaa;",    "none",  "limit passed (no match ends within max_bytes); closed, 7 unread"},
  {"read_until(;, 6) keeping",  "aaaaaaa",    "none",  "no match ends within max_bytes; open, 7 unread"},
  {"regex(a;, 6)",              "aaaaaa;",    "none",  "limit passed (no match ends within max_bytes); closed, 7 unread"},
  {"regex(a;, 6) keeping",      "aaaaaa;",    "none",  "no match ends within max_bytes; open, 7 unread"},
  // more than max_buffer_size: one rule, where Tornado throws, fails or succeeds depending on timing
  {"read_bytes(21)",            twenty_one,   "none",  "more than the stream's buffer may hold; open, ? unread", "refused"},
  {"read_bytes(21) partial",    "aaa",        "none",  "gives 'aaa'; open"},
  {"read_into(21)",             twenty_one,   "none",  "gives 'aaaaaaaaaaaaaaaaaaaaa'; open", "the caller's buffer is no part of the stream's"},
  {"peek(21)",                  twenty_one,   "none",  "more than the stream's buffer may hold; open, ? unread"},
  {"read_until(;)",             twenty_one,   "none",  "limit passed (more than the stream's buffer may hold); closed, 21 unread"},
  {"read_until(;, 100)",        twenty_one,   "none",  "limit passed (more than the stream's buffer may hold); closed, 21 unread"},
  {"read_until(;) keeping",     twenty_one,   "none",  "more than the stream's buffer may hold; open, 21 unread"},
  {"read_until(;)",             "aaaaaaaaaa;aaaaaaaaaaaa", "none", "gives 'aaaaaaaaaa;'; open"},
  {"regex(b+;|a;)",             twenty_one,   "none",  "limit passed (more than the stream's buffer may hold); closed, 21 unread"},
  {"read_until_close",          twenty_one,   "none",  "limit passed (more than the stream's buffer may hold); closed, 21 unread", "Tornado succeeds with cut data"},
  // time and cancellation
  {"read_bytes(10)",            "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"read_into(10)",             "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"read_until(;)",             "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"regex(a;, 6)",              "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"read_until_close",          "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"peek(10)",                  "aaa",        "time",   "the time of the operation is over; open, 3 unread"},
  {"read_bytes(10)",            "aaa",        "cancel", "the read was cancelled; open, 3 unread", "Tornado's read stays pending and swallows its bytes"},
  {"read_into(10)",             "aaa",        "cancel", "the read was cancelled; open, 3 unread"},
  {"read_until_close",          "aaa",        "cancel", "the read was cancelled; open, 3 unread"},
  // a write that waits for a peer that does not read
  {"write",                     "",           "none",   "pending; open"},
  {"write",                     "",           "peer reads", "done; open"},
  {"write",                     "",           "end",    "pending; open", "nobody looks for the end; Tornado drops the write"},
  {"write",                     "",           "end, then peer reads", "done; open"},
  {"write",                     "",           "end, then linger twice", "closed by the peer; closed, 0 unread"},
  {"write",                     "",           "reset",  "connection broken; closed, 0 unread"},
  {"write",                     "",           "close",  "closed here; closed, 0 unread"},
  {"write",                     "",           "abort",  "aborted here; closed, 0 unread"},
  {"write",                     "",           "close after flush", "pending; closed"},
  {"write",                     "",           "close after flush, then peer reads", "done; closed"},
  {"write",                     "",           "time",   "timed out; closed, 0 unread"},
  {"write",                     "",           "a read passes its limit", "limit passed; closed, 1 unread"},
  {"write",                     "",           "shutdown write", "pending; open"},
  {"write",                     "",           "cancel", "pending; open", "cancel_read is not for writes"},
};
// clang-format on

constexpr Duration time_of_operations = 5s;
constexpr std::chrono::milliseconds linger_timeout = 1s;

ReadRequest request_named(std::string_view name) {
  const Timeout time = time_of_operations;
  const std::map<std::string_view, ReadRequest> requests{
      {"read_bytes(0)", ReadBytes{0, false, time}},
      {"read_bytes(10)", ReadBytes{10, false, time}},
      {"read_bytes(10) partial", ReadBytes{10, true, time}},
      {"read_bytes(21)", ReadBytes{21, false, time}},
      {"read_bytes(21) partial", ReadBytes{21, true, time}},
      {"read_into(10)", ReadInto{MutableBytes{10}, false, time}},
      {"read_into(10) partial", ReadInto{MutableBytes{10}, true, time}},
      {"read_into(21)", ReadInto{MutableBytes{21}, false, time}},
      {"read_until(;)", ReadUntil{";", std::nullopt, time}},
      {"read_until(;) keeping", ReadUntil{";", std::nullopt, time, LimitPolicy::keep}},
      {"read_until(;, 6)", ReadUntil{";", 6, time}},
      {"read_until(;, 6) keeping", ReadUntil{";", 6, time, LimitPolicy::keep}},
      {"read_until(;, 100)", ReadUntil{";", 100, time}},
      {"regex(b+;|a;)", ReadUntilRegex{Regex{"b+;|a;"}, std::nullopt, time}},
      {"regex(a;, 6)", ReadUntilRegex{Regex{"a;"}, 6, time}},
      {"regex(a;, 6) keeping", ReadUntilRegex{Regex{"a;"}, 6, time, LimitPolicy::keep}},
      {"read_until_close", ReadUntilClose{time}},
      {"peek(10)", Peek{10, time}},
      {"peek(21)", Peek{21, time}},
  };
  return requests.at(name);
}

class OutcomeMatrix : public SidesTest {
protected:
  OutcomeMatrix() { set_log_level(LogLevel::warning); }
  ~OutcomeMatrix() override { set_log_level(LogLevel::info); }

  enum class Arrival { before_the_read, at_once, byte_by_byte };

  void expect_outcome(const Cell& cell, Arrival arrival) {
    relink({.max_buffer_size = max_buffer_size, .linger_timeout = linger_timeout});
    const std::string_view received = cell.received;
    if (arrival == Arrival::before_the_read)
      arrive(received);
    TestRead read;
    read.start(stream(), request_named(cell.operation));
    if (arrival == Arrival::at_once)
      arrive(received);
    else if (arrival == Arrival::byte_by_byte)
      for (std::size_t i = 0; i < received.size(); ++i)
        arrive(received.substr(i, 1));
    happen(cell.event);
    const std::string expected = cell.outcome;
    const bool waits = expected.starts_with("pending");
    if (!waits)
      await(read);
    run_turns(loop);
    EXPECT_LE(read.answers, 1);
    std::string outcome = "pending";
    if (read.succeeded())
      outcome = "gives '" + read.text() + "'";
    else if (read.answered())
      outcome = told(read.error());
    EXPECT_EQ(expected, outcome + state(read.answered() && !read.succeeded(), expected));
    link = Link{}; // before the read goes, which may be pending
    run_turns(loop);
  }

  void expect_outcome_of_write(const Cell& cell) {
    relink({.max_buffer_size = max_buffer_size, .linger_timeout = linger_timeout});
    TestWrite write;
    const std::string data = pattern(8 * 1024 * 1024);
    ASSERT_FALSE(stream().start_write(Bytes{data}, write, time_of_operations));
    run_turns(loop);
    happen(cell.event);
    const std::string expected = cell.outcome;
    if (expected.starts_with("done"))
      ASSERT_TRUE(run_until([&] {
        peer().receive();
        return write.answered();
      }));
    else if (!expected.starts_with("pending"))
      await(write);
    run_turns(loop);
    EXPECT_LE(write.answers, 1);
    std::string outcome = write.succeeded() ? "done" : "pending";
    if (write.answered() && !write.succeeded())
      outcome = told(write.error());
    outcome = outcome.substr(0, outcome.find(" (")); // EPIPE or ECONNRESET, as the transport has it
    EXPECT_EQ(expected, outcome + state(write.answered() && !write.succeeded(), expected));
    link = Link{};
    pass(1h);
    run_turns(loop);
  }

  void arrive(std::string_view data) {
    static_cast<void>(peer().send_some(data)); // the stream may be closed already
    run_turns(loop, 3);
  }

  void happen(std::string_view event) {
    if (event == "end") {
      peer().end();
    } else if (event == "reset") {
      // A unix socket breaks the connection when it closes with unread bytes.
      static_cast<void>(stream().write("unread"));
      run_turns(loop);
      peer().reset();
    } else if (event == "close") {
      stream().close();
    } else if (event == "abort") {
      stream().abort();
    } else if (event == "time") {
      pass(time_of_operations);
    } else if (event == "cancel") {
      stream().cancel_read();
    } else if (event == "shutdown write") {
      stream().shutdown_write([](const Result<void>&) {});
    } else if (event.starts_with("close after flush")) {
      stream().close_after_flush(1h, [](const Result<void>&) {});
    } else if (event == "end, then linger twice") {
      peer().end();
      run_turns(loop);
      pass(linger_timeout); // the end is noticed, though nobody reads
      pass(linger_timeout); // and the peer had its time to read
    } else if (event == "end, then peer reads") {
      peer().end();
    } else if (event == "a read passes its limit") {
      stream().read(ReadUntil{";", 0}, [](const Result<Bytes>&) {});
      peer().send("a");
    }
    run_turns(loop);
  }

  /// The part of an error's sentence behind what they all have.
  static std::string told(const StreamError& error) {
    const std::string text = to_string(error);
    const std::string_view common = "stream is closed: ";
    return text.starts_with(common) ? text.substr(common.size()) : text;
  }

  std::string state(bool failed, std::string_view expected) {
    std::string text = stream().closed() ? "; closed" : "; open";
    if (failed)
      text += expected.ends_with("? unread") ? ", ? unread"
                                             : ", " + std::to_string(stream().unread_size()) + " unread";
    return text;
  }
};
SQUALL_STREAM_CONTRACT(OutcomeMatrix);

TEST_P(OutcomeMatrix, HoldsHoweverTheBytesArrive) {
  for (const Cell& cell : matrix) {
    SCOPED_TRACE(std::string{cell.operation} + ", received '" + cell.received + "', event: " + cell.event +
                 (*cell.note != '\0' ? std::string{" ("} + cell.note + ")" : ""));
    if (std::string_view{cell.event} == "reset" && !shows_resets() &&
        std::string_view{cell.operation} != "write")
      continue;
    if (std::string_view{cell.operation} == "write") {
      expect_outcome_of_write(cell);
      continue;
    }
    for (const auto& [arrival, text] :
         {std::pair{Arrival::before_the_read, "before the read"}, std::pair{Arrival::at_once, "at once"},
          std::pair{Arrival::byte_by_byte, "byte by byte"}}) {
      SCOPED_TRACE(std::string{"the bytes arrive "} + text);
      if (arrival == Arrival::byte_by_byte && std::string_view{cell.operation}.ends_with("partial"))
        continue; // a partial read is the one whose value depends on that
      expect_outcome(cell, arrival);
    }
  }
}

} // namespace

} // namespace squall
