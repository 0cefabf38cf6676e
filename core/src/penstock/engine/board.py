"""Which versions of an object are past: a table in memory that all workers of a host share.

It is a hash table of fixed size in a file that is mapped and then unlinked, so nothing is left of it whatever happens.
An entry is two words: the hash of the object's name; and bits of the versions that are complete, with those that had
been replaced before a later one began. Words are written whole. Two workers that write the same object at the same
moment may lose a bit, a full table forgets, and what another host replaced is not known here: all of that only makes a
check miss that a version was old, never the other way round.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import tempfile

import numpy as np

__all__ = ["MOST_VERSIONS", "Board", "remove"]

#: Versions of one object that can be told apart.
MOST_VERSIONS = 32

_SLOTS = 1 << 20
_PROBES = 16
_LOW = (1 << MOST_VERSIONS) - 1


class Board:
    """See the module. ``name`` is the same for all workers of a run; None: for this process alone."""

    def __init__(self, name: str | None = None, slots: int = _SLOTS) -> None:
        self._name = name
        self._slots = slots
        if name is None:
            self._memory = mmap.mmap(-1, slots * 16)
        else:
            descriptor = os.open(_path(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                os.ftruncate(descriptor, slots * 16)
                self._memory = mmap.mmap(descriptor, slots * 16)
            finally:
                os.close(descriptor)
        self._words = np.frombuffer(self._memory, dtype=np.uint64)

    def unlink(self) -> None:
        """Take the name away, once every worker has opened it. Whoever comes first does it."""
        if self._name is not None:
            remove(self._name)

    def past(self, name: str) -> int:
        """Bits of the versions that a later one had replaced by now."""
        place = self._find(_hash(name), make=False)
        return 0 if place is None else int(self._words[place + 1]) >> MOST_VERSIONS

    def complete(self, name: str) -> int:
        """Bits of the versions that are written. Version 0, which was there before the run, always is."""
        place = self._find(_hash(name), make=False)
        return 1 if place is None else int(self._words[place + 1]) & _LOW | 1

    def replace(self, name: str, version: int, before: int) -> None:
        """Note that a version is written, and that those in ``before`` were complete when its writing began.

        It is the newest then, also where it was there once before.
        """
        place = self._find(_hash(name), make=True)
        if place is not None:
            word = int(self._words[place + 1])
            past = ((word >> MOST_VERSIONS) | before) & ~(1 << version)
            self._words[place + 1] = past << MOST_VERSIONS | word & _LOW | 1 << version | 1

    def forget(self) -> None:
        """Begin anew: nothing is known to have been replaced."""
        self._words[:] = 0

    def _find(self, key: int, *, make: bool) -> int | None:
        for probe in range(_PROBES):
            place = (key + probe) % self._slots * 2
            found = int(self._words[place])
            if found == key:
                return place
            if not found:
                if make:
                    self._words[place] = key
                    return place
                return None
        return None


def remove(name: str) -> None:
    """Take the name away where no worker did."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(_path(name))


def _path(name: str) -> str:
    # The name is random and the file is not opened through a link.
    memory = "/dev/shm"  # noqa: S108
    return os.path.join(memory if os.access(memory, os.W_OK) else tempfile.gettempdir(), f"penstock-{name}.board")


def _hash(name: str) -> int:
    # Python's own differs between processes.
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big") | 1
