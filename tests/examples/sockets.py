#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# sockets.py: servers on unix sockets and on sockets that they were started with.
import os
import signal
import socket
import stat
import subprocess
import tempfile
import unittest

import support


@support.for_each_example
class UnixSockets:
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        self.path = os.path.join(self.folder, "x.sock")

    def start(self, **entry):
        return self.enterContext(support.Server(self.example, {"listen": [{"unix": self.path, **entry}]}))

    def assert_served(self, address):
        with support.connect(address) as client:
            client.sendall(b"hello\n")
            self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_serves_and_removes_its_file(self):
        server = self.start()
        self.assertEqual(server.address, self.path)
        self.assertEqual(stat.S_IMODE(os.lstat(self.path).st_mode), 0o600)
        self.assert_served(self.path)
        self.assertEqual(server.stop(), 0)
        self.assertFalse(os.path.lexists(self.path))

    def test_has_the_mode_that_it_is_told(self):
        self.start(mode="0666")
        self.assertEqual(stat.S_IMODE(os.lstat(self.path).st_mode), 0o666)

    def test_replaces_what_a_killed_server_left(self):
        with support.Server(self.example, {"listen": [{"unix": self.path}]}) as server:
            server.send_signal(signal.SIGKILL)
            server.process.wait(support.DEADLINE)
            self.assertTrue(os.path.lexists(self.path))
            server.process.returncode = 0  # this end was wanted
        self.start()
        self.assert_served(self.path)

    def test_leaves_a_live_server_alone(self):
        self.start()
        config = os.path.join(self.folder, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write('{"listen": [{"unix": "%s"}]}' % self.path)
        done = support.run_example(self.example, "--config", config)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a server answers there", done.stderr)
        self.assert_served(self.path)

    def test_abstract_names(self):
        self.path = f"@squall-test-{self.example}-{os.getpid()}"
        self.start()
        self.assert_served(self.path)


class InheritedSockets(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        self.sockets = {name: self.enterContext(socket.create_server(("127.0.0.1", 0))) for name in ("web", "admin")}

    def assert_served(self, address):
        with support.connect(address) as client:
            client.sendall(b"hello\n")
            self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_by_name_and_by_index(self):
        for entries, names in (([{"inherited": "admin"}, {"inherited": "web"}], ("admin", "web")),
                               ([{"inherited": "0"}, {"inherited": 1}], ("web", "admin"))):
            with support.Server("echo_server", {"listen": entries}, inherited=self.sockets) as server:
                self.assertEqual(server.addresses, [self.sockets[name].getsockname() for name in names])
                for address in server.addresses:
                    self.assert_served(address)

    def test_connections_wait_through_a_restart(self):
        address = self.sockets["web"].getsockname()
        config = {"listen": [{"inherited": "web"}]}
        for _ in range(5):
            with support.connect(address) as client:  # nobody is there yet
                client.sendall(b"hello\n")
                with support.Server("echo_server", config, inherited=self.sockets):
                    self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_the_file_of_a_unix_socket_stays_its_makers(self):
        path = os.path.join(self.folder, "x.sock")
        given = self.enterContext(socket.socket(socket.AF_UNIX))
        given.bind(path)
        given.listen()
        with support.Server("echo_server", {"listen": [{"inherited": "x"}]}, inherited={"x": given}) as server:
            self.assertEqual(server.address, path)
            self.assert_served(path)
        self.assertTrue(os.path.lexists(path))

    def test_an_unknown_name_tells_the_known_ones(self):
        config = os.path.join(self.folder, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write('{"listen": [{"inherited": "wob"}]}')
        command = [support.example_path("echo_server"), "--config", config]
        done = support.run(support.with_inherited(self.sockets, command), text=True,
                           pass_fds=[given.fileno() for given in self.sockets.values()])
        self.assertEqual(done.returncode, 1)
        self.assertIn('there are "web", "admin"', done.stderr)
        done = support.run(command, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("inherited none", done.stderr)


class SocketActivation(unittest.TestCase):
    """The example that uses no actors."""

    def greet(self, command, **options):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
                                   preexec_fn=support.die_with_parent, **options)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def test_on_an_inherited_socket(self):
        with socket.create_server(("127.0.0.1", 0)) as given:
            command = support.with_inherited({"web": given}, [support.example_path("socket_activation")])
            process = self.greet(command, pass_fds=[given.fileno()])
            self.assertEqual(support.read_line(process.stdout), b"web: 127.0.0.1:%d\n" % given.getsockname()[1])
            with support.connect(given.getsockname()) as client:
                self.assertEqual(support.receive_to_end(client), b"hello\n")
            self.assertEqual(process.wait(support.DEADLINE), 0)

    def test_on_a_unix_socket(self):
        with tempfile.TemporaryDirectory(prefix="squall-test-") as folder:
            path = os.path.join(folder, "x.sock")
            process = self.greet([support.example_path("socket_activation"), path])
            self.assertEqual(support.read_line(process.stdout), b"unix: unix:%s\n" % path.encode())
            self.assertEqual(stat.S_IMODE(os.lstat(path).st_mode), 0o660)
            with support.connect(path) as client:
                self.assertEqual(support.receive_to_end(client), b"hello\n")
            self.assertEqual(process.wait(support.DEADLINE), 0)
            self.assertFalse(os.path.lexists(path))


if __name__ == "__main__":
    support.main()
