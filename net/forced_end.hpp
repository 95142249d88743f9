// SPDX-License-Identifier: BSD-3-Clause
//
// forced_end.hpp: the end of a process that does not come to it.
#pragma once

namespace squall {

/// Where the end of a server has come to, for the line of end_by_force; a literal.
void set_end_stage(const char* stage) noexcept;

/// Says in one line on standard error what has not ended (net/unended.hpp), whatever the sink of the log is, and ends the process
/// with status_ended_by_force: no destructor runs, no buffer is flushed. For a signal handler: it takes no lock and no memory.
[[noreturn]] void end_by_force() noexcept;

} // namespace squall
