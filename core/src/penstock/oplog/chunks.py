"""Logs in chunks of text with the times of their rows beside them: what sorting and merging work on.

Rows stay text; only the column ``start`` is understood, for a whole block at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import attrs
import numpy as np

from penstock.oplog.cells import Array, pad, parse_stamps
from penstock.oplog.columns import parse_time

__all__ = ["Array", "Chunk", "Lines", "gather", "parse_times", "scan"]

_TAB: Final = 9
_LINE_FEED: Final = 10
_CARRIAGE_RETURN: Final = 13
# Lines copied at once, and how much longer than the mean the longest of them may be.
_BATCH: Final = 4096
_UNEVEN: Final = 4


@attrs.frozen(slots=True, eq=False)
class Chunk:
    """Rows of a log. Row ``i``, without its number, is ``data[starts[i]:ends[i]]``, line feed included.

    ``keys`` holds when each started, in nanoseconds since 1970.
    """

    data: bytes | bytearray
    keys: Array
    starts: Array
    ends: Array

    def __len__(self) -> int:
        return len(self.keys)


@attrs.frozen(slots=True, eq=False)
class Lines:
    """What :func:`scan` found: all rows, and what is wrong with the times of some, by their place."""

    chunk: Chunk
    bad: Mapping[int, ValueError]

    def good(self) -> Chunk:
        """The rows whose times are good."""
        if not self.bad:
            return self.chunk
        left = np.setdiff1d(np.arange(len(self.chunk)), np.fromiter(self.bad, np.int64))
        chunk = self.chunk
        return Chunk(chunk.data, chunk.keys[left], chunk.starts[left], chunk.ends[left])


def scan(data: bytes, *, width: int, start: int) -> Lines | None:
    """The rows of ``data``, whole lines of ``width`` cells; cell 0 is the number and cell ``start`` the time.

    None when a line has another number of cells, or ends with a carriage return.
    """
    codes = np.frombuffer(data, np.uint8)
    separators = np.flatnonzero(codes < _LINE_FEED + 1)
    kinds = codes[separators]
    if len(separators) % width or (kinds < _TAB).any():
        # Other control characters are text.
        real = kinds >= _TAB
        separators, kinds = separators[real], kinds[real]
    count, rest = divmod(len(separators), width)
    if rest:
        return None
    grid = kinds.reshape(count, width)
    if not ((grid[:, :-1] == _TAB).all() and (grid[:, -1] == _LINE_FEED).all()):
        return None
    places = separators.reshape(count, width)
    if (codes[places[:, -1] - 1] == _CARRIAGE_RETURN).any():
        return None
    keys, bad = parse_times(data, places[:, start - 1] + 1, places[:, start])
    return Lines(Chunk(data, keys, places[:, 0] + 1, places[:, -1] + 1), bad)


def parse_times(data: bytes, begins: Array, ends: Array) -> tuple[Array, dict[int, ValueError]]:
    """Nanoseconds since 1970 of the stamps at ``data[begins[i]:ends[i]]``, and those that are no times."""
    if not len(begins):
        return np.zeros(0, np.int64), {}
    text = pad(data)
    keys, good = parse_stamps(text, begins + text.begin, ends + text.begin)
    bad = {}
    for place in np.flatnonzero(~good).tolist():
        cell = bytes(data[begins[place] : ends[place]])
        try:
            keys[place] = parse_time(cell.decode(errors="backslashreplace"))
        except ValueError as error:
            bad[place] = error
        except OverflowError:
            bad[place] = ValueError(f"{cell.decode()} is too far from 1970 for nanoseconds in 64 bits")
    return keys, bad


def gather(chunk: Chunk, order: Array, first: int | None) -> Iterator[bytes]:
    """The rows in this order as text, numbered from ``first`` on, or with None without numbers."""
    for begin in range(0, len(order), _BATCH):
        some = order[begin : begin + _BATCH]
        if first is None:
            yield _copy(chunk, some, None)
            continue
        # Numbers of one batch have the same number of digits.
        at = first + begin
        upto = min(at + len(some), 10 ** len(str(at)))
        yield _copy(chunk, some[: upto - at], at)
        if upto < at + len(some):
            yield from gather(chunk, some[upto - at :], upto)


def _copy(chunk: Chunk, order: Array, first: int | None) -> bytes:
    starts = chunk.starts[order]
    lengths = chunk.ends[order] - starts
    longest = int(lengths.max())
    if longest * len(order) > _UNEVEN * int(lengths.sum()) or longest > len(chunk.data):
        return _copy_singly(chunk.data, starts.tolist(), (starts + lengths).tolist(), first)
    width = 0 if first is None else len(str(first)) + 1
    block = np.empty((len(order), width + longest), np.uint8)
    if first is not None:
        _write_numbers(block, first, width)
    kind = f"V{longest}"
    windows: Array = np.ndarray(len(chunk.data) - longest + 1, kind, chunk.data, 0, (1,))
    # A line near the end of the data is read from further left, and moved.
    column: Array = np.ndarray(len(order), kind, block.data, width, block.strides[:1])
    late = np.flatnonzero(starts > len(chunk.data) - longest)
    column[...] = windows[np.minimum(starts, len(chunk.data) - longest)]
    for place in late.tolist():
        line = chunk.data[starts[place] : starts[place] + lengths[place]]
        block[place, width : width + len(line)] = np.frombuffer(line, np.uint8)
    kept: Array = block[np.arange(width + longest, dtype=np.int32) < (lengths + width).astype(np.int32)[:, None]]
    return kept.tobytes()


def _copy_singly(data: bytes | bytearray, starts: Sequence[int], ends: Sequence[int], first: int | None) -> bytes:
    lines = [bytes(data[begin:end]) for begin, end in zip(starts, ends, strict=True)]
    if first is None:
        return b"".join(lines)
    return b"".join(b"%d\t%b" % (number, line) for number, line in enumerate(lines, first))


def _write_numbers(block: Array, first: int, width: int) -> None:
    block[:, width - 1] = _TAB
    numbers = np.arange(first, first + len(block))
    for at in range(width - 2, -1, -1):
        upper = numbers // 10
        if at and int(upper[0]) == int(upper[-1]):
            # All digits further left are the same in every row.
            block[:, at] = numbers - upper * 10 + ord("0")
            block[:, :at] = np.frombuffer(b"%d" % int(upper[0]), np.uint8)
            return
        block[:, at] = numbers - upper * 10 + ord("0")
        numbers = upper
