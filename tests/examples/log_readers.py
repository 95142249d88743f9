#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# log_readers.py: whoever reads what a server logs, reads slowly, or does not, the server serves and ends.
import fcntl
import os
import re
import select
import signal
import socket
import subprocess
import termios
import tty
import unittest

import support

LIMIT = 1024  # bytes of a line
DROPPED = re.compile(r'log_lines_dropped: .* count="(\d+)"')


def fill(descriptor):
    """Takes all the room of a pipe or a socket."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in 4096, 1:
        try:
            while True:
                os.write(descriptor, b"." * (size - 1) + b"\n")
        except BlockingIOError:
            pass
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags)


def read_now(descriptor):
    """What is there to read."""
    data = b""
    while select.select([descriptor], [], [], 0)[0] and (chunk := os.read(descriptor, 65536)):
        data += chunk
    return data.decode(errors="replace")


class LogReadersTest(unittest.TestCase):
    def config(self, processes):
        return {"io_threads": 1, "processes": processes, "stream": {"max_buffer_size": "1KiB"}, "drain_timeout": "100ms"}

    def provoke_line(self, server):
        """A line that is too long is logged, and its connection ends."""
        with support.connect(server.address) as client:
            client.sendall(b"x" * (4 * LIMIT))
            support.wait_for_end(client)

    def assert_serves(self, server):
        with support.connect(server.address) as client:
            client.sendall(b"hello\n")
            self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def pipe(self):
        reading, writing = os.pipe()
        self.addCleanup(self.close, reading)
        self.addCleanup(self.close, writing)
        return reading, writing

    @staticmethod
    def close(descriptor):
        try:
            os.close(descriptor)
        except OSError:
            pass

    def use(self, stderr, processes=1):
        """A server whose lines go to `stderr`, through a dozen of them, to its end."""
        for example in support.EXAMPLES:
            with self.subTest(example), support.Server(example, self.config(processes), stderr=stderr) as server:
                for _ in range(12):
                    self.provoke_line(server)
                    self.assert_serves(server)
                server.send_signal(signal.SIGHUP)  # a reload has something to say, too
                self.assert_serves(server)
                self.assertEqual(server.stop(), 0)

    def test_a_pipe_that_nobody_reads(self):
        for processes in 1, 2:
            reading, writing = self.pipe()
            os.close(reading)
            self.use(writing, processes)

    def test_a_pipe_that_is_full(self):
        for processes in 1, 2:
            _, writing = self.pipe()
            fill(writing)
            self.use(writing, processes)

    def test_a_socket_that_is_full(self):
        reader, writer = socket.socketpair()
        with reader, writer:
            fill(writer.fileno())
            self.use(writer.fileno())

    def test_a_terminal_that_is_stopped(self):
        master, terminal = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, terminal)
        tty.setraw(terminal)
        termios.tcflow(terminal, termios.TCOOFF)
        self.use(terminal)

    def test_a_disk_that_is_full(self):
        with open("/dev/full", "wb") as full:
            self.use(full)

    def test_a_parent_lives_on_when_a_child_dies_and_nobody_reads(self):
        for is_full in False, True:
            reading, writing = self.pipe()
            if is_full:
                fill(writing)
            else:
                os.close(reading)
            with support.Server("echo_server", self.config(2), stderr=writing) as server:
                self.children_of(server)
                for _ in range(3):
                    victim = self.children_of(server)[0]
                    os.kill(victim, signal.SIGKILL)
                    support.wait_until(lambda: victim not in self.children_of(server), "the child is replaced")
                    self.assert_serves(server)
                self.assertEqual(server.stop(), 0)

    def children_of(self, server):
        children = []

        def both():
            with open(f"/proc/{server.pid}/task/{server.pid}/children", encoding="ascii") as file:
                children[:] = file.read().split()
            return len(children) == 2
        support.wait_until(both, "there are two children")
        return [int(child) for child in children]

    def test_dropped_lines_are_told_when_there_is_room(self):
        for stdio in "pipe", "socket":
            if stdio == "pipe":
                reading, writing = self.pipe()
            else:
                ends = [self.enterContext(end) for end in socket.socketpair()]
                reading, writing = ends[0].fileno(), ends[1].fileno()
            with support.Server("echo_server", self.config(1), stderr=writing) as server:
                fill(writing)
                for _ in range(3):
                    self.provoke_line(server)
                read_now(reading)
                self.provoke_line(server)
                support.wait_until(lambda: select.select([reading], [], [], 0)[0], "there are lines")
                lines = read_now(reading).splitlines()
                self.assertEqual(DROPPED.search(lines[0])[1], "3", lines)
                self.assertIn("unsatisfiable_read", lines[1])

    def test_lines_of_several_processes_stay_whole(self):
        reading, writing = self.pipe()
        with support.Server("echo_server", {**self.config(2), "log": {"format": "text"}}, stderr=writing) as server:
            for _ in range(30):
                self.provoke_line(server)
            self.assertEqual(server.stop(), 0)
        for line in read_now(reading).splitlines():
            self.assertRegex(line, r"\A\d{4}-\d\d-\d\dT[0-9:.]+Z \w+ \w+: [^\n]*\Z")

    # -- where it listens, and why it does not

    def start(self, *arguments, **options):
        process = subprocess.Popen([support.example_path("echo_server"), *arguments], stdin=subprocess.DEVNULL,
                                   preexec_fn=support.die_with_parent, **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        process.kill()
        process.wait(support.DEADLINE)

    def test_standard_output_that_nobody_reads(self):
        for is_full in False, True:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
            reading, writing = self.pipe()
            if is_full:
                fill(writing)
            else:
                os.close(reading)
            path = self.enterContext(support.tempfile.NamedTemporaryFile("w", suffix=".json"))
            support.json.dump({"listen": [{"address": "127.0.0.1", "port": port}]}, path)
            path.flush()
            process = self.start("--config", path.name, stdout=writing)
            support.wait_until(lambda: self.answers(port), "it listens")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(support.DEADLINE), 0)

    @staticmethod
    def answers(port):
        try:
            with support.connect(("127.0.0.1", port)) as client:
                client.sendall(b"hello\n")
                return support.receive_exactly(client, 6) == b"hello\n"
        except ConnectionRefusedError:
            return False

    def test_a_start_that_fails_and_nobody_who_reads_why(self):
        for is_full in False, True:
            for arguments, status in (["--config", "/nowhere"], 2), (["--what"], 2), (["more"], 2):
                reading, writing = self.pipe()
                if is_full:
                    fill(writing)
                else:
                    os.close(reading)
                self.assertEqual(self.start(*arguments, stderr=writing).wait(support.DEADLINE), status)


if __name__ == "__main__":
    support.main()
