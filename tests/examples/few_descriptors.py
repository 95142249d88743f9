#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# few_descriptors.py: with too few descriptors a program says so and ends with a status; it does not abort.
import concurrent.futures
import os
import resource
import selectors
import signal
import stat
import subprocess
import tempfile
import time
import unittest

import support

# With others some examples get as far as to wait for a connection that cannot be accepted, for their own half minute.
LIMITS = (3, 4, 5, 6, 10, 12, 14)
LOADER_FAILED = 127  # it had no descriptor for the libraries


class FewDescriptorsTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory(prefix="squall-test-"))
        support.make_certificates(self.folder)
        self.config = os.path.join(self.folder, "config.json")
        with open(self.config, "w", encoding="ascii") as file:
            support.json.dump({"listen": [{"address": "127.0.0.1", "port": 0}]}, file)

    def arguments(self, example):
        pair = [os.path.join(self.folder, f"server.{end}") for end in ("pem", "key")]
        return {"actor_echo": ["--config", self.config], "echo_server": ["--config", self.config],
                "peer_address": ["--config", self.config], "tls_echo": ["--config", self.config],
                "bind_start": ["2"], "configured_server": [self.config], "tcp_client": ["localhost", "1"],
                "starttls_server": pair, "tls_minimal_server": pair, "tls_operations": [self.folder],
                "tls_client": ["127.0.0.1", "1", "localhost", os.path.join(self.folder, "ca.pem")],
                "socket_activation": [os.path.join(self.folder, "socket")]}.get(example, [])

    def run_with(self, example, limit):
        """The exit status, and what was said; a status of None: it serves."""
        def prepare():
            support.die_with_parent()
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        process = subprocess.Popen([support.example_path(example), *self.arguments(example)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=self.folder,
                                   preexec_fn=prepare)
        output = b""
        deadline = time.monotonic() + support.DEADLINE
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                while chunk := (selector.select(deadline - time.monotonic()) and process.stdout.read(4096)):
                    output += chunk
                    if b"listening on " in output or b"unix: " in output:
                        break
            if process.poll() is None and output:
                process.terminate()  # it serves, or has a child that fails
            return process.wait(support.DEADLINE), output, process.stderr.read()
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait(support.DEADLINE)
            for pipe in process.stdin, process.stdout, process.stderr:
                pipe.close()

    def test_no_example_aborts(self):
        examples = [name for name in sorted(os.listdir(support.examples_folder()))
                    if os.stat(support.example_path(name)).st_mode & stat.S_IXUSR
                    and os.path.isfile(support.example_path(name))]
        self.assertIn("minimal_server", examples)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            runs = {(example, limit): pool.submit(self.run_with, example, limit)
                    for example in examples for limit in LIMITS}
        refused = set()
        for (example, limit), run in runs.items():
            status, output, errors = run.result()
            with self.subTest(example, limit=limit):
                if status == LOADER_FAILED and b"shared libraries" in errors:
                    continue
                self.assertIn(status, (0, 1, -signal.SIGTERM), (output, errors))
                if status == 1:
                    self.assertRegex(errors, rb"\S+", output)
                    refused.add(example)
        self.assertLess({"minimal_server", "echo_server", "operations", "stream_reads"}, refused)


if __name__ == "__main__":
    support.main()
