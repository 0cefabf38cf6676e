"""The parts of the HTML report that are words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from penstock.quantities import format_bytes, format_duration
from penstock.report.outcome import Outcome, PhaseOutcome
from penstock.report.pieces import badge, bar, error_count, microseconds, number, section, table, tile
from penstock.report.summary import format_wall
from penstock.report.verified import describe_verification
from penstock.report.words import many
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import ALL

__all__ = [
    "STATUS_WORDS",
    "buckets_section",
    "errors_section",
    "headline",
    "operations_section",
    "phases_section",
    "steady_text",
    "total_tiles",
    "workers_section",
]

#: How good a status is, its word, and what it means for the figures.
STATUS_WORDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "done": ("good", "Done", ""),
    "degraded": ("warn", "Degraded", "Part of the workers were lost; the figures hold what each measured until then."),
    "interrupted": ("warn", "Interrupted", "Partial result: the figures cover only what ran before it was stopped."),
    "errors": ("bad", "Too many errors", "More operations failed than the limits allow."),
    "failed": ("bad", "Failed", "Partial result: the figures cover only what ran before it failed."),
}
_LATENCIES: Final = (
    ("mean", "mean"),
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99.9", "p99_9"),
    ("max", "max"),
)
_MOST_WORKERS: Final = 200
_MOST_ERRORS: Final = 100


def headline(outcome: Outcome, summary: Mapping[str, Any]) -> str:
    """What ran, where, for how long, how it ended, and the totals."""
    kind, word, meaning = STATUS_WORDS[outcome.status]
    kind_of_run = "run" if outcome.replay is None else "replay"
    banner = ""
    if outcome.status != "done":
        reason = f"<strong>{escape(word)}.</strong> {escape(outcome.reason)}".strip()
        banner = f"<p class='banner {kind}'>{reason}<br>{escape(meaning)}</p>"
    verdict = f"<p class='verdict'>{escape(outcome.verdict)}</p>" if outcome.verdict else ""
    texts = (*filter(None, (steady_text(outcome),)), *describe_verification(outcome), *outcome.notes)
    notes = "".join(f"<li>{escape(note)}</li>" for note in texts)
    return (
        f"<header><p class='brand'>penstock {kind_of_run} report</p><h1>{escape(outcome.name)} {badge(word, kind)}</h1>"
        f"<p class='where'>{_where(outcome)}</p>{banner}{verdict}{f'<ul class=notes>{notes}</ul>' if notes else ''}"
        f"</header>{_tiles(outcome, summary)}"
    )


def steady_text(outcome: Outcome) -> str:
    """Whether and when figures became stable; empty where that was not asked for."""
    steady = outcome.steady
    if steady is None:
        return ""
    what, tolerance = " and ".join(steady.metrics).replace("_per_second", "/s"), f"{100 * steady.tolerance:g} %"
    rule = f"within {tolerance} over {format_duration(steady.window)}"
    if not steady.reached or steady.from_s is None or steady.to_s is None:
        return f"No steady state: {what} did not become stable {rule}, so the run went on to its end."
    cell, seconds = steady.totals.roll_up(ALL), steady.to_s - steady.from_s
    figures = f"{number(cell.count / seconds)} ops/s, p99 {format_duration(cell.service.percentile(99) / 1e9)}"
    return (
        f"Steady state from {steady.from_s:.1f} s to {steady.to_s:.1f} s: {what} were stable {rule}, and the run "
        f"ended there; in that window {figures}."
    )


def _where(outcome: Outcome) -> str:
    hosts = sorted({worker.host for worker in outcome.workers})
    lanes = sum(worker.lanes for worker in outcome.workers)
    who = f"{many(len(outcome.workers), 'worker')} with {many(lanes, 'lane')} on {many(len(hosts), 'host')}"
    names = f" ({escape(', '.join(hosts[:8]))}{', …' if len(hosts) > 8 else ''})" if hosts else ""
    began = format_wall(outcome.measured_from_ns or outcome.started_ns, 0)
    ended = format_wall(outcome.ended_ns, 0)
    window = f"Measured for {format_duration(outcome.measured_seconds)} from" if outcome.measured_from_ns else "Started"
    target = f"<code>{escape(outcome.target)}</code> · " if outcome.target else ""
    return f"{target}{who}{names}<br>{window} {began}; the run ended {ended}."


def _tiles(outcome: Outcome, summary: Mapping[str, Any]) -> str:
    total = summary["totals"].get(ALL)
    if total is None:
        return "<p class='banner warn'>Nothing was measured.</p>"
    warmup = outcome.warmup_operations
    tiles = total_tiles(total, hint=f"after {number(warmup)} of warm-up" if warmup else "")
    if total["retries"]:
        tiles.append(tile("Retries", number(total["retries"]), hint="attempts beyond the first"))
    if summary["client"]["cpu_us_per_operation"] is not None:
        tiles.append(tile("Client CPU", number(summary["client"]["cpu_us_per_operation"]), "µs/op"))
    return f"<div class='tiles'>{''.join(tiles)}</div>"


def total_tiles(total: Mapping[str, Any], hint: str = "") -> list[str]:
    """The headline figures of a sum; ``hint`` stands below the number of operations."""
    calls = total["count"] + total["errors"]
    failed = f"{100 * total['errors'] / calls:.3g} % of all calls" if total["errors"] else ""
    return [
        tile("Operations per second", number(total["ops_per_sec"]), "ops/s"),
        tile("Throughput", number(total["mib_per_sec"]), "MiB/s"),
        tile("Operations", number(total["count"]), hint=hint),
        tile("Moved", *format_bytes(total["bytes"]).split(" ")),
        tile("Errors", number(total["errors"]), hint=failed),
    ]


def operations_section(summary: Mapping[str, Any]) -> str:
    """A row for each operation; the total if there are several; response and first byte where they exist."""
    operations = summary["operations"]
    if not operations:
        return ""
    rows = [_operation_row(escape(name), fields) for name, fields in operations.items()]
    if len(operations) > 1:
        rows.append(_operation_row("<strong>All</strong>", summary["totals"][ALL]))
    columns = [("Operation", ""), ("Count", ""), ("Rate", "ops/s"), ("Throughput", "MiB/s")]
    columns += [(title, "µs") for title, _ in _LATENCIES]
    content = table([*columns, ("Errors", "")], rows)
    explained = "Latency is service time: from the start of a call to its end, of calls that succeeded."
    content += f"<p class='note'>{explained}</p>"
    for field, title in (
        ("response_us", "Response time: from when a call was due to its end"),
        ("first_byte_us", "Time to the first byte of a read"),
        ("lag_us", "Lag: how late planned calls started, failed ones too"),
    ):
        content += _more_latencies(operations, field, title)
    return section("Operations", content)


def _operation_row(name: str, fields: Mapping[str, Any]) -> Sequence[str]:
    return (
        name,
        number(fields["count"]),
        number(fields["ops_per_sec"]),
        number(fields["mib_per_sec"]),
        *(microseconds(fields["service_us"], key) for _, key in _LATENCIES),
        error_count(fields["errors"]),
    )


def _more_latencies(operations: Mapping[str, Any], field: str, title: str) -> str:
    rows = [
        (escape(name), *(microseconds(fields[field], key) for _, key in _LATENCIES))
        for name, fields in operations.items()
        if fields[field] is not None
    ]
    columns = [("Operation", ""), *((name, "µs") for name, _ in _LATENCIES)]
    return f"<h3>{escape(title)}</h3>{table(columns, rows)}" if rows else ""


def buckets_section(summary: Mapping[str, Any]) -> str:
    """A row for each operation and size bucket, with its share of all calls."""
    buckets = summary["size_buckets"]
    whole = sum(fields["count"] for fields in buckets)
    if not whole:
        return ""
    rows = [
        (
            escape(fields["operation"]),
            escape(fields["size_bucket"]),
            bar(fields["count"] / whole),
            number(fields["count"]),
            format_bytes(fields["avg_bytes"]),
            number(fields["ops_per_sec"]),
            number(fields["mib_per_sec"]),
            *(microseconds(fields["service_us"], key) for key in ("mean", "p50", "p99", "max")),
            error_count(fields["errors"]),
        )
        for fields in buckets
    ]
    columns = [("Operation", ""), ("Size", ""), ("Share of calls", ""), ("Count", ""), ("Average size", "")]
    columns += [("Rate", "ops/s"), ("Throughput", "MiB/s"), ("mean", "µs"), ("p50", "µs"), ("p99", "µs"), ("max", "µs")]
    return section("By object size", table([*columns, ("Errors", "")], rows, words=3))


def errors_section(errors: ErrorTable, calls: int, chart: str) -> str:
    """Errors over time, and how often each occurred, among so many ``calls`` that succeeded."""
    entries = errors.most_frequent()
    if not entries:
        return section("Errors", "<p class='note'>No operation failed.</p>") if calls else ""
    rows = [
        (escape(entry.operation), f"<span class='long'>{escape(entry.text)}</span>",
         f"<code class='long'>{escape(entry.example)}</code>", number(entry.count))
        for entry in entries[:_MOST_ERRORS]
    ]  # fmt: skip
    more = len(entries) - len(rows)
    note = f"<p class='note'>{more} rarer errors are in result.json.</p>" if more > 0 else ""
    columns = [("Operation", ""), ("Error", ""), ("Example key", ""), ("Count", "")]
    return section("Errors", chart + table(columns, rows, words=3) + note)


def workers_section(summary: Mapping[str, Any]) -> str:
    """A row for each worker; of very many, those lost and those that did least."""
    workers = summary["workers"]
    if not workers:
        return ""
    ordered = sorted(workers, key=lambda worker: (worker["lost"] is None, _count(worker), worker["rank"]))
    shown = sorted(ordered[:_MOST_WORKERS], key=lambda worker: worker["rank"])
    lost = sum(worker["lost"] is not None for worker in workers)
    note = f"<p class='banner warn'>{lost} of {many(len(workers), 'worker')} lost.</p>" if lost else ""
    if len(shown) < len(workers):
        note += f"<p class='note'>{len(shown)} of {len(workers)} workers: those lost, and those that did least.</p>"
    columns = [("Worker", ""), ("Host", ""), ("State", ""), ("Process", ""), ("Lanes", ""), ("Count", "")]
    columns += [("Rate", "ops/s"), ("Throughput", "MiB/s"), ("Errors", ""), ("CPU", "s")]
    return section("Workers", note + table(columns, [_worker_row(worker) for worker in shown], words=3))


def _worker_row(worker: Mapping[str, Any]) -> Sequence[str]:
    sums = list(worker["operations"].values())
    lost = worker["lost"]
    state = "finished" if lost is None else f"{badge('lost', 'bad')} <span class='long'>{escape(lost)}</span>"
    return (
        str(worker["rank"]),
        escape(worker["host"]),
        state,
        str(worker["pid"]),
        str(worker["lanes"]),
        number(_count(worker)),
        number(sum(fields["ops_per_sec"] for fields in sums)),
        number(sum(fields["mib_per_sec"] for fields in sums)),
        error_count(sum(fields["errors"] for fields in sums)),
        number(worker["cpu_seconds"]),
    )


def _count(worker: Mapping[str, Any]) -> int:
    return sum(fields["count"] for fields in worker["operations"].values())


def phases_section(phases: Sequence[PhaseOutcome]) -> str:
    """Preparation, cleanup and whatever else ran outside the measured window."""
    if not phases:
        return ""
    rows = [
        (
            escape(phase.name),
            format_duration(phase.seconds),
            number(phase.objects_made),
            number(phase.objects_found),
            format_bytes(phase.nbytes),
            number(phase.nbytes / phase.seconds / 2**20 if phase.seconds > 0 else None),
            error_count(phase.failed),
        )
        for phase in phases
    ]
    columns = [("Phase", ""), ("Took", ""), ("Objects made or deleted", ""), ("Found there", ""), ("Moved", "")]
    content = table([*columns, ("Throughput", "MiB/s"), ("Failed", "")], rows)
    return section("Phases outside the measured window", content)
