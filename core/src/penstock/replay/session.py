"""What a worker process does with its part of a replay: open, prepare, plan ahead, replay, clean up."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final

import attrs
import numpy as np

from penstock.clocks import Anchor, monotonic_ns, sleep
from penstock.engine.collector import Collector
from penstock.engine.contents import Contents, Recipe
from penstock.engine.control import Control
from penstock.engine.threads import bind
from penstock.errors import PenstockError, RunError
from penstock.launchers import Body
from penstock.oplog import OpLogWriter
from penstock.payload import Payload
from penstock.records import Recorder, record_dtype
from penstock.replay.calls import Calls, Rooms, StandIns
from penstock.replay.lanes import Crew
from penstock.replay.objects import Objects
from penstock.replay.offsets import Offsets
from penstock.replay.pace import Pace
from penstock.replay.part import ReplayPart
from penstock.replay.planning import CONTAINERS, Concurrency, Planner, Task
from penstock.replay.roots import Roots
from penstock.replay.settings import Settings
from penstock.replay.supply import AHEAD, Shared, Streams, Supply
from penstock.stats.tally import Tally

__all__ = ["ReplaySession"]

#: Seconds between two looks at whether there is room for more tasks, and tasks between two such looks.
_REST: Final = 0.002
_BETWEEN: Final = 32
_FIRST_LANES: Final = 4
_PREPARE_LANES: Final = 32


class ReplaySession:
    """One replay in one worker process. The coordinator asks for one phase after the other."""

    part: ReplayPart
    settings: Settings

    def __init__(self) -> None:
        self._stopping = False
        self._control: Control | None = None
        self._collector: Collector | None = None
        self._crew: Crew | None = None
        self._roots: Roots | None = None
        self._objects: Objects | None = None
        self._planner: Planner | None = None
        self._tasks: Iterator[Task] = iter(())
        self._ready: list[Task] = []
        self._log: OpLogWriter | None = None
        self._needed = Concurrency()
        self._left_at: int | None = None

    def open(self, body: Body) -> Body:
        """Take the part, and open the target, so that what is wrong with it is known at once."""
        self.part = ReplayPart.from_message(body)
        settings = Settings.from_message(self.part.settings)
        self.settings = attrs.evolve(settings, log=self.part.inputs.get("log", settings.log))
        if self.part.cpu is not None:
            bind(self.part.cpu)
        self._roots = Roots(self.settings.options, self.part.lanes)
        self._planner = self._plan()
        if self.settings.target is not None:
            self._roots.store(self._roots.place(self.settings.target).store)
        if self.part.op_log is not None:
            self._log = OpLogWriter(
                self.part.op_log,
                endpoints=self._roots.endpoints,
                anchor=Anchor.now(),
                client_id=self.part.client_id,
                due=self.settings.op_log_due,
            )
        return {"lanes": self.part.lanes}

    def prepare(self, body: Body) -> Iterator[Body]:
        """Find, and make, what must exist before; yields progress."""
        self._objects = Objects(
            settings=self.settings,
            planner=Planner(settings=self.settings, roots=self._opened(), first_ns=self.part.first_ns),
            roots=self._opened(),
            payload=self._payload(),
            run_id=self.part.run_id,
            rank=self.part.rank,
            workers=self.part.workers,
            threads=min(self.part.lanes, _PREPARE_LANES),
            stopping=lambda: self._stopping,
        )
        for progress in self._objects.prepare():
            yield progress.to_message()
        found = {"smaller": self._objects.smaller, "sizeless": self._objects.sizeless}
        yield self._objects.progress.to_message() | found

    def resolve(self, body: Body) -> Body:
        """Plan the first operations, and open the stores that they need."""
        assert self._planner is not None
        self._tasks = self._planner.tasks()
        self._ready = list(islice(self._tasks, AHEAD))
        for task in self._ready:
            self._needed.add(task.due, task.entry.duration)
        for store, op in {(task.store, task.op) for task in self._ready}:
            self._warm(store, op)
        return {}

    def _warm(self, store: int, op: int) -> None:
        """Open a store before its operations are due, for that takes long. One that can't be is found so by them."""
        with contextlib.suppress(PenstockError):
            if op in CONTAINERS:
                service = self._opened().service(store)
                if service is not None:
                    service.endpoint()
                    service.close()
            else:
                self._opened().store(store)

    def run(self, body: Body) -> Iterator[Body]:
        """Replay from ``start_ns`` (wall clock) on; yields snapshots, then ``done``."""
        offset = Anchor.now().offset_ns
        begin = int(body["start_ns"]) - offset
        timed = self.settings.speed is not None
        self._control = control = Control(
            begin=begin, warm=begin, deadline=None, budget=None, max_errors=self.settings.max_errors
        )
        # The planner counts as a lane, so that there is one at work before the first is needed and after the last.
        self._collector = collector = Collector(
            self.part.first_lane,
            1,
            self._log,
            most_lanes=min(self.part.lanes, 256),
            endpoints=self._opened().endpoints,
            more=self._more,
        )
        stand_ins = StandIns(self._opened(), self._payload(), f"{self.part.run_id}-{self.part.rank}")
        self._crew = crew = Crew(
            most=self.part.lanes,
            control=control,
            collector=collector,
            pace=Pace(self.settings.backpressure),
            calls=self._calls(stand_ins),
            begin=begin if timed else None,
        )
        if self._stopping:
            control.stop("interrupted")
        supply = self._supply(crew, timed=timed)
        threading.Thread(target=self._feed, args=(crew, supply, begin), daemon=True).start()
        interval = round(self.settings.live_interval * 1e9)
        try:
            for snapshot in collector.collect(begin, interval):
                yield snapshot | {
                    "start_s": (snapshot["start"] - begin) / 1e9,
                    "end_s": (snapshot["end"] - begin) / 1e9,
                }
        except BaseException as error:
            control.broke(error)
            collector.give_up()
            raise
        began = collector.began(begin)
        yield {**self._done(control, crew, stand_ins), "began_ns": None if began is None else began + offset}

    def finish(self, body: Body) -> Body:
        """Close the log; ``log`` counts its rows, None where there is none."""
        if self._log is None:
            return {"log": None}
        self._log.close()
        return {"log": {"accepted": self._log.accepted, "written": self._log.written}}

    def drain(self, body: Body) -> Body:
        """End the phase that is under way as soon as the calls in flight have ended, or had time to."""
        self._stopping = True
        if self._control is not None:
            self._control.stop(str(body["reason"]))
            self._leave()
        return {}

    def cleanup(self, body: Body) -> Iterator[Body]:
        """Delete the objects that this worker made, or with ``directories`` the directories; yields progress."""
        if self._objects is not None and self.settings.cleanup:
            for progress in self._objects.cleanup(directories=bool(body["directories"])):
                yield progress.to_message()

    def _supply(self, crew: Crew, *, timed: bool) -> Supply:
        if not timed:
            return Streams(crew)
        shared = Shared()
        crew.grow(shared.source, max(_FIRST_LANES, self._needed.peak + _FIRST_LANES))
        threading.Thread(target=crew.keep_spare, args=(shared.source,), daemon=True).start()
        return shared

    def _feed(self, crew: Crew, supply: Supply, begin: int) -> None:
        """Give the lanes their tasks, a bounded number ahead."""
        control, collector = crew.control, self._collector
        assert collector is not None
        try:
            if self.settings.speed is None:
                control.wait_until(begin)
            self._give(crew, supply, control)
        except BaseException as error:  # noqa: BLE001 - whatever it is must reach the coordinator
            control.broke(error)
        finally:
            supply.end()
            collector.ended()

    def _give(self, crew: Crew, supply: Supply, control: Control) -> None:
        ready, self._ready = self._ready, []
        known = self._needed.peak
        for number, task in enumerate(chain(ready, self._tasks)):
            if not number % _BETWEEN:
                while supply.queued() >= AHEAD and not control.stopping:
                    sleep(_REST)
            if control.stopping:
                return
            if number >= len(ready):
                self._needed.add(task.due, task.entry.duration)
                if self._needed.peak > known and isinstance(supply, Shared):
                    known = self._needed.peak
                    crew.grow(supply.source, known + _FIRST_LANES)
            supply.put(task)

    def _more(self) -> dict[str, Any]:
        """What each snapshot says beyond the calls themselves."""
        crew = self._crew
        assert crew is not None
        if crew.control.stopping:
            self._leave()
        played = [crew.played.popleft() for _ in range(len(crew.played))]
        recorded = Tally()
        if played:
            recorded.add(_recorded_rows(played))
        return {
            "recorded": recorded.to_message(),
            "recorded_from": min((task.entry.start for task in played), default=None),
            "recorded_to": max((task.entry.start + task.entry.duration for task in played), default=None),
            "started": len(played),
            "changes": [[at - crew.control.begin, behind] for at, behind in crew.pace.take_changes()],
        }

    def _done(self, control: Control, crew: Crew, stand_ins: StandIns) -> Body:
        planner = self._planner
        assert planner is not None
        left = stand_ins.remove()
        if control.fatal is not None:
            raise RunError(control.reason.partition(": ")[2] or control.reason) from control.fatal
        return {
            "done": True,
            "reason": control.reason,
            "rows": planner.rows,
            "bad_rows": planner.bad_rows,
            "chosen": planner.chosen,
            "left_out": dict(planner.left_out),
            "approximated": dict(planner.approximated),
            "outcomes": dict(crew.outcomes()),
            "guessed": sorted(planner.names.guessed),
            "given_up": crew.working(),
            "lanes": len(crew.lanes),
            "peak": crew.peak,
            "left": left,
        }

    def _leave(self) -> None:
        """Collect no longer than calls in flight may take to end."""
        if self._left_at is None and self._collector is not None:
            self._left_at = monotonic_ns() + round(self.settings.backpressure.drain_timeout * 1e9)
            self._collector.leave(self._left_at)

    def _calls(self, stand_ins: StandIns) -> Any:
        rooms, payload, settings = Rooms(), self._payload(), self.settings
        offsets = Offsets(spread=settings.range_offsets == "spread", salt=settings.seed)

        def make(recorder: Recorder) -> Calls:
            return Calls(
                self._opened(),
                recorder,
                payload,
                rooms,
                stand_ins,
                self.part.run_id,
                settings.multipart_above,
                settings.part_size,
                offsets,
            )

        return make

    def _plan(self) -> Planner:
        return Planner(
            settings=self.settings,
            roots=self._opened(),
            first_ns=self.part.first_ns,
            rank=self.part.rank,
            workers=self.part.workers,
        )

    def _payload(self) -> Payload:
        settings = self.settings
        recipe = Recipe(settings.fill, settings.dedup_factor, settings.compress_factor)
        return Contents(settings.seed).open(recipe)

    def _opened(self) -> Roots:
        if self._roots is None:
            raise RunError("the worker has no plan yet")
        return self._roots


def _recorded_rows(tasks: list[Task]) -> np.ndarray[Any, np.dtype[Any]]:
    """What the log says of these operations, as records."""
    rows = np.zeros(len(tasks), record_dtype())
    entries = [task.entry for task in tasks]
    rows["op"] = [entry.op for entry in entries]
    rows["nbytes"] = [entry.nbytes for entry in entries]
    rows["n_objects"] = [min(entry.n_objects, 0xFFFFFFFF) for entry in entries]
    rows["end"] = [entry.duration for entry in entries]
    rows["first"] = [entry.first for entry in entries]
    rows["error"] = [entry.failed for entry in entries]
    rows["attempts"] = 1
    return rows
