#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# unread_input.py: clients that send more than the server reads get its whole answer, and no reset.
import unittest

import support

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"


class UnreadInput(unittest.TestCase):
    def setUp(self):
        support.check_installed("curl")
        self.server = self.enterContext(support.Server("peer_address"))

    def test_curl_uploads(self):
        url = "http://{}:{}/".format(*self.server.address)
        for size in 10, 100_000, 3_000_000:
            for _ in range(5):
                with self.subTest(size):
                    done = support.run(["curl", "-sS", "-H", "Expect:", "--data-binary", "@-", url],
                                       input=b"x" * size)
                    self.assertEqual((done.returncode, done.stderr), (0, b""))
                    self.assertIn(b"127.0.0.1:", done.stdout)

    def test_a_client_that_sends_everything_before_it_reads(self):
        for size in 1, 100_000, 8_000_000:
            with self.subTest(size), support.connect(self.server.address) as client:
                client.sendall(b"POST / HTTP/1.0\r\n\r\n" + b"x" * size)
                got = support.receive_to_end(client)
                self.assertEqual(got, HEAD + "{}:{}\n".format(*client.getsockname()).encode())

    def test_a_request_behind_the_answered_one(self):
        with support.connect(self.server.address) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            self.assertTrue(support.receive_to_end(client).startswith(HEAD))
            client.sendall(b"GET /again HTTP/1.0\r\n\r\n")  # it crossed the server's end
            self.assertEqual(client.recv(1), b"")


if __name__ == "__main__":
    support.main()
