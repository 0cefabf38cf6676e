"""What the kit does in processes of its own. Importable, so that a spawned child finds it."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import attrs

from penstock.layers.prefix import Prefixed
from penstock.plugins import default_host
from penstock.store import ObjectStore
from penstock.testing.tools import PATIENCE_S, listed, noise, part_size, read

__all__ = [
    "BODY",
    "Child",
    "Opener",
    "Reopen",
    "body",
    "child",
    "put_forever",
    "vanish_in_put",
    "vanish_in_writer",
    "visit",
]

#: A call without arguments that opens the store, and that pickles.
Opener = Callable[[], ObjectStore]

#: Size of the objects that a child is putting when it is killed, in bytes.
BODY = 2 * 1024 * 1024


@attrs.frozen
class Reopen:
    """Opens a store from what travels to other processes: its scheme and its options."""

    scheme: str
    options: Any
    prefix: str = ""

    def __call__(self) -> ObjectStore:
        store = default_host().store_type(self.scheme).open(self.options, 8)
        return Prefixed(store, self.prefix) if self.prefix else store


@attrs.frozen
class Child:
    """A spawned process that works on a store."""

    process: Any
    pipe: Connection

    def hear(self) -> tuple[str, Any]:
        """What it tells next: ``said`` and a value, ``failed`` and the error's text, or ``died``."""
        if not self.pipe.poll(PATIENCE_S):
            raise AssertionError(f"a child process has told nothing for {PATIENCE_S:.0f} s: the store hangs in it")
        try:
            heard: tuple[str, Any] = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            return "died", None
        return heard

    def next(self) -> Any:
        """The value it says next, or None when it has died. Its failure is raised as an AssertionError."""
        kind, value = self.hear()
        if kind == "failed":
            raise AssertionError(f"another process could not use the store: {value}")
        return value

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        self.process.kill()
        self.process.join(PATIENCE_S)


@contextmanager
def child(work: Callable[[Callable[[Any], None], ObjectStore], None], opener: Opener) -> Iterator[Child]:
    """Open the store in a spawned process and run ``work(say, store)`` there."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(there, work, opener), daemon=True)
    process.start()
    there.close()
    started = Child(process, here)
    try:
        yield started
    finally:
        started.kill()
        here.close()
        process.close()


def _run(pipe: Connection, work: Callable[[Callable[[Any], None], ObjectStore], None], opener: Opener) -> None:
    # A child that is killed on purpose leaves no core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with closing(opener()) as store:
            work(lambda value: pipe.send(("said", value)), store)
    except Exception as error:  # noqa: BLE001  (it is told to the parent)
        pipe.send(("failed", f"{type(error).__name__}: {error}"))


def visit(say: Callable[[Any], None], store: ObjectStore) -> None:
    """Say what is there, as (key, bytes), and leave an object."""
    seen = [(key, read(store, key)) for key in listed(store)]
    store.put("from/child", b"put by the child")
    say(seen)


def vanish_in_writer(say: Callable[[Any], None], store: ObjectStore) -> None:
    """Die with three parts written."""
    part = part_size(store)
    writer = store.open_writer("dir/streamed", part_size=part)
    for _ in range(3):
        writer.write(noise(part))
    os.kill(os.getpid(), signal.SIGKILL)


def vanish_in_put(say: Callable[[Any], None], store: ObjectStore) -> None:
    """Put from memory whose second half can't be read: the put fails there, or the process dies of it."""
    with tempfile.TemporaryFile() as file:
        file.truncate(BODY)
        memory = mmap.mmap(file.fileno(), BODY)
        memory[: BODY // 2] = b"\x01" * (BODY // 2)
        file.truncate(BODY // 2)
        store.put("dir/put", memory)
    say("it succeeded")


def body(number: int) -> bytes:
    """A body that shows whether it is whole: every byte and the length name its number."""
    return bytes([number % 251]) * (BODY + number % 251)


def put_forever(say: Callable[[Any], None], store: ObjectStore) -> None:
    """Put large objects, new keys and old ones by turns, until the process is killed."""
    number = 0
    while True:
        number += 1
        store.put(f"dir/{number % 5}", body(number))
        store.put(f"dir/new-{number % 50}", body(number + 1))
        say(number)
