#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# cpu_idle.py: a server with nothing to do does nothing. Nothing is measured but how often its threads wake up.
import os
import socket
import time

import support

MEBI = 1 << 20
OBSERVATION = 0.5  # seconds
MOST_WAKE_UPS = 40  # a second; a thread that polls has hundreds, one that spins is switched about as often


def switch_count(pid):
    """How often the threads of a process left a processor until now, and how many clock ticks they used."""
    switches = ticks = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
            switches += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
        with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as file:
            ticks += sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return switches, ticks


@support.for_each_example
class Idle:
    def setUp(self):
        self.server = self.enterContext(support.Server(self.example))

    def connect(self, **options):
        return self.enterContext(support.connect(self.server.address, **options))

    def is_idle(self):
        """Observes the server for a while."""
        began, (switches, ticks) = time.monotonic(), switch_count(self.server.pid)
        time.sleep(OBSERVATION)
        after, ticks_after = switch_count(self.server.pid)
        seconds = time.monotonic() - began
        return after - switches <= MOST_WAKE_UPS * seconds and ticks_after - ticks <= 2

    def wait_until_idle(self):
        support.wait_until(self.is_idle, "the server rests")

    def test_without_clients(self):
        self.wait_until_idle()

    def test_with_waiting_clients(self):
        for _ in range(50):
            client = self.connect()
            client.sendall(b"whole\nhal")
            self.assertEqual(support.receive_exactly(client, 6), b"whole\n")
        self.wait_until_idle()

    def test_with_clients_that_never_read(self):
        for end in False, True:
            client = self.connect(receive_buffer=4096)
            client.sendall(b"x" * (8 * MEBI) + b"\nhal")
            if end:
                client.shutdown(socket.SHUT_WR)
            client.recv(1, socket.MSG_PEEK)  # the answer began, and cannot go on
        self.wait_until_idle()

    def test_with_a_client_that_never_reads_many_answers(self):
        client = self.connect(receive_buffer=4096)
        client.sendall(b"x" * (8 * MEBI) + b"\n" * 300_000)
        client.recv(1, socket.MSG_PEEK)
        self.wait_until_idle()

    def test_after_clients_left(self):
        for _ in range(50):
            with support.connect(self.server.address) as client:
                client.sendall(b"hal")
        self.wait_until_idle()


if __name__ == "__main__":
    support.main()
