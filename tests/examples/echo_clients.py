#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# echo_clients.py: clients that people use get their lines back, whatever is in the lines and however they arrive.
import asyncio
import random
import shlex
import signal
import socket
import subprocess

from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient

import support

MEBI = 1 << 20


@support.for_each_example
class EchoClients:
    def setUp(self):
        self.server = self.enterContext(support.Server(self.example))

    def tearDown(self):
        told = [line for line in self.server.log().splitlines() if " info connection_ended: " not in line]
        self.assertEqual(told, [])  # but for clients that leave

    def connect(self, **options):
        return self.enterContext(support.connect(self.server.address, **options))

    def assert_same(self, expected, got):
        if got != expected:
            self.fail(support.first_difference(expected, got))

    def assert_shell_prints(self, command, expected):
        """`command` is one for bash, with HOST and PORT in it."""
        host, port = self.server.address
        command = command.replace("HOST", shlex.quote(host)).replace("PORT", str(port))
        done = support.run(["bash", "-c", command])
        self.assertEqual((done.stdout, done.stderr, done.returncode), (expected, b"", 0))

    def assert_echo(self, lines, **options):
        """Sends `lines`, closes that direction, and expects all of them back, then the end."""
        client = self.connect(**options)
        client.sendall(lines)
        client.shutdown(socket.SHUT_WR)
        self.assert_same(lines, support.receive_to_end(client))

    # -- programs --

    def test_nc_that_closes_its_side(self):
        self.assert_shell_prints(r"printf 'hello\n' | nc -N HOST PORT", b"hello\n")
        self.assert_shell_prints(r"printf 'hello\nworld\n' | nc -N HOST PORT", b"hello\nworld\n")

    def test_nc_that_does_not_close_its_side(self):
        host, port = self.server.address
        with subprocess.Popen(["nc", host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                              preexec_fn=support.die_with_parent) as nc:
            try:
                for line in b"hello\n", b"again\n":
                    nc.stdin.write(line)
                    self.assertEqual(support.read_line(nc.stdout), line)
                nc.stdin.close()
                self.assertEqual(self.server.stop(signal.SIGTERM), 0)
                self.assertEqual(nc.wait(support.DEADLINE), 0)
            finally:
                if nc.poll() is None:
                    nc.kill()

    def test_socat(self):
        self.assert_shell_prints(rf"printf 'hello\nworld\n' | socat -t {support.DEADLINE:.0f} - TCP:HOST:PORT",
                                 b"hello\nworld\n")

    def test_bash(self):
        self.assert_shell_prints(
            rf"""exec 3<>/dev/tcp/HOST/PORT
                for word in hello 'to you'; do
                  printf '%s\n' "$word" >&3
                  IFS= read -r -t {support.DEADLINE:.0f} answer <&3 && printf '%s\n' "$answer"
                done""", b"hello\nto you\n")

    # -- Tornado, the model --

    async def talk_by_tornado(self, stream, name):
        try:
            for i in range(50):
                line = f"{name}, line {i}\n".encode()
                await stream.write(line)
                self.assertEqual(await stream.read_until(b"\n"), line)
        finally:
            stream.close()

    def test_tornado_client(self):
        async def talk():
            stream = await TCPClient().connect(*self.server.address)
            await self.talk_by_tornado(stream, "TCPClient")
        asyncio.run(asyncio.wait_for(talk(), support.DEADLINE))

    def test_many_tornado_streams_at_once(self):
        async def talk(name):
            stream = IOStream(socket.socket())
            await stream.connect(self.server.address)
            await self.talk_by_tornado(stream, name)

        async def talk_all():
            await asyncio.gather(*(talk(f"stream {i}") for i in range(20)))
        asyncio.run(asyncio.wait_for(talk_all(), support.DEADLINE))

    # -- how lines arrive --

    def assert_answered_whole(self, line_count):
        """Sends `line_count` lines with the end of the input right behind, in one segment."""
        lines = b"".join(b"%d\n" % i for i in range(line_count))
        self.assertLess(len(lines), 32 * 1024)  # less than what loopback puts into a segment
        with support.connect(self.server.address) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # nothing leaves before the FIN
            client.sendall(lines)
            client.shutdown(socket.SHUT_WR)
            self.assert_same(lines, support.receive_to_end(client))

    def test_lines_and_the_end_in_one_segment(self):
        for line_count in (*[1, 2, 3] * 20, *range(4, 20), *range(120, 140), 256, 257, 258, 1000, 4000):
            with self.subTest(line_count=line_count):
                self.assert_answered_whole(line_count)

    def test_long_line_and_the_end_of_a_slow_reader(self):
        self.assert_echo(b"x" * (8 * MEBI) + b"\n", receive_buffer=4096)

    def test_lines_in_single_bytes(self):
        client = self.connect()
        lines = b"one\n\ntwo words\r\n" * 20
        for i in range(len(lines)):
            client.sendall(lines[i:i + 1])
        self.assert_same(lines, support.receive_exactly(client, len(lines)))

    def test_line_in_two_parts(self):
        client = self.connect()
        for i in range(100):
            client.sendall(b"line %d\nbegin" % i)
            line = (b"begin" if i > 0 else b"") + b"line %d\n" % i
            self.assertEqual(support.receive_exactly(client, len(line)), line)  # the server has "begin", too

    # -- what is in lines --

    def test_line_of_a_mebibyte(self):
        generator = random.Random(1)
        line = generator.randbytes(MEBI).replace(b"\n", b"\0") + b"\n"
        client = self.connect()
        for _ in range(3):
            client.sendall(line)
            self.assert_same(line, support.receive_exactly(client, len(line)))

    def test_binary_garbage(self):
        generator = random.Random(2)
        lines = [bytes(set(range(256)) - {10})]
        lines += [generator.randbytes(generator.randrange(2000)).replace(b"\n", b"\r") for _ in range(300)]
        self.assert_echo(b"\n".join(lines) + b"\n")

    def test_empty_lines(self):
        self.assert_echo(b"\n" * 5000)

    def test_unfinished_line_at_the_end_is_no_line(self):
        client = self.connect()
        client.sendall(b"whole\nunfinished")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(support.receive_to_end(client), b"whole\n")


if __name__ == "__main__":
    support.main()
