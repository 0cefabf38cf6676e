"""Carries out trials: whole runs, whose result directories lie below one of the search's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from penstock.clocks import wall_ns
from penstock.engine.run import RunResult, execute
from penstock.errors import UsageError
from penstock.report import results_directory
from penstock.report.live import LiveView, open_view
from penstock.stats.tally import Tally
from penstock.tuning.goals import Goal
from penstock.tuning.search import highest_rate
from penstock.tuning.trials import Judged, judge, make_trial
from penstock.workload.config import Config, Loaded, Rate, dump, restore

__all__ = ["Found", "Interrupted", "Runner", "find_rate", "write_found"]

SCHEMA = "penstock.find/1"
#: Operations of a trial, below which its percentiles are those of single calls.
_FEWEST = 20
_CURVE = "offered_ops_per_sec ops_per_sec mib_per_sec p50_us p99_us p99_9_us errors client_cpu_us_per_operation passed"


class Interrupted(Exception):  # noqa: N818 - the user's wish, no error
    """A trial was interrupted, and so the search is."""


@attrs.define(kw_only=True)
class Runner:
    """Runs one configuration after another. ``say`` gets a line before each trial and what became of it."""

    loaded: Loaded
    directory: Path
    command_line: str
    say: Callable[[str], None]
    made: int = 0

    @classmethod
    def beside(cls, loaded: Loaded, *, suffix: str, command_line: str, say: Callable[[str], None]) -> Runner:
        """A runner with a new directory where the configuration puts its results."""
        directory = results_directory(loaded.config.results_dir, f"{loaded.name}-{suffix}", wall_ns())
        return cls(loaded=loaded, directory=directory, command_line=command_line, say=say)

    def run(self, config: Config) -> RunResult:
        """Carry one out, as a trial of the next number. Raises Interrupted, and what ``execute`` does."""
        self.made += 1
        config = attrs.evolve(config, results_dir=str(self.directory / "trials"))
        # Checked again, for what was changed may not go with the rest.
        config = restore(dump(config), label="trial")
        (self.directory / "trials").mkdir(exist_ok=True)
        loaded = attrs.evolve(self.loaded, config=config, name=f"trial-{self.made:02d}")
        with contextlib.ExitStack() as views:

            def view(directory: Path) -> LiveView:
                return views.enter_context(contextlib.closing(open_view(directory / "console.log", quiet=True)))

            # Every host was looked at before the first trial.
            result = execute(loaded, command_line=self.command_line, preflight=self.made == 1, view=view)
        if result.outcome.status == "interrupted":
            raise Interrupted
        return result


@attrs.frozen
class Found:
    """What a search for the highest rate found.

    ``rate`` is in operations per second, None when not even the lowest one tried met the goals. ``trials`` are in
    the order they were made; ``closed`` is the one without planned arrivals, whose rate the search began with.
    """

    rate: float | None
    goals: Sequence[Goal]
    closed: Judged | None
    trials: Sequence[Judged]

    @property
    def limit(self) -> str:
        """What stood against the next higher rate that was tried; empty when none failed."""
        above = [
            judged
            for judged in self.trials
            if not judged.passed and (self.rate is None or (judged.trial.offered or 0.0) >= self.rate)
        ]
        nearest = min(above, key=lambda judged: judged.trial.offered or 0.0, default=None)
        return "; ".join(nearest.why) if nearest else ""

    def curve(self) -> list[Judged]:
        """The trials by rate: latency over load."""
        return sorted(self.trials, key=lambda judged: judged.trial.offered or 0.0)


def find_rate(
    runner: Runner,
    goals: Sequence[Goal],
    *,
    seconds: float,
    warmup: float,
    arrivals: str,
    guess: float | None = None,
    tolerance: float = 0.02,
    most: int = 16,
) -> Found:
    """Search the highest rate that meets all goals and is kept.

    Each trial measures for ``seconds`` after ``warmup``. Without a ``guess`` the first trial drives the workload as
    fast as possible, and the search begins at what that reached. Then lower rates are tried until the curve of
    latency over load has points below the rate that was found. No rate is tried at which a trial would have fewer than
    20 operations. Raises Interrupted, UsageError where a goal is about
    operations that the workload does not do, and as ``execute`` does.
    """
    base = attrs.evolve(
        runner.loaded.config, duration=seconds, total_operations=None, warmup=warmup, op_log=False, rate=None
    )
    closed: Judged | None = None
    if guess is None:
        runner.say("as fast as possible")
        result = runner.run(base)
        trial = make_trial(result.outcome, result.directory, settings={})
        closed = judge(result.outcome, trial, [])
        runner.say(_line(closed))
        for goal in goals:
            if trial.achieved and goal.value(result.outcome.totals) is None:
                raise UsageError(f"{goal.text}: the workload did no {goal.of}; it did {_done(result.outcome.totals)}")
        if not trial.achieved:
            return Found(None, goals, closed, [])
        guess = trial.achieved
    trials: list[Judged] = []

    def passes(rate: float, purpose: str) -> bool:
        runner.say(f"{rate:,.1f} operations per second ({purpose})")
        result = runner.run(attrs.evolve(base, rate=Rate(ops_per_second=rate, arrivals=arrivals)))
        trial = make_trial(result.outcome, result.directory, settings={}, offered=rate)
        trials.append(judge(result.outcome, trial, goals))
        runner.say(_line(trials[-1]))
        return trials[-1].passed

    rate, _ = highest_rate(passes, guess, tolerance=tolerance, most=most, lowest=_FEWEST / seconds)
    if rate is not None:
        for share in (0.25, 0.5, 0.75):
            near = any(abs((judged.trial.offered or 0.0) / rate - share) < 0.12 for judged in trials)
            if not near:
                passes(rate * share, "curve")
    return Found(rate, goals, closed, trials)


def write_found(found: Found, directory: Path) -> dict[str, Any]:
    """Write ``find.json`` and ``curve.tsv``, and return what the first holds."""
    content = {
        "schema": SCHEMA,
        "goals": [goal.text for goal in found.goals],
        "ops_per_sec": found.rate,
        "limit": found.limit,
        "closed_loop": None if found.closed is None else found.closed.trial.to_json(),
        "trials": [
            {**judged.trial.to_json(), "passed": judged.passed, "why": list(judged.why)} for judged in found.trials
        ],
    }
    (directory / "find.json").write_text(json.dumps(content, indent=2) + "\n")
    lines = ["\t".join(_CURVE.split())]
    for judged in found.curve():
        fields: dict[str, Any] = {**judged.trial.to_json(), "passed": "yes" if judged.passed else "no"}
        lines.append("\t".join(_cell(fields[name]) for name in _CURVE.split()))
    (directory / "curve.tsv").write_text("\n".join(lines) + "\n")
    return content


def _done(totals: Tally) -> str:
    return ", ".join(totals.operations()).lower()


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _line(judged: Judged) -> str:
    trial = judged.trial
    p99 = "" if trial.p99 is None else f", p99 {trial.p99 / 1e6:,.3g} ms"
    return f"  {trial.achieved:,.1f} done per second{p99}: {'passed' if judged.passed else '; '.join(judged.why)}"
