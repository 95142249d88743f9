#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# processes.py: servers of several processes: how they end, and what becomes of children that die; a server that starts other programs.
import os
import signal
import socket
import subprocess
import tempfile
import unittest

import support

CONFIG = {"processes": 2, "io_threads": 1}


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return sorted(int(child) for child in file.read().split())


def is_gone(pid):
    """It has ended; a zombie counts."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


class Program:
    """An example without a configuration, that prints where it listens."""

    def __init__(self, example, *arguments):
        self.command = [support.example_path(example), *arguments]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, bufsize=0, preexec_fn=support.die_with_parent)
        match = support.LISTENING_LINE.fullmatch(support.read_line(self.process.stdout).decode())
        self.address = (match[1], int(match[2]))
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(support.DEADLINE)
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def pid(self):
        return self.process.pid

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(support.DEADLINE)

    def errors(self):
        """Once it has ended, and its children with it."""
        return self.process.stderr.read().decode()


class ProcessesTest(unittest.TestCase):
    def children(self, server, count=2):
        support.wait_until(lambda: len(children_of(server.pid)) == count, f"there are {count} children")
        return children_of(server.pid)

    def ask(self, server, question=b"hello\n"):
        with support.connect(server.address) as client:
            client.sendall(question)
            return self.line_of(client)

    @staticmethod
    def takes_connections(address):
        try:
            support.connect(address).close()
            return True
        except ConnectionRefusedError:
            return False

    @staticmethod
    def line_of(client):
        line = b""
        while not line.endswith(b"\n"):
            line += support.receive_exactly(client, 1)
        return line

    def start_each(self):
        yield support.Server("echo_server", CONFIG)
        yield Program("bind_start", "2")
        yield Program("fork_sockets")

    def test_children_serve_and_end_by_a_signal_to_the_parent(self):
        for number in signal.SIGTERM, signal.SIGINT:
            for server in self.start_each():
                with self.subTest(number.name), server:
                    children = self.children(server)
                    self.assertRegex(self.ask(server), rb"\A([01] )?hello\n\Z")
                    self.assertEqual(server.stop(number), 0)
                    for child in children:
                        self.assertTrue(is_gone(child))

    def test_each_process_serves(self):
        with Program("fork_sockets") as server:
            children = self.children(server)
            for stopped, serving in (0, 1), (1, 0):
                os.kill(children[stopped], signal.SIGSTOP)
                support.wait_until(lambda: state_of(children[stopped]) == "T", "a child has stopped")
                # One that the stopped child was woken for before it stopped waits for it; the next is the other's.
                self.assertTrue(any(self.answers(server, serving) for _ in range(10)))
                os.kill(children[stopped], signal.SIGCONT)
            self.assertEqual(server.stop(), 0)

    def answers(self, server, task_id):
        with support.connect(server.address) as client:
            client.sendall(b"hello\n")
            return self.line_of(client) == b"%d hello\n" % task_id

    def test_a_child_that_dies_is_replaced(self):
        for server in self.start_each():
            with server:
                before = self.children(server)
                os.kill(before[0], signal.SIGKILL)
                support.wait_until(lambda: len(children_of(server.pid)) == 2 and before[0] not in children_of(server.pid),
                                   "the child is replaced")
                self.assertIn(before[1], children_of(server.pid))
                self.assertRegex(self.ask(server), rb"hello\n\Z")
                self.assertEqual(server.stop(), 0)

    def test_giving_up_ends_all_with_a_status(self):
        with Program("bind_start", "2", "0") as server:
            children = self.children(server)
            os.kill(children[0], signal.SIGKILL)
            self.assertEqual(server.process.wait(support.DEADLINE), 1)
            self.assertIn("max_restarts", server.errors())
            self.assertTrue(all(map(is_gone, children)))
        with support.Server("echo_server", {**CONFIG, "max_restarts": 0}) as server:
            children = self.children(server)
            os.kill(children[1], signal.SIGKILL)
            self.assertEqual(server.wait(), 1)
            self.assertRegex(server.log(), r"echo_server: child [01] ended abnormally again \(signal 9 \(Killed\)\)")
            self.assertTrue(all(map(is_gone, children)))
            server.process.returncode = 0  # as expected: the end of the block must not mind

    def test_nobody_waits_for_children_that_drain(self):
        with support.Server("echo_server", {**CONFIG, "drain_timeout": "60s"}) as server:
            self.children(server)
            with support.connect(server.address) as client:
                client.sendall(b"the first half")
                server.send_signal(signal.SIGTERM)
                support.wait_until(lambda: not self.takes_connections(server.address), "connections are refused")
                client.sendall(b" and the second\n")
                self.assertEqual(self.line_of(client), b"the first half and the second\n")
            self.assertEqual(server.wait(), 0)

    def test_the_file_of_a_unix_socket_goes_with_its_processes(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with support.Server("echo_server", {**CONFIG, "listen": [{"unix": path}]}) as server:
                for child in self.children(server):
                    os.kill(child, signal.SIGKILL)  # a child that ends leaves it to the others
                support.wait_until(lambda: len(children_of(server.pid)) == 2, "the children are replaced")
                self.assertEqual(self.ask(server), b"hello\n")
                self.assertEqual(server.stop(), 0)
                self.assertEqual(os.listdir(folder), [])

    def test_a_killed_parent_leaves_no_children(self):
        for example, arguments in ("bind_start", ["3"]), ("fork_sockets", []):
            with Program(example, *arguments) as server:
                children = self.children(server, 3 if arguments else 2)
                self.assertRegex(self.ask(server), rb"hello\n\Z")
                server.process.kill()
                server.process.wait(support.DEADLINE)
                support.wait_until(lambda: all(map(is_gone, children)), "the children are gone")
                # The first thread of a process may be a zombie while the others still hold its sockets.
                support.wait_until(lambda: not self.takes_connections(server.address), "connections are refused")

    def test_a_signal_right_after_the_listening_line(self):
        for number in [signal.SIGTERM, signal.SIGINT] * 5:
            with support.Server("echo_server", CONFIG) as server:
                self.assertEqual(server.stop(number), 0)

    def test_one_process_by_default(self):
        with support.Server("echo_server") as server:
            self.ask(server)
            self.assertEqual(children_of(server.pid), [])
        with Program("bind_start", "1") as server:
            self.assertEqual(self.ask(server), b"-1 hello\n")
            self.assertEqual(children_of(server.pid), [])
            support.wait_until(lambda: catches(server.pid, signal.SIGTERM), "run() has its handlers")
            self.assertEqual(server.stop(), 0)

    def test_one_process_for_each_core(self):
        with support.Server("echo_server", {"processes": 0}) as server:
            self.children(server, len(os.sched_getaffinity(0)))

    def test_processes_share_the_cores(self):
        cores = len(os.sched_getaffinity(0))
        if cores < 2:
            self.skipTest("there is one core only")

        with support.Server("echo_server", {"processes": cores, "io_threads": 0}) as server:
            children = self.children(server, cores)
            support.wait_until(lambda: all(io_thread_count(child) > 0 for child in children), "there are I/O threads")
            self.ask(server)
            self.assertEqual([io_thread_count(child) for child in children], [1] * cores)

    def test_another_program_does_the_work(self):
        with Program("subprocess_server") as server:
            for _ in range(20):
                with support.connect(server.address) as client:
                    client.sendall(b"pear\napple\nfig\n" * 1000)
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(support.receive_to_end(client), b"apple\n" * 1000 + b"fig\n" * 1000 + b"pear\n" * 1000)
            support.wait_until(lambda: children_of(server.pid) == [], "no zombie is left")
            support.wait_until(lambda: catches(server.pid, signal.SIGTERM), "run() has its handlers")
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.errors(), "")


def io_thread_count(pid):
    count = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm", encoding="ascii") as file:
            count += file.read() == "squall-io\n"
    return count


def catches(pid, number):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
    return caught >> (number - 1) & 1


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


if __name__ == "__main__":
    support.main()
