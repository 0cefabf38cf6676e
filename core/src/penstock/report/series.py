"""A worker's own time series, small enough to keep that of each of thousands.

Time is cut into slots of one width for all workers. When there are more than the limit, the width doubles and
neighbours become one. A slot holds, for each family of operations, exact counts, errors, bytes, sum, minimum and
maximum, and a histogram of service times with fewer buckets per octave than :class:`penstock.stats.histogram.Histogram`
has, in some hundred bytes.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, FAMILIES, Cell, Tally, family_of

__all__ = ["Point", "Series"]

#: Slots of all workers together.
_SLOTS: Final = 19_200
_FEWEST, _MOST = 20, 1200
_OCTAVE: Final = 1024  # buckets of a histogram
_BUCKETS: Final = 33 * _OCTAVE
_NAMES: Final = tuple(FAMILIES)
_HEAD: Final = struct.Struct("<ddqfffB")
_PART: Final = struct.Struct("<BQQQQQQHB")
_SHARES: Final = ("user", "system", "iowait")
_NO_CPU: Final = -1
_U16: Final = "<u2"

_Ints = npt.NDArray[np.int64]


@attrs.frozen(kw_only=True)
class Point:
    """What a worker did in one stretch of the measured window.

    ``families`` has the cell of each of GET, PUT and META that occurred; of their histograms the service times alone
    are kept, as exact as the series' buckets and without a deviation. ``cpu_seconds`` is the processor time that it
    used, the CPU figures are percent of all processors of its host; None: not known.
    """

    start_s: float
    seconds: float
    families: Mapping[str, Cell]
    cpu_seconds: float | None
    cpu_user_pct: float | None = None
    cpu_system_pct: float | None = None
    cpu_iowait_pct: float | None = None

    @property
    def client_cpu_pct(self) -> float | None:
        """Its own processes, where 100 is one processor."""
        return None if self.cpu_seconds is None or self.seconds <= 0 else 100 * self.cpu_seconds / self.seconds

    @property
    def active_workers(self) -> int:
        """It is the series of one."""
        return 1

    def cell(self, family: str) -> Cell:
        """That of a family, or of ALL; to be read only."""
        if family != ALL:
            return self.families.get(family, Cell())
        total = Cell()
        for cell in self.families.values():
            total.merge(cell)
        return total


@attrs.define
class _Part:
    """A family in a slot. ``counts`` are by coarse bucket."""

    count: int = 0
    errors: int = 0
    nbytes: int = 0
    total: int = 0
    minimum: int = 0
    maximum: int = 0
    index: _Ints = attrs.Factory(lambda: np.zeros(0, np.int64))
    counts: _Ints = attrs.Factory(lambda: np.zeros(0, np.int64))

    def merge(self, other: _Part) -> None:
        if other.count:
            self.minimum = min(self.minimum, other.minimum) if self.count else other.minimum
            self.maximum = max(self.maximum, other.maximum)
        self.count += other.count
        self.errors += other.errors
        self.nbytes += other.nbytes
        self.total += other.total
        index = np.concatenate((self.index, other.index))
        self.index, places = np.unique(index, return_inverse=True)
        self.counts = np.bincount(
            places, weights=np.concatenate((self.counts, other.counts)), minlength=len(self.index)
        ).astype(np.int64)


@attrs.define
class _Slot:
    start_s: float
    end_s: float
    cpu_ns: int
    host: tuple[float, float, float]
    parts: dict[str, _Part]


class Series:
    """See the module. ``width`` is how long an interval is in seconds."""

    def __init__(self, width: float = 1.0, *, limit: int = 600, grain: int = 16) -> None:
        """``grain`` is the number of buckets in an octave of latency, a power of two up to 1024."""
        if grain < 1 or _OCTAVE % grain:
            raise ValueError(f"{grain} buckets per octave: not a power of two up to {_OCTAVE}")
        self.width = width
        self.limit = limit
        self.grain = grain
        self._shift = (_OCTAVE // grain).bit_length() - 1
        self._slots: dict[int, bytes] = {}

    @classmethod
    def one_of(cls, workers: int, width: float = 1.0) -> Series:
        """That of one of so many workers, whose series together stay within a few ten megabytes."""
        limit = min(max(_SLOTS // max(workers, 1), _FEWEST), _MOST)
        return cls(width, limit=limit, grain=64 if workers <= 16 else 16 if workers <= 128 else 8)

    def add(
        self,
        start_s: float,
        seconds: float,
        tally: Tally,
        cpu_ns: int | None = None,
        host: Mapping[str, float | None] | None = None,
    ) -> None:
        """Take in what was measured in a stretch of the run, of which the warm-up is left out.

        ``cpu_ns`` is the processor time that was used in it, ``host`` the ``user``, ``system`` and ``iowait`` percent
        of all processors of the worker's host.
        """
        middle = start_s + seconds / 2
        if middle < 0:
            return
        shares = [math.nan if (value := (host or {}).get(name)) is None else value for name in _SHARES]
        slot = _Slot(
            start_s,
            start_s + seconds,
            _NO_CPU if cpu_ns is None else cpu_ns,
            (shares[0], shares[1], shares[2]),
            self._parts(tally),
        )
        self._put(int(middle / self.width), slot)
        while len(self._slots) > self.limit:
            self._widen()

    def points(self) -> Iterator[Point]:
        """All so far, in order of time; a stretch of which nothing is known has none."""
        for number in sorted(self._slots):
            slot = self._unpack(self._slots[number])
            user, system, iowait = (None if math.isnan(share) else share for share in slot.host)
            yield Point(
                start_s=slot.start_s,
                seconds=slot.end_s - slot.start_s,
                families={name: self._cell(slot.parts[name]) for name in _NAMES if name in slot.parts},
                cpu_seconds=None if slot.cpu_ns == _NO_CPU else slot.cpu_ns / 1e9,
                cpu_user_pct=user,
                cpu_system_pct=system,
                cpu_iowait_pct=iowait,
            )

    @property
    def end_s(self) -> float:
        """When the last stretch ended; 0 without any."""
        return max((_HEAD.unpack_from(slot)[1] for slot in self._slots.values()), default=0.0)

    @property
    def nbytes(self) -> int:
        """The memory that it takes, about."""
        return sum(len(slot) + 130 for slot in self._slots.values())

    def __len__(self) -> int:
        return len(self._slots)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return (self.width, self.limit, self.grain, self._slots) == (
            other.width,
            other.limit,
            other.grain,
            other._slots,
        )

    __hash__ = None  # type: ignore[assignment]

    def to_message(self) -> dict[str, Any]:
        """Everything as what JSON can hold."""
        slots = [[number, base64.b64encode(data).decode("ascii")] for number, data in sorted(self._slots.items())]
        return {"width": self.width, "limit": self.limit, "grain": self.grain, "slots": slots}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Series:
        """What :meth:`to_message` was called on. Raises ValueError or KeyError for a message that makes no sense."""
        made = cls(float(message["width"]), limit=int(message["limit"]), grain=int(message["grain"]))
        for number, text in message["slots"]:
            data = base64.b64decode(text)
            try:
                made._unpack(data)
            except (struct.error, IndexError) as error:
                raise ValueError(f"a worker's series is damaged: {error}") from error
            made._slots[int(number)] = data
        return made

    def _parts(self, tally: Tally) -> dict[str, _Part]:
        cells: dict[str, list[Cell]] = {}
        for (operation, _), cell in tally.cells.items():
            cells.setdefault(family_of(operation), []).append(cell)
        return {family: self._part(members) for family, members in cells.items()}

    def _part(self, cells: Iterable[Cell]) -> _Part:
        part = _Part()
        found, weights = [], []
        for cell in cells:
            service = cell.service
            if service.count:
                part.minimum = min(part.minimum, service.minimum) if part.count else service.minimum
                part.maximum = max(part.maximum, service.maximum)
                index, counts = service.cells()
                found.append(index >> self._shift)
                weights.append(counts)
            part.count += cell.count
            part.errors += cell.errors
            part.nbytes += cell.nbytes
            part.total += service.total
        if found:
            dense = np.bincount(np.concatenate(found), weights=np.concatenate(weights))
            part.index = np.flatnonzero(dense)
            part.counts = dense[part.index].astype(np.int64)
        return part

    def _cell(self, part: _Part) -> Cell:
        # Each coarse bucket stands at the last of the fine ones in it, so that percentiles are never too low.
        index = np.minimum((part.index << self._shift) + (1 << self._shift) - 1, _BUCKETS - 1)
        # The sum of squares, which gives the deviation, is not kept.
        service = Histogram.of(
            index, part.counts, total=part.total, squares=0, minimum=part.minimum, maximum=part.maximum
        )
        return Cell(count=part.count, errors=part.errors, nbytes=part.nbytes, service=service)

    def _put(self, number: int, slot: _Slot) -> None:
        if number in self._slots:
            slot = _joined(self._unpack(self._slots[number]), slot)
        self._slots[number] = _pack(slot)

    def _widen(self) -> None:
        slots, self._slots = self._slots, {}
        self.width *= 2
        for number in sorted(slots):
            if number // 2 in self._slots:
                self._put(number // 2, self._unpack(slots[number]))
            else:
                self._slots[number // 2] = slots[number]

    def _unpack(self, data: bytes) -> _Slot:
        start, end, cpu, *host, several = _HEAD.unpack_from(data)
        place = _HEAD.size
        parts = {}
        for _ in range(several):
            name, count, errors, nbytes, total, minimum, maximum, cells, width = _PART.unpack_from(data, place)
            place += _PART.size
            if len(data) < place + cells * (2 + width):
                raise ValueError("a worker's series is cut off")
            index = np.frombuffer(data, _U16, cells, place).astype(np.int64)
            place += 2 * cells
            counts = np.frombuffer(data, f"<u{width}", cells, place).astype(np.int64)
            place += width * cells
            parts[_NAMES[name]] = _Part(count, errors, nbytes, total, minimum, maximum, index, counts)
        return _Slot(start, end, cpu, (host[0], host[1], host[2]), parts)


def _joined(first: _Slot, second: _Slot) -> _Slot:
    parts = first.parts
    for name, part in second.parts.items():
        parts.setdefault(name, _Part()).merge(part)
    known = [slot.cpu_ns for slot in (first, second) if slot.cpu_ns != _NO_CPU]
    cpu = sum(known) if known else _NO_CPU
    weights = (first.end_s - first.start_s, second.end_s - second.start_s)
    user, system, iowait = (_average(pair, weights) for pair in zip(first.host, second.host, strict=True))
    start, end = min(first.start_s, second.start_s), max(first.end_s, second.end_s)
    return _Slot(start, end, cpu, (user, system, iowait), parts)


def _average(values: tuple[float, float], weights: tuple[float, float]) -> float:
    """By their weights; of one that is known that, NaN of none."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if not math.isnan(value)]
    if not known:
        return math.nan
    whole = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / whole if whole > 0 else known[-1][0]


def _pack(slot: _Slot) -> bytes:
    pieces = [_HEAD.pack(slot.start_s, slot.end_s, slot.cpu_ns, *slot.host, len(slot.parts))]
    for name, part in slot.parts.items():
        width = next(each for each in (1, 2, 4, 8) if not len(part.counts) or part.counts.max() < 1 << (8 * each))
        numbers = (part.count, part.errors, part.nbytes, part.total, part.minimum, part.maximum)
        pieces.append(_PART.pack(_NAMES.index(name), *numbers, len(part.index), width))
        pieces.append(part.index.astype(_U16).tobytes())
        pieces.append(part.counts.astype(f"<u{width}").tobytes())
    return b"".join(pieces)
