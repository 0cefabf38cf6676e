"""Indexes: where each record of a file begins, and how many bytes it has with its frame.

``dali``
    A line ``offset size`` for each record, as NVIDIA DALI's ``tfrecord2idx`` writes and its readers take.
``binary``
    16 bytes for each record: offset and size, both unsigned 64-bit little-endian.

The first record begins at 0, so a binary index begins with 8 zero bytes, which no text does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from penstock.errors import FormatError
from penstock_tfrecord.framing import FRAME

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["FORMS", "Places", "places_of", "read_index", "write_index"]

#: One row ``(offset, size)`` for each record.
Places = npt.NDArray[np.int64]

FORMS = ("dali", "binary")
#: Records of one piece.
_PIECE = 4096


def write_index(runs: Iterable[tuple[int, int, int]], form: str) -> Iterator[Buffer]:
    """An index of one of FORMS, in pieces, of records ``(offset, size, count)``."""
    pending: list[tuple[int, int, int]] = []
    held = 0
    for run in runs:
        pending.append(run)
        held += run[2]
        if held >= _PIECE:
            yield _written(pending, form)
            pending, held = [], 0
    if pending:
        yield _written(pending, form)


def _written(runs: Sequence[tuple[int, int, int]], form: str) -> bytes:
    if form == "binary":
        return places_of(runs).astype("<i8").tobytes()
    return b"".join(
        [b"%d %d\n" % (at, size) for offset, size, count in runs for at in range(offset, offset + count * size, size)]
    )


def places_of(runs: Iterable[tuple[int, int, int]]) -> Places:
    """Every record of runs ``(offset, size, count)``."""
    offsets, sizes, counts = np.array(list(runs), np.int64).reshape(-1, 3).T
    # The number of each record in its run.
    numbers = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths = np.repeat(sizes, counts)
    return np.column_stack((np.repeat(offsets, counts) + numbers * lengths, lengths))


def read_index(data: Buffer, file_size: int) -> Places:
    """An index of either form. Raises FormatError unless its records are all that a file of this size holds."""
    raw = bytes(data)
    if not raw:
        places = np.empty((0, 2), np.int64)
    elif raw.startswith(bytes(8)):
        places = _binary(raw)
    else:
        places = _text(raw)
    ends = places.sum(axis=1)
    if places.size and (places.min() < 0 or places[:, 1].min() < FRAME or ends.max() > file_size or ends.min() < 0):
        raise FormatError(f"the index names bytes outside the file, which has {file_size}; make it anew")
    starts = np.concatenate(([0], ends))
    if not np.array_equal(starts[:-1], places[:, 0]) or starts[-1] != file_size:
        raise FormatError(f"the index does not cover the {file_size} bytes of the file; make it anew")
    return places


def _binary(raw: bytes) -> Places:
    if len(raw) % 16:
        raise FormatError(f"a binary index has 16 bytes for each record, this one has {len(raw)} in all")
    return np.frombuffer(raw, "<i8").astype(np.int64, copy=False).reshape(-1, 2)


def _text(raw: bytes) -> Places:
    lines = raw.split(b"\n")
    last = lines.pop()
    if last:
        raise FormatError("the last line of the index has no end")
    words = [line.split(b" ") for line in lines]
    # An integer of 18 digits fits; what else int() takes, such as 1_0, is no number here.
    if any(len(pair) != 2 or not all(word.isdigit() and len(word) < 19 for word in pair) for pair in words):
        raise FormatError("a line of the index is not an offset and a size")
    return np.array([[int(word) for word in pair] for pair in words], np.int64).reshape(-1, 2)
