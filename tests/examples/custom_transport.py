#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# custom_transport.py: an echo server over a transport of its own: every byte on the wire is masked with a key, in both
# directions, however the bytes are cut on their way.
import random
import signal
import socket
import threading
import unittest

import support

MEBI = 1 << 20
KEY = b"squall"


def masked(data, position=0):
    """`data` as it looks on the wire when it begins at `position` of its direction; and back."""
    first = position % len(KEY)
    key = (KEY[first:] + KEY[:first]) * (len(data) // len(KEY) + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(key[:len(data)], "big")).to_bytes(len(data), "big")


class CustomTransport(unittest.TestCase):
    def setUp(self):
        self.server = self.enterContext(support.Server("custom_transport"))

    def tearDown(self):
        self.assertEqual(self.server.log(), "")

    def connect(self, **options):
        return self.enterContext(support.connect(self.server.address, **options))

    def assert_same(self, expected, got):
        if got != expected:
            self.fail(support.first_difference(expected, got))

    def test_masks_each_direction_from_its_first_byte(self):
        client = self.connect()
        client.sendall(b"\0" * 9)
        self.assertEqual(support.receive_exactly(client, 9), b"\0" * 9)  # "squallsqu", masked again with itself
        client.sendall(masked(b"hello", 9))
        self.assertEqual(masked(support.receive_exactly(client, 5), 9), b"hello")

    def test_keeps_its_place_from_byte_to_byte(self):
        client = self.connect()
        for position, byte in enumerate(b"one at a time"):
            client.sendall(masked(bytes([byte]), position))
            self.assertEqual(masked(support.receive_exactly(client, 1), position), bytes([byte]))

    def test_connections_have_places_of_their_own(self):
        first, second = self.connect(), self.connect()
        first.sendall(masked(b"abc"))
        self.assertEqual(masked(support.receive_exactly(first, 3)), b"abc")
        second.sendall(masked(b"abcd"))
        self.assertEqual(masked(support.receive_exactly(second, 4)), b"abcd")

    def test_counts_what_was_taken_only(self):
        """The client is slow to read, so that the server's writes are taken in parts."""
        data = random.Random(1).randbytes(8 * MEBI)
        client = self.connect(receive_buffer=4096)
        sender = threading.Thread(target=lambda: (client.sendall(masked(data)), client.shutdown(socket.SHUT_WR)))
        sender.start()
        self.assert_same(data, masked(support.receive_to_end(client)))
        sender.join(support.DEADLINE)

    def test_ends_by_signal_with_connections(self):
        for number in signal.SIGTERM, signal.SIGINT:
            with support.Server("custom_transport") as server, support.connect(server.address) as client:
                client.sendall(masked(b"x"))
                support.receive_exactly(client, 1)
                self.assertEqual(server.stop(number), 0)
                support.wait_for_end(client)


if __name__ == "__main__":
    support.main()
