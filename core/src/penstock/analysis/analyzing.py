"""The analysis of logs of any size, in one or two passes over them and in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from penstock.analysis.accumulating import Accumulator, Limits, LogCount
from penstock.analysis.passing import LogResult, Pass
from penstock.analysis.values import Analysis, LogFacts, Moment, Selection, Window
from penstock.errors import OpLogError
from penstock.stats.tally import Tally

__all__ = ["analyze"]

#: Hears how many bytes of all logs were read, and how many there are; the latter is 0 when that is not known.
Progress = Callable[[int, int], None]

_EVERYTHING: Final = Selection()


def analyze(
    paths: Sequence[str | os.PathLike[str]],
    selection: Selection = _EVERYTHING,
    *,
    workers: int | None = None,
    skip_bad_rows: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """What the selected calls of some logs add up to.

    Several logs are one, over the time that all of them cover unless the selection says otherwise. Large logs are read
    by ``workers`` processes, this one among them, None for one per processor; 0 and 1 are this one alone. They are read
    twice when there are several or when the selection counts from their beginning. ``progress`` hears how many bytes
    have been read and how many there are to read. Raises OpLogError for a log that can't be read, for a malformed row
    unless ``skip_bad_rows``, and for logs that have no time in common.
    """
    names = [os.fspath(path) for path in paths]
    if not names:
        raise OpLogError("there is no log to analyze; name one or more")
    passes = 2 if _counts_from_the_beginning(selection, names) else 1
    reading = Pass(
        paths=names,
        selection=selection,
        workers=_processors() if workers is None else workers,
        skip_bad_rows=skip_bad_rows,
        progress=_Meter(names, passes, progress).advance,
    )
    if passes == 1:
        found, results = reading.read(_limits(selection, 0))
        return _analysis(names, selection, found, results, _spans_of(found.logs))
    _see_that_all_can_be_read_twice(names)
    first, _ = reading.read(None)
    spans = _spans_of(first.logs)
    begin_ns = _begin(spans, selection)
    limits = _limits(selection, begin_ns)
    if selection.common_window and len(spans) > 1:
        end_ns = min(end for _, end in spans.values())
        _see_that_they_overlap(names, spans, begin_ns, end_ns)
        limits = Limits(max(limits.begin_ns, begin_ns), min(limits.upto_ns, end_ns + 1))
    found, results = reading.read(limits)
    return _analysis(names, selection, found, results, spans)


class _Meter:
    """Adds up progress, which each pass and each log reports on its own."""

    def __init__(self, names: Sequence[str], passes: int, progress: Progress | None) -> None:
        self._progress = progress
        self._read = 0
        try:
            self._all = sum(map(os.path.getsize, names)) * passes
        except OSError:
            self._all = 0

    def advance(self, nbytes: int) -> None:
        self._read += nbytes
        if self._progress is not None and nbytes:
            self._progress(self._read, self._all)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _counts_from_the_beginning(selection: Selection, names: Sequence[str]) -> bool:
    moments = [moment for moment in (selection.begin, selection.end) if moment is not None]
    several = len(names) > 1 and selection.common_window
    return several or selection.skip_ns > 0 or any(moment.relative for moment in moments)


def _see_that_all_can_be_read_twice(names: Sequence[str]) -> None:
    for name in names:
        if os.path.exists(name) and not os.path.isfile(name):
            raise OpLogError(f"{name} is no file, and can't be read twice as this takes; write it to a file first")


def _spans_of(logs: Mapping[int, LogCount]) -> dict[int, tuple[int, int]]:
    """The first start and the last end of each log that has calls."""
    return {
        number: (count.first_start_ns, count.last_end_ns)
        for number, count in logs.items()
        if count.first_start_ns is not None and count.last_end_ns is not None
    }


def _begin(spans: Mapping[int, tuple[int, int]], selection: Selection) -> int:
    """When the time that is looked at begins, before it is made shorter."""
    choose = max if selection.common_window else min
    return choose((begin for begin, _ in spans.values()), default=0)


def _limits(selection: Selection, begin_ns: int) -> Limits:
    """Those that the selection sets; ``begin_ns`` is what relative times count from."""
    limits = Limits()
    if selection.skip_ns:
        limits = attrs.evolve(limits, begin_ns=begin_ns + selection.skip_ns)
    if selection.begin is not None:
        limits = attrs.evolve(limits, begin_ns=max(limits.begin_ns, _wall(selection.begin, begin_ns)))
    if selection.end is not None:
        limits = attrs.evolve(limits, upto_ns=min(limits.upto_ns, _wall(selection.end, begin_ns)))
    return limits


def _wall(moment: Moment, begin_ns: int) -> int:
    return begin_ns + moment.ns if moment.relative else moment.ns


def _see_that_they_overlap(
    names: Sequence[str], spans: Mapping[int, tuple[int, int]], begin_ns: int, end_ns: int
) -> None:
    if begin_ns <= end_ns:
        return
    late = next(names[number] for number, (begin, _) in spans.items() if begin == begin_ns)
    early = next(names[number] for number, (_, end) in spans.items() if end == end_ns)
    raise OpLogError(
        f"the logs have no time in common: {late} begins {(begin_ns - end_ns) / 1e9:.3f} s after the end of {early}; "
        "analyze them one by one, or all the time that any of them covers (--union)"
    )


def _analysis(
    names: Sequence[str],
    selection: Selection,
    found: Accumulator,
    results: Sequence[LogResult],
    spans: Mapping[int, tuple[int, int]],
) -> Analysis:
    tally = found.total().tallies().get(0) or Tally()
    tally.warmup, tally.warmup_errors = found.warmup, found.warmup_errors
    kinds = found.spans()
    begin_ns = min((span.first_start_ns for span in kinds.values()), default=0)
    end_ns = max((span.last_end_ns for span in kinds.values()), default=0)
    return Analysis(
        selection=selection,
        logs=tuple(_facts(names, found, results, spans, selection)),
        window=_window(spans, selection),
        tally=tally,
        spans=kinds,
        by_client=found.clients.tallies(tally),
        by_endpoint=found.endpoints.tallies(tally),
        errors=found.errors,
        series=found.slicing.slices(begin_ns, end_ns),
    )


def _facts(
    names: Sequence[str],
    found: Accumulator,
    results: Sequence[LogResult],
    spans: Mapping[int, tuple[int, int]],
    selection: Selection,
) -> Iterator[LogFacts]:
    begin_ns, end_ns = _common(spans, selection)
    for number, (name, result) in enumerate(zip(names, results, strict=True)):
        count = found.logs[number]
        span = spans.get(number)
        overlap = 1.0
        if span is not None and span[1] > span[0]:
            overlap = (min(end_ns, span[1]) - max(begin_ns, span[0])) / (span[1] - span[0])
        yield LogFacts(
            path=name,
            rows=count.rows,
            bad_rows=result.bad_rows,
            selected=count.selected,
            cut_off=result.cut_off,
            columns=result.columns,
            first_start_ns=None if span is None else span[0],
            last_end_ns=None if span is None else span[1],
            overlap=overlap,
        )


def _common(spans: Mapping[int, tuple[int, int]], selection: Selection) -> tuple[int, int]:
    """The time that all logs cover, or any of them; both ends are 0 when there are no calls."""
    if not spans:
        return 0, 0
    begins, ends = zip(*spans.values(), strict=True)
    return (max(begins), min(ends)) if selection.common_window else (min(begins), max(ends))


def _window(spans: Mapping[int, tuple[int, int]], selection: Selection) -> Window:
    if not spans:
        return Window(begin_ns=0, end_ns=0)
    begins, ends = zip(*spans.values(), strict=True)
    together, any_of_them = max(0, min(ends) - max(begins)), max(ends) - min(begins)
    begin_ns, end_ns = _common(spans, selection)
    limits = _limits(selection, begin_ns)
    begin_ns, end_ns = max(begin_ns, limits.begin_ns), min(end_ns, limits.upto_ns)
    overlap = together / any_of_them if any_of_them else 1.0
    return Window(begin_ns=begin_ns, end_ns=max(begin_ns, end_ns), overlap=overlap)
