#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# custom_transport.py: an echo server over a transport of its own: every byte on the wire is masked with a key, in both
# directions, however the bytes are cut on their way.
import random
import select
import signal
import socket
import unittest

import support

MEBI = 1 << 20
KEY = b"squall"
STALL = 0.2  # seconds; a shorter one would only make the test easier to pass


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
        """The client reads only when it cannot send: while it does not, the server's writes are taken in parts."""
        data = random.Random(1).randbytes(24 * MEBI)
        client = self.connect(receive_buffer=4096)
        unsent, received = memoryview(masked(data)), bytearray()
        while unsent and select.select([], [client], [], STALL)[1]:  # until the server's buffers are full, too
            unsent = unsent[client.send(unsent):]
        while unsent:
            if select.select([], [client], [], 0)[1]:
                unsent = unsent[client.send(unsent):]
            else:
                received += client.recv(100_000)
        client.shutdown(socket.SHUT_WR)
        received += support.receive_to_end(client)
        self.assert_same(data, masked(received))

    def test_ends_by_signal_with_connections(self):
        for number in signal.SIGTERM, signal.SIGINT:
            with support.Server("custom_transport") as server, support.connect(server.address) as client:
                client.sendall(masked(b"x"))
                support.receive_exactly(client, 1)
                self.assertEqual(server.stop(number), 0)
                support.wait_for_end(client)


if __name__ == "__main__":
    support.main()
