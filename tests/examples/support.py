# SPDX-License-Identifier: BSD-3-Clause
#
# support.py: starts an example, talks to it and stops it, whatever happens.
#
# A test script takes the folder of the built examples as its first argument or from SQUALL_EXAMPLES_DIR; what follows
# goes to unittest: `echo_clients.py build/dev/examples -v -k nc`. Its class of tests, decorated with for_each_example,
# runs once for each example, whose name is in self.example.
#
# Time       Every wait has a deadline, which says "never", not "too slow". A script that hangs all the same says where
#            and ends before ctest ends it.
# Lifetime   A server dies with the script that started it, also when that is killed.
import ctypes
import faulthandler
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

EXAMPLES = ("echo_server", "actor_echo")
DEADLINE = 20.0  # seconds, of one wait
SCRIPT_DEADLINE = 55.0  # seconds, below the TIMEOUT in tests/CMakeLists.txt

LISTENING_LINE = re.compile(r"listening on (?:(\[[0-9a-f:.]+\]|[0-9.]+):([0-9]+)|unix:(.+))\n")
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)


def examples_folder():
    """The folder of the built examples."""
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SQUALL_EXAMPLES_DIR")
    if not folder or not os.path.isdir(folder):
        sys.exit(f"usage: {sys.argv[0]} FOLDER_OF_THE_BUILT_EXAMPLES [ARGUMENTS OF UNITTEST...]")
    return folder


def example_path(example):
    return os.path.join(examples_folder(), example)


def for_each_example(tests):
    """Makes of the class `tests`, which is no TestCase, one for each example."""
    module = sys.modules[tests.__module__]
    for example in EXAMPLES:
        name = f"{tests.__name__}_{example}"
        members = {"example": example, "__module__": module.__name__}
        setattr(module, name, type(name, (tests, unittest.TestCase), members))
    return tests


def main():
    """Runs the tests of the script until one fails; a run that tests nothing fails, too."""
    examples_folder()
    faulthandler.dump_traceback_later(SCRIPT_DEADLINE, exit=True)
    result = unittest.main(module="__main__", argv=[sys.argv[0], *sys.argv[2:]], exit=False, failfast=True).result
    tested = result.testsRun - len(result.skipped)
    if tested == 0:
        print("no test ran", file=sys.stderr)
    sys.exit(0 if result.wasSuccessful() and tested > 0 else 1)


def wait_until(condition, what):
    """Waits for what tells nobody when it changes, such as /proc."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {DEADLINE:.0f} s in vain until {what}")
        time.sleep(0.01)


# -- programs ----------------------------------------------------------------------------------------------------------


def check_installed(program):
    if shutil.which(program) is None:
        raise FileNotFoundError(f"{program} is not installed: run scripts/install-packages test")


def popen(command):
    """Starts a program that talks; its output and its errors are one pipe of bytes."""
    check_installed(command[0])
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                            preexec_fn=die_with_parent)


def run(command, **options):
    """Runs a program to its end; its output is bytes."""
    check_installed(command[0])
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=DEADLINE, **options)


def make_certificates(folder, *names):
    """The throw-away certificates of the examples, for the servers `names`."""
    script = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "make_certificates")
    done = run([script, folder, *names])
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode())


def run_example(example, *arguments, **options):
    """Runs an example that is expected to end by itself; its output is text."""
    return run([example_path(example), *arguments], text=True, preexec_fn=die_with_parent, **options)


def read_line(pipe):
    """A line of a program's unbuffered output; less at its end."""
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], DEADLINE)[0]:
            raise TimeoutError(f"no line in {DEADLINE:.0f} s, only {line!r}")
        if not (byte := pipe.read(1)):
            break
        line += byte
    return line


def die_with_parent():
    """For preexec_fn: the program ends when the script ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


GIVE_SOCKETS = """
import os, sys
count = int(sys.argv[1])
high = [os.dup2(int(fd), 100 + i) for i, fd in enumerate(sys.argv[3:3 + count])]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES=sys.argv[2])
os.execv(sys.argv[3 + count], sys.argv[3 + count:])
"""


def with_inherited(sockets, command):
    """The command that starts `command` with named sockets, as systemd does (sd_listen_fds(3)); pass their fds."""
    if not sockets:
        return command
    return [sys.executable, "-c", GIVE_SOCKETS, str(len(sockets)), ":".join(sockets),
            *(str(given.fileno()) for given in sockets.values()), *command]


class Server:
    """A running example.

        with Server("echo_server", {"io_threads": 1}) as server:
            client = connect(server.address)

    `config` is its configuration; without "listen" it listens on any port of 127.0.0.1. Leaving the block ends the
    server by SIGTERM, unless it has ended, and expects status 0, or `expected_status`, and nothing on standard output but where it listens. An
    example that reads no configuration gets `arguments` instead.
    """

    def __init__(self, example, config=None, *, arguments=None, descriptor_limit=None, hard_descriptor_limit=None,
                 inherited=None, environment=None, expected_status=0, stderr=None):
        self.example = example
        self.arguments = arguments
        self.config = {"listen": [{"address": "127.0.0.1", "port": 0}], **(config or {})}
        self.descriptor_limit = descriptor_limit  # the soft one
        self.hard_descriptor_limit = hard_descriptor_limit  # both; a server cannot raise it
        self.inherited = inherited or {}  # names and sockets, which it gets as systemd would give them
        self.environment = environment or {}
        self.expected_status = expected_status
        self.stderr = stderr  # a file or a descriptor instead of what log() reads
        self.process = None
        self.addresses = []  # (host, port) or the path of a unix socket, in the order of the configuration
        self.output = b""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="squall-test-")
        try:
            self._start()
        except BaseException as error:
            self._end_at_once()
            error.add_note(f"log of {self.example}:\n{self.log() or '(empty)'}")
            self.folder.cleanup()
            raise
        return self

    def __exit__(self, kind, error, traceback):
        try:
            if error is None and self.process.returncode is None:
                self.stop()
            if error is None:
                self._check_end()
        except BaseException as wrong:
            error = wrong
            raise
        finally:
            self._end_at_once()
            if error is not None:
                error.add_note(f"log of {self.example}:\n{self.log() or '(empty)'}")
            self.folder.cleanup()

    @property
    def pid(self):
        return self.process.pid

    @property
    def address(self):
        return self.addresses[0]

    def send_signal(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Sends a signal and waits for the end. Returns the exit status."""
        self.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(DEADLINE)
        self.output += self.process.stdout.read()
        return status

    def log(self):
        """What it wrote to standard error until now."""
        with open(self._path("log"), "rb") as file:
            return file.read().decode(errors="backslashreplace")

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def settled_descriptor_count(self):
        """The same when no line of output is on its way, which opens its pipe once more for a moment."""
        def settled():
            folder = f"/proc/{self.pid}/fd"
            try:
                pipes = [link for link in (os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder))
                         if link.startswith("pipe:")]
            except FileNotFoundError:  # just closed
                return False
            return len(pipes) == len(set(pipes))
        wait_until(settled, "the server has written")
        return self.descriptor_count()

    def resident_size(self):
        """VmRSS in bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

    def _path(self, name):
        return os.path.join(self.folder.name, name)

    def _start(self):
        with open(self._path("config.json"), "w", encoding="utf-8") as file:
            json.dump(self.config, file)
        with open(self._path("log"), "wb") as log:
            self.process = subprocess.Popen(
                with_inherited(self.inherited, [example_path(self.example), *(self.arguments or ["--config", file.name])]),
                pass_fds=[given.fileno() for given in self.inherited.values()], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=self.stderr or log, bufsize=0, env={**os.environ, **self.environment},
                preexec_fn=self._prepare_child)
        self._read_addresses()
        if self.arguments:  # not by serve(), which handles SIGTERM before it prints
            wait_until(self._catches_sigterm, f"{self.example} handles SIGTERM")

    def _catches_sigterm(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt:"))
        return caught >> (signal.SIGTERM - 1) & 1 == 1

    def _prepare_child(self):
        die_with_parent()
        if self.descriptor_limit is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptor_limit, hard))
        if self.hard_descriptor_limit is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.hard_descriptor_limit,) * 2)

    def _read_addresses(self):
        for _ in self.config["listen"]:
            line = read_line(self.process.stdout)
            self.output += line
            if not line:
                raise ChildProcessError(f"{self.example} ended with status {self.wait()} after {self.output!r}")
            if (match := LISTENING_LINE.fullmatch(line.decode())) is None:
                raise ValueError(f"{self.example} printed {line!r} instead of where it listens")
            self.addresses.append(match[3] or (match[1].strip("[]"), int(match[2])))

    def _check_end(self):
        if self.process.returncode != self.expected_status:
            raise ChildProcessError(f"{self.example} ended with status {self.process.returncode}, "
                                    f"not {self.expected_status}")
        if self.output.count(b"\n") != len(self.addresses) or not self.output.endswith(b"\n"):
            raise ValueError(f"more on standard output than the addresses: {self.output!r}")

    def _end_at_once(self):
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        self.process.stdout.close()


# -- clients -----------------------------------------------------------------------------------------------------------


def connect(address, *, receive_buffer=None):
    """A connected socket, whose calls have a deadline. A small `receive_buffer` soon shows the server a slow reader."""
    if isinstance(address, str):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    client = socket.socket(family, socket.SOCK_STREAM)
    try:
        client.settimeout(DEADLINE)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect(address.replace("@", "\0", 1) if isinstance(address, str) and address[0] == "@" else address)
    except BaseException:
        client.close()
        raise
    return client


def receive_exactly(client, size):
    """`size` bytes. @raises ConnectionError when the connection ends before."""
    received = bytearray()
    while len(received) < size:
        chunk = client.recv(min(size - len(received), 1 << 20))
        if not chunk:
            raise ConnectionError(f"the server closed after {len(received)} of {size} bytes")
        received += chunk
    return bytes(received)


def receive_to_end_of_line(client):
    """A line, byte by byte. @raises ConnectionError when the connection ends before."""
    line = b""
    while not line.endswith(b"\n"):
        line += receive_exactly(client, 1)
    return line


def receive_to_end(client):
    """All bytes until the server closes."""
    received = bytearray()
    while chunk := client.recv(1 << 20):
        received += chunk
    return bytes(received)


def wait_for_end(client):
    """Drops what comes until the connection has ended, in order or by a reset."""
    try:
        while client.recv(1 << 20):
            pass
    except ConnectionResetError:
        pass


def reset_on_close(client):
    """Makes close() send a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def first_difference(expected, got):
    """For a message: where two long byte strings begin to differ."""
    at = next((i for i, (a, b) in enumerate(zip(expected, got)) if a != b), min(len(expected), len(got)))
    return (f"{len(got)} instead of {len(expected)} bytes; at {at}: {got[at:at + 40]!r} instead of "
            f"{expected[at:at + 40]!r}")
