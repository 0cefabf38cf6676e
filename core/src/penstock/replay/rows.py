"""The rows of a log as a replay needs them, in the order in which they started.

Only this module knows how a log is read. The order is made within a window that slides over the log; a row that is
further out of order is refused, for those that started after it have been replayed already.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from penstock.errors import OpLogError
from penstock.oplog import Row
from penstock.oplog.columnar import ColumnLog
from penstock.oplog.formatter import WARMING
from penstock.oplog.names import op_name
from penstock.oplog.reader import Reader, read
from penstock.quantities import format_duration
from penstock.records import Op
from penstock.replay.settings import Window

__all__ = ["Entry", "Extent", "LogRows", "measure", "ordered"]

_CODES: Final = {**{op.name: int(op) for op in Op}, "HEAD": int(Op.STAT)}
_STATS: Final = ("STAT", "HEAD")
_MOST_SHARED: Final = 100_000
_OFFSETS: Final = ("offset", "range_start")
_LENGTHS: Final = ("length", "range_length")
_SOURCES: Final = ("source", "copy_source")

_Ints = npt.NDArray[np.int64]


class Entry(NamedTuple):
    """One row. ``start`` is in nanoseconds since 1970, ``line`` where it stands in the file.

    ``op`` is a code of :class:`penstock.records.Op`. ``thread`` tells the recorded thread, over all clients.
    ``first`` is from the start to the first byte, 0: not known. ``offset`` and ``length`` of a range are -1, and
    ``source`` of a copy is empty, where the log has no such column. A stat moves no bytes, whatever the log says.
    """

    start: int
    line: int
    op: int
    thread: str
    n_objects: int
    nbytes: int
    endpoint: str
    file: str
    failed: bool
    duration: int
    first: int
    offset: int
    length: int
    source: str


class LogRows:
    """The rows of a log in the order of the file. ``reader`` knows what was bad about it."""

    def __init__(self, path: str, *, skip_bad_rows: bool) -> None:
        """Raises OpLogError when there is no log."""
        self.reader: Reader = read(path, skip_bad_rows=skip_bad_rows)
        #: Texts that many rows share, once each.
        self._shared: dict[str, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        with self.reader as reader:
            for row in reader:
                yield self._entry(row, reader)

    def _entry(self, row: Row, reader: Reader) -> Entry:
        offset = length = -1
        source = ""
        if row.extra:
            cells = dict(row.extra)
            offset, length = _number(cells, _OFFSETS, reader), _number(cells, _LENGTHS, reader)
            source = next((cells[name] for name in _SOURCES if cells.get(name)), "")
        first = 0 if row.first_byte_ns is None else row.first_byte_ns - row.start_ns
        thread = f"{row.client_id.removesuffix(WARMING).removesuffix('/')}/{row.thread}"
        if len(self._shared) > _MOST_SHARED:
            self._shared.clear()
        return Entry(
            row.start_ns,
            reader.line,
            _CODES[row.op],
            self._shared.setdefault(thread, thread),
            row.n_objects,
            0 if row.op in _STATS else row.nbytes,
            self._shared.setdefault(row.endpoint, row.endpoint),
            row.file,
            bool(row.error),
            max(row.duration_ns, 0),
            max(first, 0),
            offset,
            length,
            source,
        )


def _number(cells: dict[str, str], names: tuple[str, ...], reader: Reader) -> int:
    text = next((cells[name] for name in names if cells.get(name)), "")
    if not text:
        return -1
    if text.isdecimal() and text.isascii():
        return int(text)
    raise OpLogError(f"{reader.name}:{reader.line}: {names[0]} is {text!r}; write a whole number")


def ordered(entries: Iterable[Entry], window: Window, name: str) -> Iterator[Entry]:
    """The entries by their start, those that started together as they stand in the file.

    Raises OpLogError for one that is further out of order than the window.
    """
    heap: list[Entry] = []
    span, rows = round(window.seconds * 1e9), window.rows
    newest, released = -(1 << 63), -(1 << 63)
    for entry in entries:
        if entry.start < released:
            raise OpLogError(_disorder(f"{name}:{entry.line}: this row", name, released - entry.start, window))
        heapq.heappush(heap, entry)
        newest = max(newest, entry.start)
        while len(heap) > rows or newest - heap[0].start > span:
            first = heapq.heappop(heap)
            released = first.start
            yield first
    while heap:
        yield heapq.heappop(heap)


def _disorder(where: str, name: str, behind: int, window: Window) -> str:
    return (
        f"{where} started {format_duration(behind / 1e9)} before one that is due already: the log is out of order by "
        f"more than the window, {window.rows:,} rows or {format_duration(window.seconds)}; sort it first: penstock "
        f"oplog sort {name} SORTED.tsv.zst"
    )


@attrs.frozen
class Extent:
    """What a log is, without its names. Starts are nanoseconds since 1970.

    ``operations`` counts rows by operation; HEAD is STAT. ``displaced_ns`` is the furthest that a row started before
    one above it.
    """

    rows: int
    bad_rows: int
    cut_off: bool
    first_ns: int
    last_ns: int
    displaced_ns: int
    operations: Mapping[str, int]


def measure(path: str, window: Window, *, skip_bad_rows: bool) -> Extent:
    """Read all of a log but its names, many rows at once. Raises OpLogError for a bad row, unless those are skipped,
    and as :func:`ordered` does.
    """
    log = ColumnLog(path, skip_bad_rows=skip_bad_rows)
    first, latest, displaced, rows = 1 << 63, -(1 << 63), 0, 0
    operations: Counter[str] = Counter()
    order = _Order(window, path)
    try:
        for columns in log:
            starts = columns.starts
            highest = np.maximum.accumulate(np.maximum(starts, latest))
            displaced = max(displaced, int((highest - starts).max()))
            first, latest = min(first, int(starts.min())), int(highest[-1])
            order.add(starts, rows)
            rows += len(starts)
            for code, count in enumerate(np.bincount(columns.ops).tolist()):
                if count:
                    operations[op_name(code).replace("HEAD", "STAT")] += count
    finally:
        log.close()
    first, latest = (first, latest) if rows else (0, 0)
    return Extent(rows, log.bad_rows, log.truncated, first, latest, displaced, dict(operations))


class _Order:
    """The window of :func:`ordered` over the times alone."""

    def __init__(self, window: Window, name: str) -> None:
        self._window = window
        self._name = name
        self._span = round(window.seconds * 1e9)
        #: What the window holds, in order.
        self._held: _Ints = np.zeros(0, np.int64)
        self._released = -(1 << 63)

    def add(self, keys: _Ints, number: int) -> None:
        """Take the next times; ``number`` is the first one's row."""
        newest = int(self._held[-1]) if len(self._held) else -(1 << 63)
        if int(keys[0]) >= newest and bool((keys[1:] >= keys[:-1]).all()):
            # In order, as most are.
            held = np.concatenate([self._held, keys])
            gone = max(len(held) - self._window.rows, int(np.searchsorted(held, int(keys[-1]) - self._span)), 0)
            if gone:
                self._released = int(held[gone - 1])
            self._held = held[gone:]
            return
        heap = self._held.tolist()
        for place, key in enumerate(keys.tolist(), number):
            if key < self._released:
                raise OpLogError(
                    _disorder(f"{self._name}: row {place + 1}", self._name, self._released - key, self._window)
                )
            heapq.heappush(heap, key)
            newest = max(newest, key)
            while len(heap) > self._window.rows or newest - heap[0] > self._span:
                self._released = heapq.heappop(heap)
        self._held = np.sort(np.array(heap, dtype=np.int64))
