#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# clients.py: the line client against servers of Tornado, plain and over TLS, and against none; and the example of client
# operations, which checks each outcome itself.
import asyncio
import os
import socket
import ssl
import tempfile
import threading
import unittest

import support
from tornado.iostream import StreamClosedError
from tornado.tcpserver import TCPServer


class Upper(TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                await stream.write((await stream.read_until(b"\n")).upper())
        except StreamClosedError:
            pass


class TornadoServer:
    """Answers lines in capitals, on a thread of its own."""

    def __init__(self, context=None):
        self.context = context
        self.ready = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()))
        self.thread.start()
        if not self.ready.wait(support.DEADLINE):
            raise TimeoutError("the server does not start")
        return self

    async def serve(self):
        self.loop = asyncio.get_running_loop()
        self.end = asyncio.Event()
        server = Upper(ssl_options=self.context)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        server.add_socket(listener)
        self.ready.set()
        await self.end.wait()
        server.stop()

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.end.set)
        self.thread.join(support.DEADLINE)


class Clients(unittest.TestCase):
    def test_operations(self):
        done = support.run_example("client_operations")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("all operations done\n", "", 0))

    def test_lines(self):
        with TornadoServer() as server:
            for host in "localhost", "127.0.0.1":
                done = support.run_example("tcp_client", host, str(server.port), input="one\ntwo\n")
                self.assertEqual((done.stdout, done.stderr, done.returncode), ("ONE\nTWO\n", "", 0))

    def test_nobody_listens(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        done = support.run_example("tcp_client", "127.0.0.1", str(port), input="")
        self.assertEqual((done.stdout, done.returncode), ("", 1))
        self.assertIn(f"tried 127.0.0.1:{port} (Connection refused)", done.stderr)

    def test_no_such_host(self):
        done = support.run_example("tcp_client", "no such host", "80", input="")
        self.assertEqual((done.stdout, done.returncode), ("", 1))
        self.assertIn("cannot connect to no such host port 80: the host name could not be looked up", done.stderr)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            certificate, key = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
            made = support.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                                "-nodes", "-keyout", key, "-out", certificate, "-subj", "/CN=test", "-days", "1",
                                "-addext", "subjectAltName=DNS:localhost"])
            self.assertEqual(made.returncode, 0, made.stderr)
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
            with TornadoServer(context) as server:
                done = support.run_example("tcp_client", "--ca", certificate, "localhost", str(server.port),
                                           input="one\n")
                self.assertEqual((done.stdout, done.stderr, done.returncode), ("ONE\n", "", 0))
                wrong = support.run_example("tcp_client", "--ca", certificate, "127.0.0.1", str(server.port),
                                            input="one\n")
                self.assertEqual((wrong.stdout, wrong.returncode), ("", 1))
                self.assertIn("TLS failed", wrong.stderr)


if __name__ == "__main__":
    support.main()
