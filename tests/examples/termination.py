#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# termination.py: SIGTERM and SIGINT end a server with status 0, and soon, whatever its clients do.
import concurrent.futures
import re
import signal
import socket
import time

import support

MEBI = 1 << 20
SOON = 9.0  # seconds; far less than what the end could wait for (an hour), and more than a busy machine needs
# An end that waited for a client would wait for an hour, but for the time of draining.
CONFIG = {"stream": {"linger_timeout": "1h"}, "drain_timeout": "100ms"}
DRAINED = re.compile(r'drained: .* finished="(\d+)" idle="(\d+)" cut="(\d+)"')


def ask_until_the_end(client):
    """Sends a line and waits for its answer, again and again; what comes instead of one. A reset is an exception."""
    with client:
        while True:
            client.sendall(b"hello\n")
            answer = client.recv(6, socket.MSG_WAITALL)
            if answer != b"hello\n":
                return answer


@support.for_each_example
class Termination:
    def start(self):
        return support.Server(self.example, CONFIG)

    def connect(self, server, **options):
        return self.enterContext(support.connect(server.address, **options))

    def idle_client(self, server):
        client = self.connect(server)
        client.sendall(b"hello\n")
        self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
        return client

    def client_in_mid_line(self, server):
        client = self.connect(server)
        client.sendall(b"whole\nhal")
        self.assertEqual(support.receive_exactly(client, 6), b"whole\n")  # the server has "hal", too
        return client

    def client_that_never_reads(self, server):
        """The server has more for it than the system takes."""
        client = self.connect(server, receive_buffer=4096)
        client.sendall(b"x" * (8 * MEBI) + b"\n")
        client.recv(1, socket.MSG_PEEK)  # the server has the whole line, and answers
        return client

    def assert_ends_soon(self, server, number):
        began = time.monotonic()
        self.assertEqual(server.stop(number), 0)
        self.assertLess(time.monotonic() - began, SOON)

    def assert_ends_with_clients(self, make_clients):
        for number in signal.SIGTERM, signal.SIGINT:
            with self.subTest(number.name), self.start() as server:
                clients = make_clients(server)
                self.assert_ends_soon(server, number)
                for client in clients:
                    support.wait_for_end(client)

    def test_ends_without_clients(self):
        self.assert_ends_with_clients(lambda server: [])

    def test_ends_with_idle_clients(self):
        self.assert_ends_with_clients(lambda server: [self.idle_client(server) for _ in range(50)])

    def test_ends_with_clients_in_mid_line(self):
        self.assert_ends_with_clients(lambda server: [self.client_in_mid_line(server) for _ in range(50)])

    def test_ends_with_clients_that_never_read(self):
        self.assert_ends_with_clients(lambda server: [self.client_that_never_reads(server) for _ in range(2)])

    def test_ends_with_clients_that_it_has_not_accepted(self):
        with self.start() as server:
            server.send_signal(signal.SIGSTOP)
            clients = [self.connect(server) for _ in range(50)]  # the kernel connects them
            for client in clients:
                client.sendall(b"hello\n")
            server.send_signal(signal.SIGTERM)
            self.assert_ends_soon(server, signal.SIGCONT)
            for client in clients:
                support.wait_for_end(client)

    def test_ends_with_clients_of_all_kinds(self):
        def make_clients(server):
            return [make(server) for make in (self.idle_client, self.client_in_mid_line, self.client_that_never_reads)
                    for _ in range(2)]
        self.assert_ends_with_clients(make_clients)

    def test_ends_right_after_the_listening_line(self):
        for number in [signal.SIGTERM, signal.SIGINT] * 5:
            with self.start() as server:
                self.assert_ends_soon(server, number)

    # -- draining --

    def test_a_request_that_has_begun_is_finished(self):
        with support.Server(self.example, {"drain_timeout": "1h", "log": {"level": "debug"}}) as server:
            idle = self.idle_client(server)
            busy = self.client_in_mid_line(server)
            server.send_signal(signal.SIGTERM)
            support.wait_for_end(idle)
            busy.sendall(b"f\n")
            self.assertEqual(support.receive_exactly(busy, 5), b"half\n")
            support.wait_for_end(busy)
            self.assertEqual(server.wait(), 0)
            self.assertEqual(DRAINED.search(server.log()).groups(), ("0", "2", "0"))

    def test_clients_that_ask_again_and_again_are_not_reset(self):
        with support.Server(self.example, {"drain_timeout": "1h"}) as server:
            clients = [self.idle_client(server) for _ in range(20)]
            with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
                ends = [pool.submit(ask_until_the_end, client) for client in clients]
                server.send_signal(signal.SIGTERM)
                self.assertEqual([end.result() for end in ends], [b""] * len(clients))
            self.assertEqual(server.wait(), 0)

    def test_a_client_that_never_spoke_does_not_hold_up_the_end(self):
        with support.Server(self.example, {"drain_timeout": "1h"}) as server:
            silent = self.connect(server)
            self.idle_client(server).close()  # by now the silent one is accepted, too
            self.assert_ends_soon(server, signal.SIGTERM)
            support.wait_for_end(silent)

    def test_a_second_signal_ends_it_at_once(self):
        for number in signal.SIGTERM, signal.SIGINT:
            with self.subTest(number.name), support.Server(
                    self.example, {"drain_timeout": "1h"}, expected_status=-number) as server:
                busy = self.client_in_mid_line(server)
                server.send_signal(signal.SIGTERM)
                support.wait_until(lambda: self.refuses(server), "the server accepts no more")
                began = time.monotonic()
                time.sleep(0.2)  # sooner it would pass for the same signal, sent to the group as well
                self.assertEqual(server.stop(number), -number)
                self.assertLess(time.monotonic() - began, SOON)
                support.wait_for_end(busy)

    def refuses(self, server):
        try:
            socket.create_connection(server.address).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # it was waiting when the socket closed
            pass
        return False

    def test_several_signals_at_once(self):
        for _ in range(3):
            with self.start() as server:
                clients = [self.idle_client(server), self.client_in_mid_line(server)]
                for number in signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGTERM:
                    server.send_signal(number)
                self.assert_ends_soon(server, signal.SIGCONT)
                for client in clients:
                    support.wait_for_end(client)


if __name__ == "__main__":
    support.main()
