"""``result.json``: the whole result as one JSON object.

Fields are added without notice; the number in ``schema`` changes when one goes or changes its meaning::

    schema              "penstock.result/1"
    penstock            the version that wrote it
    name, target, command_line
    status              done, errors, degraded, interrupted or failed; with its reason and exit_code
    verdict             one line: do the figures show the storage or the client; "" if not known
    limit               the verdict in one word: network, client, interpreter, generator, verification, disk, rate,
                        storage, or none where the offered rate was kept; "" if not known
    started, ended      of the run with all its phases; RFC 3339, UTC
    window              what was measured: from, to, seconds; from and to are null if nothing was
    warmup              operations and errors that were kept out
    totals              by family, ALL, GET, PUT, META: a sum each, of those that occurred
    operations          by operation: a sum each
    size_buckets        list of sums, with operation, size_bucket, bucket_idx
    endpoints           by endpoint: operations, by operation a sum each; empty if not known
    workers             list, with rank, host, pid, lanes, lost (null or how), cpu_seconds and operations, by operation;
                        where workers are hosts also processes, processes_lost, address, cpus, seconds (in which it
                        measured, of the window; null if not known), op_log (null, or of its part path and counts) and
                        clock (null, or offset_us, positive: ahead of the controller's, uncertainty_us to either side,
                        drift_us, start_skew_us, from the agreed instant to its first operation, and readings, with
                        at_ns, offset_us, uncertainty_us, probes)
    clock               null where no worker's clock was read; else workers, how many were, offset_us min and max,
                        uncertainty_us and drift_us, the largest, and start_skew_us: median (of its size), min, max,
                        spread (from the first start to the last)
    intervals           list, with start_s, seconds, active_workers, cpu_user_pct, cpu_system_pct, cpu_iowait_pct,
                        client_cpu_pct and operations, by operation
    phases              list, with name, seconds, objects_made, objects_found, bytes, failed
    errors              list, the most frequent first, with operation, text, count, example_key
    client              cpu_seconds, cpu_us_per_operation, cpu_seconds_per_gb, of all workers in the window, where a
                        GB is 10^9 bytes; null if not known
    op_log              its path and counts, null if there is none
    planned             null but in open loop: operations that were due in the window, and how many of them were
                        missed, never begun
    verification        null if reads were not to be checked; else the mode, the reads and bytes that were, how many
                        were stale, torn, corrupt or of the wrong_size, how many were not_checked because their
                        content is not known (example_key is one), cpu_seconds of the check, and client_cpu_share
    steady              null if nothing was to become stable; else whether it was reached, the metrics, window and
                        tolerance that were asked for, and of the window that showed it from_s, to_s and operations,
                        by operation a sum each
    balance             list, of each endpoint that multi_endpoint spreads calls over: uri, requests, errors,
                        bytes_read, bytes_written, ejections, healthy and latency_us, warm-up included
    replay              null but for a replay: log, speed (null: as fast as possible), recorded_seconds, counts,
                        settings, and recorded, by operation: the sums that the log has of the calls replayed
    environment         facts of host and software
    notes               list of texts

A sum has count (calls that succeeded), errors, bytes, objects, retries, ops_per_sec, mib_per_sec (of 2^20 bytes),
avg_bytes, and the latencies service_us, response_us (from when a planned call was due), first_byte_us (reads) and
lag_us (how late planned calls started, failed ones too).
Each of those is null if there was none, else an object of microseconds: mean, min, p50, p90, p95, p99, p99_9, max,
stdev. Failed calls are in errors alone. The sums of workers, intervals and
endpoints leave out what is null. Rates are over the
measured window, in an interval over its own seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from penstock.report.hosts import host_fields, seconds_of, summarise_clocks
from penstock.report.outcome import EndpointUse, Interval, Outcome, PhaseOutcome, Replayed, Steady, WorkerOutcome
from penstock.report.verified import summarise_verification
from penstock.stats.buckets import LABELS
from penstock.stats.errors import ErrorTable
from penstock.stats.histogram import Histogram
from penstock.stats.tally import ALL, Cell, Tally

__all__ = [
    "SCHEMA",
    "WORKER_SCHEMA",
    "format_wall",
    "parse_wall",
    "summarise",
    "summarise_phase",
    "summarise_worker",
    "sums",
]

SCHEMA: Final = "penstock.result/1"
WORKER_SCHEMA: Final = "penstock.worker/1"
_PERCENTS: Final[Mapping[str, float]] = {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "p99_9": 99.9}
_CPU: Final = ("cpu_user_pct", "cpu_system_pct", "cpu_iowait_pct", "client_cpu_pct")


def summarise(outcome: Outcome) -> dict[str, Any]:
    """The content of ``result.json``."""
    seconds = outcome.measured_seconds
    return {
        "schema": SCHEMA,
        "penstock": outcome.version,
        "name": outcome.name,
        "target": outcome.target,
        "command_line": outcome.command_line,
        "status": outcome.status,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "verdict": outcome.verdict,
        "limit": outcome.limit,
        "started": format_wall(outcome.started_ns),
        "ended": format_wall(outcome.ended_ns),
        "window": _window(outcome),
        "warmup": {"operations": outcome.warmup_operations, "errors": outcome.totals.warmup_errors},
        **sums(outcome.totals, seconds),
        "endpoints": {
            name: {"operations": _without_nulls(_operations(tally, seconds))}
            for name, tally in outcome.endpoints.items()
        },
        "workers": [_worker(worker, seconds) for worker in outcome.workers],
        "clock": summarise_clocks(outcome),
        "intervals": [_interval(interval) for interval in outcome.intervals],
        "phases": [summarise_phase(phase) for phase in outcome.phases],
        "errors": _errors(outcome.errors),
        "client": _client(outcome),
        "op_log": None if outcome.op_log is None else dict(outcome.op_log),
        "planned": None if outcome.planned is None else attrs.asdict(outcome.planned),
        "verification": summarise_verification(outcome),
        "steady": None if outcome.steady is None else _steady(outcome.steady),
        "balance": [_balance(use) for use in outcome.balance],
        "replay": None if outcome.replay is None else _replay(outcome.replay),
        "environment": dict(outcome.environment),
        "notes": list(outcome.notes),
    }


def sums(tally: Tally, seconds: float) -> dict[str, Any]:
    """``totals``, ``operations`` and ``size_buckets`` of a tally, with rates over ``seconds``."""
    return {
        "totals": _families(tally, seconds),
        "operations": _operations(tally, seconds),
        "size_buckets": _buckets(tally, seconds),
    }


def format_wall(wall_ns: int, digits: int = 9) -> str:
    """RFC 3339 in UTC, with ``digits`` digits of the second's fraction."""
    seconds, fraction = divmod(wall_ns, 10**9)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction:09d}"[: len(stamp) + 1 + digits].rstrip(".") + "Z"


def parse_wall(text: str) -> int:
    """Nanoseconds since 1970 of what :func:`format_wall` made with any number of digits. Raises ValueError."""
    stamp, _, fraction = text.removesuffix("Z").partition(".")
    whole = datetime.fromisoformat(f"{stamp}+00:00")
    return round(whole.timestamp()) * 10**9 + int(f"{fraction:0<9}"[:9] or 0)


def _window(outcome: Outcome) -> dict[str, Any]:
    begin, seconds = outcome.measured_from_ns, outcome.measured_seconds
    if not begin:
        return {"from": None, "to": None, "seconds": seconds}
    return {"from": format_wall(begin), "to": format_wall(begin + round(seconds * 1e9)), "seconds": seconds}


def _families(tally: Tally, seconds: float) -> dict[str, Any]:
    sums = {family: tally.roll_up(family) for family in (ALL, "GET", "PUT", "META")}
    return {name: _sum(cell, seconds) for name, cell in sums.items() if cell.count or cell.errors}


def _operations(tally: Tally, seconds: float) -> dict[str, Any]:
    return {operation: _sum(tally.operation(operation), seconds) for operation in tally.operations()}


def _buckets(tally: Tally, seconds: float) -> list[dict[str, Any]]:
    order = {operation: place for place, operation in enumerate(tally.operations())}
    return [
        {"operation": operation, "size_bucket": LABELS[bucket], "bucket_idx": bucket}
        | _sum(tally.cells[operation, bucket], seconds)
        for operation, bucket in sorted(tally.cells, key=lambda key: (order[key[0]], key[1]))
    ]


def _sum(cell: Cell, seconds: float) -> dict[str, Any]:
    return {
        "count": cell.count,
        "errors": cell.errors,
        "bytes": cell.nbytes,
        "objects": cell.objects,
        "retries": cell.retries,
        "ops_per_sec": round(cell.count / seconds, 3) if seconds > 0 else 0.0,
        "mib_per_sec": round(cell.nbytes / seconds / 2**20, 3) if seconds > 0 else 0.0,
        "avg_bytes": round(cell.mean_bytes, 3),
        "service_us": _latency(cell.service),
        "response_us": _latency(cell.response),
        "first_byte_us": _latency(cell.first_byte),
        "lag_us": _latency(cell.lag),
    }


def _latency(histogram: Histogram) -> dict[str, float] | None:
    if not histogram.count:
        return None
    percentiles = histogram.percentiles(tuple(_PERCENTS.values()))
    return {
        "mean": round(histogram.mean / 1000, 3),
        "min": histogram.minimum / 1000,
        **{name: value / 1000 for name, value in zip(_PERCENTS, percentiles, strict=True)},
        "max": histogram.maximum / 1000,
        "stdev": round(histogram.stdev / 1000, 3),
    }


def _worker(worker: WorkerOutcome, seconds: float) -> dict[str, Any]:
    return {
        "rank": worker.rank,
        "host": worker.host,
        "pid": worker.pid,
        "lanes": worker.lanes,
        "lost": worker.lost,
        "cpu_seconds": worker.cpu_seconds,
        **(host_fields(worker) if worker.is_host else {}),
        "operations": _without_nulls(_operations(worker.tally, seconds)),
    }


def summarise_worker(worker: WorkerOutcome, outcome: Outcome) -> dict[str, Any]:
    """``facts.json`` of a worker; it is described in :mod:`penstock.report.hosts`."""
    seconds = seconds_of(worker, outcome)
    return {
        "schema": WORKER_SCHEMA,
        "run": {
            **{name: getattr(outcome, name) for name in ("name", "target", "command_line")},
            "started": format_wall(outcome.started_ns),
            "ended": format_wall(outcome.ended_ns),
            "measured_from": format_wall(outcome.measured_from_ns) if outcome.measured_from_ns else None,
            "workers": len(outcome.workers),
        },
        **{name: getattr(worker, name) for name in ("rank", "host", "pid", "lanes", "lost", "cpu_seconds")},
        **host_fields(worker),
        "facts": dict(worker.facts),
        **sums(worker.tally, seconds),
        "errors": _errors(worker.errors),
    }


def _errors(errors: ErrorTable) -> list[dict[str, Any]]:
    return [
        {"operation": entry.operation, "text": entry.text, "count": entry.count, "example_key": entry.example}
        for entry in errors.most_frequent()
    ]


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "start_s": round(interval.start_s, 6),
        "seconds": round(interval.seconds, 6),
        "active_workers": interval.active_workers,
        **{name: getattr(interval, name) for name in _CPU},
        "operations": _without_nulls(_operations(interval.tally, interval.seconds)),
    }


def _without_nulls(sums: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        operation: {name: value for name, value in fields.items() if value is not None}
        for operation, fields in sums.items()
    }


def summarise_phase(phase: PhaseOutcome) -> dict[str, Any]:
    """One of ``phases``."""
    fields = attrs.asdict(phase)
    fields["bytes"] = fields.pop("nbytes")
    return fields


def _replay(replay: Replayed) -> dict[str, Any]:
    return {
        "log": replay.log,
        "speed": replay.speed,
        "recorded_seconds": replay.recorded_seconds,
        "counts": dict(replay.counts),
        "settings": dict(replay.settings),
        "recorded": _operations(replay.recorded, replay.recorded_seconds),
    }


def _steady(steady: Steady) -> dict[str, Any]:
    seconds = 0.0 if steady.from_s is None or steady.to_s is None else steady.to_s - steady.from_s
    return {
        "reached": steady.reached,
        "metrics": list(steady.metrics),
        "window": steady.window,
        "tolerance": steady.tolerance,
        "from_s": steady.from_s,
        "to_s": steady.to_s,
        "operations": _without_nulls(_operations(steady.totals, seconds)),
    }


def _balance(use: EndpointUse) -> dict[str, Any]:
    return attrs.asdict(use, filter=lambda field, _: field.name != "latency") | {"latency_us": _latency(use.latency)}


def _client(outcome: Outcome) -> dict[str, float | None]:
    used, totals = outcome.client_cpu_seconds, outcome.totals
    calls = totals.count + totals.errors
    return {
        "cpu_seconds": used,
        "cpu_us_per_operation": round(used * 1e6 / calls, 3) if used is not None and calls else None,
        "cpu_seconds_per_gb": round(used * 1e9 / totals.nbytes, 6) if used is not None and totals.nbytes else None,
    }
