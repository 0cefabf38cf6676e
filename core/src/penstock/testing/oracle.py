"""What a store should hold, worked out apart from any store: a dictionary, and the plainest code for each law."""

from __future__ import annotations

import enum

__all__ = ["Fate", "Oracle", "ancestors"]


class Fate(enum.Enum):
    """What must become of a write."""

    SUCCEEDS = enum.auto()
    FAILS = enum.auto()
    #: Both are right: it depends on whether an unfinished writer has made a directory.
    EITHER = enum.auto()


def ancestors(key: str) -> list[str]:
    """The directories above a key: ``a`` and ``a/b`` for ``a/b/c``."""
    return [key[:at] for at, letter in enumerate(key) if letter == "/"]


class Oracle:
    """The objects, and with real directories also the names that are directories."""

    def __init__(self, *, directories: bool) -> None:
        self.objects: dict[str, bytes] = {}
        self._real = directories
        #: Directories that must be there, and those that may be.
        self.made: set[str] = set()
        self.maybe: set[str] = set()

    def fate(self, key: str) -> Fate:
        """What must become of a write to ``key``, seen before it."""
        if not self._real:
            return Fate.SUCCEEDS
        if key in self.made or any(name in self.objects for name in ancestors(key)):
            return Fate.FAILS
        return Fate.EITHER if key in self.maybe else Fate.SUCCEEDS

    def attempt(self, key: str) -> None:
        """A write to ``key`` was begun: it may have made its parents."""
        if self._real:
            self.maybe.update(ancestors(key))

    def put(self, key: str, data: bytes) -> None:
        """A write to ``key`` succeeded."""
        self.objects[key] = data
        if self._real:
            self.made.update(ancestors(key))
            self.attempt(key)

    def part(self, key: str, start: int, length: int | None) -> bytes:
        """Byte by byte, what a range read delivers."""
        return bytes(
            byte
            for index, byte in enumerate(self.objects[key])
            if index >= start and (length is None or index - start < length)
        )

    def listing(self, prefix: str, delimiter: str, after: str) -> tuple[set[str], set[str]]:
        """Names that a listing must hold, and names that it may hold besides."""
        must = {self._rolled(key, prefix, delimiter) for key in self.objects if key.startswith(prefix)}
        may = set()
        if delimiter and self._real:
            must |= self._directories(self.made, prefix)
            may = self._directories(self.maybe, prefix)
        return self._later(must, after), self._later(may, after)

    def _rolled(self, key: str, prefix: str, delimiter: str) -> str:
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        return key if cut < 0 else key[: cut + len(delimiter)]

    def _directories(self, names: set[str], prefix: str) -> set[str]:
        # A directory is shown where its name with the slash begins with the prefix and reaches beyond it.
        shown = {f"{name}/" for name in names if f"{name}/".startswith(prefix) and f"{name}/" != prefix}
        return {self._rolled(name, prefix, "/") for name in shown}

    def _later(self, names: set[str], after: str) -> set[str]:
        return {name for name in names if not after or name.encode() > after.encode()}
