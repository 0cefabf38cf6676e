"""What a replay would do: counted from the log, with nothing opened and nothing sent."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import attrs

from penstock.records import Op
from penstock.replay.planning import APPROXIMATIONS, LEFT_OUT, Concurrency, Planner
from penstock.replay.roots import Roots
from penstock.replay.run import Prepared

__all__ = ["DryRun", "Sample", "dry_run"]

_SAMPLES: Final = 20


@attrs.frozen
class Sample:
    """A recorded name and where it goes."""

    operation: str
    recorded: str
    replayed: str


@attrs.define
class DryRun:
    """What would be replayed. ``bytes_read`` and ``bytes_written`` are what the log says of it.

    ``seconds`` is how long the schedule is, None without one. ``recorded_peak`` is the most calls that were under way
    at once when they were recorded, ``expected_peak`` the most that would be at this speed if each took as long.
    """

    operations: Counter[str] = attrs.field(factory=Counter)
    bytes_read: int = 0
    bytes_written: int = 0
    failed: int = 0
    threads: int = 0
    seconds: float | None = None
    recorded_seconds: float = 0.0
    recorded_peak: int = 0
    expected_peak: int = 0
    samples: list[Sample] = attrs.field(factory=list)
    rules: list[int] = attrs.field(factory=list)
    by_target: int = 0
    as_recorded: int = 0
    left_out: Counter[str] = attrs.field(factory=Counter)
    approximated: Counter[str] = attrs.field(factory=Counter)
    guessed: list[str] = attrs.field(factory=list)

    @property
    def count(self) -> int:
        """Operations that would be sent."""
        return sum(self.operations.values())

    def remarks(self) -> list[str]:
        """What would not be replayed as it was recorded."""
        texts = [f"not replayed: {count:,} {LEFT_OUT[word]}" for word, count in sorted(self.left_out.items())]
        texts += [
            f"replayed otherwise: {count:,} {APPROXIMATIONS[word]}" for word, count in sorted(self.approximated.items())
        ]
        return texts

    def to_json(self) -> dict[str, Any]:
        """What JSON can hold."""
        facts = attrs.asdict(self)
        return {"count": self.count} | facts | {"operations": dict(sorted(self.operations.items()))}


def dry_run(prepared: Prepared) -> DryRun:
    """Plan the whole log. Raises OpLogError for what can't be read, UsageError for a name that has no place."""
    settings, found = prepared.settings, DryRun()
    roots = Roots(settings.options, 1)
    planner = Planner(settings=settings, roots=roots, first_ns=prepared.extent.first_ns)
    threads: set[str] = set()
    shown: Counter[tuple[int, int]] = Counter()
    recorded, expected = Concurrency(), Concurrency()
    first = last = None
    for task in planner.tasks():
        entry = task.entry
        found.operations[Op(task.op).name] += 1
        if task.op in (Op.GET, Op.GET_RANGE):
            found.bytes_read += entry.nbytes
        elif task.op == Op.PUT:
            found.bytes_written += entry.nbytes
        found.failed += entry.failed
        threads.add(entry.thread)
        first = entry.start if first is None else first
        last = entry.start
        recorded.add(entry.start, entry.duration)
        expected.add(task.due, entry.duration)
        shown[task.op, task.store] += 1
        if shown[task.op, task.store] <= 2 and len(found.samples) < _SAMPLES:
            name = f"{entry.endpoint if '://' not in entry.file else ''}{entry.file}"
            found.samples.append(Sample(Op(task.op).name, name, roots.uri(task.store, task.key)))
    found.threads = len(threads)
    if first is not None and last is not None:
        found.recorded_seconds = (last - first) / 1e9
        found.seconds = None if settings.speed is None else found.recorded_seconds / settings.speed
    found.recorded_peak = recorded.peak
    found.expected_peak = expected.peak if settings.speed is not None else found.threads
    found.rules, found.by_target = list(planner.mapper.decided), planner.mapper.by_target
    found.as_recorded = planner.mapper.as_recorded
    found.left_out, found.approximated = planner.left_out, planner.approximated
    found.guessed = sorted(planner.names.guessed)
    return found
