"""Histograms of nanoseconds in the HdrHistogram layout: 1 ns to 1 h with three significant digits.

The counts are those of the ``hdrhistogram`` package, bucket by bucket, and travel in its V2 encoding, so that its
tools read them. Recording is vectorised: one value costs nanoseconds when thousands come at once.

A histogram being filled keeps a dense window of counts that grows with the values seen. :meth:`Histogram.compact`
turns it into pairs of bucket and count, or into a window of narrow counts, whichever is smaller, which is how hundreds
of them stay small; recording undoes that.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["HIGHEST", "LIMIT", "Histogram", "buckets_of"]

#: One hour: what the layout promises to tell apart with three digits.
HIGHEST: Final = 3_600_000_000_000
#: The first value beyond the last bucket, 73 minutes. From here on values are counted in the last bucket.
LIMIT: Final = 2048 << 31

_BUCKETS: Final = 33 * 1024
_BATCH: Final = 1 << 20  # keeps the sum of a batch within 64 bits, and its temporaries small
#: The ends of a window lie on multiples: on octaves, so that it rarely grows while values come, and closer where
#: histograms are merged, which hundreds are at once.
_GRAIN: Final = 1024
_MERGED_GRAIN: Final = 128
#: Of fewer values than this no bucket holds more than 32 bits.
_NARROW: Final = 1 << 32
#: What a bucket of a window takes, and one of pairs while it grows.
_WINDOW_BYTES: Final = 4
_PAIR_BYTES: Final = 6
#: So many are added up at once.
_PARTS: Final = 16

_Ints = npt.NDArray[np.int64]
_WIDTHS: Final = tuple(np.dtype(width) for width in ("<u1", "<u2", "<u4", "<u8"))
_DTYPES: Final = {width.itemsize: width for width in _WIDTHS}
_U16: Final = np.dtype("<u2")


class Histogram:
    """Counts of durations, with their exact number, sum, sum of squares, minimum and maximum.

    It belongs to one thread. A histogram without values has minimum, maximum, mean, deviation and percentiles of 0.
    """

    __slots__ = ("_base", "_counts", "_index", "_parts", "count", "maximum", "minimum", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.squares = 0
        self.minimum = 0
        self.maximum = 0
        self._base = 0
        self._counts: npt.NDArray[Any] | None = None  # a window from _base on, or the counts of _index
        self._index: npt.NDArray[np.uint16] | None = None
        self._parts: list[tuple[npt.NDArray[np.uint16], npt.NDArray[Any]]] | None = None  # to be added to pairs

    def record(self, values: npt.ArrayLike) -> None:
        """Count nanoseconds. Negative ones count as 0, those at or above LIMIT in the last bucket."""
        array = np.asarray(values, dtype=np.int64)
        for begin in range(0, len(array), _BATCH):
            self._record(array[begin : begin + _BATCH])

    def _record(self, values: _Ints) -> None:
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0:
            values, lowest, highest = np.maximum(values, 0), 0, max(highest, 0)
        self._note(len(values), int(values.sum()), _sum_of_squares(values, highest), lowest, highest)
        if highest >= LIMIT:
            values, lowest, highest = np.minimum(values, LIMIT - 1), min(lowest, LIMIT - 1), LIMIT - 1
        first, last = _bucket(lowest), _bucket(highest)
        window = self._window(first, last)
        places = _buckets(values, lowest)
        if len(values) * 8 < last - first:
            np.add.at(window, places - self._base, 1)
        else:
            places -= first
            begin = first - self._base
            part = window[begin : begin + last - first + 1]
            np.add(part, np.bincount(places, minlength=last - first + 1), out=part, casting="unsafe")

    def merge(self, other: Histogram) -> None:
        """Add what ``other`` counts; the same as having recorded its values here."""
        if other.count == 0:
            return
        self._note(other.count, other.total, other.squares, other.minimum, other.maximum)
        other._settle()
        if other._index is None or (self._index is None and self._counts is not None):
            index, counts = other.cells()
            window = self._window(int(index[0]), int(index[-1]), _MERGED_GRAIN)
            places = index - self._base
            window[places] = window[places] + counts
            return
        assert other._counts is not None
        if self._counts is None:
            self._index, self._counts = other._index, other._counts
            return
        # Pairs are never changed where they are, so that those of others can be kept, and added up by the dozen.
        self._parts = self._parts or []
        self._parts.append((other._index, other._counts))
        if len(self._parts) >= _PARTS:
            self._settle()

    def _settle(self) -> None:
        """Add up what was merged: to pairs, or to a window where that is smaller, as it is unless slow calls are few
        and far from the others.
        """
        if not self._parts:
            return
        assert self._index is not None
        assert self._counts is not None
        parts, self._parts = [(self._index, self._counts), *self._parts], None
        places = np.concatenate([index for index, _ in parts])
        counts = np.concatenate([counts.astype(np.int64) for _, counts in parts])
        order = np.argsort(places, kind="stable")  # of 16 bits: by radix, in one pass
        places = places[order]
        starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
        self._index, summed = places[starts], np.add.reduceat(counts[order], starts)
        self._counts = summed if self.count >= _NARROW else summed.astype(np.uint32)
        first, last = int(self._index[0]), int(self._index[-1])
        if (last - first + 1) * _WINDOW_BYTES < len(self._index) * _PAIR_BYTES:
            self._window(first, last, _MERGED_GRAIN)

    def since(self, earlier: Histogram) -> Histogram:
        """What was recorded after a copy, ``earlier``, was taken of it; its ends as exact as buckets are."""
        if not earlier.count:
            later = Histogram()
            later.merge(self)
            return later
        index, counts = self.cells()
        before = dict(zip(*(part.tolist() for part in earlier.cells()), strict=True))
        left = counts - np.array([before.get(place, 0) for place in index.tolist()], dtype=np.int64)
        found = left > 0
        if not found.any():
            return Histogram()
        made = Histogram._from_cells(index[found], left[found])
        made.total, made.squares = self.total - earlier.total, self.squares - earlier.squares
        return made

    def _note(self, count: int, total: int, squares: int, minimum: int, maximum: int) -> None:
        self.minimum = min(self.minimum, minimum) if self.count else minimum
        self.maximum = max(self.maximum, maximum)
        self.count += count
        self.total += total
        self.squares += squares

    def _window(self, first: int, last: int, grain: int = _GRAIN) -> npt.NDArray[Any]:
        """The dense counts, which hold at least the buckets ``first`` to ``last``, for all values that are noted."""
        self._settle()
        counts, index = self._counts, self._index
        if index is not None:
            first, last = min(first, int(index[0])), max(last, int(index[-1]))
        elif counts is not None:
            end = self._base + len(counts)
            if self._base <= first and last < end and self._is_wide():
                return counts
            first, last = min(first, self._base), max(last, end - 1)
        base = first // grain * grain
        window = np.zeros((last // grain + 1) * grain - base, np.uint32 if self.count < _NARROW else np.int64)
        if counts is not None and index is not None:
            window[index.astype(np.int64) - base] = counts
        elif counts is not None:
            window[self._base - base : self._base - base + len(counts)] = counts
        self._base, self._counts, self._index = base, window, None
        return window

    def _is_wide(self) -> bool:
        """Whether each of the counts could become the number of all values."""
        assert self._counts is not None
        dtype = self._counts.dtype
        return dtype == np.int64 or (dtype == np.uint32 and self.count < _NARROW)

    def cells(self) -> tuple[_Ints, _Ints]:
        """The numbers of the buckets that are not empty, ascending, and their counts."""
        self._settle()
        if self._counts is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        if self._index is not None:
            return self._index.astype(np.int64), self._counts.astype(np.int64)
        places = np.flatnonzero(self._counts)
        return places + self._base, self._counts[places].astype(np.int64)

    def compact(self) -> None:
        """Keep buckets and counts in as few bytes as they need."""
        self._settle()
        if self._counts is None or (self._index is not None and self._counts.dtype.itemsize == 1):
            return
        index, counts = self.cells()
        narrow, base = _narrowest(counts), int(index[0])
        span = int(index[-1]) - base + 1
        if span * narrow.itemsize <= len(index) * (_U16.itemsize + narrow.itemsize):
            window = np.zeros(span, narrow)
            window[index - base] = counts
            self._index, self._counts, self._base = None, window, base
            return
        self._index, self._counts, self._base = index.astype(_U16), counts.astype(narrow), 0

    @property
    def memory(self) -> int:
        """Bytes that buckets and counts take now."""
        self._settle()
        arrays = (self._counts, self._index)
        return sum(0 if array is None else array.nbytes for array in arrays)

    @property
    def mean(self) -> float:
        """The exact mean of the values."""
        return self.total / self.count if self.count else 0.0

    @property
    def stdev(self) -> float:
        """The standard deviation of the values, exact unless they came from text or a message that lacks their squares.

        Then each value counts as the middle of its bucket.
        """
        if self.count < 2 or self.minimum == self.maximum:
            return 0.0
        return math.sqrt(max(0, self.count * self.squares - self.total * self.total)) / self.count

    def percentile(self, percent: float) -> int:
        """See :meth:`percentiles`."""
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Sequence[float]) -> list[int]:
        """For each of ``percents`` (0 to 100) a value that at least so many percent of the values don't exceed.

        It is the highest value of its bucket, which is at most 0.1 % more than the exact one, and never more than
        the maximum.
        """
        if not self.count:
            return [0] * len(percents)
        index, counts = self.cells()
        ranks = [max(1, min(self.count, _rank(percent, self.count))) for percent in percents]
        places = np.searchsorted(np.cumsum(counts), ranks)
        _, highs = _bounds(index[places])
        last = len(index) - 1
        return [
            self.maximum if place == last else min(int(high), self.maximum)
            for place, high in zip(places, highs, strict=True)
        ]

    def distribution(self) -> tuple[npt.NDArray[np.float64], _Ints]:
        """Fractions of the values (0 < f ≤ 1) and the value that each does not exceed, one for each bucket used."""
        index, counts = self.cells()
        _, highs = _bounds(index)
        return np.cumsum(counts) / max(self.count, 1), np.minimum(highs, self.maximum)

    def encode(self) -> str:
        """The V2 encoding, compressed, as base64 text that starts with ``HISTFAAA``.

        It holds the counts alone: minimum, maximum and mean come back from it as exactly as their buckets.
        """
        from hdrh.histogram import HdrHistogram

        index, counts = self.cells()
        hdr = HdrHistogram(1, HIGHEST, 3)
        if self.count:
            np.frombuffer(hdr.counts, dtype=np.int64)[index] = counts
            hdr.total_count = self.count
            hdr.max_value = int(_bounds(index[-1:])[1][0])
            hdr.min_value = int(_bounds(index[:1])[0][0])
        return str(hdr.encode(), "ascii")

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """The histogram of a V2 encoding. Raises ValueError for text that is none, or one of another layout."""
        from hdrh.codec import HdrCookieException, HdrLengthException
        from hdrh.histogram import HdrHistogram

        try:
            hdr = HdrHistogram.decode(text.encode())
        except (HdrCookieException, HdrLengthException, binascii.Error, zlib.error) as error:
            raise ValueError(f"not an encoded histogram: {error}") from error
        if hdr.significant_figures != 3 or hdr.unit_magnitude != 0:
            raise ValueError("a histogram of another layout; this one has 1 as its unit and three significant digits")
        counts = np.frombuffer(hdr.counts, dtype=np.int64)
        index = np.flatnonzero(counts)
        return cls._from_cells(index, counts[index])

    @classmethod
    def _from_cells(cls, index: _Ints, counts: _Ints) -> Histogram:
        made = cls()
        if len(index) == 0:
            return made
        _check_cells(index, counts)
        lows, highs = _bounds(index)
        made.count = int(counts.sum())
        made.total = round(float(np.dot((lows + highs) / 2, counts)))
        made.minimum, made.maximum = int(lows[0]), int(highs[-1])
        made._index = index.astype(np.uint16)
        made._counts = counts.astype(_narrowest(counts))
        made.squares = made._estimated_squares()
        return made

    @classmethod
    def of(
        cls, index: npt.ArrayLike, counts: npt.ArrayLike, *, total: int, squares: int, minimum: int, maximum: int
    ) -> Histogram:
        """That of values whose buckets (:func:`buckets_of`), ascending and each once, have these counts.

        Their sum, sum of squares, minimum and maximum are taken as they are said.
        """
        made = cls()
        made._index, narrow = np.asarray(index, dtype=np.uint16), np.asarray(counts, dtype=np.int64)
        if len(narrow):
            made._counts = narrow.astype(_narrowest(narrow))
            made.count, made.total, made.squares = int(narrow.sum()), total, squares
            made.minimum, made.maximum = minimum, maximum
        else:
            made._index = None
        return made

    def _estimated_squares(self) -> int:
        """Squares that give the deviation of the buckets' middles around the exact mean."""
        index, counts = self.cells()
        lows, highs = _bounds(index)
        middles = (lows + highs) / 2
        mean = float(np.dot(middles, counts)) / self.count
        around = float(np.dot((middles - mean) ** 2, counts))
        return round(around) + math.ceil(Fraction(self.total * self.total, self.count))

    def to_message(self) -> dict[str, Any]:
        """Everything, exactly, as what JSON can hold."""
        if not self.count:
            return {}
        index, counts = self.cells()
        narrow = counts.astype(_narrowest(counts))
        return {
            "total": self.total,
            "squares": self.squares,
            "min": self.minimum,
            "max": self.maximum,
            "index": base64.b64encode(index.astype("<u2").tobytes()).decode("ascii"),
            "width": narrow.dtype.itemsize,
            "counts": base64.b64encode(narrow.tobytes()).decode("ascii"),
        }

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Histogram:
        """What :meth:`to_message` was called on. Raises ValueError or KeyError for a message that makes no sense."""
        if not message:
            return cls()
        index = np.frombuffer(base64.b64decode(message["index"]), _U16)
        counts = np.frombuffer(base64.b64decode(message["counts"]), _DTYPES[int(message["width"])])
        if len(index) != len(counts):
            raise ValueError("a histogram with more buckets than counts, or fewer")
        made = cls()
        if not len(index):
            return made
        _check_cells(index, counts)
        made._index, made._counts = index, counts
        made.count, made.total = int(counts.sum(dtype=np.int64)), int(message["total"])
        made.squares = int(message["squares"]) if "squares" in message else made._estimated_squares()
        made.minimum, made.maximum = int(message["min"]), int(message["max"])
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = (self.count, self.total, self.squares, self.minimum, self.maximum)
        theirs = (other.count, other.total, other.squares, other.minimum, other.maximum)
        pairs = zip(self.cells(), other.cells(), strict=True)
        return mine == theirs and all(np.array_equal(left, right) for left, right in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.count} values, {self.minimum} to {self.maximum} ns>"


def buckets_of(values: npt.ArrayLike) -> _Ints:
    """The number of each value's bucket, as :meth:`Histogram.record` counts it; below 2**16."""
    array = np.asarray(values, dtype=np.int64)
    lowest, highest = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    if lowest < 0 or highest >= LIMIT:
        array = np.clip(array, 0, LIMIT - 1)
    return _buckets(array, lowest)


def _sum_of_squares(values: _Ints, highest: int) -> int:
    """Exactly; none of the values is negative, and there are _BATCH at most."""
    if highest * highest * len(values) < 2**63:
        return int(np.dot(values, values))
    if highest >= LIMIT:
        return sum(value * value for value in values.tolist())
    upper, lower = values >> 21, values & (2**21 - 1)
    return (int(np.dot(upper, upper)) << 42) + (int(np.dot(upper, lower)) << 22) + int(np.dot(lower, lower))


def _bucket(value: int) -> int:
    if value < 2048:
        return value
    shift = value.bit_length() - 11
    return (shift << 10) + (value >> shift)


def _buckets(values: _Ints, lowest: int) -> _Ints:
    """The bucket of each value.

    A double keeps the exponent and then the leading bits of a value side by side, which is the order of the buckets:
    1024 to an octave, below 1024 one to a value.
    """
    bits: _Ints = values.astype(np.float64).view(np.int64)
    bits >>= 42
    bits -= (1023 + 9) << 10
    return bits if lowest >= 1024 else np.where(values < 1024, values, bits)


def _bounds(index: _Ints) -> tuple[_Ints, _Ints]:
    """The lowest and the highest value of each bucket, both inclusive."""
    shift = np.maximum((index >> 10) - 1, 0)
    lows = (index - (shift << 10)) << shift
    return lows, lows + (np.int64(1) << shift) - 1


def _check_cells(index: npt.NDArray[Any], counts: npt.NDArray[Any]) -> None:
    """Raise ValueError unless buckets ascend, there are such, and none is empty."""
    if index[-1] >= _BUCKETS or counts.min() <= 0 or not (index[1:] > index[:-1]).all():
        raise ValueError("a histogram whose buckets are out of order, or beyond the last one")


def _narrowest(counts: _Ints) -> np.dtype[Any]:
    highest = int(counts.max())
    return next(width for width in _WIDTHS if highest < 1 << (8 * width.itemsize))


@lru_cache(maxsize=256)
def _share(percent: float) -> Fraction:
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} is not a percentile; it is from 0 to 100")
    return Fraction(str(percent)) / 100


def _rank(percent: float, count: int) -> int:
    """How many of ``count`` values the percentile must not be exceeded by; exact, where floating point would not be."""
    return math.ceil(_share(percent) * count)
