#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# tls_clients.py: other implementations of TLS, as clients and as servers, talk to the examples.
import asyncio
import logging
import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

from tornado.iostream import SSLIOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.tcpserver import TCPServer

import support

folder = None  # of the certificates


def setUpModule():
    global folder
    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # that handshakes fail is wanted
    folder = tempfile.mkdtemp(prefix="squall-test-")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    support.make_certificates(folder)


def file(name):
    return os.path.join(folder, name)


def stranger(name):
    """A file of an authority that nobody knows."""
    if not os.path.isdir(file("stranger")):
        support.make_certificates(file("stranger"), "other.example")
    return os.path.join(folder, "stranger", name)


def client_context(**certificate):
    context = ssl.create_default_context(cafile=file("ca.pem"))
    if certificate:
        context.load_cert_chain(**certificate)
    return context


def s_client(address, *arguments, talk=((b"hello\n", b"hello"),)):
    """Runs openssl s_client, which sends the first of each pair of `talk` and waits for a line that is the second.
    @returns what it printed, its status, and whether all lines came"""
    command = ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-CAfile", file("ca.pem"),
               "-verify_return_error", *arguments]
    if "-noservername" not in arguments and "-servername" not in arguments:
        command += ["-servername", "localhost", "-verify_hostname", "localhost"]
    with support.popen(command) as client:
        try:
            printed = b""
            for sent, wanted in talk:
                try:
                    client.stdin.write(sent)
                except BrokenPipeError:
                    pass
                line = b"-"
                while line and line.rstrip(b"\r\n") != wanted:
                    line = support.read_line(client.stdout)
                    printed += line
            client.stdin.close()
            printed += client.stdout.read()
            return printed.decode(errors="replace"), client.wait(support.DEADLINE), line != b""
        finally:
            if client.poll() is None:
                client.kill()


class Clients(unittest.TestCase):
    """Of tls_echo."""

    def start(self, **more):
        config = {"certificate": file("server.pem"), "key": file("server.key"), **more}
        self.server = self.enterContext(support.Server("tls_echo", {"tls": config}))

    def assert_s_client(self, *arguments, saying=()):
        """The line came back, and s_client printed what is in `saying`."""
        printed, status, echoed = s_client(self.server.address, *arguments)
        self.assertTrue(echoed, printed)
        self.assertEqual(status, 0, printed)
        for text in saying:
            self.assertIn(text, printed)
        return printed

    def assert_s_client_refused(self, *arguments, saying):
        """No line came back, and what s_client printed matches `saying`."""
        printed, _, echoed = s_client(self.server.address, *arguments)
        self.assertFalse(echoed, printed)
        self.assertRegex(printed, saying)

    # -- openssl s_client --

    def test_s_client_of_each_version(self):
        self.start()
        self.assert_s_client("-tls1_2", saying=["New, TLSv1.2, Cipher is ECDHE-ECDSA-AES", "Verification: OK"])
        self.assert_s_client("-tls1_3", saying=["New, TLSv1.3, Cipher is TLS_", "Verification: OK"])
        self.assert_s_client_refused("-tls1_1", "-cipher", "ALL:@SECLEVEL=0", saying="protocol version|unsupported protocol")

    def test_s_client_resumes(self):
        self.start()
        session = file("session")
        for version in "-tls1_2", "-tls1_3":
            with self.subTest(version):
                self.assertIn("New, ", self.assert_s_client(version, "-sess_out", session))
                self.assertIn("Reused, ", self.assert_s_client(version, "-sess_in", session))
        # Early data can be replayed: no session allows it.
        self.assert_s_client("-tls1_3", "-sess_in", session, "-early_data", file("ca.pem"),
                             saying=["Reused, ", "Early data was not sent"])

    def test_s_client_does_not_resume_where_clients_are_asked_for_certificates(self):
        self.start(client_certificates="require", ca_file=file("ca.pem"))
        session = file("session")
        ours = "-cert", file("client.pem"), "-key", file("client.key")
        for version in "-tls1_2", "-tls1_3":
            with self.subTest(version):
                self.assert_s_client(version, *ours, "-sess_out", session)
                if os.path.exists(session):
                    self.assertIn("New, ", self.assert_s_client(version, *ours, "-sess_in", session))

    def test_s_client_and_the_protocol_above(self):
        self.start(alpn=["line/2", "line/1"])
        self.assert_s_client("-alpn", "line/1,line/2", saying=["ALPN protocol: line/2"])
        self.assert_s_client("-alpn", "line/1", saying=["ALPN protocol: line/1"])
        self.assert_s_client(saying=["No ALPN negotiated"])
        self.assert_s_client_refused("-alpn", "h2", saying="no application protocol")

    def test_s_client_and_names(self):
        named = {"certificate": stranger("server.pem"), "key": stranger("server.key")}
        self.start(server_names={"other.example": named, "*.other.example": named}, unknown_server_name="refuse")
        for name in "other.example", "a.other.example", "OTHER.example":
            self.assert_s_client("-servername", name, "-CAfile", stranger("ca.pem"),
                                 saying=["CN = other.example"])
        for arguments in ["-noservername"], ["-servername", "localhost"], ["-servername", "a.b.other.example"]:
            self.assert_s_client_refused(*arguments, saying="unrecognized name")

    def test_s_client_with_and_without_a_certificate(self):
        self.start(client_certificates="require", ca_file=file("ca.pem"))
        for version in "-tls1_2", "-tls1_3":
            with self.subTest(version):
                self.assert_s_client(version, "-cert", file("client.pem"), "-key", file("client.key"))
                self.assert_s_client_refused(version, saying="certificate required|handshake failure")
                self.assert_s_client_refused(version, "-cert", stranger("client.pem"), "-key", stranger("client.key"),
                                             saying="unknown ca|bad certificate|decrypt error")
                self.assert_s_client_refused(version, "-cert", file("server.pem"), "-key", file("server.key"),
                                             saying="unsupported certificate|bad certificate")

    def test_s_client_that_renegotiates(self):
        self.start()
        command = b"R\n"  # which s_client does not send
        printed, _, _ = s_client(self.server.address, "-tls1_2", talk=[(b"hello\n", b"hello"), (command, b"over")])
        self.assertIn("RENEGOTIATING", printed)
        self.assertIn("no renegotiation", printed)
        self.assert_s_client("-tls1_2")

    # -- others --

    def test_gnutls_cli(self):
        self.start(alpn=["line/1"])
        host, port = self.server.address
        for priority, version in ("NORMAL:-VERS-TLS1.3", "TLS1.2"), ("NORMAL", "TLS1.3"):
            with self.subTest(version):
                done = support.run(["gnutls-cli", "--x509cafile", file("ca.pem"), "--sni-hostname", "localhost",
                                    "--verify-hostname", "localhost", "--alpn", "line/1", "--priority", priority,
                                    "--port", str(port), host], input=b"hello\n")
                printed = done.stdout.decode()
                self.assertEqual(done.returncode, 0, printed + done.stderr.decode())
                self.assertIn("The certificate is trusted", printed)
                self.assertIn(f"Description: ({version}", printed)
                self.assertIn("- Application protocol: line/1", printed)
                self.assertIn("\nhello\n", printed)

    def test_gnutls_cli_resumes(self):
        self.start()
        host, port = self.server.address
        done = support.run(["gnutls-cli", "--x509cafile", file("ca.pem"), "--verify-hostname", "localhost", "--resume",
                            "--waitresumption", "--port", str(port), host], input=b"hello\n")
        self.assertIn("*** This is a resumed session", done.stdout.decode())

    def curl(self, *arguments):
        """Runs curl until it prints an answer that is its own request, or to its end. @returns what it printed"""
        with support.popen(["curl", "--no-buffer", "--silent", "--show-error", "--verbose", "--http0.9", "--http1.1",
                            *arguments, f"https://localhost:{self.server.address[1]}/"]) as client:
            printed = b""
            while (line := support.read_line(client.stdout)) and not line.startswith(b"GET / HTTP/1.1"):
                printed += line
            client.kill()
            return (printed + line).decode()

    def test_curl(self):
        self.start()
        printed = self.curl("--cacert", file("ca.pem"))
        self.assertTrue(printed.endswith("\nGET / HTTP/1.1\r\n"), printed)
        self.assertIn("SSL certificate verify ok", printed)
        printed = self.curl()
        self.assertNotIn("\nGET /", printed)
        self.assertIn("SSL certificate problem", printed)

    # -- Tornado --

    async def talk(self, stream):
        try:
            for i in range(50):
                line = f"line {i}\n".encode() * (1 + 100 * i)
                await stream.write(line)
                self.assertEqual(await stream.read_bytes(len(line)), line)
        finally:
            stream.close()

    def connect_by_tornado(self, context):
        return TCPClient().connect("localhost", self.server.address[1], ssl_options=context)

    def test_tornado_client(self):
        self.start(client_certificates="request", ca_file=file("ca.pem"))

        async def talk(context):
            stream = await self.connect_by_tornado(context)
            self.assertIsInstance(stream, SSLIOStream)
            await self.talk(stream)

        async def talk_all():
            await asyncio.gather(*(talk(client_context()) for _ in range(10)))
            await talk(client_context(certfile=file("client.pem"), keyfile=file("client.key")))
            with self.assertRaises((ssl.SSLError, StreamClosedError)):
                await talk(ssl.create_default_context())  # which does not know the authority
        asyncio.run(asyncio.wait_for(talk_all(), support.DEADLINE))


class EchoByTornado(TCPServer):
    async def handle_stream(self, stream, address):
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except StreamClosedError:
            pass


class TornadoAsServer(unittest.TestCase):
    """Of tls_client."""

    def tls_client(self, options, *arguments, name="localhost"):
        """Runs tls_client against a server of Tornado. @returns its status, output and errors"""
        async def talk():
            server = EchoByTornado(ssl_options=options)
            server.listen(0, "127.0.0.1")
            port = next(iter(server._sockets.values())).getsockname()[1]
            client = await asyncio.create_subprocess_exec(
                support.example_path("tls_client"), "127.0.0.1", str(port), name, file("ca.pem"), *arguments,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                preexec_fn=support.die_with_parent)
            try:
                output, errors = await client.communicate()
            finally:
                if client.returncode is None:
                    client.kill()
            server.stop()
            return client.returncode, output.decode(), errors.decode()
        return asyncio.run(asyncio.wait_for(talk(), support.DEADLINE))

    def server_context(self, version=None, **verify):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, **verify)
        context.load_cert_chain(file("server.pem"), file("server.key"))
        if version is not None:
            context.maximum_version = version
        return context

    def test_talks(self):
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            with self.subTest(version):
                self.assertEqual(self.tls_client(self.server_context(version)), (0, "hello\n", ""))
        self.assertEqual(self.tls_client(self.server_context(), name="127.0.0.1"), (0, "hello\n", ""))

    def test_shows_its_certificate(self):
        context = self.server_context(cafile=file("ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        self.assertEqual(self.tls_client(context, file("client.pem"), file("client.key")), (0, "hello\n", ""))
        status, output, errors = self.tls_client(context)
        self.assertEqual((status, output), (1, ""))
        self.assertRegex(errors, "certificate required")

    def test_does_not_trust_others(self):
        status, output, errors = self.tls_client(self.server_context(), name="other.example")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("hostname mismatch", errors)
        options = {"certfile": stranger("server.pem"), "keyfile": stranger("server.key")}
        status, output, errors = self.tls_client(options, name="other.example")
        self.assertEqual((status, output), (1, ""))
        self.assertRegex(errors, "self-signed certificate|unable to get local issuer certificate")


class StartTLS(unittest.TestCase):
    """Of starttls_server."""

    def setUp(self):
        self.server = self.enterContext(
            support.Server("starttls_server", arguments=[file("server.pem"), file("server.key")]))

    def test_s_client(self):
        printed, status, answered = s_client(
            self.server.address, "-starttls", "smtp", "-crlf",
            talk=[(b"EHLO me\n", b"250 localhost"), (b"STARTTLS\n", b"502 not here"), (b"NOOP\n", b"250 fine")])
        self.assertTrue(answered, printed)
        self.assertEqual(status, 0, printed)
        self.assertIn("Verification: OK", printed)

    def test_tornado(self):
        async def talk():
            stream = await TCPClient().connect(*self.server.address)
            self.assertTrue((await stream.read_until(b"\r\n")).startswith(b"220 "))
            await stream.write(b"STARTTLS\r\n")
            self.assertEqual(await stream.read_until(b"\r\n"), b"220 go ahead\r\n")
            stream = await stream.start_tls(False, client_context(), "localhost")
            await stream.write(b"NOOP\r\nQUIT\r\n")
            self.assertEqual(await stream.read_until_close(), b"250 fine\r\n221 goodbye\r\n")
        asyncio.run(asyncio.wait_for(talk(), support.DEADLINE))

    def test_commands_before_tls_are_none_of_tls(self):
        client = self.enterContext(support.connect(self.server.address))
        client.sendall(b"STARTTLS\r\nNOOP\r\n")  # in one segment
        self.assertNotIn(b"250", support.receive_to_end(client))
        self.assertEqual(self.server.log().count("starttls_injection"), 1)


class Operations(unittest.TestCase):
    def test_tls_operations(self):
        done = support.run_example("tls_operations", folder)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("all operations done\n", "", 0))

    def test_minimal_server(self):
        arguments = [file("server.pem"), file("server.key")]
        with support.Server("tls_minimal_server", arguments=arguments) as server:
            with client_context().wrap_socket(support.connect(server.address), server_hostname="localhost") as client:
                client.sendall(b"hello\n")
                self.assertEqual(support.receive_exactly(client, 6), b"hello\n")


if __name__ == "__main__":
    support.main()
