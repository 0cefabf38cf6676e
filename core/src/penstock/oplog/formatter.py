"""Rows of records as text, many at once.

A batch becomes a :class:`~penstock.oplog.matrix.Matrix`. The few rows that do not fit into one, because they failed,
have to be escaped or hold a very long name, are formatted singly and take the place of their lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from penstock.clocks import Anchor
from penstock.oplog.columns import escape, format_seconds
from penstock.oplog.matrix import Array, Matrix, Texts, pack_texts
from penstock.records import WARMUP, Endpoint, Op, RecordBuffer
from penstock.urls import strip_scheme

__all__ = ["BATCH", "WARMING", "Formatter"]

#: Ends the client's identity in rows that were measured while a run was warming up.
WARMING: Final = "warmup"

#: Rows formatted at once: enough to hide what a NumPy call costs, few enough for the matrix to stay in the cache.
BATCH: Final = 4096

_LONGEST: Final = 256
_SECOND: Final = 1_000_000_000
_SECONDS: Final = len("2026-01-31T12:00:00.")
_OPS: Final = [name.encode() for name in ("", *Op.__members__)]


class Formatter:
    """Formats the rows of one process. ``endpoints`` may grow; its entries must not change."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        anchor: Anchor,
        client_id: str = "",
        *,
        wide: bool = False,
        due: bool = False,
    ) -> None:
        """``wide`` rows have 15 columns: ``last_byte``, when a put's body had been sent, and ``cat``, which is 0.
        ``due`` rows end with when the call was due.
        """
        self._endpoints = endpoints
        self._anchor = anchor
        self._wide = wide
        self._due = due
        self._end = b"\t0\n" if wide else b"\n"
        measured = escape(client_id)
        #: By whether the row is of the warm-up, which no other column could say.
        self._clients = (measured, f"{measured}/{WARMING}" if measured else WARMING)
        self._places: list[str] = []
        self._seconds: dict[int, str] = {}

    def format(self, buffer: RecordBuffer, begin: int, end: int, idx: int) -> bytes:
        """Rows ``begin`` up to, not including, ``end`` as lines; the first one's number is ``idx``.

        There must be one at least. About ``BATCH`` of them is the fastest.
        """
        rows = buffer.rows[begin:end]
        names, special = pack_texts(buffer.names[begin:end], longest=_LONGEST)
        start, stop = rows["start"], rows["end"]
        duration = stop - start
        nbytes = rows["nbytes"].copy()
        odd = (rows["error"] != 0) | (duration < 0) | (nbytes < 0)
        odd[special] = True
        singles = np.flatnonzero(odd)
        if singles.size:
            duration[singles] = nbytes[singles] = 0
        text = self._matrix(buffer.thread, rows, names, nbytes, duration, idx)
        if not singles.size:
            return text
        lines = text.splitlines(keepends=True)
        for place in singles.tolist():
            lines[place] = self.line(buffer, begin + place, idx + place)
        return b"".join(lines)

    def line(self, buffer: RecordBuffer, row: int, idx: int) -> bytes:
        """One row by the plain way: the same bytes, whatever the row holds."""
        start, first, end, due, nbytes, n_objects, error, _, endpoint, op, flags = buffer.rows[row].item()
        text = "\t".join(
            (
                f"{idx}\t{buffer.thread}\t{Op(op).name}\t{self._clients[flags & WARMUP]}\t{n_objects}\t{nbytes}",
                self._place(endpoint) + escape(buffer.names[row]),
                escape(buffer.errors[error - 1]) if error else "",
                self._time(start),
                self._time(first) if first > 0 else "",
                *([self._time(first) if first > 0 and op == Op.PUT else ""] if self._wide else ()),
                self._time(end),
                f"{end - start}",
                *([self._time(due) if due > 0 else ""] if self._due else ()),
            )
        )
        return text.encode() + self._end

    def _matrix(self, thread: int, rows: Array, names: Texts, nbytes: Array, duration: Array, idx: int) -> bytes:
        text = Matrix(len(rows))
        text.digits(np.arange(idx, idx + len(rows)))
        text.constant(b"\t%d\t" % thread)
        text.choice(rows["op"], _OPS)
        text.constant(b"\t")
        text.choice(rows["flags"] & WARMUP, [client.encode() for client in self._clients])
        text.constant(b"\t")
        text.digits(rows["n_objects"].astype(np.int64))
        text.constant(b"\t")
        text.digits(nbytes)
        text.constant(b"\t")
        self._need_places(int(rows["endpoint"].max()))
        text.choice(rows["endpoint"], [place.encode() for place in self._places])
        text.texts(names)
        text.constant(b"\t")
        self._stamp(text, rows["start"])
        text.constant(b"\t")
        given = rows["first"] > 0
        if given.any():
            self._stamp(text, np.where(given, rows["first"], rows["start"]), given)
        text.constant(b"\t")
        if self._wide:
            sent = given & (rows["op"] == Op.PUT)
            if sent.any():
                self._stamp(text, np.where(sent, rows["first"], rows["start"]), sent)
            text.constant(b"\t")
        self._stamp(text, rows["end"])
        text.constant(b"\t")
        text.digits(duration)
        if self._due:
            text.constant(b"\t")
            planned = rows["due"] > 0
            if planned.any():
                self._stamp(text, np.where(planned, rows["due"], rows["start"]), planned)
        text.constant(self._end)
        return text.render()

    def _stamp(self, text: Matrix, monotonic: Array, given: Array | None = None) -> None:
        wall = monotonic + self._anchor.offset_ns
        seconds = wall // _SECOND
        fraction = wall - seconds * _SECOND
        low, high = int(seconds.min()), int(seconds.max())
        if low == high:
            prefix: bytes | Array = self._second(low).encode()
        elif high - low < len(wall):
            prefix = self._seconds_of(range(low, high + 1)).take(seconds - low)
        else:
            distinct, which = np.unique(seconds, return_inverse=True)
            prefix = self._seconds_of(distinct.tolist()).take(which)
        text.stamps(prefix, fraction, given)

    def _seconds_of(self, seconds: Iterable[int]) -> Array:
        return np.frombuffer("".join(map(self._second, seconds)).encode(), f"V{_SECONDS}")

    def _time(self, monotonic: int) -> str:
        second, fraction = divmod(self._anchor.wall(monotonic), _SECOND)
        return f"{self._second(second)}{fraction:09d}Z"

    def _second(self, second: int) -> str:
        text = self._seconds.get(second)
        if text is None:
            if len(self._seconds) > BATCH:
                self._seconds.clear()
            text = self._seconds[second] = format_seconds(second)
        return text

    def _need_places(self, highest: int) -> None:
        for endpoint in self._endpoints[len(self._places) : highest + 1]:
            self._places.append(f"{escape(endpoint.name)}\t{escape(strip_scheme(endpoint.base))}")

    def _place(self, endpoint: int) -> str:
        self._need_places(endpoint)
        return self._places[endpoint]
