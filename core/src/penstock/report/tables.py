"""The tables of a result: ``results.tsv``, ``perf_log.tsv`` and ``endpoint_stats.tsv``, tab-separated with a header
line.

``results.tsv`` has a row for each operation and size bucket that occurred, by bucket (0 to 8) and then operation, and
after them the roll-ups of the families over all sizes, as size bucket ``ALL``: META with index 97, GET with 98, PUT
with 99, each only if it occurred. GET is GET and GET_RANGE, PUT is PUT, META everything else: LIST, STAT, DELETE,
DELETE_BATCH, DELETE_PREFIX, COPY, MKDIR, RMDIR, CREATE_CONTAINER and DELETE_CONTAINER. Latencies are service times
in microseconds, of calls that succeeded; percentiles come from merged histograms. ``throughput_mibps`` is of 2^20
bytes. Rates are by the whole measured window. A failed call counts in ``errors``, in the bucket ``zero``.

``perf_log.tsv`` has a row for each interval and family that occurred in it, and one for ALL in every interval. Its
counts, rates, errors and percentiles are those of the interval alone. The CPU columns are as in
:class:`penstock.report.outcome.Interval`; an empty field was not measured.

``endpoint_stats.tsv`` has a row for each endpoint and operation that was called there; tabs and the like in an
endpoint's name are escaped as in an op-log. Where ``multi_endpoint`` spreads the calls, there is a further row for each
of its endpoints, by URI, for all operations, with ``REQUESTS`` in their place: ``count`` are requests that succeeded,
also those of the warm-up, and the last columns, empty elsewhere, what of them was read and written, how often the
endpoint was left out because it failed, and whether it was in use at the end (``yes``, ``no``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from penstock.oplog.columns import escape
from penstock.report.job import Job
from penstock.report.outcome import Interval, Outcome
from penstock.report.series import Point, Series
from penstock.stats.buckets import LABELS
from penstock.stats.tally import ALL, Cell, Tally

__all__ = [
    "ENDPOINT_COLUMNS",
    "LEG_COLUMNS",
    "PERF_LOG_COLUMNS",
    "RESULTS_COLUMNS",
    "endpoint_lines",
    "leg_lines",
    "perf_log_lines",
    "results_lines",
    "series_lines",
]

RESULTS_COLUMNS: Final = (
    "operation", "size_bucket", "bucket_idx", "mean_us", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us",
    "avg_bytes", "ops_per_sec", "throughput_mibps", "count", "errors",
)  # fmt: skip
PERF_LOG_COLUMNS: Final = (
    "start_s", "seconds", "operation", "count", "errors", "bytes", "ops_per_sec", "throughput_mibps", "mean_us",
    "p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us", "cpu_user_pct", "cpu_system_pct", "cpu_iowait_pct",
    "client_cpu_pct", "active_workers",
)  # fmt: skip
ENDPOINT_COLUMNS: Final = (
    "endpoint", "operation", "count", "errors", "bytes", "retries", "ops_per_sec", "throughput_mibps", "mean_us",
    "p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us", "bytes_read", "bytes_written", "ejections", "healthy",
)  # fmt: skip
LEG_COLUMNS: Final = ("repeat", "stage", *RESULTS_COLUMNS)
_PERCENTS: Final = (50, 90, 95, 99, 99.9)
_ROLL_UPS: Final = (("META", 97), ("GET", 98), ("PUT", 99))


def results_lines(totals: Tally, seconds: float) -> Iterator[str]:
    """``results.tsv``, line by line; rates are over ``seconds``."""
    yield _line(RESULTS_COLUMNS)
    order = {operation: place for place, operation in enumerate(totals.operations())}
    for operation, bucket in sorted(totals.cells, key=lambda key: (key[1], order[key[0]])):
        cell = totals.cells[operation, bucket]
        yield _line(_results_row(operation, LABELS[bucket], bucket, cell, seconds))
    for family, index in _ROLL_UPS:
        cell = totals.roll_up(family)
        if cell.count or cell.errors:
            yield _line(_results_row(family, ALL, index, cell, seconds))


def leg_lines(job: Job) -> Iterator[str]:
    """``results.tsv`` of a run of several legs: those of each, with its repeat and its stage before them."""
    yield _line(LEG_COLUMNS)
    for leg in job.legs:
        for number, line in enumerate(results_lines(leg.outcome.totals, leg.outcome.measured_seconds)):
            if number:
                yield f"{leg.repeat}\t{escape(leg.stage)}\t{line}"


def _results_row(operation: str, label: str, index: int, cell: Cell, seconds: float) -> Sequence[str]:
    return (
        *(operation, label, str(index)),
        *_latencies(cell),
        _number(cell.mean_bytes),
        *_rates(cell, seconds),
        *(str(cell.count), str(cell.errors)),
    )


def perf_log_lines(outcome: Outcome) -> Iterator[str]:
    """``perf_log.tsv``, line by line."""
    yield _line(PERF_LOG_COLUMNS)
    for interval in outcome.intervals:
        for family, cell in _families(interval.tally.roll_up):
            yield _line(_perf_log_row(interval, family, cell))


def series_lines(series: Series) -> Iterator[str]:
    """``perf_log.tsv`` of one worker, line by line."""
    yield _line(PERF_LOG_COLUMNS)
    for point in series.points():
        for family, cell in _families(point.cell):
            yield _line(_perf_log_row(point, family, cell))


def _families(read: Callable[[str], Cell]) -> Iterator[tuple[str, Cell]]:
    for family in ("GET", "PUT", "META"):
        cell = read(family)
        if cell.count or cell.errors:
            yield family, cell
    yield ALL, read(ALL)


def _perf_log_row(interval: Interval | Point, family: str, cell: Cell) -> Sequence[str]:
    shares = (interval.cpu_user_pct, interval.cpu_system_pct, interval.cpu_iowait_pct, interval.client_cpu_pct)
    return (
        f"{interval.start_s:.3f}",
        f"{interval.seconds:.3f}",
        family,
        *(str(cell.count), str(cell.errors), str(cell.nbytes)),
        *_rates(cell, interval.seconds),
        *_latencies(cell),
        *("" if share is None else _number(share) for share in shares),
        "" if interval.active_workers is None else str(interval.active_workers),
    )


def endpoint_lines(outcome: Outcome) -> Iterator[str]:
    """``endpoint_stats.tsv``, line by line."""
    yield _line(ENDPOINT_COLUMNS)
    for name, tally in outcome.endpoints.items():
        for operation in tally.operations():
            cell = tally.operation(operation)
            yield _line(
                (
                    *(escape(name), operation),
                    *(str(cell.count), str(cell.errors), str(cell.nbytes), str(cell.retries)),
                    *_rates(cell, outcome.measured_seconds),
                    *_latencies(cell),
                    *("",) * 4,
                )
            )
    seconds = outcome.measured_seconds
    for use in outcome.balance:
        cell = Cell(
            count=use.requests - use.errors,
            errors=use.errors,
            nbytes=use.bytes_read + use.bytes_written,
            service=use.latency,
        )
        yield _line(
            (
                *(escape(use.uri), "REQUESTS", str(cell.count), str(cell.errors), str(cell.nbytes), ""),
                *_rates(cell, seconds),
                *_latencies(cell),
                *(str(use.bytes_read), str(use.bytes_written), str(use.ejections), "yes" if use.healthy else "no"),
            )
        )


def _rates(cell: Cell, seconds: float) -> Sequence[str]:
    if seconds <= 0:
        return ("0", "0")
    return (_number(cell.count / seconds), _number(cell.nbytes / seconds / 2**20))


def _latencies(cell: Cell) -> Sequence[str]:
    """Mean, percentiles and maximum in microseconds; empty fields where no call succeeded."""
    if not cell.service.count:
        return ("",) * (len(_PERCENTS) + 2)
    values = (cell.service.mean, *cell.service.percentiles(_PERCENTS), cell.service.maximum)
    return [_number(value / 1000) for value in values]


def _number(value: float) -> str:
    """Three decimals, without the zeros at their end."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _line(fields: Iterable[str]) -> str:
    return "\t".join(fields) + "\n"
