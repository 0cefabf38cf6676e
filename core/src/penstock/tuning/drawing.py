"""The picture of a search for a rate: latency over load."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from penstock.report.charts import Chart, line_chart
from penstock.report.findings import Finding
from penstock.report.page import charts_section, document, needs_script
from penstock.report.pieces import number, section, table
from penstock.tuning.runner import Found
from penstock.tuning.trials import Judged

__all__ = ["render_search"]

_MEANING = (
    "Latency as a user sees it, from when an operation was due. Good is level up to the rate that is needed; where the"
    " lines bend up, operations queue, and beyond that no rate is kept."
)
_KEPT = "What was done against what was offered. Good is a straight line; where it bends, the rest was never begun."


def render_search(found: Found, name: str) -> str:
    """The document: what was found, the curves over load, and every trial."""
    curve = found.curve()
    charts = _charts(found, curve)
    names = [chart["id"] for chart in charts]
    body = _headline(found, name) + needs_script(charts) + charts_section("Over load", charts, names) + _trials(curve)
    return document(f"find {name}", body, charts)


def _headline(found: Found, name: str) -> str:
    goals = " and ".join(goal.text for goal in found.goals)
    if found.rate is None:
        kind, word, text = "bad", "No rate found", f"None that was tried meets {goals}. {found.limit}"
    else:
        beyond = f" Beyond it: {found.limit}." if found.limit else " No higher rate was tried."
        kind, word, text = "good", "Found", f"{found.rate:,.1f} operations per second meet {goals}.{beyond}"
    return (
        f"<header><p class='brand'>penstock find</p><h1>{escape(name)}</h1>"
        f"<p class='banner {kind}'><strong>{word}.</strong> {escape(text)}</p></header>"
    )


def _charts(found: Found, curve: Sequence[Judged]) -> list[Chart]:
    if len(curve) < 2:
        return []
    x = [judged.trial.offered or 0.0 for judged in curve]
    latencies = [
        {"label": label, "values": [_micros(value) for value in values]}
        for label, values in (
            ("p50", [judged.trial.p50 for judged in curve]),
            ("p99", [judged.trial.p99 for judged in curve]),
            ("p99.9", [judged.trial.p999 for judged in curve]),
        )
    ]
    done = [
        {"label": "done", "values": [judged.trial.achieved for judged in curve]},
        {"label": "offered", "values": list(x)},
    ]
    mark = "good" if found.rate is not None else "warn"
    text = (
        f"up to {found.rate:,.1f} operations per second the goals are met" if found.rate else "no rate meets the goals"
    )
    finding = Finding(mark, text)  # type: ignore[arg-type]
    end = x[-1] * 1.02
    load = {"kind": "load", "across": "operations offered per second"}
    return [
        line_chart("load", "Latency over load", "µs", x, end, latencies, log=True, joined=1)
        | load
        | {"finding": finding, "meaning": _MEANING},
        line_chart("done", "Done over offered", "ops/s", x, end, done, log=False, joined=1) | load | {"meaning": _KEPT},
    ]


def _trials(curve: Sequence[Judged]) -> str:
    columns = [
        ("Offered", "ops/s"),
        ("Done", "ops/s"),
        ("Moved", "MiB/s"),
        ("p50", "µs"),
        ("p99", "µs"),
        ("p99.9", "µs"),
    ]
    columns += [("Errors", ""), ("Client CPU", "µs/op"), ("Judged", "")]
    rows = []
    for judged in curve:
        trial = judged.trial
        figures = (
            trial.offered,
            trial.achieved,
            trial.mib_per_second,
            *map(_micros, (trial.p50, trial.p99, trial.p999)),
        )
        cells = [number(value) for value in (*figures, trial.errors, trial.cpu_us)]
        rows.append([*cells, escape("passed" if judged.passed else "; ".join(judged.why))])
    return section("Trials", table(columns, rows, words=0))


def _micros(value: float | None) -> float | None:
    return None if value is None else value / 1e3
