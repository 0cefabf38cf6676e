"""The workers of a run on several hosts as the live view shows them: few one by one, of many those that stand out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from penstock.quantities import format_count, format_duration, format_rate
from penstock.report.crew import WorkerState
from penstock.report.text import printable, round_rate
from penstock.report.words import many

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["roster_line", "roster_table"]

#: Workers that a line of text names one by one.
_FEW: Final = 8
_MOST_NAMED: Final = 4
_COLUMNS: Final = ("worker", "host", "state", "ops/s", "throughput", "p50", "p99", "so far", "errors")
_STYLES: Final = {"lost": "red", "silent": "yellow"}
_STATES: Final = ("running", "preparing", "waiting", "done", "silent", "lost")


def roster_line(states: Sequence[WorkerState]) -> str:
    """All workers in one line: of each, if they are few, its rate or what it is at; else how they compare."""
    if len(states) <= _FEW:
        return f"workers  {' | '.join(map(_brief, states))}"
    return "; ".join((_counted(states), *_extremes(states), *_troubled(states)))


def roster_table(states: Sequence[WorkerState], most: int) -> RenderableType:
    """A row for each worker if there are at most ``most``; else how many there are, the slowest and the fastest, and
    those that are silent or lost.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, caption=_caption(states), caption_justify="left")
    for place, column in enumerate(_COLUMNS):
        table.add_column(column, justify="right" if place > 2 else "left", no_wrap=True)
    for state in states if len(states) <= most else _standing_out(states, most):
        table.add_row(*map(printable, _row(state)), style=_STYLES.get(state.state))
    return table


def _caption(states: Sequence[WorkerState]) -> str:
    return "; ".join((_counted(states), *_extremes(states)))


def _standing_out(states: Sequence[WorkerState], most: int) -> list[WorkerState]:
    """The lost and the silent first, then as many of the slowest as of the fastest."""
    troubled = [state for state in states if state.state in _STYLES][: max(most - 2, 1)]
    working = sorted((state for state in states if state.state == "running"), key=lambda state: state.rate)
    room = most - len(troubled)
    if len(working) > room:
        slow = max(room - room // 2, 1)
        working = [*working[:slow], *working[len(working) - room // 2 :]]
    return [*troubled, *working]


def _counted(states: Sequence[WorkerState]) -> str:
    found = Counter(state.state for state in states)
    return f"{many(len(states), 'worker')}: {', '.join(f'{found[name]} {name}' for name in _STATES if found[name])}"


def _extremes(states: Sequence[WorkerState]) -> list[str]:
    working = [state for state in states if state.state == "running"]
    if len(working) < 2:
        return []
    slow, fast = min(working, key=lambda state: state.rate), max(working, key=lambda state: state.rate)
    return [f"slowest {_brief(slow)}", f"fastest {_brief(fast)}"]


def _troubled(states: Sequence[WorkerState]) -> list[str]:
    parts = []
    for name in _STYLES:
        those = [state for state in states if state.state == name]
        if those:
            more = f" and {len(those) - _MOST_NAMED} more" if len(those) > _MOST_NAMED else ""
            parts.append(f"{name}: {', '.join(f'{each.rank} {each.host}' for each in those[:_MOST_NAMED])}{more}")
    return parts


def _brief(state: WorkerState) -> str:
    return f"{state.rank} {state.host} {_at(state)}"


def _at(state: WorkerState) -> str:
    if state.state == "running":
        return f"{format_count(round_rate(state.rate))} ops/s"
    return f"silent for {format_duration(state.silent_s)}" if state.state == "silent" else state.state


def _row(state: WorkerState) -> Sequence[str]:
    what = _at(state) if state.state != "running" else "running"
    if state.lost:
        what = f"lost: {state.lost[:40]}"
    working = state.state == "running"
    return (
        str(state.rank),
        state.host,
        what,
        format_count(round_rate(state.rate)) if working else "-",
        format_rate(state.speed) if working and state.speed else "-",
        *("-" if value is None else format_duration(value / 1e9) for value in (state.p50_ns, state.p99_ns)),
        format_count(state.count),
        format_count(state.errors),
    )
