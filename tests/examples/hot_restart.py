#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# hot_restart.py: a server is replaced by another on the same listening socket, again and again, under load: each client
# gets its reply.
#
# The script owns the socket, as systemd would. A successor starts on it; when it listens, its predecessor is told to
# end, and drains: it serves those whom it has accepted, and accepts no more.
import itertools
import socket
import threading
import time

import support

RESTARTS = 20
# Servers that are slow to start (of sanitizers, on a busy machine) are replaced less often, to end in time.
LEAST_RESTARTS = 5
LONGEST = 12.0  # seconds, of each example
RATE = 200  # connections a second
PAUSE = 0.04  # seconds, of a client that connects long before it asks, or stops in mid-line
THREADS = 16  # of the load; more than RATE * PAUSE
REPLIES_BETWEEN = 20  # of both servers before one of them ends, and of the one that is left


class Load:
    """Clients that connect, send a line, take the reply and close, RATE of them a second, until the block is left.

    One in three does so at once, one pauses before it asks, one in mid-line: some are always under way."""

    def __init__(self, address):
        self.address = address
        self.replies = 0
        self.failures = []
        self.changed = threading.Condition()
        self.over = threading.Event()
        self.numbers = itertools.count()
        self.began = time.monotonic()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def _run(self):
        while not self.over.wait(max(0, self.began + (number := next(self.numbers)) / RATE - time.monotonic())):
            try:
                self._exchange(number)
                failure = None
            except OSError as error:
                failure = f"client {number}, after {time.monotonic() - self.began:.3f} s: {error!r}"
            with self.changed:
                if failure is None:
                    self.replies += 1
                else:
                    self.failures.append(failure)
                self.changed.notify()

    def _exchange(self, number):
        line = b"client %d\n" % number
        first = (len(line), 0, len(line) // 2)[number % 3]
        with support.connect(self.address) as client:
            client.sendall(line[:first])
            if first < len(line):
                self.over.wait(PAUSE)
                client.sendall(line[first:])
            reply = support.receive_exactly(client, len(line))
            if reply != line:
                raise OSError(f"got {reply!r} instead of {line!r}")

    def wait_for_replies(self, count):
        """Until there are so many more, or a failure."""
        with self.changed:
            wanted = self.replies + count
            if not self.changed.wait_for(lambda: self.failures or self.replies >= wanted, support.DEADLINE):
                raise TimeoutError(f"{wanted - self.replies} of {count} replies did not come")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(support.DEADLINE)


@support.for_each_example
class HotRestart:
    def start(self):
        config = {"listen": [{"inherited": "web"}], "drain_timeout": "10s", "io_threads": 1}
        return self.enterContext(support.Server(self.example, config, inherited={"web": self.listener}))

    def test_every_client_gets_its_reply_while_servers_replace_each_other(self):
        self.listener = self.enterContext(socket.create_server(("127.0.0.1", 0), backlog=128))
        server = self.start()
        restarts = 0
        with Load(server.address) as load:
            while restarts < RESTARTS and (restarts < LEAST_RESTARTS or time.monotonic() - load.began < LONGEST):
                successor = self.start()
                load.wait_for_replies(REPLIES_BETWEEN)
                self.assertEqual(server.stop(), 0)
                load.wait_for_replies(REPLIES_BETWEEN)
                self.assertEqual(load.failures, [])
                server = successor
                restarts += 1
            seconds = time.monotonic() - load.began
        self.assertEqual(load.failures, [])
        print(f"{self.example}: {load.replies} replies in {seconds:.1f} s, {restarts} restarts, no failure")


if __name__ == "__main__":
    support.main()
