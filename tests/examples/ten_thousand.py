#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# ten_thousand.py: 10,000 connections at once, and not a line lost or given to another.
import resource
import select

import support

CONNECTION_COUNT = 10_000
BATCH_SIZE = 500  # fits into the backlog
DESCRIPTORS_NEEDED = CONNECTION_COUNT + 200
USUAL_SOFT_LIMIT = 1024


def raise_descriptor_limit():
    """For the clients; the server raises its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS_NEEDED:
        raise OSError(f"{CONNECTION_COUNT} connections need {DESCRIPTORS_NEEDED} descriptors in a process, but the "
                      f"hard limit is {hard}: raise it (`ulimit -Hn`, `docker run --ulimit nofile=20000`)")
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS_NEEDED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_NEEDED, hard))


class Clients:
    """Connections that send lines and compare the answers, by epoll."""

    def __init__(self):
        self.connections = []  # sockets; a line names the index of its own
        self.by_descriptor = {}
        self.poller = select.epoll()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.poller.close()
        for connection in self.connections:
            connection.close()

    def connect(self, address, count):
        """Connects `count` more; returns their indices."""
        first = len(self.connections)
        for index in range(first, first + count):
            connection = support.connect(address)
            support.reset_on_close(connection)  # leaves no connection behind in TIME_WAIT
            self.connections.append(connection)
            self.by_descriptor[connection.fileno()] = index
            self.poller.register(connection, select.EPOLLIN)
        return range(first, first + count)

    def echo(self, indices, what):
        """Sends a line on each of the connections, then receives all answers. @raises AssertionError"""
        missing = {}
        for index in indices:
            missing[index] = f"connection {index}: {what}\n".encode()
            self.connections[index].sendall(missing[index])
        while missing:
            ready = self.poller.poll(support.DEADLINE)
            if not ready:
                raise AssertionError(f"{what}: {len(missing)} connections got no answer, as {min(missing)}")
            for descriptor, _ in ready:
                self._receive(self.by_descriptor[descriptor], missing, what)

    def _receive(self, index, missing, what):
        received = self.connections[index].recv(4096)
        expected = missing.pop(index, b"")
        if not received or not expected.startswith(received):
            raise AssertionError(f"{what}: connection {index} got {received!r} instead of {expected!r}")
        if len(received) < len(expected):
            missing[index] = expected[len(received):]

    def expect_end(self):
        """The server has gone: every connection ends, and there is nothing more on it."""
        for index, connection in enumerate(self.connections):
            if received := connection.recv(4096):
                raise AssertionError(f"connection {index} got {received!r} at the end")


@support.for_each_example
class TenThousandConnections:
    def test_each_gets_its_own_lines(self):
        config = {"listen": [{"port": 0, "backlog": 2 * BATCH_SIZE}]}
        with support.Server(self.example, config, descriptor_limit=USUAL_SOFT_LIMIT) as server, Clients() as clients:
            before = server.settled_descriptor_count()
            while len(clients.connections) < CONNECTION_COUNT:
                clients.echo(clients.connect(server.address, BATCH_SIZE), "the first line")
            everyone = range(CONNECTION_COUNT)
            clients.echo(everyone, "the second line")
            clients.echo(reversed(everyone), "still there")
            self.assertEqual(server.descriptor_count(), before + CONNECTION_COUNT)
            self.assertEqual(server.stop(), 0)
            clients.expect_end()
            self.assertEqual(server.log(), "")


def setUpModule():
    raise_descriptor_limit()


if __name__ == "__main__":
    support.main()
