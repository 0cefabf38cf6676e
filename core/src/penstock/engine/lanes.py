"""A lane: one thread that runs operations, one after the other, until the window closes.

Which operation comes next is drawn in batches from the lane's own random stream, seeded by its number in the whole
run, so the plan is the same however the lanes are spread over processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import attrs
import numpy as np

from penstock.clocks import monotonic_ns
from penstock.engine.arrivals import Arrivals
from penstock.engine.control import ENDLESS, Control
from penstock.engine.threads import starved_ns
from penstock.errors import StoreError
from penstock.metering import Metered
from penstock.records import WARMUP, Recorder

__all__ = ["Exhausted", "Idle", "Lane", "Step"]

_BATCH = 4096
#: Steps that found nothing to do, one after the other, before they are given up.
_MOST_IDLE = 1000


class Exhausted(Exception):  # noqa: N818 - it is an end, as StopIteration is
    """A step has nothing left to work on."""


class Idle(Exception):  # noqa: N818 - no error either
    """A step has nothing to work on now; another one may make something."""


class Step(Protocol):
    """One operation of the workload, as this lane carries it out."""

    def run(self) -> None:
        """Carry it out once.

        Raises StoreError when it failed, Exhausted when it never can again, Idle when it can't now.
        """


@attrs.define
class Lane:
    """See the module. ``weights`` belong to ``steps``; ``arrivals`` is None for as fast as possible. ``missed`` are
    operations that it was too late to begin in the measured window, in which it waited ``starved`` nanoseconds for a
    processor; None: not known.
    """

    number: int
    steps: Sequence[Step]
    weights: Sequence[float]
    seed: int
    control: Control
    recorder: Recorder
    meters: Sequence[Metered]
    arrivals: Arrivals | None = None
    operations: int = 0
    missed: int = 0
    starved: int | None = None
    _idle: int = 0
    _due: int | None = None
    _not_before: int = 0

    def run(self) -> None:
        """Work until the window closes, the budget is used up, or nothing is left to do; then cool down."""
        control = self.control
        try:
            control.wait_until(control.begin)
            if monotonic_ns() < control.warm:
                self._set_flags(WARMUP)
                self._work(control.warm, counted=False)
            self._set_flags(0)
            before = starved_ns()
            self._work(control.deadline, counted=True)
            after = starved_ns()
            self.starved = None if before is None or after is None else after - before
            if control.cooling is not None:
                self._cool_down(control, control.cooling)
        except BaseException as error:  # noqa: BLE001 - whatever it is must reach the coordinator
            control.broke(error)
        finally:
            self.recorder.flush()

    def _cool_down(self, control: Control, cooling: Control) -> None:
        """Go on for a while, so that others whose last calls count still have company."""
        control.leave()
        self._set_flags(WARMUP)
        self.control = cooling
        # It may have ended before the deadline, by its budget or because it was stable.
        end = min(monotonic_ns(), control.deadline)
        if end == control.deadline:
            # What was due in the window and is begun only now was missed there.
            self._not_before = end
        self._work(end + control.cooldown, counted=False)

    def _work(self, until: int, *, counted: bool) -> None:
        control = self.control
        order = self._order()
        while not control.stopping:
            if self.arrivals is not None and not self._await_turn(until):
                return
            if monotonic_ns() >= until:
                self.missed += counted and self.arrivals is not None
                return
            if counted and not control.take():
                return
            try:
                while (number := next(order, None)) is not None and not self._run_step(number):
                    if not self.weights[number]:
                        order = self._order()
            except StoreError:
                control.failed()
            if number is None:
                if counted:
                    control.give_back()
                return
            self.operations += 1

    def _run_step(self, number: int) -> bool:
        """Run one step; False when there was nothing for it to do."""
        try:
            self.steps[number].run()
        except Exhausted:
            self._retire(number)
            return False
        except Idle:
            self._idle += 1
            if self._idle > _MOST_IDLE:
                self._retire(number)
            return False
        self._idle = 0
        return True

    def _order(self) -> Iterator[int]:
        """Step numbers without end, by weight; none when every step is exhausted."""
        total = sum(self.weights)
        if not total:
            return
        live = [number for number, weight in enumerate(self.weights) if weight]
        if len(live) == 1:
            while True:
                yield live[0]
        random = np.random.Generator(np.random.SFC64([self.seed & (1 << 64) - 1, self.number, self.operations]))
        bounds = np.cumsum(np.asarray(self.weights, dtype=np.float64))[:-1] / total
        while True:
            yield from np.searchsorted(bounds, random.random(_BATCH), side="right").tolist()

    def _retire(self, number: int) -> None:
        self.weights = [0 if index == number else weight for index, weight in enumerate(self.weights)]

    def _await_turn(self, until: int) -> bool:
        assert self.arrivals is not None
        due = self.arrivals.take() if self._due is None else self._due
        while due is not None and due < self._not_before:
            self.missed += 1
            due = self.arrivals.take()
        if due is None or due >= until:
            # The window ends when it was to end, also where nothing is due any more; what is due later waits.
            self._due = due
            if until != ENDLESS:
                self.control.wait_until(until)
            return False
        self._due = None
        self.control.wait_until(due)
        for meter in self.meters:
            meter.due = due
        return not self.control.stopping

    def _set_flags(self, flags: int) -> None:
        for meter in self.meters:
            meter.flags = flags
