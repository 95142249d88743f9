# SPDX-License-Identifier: BSD-3-Clause
#
# harness.py: what the drivers share: processes that end however the driver ends, pinned to cores; servers that all run
# at once and are measured in turns; who else used the machine meanwhile; ratios of a round; tables.

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import selectors
import shlex
import signal
import statistics
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parent.parent

INSTALL_TIMEOUT = 900
BUILD_TIMEOUT = 3600
START_TIMEOUT = 20
STOP_TIMEOUT = 20
LOAD_TIMEOUT = 60  # beyond the warm-up and the measured window
WARM_UP = 0.3

# Beyond this share of a core, other processes change the figures visibly.
QUIET_SHARE = 0.05


class Failure(Exception):
    """A measurement that gives no figure, or a step without which there is none at all."""


# Processes


class Interrupts:
    """Turns the first SIGINT, SIGTERM or SIGHUP into a KeyboardInterrupt, so that every `finally` is passed.

    Further ones are ignored: cleaning up is bounded in time. While a process is being started they wait, else
    one could be started and not be known yet."""

    def __init__(self):
        self._deferring = False
        self._pending = False
        self._raised = False

    def install(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, *_):
        self._pending = True
        if not self._deferring:
            self._deliver()

    def _deliver(self):
        if self._pending and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def deferred(self):
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self._deliver()


interrupts = Interrupts()


@contextlib.contextmanager
def pinned(core):
    """Processes started meanwhile, and all their threads, run on `core`; None: anywhere."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextlib.contextmanager
def child(command, core=None, **options):
    """A running program, which has ended when the block is left, however it is left.

    By default in a process group of its own: Ctrl-C reaches it through this program only, and what it has
    started ends with it."""
    options.setdefault("start_new_session", True)
    process = None
    try:
        with interrupts.deferred(), pinned(core):
            process = subprocess.Popen(command, **options)
        yield process
    finally:
        if process is not None:
            end(process)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def end(process):
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)


def read_line(process, timeout, what):
    """One line of the process's stdout, read without buffering ahead."""
    deadline = time.monotonic() + timeout
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0, deadline - time.monotonic())):
                raise Failure(f"{what} said nothing within {timeout} s")
            byte = os.read(process.stdout.fileno(), 1)
            if not byte:
                raise Failure(f"{what} ended before it was ready")
            line += byte
    return line.decode(errors="replace").rstrip("\n")


@contextlib.contextmanager
def running(name, command, core):
    """A freshly started server, as (process, port); its end is part of what is checked."""
    with child(command, core, stdout=subprocess.PIPE) as process:
        line = read_line(process, START_TIMEOUT, name)
        announced = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line)
        if not announced:
            raise Failure(f"{name} printed `{line}` instead of where it listens")
        yield process, int(announced[1])
        end(process)
        if process.returncode != 0:
            raise Failure(f"{name} ended with status {process.returncode} on SIGTERM")


@contextlib.contextmanager
def fleet(commands, failed):
    """The servers of `commands`, a (command, core) by key, all at once: (process, port) by key.

    One that does not start is left out. `failed(key, error)` hears of that, and of one that does not end as it should."""
    def finish(key, server):
        try:
            server.__exit__(None, None, None)
        except Failure as error:
            failed(key, error)

    with contextlib.ExitStack() as stack:
        servers = {}
        for key, (command, core) in commands.items():
            server = running(str(key), command, core)
            try:
                servers[key] = server.__enter__()
            except (Failure, OSError) as error:
                failed(key, error)
            else:
                stack.callback(finish, key, server)
        yield servers


# Building


def step(command, timeout, **options):
    """One step of the build; its output goes to stderr, where it cannot end up in the table."""
    print("+", shlex.join(command), file=sys.stderr, flush=True)
    with child(command, cwd=TOP, stdout=sys.stderr.fileno(), **options) as process:
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"`{shlex.join(command)}` took longer than {timeout} s") from None
    if status != 0:
        raise Failure(f"`{shlex.join(command)}` failed with status {status}")


def build(packages, *targets):
    """Installs what is missing and builds the release preset: all of it, or `targets`."""
    # In this session: it may have to ask for a password on the terminal.
    step(["scripts/install-packages", packages], INSTALL_TIMEOUT, start_new_session=False)
    step(["cmake", "--preset", "release", "-DSQUALL_BUILD_BENCHMARKS=ON"], BUILD_TIMEOUT)
    more = ["--target", *targets] if targets else []
    step(["cmake", "--build", "--preset", "release", *more], BUILD_TIMEOUT)


# The machine


def siblings(core):
    path = f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"
    try:
        text = pathlib.Path(path).read_text(encoding="ascii")
    except OSError:
        return {core}
    ranges = [part.split("-") for part in text.strip().split(",")]
    return {number for part in ranges for number in range(int(part[0]), int(part[-1]) + 1)}


def choose_cores():
    """One core for the server, one for the load: two hardware threads of one core would slow each other. A
    single core has to serve both."""
    allowed = sorted(os.sched_getaffinity(0))
    server = allowed[-1]
    others = [core for core in allowed if core != server]
    apart = [core for core in others if core not in siblings(server)]
    return server, (apart or others or [server])[0]


def processor_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def describe_machine(server_core, load_core):
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average_at_start": os.getloadavg()[0],
        "server_core": server_core,
        "load_core": load_core,
    }


def busy_seconds():
    """Processor time that all processes of the machine, and others on its host, have used so far."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _wait, irq, soft_irq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + soft_irq + steal) / os.sysconf("SC_CLK_TCK")


def seconds_of(pid):
    """Processor time that a running process has used so far; pid None: that of all ended children."""
    if pid is None:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        after_name = file.read().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


class Disturbance:
    """How much of a core others use while one server, if there is one, and its load run: idle servers, too."""

    def __init__(self, server_pid=None):
        self._pid = server_pid
        self._began = time.monotonic()
        self._before = self._others()

    def _others(self):
        server = 0 if self._pid is None else seconds_of(self._pid)
        return busy_seconds() - server - seconds_of(None)

    def share(self):
        """To be called when the load has ended and the server has not."""
        return max(0.0, self._others() - self._before) / (time.monotonic() - self._began)


def machine_line(machine):
    where = f"server on core {machine['server_core']}, load on core {machine['load_core']}"
    if machine["server_core"] == machine["load_core"]:
        where = ("**one core only, which server and load have to share: throughput and latencies are those "
                 "of both together**")
    return (f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
            f"load average at the start {machine['load_average_at_start']:.2f}; {where}.")


def disturbance_notes(shares):
    """What the reader has to know of the shares of a core that others used; no line when they were quiet."""
    if not shares or max(shares) <= QUIET_SHARE:
        return []
    return [f"- **Disturbed**: other processes took {statistics.median(shares):.0%} of a core (at worst "
            f"{max(shares):.0%}) while this was measured. Repeat it on a quiet machine."]


# Measuring


def measure_window(server, load_command, load_core, seconds):
    """The load's figures for one measured window of `server`, as of a fleet; and what others used meanwhile."""
    if server is None:
        raise Failure("the server did not start")
    process, port = server
    if process.poll() is not None:
        raise Failure(f"the server ended with status {process.returncode}")
    disturbance = Disturbance(process.pid)
    with child(load_command(port, process.pid), load_core, stdout=subprocess.PIPE) as load:
        try:
            output, _ = load.communicate(timeout=seconds + WARM_UP + LOAD_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failure("the load did not end in time") from None
    if load.returncode != 0:
        raise Failure(f"the load failed with status {load.returncode}")
    return json.loads(output) | {"other_cpu_share": disturbance.share()}


def in_turn(everything, turn):
    """`everything` in the order of this round: another goes first each time, so that none always follows the same
    neighbour's heat."""
    first = turn % len(everything)
    return everything[first:] + everything[:first]


def attempt(name, what, measurement, failures):
    """What `measurement` returns; None when it failed, which is added to `failures`."""
    print(f"{name}: {what}", file=sys.stderr, flush=True)
    try:
        return measurement()
    except (Failure, subprocess.TimeoutExpired, OSError) as error:
        print(f"{name}: {what}: {error}", file=sys.stderr, flush=True)
        failures.append(f"{what}: {error}")
        return None


# Figures


def values(rounds, key):
    """A figure of each round that succeeded."""
    return [figures[key] for figures in rounds if figures is not None]


def ratios(reference, rounds, key):
    """A figure against that of the reference in the same round, of each round in which both succeeded."""
    return [figures[key] / other[key] for other, figures in zip(reference, rounds)
            if figures is not None and other is not None]


def shown(value):
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def spread(some):
    """The median, the least and the greatest of `some`."""
    if not some:
        return "–"
    return f"{shown(statistics.median(some))} ({shown(min(some))}–{shown(max(some))})"


def limit_text(value, limit):
    """A limit, (sign, bound), bold when `value` does not hold it; None: nobody knows."""
    sign, bound = limit
    holds = value is None or (value >= bound if sign == "≥" else value <= bound)
    return f"{sign} {bound:g}" if holds else f"**{sign} {bound:g}**"


def table(header, body):
    """A Markdown table; all columns but the first hold numbers."""
    body = list(body)
    widths = [max(map(len, column)) for column in zip(header, *body)]

    def line(values, pads):
        return "| " + " | ".join(value + " " * pad for value, pad in zip(values, pads)) + " |"

    def left(values):
        return line(values, [width - len(value) for value, width in zip(values, widths)])

    rule = line(["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]], [0] * len(widths))
    return "\n".join([left(header), rule, *map(left, body)])


# The command line


def number(kind, low, high):
    def parse(text):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"`{text}` is not from {low} to {high}")
        return value
    parse.__name__ = kind.__name__  # argparse names it when `kind` refuses the text
    return parse


def add_common_arguments(parser):
    parser.add_argument("--rounds", type=number(int, 1, 1000), default=12, help="default 12")
    parser.add_argument("--seconds", type=number(float, 0.1, 3600), default=1.0,
                        help="length of one measured window; default 1")
    parser.add_argument("--json", metavar="FILE", help="write everything measured there as well")
    parser.add_argument("--no-build", action="store_true", help="install and build nothing")
    parser.add_argument("--build-dir", metavar="DIR", type=pathlib.Path, default=TOP / "build/release",
                        help="where the programs are; default build/release")


def write_json(path, everything):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(everything, file, indent=2)
        file.write("\n")


def run_main(main, name):
    """The status, or the text, with which the driver `name` ends."""
    try:
        return main()
    except Failure as error:
        return f"{name}: {error}"
    except KeyboardInterrupt:
        return f"{name}: interrupted"
