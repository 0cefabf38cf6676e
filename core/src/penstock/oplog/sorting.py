"""Sorting logs of any size by when their calls started, in bounded memory."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import attrs
import numpy as np

from penstock.errors import OpLogError
from penstock.oplog.chunks import Array, Chunk, gather
from penstock.oplog.logtext import LogText
from penstock.oplog.target import Target
from penstock.oplog.threads import Renumbered

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ROWS_IN_MEMORY", "Changed", "Sorter", "merge_runs", "sort_log", "write_ordered"]

#: Rows held at once unless told otherwise; about 600 MB of ordinary ones.
ROWS_IN_MEMORY: Final = 2_000_000

_BYTES_PER_ROW: Final = 256
_LEAST_BYTES: Final = 4 << 20
_FAN_IN: Final = 64
_PIECE: Final = 8192
_HEAD: Final = struct.Struct("<QQ")


@attrs.frozen(slots=True)
class Changed:
    """What came of a command: rows in the new log, malformed ones left out, and logs whose end was cut off.

    ``renumbered`` are threads of merged logs that had to be given other numbers.
    """

    rows: int
    bad_rows: int
    cut_off: tuple[str, ...]
    renumbered: tuple[Renumbered, ...] = ()


def sort_log(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    rows_in_memory: int = ROWS_IN_MEMORY,
    level: int = 1,
    skip_bad_rows: bool = False,
    folder: str | os.PathLike[str] | None = None,
) -> Changed:
    """Write the rows of ``source`` to ``target``, which may be the same, in the order in which they started.

    Rows that started together stay in their order. All columns and what they hold are kept; ``idx`` counts anew.
    What doesn't fit into memory goes to a nameless file in ``folder``, by default that of the target, about as large
    as the log compressed. Raises OpLogError; ``target`` is untouched then.
    """
    log = LogText(os.fspath(source), skip_bad_rows=skip_bad_rows)
    try:
        where = os.fspath(folder) if folder is not None else os.path.dirname(os.fspath(target)) or "."
        with Target(target, log.columns, level=level) as out, Sorter(where, rows_in_memory) as sorter:
            for chunk in log.chunks():
                sorter.add(chunk)
            rows = write_ordered(sorter.ordered(), out)
    finally:
        log.close()
    return Changed(rows, log.bad_rows, (log.name,) if log.truncated else ())


def write_ordered(chunks: Iterable[tuple[Chunk, Array]], out: Target) -> int:
    """Write chunks, each in its order, numbered from 0 on; returns how many rows that were."""
    rows = 0
    for chunk, order in chunks:
        for text in gather(chunk, order, rows):
            out.append(text)
        rows += len(order)
    return rows


class Sorter:
    """Takes chunks and gives them back in order, holding ``rows`` rows at once. A context: it leaves no file."""

    def __init__(self, folder: str, rows: int = ROWS_IN_MEMORY) -> None:
        if rows < 1:
            raise OpLogError(f"rows in memory: {rows}; write 1 or more")
        self._folder = folder
        self._most = rows
        self._most_bytes = max(_LEAST_BYTES, rows * _BYTES_PER_ROW)
        self._piece = max(1, min(_PIECE, rows // _FAN_IN))
        self._runs: _Runs | None = None
        self._begin()

    def _begin(self) -> None:
        self._data = bytearray()
        self._parts: list[Chunk] = []
        self._rows = 0

    def add(self, chunk: Chunk) -> None:
        """Take the rows of a chunk after those that are there."""
        while len(chunk):
            room = self._most - self._rows
            some = _slice(chunk, 0, min(room, len(chunk)))
            begin = len(self._data)
            self._data += some.data
            self._parts.append(Chunk(b"", some.keys, some.starts + begin, some.ends + begin))
            self._rows += len(some)
            if self._rows >= self._most or len(self._data) >= self._most_bytes:
                self._spill()
            chunk = _slice(chunk, len(some), len(chunk))

    def ordered(self) -> Iterator[tuple[Chunk, Array]]:
        """All rows. Nothing can be added after that."""
        if self._runs is None:
            if self._rows:
                yield self._sorted()
            return
        if self._rows:
            self._spill()
        while len(self._runs) > _FAN_IN:
            merged = _Runs(self._folder)
            try:
                for begin in range(0, len(self._runs), _FAN_IN):
                    runs = self._runs.read(begin, begin + _FAN_IN)
                    merged.add(
                        piece for chunk, order in merge_runs(runs) for piece in _pieces(chunk, order, self._piece)
                    )
            except BaseException:
                merged.close()
                raise
            self._runs.close()
            self._runs = merged
        yield from merge_runs(self._runs.read(0, len(self._runs)))

    def _sorted(self) -> tuple[Chunk, Array]:
        parts = self._parts
        keys, starts, ends = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("keys", "starts", "ends")
        )
        self._parts = []
        return Chunk(self._data, keys, starts, ends), np.argsort(keys, kind="stable")

    def _spill(self) -> None:
        if self._runs is None:
            self._runs = _Runs(self._folder)
        chunk, order = self._sorted()
        self._runs.add(_pieces(chunk, order, self._piece))
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runs is not None:
            self._runs.close()


def _slice(chunk: Chunk, begin: int, end: int) -> Chunk:
    """Rows ``begin`` up to, not including, ``end``, with no more text than theirs."""
    if begin == 0 and end == len(chunk):
        return chunk
    if begin == end:
        return Chunk(b"", chunk.keys[:0], chunk.starts[:0], chunk.ends[:0])
    first, last = int(chunk.starts[begin]), int(chunk.ends[end - 1])
    text = bytes(memoryview(chunk.data)[first:last])
    return Chunk(text, chunk.keys[begin:end], chunk.starts[begin:end] - first, chunk.ends[begin:end] - first)


def _pieces(chunk: Chunk, order: Array, rows: int) -> Iterator[Chunk]:
    for begin in range(0, len(order), rows):
        some = order[begin : begin + rows]
        lengths = chunk.ends[some] - chunk.starts[some]
        ends = np.cumsum(lengths)
        yield Chunk(b"".join(gather(chunk, some, None)), chunk.keys[some], ends - lengths, ends)


class _Runs:
    """Sorted runs in a file without a name, which is gone with this process whatever becomes of it."""

    def __init__(self, folder: str) -> None:
        import zstandard

        try:
            self._file: BinaryIO = tempfile.TemporaryFile(dir=folder, prefix=".penstock-sort-")  # noqa: SIM115
        except OSError as error:
            raise OpLogError(f"no temporary file can be made in {folder}: {error.strerror}") from error
        self._compressor: Any = zstandard.ZstdCompressor(level=1)
        self._size = 0
        #: Where each run begins and ends.
        self._places: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        self._file.close()

    def add(self, pieces: Iterable[Chunk]) -> None:
        begin = self._size
        try:
            for piece in pieces:
                lengths = (piece.ends - piece.starts).astype(np.uint32)
                data = self._compressor.compress(b"".join((piece.keys.tobytes(), lengths.tobytes(), piece.data)))
                self._file.write(_HEAD.pack(len(data), len(piece)))
                self._file.write(data)
                self._size += _HEAD.size + len(data)
            self._file.flush()
        except OSError as error:
            raise OpLogError(f"the temporary file of sorting can't be written: {error.strerror}") from error
        self._places.append((begin, self._size))

    def read(self, begin: int, end: int) -> Sequence[Iterator[Chunk]]:
        return [self._run(*place) for place in self._places[begin:end]]

    def _run(self, at: int, end: int) -> Iterator[Chunk]:
        import zstandard

        decompressor = zstandard.ZstdDecompressor()
        while at < end:
            size, rows = _HEAD.unpack(self._read(_HEAD.size, at))
            data = decompressor.decompress(self._read(size, at + _HEAD.size))
            at += _HEAD.size + size
            ends = np.cumsum(np.frombuffer(data, np.uint32, rows, 8 * rows), dtype=np.int64)
            starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
            yield Chunk(data[12 * rows :], np.frombuffer(data, np.int64, rows), starts, ends)

    def _read(self, size: int, at: int) -> bytes:
        try:
            data = os.pread(self._file.fileno(), size, at)
        except OSError as error:
            raise OpLogError(f"the temporary file of sorting can't be read: {error.strerror}") from error
        if len(data) != size:
            raise OpLogError("the temporary file of sorting was cut off; something else has written to it")
        return data


def merge_runs(runs: Sequence[Iterator[Chunk]]) -> Iterator[tuple[Chunk, Array]]:
    """The rows of runs, each of which is in order; of rows that started together the earlier run's come first."""
    heads = [head for head in map(_Head, runs) if head.load()]
    while heads:
        # Of the run whose rows in memory end first, all are due, and of the others what isn't later than these.
        nearest = min(range(len(heads)), key=lambda place: heads[place].last)
        bound = heads[nearest].last
        parts = [head.take(bound, equal=place <= nearest) for place, head in enumerate(heads)]
        chunk = _concatenated([part for part in parts if len(part)])
        yield chunk, np.argsort(chunk.keys, kind="stable")
        heads = [head for head in heads if head.is_loaded or head.load()]


class _Head:
    """The part of a run that is in memory."""

    def __init__(self, run: Iterator[Chunk]) -> None:
        self._run = run
        self._chunk: Chunk
        self._at = 0
        self.last = 0
        self.is_loaded = False

    def load(self) -> bool:
        """Whether there are rows left."""
        chunk = next(self._run, None)
        if chunk is None:
            return False
        self._chunk, self._at, self.last, self.is_loaded = chunk, 0, int(chunk.keys[-1]), True
        return True

    def take(self, bound: int, *, equal: bool) -> Chunk:
        """The next rows up to ``bound``, or before it."""
        keys = self._chunk.keys
        end = self._at + int(np.searchsorted(keys[self._at :], bound, "right" if equal else "left"))
        part = _slice(self._chunk, self._at, end)
        self._at = end
        self.is_loaded = end < len(keys)
        return part


def _concatenated(parts: Sequence[Chunk]) -> Chunk:
    if len(parts) == 1:
        return parts[0]
    begins = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
    return Chunk(
        b"".join(part.data for part in parts),
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.starts + begin for part, begin in zip(parts, begins, strict=True)]),
        np.concatenate([part.ends + begin for part, begin in zip(parts, begins, strict=True)]),
    )
