"""``penstock analyze``: what operation logs hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import click

from penstock.cli.analyze_options import Outputs, check_outputs, selecting, write_outputs, writing
from penstock.cli.common import verbose_option
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.analysis.values import Analysis, Moment, Selection

__all__ = ["analyze"]


@click.command(short_help="Say what operation logs hold.")
@click.argument("logs", metavar="LOG...", nargs=-1, required=True)
@selecting
@click.option("--per-client", is_flag=True, help="Tell clients apart as well.")
@click.option("--per-endpoint", is_flag=True, help="Tell endpoints apart as well.")
@click.option("--segments", is_flag=True, help="Show the fastest, the median and the slowest stretch of time.")
@click.option("--include-warmup", is_flag=True, help="Count the warm-up of a run too.")
@click.option("--union", is_flag=True, help="Of several logs count all calls, not those of their common time alone.")
@click.option("--skip-bad-rows", is_flag=True, help="Go on after a malformed row; they are counted.")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that read; by default as many "
              "as there are processors, and one for small logs.")  # fmt: skip
@writing
@verbose_option
def analyze(
    logs: tuple[str, ...],
    chosen: Selection,
    per_client: bool,
    per_endpoint: bool,
    segments: bool,
    include_warmup: bool,
    union: bool,
    skip_bad_rows: bool,
    workers: int | None,
    outputs: Outputs,
) -> None:
    """Say what operation logs hold: for each operation and size of object how many calls, how fast, how long each took.

    LOG is an operation log in any form that penstock reads, - for standard input, or a result directory that has one.
    Failed calls are
    counted as errors and stay out of rates and latencies; a run's warm-up stays out of everything. Rates are over the
    time that is looked at, from the first start to the last end; of several logs, that is the time that all of them
    cover. Latencies are from start to end of a call, TTFB is the time to the first byte of a read.

    Exit status: 0 done, 1 the results can't be written, 2 usage, or a log that can't be read.
    """
    from penstock.cli.analyze_logs import find_logs, read_logs

    paths = [path for log in logs for path in find_logs(log)]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UsageError(f"{twice} is given twice; its calls would count twice")
    check_outputs(outputs, paths)
    chosen = attrs.evolve(chosen, include_warmup=include_warmup, common_window=not union)
    found = read_logs(paths, chosen, workers=workers, skip_bad_rows=skip_bad_rows)
    _check(found)
    _report(found, outputs, per_client=per_client, per_endpoint=per_endpoint, segments=segments)


def _check(found: Analysis) -> None:
    """Raises UsageError when there is nothing to show, and says why."""
    if found.tally.cells:
        return
    rows = sum(log.rows for log in found.logs)
    if not rows:
        raise UsageError(f"{', '.join(log.path for log in found.logs)}: there is no call in it")
    raise UsageError(
        f"none of {rows:,} rows was selected; see --op, --size, --client, --endpoint, --from, --to, --skip"
    )


def _report(found: Analysis, outputs: Outputs, *, per_client: bool, per_endpoint: bool, segments: bool) -> None:
    from penstock.analysis.exporting.tables import analysis_tables, one_table

    tables = analysis_tables(found, per_client=per_client, per_endpoint=per_endpoint, segments=segments)
    if not outputs.to_stdout:
        from penstock.cli.analyze_view import print_analysis

        print_analysis(found, per_client=per_client, per_endpoint=per_endpoint, segments=segments)
    write_outputs(outputs, _facts(found), tables, one_table(tables), lambda: _html(found))


def _html(found: Analysis) -> str:
    from penstock.report.analyzed import render_analysis

    return render_analysis(found)


def _facts(found: Analysis) -> dict[str, Any]:
    from penstock.oplog.columns import format_time

    window, tally = found.window, found.tally
    return {
        "schema": "penstock.analysis/1",
        "window": {
            "from": format_time(window.begin_ns),
            "to": format_time(window.end_ns),
            "seconds": window.seconds,
            "overlap_pct": round(100 * window.overlap, 3),
        },
        "count": tally.count,
        "errors_count": tally.errors,
        "bytes": tally.nbytes,
        "warmup_calls_left_out": tally.warmup,
        "selection": _selection(found.selection),
    }


def _selection(chosen: Selection) -> dict[str, Any]:
    from penstock.stats.buckets import LABELS

    return {
        "operations": sorted(chosen.operations),
        "size_buckets": [LABELS[bucket] for bucket in sorted(chosen.buckets)],
        "clients": list(chosen.clients),
        "endpoints": list(chosen.endpoints),
        "from": _moment(chosen.begin),
        "to": _moment(chosen.end),
        "skip_seconds": chosen.skip_ns / 1e9,
        "include_warmup": chosen.include_warmup,
        "common_window": chosen.common_window,
    }


def _moment(moment: Moment | None) -> str | float | None:
    """A time as text, an offset in seconds."""
    from penstock.oplog.columns import format_time

    if moment is None:
        return None
    return moment.ns / 1e9 if moment.relative else format_time(moment.ns)
