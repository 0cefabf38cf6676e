"""Small pieces of the HTML report: tables, numbers, cards. Everything that comes from a run goes through ``escape``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from penstock.report.findings import Finding
from penstock.stats.histogram import Histogram

__all__ = [
    "badge",
    "bar",
    "bar_of",
    "card",
    "chart_card",
    "code_block",
    "error_count",
    "facts_table",
    "finding_line",
    "microseconds",
    "microseconds_of",
    "number",
    "section",
    "table",
    "tile",
]

_LONGEST_TEXT: Final = 64 * 1024


def section(title: str, content: str) -> str:
    """A titled part of the page."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>\n"


def tile(label: str, value: str, unit: str = "", hint: str = "") -> str:
    """A headline figure."""
    small = f"<small>{escape(unit)}</small>" if unit else ""
    below = f"<p class='hint'>{escape(hint)}</p>" if hint else ""
    return f"<div class='tile'><h3>{escape(label)}</h3><p class='figure'>{escape(value)} {small}</p>{below}</div>"


def badge(text: str, kind: str) -> str:
    """A coloured word; ``kind`` is good, warn or bad."""
    return f"<span class='badge {kind}'>{escape(text)}</span>"


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], *, words: int = 1) -> str:
    """``columns`` are title and unit; cells are HTML already, and the first ``words`` columns hold text."""
    head = "".join(
        f"<th{_align(place, words)}>{escape(title)}{f' <small>{escape(unit)}</small>' if unit else ''}</th>"
        for place, (title, unit) in enumerate(columns)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{_align(place, words)}>{cell}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _align(place: int, words: int) -> str:
    return " class='word'" if place < words else ""


def bar(share: float) -> str:
    """A bar of ``share``, from 0 to 1, with the percentage."""
    return f"{bar_of(share)} {100 * share:.1f}&nbsp;%"


def bar_of(share: float) -> str:
    """A bar of ``share``, from 0 to 1, without a number."""
    return f"<span class='bar'><i style='width:{100 * share:.1f}%'></i></span>"


def error_count(count: int) -> str:
    """A number of errors, which stands out unless it is 0."""
    return f"<b class='bad'>{number(count)}</b>" if count else "0"


def number(value: float | None) -> str:
    """Four digits that matter, or all before the point, with thin spaces between thousands; a dash for None."""
    if value is None:
        return "\N{EN DASH}"
    size = abs(value)
    digits = 0 if size >= 1000 or size == 0 or isinstance(value, int) else 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:,.{digits}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def microseconds(latency: Mapping[str, float] | None, name: str) -> str:
    """A latency of the summary, or a dash."""
    return number(latency[name] if latency else None)


_MARKS: Final = {"good": ("\N{CHECK MARK}", "good: "), "warn": ("!", "look at this: "), "plain": ("\N{BULLET}", "")}


def microseconds_of(histogram: Histogram, percent: float) -> str:
    """A percentile of a histogram, or a dash."""
    return number(histogram.percentile(percent) / 1000 if histogram.count else None)


def finding_line(finding: Finding | None) -> str:
    """What a picture shows, with a sign that needs no colour; nothing for None."""
    if finding is None:
        return ""
    sign, spoken = _MARKS[finding.mark]
    hidden = f"<span class='unseen'>{spoken}</span>" if spoken else ""
    sentence = finding.text
    if sentence.partition(" ")[0].isalpha():  # else it is a name, such as that of an endpoint
        sentence = sentence[:1].upper() + sentence[1:]
    return f"<p class='finding {finding.mark}'><i aria-hidden='true'>{sign}</i>{hidden}{escape(sentence)}</p>"


def card(title: str, unit: str, picture: str, meaning: str, finding: Finding | None) -> str:
    """A picture with its title and unit; below it what it shows, and what would be good."""
    small = f" <small>{escape(unit)}</small>" if unit else ""
    caption = f"<p>{escape(meaning)}</p>" if meaning else ""
    return (
        f"<figure><h3>{escape(title)}{small}</h3>{picture}"
        f"<figcaption>{finding_line(finding)}{caption}</figcaption></figure>"
    )


def chart_card(chart: Mapping[str, Any]) -> str:
    """The place of a chart, its title and what it means."""
    joined = chart["joined"]
    detail = f" Each point is of {joined} intervals; the band spans their lowest and highest." if joined > 1 else ""
    place = f"<div class='chart' data-chart='{escape(chart['id'])}'></div>"
    return card(chart["title"], chart["unit"], place, chart.get("meaning", "") + detail, chart["finding"])


def code_block(text: str) -> str:
    """Preformatted text; its end is left out when it is very long."""
    if len(text) > _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]}\n… ({len(text) - _LONGEST_TEXT} more characters in the result directory)"
    return f"<pre>{escape(text)}</pre>"


def facts_table(facts: Mapping[str, Any]) -> str:
    """Names and values; a mapping among the values becomes rows of its own."""
    rows = []
    for name, value in facts.items():
        inner = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, fact in inner:
            label = f"{name} {key}".replace("_", " ").strip()
            shown = ", ".join(map(str, fact)) if isinstance(fact, list | tuple) else str(fact)
            rows.append(f"<tr><th>{escape(label)}</th><td>{escape(shown)}</td></tr>")
    return f"<div class='scroll'><table class='facts'>{''.join(rows)}</table></div>"
