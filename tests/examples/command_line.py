#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# command_line.py: the options of a server, its exit statuses, what it prints where, and what a configuration does.
import glob
import json
import os
import re
import socket
import tempfile

import support

SOURCE_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KIBI = 1 << 10
MEBI = 1 << 20
LOG_KEYS = {"time", "level", "event", "message"}
TEXT_LINE = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info unsatisfiable_read: [^"]+( \w+="[^"]*")*\n')
ANY_PORT = {"address": "127.0.0.1", "port": 0}


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@support.for_each_example
class CommandLine:
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))

    def config_file(self, content):
        """A file with `content`: text, or what is written as JSON."""
        path = os.path.join(self.folder, "config.json")
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def run_example(self, *arguments, **options):
        return support.run_example(self.example, *arguments, **options)

    def assert_refused(self, *arguments, saying=(), status=2):
        """Ends at once, silent on standard output and with each of `saying` on standard error."""
        done = self.run_example(*arguments)
        self.assertEqual((done.stdout, done.returncode), ("", status), done.stderr)
        self.assertNotEqual(done.stderr, "")
        self.assertLess(len(done.stderr), 8 * KIBI)
        for text in saying:
            self.assertIn(text, done.stderr)
        return done.stderr

    # -- options --

    def test_help(self):
        for option in "--help", "-h":
            done = self.run_example(option)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for name in "--config", "--check", "--help":
                self.assertIn(name, done.stdout)

    def test_unknown_option(self):
        self.assert_refused("--port=8888", saying=["--port", "usage:"])
        self.assert_refused("-x", saying=["usage:"])

    def test_unexpected_argument(self):
        self.assert_refused("8888", saying=["8888", "usage:"])
        self.assert_refused("--check", "config.json", saying=["config.json", "usage:"])

    def test_option_with_a_missing_or_needless_value(self):
        self.assert_refused("--config", saying=["--config", "usage:"])
        self.assert_refused("--check=yes", saying=["--check", "usage:"])

    def test_file_that_cannot_be_read(self):
        for path in os.path.join(self.folder, "missing.json"), self.folder, "":
            self.assert_refused("--config", path, saying=[path])
            self.assert_refused("--config", path, "--check", saying=[path])

    def test_file_that_is_no_regular_one(self):
        fifo = os.path.join(self.folder, "fifo")
        os.mkfifo(fifo)  # nobody writes into it
        certificates = self.config_file({"tls": {"certificate": fifo, "key": fifo}})
        for path, why in (fifo, "is a FIFO"), (self.folder, "is a directory"), (certificates, "is a FIFO"):
            self.assert_refused("--config", path, saying=[why])
            self.assert_refused("--config", path, "--check", saying=[why])

    # -- checking a configuration --

    def test_check_of_a_valid_configuration(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:  # which the check must not mind
            config = {"listen": [{"address": "127.0.0.1", "port": taken.getsockname()[1]}]}
            for content in {}, config:
                done = self.run_example("--check", "--config", self.config_file(content))
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertNotIn("listening", done.stdout)

    def test_check_of_the_configurations_of_the_examples(self):
        paths = glob.glob(os.path.join(SOURCE_FOLDER, "examples", "*.json"))
        self.assertIn(f"{self.example}.json", map(os.path.basename, paths))
        support.make_certificates(os.path.join(self.folder, "certificates"))
        for path in paths:
            done = self.run_example("--check", "--config", path, cwd=self.folder)
            self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_all_mistakes_at_once(self):
        path = self.config_file({
            "listen": [{"port": 70000}, {"adress": "127.0.0.1", "family": "ipx"}],
            "io_threads": -1,
            "stream": {"max_buffer_size": "64", "linger_timeout": 10, "a/b~c": 1},
            "log": {"level": "loud"},
            "logs": {}})
        pointers = ["/listen/0/port", "/listen/1/adress", "/listen/1/family", "/io_threads", "/stream/max_buffer_size",
                    "/stream/linger_timeout", "/stream/a~1b~0c", "/log/level", "/logs"]
        for arguments in (), ("--check",):
            told = self.assert_refused("--config", path, *arguments)
            found = re.findall(r"(/\S*): found", told)
            self.assertEqual(found, pointers, told)

    def test_what_is_no_json(self):
        for content in "", "{", '{"listen": [,]}', "listen = 8888", "{} {}", "[]", "null":
            with self.subTest(content):
                self.assert_refused("--check", "--config", self.config_file(content), saying=["config.json"])

    def test_hostile_documents(self):
        documents = {"nested arrays": "[" * 1_000_000, "nested objects": '{"a":' * 200_000,
                     "nested values of a key": '{"listen": ' + "[" * 1_000_000,
                     "2 MiB": " " * (2 * MEBI - 2) + "{}", "a string of 2 MiB": '{"' + "a" * (2 * MEBI) + '": 1}'}
        for name, content in documents.items():
            for arguments in (), ("--check",):
                with self.subTest(name, arguments=arguments):
                    self.assert_refused("--config", self.config_file(content), *arguments, saying=["config.json"])

    # -- listening --

    def test_several_addresses(self):
        config = {"listen": [ANY_PORT, ANY_PORT, {**ANY_PORT, "address": "localhost", "family": "ipv4"}]}
        if has_ipv6():
            config["listen"].append({"address": "::1", "port": 0})
        with support.Server(self.example, config) as server:
            hosts = ["127.0.0.1"] * 3 + ["::1"] * (len(config["listen"]) - 3)
            self.assertEqual([host for host, _ in server.addresses], hosts)
            self.assertEqual(len(set(server.addresses)), len(config["listen"]))
            for address in server.addresses:
                with support.connect(address) as client:
                    client.sendall(b"hello\n")
                    self.assertEqual(support.receive_exactly(client, 6), b"hello\n")

    def test_given_port(self):
        with support.Server(self.example) as server:
            address = server.address
        with support.Server(self.example, {"listen": [{"address": "127.0.0.1", "port": address[1]}]}) as server:
            self.assertEqual(server.address, address)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            mine = {"address": "127.0.0.1", "port": port}
            for listen in [mine], [ANY_PORT, mine]:
                self.assert_refused("--config", self.config_file({"listen": listen}), saying=[f"127.0.0.1:{port}"],
                                    status=1)

    def test_address_that_the_machine_does_not_have(self):
        path = self.config_file({"listen": [{"address": "192.0.2.1", "port": 0}]})  # RFC 5737: nobody has it
        self.assert_refused("--config", path, saying=["192.0.2.1"], status=1)

    def test_default_address(self):
        with socket.socket() as taken:  # it keeps the server off the port, where the test must not start one
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # for this test, running twice at a time
            try:
                taken.bind(("127.0.0.1", 8888))
                taken.listen()
            except OSError:
                pass  # somebody else listens there: as good
            self.assert_refused(saying=["127.0.0.1:8888"], status=1)

    # -- logging --

    def provoke_log_line(self, **log):
        """What the server logs of one read that passes its limit."""
        with support.Server(self.example, {"stream": {"max_buffer_size": "1KiB"}, "log": log}) as server:
            with support.connect(server.address) as client:
                client.sendall(b"x" * (4 * KIBI))
                support.wait_for_end(client)
            self.assertEqual(server.stop(), 0)
            # A handler that lets the error go tells of its end as well.
            return "".join(line for line in server.log().splitlines(True) if "connection_ended" not in line)

    def test_log_as_text(self):
        for log in {}, {"format": "text", "level": "info"}:
            self.assertRegex(self.provoke_log_line(**log), rf"\A{TEXT_LINE.pattern}\Z")

    def test_log_as_json(self):
        lines = self.provoke_log_line(format="json").splitlines()
        self.assertEqual(len(lines), 1, lines)
        event = json.loads(lines[0])
        self.assertEqual(LOG_KEYS - set(event), set())
        self.assertEqual((event["level"], event["event"]), ("info", "unsatisfiable_read"))

    def test_log_below_its_level(self):
        for level in "warning", "off":
            self.assertEqual(self.provoke_log_line(level=level), "")


if __name__ == "__main__":
    support.main()
