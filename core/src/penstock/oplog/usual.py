"""Blocks of lines that are laid out as programs write them, understood in few steps over all of their bytes.

A bit for each byte says whether it is a tab. Columns before the file's name are found from the begin of a line, those
after it from its end, where stamps of 30 characters take no search at all; the name is not looked at. Where that does
not work out for most lines :mod:`penstock.oplog.block` takes the block, and finds every separator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import numpy as np

from penstock.oplog.cells import STAMP, Array, Text, parse_naturals, parse_usual_stamps
from penstock.oplog.columns import unescape
from penstock.oplog.names import Callers, Names, Operations
from penstock.oplog.parsing import decode

__all__ = ["NEVER", "Found", "Tables", "UsualLines", "failure_of"]

#: Stands for a first byte that a row does not have.
NEVER: Final = -(2**63)

_TAB: Final = 9
_LINE_FEED: Final = 10
_U: Final = np.uint64
_SEVEN: Final = 7

_FRONT: Final = frozenset({"idx", "thread", "op", "client_id", "n_objects", "bytes", "endpoint"})
_TIMES: Final = ("start", "first_byte", "last_byte", "end")
_OPTIONAL: Final = ("first_byte", "last_byte")
_NUMBERS: Final = ("idx", "thread", "n_objects", "bytes", "duration_ns")
_NEEDED: Final = frozenset({"thread", "op", "n_objects", "bytes", "file", "start", "end", "duration_ns"})

# One line in so many may be unusual.
_SELDOM: Final = 16
# Blocks that are not tried after one that was not usual: twice as many as the last time, up to this.
_LONGEST_PAUSE: Final = 255


@attrs.frozen(slots=True, eq=False)
class Found:
    """Lines, and what they hold: an item for each in every array, which counts where the line is ``good``.

    Lines are where they begin, and where they end with their line feed. ``failed`` has the file and the error of rows.
    """

    begins: Array
    ends: Array
    values: dict[str, Array]
    good: Array
    failed: dict[int, tuple[str, str]]


@attrs.frozen(slots=True, eq=False)
class Tables:
    """What is known of texts. With ``together`` operations and clients stand side by side."""

    operations: Operations
    clients: Names
    endpoints: Names
    callers: Callers
    together: bool


class UsualLines:
    """Understands blocks of a log with certain columns."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        file = columns.index("file") if "file" in columns else 0
        self._front, self._back = self._columns[:file], self._columns[file + 1 :]
        self._fits = _is_usual(self._front, self._back)
        self._together = ("op", "client_id") in zip(self._front, self._front[1:], strict=False)
        self._callers = Callers()
        self._bits = _Bits()
        self._pause = self._waits = 0

    def read(self, text: Text, operations: Operations, clients: Names, endpoints: Names) -> Found | None:
        """The lines, or None when too many are not laid out so."""
        if not self._fits:
            return None
        if self._waits:
            self._waits -= 1
            return None
        found = self._read(text, Tables(operations, clients, endpoints, self._callers, self._together))
        self._pause = 0 if found is not None else min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._waits = self._pause
        return found

    def _read(self, text: Text, tables: Tables) -> Found | None:
        feeds = self._bits.places(text, _LINE_FEED)
        if feeds is None:
            return None
        self._bits.mark(text, _TAB)
        lines = _Lines(text, self._bits, feeds)
        front = lines.front(len(self._front))
        if front is None:
            return None
        lines.back(self._back)
        lines.read_stamps()
        if not self._is_divided(lines):
            return None
        lines.read_front(front, self._front, tables)
        if len(feeds) - np.count_nonzero(lines.good) > _few_of(len(feeds)):
            return None
        return Found(lines.begins, feeds + 1, lines.values, lines.good, lines.failures(self._columns))

    def _is_divided(self, lines: _Lines) -> bool:
        """Whether every line has as many cells as there are columns."""
        width = len(self._columns)
        if self._bits.count != (width - 1) * len(lines.feeds):
            return False
        # The separators that were found in most lines are all that these have, if the others have as many.
        doubtful = ~lines.sure
        if np.count_nonzero(doubtful) > _few_of(len(doubtful)):
            return False
        if lines.given is not None:
            # Where the file ends before an error was not looked for.
            doubtful |= lines.given
        return all(lines.line(at).count(b"\t") == width - 1 for at in np.flatnonzero(doubtful).tolist())


def _few_of(lines: int) -> int:
    return lines // _SELDOM + 1


def _is_usual(front: Sequence[str], back: Sequence[str]) -> bool:
    names = {*front, "file", *back}
    if not (names >= _NEEDED and "error" not in back[1:] and "endpoint" not in back):
        return False
    return set(front) <= _FRONT and not _FRONT & set(back)


class _Bits:
    """Which bytes of a text are a certain one, a bit for each byte that there is up to the text's end."""

    def __init__(self) -> None:
        self._marks: Array = np.zeros(0, np.bool_)
        self._windows: Array = np.zeros(0, np.uint64)
        #: How many of them there are.
        self.count = 0

    def mark(self, text: Text, byte: int) -> None:
        """Look for a byte."""
        packed = self._pack(text, byte)
        self.count = _count_ones(packed.view(np.uint64))
        self._windows = np.ndarray(len(packed) - 7, "<u8", packed.data, 0, (1,))

    def places(self, text: Text, byte: int) -> Array | None:
        """Where a byte is; None if it comes twice within a few bytes."""
        words = self._pack(text, byte).view("<u4")
        which = np.flatnonzero(words != 0)
        words = words[which]
        if (words & words - np.uint32(1)).any():
            return None
        places = _exponents(words)
        which <<= 5
        places += which
        return places

    def after(self, at: Array) -> Array:
        """Bits of 57 bytes, the lowest one for the byte at each place."""
        bits: Array = self._windows[at >> 3]
        bits >>= (at & _SEVEN).view(np.uint64)
        return bits

    def before(self, at: Array) -> Array:
        """Bits of the 53 bytes before each place, the highest of 53 for the one next to it."""
        begins = at - 56
        bits: Array = self._windows[begins >> 3]
        begins &= _SEVEN
        bits <<= (8 - begins).view(np.uint64)
        bits >>= _U(11)
        return bits

    def _pack(self, text: Text, byte: int) -> Array:
        size = (text.end // 64 + 3) * 64
        if len(self._marks) < size:
            self._marks = np.zeros(size * 5 // 4, np.bool_)
        marks = self._marks[:size]
        marks[: text.begin] = False
        np.equal(text.codes[text.begin : text.end], byte, out=marks[text.begin : text.end])
        marks[text.end :] = False
        return np.packbits(marks, bitorder="little")


def _count_ones(words: Array) -> int:
    """How many bits are 1."""
    if hasattr(np, "bitwise_count"):
        return int(np.bitwise_count(words).sum(dtype=np.int64))
    return int(np.count_nonzero(np.unpackbits(words.view(np.uint8))))


def _exponents(values: Array) -> Array:
    """The number of the highest bit of each value below 2**53; a double keeps it. Of 0 it is far below 0."""
    exponents = values.astype(np.float64).view(np.int64)
    exponents >>= 52
    exponents -= 1023
    return exponents


class _Lines:
    """The lines of a block. What is found of their cells is put together step by step."""

    def __init__(self, text: Text, bits: _Bits, feeds: Array) -> None:
        self._text, self._bits = text, bits
        self.feeds = feeds
        self.begins: Array = np.empty_like(feeds)
        self.begins[0] = text.begin
        np.add(feeds[:-1], 1, out=self.begins[1:])
        self.values: dict[str, Array] = {}
        #: Which lines have all their separators where they were looked for.
        self.sure: Array = np.ones(len(feeds), np.bool_)
        #: And which of them hold what is usual.
        self.good: Array = self.sure.copy()
        #: Which have an error.
        self.given: Array | None = None
        self._least: Array = self.begins
        self._numbers: dict[str, tuple[Array, Array]] = {}
        self._stamps: dict[str, tuple[Array, Array | None]] = {}

    def line(self, at: int) -> bytes:
        """A line without its line feed."""
        return self._text.cell(int(self.begins[at]), int(self.feeds[at]))

    def front(self, columns: int) -> list[Array] | None:
        """Where the cells of the first columns end, which are followed by the file; None when one is very long."""
        found: list[Array] = []
        at = self.begins
        while len(found) < columns:
            bits = self._bits.after(at)
            ends: list[Array] = []
            for _ in range(columns - len(found)):
                rest = bits - _U(1)
                rest &= bits
                bits ^= rest
                places = _exponents(bits)
                places += at
                ends.append(places)
                bits = rest
            # Without a bit the exponent is far below 0.
            while ends and not (ends[-1] >= at).all():
                ends.pop()
            if not ends:
                return None
            found += ends
            at = found[-1] + 1
        self._least = at
        return found

    def back(self, columns: Sequence[str]) -> None:
        """Find the columns after the file from the last to the first."""
        at = self.feeds
        for name in reversed(columns):
            if name in _OPTIONAL:
                at = self._find_stamp_given(name, at)
            elif name in _TIMES:
                self._stamps[name] = at, None
                at = at - (STAMP + 1)
            elif name == "error":
                self.given = self._text.codes[at - 1] != _TAB
                at = np.where(self.given, self._least, at - 1)
            else:
                at = self._find_cell(name, at)
            self.sure &= at >= self._least
            np.maximum(at, self._least, out=at)

    def _find_cell(self, name: str, end: Array) -> Array:
        bits = self._bits.before(end)
        begins = _exponents(bits)
        begins += end
        begins -= 52
        self.sure &= bits != 0
        if name in _NUMBERS:
            self._numbers[name] = np.maximum(begins, self._least), end
        begins -= 1
        return begins

    def _find_stamp_given(self, name: str, end: Array) -> Array:
        before = end - 1
        is_given = self._text.codes[before] != _TAB
        given = np.flatnonzero(is_given)
        if given.size == len(end):
            self._stamps[name] = end, None
            before -= STAMP
        else:
            self._stamps[name] = end[given], given
            before -= np.multiply(is_given, STAMP, dtype=np.int64)
        return before

    def read_stamps(self) -> None:
        """Read all times, and see where they are what they were taken for."""
        ends = np.concatenate([end for end, _ in self._stamps.values()])
        values, good = parse_usual_stamps(self._text, ends, after=_TAB)
        begin = 0
        for name, (end, which) in self._stamps.items():
            part = slice(begin, begin + len(end))
            begin += len(end)
            if which is None:
                self.values[name] = values[part]
                self.sure &= good[part]
            else:
                self.values[name] = np.full(len(self.feeds), NEVER, np.int64)
                self.values[name][which] = values[part]
                self.sure[which] &= good[part]
        for name in _OPTIONAL[:1]:
            if name not in self.values:
                self.values[name] = np.full(len(self.feeds), NEVER, np.int64)
        self.good &= self.sure

    def read_front(self, places: Sequence[Array], columns: Sequence[str], tables: Tables) -> None:
        """Read the columns before the file, of which these are the ends; and all numbers."""
        begin = self.begins
        cells: dict[str, tuple[Array, Array]] = {}
        for name, end in zip(columns, places, strict=True):
            cells[name] = begin, end
            begin = end + 1
        self._numbers.update({name: cells[name] for name in cells.keys() & _NUMBERS})
        self._read_numbers()
        values = self.values
        if tables.together:
            begin, end = cells["op"][0], cells["client_id"][1]
            values["op"], values["client_id"] = tables.callers.codes(tables.clients, self._text, begin, end)
        else:
            values["op"] = tables.operations.codes(self._text, *cells["op"])
            values["client_id"] = self._texts(tables.clients, cells.get("client_id"))
        values["endpoint"] = self._texts(tables.endpoints, cells.get("endpoint"))
        self.good &= values["op"] != 0
        self.good &= values["client_id"] >= 0
        self.good &= values["endpoint"] >= 0

    def _read_numbers(self) -> None:
        for name, (begins, ends) in self._numbers.items():
            self.values[name], good = parse_naturals(self._text, begins, ends)
            self.good &= good

    def _texts(self, names: Names, cells: tuple[Array, Array] | None) -> Array:
        if cells is None:
            return np.full(len(self.feeds), names.code(""), np.int64)
        return names.codes(self._text, *cells)

    def failures(self, columns: Sequence[str]) -> dict[int, tuple[str, str]]:
        """The file and the error of rows that have one."""
        if self.given is None:
            return {}
        return {at: failure_of(self.line(at), columns) for at in np.flatnonzero(self.given).tolist()}


def failure_of(line: bytes, columns: Sequence[str]) -> tuple[str, str]:
    """The file and the error of a row."""
    fields = decode(line).split("\t")
    return unescape(fields[columns.index("file")]), unescape(fields[columns.index("error")])
