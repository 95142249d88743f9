#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# proxy_protocol.py: curl and haproxy in front of a server: its handler sees the address of the client.
import os
import select
import socket
import subprocess
import tempfile
import threading
import unittest

import support

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"
FROM_LOOPBACK = {"from": ["127.0.0.0/8"]}

HAPROXY_CONFIG = """
global
    log stderr local0 warning
defaults
    mode tcp
    timeout connect 10s
    timeout client 20s
    timeout server 20s
frontend front
    bind fd@{listener}
    default_backend back
backend back
    server squall {server} {options}
"""


def listen_entry(proxy_protocol, **entry):
    return {"listen": [{**(entry or {"address": "127.0.0.1", "port": 0}), "proxy_protocol": proxy_protocol}]}


def ask(address, begin=b""):
    """What the server says, and the client's own address."""
    with support.connect(address) as client:
        name = client.getsockname()
        client.sendall(begin + REQUEST)
        return support.receive_to_end(client), name


class Relay:
    """Forwards connections from a port of its own, so that the server sees another address than the client's."""

    def __init__(self, target):
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.thread = threading.Thread(target=self.serve_one, daemon=True)
        self.thread.start()

    def serve_one(self):
        client, _ = self.listener.accept()
        with client, support.connect(self.target) as server:
            self.server_side = server.getsockname()
            while True:
                for ready in select.select([client, server], [], [], support.DEADLINE)[0]:
                    if not (data := ready.recv(65536)):
                        return
                    (server if ready is client else client).sendall(data)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.listener.close()
        self.thread.join(support.DEADLINE)


class Haproxy:
    """haproxy in front of a server, on a port that the system chooses."""

    def __init__(self, server, options):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.folder = tempfile.TemporaryDirectory(prefix="squall-test-")
        path = os.path.join(self.folder.name, "haproxy.cfg")
        where = f"unix@{server.address}" if isinstance(server.address, str) else "{}:{}".format(*server.address)
        with open(path, "w", encoding="utf-8") as file:
            file.write(HAPROXY_CONFIG.format(listener=self.listener.fileno(), server=where, options=options))
        self.process = subprocess.Popen(["haproxy", "-db", "-f", path], pass_fds=[self.listener.fileno()],
                                        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        preexec_fn=support.die_with_parent)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.terminate()
        self.process.wait(support.DEADLINE)
        self.listener.close()
        self.folder.cleanup()


class ProxyProtocol(unittest.TestCase):
    def start(self, config):
        return self.enterContext(support.Server("peer_address", config))

    def assert_is_told(self, got, name):
        self.assertEqual(got, HEAD + "{}:{}\n".format(*name).encode())

    def assert_refused(self, server, begin):
        with support.connect(server.address) as client:
            client.sendall(begin)
            support.wait_for_end(client)

    def test_curl(self):
        server = self.start(listen_entry(FROM_LOOPBACK))
        with Relay(server.address) as relay:
            done = support.run(["curl", "-sS", "--haproxy-protocol", "-w", "%{local_ip}:%{local_port}",
                                "http://{}:{}/".format(*relay.address)])
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        told, _, own = done.stdout.decode().partition("\n")
        self.assertEqual(told, own)
        self.assertNotEqual(told, "{}:{}".format(*relay.server_side))

    def test_haproxy(self):
        for options in "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c":
            with self.subTest(options):
                server = self.start(listen_entry(FROM_LOOPBACK))
                with Haproxy(server, options) as haproxy:
                    for _ in range(3):
                        self.assert_is_told(*ask(haproxy.address))

    def test_haproxy_over_a_unix_socket(self):
        folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        server = self.start(listen_entry({"from": ["unix"]}, unix=os.path.join(folder, "x.sock")))
        with Haproxy(server, "send-proxy-v2") as haproxy:
            got, name = ask(haproxy.address)
            self.assertIn("{}:{} of user {}\n".format(*name, os.getuid()).encode(), got)

    def test_without_a_header_nothing_is_served(self):
        server = self.start(listen_entry(FROM_LOOPBACK))
        self.assert_refused(server, REQUEST)
        support.wait_until(lambda: "proxy_header_refused" in server.log(), "it is logged")
        self.assert_is_told(ask(server.address, b"PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n")[0], ("192.0.2.1", 7))

    def test_nobody_else_is_believed(self):
        server = self.start(listen_entry({"from": ["192.0.2.0/24"]}))
        self.assert_refused(server, b"PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n" + REQUEST)

    def test_others_may_be_served_as_themselves(self):
        server = self.start(listen_entry({"from": ["192.0.2.0/24"], "untrusted": "serve"}))
        self.assert_is_told(*ask(server.address))
        begin = b"PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n"
        got, name = ask(server.address, begin)
        self.assert_is_told(got, name)

    def test_a_late_header_costs_its_connection(self):
        server = self.start(listen_entry({**FROM_LOOPBACK, "timeout": "100ms"}))
        self.assert_refused(server, b"PROXY TCP4 ")

    def test_other_sockets_ask_for_none(self):
        config = listen_entry(FROM_LOOPBACK)
        config["listen"].append({"address": "127.0.0.1", "port": 0})
        server = self.start(config)
        self.assert_is_told(*ask(server.addresses[1]))
        self.assert_refused(server, REQUEST)


if __name__ == "__main__":
    support.main()
