"""Lines of text built column by column: a matrix of bytes, one line a row.

Each column is as wide as its widest value. Room that a value does not use holds a byte that can't occur in UTF-8,
or is marked in a second matrix; one boolean selection drops all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import numpy as np

from penstock.oplog.columns import escape

__all__ = ["Array", "Matrix", "Texts", "pack_texts"]

Array = np.ndarray[Any, np.dtype[Any]]

_PAD: Final = 0xFF
_GROUP: Final = 10_000
_SECONDS: Final = len("2026-01-31T12:00:00.")
_STAMP: Final = len("2026-01-31T12:00:00.000000000Z")


@attrs.frozen(slots=True, eq=False)
class Texts:
    """One text per row, each with a tab after it, one after the other in ``data``.

    ``longest`` counts the tab. ``starts`` and ``lengths`` are None when all texts are of that length.
    """

    data: bytes
    longest: int
    starts: Array | None = None
    lengths: Array | None = None


def pack_texts(texts: Sequence[str], *, longest: int) -> tuple[Texts, list[int]]:
    """Lay out texts for :meth:`Matrix.texts`, with an empty one for each that has to be escaped or is longer than
    ``longest`` bytes, and the places of these.
    """
    data = _join(texts)
    if data is not None:
        packed = _measure(data, len(texts))
        if packed.longest <= longest + 1:
            return packed, []
    special = [place for place, text in enumerate(texts) if _is_special(text, longest)]
    kept = list(texts)
    for place in special:
        kept[place] = ""
    data = _join(kept)
    assert data is not None
    return _measure(data, len(kept)), special


def _join(texts: Sequence[str]) -> bytes | None:
    """The texts with their tabs, or None when one of them has to be escaped."""
    try:
        data = ("\t".join(texts) + "\t").encode()
    except UnicodeEncodeError:
        return None
    if data.count(b"\t") != len(texts) or b"\\" in data or b"\n" in data or b"\r" in data:
        return None
    return data


def _is_special(text: str, longest: int) -> bool:
    return escape(text) != text or len(text.encode()) > longest


def _measure(data: bytes, count: int) -> Texts:
    codes = np.frombuffer(data, np.uint8)
    longest, rest = divmod(len(data), count)
    if not rest and (codes[longest - 1 :: longest] == ord("\t")).all():
        return Texts(data, longest)
    ends = np.flatnonzero(codes == ord("\t")) + 1
    lengths = np.diff(ends, prepend=0)
    longest = int(lengths.max())
    # A text is copied with what follows it, so the last one needs room after it.
    return Texts(data + bytes(longest), longest, ends - lengths, lengths)


class Matrix:
    """``rows`` lines to be. Columns are added from left to right; ``render`` makes the text."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._template = bytearray()
        self._fills: list[Callable[[Array], None]] = []
        self._drops: list[Callable[[Array], None]] = []

    def constant(self, text: bytes) -> None:
        """The same text in every row."""
        self._template += text

    def choice(self, which: Array, texts: Sequence[bytes]) -> None:
        """``texts[which]``."""
        low, high = int(which.min()), int(which.max())
        if low == high:
            self.constant(texts[low])
            return
        used = texts[low : high + 1]
        width = max(map(len, used))
        table = np.frombuffer(b"".join(text.ljust(width, b"\xff") for text in used), f"V{width}")
        at = self._room(width)
        self._fills.append(lambda block: _assign(block, at, table.take(which.astype(np.intp) - low)))

    def digits(self, values: Array) -> None:
        """Integers, none of them negative, in decimal."""
        low, high = int(values.min()), int(values.max())
        if low == high:
            self.constant(b"%d" % low)
            return
        width = len(str(high))
        end = self._room(width) + width
        self._fills.append(lambda block: _fill_digits(block, end, values, width))

    def stamps(self, seconds: bytes | Array, fraction: Array, given: Array | None = None) -> None:
        """RFC 3339 times: the text up to the point, one for all rows or one for each, and the nanoseconds.

        Rows that are not ``given`` stay empty.
        """
        at = self._room(_STAMP)
        if isinstance(seconds, bytes):
            self._template[at : at + _SECONDS] = seconds
        else:
            each = seconds
            self._fills.append(lambda block: _assign(block, at, each))
        self._fills.append(lambda block: _fill_fraction(block, at + _SECONDS, fraction))
        if given is not None and not given.all():
            missing = ~given
            self._drops.append(lambda keep: _drop(keep, at, missing))

    def texts(self, texts: Texts) -> None:
        """Texts, each with a tab after it."""
        at = self._room(texts.longest)
        self._fills.append(lambda block: _fill_texts(block, at, texts))
        if texts.lengths is not None:
            self._drops.append(lambda keep: _keep_lengths(keep, at, texts))

    def render(self) -> bytes:
        """The lines."""
        block = np.empty((self._rows, len(self._template)), np.uint8)
        block[:] = np.frombuffer(self._template, np.uint8)
        for fill in self._fills:
            fill(block)
        keep = block != _PAD
        for drop in self._drops:
            drop(keep)
        kept: Array = block.ravel()[keep.ravel()]
        return kept.tobytes()

    def _room(self, width: int) -> int:
        at = len(self._template)
        self._template += b"\xff" * width
        return at


def _column(block: Array, at: int, kind: Any) -> Array:
    """One item of ``kind`` in each row, from byte ``at`` of it on; not aligned."""
    return np.ndarray(block.shape[0], kind, block.data, at, block.strides[:1])


def _assign(block: Array, at: int, values: Array) -> None:
    _column(block, at, values.dtype)[...] = values


def _fill_digits(block: Array, end: int, values: Array, width: int) -> None:
    last = True
    while width > 4:
        upper = values // _GROUP
        which = values - upper * _GROUP
        which += (upper > 0) * _GROUP
        _assign(block, end - 4, _TABLES[last, 4].take(which))
        values, end, width, last = upper, end - 4, width - 4, False
    _assign(block, end - width, _TABLES[last, width].take(values))


def _fill_fraction(block: Array, at: int, fraction: Array) -> None:
    thousands = fraction // 1000
    millions = fraction // 1_000_000
    # Each group is written with a Z after it, which the next group covers.
    for group in (millions, thousands - millions * 1000, fraction - thousands * 1000):
        _assign(block, at, _FRACTIONS.take(group))
        at += 3


def _fill_texts(block: Array, at: int, texts: Texts) -> None:
    kind = np.dtype((np.void, texts.longest))
    if texts.starts is None:
        _assign(block, at, np.frombuffer(texts.data, kind))
        return
    windows: Array = np.ndarray(len(texts.data) - texts.longest + 1, kind, texts.data, 0, (1,))
    _assign(block, at, windows[texts.starts])


def _drop(keep: Array, at: int, missing: Array) -> None:
    keep[missing, at : at + _STAMP] = False


def _keep_lengths(keep: Array, at: int, texts: Texts) -> None:
    assert texts.lengths is not None
    keep[:, at : at + texts.longest] = np.arange(texts.longest) < texts.lengths[:, None]


def _make_tables() -> dict[tuple[bool, int], Array]:
    numbers = np.arange(_GROUP)
    powers = 10 ** np.arange(3, -1, -1)
    full = (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)
    tables = {}
    for last in (False, True):
        # Without digits above them leading zeros are left out, in the last group all but one.
        bare = np.where(numbers[:, None] < powers, np.uint8(_PAD), full)
        bare[0, 3] = full[0, 3] if last else _PAD
        both = np.concatenate([bare, full])
        for width in range(1, 5):
            cut = np.ascontiguousarray(both[:, 4 - width :])
            kind = {1: "u1", 2: "<u2", 3: "V3", 4: "<u4"}[width]
            tables[last, width] = cut.view(kind)[:, 0]
    return tables


def _make_fractions() -> Array:
    text = b"".join(b"%03dZ" % number for number in range(1000))
    return np.frombuffer(text, "<u4")


_TABLES = _make_tables()
_FRACTIONS = _make_fractions()
