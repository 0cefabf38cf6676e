"""The result directory: its name, and the files in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from penstock.errors import UsageError
from penstock.report.hlog import hlog_lines
from penstock.report.hosts import worker_lines, worker_outcome
from penstock.report.html import render_html
from penstock.report.job import Job
from penstock.report.jobpage import render_job
from penstock.report.jobs import repeat_lines, summarise_job
from penstock.report.outcome import Outcome, WorkerOutcome
from penstock.report.summary import summarise, summarise_worker
from penstock.report.tables import endpoint_lines, leg_lines, perf_log_lines, results_lines, series_lines
from penstock.report.tallies import NAME as TALLIES
from penstock.report.tallies import tally_bytes

__all__ = ["results_directory", "worker_directory", "write_job", "write_results"]

_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME: Final = 80


def results_directory(parent: str | os.PathLike[str], name: str, now: datetime | int) -> Path:
    """Make ``penstock-<UTC to the second>-<name>`` in ``parent``, and ``parent`` too, and return it.

    ``now`` is a time with its zone, or nanoseconds since 1970. When the directory is there already, ``-2``, ``-3`` and
    so on are tried; two processes never get the same one. What a file name can't hold becomes ``_`` in the name.
    Raises UsageError where it can't be made.
    """
    instant = datetime.fromtimestamp(now // 10**9, UTC) if isinstance(now, int) else now.astimezone(UTC)
    fit = _UNFIT.sub("_", name)[:_LONGEST_NAME].strip("._-") or "run"
    stem = f"penstock-{instant:%Y%m%dT%H%M%SZ}-{fit}"
    try:
        os.makedirs(parent, exist_ok=True)
        return _make_first(Path(parent), stem)
    except OSError as error:
        text = f"results can't be kept in {os.fspath(parent)}: {error.strerror}"
        raise UsageError(f"{text}; name a directory that can be written: --results-dir, or results_dir") from error


def _make_first(parent: Path, stem: str) -> Path:
    number = 1
    while True:
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def write_results(
    directory: str | os.PathLike[str], outcome: Outcome, *, config_text: str, plan: Mapping[str, Any]
) -> Path:
    """Write every file of a result into ``directory`` and return the path of ``report.html``.

    Of a run that did nothing there are no figures: of it ``config.yaml``, ``plan.json`` and ``result.json`` are
    written, and the path is that of ``result.json``.

    ``config_text`` is the configuration as it was given; ``plan``, as it was resolved, must be what JSON can hold.
    Each file appears complete or not at all; one that exists is replaced. ``result.json`` is described in
    :mod:`penstock.report.summary`, the tables in :mod:`penstock.report.tables`, the file that
    :func:`penstock.report.results.read_result` needs beside it in :mod:`penstock.report.tallies`, and what there is of
    each worker where they are hosts in :mod:`penstock.report.hosts`.
    """
    place = Path(directory)
    summary = summarise(outcome)
    _write(place / "config.yaml", [config_text])
    _write(place / "plan.json", _json(plan))
    _write(place / "result.json", _compact_json(summary))
    if outcome.did_nothing:
        return place / "result.json"
    _write(place / "results.tsv", results_lines(outcome.totals, outcome.measured_seconds))
    _write(place / "perf_log.tsv", perf_log_lines(outcome))
    if outcome.endpoints or outcome.balance:
        _write(place / "endpoint_stats.tsv", endpoint_lines(outcome))
    _write(place / "histograms.hlog", hlog_lines(outcome))
    _write_bytes(place / TALLIES, tally_bytes(outcome))
    if outcome.hosts:
        _write(place / "workers.tsv", worker_lines(outcome))
        for worker in outcome.hosts:
            _write_worker(worker_directory(place, worker.rank), outcome, worker)
    # The page is drawn from the outcome's own intervals; what result.json says of them takes tens of megabytes.
    summary["intervals"] = []
    report = place / "report.html"
    _write(report, [render_html(outcome, summary, config_text=config_text, plan=plan)])
    return report


def worker_directory(directory: str | os.PathLike[str], rank: int) -> Path:
    """Make the place of a worker's own files in a result directory, and return it."""
    place = Path(directory) / "workers" / str(rank)
    place.mkdir(parents=True, exist_ok=True)
    return place


def _write_worker(place: Path, outcome: Outcome, worker: WorkerOutcome) -> None:
    alone = worker_outcome(outcome, worker)
    _write(place / "facts.json", _compact_json(summarise_worker(worker, outcome)))
    _write(place / "results.tsv", results_lines(alone.totals, alone.measured_seconds))
    if worker.series is not None:
        _write(place / "perf_log.tsv", series_lines(worker.series))
    _write(place / "histograms.hlog", hlog_lines(alone))
    _write_bytes(place / TALLIES, tally_bytes(alone))


def write_job(directory: str | os.PathLike[str], job: Job, *, config_text: str, plan: Mapping[str, Any]) -> Path:
    """Write a result of several legs: of each all files, in a directory of its own below; and of the whole
    ``config.yaml``, ``plan.json``, ``result.json`` (:mod:`penstock.report.jobs`), ``results.tsv``, ``repeats.tsv``
    where there are repeats, and ``report.html``, whose path is returned. Of a run that did nothing as
    :func:`write_results`.
    """
    place = Path(directory)
    for leg in job.legs:
        below = place / leg.directory
        below.mkdir(parents=True, exist_ok=True)
        write_results(below, leg.outcome, config_text=config_text, plan=plan)
    summary = summarise_job(job)
    _write(place / "config.yaml", [config_text])
    _write(place / "plan.json", _json(plan))
    _write(place / "result.json", _compact_json(summary))
    if job.did_nothing:
        return place / "result.json"
    _write(place / "results.tsv", leg_lines(job))
    if summary["repeats"]:
        _write(place / "repeats.tsv", repeat_lines(job))
    report = place / "report.html"
    _write(report, [render_job(job, summary, config_text=config_text, plan=plan)])
    return report


def _json(value: Mapping[str, Any]) -> Iterator[str]:
    yield json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _compact_json(value: Mapping[str, Any]) -> Iterator[str]:
    """A line for each field, and for each item of a field that is a list or an object: short, and still readable."""
    separator = "{"
    for name, field in value.items():
        yield f"{separator}\n{_dump(name)}: "
        separator = ","
        if isinstance(field, Mapping) and field:
            yield "{\n " + ",\n ".join(f"{_dump(key)}: {_dump(item)}" for key, item in field.items()) + "\n}"
        elif isinstance(field, list) and field:
            yield "[\n " + ",\n ".join(_dump(item) for item in field) + "\n]"
        else:
            yield _dump(field)
    yield "\n}\n"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Text as UTF-8; a lone surrogate, which stands for an undecodable byte of a file name, becomes an escape."""
    _write_bytes(path, (line.encode("utf-8", "backslashreplace") for line in lines))


def _write_bytes(path: Path, pieces: Iterable[bytes]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.writelines(pieces)
    os.replace(partial, path)
