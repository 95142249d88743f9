#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# inherited_state.py: what a shell, a service manager or a parent in another language leaves behind (signals that are blocked or
# ignored, standard streams that are missing) changes nothing.
import itertools
import os
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

import support

ENDING = signal.SIGTERM, signal.SIGINT
ALL = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


class Server:
    """An example on a unix socket, or on what it prints, started with what `leave` leaves behind."""

    def __init__(self, example, leave, processes=1, arguments=None):
        self.example = example
        self.leave = leave
        self.processes = processes
        self.arguments = arguments
        self.address = None

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="squall-test-")
        if self.arguments is None:
            self.address = os.path.join(self.folder.name, "socket")
            config = os.path.join(self.folder.name, "config.json")
            with open(config, "w", encoding="ascii") as file:
                support.json.dump({"listen": [{"unix": self.address}], "io_threads": 1, "processes": self.processes,
                                   "drain_timeout": "100ms"}, file)
            self.arguments = ["--config", config]
        self.process = subprocess.Popen([support.example_path(self.example), *self.arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, preexec_fn=self.prepare)
        if self.address is None:
            match = support.LISTENING_LINE.fullmatch(support.read_line(self.process.stdout).decode())
            self.address = (match[1], int(match[2]))
        support.wait_until(self.serves, "the server serves")
        return self

    def prepare(self):
        support.die_with_parent()
        self.leave()

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(support.DEADLINE)
        self.process.stdout.close()
        self.folder.cleanup()

    def serves(self):
        try:
            with support.connect(self.address) as client:
                client.sendall(b"hello\n")
                return support.receive_to_end_of_line(client).endswith(b"hello\n")
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def stop(self, number):
        self.process.send_signal(number)
        return self.process.wait(support.DEADLINE)

    def processes_of(self):
        return [self.process.pid, *children_of(self.process.pid)]


def ways_to_start(leave):
    yield Server("echo_server", leave)
    yield Server("actor_echo", leave)
    yield Server("echo_server", leave, processes=2)
    yield Server("minimal_server", leave, arguments=[])
    yield Server("bind_start", leave, arguments=["2"])
    yield Server("fork_sockets", leave, arguments=[])


def block(numbers):
    return lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers)


def ignore(numbers):
    def leave():
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
    return leave


class InheritedStateTest(unittest.TestCase):
    def assert_ends(self, leave, number):
        for server in ways_to_start(leave):
            with self.subTest(server.example, processes=server.processes, number=number.name), server:
                support.wait_until(lambda: all(map(handles_or_waits, server.processes_of())), "signals are expected")
                children = children_of(server.process.pid)
                self.assertEqual(server.stop(number), 0)
                for child in children:
                    support.wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the child has ended")

    def test_blocked_signals(self):
        for number in ENDING:
            self.assert_ends(block({signal.SIGTERM, signal.SIGINT, signal.SIGHUP}), number)
        self.assert_ends(block(ALL), signal.SIGTERM)

    def test_ignored_signals(self):
        self.assert_ends(ignore({signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE}), signal.SIGTERM)
        self.assert_ends(ignore({signal.SIGCHLD}), signal.SIGINT)

    def test_an_ignored_interrupt_stays_ignored(self):
        for server in ways_to_start(ignore({signal.SIGINT})):
            with self.subTest(server.example, processes=server.processes), server:
                support.wait_until(lambda: all(map(handles_or_waits, server.processes_of())), "signals are expected")
                for pid in server.processes_of():
                    os.kill(pid, signal.SIGINT)
                for _ in range(5):
                    self.assertTrue(server.serves())
                self.assertEqual(server.stop(signal.SIGTERM), 0)

    def test_children_are_replaced_where_their_end_was_ignored(self):
        with Server("echo_server", ignore({signal.SIGCHLD}), processes=2) as server:
            for _ in range(3):
                victim = children_of(server.process.pid)[0]
                os.kill(victim, signal.SIGKILL)
                support.wait_until(lambda: victim not in (now := children_of(server.process.pid)) and len(now) == 2,
                                   "the child is replaced")
                self.assertTrue(server.serves())
            self.assertEqual(server.stop(signal.SIGTERM), 0)

    def test_a_reload_reaches_the_children_where_the_hangup_was_ignored(self):
        with tempfile.TemporaryDirectory() as folder:
            support.make_certificates(folder)
            for number, leave in (1, ignore({signal.SIGHUP})), (2, ignore({signal.SIGHUP})), (2, block({signal.SIGHUP})):
                with self.subTest(processes=number):
                    reading, writing = os.pipe()
                    log = self.enterContext(open(reading, "rb", buffering=0))
                    config = os.path.join(folder, "config.json")
                    certificate, key = (os.path.join(folder, f"server.{end}") for end in ("pem", "key"))
                    self.assertTrue(os.path.exists(certificate) and os.path.exists(key), os.listdir(folder))
                    with open(config, "w", encoding="ascii") as file:
                        support.json.dump({"listen": [{"address": "127.0.0.1", "port": 0}], "processes": number,
                                           "tls": {"certificate": certificate, "key": key}}, file)
                    process = subprocess.Popen([support.example_path("echo_server"), "--config", config],
                                               stdout=subprocess.PIPE, stderr=writing, bufsize=0,
                                               preexec_fn=lambda: (support.die_with_parent(), leave()))
                    os.close(writing)
                    try:
                        self.assertRegex(support.read_line(process.stdout), b"listening")
                        expected = number if number > 1 else 0
                        support.wait_until(lambda: len(children_of(process.pid)) == expected, "it has its children")
                        support.wait_until(lambda: all(catches(pid, signal.SIGHUP) for pid in
                                                       children_of(process.pid) or [process.pid]), "they are ready")
                        os.rename(certificate, certificate + ".away")  # so that a reload has something to say
                        process.send_signal(signal.SIGHUP)
                        for _ in range(number):
                            self.assertIn(b"tls_reload_failed", support.read_line(log))
                        process.terminate()
                        self.assertEqual(process.wait(support.DEADLINE), 0)
                        os.rename(certificate + ".away", certificate)
                    finally:
                        process.kill()
                        process.wait(support.DEADLINE)
                        process.stdout.close()

    # -- standard streams

    def test_missing_standard_streams(self):
        for missing in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
            def leave(missing=missing):
                for descriptor in missing:
                    os.close(descriptor)
            for processes in 1, 2:
                with self.subTest(missing), Server("echo_server", leave, processes) as server, \
                        support.connect(server.address) as client:
                    client.sendall(b"hello\n")
                    self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
                    for pid in server.processes_of():
                        for descriptor in missing:
                            status = os.stat(f"/proc/{pid}/fd/{descriptor}")
                            self.assertTrue(stat.S_ISCHR(status.st_mode), oct(status.st_mode))  # /dev/null
                    self.assertEqual(server.stop(signal.SIGTERM), 0)


def status_set(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1], 16) for line in file if line.startswith(key))


def catches(pid, number):
    return status_set(pid, "SigCgt:") >> (number - 1) & 1 == 1


def handles_or_waits(pid):
    """It catches SIGTERM, or is a parent, which waits for it."""
    return catches(pid, signal.SIGTERM) or len(children_of(pid)) == 2


if __name__ == "__main__":
    support.main()
