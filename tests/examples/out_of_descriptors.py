#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# out_of_descriptors.py: more clients than a server has descriptors: it rests, says so seldom, and serves all in the end.
import select
import time

import support

LIMIT = 64
CLIENTS = 80
OBSERVATION = 2.0  # seconds


def served(clients, timeout):
    """Those of `clients` that have an answer, or get one in this time."""
    ready = select.select(clients, [], [], timeout)[0]
    return [client for client in ready if client.recv(1)]


@support.for_each_example
class OutOfDescriptors:
    def setUp(self):
        self.server = self.enterContext(support.Server(self.example, {"io_threads": 1}, hard_descriptor_limit=LIMIT))

    def test_serves_the_others_when_some_leave(self):
        waiting = [self.enterContext(support.connect(self.server.address)) for _ in range(CLIENTS)]
        for client in waiting:
            client.sendall(b"\n")
        done = []

        def all_served():
            done.extend(now := served(waiting, 0))
            waiting[:] = [client for client in waiting if client not in now]
            return self.server.descriptor_count() == LIMIT

        support.wait_until(all_served, "it has no descriptor left")
        began = time.monotonic()
        support.wait_until(lambda: all_served() and time.monotonic() - began > OBSERVATION, "the time is over")
        self.assertLess(len(done), LIMIT)
        lines = self.server.log().splitlines()
        self.assertIn("accept_paused", lines[0])
        self.assertIn(f"{LIMIT}: raise the limit (`ulimit -n`", lines[0])
        seconds = time.monotonic() - began + 2
        self.assertLessEqual(len(lines), 1 + seconds, lines)

        while waiting:
            done.pop(0).close()  # one descriptor is free
            now = served(waiting, support.DEADLINE)
            self.assertTrue(now, "nobody is served although a descriptor is free")
            done.extend(now)
            waiting = [client for client in waiting if client not in now]


if __name__ == "__main__":
    support.main()
