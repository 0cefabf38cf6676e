"""``report.html``: one file that shows a result, without network, fonts or data from elsewhere.

The tables are plain HTML; the charts are drawn by uPlot, whose code is in the file. All text of the run is escaped,
and a content security policy allows no script but the two of the report.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from penstock.report.charts import build_charts
from penstock.report.outcome import Outcome
from penstock.report.pieces import chart_card, code_block, facts_table, section
from penstock.report.sections import (
    buckets_section,
    errors_section,
    headline,
    operations_section,
    phases_section,
    workers_section,
)

__all__ = ["render_html"]

_NEEDS_SCRIPT: Final = "<noscript><p class='note'>The charts need JavaScript; the tables don't.</p></noscript>"
_HOW: Final = (
    "<p class='note'>Drag over a chart to zoom in, double-click to zoom out, click a name to hide its line.</p>"
)
_TIME_CHARTS: Final = ("rate", "throughput", "p50", "p99")
_CLIENT_CHARTS: Final = ("client", "host")


def render_html(outcome: Outcome, summary: Mapping[str, Any], *, config_text: str, plan: Mapping[str, Any]) -> str:
    """The document. ``summary`` is what :func:`penstock.report.summary.summarise` made of the outcome."""
    charts = build_charts(outcome)
    body = "".join(
        (
            headline(outcome, summary),
            operations_section(summary),
            _NEEDS_SCRIPT if charts else "",
            _charts("Over time", charts, _TIME_CHARTS),
            _charts("Distribution", charts, ("distribution",)),
            buckets_section(summary),
            errors_section(outcome, _charts("", charts, ("errors",))),
            workers_section(summary),
            phases_section(outcome),
            _charts("The client", charts, _CLIENT_CHARTS),
            _configuration(summary, config_text, plan),
        )
    )
    return _document(outcome.name, body, charts)


def _charts(title: str, charts: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    cards = [chart_card(chart) for chart in charts if chart["id"] in names]
    if not cards:
        return ""
    grid = f"<div class='charts'>{''.join(cards)}</div>"
    return section(title, (_HOW if names is _TIME_CHARTS else "") + grid) if title else grid


def _configuration(summary: Mapping[str, Any], config_text: str, plan: Mapping[str, Any]) -> str:
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


def _asset(name: str) -> str:
    return files("penstock.report").joinpath("assets", name).read_text(encoding="utf-8")


def _embed(value: object) -> str:
    """JSON that can't end the script element that holds it, nor be taken for markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _document(name: str, body: str, charts: Sequence[Mapping[str, Any]]) -> str:
    scripts = [_asset("uplot.min.js"), _asset("report.js")] if charts else []
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes or chr(39) + 'none' + chr(39)}"
    data = f'<script type="application/json" id="charts">{_embed(charts)}</script>' if charts else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(name)} · penstock</title>\n"
        f"<style>{_asset('uplot.min.css')}\n{_asset('report.css')}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{data}\n{''.join(f'<script>{script}</script>' for script in scripts)}\n</body>\n</html>\n"
    )
