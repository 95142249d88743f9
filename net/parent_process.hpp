// SPDX-License-Identifier: BSD-3-Clause
//
// parent_process.hpp: what a child of fork_processes tells its parent.
#pragma once

#include <chrono>

namespace squall {

/// How long this process may take to end after SIGTERM or SIGINT: the parent kills it a second later. A child that says nothing
/// may take as long as it likes. Does nothing in a process that is no child of fork_processes.
void tell_parent_how_long_an_end_takes(std::chrono::milliseconds longest) noexcept;

} // namespace squall
