#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# tls_server.py: what tls_echo offers and refuses, and how it changes its certificate while it runs.
import json
import os
import shutil
import signal
import ssl
import tempfile
import unittest
import warnings
from xml.etree import ElementTree

import support

# TLS 1.3 has no others that it needs; of TLS 1.2 those with ECDHE and AEAD.
SAFE_SUITE = r"TLS_AES_(128_GCM_SHA256|256_GCM_SHA384)|TLS_CHACHA20_POLY1305_SHA256" \
             r"|ECDHE-(ECDSA|RSA)-(AES(128-GCM-SHA256|256-GCM-SHA384)|CHACHA20-POLY1305)"


def unverified(**more):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for name, value in more.items():
        setattr(context, name, value)
    return context


class Scan(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        support.make_certificates(self.folder)

    def start(self, **more):
        return self.enterContext(support.Server("tls_echo", {"tls": {
            "certificate": os.path.join(self.folder, "server.pem"), "key": os.path.join(self.folder, "server.key"), **more}}))

    def scan(self, server):
        host, port = server.address
        done = support.run(["sslscan", "--xml=-", f"{host}:{port}"])
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return ElementTree.fromstring(done.stdout).find("ssltest")

    def enabled(self, scan):
        return {item.get("type") + item.get("version") for item in scan.iter("protocol") if item.get("enabled") == "1"}

    def test_offers_only_what_is_safe(self):
        scan = self.scan(self.start())
        self.assertEqual(self.enabled(scan), {"tls1.2", "tls1.3"})
        suites = [item.get("cipher") for item in scan.iter("cipher")]
        self.assertGreaterEqual(len(suites), 6)
        for suite in suites:
            self.assertRegex(suite, f"^({SAFE_SUITE})$")
        self.assertEqual({item.get("supported") for item in scan.iter("renegotiation")}, {"0"})
        self.assertEqual({item.get("vulnerable") for item in scan.iter("heartbleed")}, {"0"})
        self.assertNotIn("1", [item.get("supported") for item in scan.iter("compression")])
        for group in scan.iter("group"):  # of finite fields: dear to the server, cheap to the client (CVE-2002-20001)
            self.assertNotIn("ffdhe", group.get("name"))

    def test_offers_no_more_than_it_is_told(self):
        scan = self.scan(self.start(min_version="1.3", ciphersuites="TLS_CHACHA20_POLY1305_SHA256"))
        self.assertEqual(self.enabled(scan), {"tls1.3"})
        self.assertEqual([item.get("cipher") for item in scan.iter("cipher")], ["TLS_CHACHA20_POLY1305_SHA256"])

    def test_no_compression(self):
        server = self.start()
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = unverified(maximum_version=version)
            context.options &= ~ssl.OP_NO_COMPRESSION
            with context.wrap_socket(support.connect(server.address)) as client:
                self.assertIsNone(client.compression())

    def test_refuses_old_versions(self):
        server = self.start()
        for version in ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1:
            with self.subTest(version.name):
                context = unverified()
                context.set_ciphers("ALL:@SECLEVEL=0")
                with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # old they are
                    context.minimum_version = context.maximum_version = version
                with support.connect(server.address) as client:
                    with self.assertRaisesRegex(ssl.SSLError, "alert protocol version"):
                        context.wrap_socket(client)


class Running(unittest.TestCase):
    """While tls_echo runs."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        self.use_certificate_of("first.example")
        self.server = self.enterContext(support.Server("tls_echo", {"tls": {
            "certificate": self.path("server.pem"), "key": self.path("server.key")}}))

    def path(self, name):
        return os.path.join(self.folder, name)

    def use_certificate_of(self, name):
        support.make_certificates(self.folder, name)

    def connect(self, name):
        """A client that trusts what make_certificates wrote last, and expects `name`."""
        context = ssl.create_default_context(cafile=self.path("ca.pem"))
        return self.enterContext(context.wrap_socket(support.connect(self.server.address), server_hostname=name))

    def assert_echoes(self, client):
        client.sendall(b"hello\n")
        self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def events(self, name):
        return [line for line in self.server.log().splitlines() if f" {name}: " in line]

    def hang_up(self, event, count):
        """SIGHUP, and what it leads to."""
        self.server.send_signal(signal.SIGHUP)
        support.wait_until(lambda: len(self.events(event)) == count, f"{event} is logged")
        return self.events(event)[-1]

    def test_hangup_takes_the_new_certificate(self):
        before = self.connect("first.example")
        self.assert_echoes(before)
        for i in range(1, 4):
            self.use_certificate_of(f"second{i}.example")
            self.hang_up("tls_reloaded", i)
            self.assert_echoes(self.connect(f"second{i}.example"))
            self.assert_echoes(before)
        self.assertEqual(self.events("tls_reload_failed"), [])

    def test_hangup_with_a_fifo_keeps_the_old_one(self):
        """Nobody writes into it: whoever opens it for reading would wait for ever."""
        before = self.connect("first.example")
        for name in "server.pem", "server.key":
            kept = self.path("kept")
            os.rename(self.path(name), kept)
            os.mkfifo(self.path(name))
            failed = self.hang_up("tls_reload_failed", 1 if name == "server.pem" else 2)
            self.assertIn(name, failed)
            self.assertIn("is a FIFO", failed)
            self.assert_echoes(before)
            self.assert_echoes(self.connect("first.example"))
            os.rename(kept, self.path(name))

    def test_hangup_with_a_broken_pair_keeps_the_old_one(self):
        before = self.connect("first.example")
        shutil.copy(self.path("ca.pem"), self.path("old_ca.pem"))
        shutil.copy(self.path("client.key"), self.path("server.key"))
        line = self.hang_up("tls_reload_failed", 1)
        self.assertIn(" error ", line)
        self.assertIn(self.path("server.key"), line)
        self.assertIn("does not belong to", line)
        self.assert_echoes(self.connect("first.example"))
        with open(self.path("server.pem"), "w", encoding="ascii") as file:
            file.write("-----BEGIN CERTIFICATE-----\n")
        self.assertIn(self.path("server.pem"), self.hang_up("tls_reload_failed", 2))
        os.remove(self.path("server.pem"))
        self.assertIn("No such file or directory", self.hang_up("tls_reload_failed", 3))
        self.assert_echoes(self.connect("first.example"))
        self.assert_echoes(before)
        self.use_certificate_of("mended.example")
        self.hang_up("tls_reloaded", 1)
        self.assert_echoes(self.connect("mended.example"))

    def test_a_pair_that_is_renamed_into_place(self):
        fresh = os.path.join(self.folder, "fresh")
        support.make_certificates(fresh, "renamed.example")
        for name in "server.pem", "server.key", "ca.pem":
            os.rename(os.path.join(fresh, name), self.path(name))
        self.hang_up("tls_reloaded", 1)
        self.assert_echoes(self.connect("renamed.example"))

    def test_http_on_a_port_of_tls(self):
        with support.connect(self.server.address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(support.receive_to_end(client), b"")  # OpenSSL tells no alert to those who speak no TLS
        self.assertEqual(len(self.events("tls_failed")), 1)
        self.assertIn('error="http request"', self.events("tls_failed")[0])
        self.assertNotIn("GET", self.server.log())
        self.assert_echoes(self.connect("first.example"))

    def test_a_connection_that_says_nothing_of_tls(self):
        for garbage in b"\0" * 5, b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\n", os.urandom(4000):
            with self.subTest(garbage[:10]), support.connect(self.server.address) as client:
                client.sendall(garbage)
                client.shutdown(1)
                support.wait_for_end(client)
        self.assert_echoes(self.connect("first.example"))

    def test_a_damaged_hello(self):
        with support.connect(self.server.address) as client:
            client.sendall(b"\x16\x03\x01\x00\x06" + b"\x01\x00\x00\x02ab")  # a ClientHello of two bytes
            answer = support.receive_to_end(client)
        self.assertEqual(answer[:1] + answer[5:6], b"\x15\x02", answer)  # an alert that is fatal: RFC 8446, 5.1 and 6
        self.assertEqual(len(self.events("tls_failed")), 1)
        self.assert_echoes(self.connect("first.example"))


class Configuration(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        support.make_certificates(self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def tls(self, **more):
        return {"certificate": self.path("server.pem"), "key": self.path("server.key"), **more}

    def encrypt_key(self):
        done = support.run(["openssl", "pkey", "-in", self.path("server.key"), "-aes256", "-passout", "pass:sesame",
                            "-out", self.path("encrypted.key")])
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return self.path("encrypted.key")

    def check(self, config):
        path = self.path("config.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
        return support.run_example("tls_echo", "--config", path, "--check")

    def test_key_with_a_password(self):
        config = {"tls": self.tls(key=self.encrypt_key(), key_password="sesame")}
        with support.Server("tls_echo", config) as server:
            with unverified().wrap_socket(support.connect(server.address)) as client:
                client.sendall(b"hello\n")
                self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
        for password, advice in ("wrong", "check key_password"), ("", "set key_password if it is encrypted"):
            with self.subTest(password):
                done = self.check({"tls": self.tls(key=self.encrypt_key(), key_password=password)})
                self.assertEqual((done.stdout, done.returncode), ("", 2))
                self.assertIn("encrypted.key", done.stderr)
                self.assertIn(advice, done.stderr)
                self.assertNotIn("wrong", done.stderr)  # no secret leaves

    def test_entries_differ(self):
        other = self.path("other")
        support.make_certificates(other, "other.example")
        of_other = {"certificate": os.path.join(other, "server.pem"), "key": os.path.join(other, "server.key")}
        any_port = {"address": "127.0.0.1", "port": 0}
        config = {"tls": self.tls(), "listen": [any_port, {**any_port, "tls": False}, {**any_port, "tls": of_other}]}
        with support.Server("tls_echo", config) as server:
            for address, name, folder in (server.addresses[0], "localhost", self.folder), \
                                         (server.addresses[2], "other.example", other):
                context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
                with context.wrap_socket(support.connect(address), server_hostname=name) as client:
                    client.sendall(b"hello\n")
                    self.assertEqual(support.receive_exactly(client, 6), b"hello\n")
            with support.connect(server.addresses[1]) as client:
                client.sendall(b"hello\n")
                self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_handshake_timeout(self):
        with support.Server("tls_echo", {"tls": self.tls(handshake_timeout="1ms")}) as server:
            with support.connect(server.address) as client:
                support.wait_for_end(client)
            self.assertIn("tls_handshake_timed_out", server.log())


if __name__ == "__main__":
    support.main()
