"""``penstock collect``: a result of what hosts kept when the controller of a run could not make one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common import verbose_option
from penstock.errors import OpLogError, UsageError

if TYPE_CHECKING:
    from penstock.report.collecting import Source
    from penstock.report.job import Job

__all__ = ["collect"]

_ROWS_IN_MEMORY = 200_000


@click.command(short_help="Make a result of what hosts kept of a run whose controller died.")
@click.argument("places", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="RESULT", type=click.Path(path_type=Path), help="The directory to make.")
@click.option("--remove", is_flag=True, help="Remove what was collected from the directories of hosts afterwards.")
@verbose_option
def collect(places: tuple[Path, ...], output: Path | None, remove: bool) -> int:
    """Make a result of what hosts kept of a run, when its controller died or could not fetch it.

    Each DIR is a directory that a host's worker kept (it holds host.json; the host says where), copied here, or a
    workers/<rank> of a result, a directory with several of these, or a result that has them. What is made is always
    degraded, and says of which hosts nothing was found. Parts of the op-log are merged, their clocks corrected as far
    as the controller had told.

    Nothing is removed unless --remove says so, and then nothing of a host whose record says that it is running. Exit
    status: 1, for the result is degraded; 2 usage, or a directory that holds no such thing.
    """
    from importlib.metadata import version

    from penstock.report.collecting import collected, find_sources

    sources = find_sources(places)
    job = collected(sources, version=version("penstock"), command_line=" ".join(["penstock", *sys.argv[1:]]))
    directory = _directory(output, job)
    op_log, notes = _merge_op_log(sources, directory)
    report = _write(directory, sources, job, op_log, notes)
    _tell(report)
    if remove and (op_log is not None or not any(source.logs for source in sources)):
        _remove(sources)
    elif remove:
        click.echo("penstock: nothing was removed, because the op-log could not be merged", err=True)
    return 1


def _directory(output: Path | None, job: Job) -> Path:
    from penstock.report import results_directory

    if output is None:
        return results_directory(".", f"{job.name}-collected", job.started_ns)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is there already; name a directory that is not, with -o")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{output} can't be made: {error.strerror}") from error
    return output


def _merge_op_log(sources: Sequence[Source], directory: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The op-log of all parts, and what to know of it."""
    from penstock.engine.conduct import OP_LOG
    from penstock.engine.remote import offset_at
    from penstock.oplog.merging import Part, merge_logs

    parts = []
    for source in sources:
        readings = list(source.readings)
        parts += [Part(str(log), offset_ns=partial(_corrected, offset_at, readings)) for log in source.logs]
    if not parts:
        return None, []
    path = directory / OP_LOG
    try:
        changed = merge_logs(parts, path, rows_in_memory=_ROWS_IN_MEMORY)
    except (OpLogError, OSError) as error:
        return None, [f"the parts of the op-log could not be merged, and are where they were: {error}"]
    notes = [f"{name} ends in the middle; its whole rows are in the op-log" for name in changed.cut_off]
    return {"path": str(path), "rows": changed.rows, "parts": len(parts)}, notes


def _corrected(offset_at: Any, readings: list[Any], wall_ns: int) -> int:
    return -int(offset_at(readings, wall_ns))


def _write(
    directory: Path, sources: Sequence[Source], job: Job, op_log: dict[str, Any] | None, notes: Sequence[str]
) -> Path:
    import attrs

    from penstock.report import write_job, write_results
    from penstock.report.collecting import timeline_lines
    from penstock.report.files import worker_directory

    plan = {
        "schema": "penstock.collected/1",
        "sources": [
            {"rank": each.rank, "host": each.host, "directory": str(each.directory), "run_id": each.run_id}
            | {"status": each.status, "about": dict(each.about)}
            for each in sources
        ],
    }
    job = attrs.evolve(job, op_log=op_log, notes=[*job.notes, *notes])
    if len(job.legs) == 1:
        outcome = attrs.evolve(job.legs[0].outcome, op_log=op_log, notes=job.notes)
        report = write_results(directory, outcome, config_text="", plan=plan)
    else:
        report = write_job(directory, job, config_text="", plan=plan)
    for source in sources:
        place = worker_directory(directory, source.rank)
        for leg, kept in source.legs.items():
            if kept.timeline:
                suffix = f"-leg-{leg + 1}" if len(job.legs) > 1 else ""
                (place / f"timeline{suffix}.tsv").write_text("".join(timeline_lines(kept)))
        for path in source.files:
            if path.suffix == ".log" and path.stat().st_size:
                shutil.copy(path, place / path.name)
    return report


def _tell(report: Path) -> None:
    from penstock.report.jobs import is_job, read_job
    from penstock.report.results import read_result
    from penstock.report.terminal import print_job, print_summary

    if is_job(report.parent):
        print_job(read_job(report.parent).job, report)
    else:
        print_summary(read_result(report.parent).outcome, report)


def _remove(sources: Sequence[Source]) -> None:
    """What was read of hosts' own directories; those of a result are left."""
    for source in sources:
        if not source.is_record:
            click.echo(f"penstock: {source.directory} belongs to a result and was left", err=True)
            continue
        if source.status == "running":
            click.echo(f"penstock: {source.directory}: by its record the host is at work, so it was left", err=True)
            continue
        for path in source.files:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.rmdir(source.directory)
