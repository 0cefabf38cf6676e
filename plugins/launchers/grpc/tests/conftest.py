"""Certificates, a token, and agents: real ones, as processes, on ports of the loopback."""

from __future__ import annotations

import datetime
import os
import secrets
import select
import signal
import subprocess
import sys
from contextlib import ExitStack

import attrs
import pytest
import trustme
from penstock_grpc.connecting import Access
from penstock_grpc.launcher import GrpcLauncher
from penstock_grpc.plugin import GrpcOptions

from penstock.launchers import PROBE, LaunchSpec
from penstock.options import resolve

_PATIENCE = 60


@attrs.frozen
class Pki:
    """Files of a signer, of what it signed, and of what another signed."""

    ca: str
    cert: str
    key: str
    client_cert: str
    client_key: str
    expired_cert: str
    expired_key: str
    other_name_cert: str
    other_name_key: str
    stranger_ca: str
    stranger_cert: str
    stranger_key: str


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    where = tmp_path_factory.mktemp("pki")
    ca, stranger = trustme.CA(), trustme.CA()
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)

    def write(name, pem):
        path = where / name
        path.write_bytes(pem)
        return str(path)

    def pair(name, signer, *identities, **more):
        leaf = signer.issue_cert(*identities, **more)
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        return write(f"{name}.pem", chain), write(f"{name}.key", leaf.private_key_pem.bytes())

    here = ("localhost", "127.0.0.1", "::1")
    return Pki(
        write("ca.pem", ca.cert_pem.bytes()),
        *pair("agent", ca, *here),
        *pair("controller", ca, "controller"),
        *pair("expired", ca, *here, not_after=long_ago),
        *pair("other", ca, "bench7.example"),
        write("stranger-ca.pem", stranger.cert_pem.bytes()),
        *pair("stranger", stranger, *here),
    )


@pytest.fixture(scope="session")
def token():
    return secrets.token_hex(32)


@pytest.fixture(scope="session")
def token_file(token, tmp_path_factory):
    path = tmp_path_factory.mktemp("token") / "token"
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return str(path)


@attrs.define
class AgentProcess:
    """One ``penstock agent``."""

    process: subprocess.Popen[str]
    address: str
    log: str

    def tell(self, number=signal.SIGTERM):
        os.kill(self.process.pid, number)

    def ended(self):
        """Its exit code, once it has ended."""
        return self.process.wait(_PATIENCE)

    def said(self):
        with open(self.log) as log:
            return log.read()


class Agents:
    """Starts agents, and ends those that are left."""

    def __init__(self, where, stack):
        self._where = where
        self._stack = stack
        self._count = 0

    def start(self, *arguments, listen="127.0.0.1:0", environ=None):
        """With these words of the command line; returns once it listens."""
        (agent,) = self.start_all(1, *arguments, listen=listen, environ=environ)
        return agent

    def start_all(self, count, *arguments, listen="127.0.0.1:0", environ=None):
        """Several at once."""
        started = [self._spawn(arguments, listen, environ) for _ in range(count)]
        return [self._ready(process, log) for process, log in started]

    def _spawn(self, arguments, listen, environ):
        self._count += 1
        log = str(self._where / f"agent-{self._count}.log")
        with open(log, "w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "penstock", "agent", "--listen", listen, *arguments],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "TMPDIR": str(self._where), **(environ or {})},
            )
        self._stack.callback(_end, process)
        return process, log

    def _ready(self, process, log):
        readable, _, _ = select.select([process.stdout], [], [], _PATIENCE)
        assert readable, "the agent said nothing"
        line = process.stdout.readline()
        with open(log) as said:
            assert line.startswith("listening on "), said.read()
        return AgentProcess(process, line.removeprefix("listening on ").strip(), log)


def _end(process):
    if process.poll() is None:
        process.kill()
    process.wait(_PATIENCE)
    process.stdout.close()


@pytest.fixture
def agents(tmp_path):
    with ExitStack() as stack:
        yield Agents(tmp_path, stack)


@pytest.fixture(scope="session")
def lasting_agents(tmp_path_factory):
    """For agents that serve many tests."""
    with ExitStack() as stack:
        yield Agents(tmp_path_factory.mktemp("agents"), stack)


@pytest.fixture(scope="session")
def options_of():
    """Options as the launcher gets them."""

    def make(**explicit):
        return resolve(GrpcOptions, explicit=explicit, scheme="grpc").options

    return make


@pytest.fixture(scope="session")
def launcher_of(options_of):
    """The launcher with these options."""

    def make(**explicit):
        return GrpcLauncher.from_options(options_of(**explicit))

    return make


@pytest.fixture(scope="session")
def access_of(options_of):
    """The way to agents with these options."""

    def make(**explicit):
        return Access.from_options(options_of(**{"agents": "", **explicit}))

    return make


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def spec(tmp_path):
    return LaunchSpec(worker=PROBE, scratch=str(tmp_path))
