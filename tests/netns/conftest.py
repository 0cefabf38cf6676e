"""Hosts with addresses of their own on one machine: network namespaces around a bridge, as root.

All that is made lies in namespaces whose names hold this process's id: the bridge, the links and the addresses go with
them. Processes are ended by their ids, mounts by their paths, also after a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trustme

HOSTS = 4
PORT = 7167
SUBNET = "10.77.0"
#: How long processes may take to begin and to end.
PATIENCE = 60
#: Figures that a session ends with, by test.
FIGURES: list[str] = []


def ip(*words: str) -> str:
    """Run ``ip`` and return what it prints."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


@attrs.frozen
class Place:
    """A namespace with one address."""

    namespace: str
    address: str

    def popen(self, *command: str, **options: object) -> subprocess.Popen[str]:
        """Start a command there. ``ip`` becomes it, so the process id is its own."""
        return subprocess.Popen(["ip", "netns", "exec", self.namespace, *command], text=True, **options)  # type: ignore[call-overload,no-any-return]


class Network:
    """A bridge in a namespace of its own, one for the controller, and one for each host."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._prefix = f"penstock-{os.getpid()}"
        self.hub = self._add("hub", f"{SUBNET}.1")
        ip("-n", self.hub.namespace, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.hub.namespace, "addr", "add", f"{self.hub.address}/24", "dev", "bridge")
        ip("-n", self.hub.namespace, "link", "set", "bridge", "up")
        self.controller = self._join("controller", f"{SUBNET}.2")
        self.hosts = [self._join(f"host{number}", f"{SUBNET}.{10 + number}") for number in range(HOSTS)]

    def set_link(self, host: Place, state: str) -> None:
        """Take the cable of a host out (``down``) or put it in again (``up``)."""
        ip("-n", self.hub.namespace, "link", "set", host.namespace.rpartition("-")[2], state)

    def _add(self, name: str, address: str) -> Place:
        namespace = f"{self._prefix}-{name}"
        ip("netns", "add", namespace)
        self._stack.callback(remove, namespace)
        ip("-n", namespace, "link", "set", "lo", "up")
        return Place(namespace, address)

    def _join(self, name: str, address: str) -> Place:
        place = self._add(name, address)
        ip("-n", self.hub.namespace, "link", "add", name, "type", "veth", "peer", "eth0", "netns", place.namespace)
        ip("-n", self.hub.namespace, "link", "set", name, "master", "bridge", "up")
        ip("-n", place.namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", place.namespace, "link", "set", "eth0", "up")
        return place


def remove(namespace: str) -> None:
    """End what runs in a namespace, and remove it with its links and addresses."""
    for pid in ip("netns", "pids", namespace).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    ip("netns", "del", namespace)


def remove_abandoned() -> None:
    """Remove the namespaces of sessions that were killed."""
    for namespace, session in re.findall(r"^(penstock-(\d+)-\w+)", ip("netns", "list"), re.MULTILINE):
        if not Path(f"/proc/{session}").exists():
            remove(namespace)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    # Told to end, this process ends as after Ctrl-C, which removes what it made.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    remove_abandoned()
    with ExitStack() as stack:
        yield Network(stack)


@attrs.frozen
class Keys:
    """Files: the token, who signed, and one certificate and key for all hosts."""

    token: str
    ca: str
    cert: str
    key: str


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Keys:
    where = tmp_path_factory.mktemp("keys")
    ca = trustme.CA()
    leaf = ca.issue_cert(network.hub.address, *(host.address for host in network.hosts))

    def write(name: str, data: bytes) -> str:
        path = where / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        return str(path)

    return Keys(
        token=write("token", secrets.token_hex(32).encode()),
        ca=write("ca.pem", ca.cert_pem.bytes()),
        cert=write("cert.pem", leaf.cert_chain_pems[0].bytes()),
        key=write("key.pem", leaf.private_key_pem.bytes()),
    )


def end(process: subprocess.Popen[str], patience: float = 10) -> None:
    """End a process of ours, by force when it does not want to."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
    process.communicate()


class Agents:
    """``penstock agent`` on hosts."""

    def __init__(self, network: Network, keys: Keys, where: Path, stack: ExitStack) -> None:
        self._network, self._keys, self._where, self._stack = network, keys, where, stack
        self.processes: list[subprocess.Popen[str]] = []
        self.scratch = [where / f"scratch-{number}" for number in range(HOSTS)]

    def start(self, shifts: dict[int, str] | None = None) -> str:
        """One on each host; ``shifts`` is by how much the clocks of some are wrong. What ``--agents`` takes."""
        for number, host in enumerate(self._network.hosts):
            self.scratch[number].mkdir(exist_ok=True)
            environment = {**os.environ, "PENSTOCK_CLOCK_SHIFT": (shifts or {}).get(number, "0s")}
            with open(self._where / f"agent-{number}.log", "w") as log:
                process = host.popen(
                    *(sys.executable, "-m", "penstock", "agent", "--listen", f"{host.address}:{PORT}"),
                    *("--token-file", self._keys.token, "--tls-cert", self._keys.cert, "--tls-key", self._keys.key),
                    *("--scratch", str(self.scratch[number]), "--grace", "1s"),
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=environment,
                )
            self._stack.callback(end, process)
            self.processes.append(process)
        for number, process in enumerate(self.processes):
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            assert ready, f"agent {number} does not listen"
            assert process.stdout.readline(), (self._where / f"agent-{number}.log").read_text()
        return ",".join(f"{host.address}:{PORT}" for host in self._network.hosts)

    def worker(self, number: int) -> int:
        """The process id of the worker of a host."""
        agent = self.processes[number].pid
        (worker,) = Path(f"/proc/{agent}/task/{agent}/children").read_text().split() or [
            child for task in Path(f"/proc/{agent}/task").iterdir() for child in (task / "children").read_text().split()
        ]
        return int(worker)


@pytest.fixture
def agents(network: Network, keys: Keys, tmp_path: Path) -> Iterator[Agents]:
    with ExitStack() as stack:
        yield Agents(network, keys, tmp_path, stack)


WORKLOAD = """
target: {target}
duration: {seconds}s
concurrency: 2
processes: 1
rate: {{ops_per_second: 400}}
op_log: {op_log}
workload:
  - {{op: get, path: o/*}}
prepare:
  ensure_objects:
    - {{path: o, count: 20, size: 1KiB}}
"""


@attrs.define
class Run:
    """One ``penstock run`` by the controller."""

    process: subprocess.Popen[str]
    where: Path
    began: float
    happened: float = 0.0

    @property
    def directory(self) -> Path:
        """Its result directory."""
        (found,) = (self.where / "results").iterdir()
        return found

    def shown(self) -> str:
        """What it has shown so far."""
        logs = [*self.where.glob("results/*/console.log")]
        return logs[0].read_text() if logs else ""

    def wait_for(self, *texts: str) -> float:
        """Until it has shown a line with all of these texts; seconds since :meth:`happens`. The test's time-out is the
        limit.
        """
        pause = threading.Event()
        while not any(all(text in line for text in texts) for line in self.shown().splitlines()):
            assert self.process.poll() is None, f"it ended without {texts}: {self.shown()} {self.process.communicate()}"
            pause.wait(0.02)
        return time.monotonic() - self.happened

    def happens(self) -> None:
        """From here on time is counted."""
        self.happened = time.monotonic()

    def end(self) -> dict[str, object]:
        """Wait for its end, and return ``result.json``."""
        self.process.communicate(timeout=PATIENCE)
        result: dict[str, object] = json.loads((self.directory / "result.json").read_text())
        return result


@pytest.fixture
def start(network: Network, keys: Keys, tmp_path: Path) -> Iterator[object]:
    """Start a run of so many seconds; further words go to the command."""
    with ExitStack() as stack:

        def start(agents: str, seconds: int, *words: str, op_log: bool = False) -> Run:
            (tmp_path / "data").mkdir(exist_ok=True)
            text = WORKLOAD.format(target=(tmp_path / "data").as_uri(), seconds=seconds, op_log=str(op_log).lower())
            (tmp_path / "w.yaml").write_text(text)
            environment = {
                **os.environ,
                "PENSTOCK_AGENT_TOKEN_FILE": keys.token,
                "PENSTOCK_AGENT_TLS_CA": keys.ca,
                "COLUMNS": "400",  # tables without breaks
            }
            process = network.controller.popen(
                *(sys.executable, "-m", "penstock", "run", str(tmp_path / "w.yaml"), "--launcher", "grpc"),
                *("--agents", agents, "--results-dir", str(tmp_path / "results"), "--quiet", *words),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
            stack.callback(end, process)
            return Run(process, tmp_path, time.monotonic())

        yield start


@pytest.fixture
def delay(network: Network) -> Iterator[object]:
    """Put a slow link before a host: the address of its near end, for ``--agents``. Each way takes so many seconds."""
    with ExitStack() as stack:

        def delay(host: Place, seconds: float) -> str:
            proxy = network.hub.popen(
                *(sys.executable, str(Path(__file__).parent / "proxy.py"), network.hub.address, host.address),
                *(str(PORT), str(seconds)),
                stdout=subprocess.PIPE,
            )
            stack.callback(end, proxy)
            assert proxy.stdout is not None
            assert proxy.stdout.readline() == "listening\n"
            return f"{network.hub.address}:{PORT}"

        yield delay


@contextmanager
def mounted(where: Path, size: str) -> Iterator[None]:
    """A file system in memory of that size."""
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[object]:
    with ExitStack() as stack:
        yield lambda where, size: stack.enter_context(mounted(where, size))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> object:
    """Note a figure for the end of the session."""
    return lambda text: FIGURES.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)
