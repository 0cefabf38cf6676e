"""What the coordinator of a replay learns from its workers beyond the calls themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.engine.watch import Watched
from penstock.quantities import format_duration
from penstock.replay.pace import Flaps
from penstock.replay.settings import Settings
from penstock.report.live import LiveView
from penstock.stats.tally import Tally

__all__ = ["ReplayObserver"]


@attrs.define
class ReplayObserver:
    """An :class:`~penstock.engine.course.Observer`."""

    settings: Settings
    view: LiveView
    recorded: Tally = attrs.field(factory=Tally)
    started: int = 0
    rows: int = 0
    bad_rows: int = 0
    chosen: int = 0
    given_up: int = 0
    peak: int = 0
    lanes: int = 0
    left_out: Counter[str] = attrs.field(factory=Counter)
    approximated: Counter[str] = attrs.field(factory=Counter)
    outcomes: Counter[str] = attrs.field(factory=Counter)
    prepared: Counter[str] = attrs.field(factory=Counter)
    guessed: set[str] = attrs.field(factory=set)
    left: list[str] = attrs.field(factory=list)
    flaps: Flaps = attrs.field(init=False)
    _from: int | None = attrs.field(default=None, init=False)
    _to: int | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.flaps = Flaps(self.settings.backpressure.max_flaps_per_minute)

    @property
    def recorded_seconds(self) -> float:
        """From the first start to the last end of what was replayed, when it was recorded."""
        return 0.0 if self._from is None or self._to is None else (self._to - self._from) / 1e9

    def saw(self, worker: Watched, item: Mapping[str, Any]) -> str:
        # A host passes on what each of its processes said, with the rank of that.
        parts = item.get("more", ()) if worker.remote is not None else [{**item, "rank": worker.handle.rank}]
        if "done" in item:
            for part in parts:
                self._take_end(part)
            return ""
        reasons = [self._take(part) for part in parts]
        return next(filter(None, reasons), "")

    def _take(self, item: Mapping[str, Any]) -> str:
        self.recorded.merge(Tally.from_message(item["recorded"]))
        self.started += int(item["started"])
        if item["recorded_from"] is not None:
            self._from = item["recorded_from"] if self._from is None else min(self._from, item["recorded_from"])
            self._to = item["recorded_to"] if self._to is None else max(self._to, item["recorded_to"])
        reason = ""
        for at, behind in item["changes"]:
            reason = self._change(int(item["rank"]), int(at), bool(behind)) or reason
        return reason

    def finished(self, name: str, report: Mapping[str, Any]) -> None:
        if name == "prepare":
            self.prepared.update({key: int(report.get(key, 0)) for key in ("smaller", "sizeless")})

    def _change(self, rank: int, at: int, behind: bool) -> str:
        before = self.flaps.count
        too_many = self.flaps.change(rank, at, behind)
        if self.flaps.count > before:
            pressure, when = self.settings.backpressure, format_duration(at / 1e9)
            if behind:
                self.view.note(f"behind the schedule by more than {pressure.lag_threshold:g} s, {when} after the start")
            else:
                self.view.note(f"on schedule again within {pressure.recovery_threshold:g} s, {when} after the start")
        if too_many:
            return (
                f"fell behind the schedule and caught up more than {self.flaps.most} times within a minute "
                "(max_flaps_per_minute)"
            )
        return ""

    def _take_end(self, item: Mapping[str, Any]) -> None:
        # Every worker reads the whole log; one that stopped early has read less of it.
        self.rows, self.bad_rows = max(self.rows, int(item["rows"])), max(self.bad_rows, int(item["bad_rows"]))
        self.chosen = max(self.chosen, int(item["chosen"]))
        self.given_up += int(item["given_up"])
        self.peak += int(item["peak"])
        self.lanes += int(item["lanes"])
        self.guessed.update(item["guessed"])
        self.left.extend(item["left"])
        for counts, name in (
            (self.left_out, "left_out"),
            (self.approximated, "approximated"),
            (self.outcomes, "outcomes"),
        ):
            counts.update(item[name])
