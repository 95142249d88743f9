#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# hostile_peers.py: what a peer sends, or does not send, harms nobody else, and leaves nothing behind.
import collections
import json
import os
import random
import selectors
import socket
import threading
import time

import support

KIBI = 1 << 10
MEBI = 1 << 20
LIMIT = 64 * KIBI  # of what the server keeps for a connection, in each direction
# A peer that leaves at once may be ahead of the server: a short backlog would make the next one wait for the kernel.
CONFIG = {"listen": [{"port": 0, "backlog": 4096}],
          "stream": {"max_buffer_size": LIMIT, "read_chunk_size": "4KiB", "max_write_buffer_size": LIMIT},
          "log": {"format": "json"}}
# AddressSanitizer keeps freed memory, 256 MiB by default; other builds do not read this.
ENVIRONMENT = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"}

LINE_COUNT = 2000
SILENT_COUNT = 50
NEVER_READING_COUNT = 8
ROUNDS = {"garbage": 800, "reset_in_mid_line": 300, "reset_in_mid_answer": 300, "half_close": 300, "leave_at_once": 300}
MAX_GROWTH = 24 * MEBI  # less than the garbage alone would take, if the server kept it
LOG_BURST, LOG_RATE = 20, 10  # events of one name: at once, and for each second more


# -- one attack each ---------------------------------------------------------------------------------------------------


def garbage(address):
    """No end of line in sight: the server closes, with no answer."""
    with support.connect(address) as peer:
        try:
            for _ in range(LIMIT * 3 // 2 // (8 * KIBI)):
                peer.sendall(b"g" * (8 * KIBI))
        except (BrokenPipeError, ConnectionResetError):
            return
        support.wait_for_end(peer)


def reset_in_mid_line(address):
    with support.connect(address) as peer:
        peer.sendall(b"whole\nhal")
        support.receive_exactly(peer, 6)
        support.reset_on_close(peer)


def reset_in_mid_answer(address):
    with support.connect(address, receive_buffer=4 * KIBI) as peer:
        peer.sendall(b"a" * (LIMIT - 1 * KIBI) + b"\n")
        support.receive_exactly(peer, 1)
        support.reset_on_close(peer)


def half_close(address):
    with support.connect(address) as peer:
        peer.sendall(b"no line")
        peer.shutdown(socket.SHUT_WR)
        if support.receive_to_end(peer):
            raise AssertionError("an answer to half a line")


def leave_at_once(address):
    support.connect(address).close()
    with support.connect(address) as peer:
        support.reset_on_close(peer)


ATTACKS = {attack.__name__: attack for attack in (garbage, reset_in_mid_line, reset_in_mid_answer, half_close,
                                                  leave_at_once)}


class Attacker(threading.Thread):
    """Repeats one attack."""

    def __init__(self, attack, address, rounds):
        super().__init__(name=attack.__name__, daemon=True)
        self.attack, self.address, self.rounds, self.error = attack, address, rounds, None

    def run(self):
        try:
            for _ in range(self.rounds):
                self.attack(self.address)
        except Exception as error:  # for the thread of the test
            self.error = error


class NeverReading:
    """Connections that send lines and read no answer, until the server takes no more from them or closes them."""

    def __init__(self, address, count):
        self.selector = selectors.DefaultSelector()
        self.peers = [support.connect(address, receive_buffer=4 * KIBI) for _ in range(count)]
        self.open = set(self.peers)
        for peer in self.peers:
            peer.setblocking(False)
            self.selector.register(peer, selectors.EVENT_WRITE)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.selector.close()
        for peer in self.peers:
            peer.close()

    def send_more(self):
        """Sends what can be sent; True when nobody can send for a while."""
        ready = self.selector.select(0.5)
        for key, _ in ready:
            try:
                while True:
                    key.fileobj.send((b"never read" * 100 + b"\n") * 30)
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                self.selector.unregister(key.fileobj)
                self.open.discard(key.fileobj)
        return not ready or not self.open


# -- the test ----------------------------------------------------------------------------------------------------------


@support.for_each_example
class HostilePeers:
    def test_nobody_else_is_harmed(self):
        began = time.monotonic()
        with support.Server(self.example, CONFIG, environment=ENVIRONMENT) as server:
            descriptors = server.settled_descriptor_count()
            self.attack_once(server)  # brings the memory of allocator and threads to its usual size
            self.wait_for_descriptors(server, descriptors)
            memory = server.resident_size()
            with NeverReading(server.address, NEVER_READING_COUNT) as never_reading:
                support.wait_until(never_reading.send_more, "the server takes no more from those who do not read")
                self.assertLess(server.resident_size() - memory, MAX_GROWTH)
                self.attack_while_others_work(server)
            self.wait_for_descriptors(server, descriptors)
            self.assertLess(server.resident_size() - memory, MAX_GROWTH)
            self.assertEqual(server.stop(), 0)
            self.assert_log_is_short(server.log(), time.monotonic() - began)

    def attack_once(self, server):
        for attack in ATTACKS.values():
            for _ in range(5):
                attack(server.address)
        with NeverReading(server.address, NEVER_READING_COUNT) as never_reading:
            support.wait_until(never_reading.send_more, "the server takes no more from those who do not read")

    def attack_while_others_work(self, server):
        silent = [self.enterContext(support.connect(server.address)) for _ in range(SILENT_COUNT)]
        attackers = [Attacker(attack, server.address, ROUNDS[name]) for name, attack in ATTACKS.items()]
        for attacker in attackers:
            attacker.start()
        self.echo_lines(server, while_true=lambda: any(attacker.is_alive() for attacker in attackers))
        for attacker in attackers:
            attacker.join(support.DEADLINE)
            if attacker.error is not None:
                raise AssertionError(f"{attacker.name}: {attacker.error!r}") from attacker.error
        for peer in silent:
            peer.sendall(b"not so silent\n")
            self.assertEqual(support.receive_exactly(peer, 14), b"not so silent\n")
            peer.close()

    def echo_lines(self, server, while_true):
        generator = random.Random(3)
        with support.connect(server.address) as client:
            count = 0
            while count < LINE_COUNT or while_true():
                line = b"line %d: %s\n" % (count, b"." * generator.randrange(2000))
                client.sendall(line)
                self.assertEqual(support.receive_exactly(client, len(line)), line)
                count += 1

    def wait_for_descriptors(self, server, count):
        support.wait_until(lambda: server.descriptor_count() == count, f"the server has {count} descriptors again")

    def assert_log_is_short(self, log, seconds):
        counts = collections.Counter(json.loads(line)["event"] for line in log.splitlines())
        self.assertGreater(counts["unsatisfiable_read"], 0)  # what the garbage comes to
        for event, count in counts.items():
            self.assertLessEqual(count, LOG_BURST + LOG_RATE * seconds + 1, event)
        self.assertLess(len(counts), 6, counts)


if __name__ == "__main__":
    support.main()
