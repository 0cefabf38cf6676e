"""A result of what hosts kept of a run, when its controller could not make one.

A source is the directory of a host's worker, with its ``host.json`` (:mod:`penstock.engine.hostrecord` describes it),
or a ``workers/<rank>`` of a result (:mod:`penstock.report.hosts`), of a run of one leg.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from penstock.errors import UsageError
from penstock.launching.hosting import RECORD
from penstock.report.crew import ClockReading, WorkerClock
from penstock.report.job import Job, LegOutcome
from penstock.report.outcome import Outcome, WorkerOutcome
from penstock.report.results import read_json
from penstock.report.series import Series
from penstock.report.summary import WORKER_SCHEMA, format_wall, parse_wall
from penstock.report.tallies import NAME as TALLIES
from penstock.report.tallies import read_tallies
from penstock.report.words import many
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Cell, Tally, family_of

__all__ = ["HOST_SCHEMA", "Kept", "Source", "collected", "find_sources", "timeline_lines"]

HOST_SCHEMA: Final = "penstock.host/1"
_FACTS: Final = "facts.json"


@attrs.frozen(kw_only=True)
class Kept:
    """What a source holds of one leg. ``began_ns`` is when it began by the controller's clock, None: not known;
    ``timeline`` the counts of its intervals, of all operations together.
    """

    worker: WorkerOutcome
    began_ns: int | None
    timeline: Sequence[Mapping[str, Any]] = ()
    endpoints: Mapping[str, Tally] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class Source:
    """One directory. ``hosts`` is how many the run had, 0: not known; ``run_id`` is empty where that is not known.

    ``about`` is what is known of the run: name, target, command_line; ``logs`` the parts of the op-log in it, ``files``
    all that belongs to it, ``readings`` what the controller found of its clock, ``gone`` names of what should be there.
    """

    directory: Path
    rank: int
    host: str
    hosts: int
    run_id: str
    started_ns: int
    updated_ns: int
    about: Mapping[str, Any]
    legs: Mapping[int, Kept]
    logs: Sequence[Path] = ()
    files: Sequence[Path] = ()
    readings: Sequence[ClockReading] = ()
    gone: Sequence[str] = ()
    is_record: bool = False
    status: str = ""
    reason: str = ""


def find_sources(places: Sequence[Path]) -> list[Source]:
    """The sources among directories and those directly below them, by rank.

    Raises UsageError for a place with none, one that is damaged, two of one rank, or such of several runs.
    """
    found: dict[Path, Source] = {}
    for place in places:
        some = [*_sources(place)]
        if not some:
            raise UsageError(
                f"{place}: no {RECORD} and no {_FACTS} in it or directly below it; name the directory that a host kept,"
                " or workers/<rank> of a result"
            )
        found.update((source.directory.resolve(), source) for source in some)
    sources = sorted(found.values(), key=lambda source: source.rank)
    for first, second in itertools.pairwise(sources):
        if first.rank == second.rank:
            raise UsageError(
                f"{first.directory} and {second.directory} are both of worker {first.rank}; name one of them"
            )
    runs = {source.run_id: source for source in sources if source.run_id}
    if len(runs) > 1:
        first, second = list(runs.values())[:2]
        raise UsageError(
            f"{first.directory} is of run {first.run_id} and {second.directory} of run {second.run_id}; collect one run"
            " at a time"
        )
    return sources


def _sources(place: Path) -> Iterator[Source]:
    if not place.is_dir():
        raise UsageError(f"{place} {'is no directory' if place.exists() else 'does not exist'}")
    crew = place / "workers"
    below = sorted(path for path in (crew if crew.is_dir() else place).iterdir() if path.is_dir())
    for each in (place, *below):
        if (each / RECORD).is_file():
            yield _understood(each / RECORD, _of_record)
        elif (each / _FACTS).is_file():
            yield _understood(each / _FACTS, _of_worker)


def _understood(file: Path, read: Any) -> Source:
    facts = read_json(file)
    try:
        source: Source = read(file.parent, facts)
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{file} is damaged: {type(error).__name__} {error}") from error
    return source


def _check_schema(place: Path, facts: Mapping[str, Any], schema: str) -> None:
    if facts.get("schema") != schema:
        raise UsageError(
            f"{place} is of version {facts.get('schema')!r}, and this penstock reads {schema}; use the one that made it"
        )


def _of_record(directory: Path, facts: Mapping[str, Any]) -> Source:
    _check_schema(directory / RECORD, facts, HOST_SCHEMA)
    readings = [ClockReading(**each) for each in facts["clock"]]
    wanted = [directory / str(name) for name in facts["op_log"]]
    logs = [path for path in wanted if path.is_file()]
    printed = sorted(path for path in directory.glob("*.log") if path.is_file())
    return Source(
        directory=directory,
        rank=int(facts["rank"]),
        host=str(facts["host"]),
        hosts=int(facts["hosts"]),
        run_id=str(facts["run_id"]),
        started_ns=int(facts["started_ns"]),
        updated_ns=int(facts["updated_ns"]),
        about=facts["about"],
        legs={int(leg["leg"]): _kept(facts, leg, readings) for leg in facts["legs"]},
        logs=logs,
        files=[*logs, *printed, directory / RECORD],
        readings=readings,
        gone=[path.name for path in wanted if path not in logs],
        is_record=True,
        status=str(facts["status"]),
        reason=str(facts["reason"]),
    )


def _kept(facts: Mapping[str, Any], leg: Mapping[str, Any], readings: Sequence[ClockReading]) -> Kept:
    tally, share = Tally.from_message(leg["tally"]), int(leg["share"])
    processes = facts["processes"]
    begun = leg["began_ns"]
    skew = None if begun is None else int(begun) - int(leg["start_ns"])
    worker = WorkerOutcome(
        rank=int(facts["rank"]),
        host=str(facts["host"]),
        pid=int(facts["pid"]),
        lanes=sum(int(process["lanes"][share]) for process in processes),
        tally=tally,
        lost=_lost(facts, leg),
        cpu_seconds=(int(leg["cpu_ns"]) - int(leg["first_cpu_ns"])) / 1e9 if leg["cpu_ns"] else None,
        processes=len(processes),
        processes_lost=[f"process {each['rank']}: {each['lost']}" for each in processes if each["lost"] is not None],
        facts={"penstock": facts["version"], "processes": processes},
        seconds=float(leg["end_s"]),
        clock=WorkerClock(readings=readings, start_skew_ns=skew),
        series=_series(tally, leg["timeline"]),
        errors=ErrorTable.from_message(leg["errors"]),
    )
    offset = readings[0].offset_ns if readings else 0
    return Kept(
        worker=worker,
        began_ns=int(leg["origin_ns"]) - offset,
        timeline=leg["timeline"],
        endpoints={name: Tally.from_message(message) for name, message in leg["endpoints"].items()},
    )


def _lost(facts: Mapping[str, Any], leg: Mapping[str, Any]) -> str | None:
    """Why its figures may not be all; None where the leg came to its end."""
    if leg["ended"] and not leg["failure"]:
        return None
    if leg["failure"]:
        return str(leg["failure"])
    if facts["status"] == "running":
        return f"its record ends in the middle, at {format_wall(int(facts['updated_ns']), 0)} by its clock"
    return str(facts["reason"]) or "it was ended in the middle"


def _series(tally: Tally, timeline: Sequence[Mapping[str, Any]]) -> Series | None:
    """Counts over time, without latencies. Hosts keep those of all operations together, so that they can be told only
    where all operations are of one family.
    """
    operations = tally.operations()
    if not timeline or len({family_of(name) for name in operations}) != 1:
        return None
    width = max(float(timeline[0]["end_s"]) - float(timeline[0]["start_s"]), 1e-3)
    series = Series(width)
    for each in timeline:
        part, start = Tally(), float(each["start_s"])
        part.cells[operations[0], 0] = Cell(
            count=int(each["count"]), errors=int(each["errors"]), nbytes=int(each["nbytes"])
        )
        series.add(start, float(each["end_s"]) - start, part)
    return series


def _of_worker(directory: Path, facts: Mapping[str, Any]) -> Source:
    _check_schema(directory / _FACTS, facts, WORKER_SCHEMA)
    file = directory / TALLIES
    if not file.is_file():
        raise UsageError(f"{directory} holds no {TALLIES}; it was copied incompletely")
    try:
        (worker,) = read_tallies(file).workers
    except ValueError as error:
        raise UsageError(f"{file} {error}") from error
    run = facts["run"]
    logs = sorted(path for path in directory.glob("*.tsv.zst") if path.is_file())
    began = None if run["measured_from"] is None else parse_wall(run["measured_from"])
    return Source(
        directory=directory,
        rank=worker.rank,
        host=worker.host,
        hosts=int(run["workers"]),
        run_id="",
        started_ns=parse_wall(run["started"]),
        updated_ns=parse_wall(run["ended"]),
        about={name: run[name] for name in ("name", "target", "command_line")},
        legs={0: Kept(worker=worker, began_ns=began)},
        logs=logs,
        files=sorted(path for path in directory.iterdir() if path.is_file()),
        readings=() if worker.clock is None else worker.clock.readings,
    )


def collected(sources: Sequence[Source], *, version: str, command_line: str) -> Job:
    """The job that the sources are of: degraded, with notes of what is missing."""
    legs = sorted({leg for source in sources for leg in source.legs})
    first = next((source.about for source in sources if source.about), {})
    missing = _missing(sources)
    notes = [*missing, *_doubts(sources)]
    reason = f"collected from what {many(len(sources), 'host')} kept"
    if missing:
        reason += f"; {missing[0]}"
    common = {
        "version": version,
        "command_line": str(first.get("command_line", "")) or command_line,
        "target": str(first.get("target", "")),
        "status": "degraded",
        "reason": reason,
        "exit_code": 1,
        "environment": {"collected": {source.host: str(source.directory) for source in sources}},
    }
    name = str(first.get("name", "")) or "collected"
    done = []
    for leg in legs:
        label = f"leg {leg + 1}" if len(legs) > 1 else ""
        outcome = _outcome(sources, leg, f"{name}, {label}" if label else name, common, () if label else notes)
        directory = f"leg-{leg + 1}" if label else ""
        done.append(LegOutcome(label=label, stage=label, repeat=1, directory=directory, outcome=outcome))
    return Job(
        name=name,
        started_ns=min(source.started_ns for source in sources),
        ended_ns=max(source.updated_ns for source in sources),
        legs=done,
        notes=notes,
        **common,  # type: ignore[arg-type]
    )


def _outcome(
    sources: Sequence[Source], leg: int, name: str, common: Mapping[str, Any], notes: Sequence[str]
) -> Outcome:
    kept = [source.legs[leg] for source in sources if leg in source.legs]
    totals, errors, endpoints = Tally(), ErrorTable(), dict[str, Tally]()
    for each in kept:
        totals.merge(each.worker.tally)
        errors.merge(each.worker.errors)
        for endpoint, tally in each.endpoints.items():
            endpoints.setdefault(endpoint, Tally()).merge(tally)
    began = [each.began_ns for each in kept if each.began_ns is not None]
    return Outcome(
        name=name,
        started_ns=min(source.started_ns for source in sources),
        ended_ns=max(source.updated_ns for source in sources),
        measured_from_ns=min(began, default=0),
        measured_seconds=max((each.worker.seconds or 0.0 for each in kept), default=0.0),
        totals=totals,
        warmup_operations=totals.warmup,
        workers=[each.worker for each in kept],
        errors=errors,
        endpoints=endpoints,
        notes=notes,
        **common,
    )


def _missing(sources: Sequence[Source]) -> list[str]:
    """Which workers nothing was found of."""
    hosts = max(source.hosts for source in sources)
    absent = sorted(set(range(hosts)) - {source.rank for source in sources})
    if not absent:
        return []
    some = ", ".join(map(str, absent[:10])) + (", …" if len(absent) > 10 else "")
    return [f"nothing was found of {many(len(absent), 'worker')} of {hosts}: {some}"]


def _doubts(sources: Sequence[Source]) -> list[str]:
    """What is known to be less than it was."""
    told = []
    for source in sources:
        who = f"worker {source.rank} on {source.host}"
        told += [f"{who}: {name}, a part of its op-log, is not in {source.directory}" for name in source.gone]
        if source.is_record and not source.readings:
            told.append(f"{who}: how far its clock was off is not known, so its times are as it told them")
        if source.status == "running":
            told.append(f"{who}: its record was written last at {format_wall(source.updated_ns, 0)}; it may still run")
        if source.status == "abandoned":
            told.append(f"{who} ended by itself: {source.reason or 'its controller was gone'}")
    if any(source.is_record for source in sources):
        told.append("hosts keep no latencies over time; where there is an op-log, penstock report draws them from it")
    return told


def timeline_lines(kept: Kept) -> Iterator[str]:
    """What a host kept of the course of a leg, all operations together; tab-separated with a header line."""
    columns = ("start_s", "end_s", "count", "errors", "nbytes")
    yield "\t".join(columns).replace("nbytes", "bytes") + "\n"
    for each in kept.timeline:
        yield "\t".join(json.dumps(each[name]) for name in columns) + "\n"
