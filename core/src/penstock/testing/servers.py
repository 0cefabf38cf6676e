"""Servers for tests: real ones, as processes on this machine.

::

    @pytest.fixture(scope="session")
    def endpoint(tmp_path_factory):
        port = free_port()
        command = ["acme-server", "--listen", f"127.0.0.1:{port}", "--data", tmp_path_factory.mktemp("data")]
        with serving(command, ready=lambda: accepts(port)):
            yield f"http://127.0.0.1:{port}"

A server counts as ready when it answers, never after a pause.
"""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

__all__ = ["accepts", "free_port", "serving"]

#: Below the ports that outgoing connections take, so that none of those has it when the server wants it; and low
#: enough for servers that put a second listener 10,000 above the first.
_PORTS = range(10_240, 22_000)
_POLL_S = 0.02
_TERM_S = 10.0
_TAIL_BYTES = 8_192

_given: set[int] = set()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now and that this function has not given out before."""
    draw = random.SystemRandom()
    for _ in range(10 * len(_PORTS)):
        port = draw.choice(_PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError(f"no port between {_PORTS[0]} and {_PORTS[-1]} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there: a ``ready`` for servers that are up once they listen."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


@contextmanager
def serving(
    command: Sequence[str | os.PathLike[str]],
    ready: Callable[[], bool],
    *,
    timeout: float = 30.0,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server while the block runs, which begins when ``ready()`` says True.

    ``ready`` is asked again and again; an OSError from it counts as not yet, any other exception is raised. It
    should limit its own waiting to a second or so. ``env`` is added to this process's environment. A server that
    ends before it is ready, or is not ready after ``timeout`` seconds, raises RuntimeError with the end of its
    output. It gets a process group of its own; at the end of the block the group gets SIGTERM, and what is left of
    it SIGKILL, once the first process has ended or had ten seconds.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603  (the caller's own command)
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
        with process:
            ended = os.pidfd_open(process.pid)
            try:
                _wait_until_ready(process, ended, ready, timeout, output)
                yield process
            finally:
                _stop(process.pid, ended)
                os.close(ended)


def _wait_until_ready(
    process: subprocess.Popen[bytes], ended: int, ready: Callable[[], bool], timeout: float, output: IO[bytes]
) -> None:
    late = threading.Event()
    timer = threading.Timer(timeout, late.set)
    timer.daemon = True
    timer.start()
    try:
        while not _is_ready(ready):
            if _readable(ended, _POLL_S):
                raise RuntimeError(_story(process, f"ended with code {process.wait()} before it was ready", output))
            if late.is_set():
                raise RuntimeError(_story(process, f"was not ready after {timeout:g} s", output))
    finally:
        timer.cancel()


def _is_ready(ready: Callable[[], bool]) -> bool:
    try:
        return ready()
    except OSError:
        return False


def _story(process: subprocess.Popen[bytes], what: str, output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL_BYTES))
    tail = output.read().decode(errors="replace").strip()
    name = os.fspath(process.args[0]) if isinstance(process.args, list) else process.args
    return f"{name!r} {what}; the end of its output:\n{tail or '(none)'}"


def _stop(leader: int, ended: int) -> None:
    # The leader is reaped only after this, so the number of its group can't have become somebody else's.
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        _readable(ended, _TERM_S)
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _readable(descriptor: int, timeout: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])
