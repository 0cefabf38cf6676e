"""Sizes as they were recorded: the distribution of an op-log, counted once when the configuration is read.

The counts are part of the plan, so that workers need no log and the same plan draws the same sizes anywhere.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.errors import OpLogError
from penstock.oplog.columnar import ColumnLog
from penstock.oplog.names import op_code, op_name
from penstock.records import Op
from penstock.workload import hashing
from penstock.workload.fields import Record, key
from penstock.workload.shapes import InputFile, InvalidFieldError, ListOf, Optional, Quantity, Word

__all__ = ["Bin", "Histogram", "counted"]

_BYTES = Quantity("size")
#: Up to so many different sizes are kept as they are.
_EXACT = 1024
#: Beyond that sizes are put together: so many leading bits tell them apart, so that none moves by more than 3 %.
_BITS = 6
_OPERATIONS = {op.name.lower(): op.name for op in (Op.PUT, Op.GET, Op.GET_RANGE)}


@attrs.frozen
class Bin:
    """Sizes that lie together, each of them equally likely."""

    min: int = key(_BYTES, help="smallest size in bytes, inclusive")
    max: int = key(_BYTES, help="largest size in bytes, inclusive")
    count: int = key(Quantity("count"), help="how many objects were recorded, or how often relative to the others")

    def __attrs_post_init__(self) -> None:
        if self.min > self.max:
            raise InvalidFieldError("min", f"{self.min} is more than max, {self.max}")


@attrs.frozen
class Histogram:
    """The sizes of an op-log, each as often as it was recorded.

    Successful operations count, those of a warm-up too. Up to 1024 different sizes are drawn exactly; of more, sizes
    that differ by less than 3 % are drawn as one range. Write ``op_log``; the counts are written as ``bins`` when the
    configuration is shown or travels, and may be written by hand.
    """

    op_log: str | None = key(
        Optional(InputFile("an op-log, relative to this file")), None, help="the log to take the sizes from"
    )
    op: str = key(Word(tuple(_OPERATIONS)), "put", help="whose sizes: of objects put, of objects read, or of ranges")
    bins: tuple[Bin, ...] = key(ListOf(Record(Bin)), (), help="the sizes and their counts; empty: as in op_log")

    def __attrs_post_init__(self) -> None:
        if self.bins and not self._total:
            raise InvalidFieldError("bins", "the counts sum to 0; give at least one a count above 0")
        if self._total >= 2**63:
            raise InvalidFieldError("bins", "the counts sum to more than 2**63 - 1")

    @property
    def mean(self) -> float:
        """The expected size in bytes."""
        return sum((one.min + one.max) / 2 * one.count for one in self.bins) / self._total

    def draw(self, rng_key: int, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """As :func:`penstock.workload.sizes.draw` says."""
        edges, low, width = self._arrays
        picked = np.searchsorted(edges, hashing.below(hashing.words(rng_key, indices), self._total), side="right")
        within = hashing.uniform(rng_key, indices, 1) * width[picked]
        return low[picked] + np.minimum(within.astype(np.int64), width[picked] - 1)

    @functools.cached_property
    def _total(self) -> int:
        return sum(one.count for one in self.bins)

    @functools.cached_property
    def _arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Counts up to and with each bin, its smallest size, and how many sizes it holds."""
        edges = np.cumsum([one.count for one in self.bins], dtype=np.int64)
        low = np.array([one.min for one in self.bins], dtype=np.int64)
        return edges, low, np.array([one.max - one.min + 1 for one in self.bins], dtype=np.int64)


def counted(histogram: Histogram) -> Histogram:
    """With its bins counted, unless it has them. Raises InvalidFieldError for a log that has no such sizes."""
    if histogram.bins:
        return histogram
    if histogram.op_log is None:
        raise InvalidFieldError("op_log", "write op_log, the log to take the sizes from, or bins")
    try:
        sizes = _count(histogram.op_log, _OPERATIONS[histogram.op])
    except OpLogError as error:
        raise InvalidFieldError("op_log", str(error)) from error
    return attrs.evolve(histogram, bins=tuple(Bin(min=low, max=high, count=n) for (low, high), n in sorted(sizes)))


def _count(path: str, name: str) -> list[tuple[tuple[int, int], int]]:
    """How often each range of sizes is in a log, in bounded memory."""
    counts: Counter[tuple[int, int]] = Counter()
    others: Counter[str] = Counter()
    code, together = op_code(name), False
    log = ColumnLog(path)
    with contextlib.closing(log):
        for rows in log:
            wanted = rows.ops == code
            failed = np.zeros(len(rows), dtype=bool)
            failed[[place for place, _, _ in rows.failures]] = True
            _tell_apart(others, rows.ops[~wanted], f"failed {name}", int((wanted & failed).sum()))
            _add(counts, rows.nbytes[wanted & ~failed], together)
            if len(counts) > _EXACT and not together:
                together, counts = True, _join(counts)
    if not counts:
        found = ", ".join(f"{count} {op}" for op, count in others.most_common()) or "nothing"
        raise InvalidFieldError("op", f"{path} has no {name} to take sizes from; it has {found}")
    return list(counts.items())


def _tell_apart(others: Counter[str], ops: NDArray[np.integer[Any]], name: str, failed: int) -> None:
    for code, count in zip(*(each.tolist() for each in np.unique(ops, return_counts=True)), strict=True):
        others[op_name(code)] += count
    if failed:
        others[name] += failed


def _add(counts: Counter[tuple[int, int]], sizes: NDArray[np.integer[Any]], together: bool) -> None:
    for size, count in zip(*(each.tolist() for each in np.unique(sizes, return_counts=True)), strict=True):
        counts[_around(size) if together else (size, size)] += count


def _join(counts: Counter[tuple[int, int]]) -> Counter[tuple[int, int]]:
    joined: Counter[tuple[int, int]] = Counter()
    for (size, _), count in counts.items():
        joined[_around(size)] += count
    return joined


def _around(size: int) -> tuple[int, int]:
    """The range of sizes whose leading bits are those of this one."""
    shift = max(size.bit_length() - _BITS, 0)
    low = size >> shift << shift
    return low, low + (1 << shift) - 1
