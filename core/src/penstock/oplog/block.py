"""A block of a log's text as columns: what is usual in it, and room for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs
import numpy as np

from penstock.oplog.cells import Array, Text, pad, parse_naturals, parse_stamps
from penstock.oplog.names import Names, Operations, op_code
from penstock.oplog.rows import Row
from penstock.oplog.usual import NEVER, UsualLines, failure_of

__all__ = ["Block", "Columns"]

_TAB: Final = 9
_LINE_FEED: Final = 10
_CARRIAGE_RETURN: Final = 13
_MOST: Final = 2**63 - 1
_NUMBERS: Final = {"thread": 0, "n_objects": 1, "bytes": 0}  # and what a row has that lacks the column
_TIMES: Final = ("start", "first_byte", "end")
_VALUES: Final = (*_NUMBERS, *_TIMES, "duration_ns")


@attrs.frozen(slots=True, eq=False)
class Columns:
    """Rows, one item each in every array. Times are nanoseconds since 1970 in UTC.

    ``ops`` are codes (:func:`op_name`). ``firsts`` is NEVER where there is no first byte. ``clients`` and ``endpoints``
    are places in ``client_names`` and ``endpoint_names``. ``failures`` has each failed row's place, file and error.
    """

    ops: Array
    threads: Array
    n_objects: Array
    nbytes: Array
    starts: Array
    firsts: Array
    ends: Array
    durations: Array
    clients: Array
    endpoints: Array
    failures: Sequence[tuple[int, str, str]]
    client_names: Names
    endpoint_names: Names

    def __len__(self) -> int:
        return len(self.ops)


class Block:
    """Lines, and the columns that are made of them, one item for each line whether it holds a row or not."""

    def __init__(
        self,
        text: Text,
        names: Sequence[str],
        operations: Operations,
        clients: Names,
        endpoints: Names,
        usual: UsualLines | None = None,
    ) -> None:
        """``names`` are those of the header. ``text`` is whole lines, one at least. ``usual`` is asked first."""
        self._text = text
        self._names = names
        self._clients, self._endpoints = clients, endpoints
        self._values: dict[str, Array] = {}
        self._failed: dict[int, tuple[str, str]] = {}
        found = None if usual is None else usual.read(text, operations, clients, endpoints)
        if found is None:
            self._divide(operations)
        else:
            self._begins, self._ends = found.begins, found.ends
            self._values, self._good, self._failed = found.values, found.good, found.failed
        self.lines = len(self._ends)

    def _divide(self, operations: Operations) -> None:
        """Find every separator, and read what is between them."""
        text, names = self._text, self._names
        self._at: Mapping[str, int] = {name: names.index(name) for name in names}
        self._begins, self._ends, places, which = _divide(text, len(names))
        count = len(places)
        self._usual: Array = np.ones(count, np.bool_)
        if count:
            self._ends_of_cells = _ends_of_cells(text, places)
            self._first = self._begins if which is None else self._begins[which]
            self._read(operations)
        if which is None:
            self._good = self._usual
        else:
            self._spread(which, count)

    @classmethod
    def empty(cls, lines: int, clients: Names, endpoints: Names) -> Block:
        """Room for as many rows, which are put there one by one."""
        return cls(pad(b"\n" * lines), ("op", "start", "file"), Operations(), clients, endpoints)

    def unusual(self) -> list[int]:
        """The numbers of the lines that were not understood."""
        unusual: list[int] = np.flatnonzero(~self._good).tolist()
        return unusual

    def line(self, at: int) -> bytes:
        """A line without its end."""
        line = self._text.cell(int(self._begins[at]), int(self._ends[at]) - 1)
        return line.removesuffix(b"\r")

    def end(self, at: int) -> int:
        """Where the line after this one begins."""
        return int(self._ends[at])

    def put(self, at: int, row: Row) -> None:
        """Say what a line holds. Raises ValueError when that takes more than 64 bits."""
        first = NEVER if row.first_byte_ns is None else row.first_byte_ns
        values = (row.thread, row.n_objects, row.nbytes, row.start_ns, first, row.end_ns, row.duration_ns)
        for name, value in zip(_VALUES, values, strict=True):
            if abs(value) > _MOST and value != NEVER:
                raise ValueError(f"{name} is {value}, which takes more than 64 bits")
        for name, value in zip(_VALUES, values, strict=True):
            self._values[name][at] = value
        self._values["op"][at] = op_code(row.op)
        self._values["client_id"][at] = self._clients.code(row.client_id)
        self._values["endpoint"][at] = self._endpoints.code(row.endpoint)
        self._good[at] = True
        self._failed.pop(at, None)
        if row.error:
            self._failed[at] = (row.file, row.error)

    def columns(self, upto: int) -> Columns:
        """The rows of the lines before this one."""
        good = self._good[:upto]
        every = bool(good.all())
        places = np.cumsum(good) - 1 if self._failed and not every else None
        kept = {name: values[:upto] if every else values[:upto][good] for name, values in self._values.items()}
        failures = [
            (at if places is None else int(places[at]), *self._failed[at])
            for at in sorted(self._failed)
            if at < upto and good[at]
        ]
        return Columns(
            ops=kept["op"],
            threads=kept["thread"],
            n_objects=kept["n_objects"],
            nbytes=kept["bytes"],
            starts=kept["start"],
            firsts=kept["first_byte"],
            ends=kept["end"],
            durations=kept["duration_ns"],
            clients=kept["client_id"],
            endpoints=kept["endpoint"],
            failures=failures,
            client_names=self._clients,
            endpoint_names=self._endpoints,
        )

    def _spread(self, which: Array, count: int) -> None:
        """Make room for the lines that have too few or too many cells."""
        lines = len(self._ends)
        self._good = np.zeros(lines, np.bool_)
        self._good[which] = self._usual
        for name in ("op", *_VALUES, "client_id", "endpoint"):
            kind = np.uint8 if name == "op" else np.int64
            spread = np.zeros(lines, kind)
            if count:
                spread[which] = self._values[name]
            self._values[name] = spread
        numbers = which.tolist()
        self._failed = {numbers[at]: found for at, found in self._failed.items()}

    def _cells(self, name: str) -> tuple[Array, Array]:
        at = self._at[name]
        return self._ends_of_cells[at - 1] + 1 if at else self._first, self._ends_of_cells[at]

    def _read(self, operations: Operations) -> None:
        count = len(self._usual)
        values = self._values
        values["op"] = operations.codes(self._text, *self._cells("op"))
        self._usual &= values["op"] != 0
        for name, default in _NUMBERS.items():
            values[name] = self._naturals(name) if name in self._at else np.full(count, default, np.int64)
        if "idx" in self._at:
            self._naturals("idx")
        values["start"] = self._stamps("start")
        values["first_byte"] = self._stamps_given("first_byte")
        self._stamps_given("last_byte")
        self._read_ends()
        for name, names in (("client_id", self._clients), ("endpoint", self._endpoints)):
            if name in self._at:
                values[name] = names.codes(self._text, *self._cells(name))
                self._usual &= values[name] >= 0
            else:
                values[name] = np.full(count, names.code(""), np.int64)
        if "error" in self._at:
            self._read_errors()

    def _read_ends(self) -> None:
        values = self._values
        if "end" in self._at:
            values["end"] = self._stamps("end")
        if "duration_ns" in self._at:
            values["duration_ns"] = self._naturals("duration_ns")
        else:
            values["duration_ns"] = values["end"] - values["start"]
            self._usual &= (values["duration_ns"] >= 0) == (values["end"] >= values["start"])
        if "end" not in self._at:
            values["end"] = values["start"] + values["duration_ns"]
            # It wraps around where it does not fit.
            self._usual &= values["end"] >= values["start"]

    def _naturals(self, name: str) -> Array:
        values, good = parse_naturals(self._text, *self._cells(name))
        self._usual &= good
        return values

    def _stamps(self, name: str) -> Array:
        values, good = parse_stamps(self._text, *self._cells(name))
        self._usual &= good
        return values

    def _stamps_given(self, name: str) -> Array:
        """Times of a column that may be missing, and whose cells may be empty."""
        values = np.full(len(self._usual), NEVER, np.int64)
        if name not in self._at:
            return values
        begins, ends = self._cells(name)
        given = np.flatnonzero(ends > begins)
        if given.size == len(values):
            return self._stamps(name)
        if given.size:
            values[given], good = parse_stamps(self._text, begins[given], ends[given])
            self._usual[given] &= good
        return values

    def _read_errors(self) -> None:
        begins, ends = self._cells("error")
        for at in np.flatnonzero(ends > begins).tolist():
            line = self._text.cell(int(self._first[at]), int(self._ends_of_cells[-1][at]))
            self._failed[at] = failure_of(line, self._names)


def _divide(text: Text, width: int) -> tuple[Array, Array, Array, Array | None]:
    """Lines: where they begin, and end with their line feed; the separators of those of ``width`` cells, and which
    lines these are, None if all.
    """
    codes = text.codes[text.begin : text.end]
    separators = np.flatnonzero(codes <= _LINE_FEED)
    kinds = codes[separators]
    if (kinds < _TAB).any():
        # Other control characters are text.
        real = kinds >= _TAB
        separators, kinds = separators[real], kinds[real]
    separators += text.begin
    count, rest = divmod(len(kinds), width)
    if not rest and kinds.tobytes() == (b"\t" * (width - 1) + b"\n") * count:
        places = separators.reshape(count, width)
        ends = places[:, -1] + 1
        return _begins(ends, text), ends, places, None
    feeds = np.flatnonzero(kinds == _LINE_FEED)
    ends = separators[feeds] + 1
    which = np.flatnonzero(np.diff(feeds, prepend=-1) == width)
    places = separators[feeds[which][:, None] + np.arange(1 - width, 1)]
    return _begins(ends, text), ends, places, which


def _begins(ends: Array, text: Text) -> Array:
    begins = np.empty_like(ends)
    begins[0] = text.begin
    begins[1:] = ends[:-1]
    return begins


def _ends_of_cells(text: Text, places: Array) -> Array:
    """Where the cells end, a row for each column."""
    ends = np.ascontiguousarray(places.T)
    carriage = text.codes[ends[-1] - 1] == _CARRIAGE_RETURN
    if carriage.any():
        ends[-1] -= carriage
    return ends
