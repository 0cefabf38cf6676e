"""HdrHistogram logs, version 1.3: text that its own tools read, with a compressed V2 histogram on each line.

Tags name the operation; the response times of planned calls have the tag ``<operation>-response``, times to first
byte ``<operation>-first-byte``. There is one line for each tag and interval in which it occurred. Values are
nanoseconds; the interval's maximum before the payload is milliseconds, as the tools expect.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from penstock.report.outcome import Outcome
from penstock.stats.histogram import Histogram
from penstock.stats.tally import Cell

__all__ = ["hlog_lines"]

_LEGEND: Final = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"\n'


def hlog_lines(outcome: Outcome) -> Iterator[str]:
    """The lines of the log, each with its line feed. A run without intervals gives one line per tag for all of it."""
    begin = (outcome.measured_from_ns or outcome.started_ns) / 1e9
    stamp = datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    yield f"#[Logged with penstock {outcome.version}]\n"
    yield "#[Histogram log format version 1.3]\n"
    yield f"#[StartTime: {begin:.3f} (seconds since epoch), {stamp}]\n"
    yield f"#[BaseTime: {begin:.3f} (seconds since epoch)]\n"
    yield _LEGEND
    stretches = [(interval.start_s, interval.seconds, interval.tally) for interval in outcome.intervals]
    for start, seconds, tally in stretches or [(0.0, outcome.measured_seconds, outcome.totals)]:
        for operation in tally.operations():
            for tag, histogram in _tagged(operation, tally.operation(operation)):
                if histogram.count:
                    highest = histogram.maximum / 1e6
                    yield f"Tag={tag},{max(start, 0.0):.3f},{seconds:.3f},{highest:.6f},{histogram.encode()}\n"


def _tagged(operation: str, cell: Cell) -> Iterator[tuple[str, Histogram]]:
    yield operation, cell.service
    yield f"{operation}-first-byte", cell.first_byte
    yield f"{operation}-response", cell.response
