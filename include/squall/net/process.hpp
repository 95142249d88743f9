// SPDX-License-Identifier: BSD-3-Clause
//
// process.hpp: one program as several processes that share listening sockets, as Tornado's tornado.process.
//
//     auto sockets = squall::bind_sockets(8888);
//     squall::fork_processes();          // returns in each child
//     server.add_sockets(sockets);
//
// The calling process becomes the parent: it serves nobody, starts a child anew that ends abnormally, and ends
// when the last child has ended.
//
// Threads    fork_processes belongs to a process with one thread: a fork would lose the others, with the locks that
//            they hold. task_id and cpu_count may be called by any thread.
// Ownership  Every descriptor that is open stays open in the parent and in each child. What the parent
//            owns in memory each child has a copy of. Before SIGTERM or SIGINT go on to the children, and before it
//            ends, the parent closes each ListeningSocket, so that nobody waits there for a child that is gone, and
//            removes the files of its unix sockets.
// Signals    SIGTERM, SIGINT and SIGHUP to the parent go on to every child. From the first SIGTERM or SIGINT on no
//            child is started anew. A child that SIGHUP ends is not replaced either, as it is nobody's wish then that
//            it lives; one that handles it, to read its configuration again, goes on. SIGINT and SIGHUP that are
//            ignored where fork_processes is called (nohup(1), the background of a shell) are left so; SIGTERM is set
//            to its default, and each child has the three unblocked where the program was started with them blocked.
//            A child that serves with TCPServer::run or serve and has not ended a second after its drain_timeout and
//            stop_timeout is killed (child_killed in the log). One that handles the signals itself may take as long as
//            it likes.
// Lifetime   When the parent dies, however it does, each child gets SIGTERM. Linux forgets that when the child
//            changes its user or group (prctl(2), PR_SET_PDEATHSIG): drop privileges before the fork.
#pragma once

#include <optional>

namespace squall {

/// The processors that this process may use (sched_getaffinity(2)), at least 1.
[[nodiscard]] int cpu_count() noexcept;

/// Forks `num_processes` children; 0 and less: cpu_count() of them. 1 forks, too. What stdio and std::cout hold is
/// written first, and rand(3) begins anew in each child.
///
/// A child that exits with status 0 is done. One that exits with another, or that a signal ends, is logged and
/// replaced, with the same task id: at once, but when it ended before within the last ten minutes after 10 ms, which
/// double with each such end up to a second. When a child has been replaced `max_restarts` times within ten minutes,
/// its next abnormal end makes the parent give up: the other children get SIGTERM, and SIGKILL as above, or after ten
/// seconds.
///
/// @returns in each child its task id, from 0. The parent stays inside and ends as by std::exit when its children have
///          ended: with status 0, but with 1 when a child ended abnormally after SIGTERM or SIGINT (death of the signal
///          itself counts as normal), and with 70 when one did not end in time and was ended by force
/// @throws std::logic_error, and nothing was forked, when the process has other threads (those of an actor system, of a
///         TCPServer that listens) or an EventLoop, or when it is such a child itself
/// @throws std::runtime_error in the parent when it gave up, naming the child, and all children have ended
/// @throws std::system_error (fork(2)) in the parent when the first children cannot be made; those that were have ended
/// @throws std::invalid_argument for a negative `max_restarts`
int fork_processes(int num_processes = 0, int max_restarts = 100);

/// How many children the parent keeps, in each of them; 1 in a process that is no child of fork_processes.
[[nodiscard]] int process_count() noexcept;

/// In a child of fork_processes what that returned; nothing elsewhere, also in the parent.
[[nodiscard]] std::optional<int> task_id() noexcept;

} // namespace squall
