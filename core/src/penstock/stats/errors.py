"""A table of the errors of a run: how often each occurred, on which operation, and one key that it occurred with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import numpy as np

from penstock.records import WARMUP, Op, RecordBuffer

__all__ = ["OTHER", "ErrorCount", "ErrorTable"]

#: The text under which errors are counted once the table is full.
OTHER: Final = "other errors"
_KEY: Final = "<key>"
_LONGEST: Final = 500


@attrs.define(slots=True)
class ErrorCount:
    """How often an operation failed with one text, and the key of the first such call."""

    operation: str
    text: str
    count: int
    example: str


class ErrorTable:
    """Errors by operation and text, at most ``limit`` different ones; more are counted as ``other errors``.

    The key of the failed call is replaced by ``<key>`` where its own message quotes it, so that a thousand objects
    that are missing make one line and not a thousand. Errors of the warm-up are left out.
    """

    def __init__(self, limit: int = 1000) -> None:
        self._limit = limit
        self._entries: dict[tuple[str, str], ErrorCount] = {}

    def add(self, buffer: RecordBuffer, begin: int, end: int) -> None:
        """Count the failed rows from ``begin`` up to, not including, ``end``."""
        rows = buffer.rows[begin:end]
        for place in np.flatnonzero((rows["error"] != 0) & ((rows["flags"] & WARMUP) == 0)).tolist():
            row = rows[place]
            key = buffer.names[begin + place]
            text = buffer.errors[int(row["error"]) - 1]
            self.note(Op(row["op"]).name, text, key)

    def note(self, operation: str, text: str, key: str) -> None:
        """Count one failed call. ``key`` is what it dealt with, and may have the container or the path before it."""
        self._count(operation, _general(text, key), 1, key)

    def merge(self, other: ErrorTable) -> None:
        """Add what ``other`` counts."""
        for entry in other._entries.values():
            self._count(entry.operation, entry.text, entry.count, entry.example)

    def _count(self, operation: str, text: str, count: int, example: str) -> None:
        entry = self._entries.get((operation, text))
        if entry is None and len(self._entries) >= self._limit:
            text = OTHER
            entry = self._entries.get((operation, text))
        if entry is None:
            self._entries[operation, text] = ErrorCount(operation, text, count, example)
        else:
            entry.count += count

    @property
    def count(self) -> int:
        """All errors."""
        return sum(entry.count for entry in self._entries.values())

    def most_frequent(self, limit: int | None = None) -> list[ErrorCount]:
        """The entries, the most frequent first."""
        return sorted(self._entries.values(), key=lambda entry: (-entry.count, entry.operation, entry.text))[:limit]

    def to_message(self) -> list[dict[str, Any]]:
        """Everything as what JSON can hold."""
        return [attrs.asdict(entry) for entry in self._entries.values()]

    @classmethod
    def from_message(cls, message: list[Mapping[str, Any]]) -> ErrorTable:
        """What :meth:`to_message` was called on."""
        made = cls()
        for entry in message:
            made._count(str(entry["operation"]), str(entry["text"]), int(entry["count"]), str(entry["example"]))
        return made


def _general(text: str, key: str) -> str:
    for name in _names(key):
        if name in text:
            text = text.replace(name, _KEY)
            break
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _names(key: str) -> Iterator[str]:
    """The key as messages may quote it: whole, without its first part, or without more parts if several are left."""
    yielded = 0
    while len(key) >= 4 and (yielded < 2 or "/" in key):
        yield key
        yielded += 1
        _, slash, key = key.partition("/")
        if not slash:
            return
