// SPDX-License-Identifier: BSD-3-Clause
//
// log.hpp: what Squall has to say, and where it goes.
//
// Squall logs few things: a handler that failed, an unsatisfiable read, a listener that had to pause. One
// event is one line. Each event has a fixed name ("handler_failed") under which it is rate-limited, so that a
// peer cannot fill a disk (rule of CVE-2025-47287), and fields whose bytes may come from a peer.
//
// A log costs no service: whatever becomes of its lines, no thread waits for who reads them, and no signal ends the
// process. An event that cannot be handed on is dropped and counted; the next one that can be is preceded by
// log_lines_dropped, which tells the count.
//
// Threads    Everything here may be called from any thread; the sink is called by one thread at a time, with its own
//            events and those that other threads leave to it meanwhile: up to 256 wait, further ones are dropped. So a
//            sink that is slow holds up one thread. The default sink holds up none: it writes to standard error what
//            there is room for, and drops lines where its reader is slow or gone, or the descriptor closed.
// Order      Events of one thread reach the sink in their order. Lines of up to 4096 bytes of several processes that
//            share a pipe stay whole.
// Lifetime   The settings are the process's. A sink is kept until it is replaced.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace squall {

enum class LogLevel : std::uint8_t { debug, info, warning, error, off };
enum class LogFormat : std::uint8_t { text, json };

/// Names and values. A name is fixed and snake_case, and none of time, level, event, message and suppressed,
/// which the json form has already. A value may hold bytes of a peer, unescaped.
using LogFields = std::vector<std::pair<std::string_view, std::string>>;

/// One event, as the sink gets it. The views live until the sink returns.
struct LogEvent {
  LogLevel level;
  std::string_view name;    ///< fixed, snake_case: "handler_failed"
  std::string_view message; ///< one sentence for a person; never bytes of a peer
  const LogFields& fields;
  std::uint64_t suppressed; ///< events of this name that the rate limit swallowed since the last one shown
};

using LogSink = std::function<void(const LogEvent&)>;

/// Events below `level` cost one comparison and go nowhere; LogLevel::off stops all. Default: info.
void set_log_level(LogLevel level) noexcept;
[[nodiscard]] LogLevel log_level() noexcept;

/// Form of the lines that the default sink writes to standard error. Default: text.
void set_log_format(LogFormat format) noexcept;
[[nodiscard]] LogFormat log_format() noexcept;

/// Replaces the sink; an empty one brings the default back. When it returns the old one is not running, nor
/// will it again: it waits for a call of the old sink in another thread. A sink may replace itself. An
/// exception from a sink is swallowed, its event counts as dropped, and an event that a sink logs is not seen: logging
/// never changes what a server does.
void set_log_sink(LogSink sink);

/// At most `burst` events of one name at once and `per_second` in the long run pass to the sink. Default: 10
/// a second, 20 at once. per_second 0, less, infinite or NaN lets everything pass; burst counts as 1 at
/// least. Each call lets a whole burst pass anew.
void set_log_rate(double per_second, double burst);

/// True where an event of `level` would be looked at: guard expensive fields with it. Never true for off.
[[nodiscard]] bool log_enabled(LogLevel level) noexcept;

/// Hands an event to the sink, unless its level or its rate forbid it. The first 256 names have a rate of
/// their own, all others share one.
void log_event(LogLevel level, std::string_view name, std::string_view message,
               const LogFields& fields = {}) noexcept;

/// `bytes` as text for one line: control characters, double quotes, backslashes and bytes outside ASCII as
/// \xNN or \n and its kin, cut at `max_size` input bytes with "..." behind.
[[nodiscard]] std::string escape_bytes(std::string_view bytes, std::size_t max_size = 128);

/// The line that the default sink would write, with its end of line; printable ASCII, whatever it is made of.
///
/// The text form, values as escape_bytes gives them:
///   2026-11-20T12:00:00.123Z warning handler_failed: the handler threw peer="127.0.0.1:4711" suppressed=3
///
/// The json form is one object with time, level, event, message, the fields, and suppressed where it is not
/// 0. It cuts values at 128 bytes as well; a byte that is not valid UTF-8 becomes the four characters \xNN.
[[nodiscard]] std::string format_log_event(const LogEvent& event, LogFormat format,
                                           std::chrono::system_clock::time_point time);

} // namespace squall
