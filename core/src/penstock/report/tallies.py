"""``tallies.jsonl.zst``: the tallies of a result, exactly, so that it can be drawn again and compared.

``result.json`` has percentiles; this has the histograms they come from. It is zstd-compressed text with one JSON
object on each line. The first holds the version, the last how many lines stand between them, by which a file that was
cut off is told::

    {"schema": "penstock.tallies/1"}
    {"kind": "totals", "tally": …}
    {"kind": "worker", "rank", "host", …, "clock", "series", "errors", "tally"}              one for each worker
    {"kind": "endpoint", "name", "tally"}                                                    one for each endpoint
    {"kind": "recorded", "log", "speed", "seconds", "counts", "settings", "tally"}           of a replay
    {"kind": "steady", "tally"}                                                              of what became stable
    {"kind": "balanced", "use"}                                                              one for each such endpoint
    {"kind": "interval", "start_s", "seconds", the CPU fields, "active_workers", "tally"}    in the order of time
    {"end": lines between}

A tally is what :meth:`penstock.stats.tally.Tally.to_message` makes: counts by operation and size bucket, and each
histogram as the numbers of its buckets (HdrHistogram's, of nanoseconds) and their counts, little-endian in base64.
A kind that a reader does not know is one to leave out; ``schema`` changes when one that it knows changes its meaning.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import zstandard

from penstock.report.crew import WorkerClock
from penstock.report.outcome import EndpointUse, Interval, Outcome, Replayed, WorkerOutcome
from penstock.report.series import Series
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

__all__ = ["NAME", "SCHEMA", "Tallies", "read_tallies", "tally_bytes"]

NAME: Final = "tallies.jsonl.zst"
SCHEMA: Final = "penstock.tallies/1"
_LEVEL: Final = 6
_TALLY: Final = "tally"


@attrs.frozen
class Tallies:
    """What the file holds; the fields are those of :class:`penstock.report.outcome.Outcome`."""

    totals: Tally
    workers: list[WorkerOutcome]
    endpoints: dict[str, Tally]
    intervals: list[Interval]
    replay: Replayed | None
    steady: Tally | None = None
    balance: list[EndpointUse] = attrs.Factory(list)


def tally_bytes(outcome: Outcome) -> Iterator[bytes]:
    """The content of the file, piece by piece."""
    squeeze = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    count = 0
    yield squeeze.compress(_line({"schema": SCHEMA}))
    for line in _lines(outcome):
        count += 1
        yield squeeze.compress(_line(line))
    yield squeeze.compress(_line({"end": count}))
    yield squeeze.flush()


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _lines(outcome: Outcome) -> Iterator[dict[str, Any]]:
    yield {"kind": "totals", _TALLY: outcome.totals.to_message()}
    for worker in outcome.workers:
        yield {"kind": "worker"} | _worker(worker)
    for name, tally in outcome.endpoints.items():
        yield {"kind": "endpoint", "name": name, _TALLY: tally.to_message()}
    if outcome.replay is not None:
        replay = outcome.replay
        yield {
            "kind": "recorded",
            "log": replay.log,
            "speed": replay.speed,
            "seconds": replay.recorded_seconds,
            "counts": dict(replay.counts),
            "settings": dict(replay.settings),
            _TALLY: replay.recorded.to_message(),
        }
    if outcome.steady is not None:
        yield {"kind": "steady", _TALLY: outcome.steady.totals.to_message()}
    for use in outcome.balance:
        yield {"kind": "balanced", "use": use.to_message()}
    for interval in outcome.intervals:
        yield {"kind": "interval"} | _fields(interval)


def _worker(worker: WorkerOutcome) -> dict[str, Any]:
    return _fields(worker) | {
        "processes_lost": list(worker.processes_lost),
        "facts": dict(worker.facts),
        "clock": None if worker.clock is None else worker.clock.to_message(),
        "series": None if worker.series is None else worker.series.to_message(),
        "errors": worker.errors.to_message(),
        "op_log": None if worker.op_log is None else dict(worker.op_log),
    }


def _read_worker(tally: Tally, line: Mapping[str, Any]) -> WorkerOutcome:
    """Of a line whose fields may be those of an earlier penstock, which knew no hosts."""
    clock, series = line.get("clock"), line.get("series")
    return WorkerOutcome(
        **{
            **line,
            "tally": tally,
            "clock": None if clock is None else WorkerClock.from_message(clock),
            "series": None if series is None else Series.from_message(series),
            "errors": ErrorTable.from_message(line.get("errors", [])),
        }
    )


def _fields(value: Interval | WorkerOutcome) -> dict[str, Any]:
    plain = {field.name: getattr(value, field.name) for field in attrs.fields(type(value))}
    return plain | {_TALLY: value.tally.to_message()}


def read_tallies(path: str | os.PathLike[str]) -> Tallies:
    """What :func:`tally_bytes` made. Raises OSError, and ValueError for anything else than a whole file of this
    version; its text says what is wrong and is to follow the file's name.
    """
    found = Tallies(Tally(), [], {}, [], None)
    whole = False
    try:
        for line in _read_lines(path):
            kind = line.pop("kind")
            whole = whole or kind == "totals"
            found = _take(found, kind, line)
    except zstandard.ZstdError as error:
        raise ValueError(f"is damaged or cut off: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is damaged: {type(error).__name__} {error}") from error
    if not whole:
        raise ValueError("is damaged: it has no totals")
    return found


def _take(found: Tallies, kind: str, line: dict[str, Any]) -> Tallies:
    """What was found with one line more."""
    if kind == "balanced":
        found.balance.append(EndpointUse.from_message(line["use"]))
        return found
    tally = Tally.from_message(line.pop(_TALLY))
    if kind == "totals":
        return attrs.evolve(found, totals=tally)
    if kind == "steady":
        return attrs.evolve(found, steady=tally)
    if kind == "recorded":
        line["recorded_seconds"] = line.pop("seconds")
        return attrs.evolve(found, replay=Replayed(recorded=tally, **line))
    if kind == "worker":
        found.workers.append(_read_worker(tally, line))
    elif kind == "endpoint":
        found.endpoints[line["name"]] = tally
    elif kind == "interval":
        tally.compact()
        found.intervals.append(Interval(tally=tally, **line))
    return found


def _read_lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The lines between the first and the last. Raises as :func:`read_tallies` says."""
    with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as plain:
        text = io.TextIOWrapper(io.BufferedReader(plain), encoding="utf-8")
        _check_schema(_parse(text.readline()))
        for count, line in enumerate(map(_parse, text)):
            if "end" not in line:
                yield line
            elif line["end"] == count:
                return
            else:
                raise ValueError(f"is damaged: it holds {count} tallies where {line['end']} were written")
        raise ValueError("is cut off; copy the result directory again")


def _parse(text: str) -> dict[str, Any]:
    if not text.endswith("\n"):
        raise ValueError("is cut off; copy the result directory again")
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from error
    if not isinstance(value, dict):
        raise ValueError("is damaged: a line of it is no object")
    return value


def _check_schema(head: Mapping[str, Any]) -> None:
    found = head.get("schema")
    if found != SCHEMA:
        raise ValueError(
            f"is of version {found!r}, and this penstock reads {SCHEMA}; read it with the one that wrote it"
        )
