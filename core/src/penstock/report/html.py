"""``report.html`` of a run or a replay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.report.charts import Chart, build_charts
from penstock.report.crewpage import crew_charts, crew_section
from penstock.report.findings import planned_finding
from penstock.report.heatmap import heat_cards
from penstock.report.outcome import Outcome
from penstock.report.page import chart_grid, charts_section, document, grid, needs_script, over_time_section
from penstock.report.parties import balance_section, parties_section
from penstock.report.pieces import code_block, facts_table, finding_line, section
from penstock.report.replayed import replay_charts, replay_section
from penstock.report.sections import (
    buckets_section,
    errors_section,
    headline,
    operations_section,
    phases_section,
    workers_section,
)

__all__ = ["configuration_section", "processors_of", "render_html"]

_TIME_CHARTS: Final = ("rate", "throughput", "p50", "p99")
_CLIENT_CHARTS: Final = ("client", "host")


def render_html(outcome: Outcome, summary: Mapping[str, Any], *, config_text: str, plan: Mapping[str, Any]) -> str:
    """The document. ``summary`` is what :func:`penstock.report.summary.summarise` made of the outcome."""
    charts = build_charts(outcome, processors_of(outcome))
    replay = replay_charts(outcome)
    crew = crew_charts(outcome)
    body = "".join(
        (
            headline(outcome, summary),
            operations_section(summary),
            needs_script(charts),
            replay_section(outcome, replay),
            over_time_section(charts, _TIME_CHARTS, len(outcome.intervals)),
            _schedule(outcome, charts),
            _distribution(outcome, charts),
            buckets_section(summary),
            errors_section(outcome.errors, outcome.totals.count, chart_grid(charts, ("errors",))),
            parties_section("By endpoint", "endpoint", outcome.endpoints, outcome.measured_seconds),
            balance_section(outcome.balance),
            crew_section(outcome, crew) or _clients(outcome) + workers_section(summary),
            phases_section(outcome.phases),
            charts_section("The client", charts, _CLIENT_CHARTS),
            configuration_section(summary, config_text, plan),
        )
    )
    return document(outcome.name, body, [*charts, *replay, *crew])


def processors_of(outcome: Outcome) -> float | None:
    """How many processors the client may use; None if that is not known, as of several hosts."""
    if len({worker.host for worker in outcome.workers}) > 1:
        return None
    limits = [outcome.environment.get(name) for name in ("cpus_usable", "cpu_limit")]
    known = [float(limit) for limit in limits if isinstance(limit, int | float) and limit > 0]
    return min(known, default=None)


def _schedule(outcome: Outcome, charts: Sequence[Chart]) -> str:
    cards = chart_grid(charts, ("lag",))
    told = "" if outcome.planned is None else finding_line(planned_finding(outcome.planned))
    return section("On schedule", told + cards) if cards or told else ""


def _distribution(outcome: Outcome, charts: Sequence[Chart]) -> str:
    cards = chart_grid(charts, ("distribution", "first_byte"))
    heat = grid(heat_cards(outcome))
    return section("Latency", cards + heat) if cards or heat else ""


def _clients(outcome: Outcome) -> str:
    if len(outcome.workers) < 2:
        return ""
    tallies = {f"worker {worker.rank} on {worker.host}": worker.tally for worker in outcome.workers}
    return parties_section("By client", "client", tallies, outcome.measured_seconds)


def configuration_section(summary: Mapping[str, Any], config_text: str, plan: Mapping[str, Any]) -> str:
    """Environment, configuration and plan, folded away."""
    facts = {"command line": summary["command_line"], "penstock": summary["penstock"], **summary["environment"]}
    if summary["op_log"] is not None:
        facts["op_log"] = summary["op_log"]
    plan_text = json.dumps(plan, indent=2, ensure_ascii=False)
    return section(
        "Configuration and environment",
        f"<details><summary>Environment</summary>{facts_table(facts)}</details>"
        f"<details><summary>Configuration as given (config.yaml)</summary>{code_block(config_text)}</details>"
        f"<details><summary>Plan as resolved (plan.json)</summary>{code_block(plan_text)}</details>",
    )
