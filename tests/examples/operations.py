#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# operations.py: a server that is told what to do while it runs, one that an actor owns, and what servers listen on.
import os
import re
import socket
import subprocess
import unittest

import support

LISTEN_STATE = "0A"  # of /proc/net/tcp


class Program:
    """An example that obeys its standard input."""

    def __init__(self, test, example, *arguments):
        self.process = subprocess.Popen([support.example_path(example), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        bufsize=0, preexec_fn=support.die_with_parent)
        test.addCleanup(self.process.wait, support.DEADLINE)
        for pipe in self.process.stdin, self.process.stdout:
            test.addCleanup(pipe.close)
        test.addCleanup(self.process.kill)
        found = support.LISTENING_LINE.fullmatch(self.line() + "\n")
        self.address = (found[1], int(found[2]))

    def line(self):
        return support.read_line(self.process.stdout).decode().removesuffix("\n")

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")

    def ask(self, command):
        self.tell(command)
        return self.line()


class Operations(unittest.TestCase):
    def setUp(self):
        self.program = Program(self, "operations")

    def connect(self):
        return self.enterContext(support.connect(self.program.address))

    def served(self):
        client = self.connect()
        client.sendall(b"hello\n")
        self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
        return client

    def test_lists_connections_and_closes_one(self):
        clients = [self.served(), self.served()]
        self.program.tell("list")
        for number, client in enumerate(clients, 1):
            host, port = client.getsockname()
            self.assertEqual(self.program.line(),
                             f'{number} {host}:{port} 6 bytes in, 6 out: read_until "\\n"')
        self.assertEqual(self.program.line(), "2 open, 0 rejected")
        self.assertEqual(self.program.ask("close 1"), "closed")
        self.program.line()
        self.assertEqual(support.receive_to_end(clients[0]), b"")
        self.assertEqual(self.program.ask("close 1"), "there is no such connection")
        self.assertEqual(self.program.line(), "1 open, 0 rejected")

    def test_changes_its_limit(self):
        self.served()
        self.assertEqual(self.program.ask("limit 1"), "1 open, 0 rejected")
        self.assertEqual(support.receive_to_end(self.connect()), b"busy, try again later\n")
        self.assertEqual(self.program.ask("limit 2"), "1 open, 1 rejected")
        self.served()

    def test_pauses_and_resumes(self):
        self.assertEqual(self.program.ask("pause"), "0 open, 0 rejected, paused")
        client = self.connect()
        client.sendall(b"hello\n")
        self.assertEqual(self.program.ask("nothing"), "0 open, 0 rejected, paused")
        self.program.ask("resume")
        self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_drains(self):
        idle = self.served()
        waiting = self.served()
        waiting.sendall(b"wait\n")
        busy = self.served()
        busy.sendall(b"half")
        self.program.tell("list")
        rows = [self.program.line() for _ in range(3)]
        self.program.line()
        while "10 bytes in" not in rows[2] or "11 bytes in" not in rows[1]:
            self.program.tell("list")
            rows = [self.program.line() for _ in range(3)]
            self.program.line()
        self.program.tell("drain 3600")
        self.assertEqual(support.receive_to_end(waiting), b"the server ends\n")
        self.assertEqual(support.receive_to_end(idle), b"")
        busy.sendall(b" a line\n")
        self.assertEqual(support.receive_to_end(busy), b"half a line\n")
        self.assertEqual(self.program.line(), "1 finished, 2 idle, 0 cut")
        self.assertEqual(self.program.process.wait(support.DEADLINE), 0)

    def test_drains_with_a_deadline(self):
        client = self.served()
        client.sendall(b"half")
        self.program.tell("list")
        while "10 bytes in" not in self.program.line():
            self.program.line()
            self.program.tell("list")
        self.program.line()
        self.assertEqual(self.program.ask("drain 0"), "0 finished, 0 idle, 1 cut")
        support.wait_for_end(client)


class Supervision(unittest.TestCase):
    def test_the_listener_ends_with_its_owner_and_connections_live_on(self):
        program = Program(self, "supervised_listener")
        with support.connect(program.address) as client:
            client.sendall(b"hello\n")
            self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
            self.assertEqual(program.ask(""), "the service has ended")
            support.wait_until(lambda: self.refuses(program.address), "the listener has ended")
            client.sendall(b"hello\n")
            self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
            program.tell("")
            self.assertEqual(support.receive_to_end(client), b"")
        self.assertEqual(program.process.wait(support.DEADLINE), 0)

    def test_a_listener_that_dies_is_replaced(self):
        program = Program(self, "supervised_listener", "supervise")
        with support.connect(program.address) as first:
            for _ in range(3):
                self.assertEqual(program.ask("kill"), "there is another listener")
                with support.connect(program.address) as client:
                    for one in first, client:
                        one.sendall(b"hello\n")
                        self.assertEqual(support.receive_exactly(one, 6), b"hello\n")
            self.assertEqual(program.ask(""), "the service has ended")
            program.tell("")
            self.assertEqual(support.receive_to_end(first), b"")
        self.assertEqual(program.process.wait(support.DEADLINE), 0)

    def refuses(self, address):
        try:
            socket.create_connection(address).close()
        except (ConnectionRefusedError, ConnectionResetError):
            return True
        return False


def listening_ports(pid):
    """Of the process, over TCP (proc(5))."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            continue
        if found:
            inodes.add(found[1])
    ports = []
    for table in "tcp", "tcp6", "udp", "udp6":
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
                rows = [line.split() for line in file][1:]
        except FileNotFoundError:  # no IPv6
            continue
        ports += [int(row[1].rsplit(":", 1)[1], 16) for row in rows
                  if row[9] in inodes and (row[3] == LISTEN_STATE or table.startswith("udp"))]
    return sorted(ports)


@support.for_each_example
class RuleC20:
    """A server listens where it was told to, and nowhere else."""

    def test_listens_on_its_sockets_only(self):
        anywhere = {"address": "127.0.0.1", "port": 0}
        with support.Server(self.example, {"listen": [anywhere, anywhere]}) as server:
            expected = sorted(port for _, port in server.addresses)
            self.assertEqual(listening_ports(server.pid), expected)
            with support.connect(server.address) as client:
                client.sendall(b"hello\n")
                self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
                self.assertEqual(listening_ports(server.pid), expected)


class RuleC20OfAListener(unittest.TestCase):
    def test_an_embedded_listener_opens_nothing_else(self):
        program = Program(self, "supervised_listener")
        self.assertEqual(listening_ports(program.process.pid), [program.address[1]])


if __name__ == "__main__":
    support.main()
