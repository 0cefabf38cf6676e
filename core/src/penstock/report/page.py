"""The frame of every HTML report: one file, without network, fonts or data from elsewhere.

Charts are drawn by uPlot, whose code is in the file. All text of a run is escaped, and a content security policy
allows no script but the two of the report.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

from penstock.report.pieces import chart_card, section

__all__ = ["chart_grid", "charts_section", "document", "embed", "grid", "needs_script", "over_time_section"]

_HOW: Final = (
    "<p class='note'>Drag over a chart to zoom in, double-click to zoom out, click a name to hide its line.</p>"
)
#: What the script needs of a chart; the rest stands in the page already.
_DRAWN: Final = ("id", "unit", "axis", "kind", "log", "end", "gaps", "x", "lines", "across")


def needs_script(charts: Sequence[object]) -> str:
    """A line for who has switched scripts off."""
    return "<noscript><p class='note'>The charts need JavaScript; the tables don't.</p></noscript>" if charts else ""


def chart_grid(charts: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """The cards of the charts with these ids, in the order of ``charts``."""
    return grid([chart_card(chart) for chart in charts if chart["id"] in names])


def grid(cards: Sequence[str]) -> str:
    """Cards side by side as far as there is room."""
    return f"<div class='charts'>{''.join(cards)}</div>" if cards else ""


def charts_section(title: str, charts: Sequence[Mapping[str, Any]], names: Sequence[str], *, how: bool = False) -> str:
    """A section of charts; empty if there is none of them. ``how`` explains what one can do with a chart."""
    cards = chart_grid(charts, names)
    return section(title, (_HOW if how else "") + cards) if cards else ""


def over_time_section(charts: Sequence[Mapping[str, Any]], names: Sequence[str], points: int) -> str:
    """The charts over time, or why there are none: a single one of ``points`` makes no line."""
    if points == 1:
        text = "Everything falls into one interval, so there is nothing to draw over time; a longer run has more."
        return section("Over time", f"<p class='note'>{text}</p>")
    return charts_section("Over time", charts, names, how=True)


def embed(value: object) -> str:
    """JSON that can't end the script element that holds it, nor be taken for markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def document(name: str, body: str, charts: Sequence[Mapping[str, Any]]) -> str:
    """The whole page. ``name`` is plain text, ``body`` is HTML."""
    scripts = [_asset("uplot.min.js"), _asset("report.js")] if charts else []
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts
    )
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {hashes or chr(39) + 'none' + chr(39)}"
    drawn = [{key: chart[key] for key in _DRAWN if key in chart} for chart in charts]
    data = f'<script type="application/json" id="charts">{embed(drawn)}</script>' if charts else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(name)} · penstock</title>\n"
        f"<style>{_asset('uplot.min.css')}\n{_asset('report.css')}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
        f"{data}\n{''.join(f'<script>{script}</script>' for script in scripts)}\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return files("penstock.report").joinpath("assets", name).read_text(encoding="utf-8")
