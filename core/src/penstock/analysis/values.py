"""What an analysis is asked for, and what it finds.

Times are nanoseconds since 1970 in UTC. A call belongs to the moment in which it started, and to the slice of time in
which it ended, when what it moved had been moved. HEAD counts as STAT, and neither moves bytes, whatever a log says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs

from penstock.records import Op
from penstock.stats.buckets import LABELS
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import ALL, FAMILIES, Tally

__all__ = [
    "MOST_NAMES",
    "MOST_SLICES",
    "MOST_THREADS",
    "OTHERS",
    "Analysis",
    "LogFacts",
    "Moment",
    "Segments",
    "Selection",
    "Slice",
    "Span",
    "Window",
    "members_of",
]

#: Slices of a series, at most; a long log has more than half as many.
MOST_SLICES: Final = 256
#: Clients, and endpoints, that are told apart; the calls of further ones are added up as OTHERS.
MOST_NAMES: Final = 100
OTHERS: Final = "(others)"
#: Threads that are told apart; all further ones count as one.
MOST_THREADS: Final = 1 << 16

_ENOUGH_CALLS: Final = 100
_FEWEST_STRETCHES: Final = 5
_SECOND: Final = 1e9


def members_of(name: str) -> frozenset[str]:
    """The operations of a family, META, GET, PUT or ALL. Raises KeyError for another name."""
    return frozenset(Op.__members__) if name == ALL else FAMILIES[name]


@attrs.frozen(slots=True)
class Moment:
    """A time: nanoseconds since 1970 in UTC, or with ``relative`` since the logs begin (see :class:`Window`)."""

    ns: int
    relative: bool = False


def _known_operations(_: object, field: object, value: Collection[str]) -> None:
    if unknown := sorted(set(value) - set(Op.__members__)):
        raise ValueError(f"no operation is called {', '.join(unknown)}; there are {', '.join(Op.__members__)}")


def _known_buckets(_: object, field: object, value: Collection[int]) -> None:
    if unknown := sorted(set(value) - set(range(len(LABELS)))):
        raise ValueError(f"no size bucket has number {unknown[0]}; they are 0 to {len(LABELS) - 1}")


def _as_operations(names: Collection[str]) -> frozenset[str]:
    upper = {name.upper() for name in names}
    return frozenset("STAT" if name == "HEAD" else name for name in upper)


def _as_numbers(buckets: Iterable[int]) -> frozenset[int]:
    return frozenset(buckets)


def _as_texts(globs: Iterable[str]) -> tuple[str, ...]:
    return tuple(globs)


@attrs.frozen(kw_only=True)
class Selection:
    """Which calls count. What is empty or None selects everything.

    ``operations`` are names of :class:`penstock.records.Op` in any case, or HEAD, which is STAT. ``buckets`` are
    numbers of :data:`penstock.stats.buckets.LABELS`; failed calls are in bucket 0. ``clients`` and ``endpoints`` are
    globs over the whole text of their columns, of which one must match. Calls count that start at ``begin`` or later
    and before ``end``, and not in the first ``skip_ns`` of the logs. With ``include_warmup`` a warm-up counts too.
    ``common_window`` restricts several logs to the time that all of them cover; without it each counts as a whole.
    Raises ValueError for an operation or a bucket that there is none of.
    """

    operations: frozenset[str] = attrs.field(default=frozenset(), converter=_as_operations, validator=_known_operations)
    buckets: frozenset[int] = attrs.field(default=frozenset(), converter=_as_numbers, validator=_known_buckets)
    clients: tuple[str, ...] = attrs.field(default=(), converter=_as_texts)
    endpoints: tuple[str, ...] = attrs.field(default=(), converter=_as_texts)
    begin: Moment | None = None
    end: Moment | None = None
    skip_ns: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    include_warmup: bool = False
    common_window: bool = True


@attrs.frozen(kw_only=True)
class Window:
    """The time that is looked at.

    It reaches from the first start to the last end of the calls in a log, warm-up apart unless it is included; of
    several logs it is the time that all of them cover, or with ``common_window`` False any of them. ``begin``, ``end``
    and ``skip_ns`` of a selection make it shorter. Both ends are 0 when there is no call.

    ``overlap`` is how long all logs cover together over how long any of them does: 1.0 for one log, and 0.0 for logs
    that have no time in common.
    """

    begin_ns: int
    end_ns: int
    overlap: float = 1.0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / _SECOND


@attrs.frozen(kw_only=True)
class LogFacts:
    """One log: ``rows`` that could be read, ``bad_rows`` that were skipped, and ``selected`` rows that counted.

    ``cut_off``: it ends in the middle; every complete row counted. ``first_start_ns`` and ``last_end_ns`` are None when
    it has no row, or only ones of a warm-up that is left out. ``overlap`` is the share of its time that lies within
    the common window, before ``begin``, ``end`` and ``skip_ns`` made that shorter.
    """

    path: str
    rows: int
    bad_rows: int
    selected: int
    cut_off: bool
    columns: tuple[str, ...]
    first_start_ns: int | None
    last_end_ns: int | None
    overlap: float = 1.0


@attrs.frozen(slots=True)
class Span:
    """When calls of one kind were made, failed ones included, and by which threads.

    Bit ``i`` of ``members`` stands for thread ``i`` of the analysis; the same number under another client, or in
    another log, is another thread. Threads beyond MOST_THREADS share one bit.
    """

    first_start_ns: int
    last_end_ns: int
    members: int

    @property
    def threads(self) -> int:
        """How many threads made calls."""
        return self.members.bit_count()

    @property
    def seconds(self) -> float:
        """From the first start to the last end."""
        return (self.last_end_ns - self.first_start_ns) / _SECOND

    def joined(self, other: Span) -> Span:
        """That of the calls of both."""
        return Span(
            min(self.first_start_ns, other.first_start_ns),
            max(self.last_end_ns, other.last_end_ns),
            self.members | other.members,
        )


@attrs.frozen(kw_only=True)
class Slice:
    """What ended from ``begin_ns`` up to, not including, ``end_ns``; the last slice includes its end.

    Slices of one series follow one another without a gap and are equally wide, a power of two of a second, but for the
    first and the last, which the window cuts. The percentiles of a slice's latencies have two significant digits, all
    else is exact.
    """

    begin_ns: int
    end_ns: int
    tally: Tally

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end_ns - self.begin_ns) / _SECOND


@attrs.frozen(kw_only=True)
class Segments:
    """The slices in which some operations were fastest, in the middle, and slowest.

    ``by_bytes``: measured in bytes per second, else, as these operations move none, in calls per second.
    """

    fastest: Slice
    median: Slice
    slowest: Slice
    by_bytes: bool


@attrs.frozen(kw_only=True)
class Analysis:
    """What the selected calls add up to.

    ``tally`` holds counts, bytes, errors and latencies by operation and size bucket; of its latencies ``service`` is
    what the logs call duration. ``spans`` has the same keys. ``by_client`` and ``by_endpoint`` tell the same apart by
    the texts of those columns, at most MOST_NAMES of each. ``series`` covers the selected calls from the first start to
    the last end; it is empty when there are none.
    """

    selection: Selection
    logs: tuple[LogFacts, ...]
    window: Window
    tally: Tally
    spans: Mapping[tuple[str, int], Span]
    by_client: Mapping[str, Tally]
    by_endpoint: Mapping[str, Tally]
    errors: ErrorTable
    series: tuple[Slice, ...]

    def span(self, operations: Iterable[str], bucket: int | None = None) -> Span | None:
        """When calls of these operations, in one size bucket or all, were made; None if there were none."""
        wanted = set(operations)
        joined: Span | None = None
        for (operation, number), span in self.spans.items():
            if operation in wanted and bucket in (None, number):
                joined = span if joined is None else joined.joined(span)
        return joined

    @property
    def threads(self) -> dict[str, int]:
        """How many threads called each operation."""
        names = self.tally.operations()
        spans = {name: self.span((name,)) for name in names}
        return {name: span.threads for name, span in spans.items() if span is not None}

    def segments(self, operations: Iterable[str]) -> Segments | None:
        """The fastest, the median and the slowest stretch of these operations; None if none of them succeeded.

        A stretch is one slice or several, equally many in each, so that it holds 100 calls on average where that leaves
        five stretches. The first and the last slice with their calls count only when there are no others: they may be
        cut, or the operations may have begun within them.
        """
        wanted = frozenset(operations)
        span = self.span(wanted)
        if span is None:
            return None
        within = [one for one in self.series if one.end_ns > span.first_start_ns and one.begin_ns <= span.last_end_ns]
        whole = within[1:-1] if len(within) > 2 else within
        found = [(_moved(one, wanted), one) for one in _stretches(whole, wanted)]
        if not any(count for (count, _), _ in found):
            return None
        by_bytes = any(nbytes for (_, nbytes), _ in found)
        rates = [moved[by_bytes] / one.seconds if one.seconds else 0.0 for moved, one in found]
        ranked = [found[place][1] for place in sorted(range(len(found)), key=lambda place: -rates[place])]
        return Segments(fastest=ranked[0], median=ranked[len(ranked) // 2], slowest=ranked[-1], by_bytes=by_bytes)


def _stretches(slices: Sequence[Slice], operations: frozenset[str]) -> Sequence[Slice]:
    """Slices joined until they say something; what is left over at the end is left out."""
    together, calls = 1, sum(_moved(one, operations)[0] for one in slices)
    while calls * together < _ENOUGH_CALLS * len(slices) and len(slices) // (together * 2) >= _FEWEST_STRETCHES:
        together *= 2
    if together == 1:
        return slices
    begins = range(0, len(slices) - together + 1, together)
    return [_joined(slices[begin : begin + together]) for begin in begins]


def _joined(slices: Sequence[Slice]) -> Slice:
    tally = Tally()
    for one in slices:
        tally.merge(one.tally)
    return Slice(begin_ns=slices[0].begin_ns, end_ns=slices[-1].end_ns, tally=tally)


def _moved(one: Slice, operations: frozenset[str]) -> tuple[int, int]:
    cells = [cell for (operation, _), cell in one.tally.cells.items() if operation in operations]
    return sum(cell.count for cell in cells), sum(cell.nbytes for cell in cells)
