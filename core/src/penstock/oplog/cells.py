"""Cells of text as numbers, a whole column at once.

A cell is where it begins and ends in the bytes of some text. Eight bytes at a time are read as one word, of which
arithmetic makes eight digits: no Python for a cell, and no copy of it. What these functions don't take for good may
still be legal, only unusual; whoever calls them reads it the careful way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import attrs
import numpy as np

from penstock.oplog.columns import parse_time

__all__ = [
    "ROOM",
    "STAMP",
    "Array",
    "Text",
    "TextTable",
    "keep_memory",
    "pad",
    "parse_naturals",
    "parse_stamps",
    "parse_usual_stamps",
]

Array = np.ndarray[Any, np.dtype[Any]]

#: Bytes that must be there, whatever they hold, before and after what :class:`Text` is made of.
ROOM: Final = 72

# The largest that glibc learns from is 32 MiB. It is never touched.
_LARGE: Final = 30 << 20
_U = np.uint64
_SECOND: Final = 1_000_000_000
#: Characters of a stamp with nine digits and Z.
STAMP: Final = len("2026-01-31T12:00:00.000000000Z")
_SHORTEST: Final = len("2026-01-31T12:00:00Z")
_LONGEST: Final = len("2026-01-31T12:00:00.000000000+00:00")
_ZONE: Final = re.compile(r"[+-]\d\d:[0-5]\d", re.ASCII)
# Minutes and hours as far as this from 1970 may end beyond 64 bits with what follows them and their zone.
_FARTHEST: Final = 2**63 - 200_000 * _SECOND

#: Cells beyond these are looked up one by one.
_MOST_HASHED: Final = 4096

_ZEROS: Final = _U(0x3030303030303030)
_OVER_9: Final = _U(0x7676767676767676)
_HIGH: Final = _U(0x8080808080808080)
_PAIRS: Final = _U(0x00FF00FF00FF00FF)
_FOURS: Final = _U(0x0000FFFF0000FFFF)
_S8, _S16, _S32 = _U(8), _U(16), _U(32)
_LOW32: Final = _U(0xFFFFFFFF)
# Multiplied by one of these, two neighbours are added up in the upper one, the lower one times 10, 100 or 10,000.
_TENS: Final = _U(10 << 8 | 1)
_HUNDREDS: Final = _U(100 << 16 | 1)
_TEN_THOUSANDS: Final = _U(10_000 << 32 | 1)
#: The last and the first n bytes of a word, for n from 0 to 8.
_LAST: Final = np.array([(2**64 - 1) & ~(2 ** (64 - 8 * n) - 1) for n in range(9)], np.uint64)
_FIRST: Final = np.array([2 ** (8 * n) - 1 for n in range(9)], np.uint64)


def _word(text: bytes) -> np.uint64:
    return _U(int.from_bytes(text, "little"))


# Seconds and the first four digits of the fraction, ``:SS.ffff``; then the other five, ``fffffZ``.
_SECONDS: Final = _word(b":00.0000")
_SECONDS_OVER: Final = _word(bytes([0x7F, 0x7A, 0x76, 0x7F, 0x76, 0x76, 0x76, 0x76]))
_REST: Final = _word(b"00000Z\0\0")
_REST_OVER: Final = _word(bytes([0x76] * 5 + [0x7F, 0, 0]))
# By the digits of the fraction, from none without a point (0) to nine (10): which bytes of these words count.
_SECONDS_KEPT: Final = np.array([_FIRST[min(8, 3 + n)] for n in range(11)], np.uint64)
_REST_KEPT: Final = np.array([_FIRST[max(0, n - 5)] for n in range(11)], np.uint64)
_S24: Final = _U(24)

# The second half of a stamp with nine digits and Z, from its minute on, ``MM:SS.ff`` and ``fffffffZ``.
_MINUTES: Final = _word(b"00:00.00")
_MINUTES_OVER: Final = _word(bytes([0x7A, 0x76, 0x7F, 0x7A, 0x76, 0x7F, 0x76, 0x76]))
_NANOSECONDS: Final = _word(b"0000000Z")
_NANOSECONDS_OVER: Final = _word(bytes([0x76] * 7 + [0x7F]))
# Minutes, tens of seconds, seconds and hundredths are two bytes each; these make hundredths of the first and the third,
# which comes ten times too large, and of the second and the fourth.
_MINUTES_AND_ONES: Final = _U(6000 << 32 | 10)
_TENS_AND_HUNDREDTHS: Final = _U(1000 << 32 | 1)
_HUNDREDTH: Final = _U(_SECOND // 100)


@attrs.frozen(slots=True, eq=False)
class Text:
    """Bytes in which cells are looked up. ``codes[begin:end]`` is the text, with ROOM bytes before and after it."""

    codes: Array
    begin: int
    end: int

    def words(self, at: Array) -> Array:
        """Eight bytes from each place on, the first one lowest."""
        windows: Array = np.ndarray(len(self.codes) - 7, "<u8", self.codes.data, 0, (1,))
        found: Array = windows[at]
        return found

    def quads(self, at: Array) -> Array:
        """The same, 32 bytes as four words each."""
        windows: Array = np.ndarray(len(self.codes) - 31, "V32", self.codes.data, 0, (1,))
        found: Array = windows[at].view("<u8").reshape(len(at), 4)
        return found

    def cell(self, begin: int, end: int) -> bytes:
        """The bytes of one cell."""
        return self.codes[begin:end].tobytes()


def keep_memory() -> None:
    """Let this process keep the memory of arrays that come and go, instead of getting it anew for every block.

    The allocator of glibc gives blocks beyond 128 KiB, and what is free at the end of its memory, back to the system,
    until it has seen a larger one come and go. Elsewhere this does nothing.
    """
    np.empty(_LARGE, np.uint8)


def pad(data: bytes | bytearray) -> Text:
    """A copy of the data as :class:`Text`."""
    codes = np.zeros(len(data) + 2 * ROOM, np.uint8)
    codes[ROOM : ROOM + len(data)] = np.frombuffer(data, np.uint8)
    return Text(codes, ROOM, ROOM + len(data))


def parse_naturals(text: Text, begins: Array, ends: Array) -> tuple[Array, Array]:
    """Whole numbers in decimal, and which cells are such, of 1 to 16 digits."""
    lengths = ends - begins
    shortest, longest = int(lengths.min()), int(lengths.max())
    if longest == 1 == shortest:
        values = text.codes[begins] - np.uint8(ord("0"))
        return values.astype(np.int64), values < 10
    digits = (text.words(ends - 8) ^ _ZEROS) & _LAST.take(lengths, mode="clip")
    wrong = digits + _OVER_9 | digits
    values = _number(digits)
    if longest > 8:
        digits = (text.words(ends - 16) ^ _ZEROS) & _LAST.take(lengths - 8, mode="clip")
        wrong |= digits + _OVER_9 | digits
        values += _number(digits) * _U(10**8)
    good: Array = (wrong & _HIGH) == 0
    if shortest < 1 or longest > 16:
        good &= (lengths >= 1) & (lengths <= 16)
    return values.view(np.int64), good


def _number(digits: Array) -> Array:
    """Eight bytes of 0 to 9, the first one highest, as one number; they are used up."""
    digits = _fours(digits)
    digits *= _TEN_THOUSANDS
    digits >>= _S32
    return digits


def _fours(digits: Array) -> Array:
    """The first four digits as a number in the lower half, the last four in the upper one; they are used up."""
    digits *= _TENS
    digits >>= _S8
    digits &= _PAIRS
    digits *= _HUNDREDS
    digits >>= _S16
    digits &= _FOURS
    return digits


def parse_stamps(text: Text, begins: Array, ends: Array) -> tuple[Array, Array]:
    """Nanoseconds since 1970 of RFC 3339 stamps, and which cells are such, with nine digits and ``Z`` or otherwise."""
    lengths = ends - begins
    shortest, longest = int(lengths.min()), int(lengths.max())
    if longest == STAMP == shortest:
        return parse_usual_stamps(text, ends)
    values = np.zeros(len(lengths), np.int64)
    good = (lengths >= _SHORTEST) & (lengths <= _LONGEST)
    which = np.flatnonzero(good)
    if which.size:
        values[which], good[which] = _other_stamps(text, begins[which], lengths[which])
    return values, good


def parse_usual_stamps(text: Text, ends: Array, *, after: int | None = None) -> tuple[Array, Array]:
    """The same of cells that have STAMP characters each; those are good that stand after a certain byte, if one is."""
    words = text.quads(ends - 32)  # two bytes before the stamp come first
    if after is None:
        hours, good = _each_pair(words[:, 0] >> _S16, words[:, 1], _hour_of)
    else:
        hours, good = _each_pair(words[:, 0] >> _S8 ^ _U(after), words[:, 1], _hour_after_of)
    hundredths = words[:, 2] ^ _MINUTES
    rest = words[:, 3] ^ _NANOSECONDS
    wrong = hundredths + _MINUTES_OVER
    wrong |= hundredths
    wrong |= rest
    wrong |= rest + _NANOSECONDS_OVER
    wrong &= _HIGH
    good &= wrong == 0
    rest <<= _S8
    values = _number(rest)
    values += _hundredths(hundredths)
    nanoseconds = values.view(np.int64)
    nanoseconds += hours
    return nanoseconds, good


def _hundredths(digits: Array) -> Array:
    """Nanoseconds of what ``MM:SS.ff`` says; its digits are used up."""
    digits *= _TENS
    digits >>= _S8
    odd = digits >> _S16
    digits &= _FOURS & _PAIRS
    digits *= _MINUTES_AND_ONES
    odd &= _FOURS & _PAIRS
    odd *= _TENS_AND_HUNDREDTHS
    digits += odd
    digits >>= _S32
    digits *= _HUNDREDTH
    return digits


def _other_stamps(text: Text, begins: Array, lengths: Array) -> tuple[Array, Array]:
    words = text.quads(begins)
    values, good = _each_pair(words[:, 0], words[:, 1], _minute_of)
    ends = begins + lengths
    in_utc = text.codes[ends - 1] == ord("Z")
    digits = lengths - np.where(in_utc, 21, 26)  # of the fraction; -1 without a point
    good &= (digits >= -1) & (digits != 0) & (digits <= 9)
    kept = np.clip(digits, -1, 9) + 1
    seconds = (words[:, 2] ^ _SECONDS) & _SECONDS_KEPT[kept]
    rest = (words[:, 3] ^ _ZEROS) & _REST_KEPT[kept]
    good &= ((seconds + _SECONDS_OVER | seconds | rest + _OVER_9 | rest) & _HIGH) == 0
    values += _fraction(seconds, rest << _S24)
    zoned = np.flatnonzero(~in_utc)
    if zoned.size:
        zones = text.words(ends[zoned] - 8) >> _S16
        offsets, legal = _each(zones, _zone_of)
        values[zoned] -= offsets
        good[zoned] &= legal
    return values, good


def _fraction(seconds: Array, rest: Array) -> Array:
    """What seconds and digits of a fraction come to; both are used up."""
    fours = _fours(seconds)  # ten times the seconds, and the first four digits of the fraction
    nanoseconds = _number(rest)
    nanoseconds += (fours >> _S32) * _U(10**5)
    fours &= _LOW32
    fours *= _U(10**8)
    nanoseconds += fours
    return nanoseconds.view(np.int64)


def _each_pair(first: Array, second: Array, value_of: Callable[[int, int], int | None]) -> tuple[Array, Array]:
    """What ``value_of`` says of each pair of words, of which few are different; where it says None is not good."""

    def pairs_with(head: int, words: Array) -> tuple[Array, Array]:
        return _each(words, lambda word: value_of(head, word))

    if (first == first[0]).all():
        return pairs_with(int(first[0]), second)
    values = np.zeros(len(first), np.int64)
    good = np.zeros(len(first), np.bool_)
    for word in np.unique(first).tolist():
        which = np.flatnonzero(first == _U(word))
        values[which], good[which] = pairs_with(word, second[which])
    return values, good


def _each(words: Array, value_of: Callable[[int], int | None]) -> tuple[Array, Array]:
    """What ``value_of`` says of each word, asked once for each different one; where it says None is not good."""
    if (words == words[0]).all():
        value = value_of(int(words[0]))
        return np.full(len(words), value or 0, np.int64), np.full(len(words), value is not None)
    changes = np.flatnonzero(words[1:] != words[:-1]) + 1
    if len(changes) * 16 < len(words):
        runs = np.concatenate([[0], changes])
        found = [value_of(word) for word in words[runs].tolist()]
        which = np.repeat(np.arange(len(runs)), np.diff(runs, append=len(words)))
    else:
        distinct, which = np.unique(words, return_inverse=True)
        found = [value_of(word) for word in distinct.tolist()]
    values = np.array([value or 0 for value in found], np.int64)
    return values[which], np.array([value is not None for value in found])[which]


@lru_cache(maxsize=4096)
def _minute_of(first: int, second: int) -> int | None:
    """Nanoseconds of ``YYYY-MM-DDTHH:MM``."""
    return _moment_of(first.to_bytes(8, "little") + second.to_bytes(8, "little") + b":00Z")


@lru_cache(maxsize=4096)
def _hour_of(first: int, second: int) -> int | None:
    """Nanoseconds of ``YYYY-MM-DDTHH:``, of which the first word has six characters."""
    return _moment_of(first.to_bytes(6, "little") + second.to_bytes(8, "little") + b"00:00Z")


def _hour_after_of(first: int, second: int) -> int | None:
    """The same, where the first word begins with a zero byte."""
    return None if first & 0xFF else _hour_of(first >> 8, second)


def _moment_of(text: bytes) -> int | None:
    try:
        moment = parse_time(text.decode("ascii"))
    except ValueError:
        return None
    return moment if abs(moment) < _FARTHEST else None


@lru_cache(maxsize=4096)
def _zone_of(word: int) -> int | None:
    """Nanoseconds that a zone is ahead of UTC."""
    try:
        text = word.to_bytes(6, "little").decode("ascii")
    except UnicodeDecodeError:
        return None
    if not _ZONE.fullmatch(text):
        return None
    ahead = (int(text[1:3]) * 60 + int(text[4:])) * 60 * _SECOND
    return ahead if text[0] == "+" else -ahead


class TextTable:
    """The different cells of a column, numbered in the order in which they came."""

    _WORDS: Final = ROOM // 8 - 1

    def __init__(self) -> None:
        #: The cells as they stand in the text.
        self.cells: list[bytes] = []
        self._codes: dict[bytes, int] = {}
        self._words: Array = np.zeros((self._WORDS, 0), np.uint64)  # of each cell, by its code; and its length
        self._lengths: Array = np.zeros(0, np.int64)
        # The code of a cell stands where the upper bits of its hash say. More cells take more bits.
        self._bits = 10
        self._slots: Array = np.zeros(1 << self._bits, np.int64)
        self._hashes: dict[int, int] = {}

    def code(self, cell: bytes) -> int:
        """The number of a cell."""
        code = self._codes.get(cell)
        if code is None:
            code = self._codes[cell] = len(self.cells)
            self.cells.append(cell)
            short = np.frombuffer(cell.ljust(8 * self._WORDS, b"\0")[: 8 * self._WORDS], "<u8")
            self._words = np.concatenate([self._words, short[:, None]], axis=1)
            self._lengths = np.append(self._lengths, len(cell))
        return code

    def codes(self, text: Text, begins: Array, ends: Array) -> Array:
        """The number of each cell."""
        lengths = ends - begins
        longest = int(lengths.max())
        count = (longest + 7) // 8
        if count > self._WORDS:
            return self._singly(text, begins, ends, np.zeros(len(begins), np.int64), np.arange(len(begins)))
        same = int(lengths.min()) == longest
        words = []
        for at in range(count):
            word = text.words(begins + 8 * at)
            if at < count - 1 and same:
                words.append(word)
            else:
                word &= _FIRST[longest - 8 * at] if same else _FIRST.take(lengths - 8 * at, mode="clip")
                words.append(word)
        if same and all((word == word[0]).all() for word in words):
            return np.full(len(begins), self.code(text.cell(int(begins[0]), int(ends[0]))), np.int64)
        return self._looked_up(text, begins, ends, words)

    def _looked_up(self, text: Text, begins: Array, ends: Array, words: list[Array]) -> Array:
        lengths = ends - begins
        hashes = lengths.astype(np.uint64)
        for word in words:
            hashes ^= word
            hashes *= _U(0x9E3779B97F4A7C15)
            hashes ^= hashes >> _U(32)
        hashes *= _U(0x9E3779B97F4A7C15)
        if not self.cells:
            self._learn(int(hashes[0]), self.code(text.cell(int(begins[0]), int(ends[0]))))
        codes, which = self._found(hashes, lengths, words)
        if which.size:
            # Either they are new, or another cell took their slot.
            new, firsts = np.unique(hashes[which], return_index=True)
            if len(self.cells) + len(new) > _MOST_HASHED:
                return self._singly(text, begins, ends, codes, which)
            for hash_, row in zip(new.tolist(), which[firsts].tolist(), strict=True):
                self._learn(hash_, self.code(text.cell(int(begins[row]), int(ends[row]))))
            codes, which = self._found(hashes, lengths, words)
            self._singly(text, begins, ends, codes, which)
        return codes

    def _found(self, hashes: Array, lengths: Array, words: list[Array]) -> tuple[Array, Array]:
        """The codes of cells by their hashes, and the places of those that are not the cells of these codes."""
        codes: Array = self._slots[hashes >> _U(64 - self._bits)]
        wrong = self._lengths[codes] != lengths
        for at, word in enumerate(words):
            wrong |= self._words[at][codes] != word
        return codes, np.flatnonzero(wrong)

    def _learn(self, hash_: int, code: int) -> None:
        self._hashes[hash_] = code
        if len(self._hashes) << 4 > 1 << self._bits:
            self._bits += 2
            self._slots = np.zeros(1 << self._bits, np.int64)
            for known, its in self._hashes.items():
                self._slots[known >> 64 - self._bits] = its
        self._slots[hash_ >> 64 - self._bits] = code

    def _singly(self, text: Text, begins: Array, ends: Array, codes: Array, which: Array) -> Array:
        for place in which.tolist():
            codes[place] = self.code(text.cell(int(begins[place]), int(ends[place])))
        return codes
