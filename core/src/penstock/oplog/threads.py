"""Threads of several logs that become one: two that share number and client are given different numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from penstock.oplog.chunks import Chunk
from penstock.oplog.columns import unescape

__all__ = ["Renumbered", "Threads"]


@attrs.frozen(slots=True)
class Renumbered:
    """Thread ``old`` of a client in the log ``name``, which is ``new`` in the merged one."""

    name: str
    client_id: str
    old: int
    new: int


class Threads:
    """Which number each thread has in the merged log.

    A thread keeps its number unless one of another log, and of the same client, has it; then it gets the next free
    one. Whose rows are seen first keeps it.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        """``columns`` of the rows, the row's number first."""
        names = tuple(columns)[1:]
        self._thread = names.index("thread") if "thread" in names else None
        self._client = names.index("client_id") if "client_id" in names else None
        self._cells = max(self._thread or 0, self._client or 0) + 1
        #: The number of (log, client, thread), as text.
        self._new: dict[tuple[int, bytes, bytes], bytes] = {}
        self._taken: set[tuple[bytes, bytes]] = set()
        self._next: dict[bytes, int] = {}

    def distinct(self, chunks: Iterator[Chunk], log: int) -> Iterator[Chunk]:
        """The chunks of the log of that place, with other numbers where they are needed."""
        return chunks if self._thread is None else (self._renumbered(chunk, log) for chunk in chunks)

    def renumbered(self, names: Sequence[str]) -> tuple[Renumbered, ...]:
        """Threads that have another number now; ``names`` are those of the logs by their places."""
        return tuple(
            Renumbered(names[log], unescape(client.decode(errors="surrogateescape")), int(old), int(new))
            for (log, client, old), new in self._new.items()
            if old != new
        )

    def _renumbered(self, chunk: Chunk, log: int) -> Chunk:
        at, client_at, most = self._thread, self._client, self._cells
        assert at is not None
        data, known = memoryview(chunk.data), self._new
        rows: list[bytes] = []
        changed = False
        for begin, end in zip(chunk.starts.tolist(), chunk.ends.tolist(), strict=True):
            row = bytes(data[begin:end])
            cells = row.split(b"\t", most)
            client, old = b"" if client_at is None else cells[client_at], cells[at]
            new = known.get((log, client, old)) or self._number(log, client, old)
            if new != old:
                changed = True
                cells[at] = new
                row = b"\t".join(cells)
            rows.append(row)
        if not changed:
            return chunk
        ends = np.cumsum([len(row) for row in rows])
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        return Chunk(b"".join(rows), chunk.keys, starts, ends)

    def _number(self, log: int, client: bytes, old: bytes) -> bytes:
        """Of a thread that is seen for the first time. What is no number stays as it is."""
        new = old
        if old.isdigit():
            free = self._next.get(client, 0)
            while (client, new) in self._taken:
                new = b"%d" % free
                free += 1
            self._next[client] = max(free, int(new) + 1)
        self._taken.add((client, new))
        self._new[log, client, old] = new
        return new
