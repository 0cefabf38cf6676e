"""Moving the bytes of whole files between a store and this machine, in bounded memory and all or nothing."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from fsspec.callbacks import NoOpCallback
from fsspec.spec import AbstractFileSystem

from penstock_fsspec.places import Place
from penstock_fsspec.ranges import Reading, read

__all__ = ["Pairs", "fetch", "is_silent", "send", "whole_file"]

Write = Callable[[Any], Any]
Watch = Callable[[int], Any]


def fetch(place: Place, reading: Reading, write: Write, size: Callable[[int], Any], watch: Watch) -> None:
    """Hand the bytes of an object to ``write``, in order. ``size`` gets their number first, ``watch`` each piece's.

    At most ``part_size`` times ``concurrency`` bytes are held, twice ``part_size`` at least.
    """
    head, info = read(place, reading, 0, 2 * reading.part_size)
    size(info.size)
    _hand(head, write, watch)
    window = max(reading.part_size * reading.concurrency, 1)
    file = reading.file(place, info)
    for start in range(head.nbytes, info.size, window):
        _hand(file.read(start, min(window, info.size - start)), write, watch)


def _hand(data: memoryview, write: Write, watch: Watch) -> None:
    written = 0
    while written < data.nbytes:
        count = write(data[written:])
        written += data.nbytes - written if count is None else count
    watch(data.nbytes)


def send(place: Place, path: str, part_size: int, *, create: bool, size: Watch, watch: Watch) -> None:
    """Store a local file, one put for a short one and in parts otherwise. Raises AlreadyExistsError with ``create``."""
    with open(path, "rb") as file:
        nbytes = os.fstat(file.fileno()).st_size
        size(nbytes)
        data = file.read(part_size + 1)
        if len(data) <= part_size:
            place.store.put(place.key, data, if_absent=create)
            watch(len(data))
            return
        with place.store.open_writer(place.key, part_size=part_size, if_absent=create) as writer:
            while data:
                writer.write(data)
                watch(len(data))
                data = file.read(part_size)


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[Write]:
    """Write a local file that nobody sees before it is whole: under another name, then renamed."""
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, exist_ok=True)
    hidden = os.path.join(directory, f".{os.path.basename(path)[:200]}.{uuid.uuid4().hex}")
    try:
        with open(hidden, "xb") as file:
            yield file.write
        os.replace(hidden, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)
        raise


class Pairs:
    """Stands in for a file system to learn which files one of its trees comes down to, without moving any.

    fsspec's own methods decide about globs, directories and names, and call ``get_file``, ``put_file`` or ``cp_file``
    for each pair; here these only take note.
    """

    def __init__(self, fs: AbstractFileSystem) -> None:
        self._fs = fs
        self.found: list[tuple[str, str]] = []

    def get_file(self, source: str, target: str, callback: object = None) -> None:
        self.found.append((source, target))

    def put_file(self, source: str, target: str, callback: object = None) -> None:
        self.found.append((source, target))

    def cp_file(self, source: str, target: str) -> None:
        self.found.append((source, target))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fs, name)


def is_silent(callback: object) -> bool:
    """Whether nobody watches, so that the order in which files are moved is nobody's business."""
    return isinstance(callback, NoOpCallback)
