"""``penstock report``: draws results and operation logs again, one or many."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from penstock.cli.common import verbose_option
from penstock.errors import UsageError

__all__ = ["report"]

_STDOUT: Final = "-"
_NAME: Final = "report.html"


@click.command(short_help="Draw the report of one result or many, or of operation logs.")
@click.argument("results", metavar="RESULT...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Where to write the report; - prints it. Default: report.html in the one RESULT, else here, if there is none.",
)
@click.option("--skip-bad-rows", is_flag=True, help="Go on after a malformed row of a log; they are counted.")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that read a log.")
@verbose_option
def report(results: tuple[str, ...], output: str | None, skip_bad_rows: bool, workers: int | None) -> None:
    """Write an HTML report, one file that needs no network.

    Each RESULT is a result directory of `penstock run` or `replay`, or the result.json in it. One is drawn as its run
    drew it, from what it holds; several are drawn side by side, with a table and their lines in common charts, of those
    with stages or repeats each of these; name one of them alone by its directory below. Or each
    RESULT is an operation log: they are analysed, several of them together, over the time that all of them cover.

    Exit status: 0 written, 1 it can't be written, 2 usage, or something that is no result and no log that can be read.
    """
    from penstock.report.results import is_result

    for path in results:
        if not os.path.exists(path):
            raise UsageError(f"{path} does not exist; name a result directory or an operation log")
    logs = [path for path in results if not is_result(path)]
    if logs and len(logs) < len(results):
        other = next(path for path in results if is_result(path))
        raise UsageError(f"{logs[0]} is a log and {other} a result; a report is of logs or of results, not of both")
    _check_twice(results)
    place = _place(results, output, logs=bool(logs))
    if logs:
        html = _of_logs(logs, workers=workers, skip_bad_rows=skip_bad_rows)
    elif skip_bad_rows or workers is not None:
        raise UsageError("--skip-bad-rows and --workers are for operation logs; leave them out for results")
    else:
        html = _of_results(results)
    _write(place, html)


def _check_twice(results: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for path in results:
        real = os.path.realpath(os.path.dirname(path) or "." if os.path.basename(path) == "result.json" else path)
        if real in seen:
            raise UsageError(f"{path} is {seen[real]}, which is named already; name each result once")
        seen[real] = path


def _place(results: Sequence[str], output: str | None, *, logs: bool) -> str:
    """Where the report goes. Raises UsageError where it can't, or would replace an input or a file nobody named."""
    if output is None and len(results) == 1 and not logs:
        path = results[0]
        return os.path.join(os.path.dirname(path) if os.path.basename(path) == "result.json" else path, _NAME)
    if output is None:
        if os.path.exists(_NAME):
            raise UsageError(f"{_NAME} is there already; name the file to write with -o")
        return _NAME
    if output == _STDOUT:
        return output
    if os.path.isdir(output):
        raise UsageError(f"{output} is a directory; name a file in it with -o")
    inputs = {os.path.realpath(path): path for path in results}
    if os.path.realpath(output) in inputs:
        raise UsageError(f"{output} is what the report is drawn from, and would be lost; name another file with -o")
    folder = os.path.dirname(output) or "."
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{output}: {folder} is no directory that can be written; name a file in one that is")
    return output


def _of_results(paths: Sequence[str]) -> str:
    from penstock.report.jobs import is_job, read_job
    from penstock.report.results import read_result

    if len(paths) == 1 and is_job(paths[0]):
        from penstock.report.jobpage import render_job
        from penstock.report.jobs import summarise_job

        whole = read_job(paths[0])
        return render_job(whole.job, summarise_job(whole.job), config_text=whole.config_text, plan=whole.plan)
    read = [each for path in paths for each in (read_job(path).legs if is_job(path) else [read_result(path)])]
    if len(read) == 1:
        from penstock.report.html import render_html
        from penstock.report.summary import summarise

        outcome = read[0].outcome
        return render_html(outcome, summarise(outcome), config_text=read[0].config_text, plan=read[0].plan)
    from penstock.report.several import render_several

    return render_several(read)


def _of_logs(paths: Sequence[str], *, workers: int | None, skip_bad_rows: bool) -> str:
    from penstock.analysis.values import Selection
    from penstock.cli.analyze_logs import read_logs
    from penstock.report.analyzed import render_analysis

    found = read_logs(paths, Selection(), workers=workers, skip_bad_rows=skip_bad_rows)
    if not found.tally.cells:
        raise UsageError(f"{', '.join(paths)}: there is no call in it; nothing can be drawn")
    return render_analysis(found)


def _write(place: str, html: str) -> None:
    if place == _STDOUT:
        sys.stdout.buffer.write(html.encode("utf-8", "backslashreplace"))
        return
    from penstock.analysis.exporting.files import save

    save(place, html)
    click.echo(f"report: {place}")
