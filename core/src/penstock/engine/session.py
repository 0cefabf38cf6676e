"""What a worker process does with its plan: open, prepare, resolve, run, clean up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from penstock.clocks import Anchor
from penstock.engine.arrivals import Arrivals, rate_phases
from penstock.engine.balance import use_of
from penstock.engine.board import Board
from penstock.engine.build import PART_SIZE, SINGLE, LaneBuilder, name_new
from penstock.engine.cleanup import Cleanup, missing_directories
from penstock.engine.collector import COOLING, Collector
from penstock.engine.contents import Contents, Recipe
from penstock.engine.control import ENDLESS, Control
from penstock.engine.generating import Generating
from penstock.engine.grid import Grid
from penstock.engine.knowing import knowledge_of
from penstock.engine.lanes import Lane
from penstock.engine.legs import Leg, legs_of
from penstock.engine.objects import Pool
from penstock.engine.places import Places
from penstock.engine.plan import WorkerPlan
from penstock.engine.pools import resolve_pools
from penstock.engine.prepare import Preparation
from penstock.engine.sets import PreparedSet, prepared_sets
from penstock.engine.steps import Created
from penstock.engine.threads import bind, sum_known
from penstock.engine.verifying import Verifier, Verifying
from penstock.errors import RunError
from penstock.launchers import Body
from penstock.layers.behalf import note
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.metering import Metered, OneRecorder
from penstock.oplog import OpLogWriter
from penstock.payload import Payload
from penstock.records import Recorder
from penstock.report.outcome import EndpointUse
from penstock.scheduling import as_batch
from penstock.stats.verification import Verification
from penstock.store import ObjectStore
from penstock.workload.config import Config
from penstock.workload.names import count_numbers
from penstock.workload.operations import Copy, Mkdir, Put

__all__ = ["Session"]


class Session:
    """One run in one worker process. The coordinator asks for one phase after the other."""

    plan: WorkerPlan
    config: Config

    def __init__(self) -> None:
        self._stopping = False
        self._legs: Sequence[Leg] = ()
        self._leg = -1
        self._control: Control | None = None
        self._places: Places | None = None
        self._sets: list[PreparedSet] = []
        self._preparation: Preparation | None = None
        self._created: list[tuple[int, Created]] = []
        self._pools: dict[int, Pool] = {}
        self._contents = Contents(0)
        self._generating: list[Generating] = []
        self._verifier: Verifier | None = None
        self._verifying: list[Verifying] = []
        self._new_directories: list[tuple[int, str]] = []
        self._standing: set[tuple[int, str]] = set()
        self._log: OpLogWriter | None = None
        self._driving = threading.local()

    def open(self, body: Body) -> Body:
        """Open every store of the plan, and the log; both stay open for all legs."""
        self.plan = WorkerPlan.from_message(body)
        if self.plan.cpu is not None:
            bind(self.plan.cpu)
        self.config = self.plan.load_config()
        self._legs = legs_of(self.config)
        self._contents = Contents(self.config.seed)
        self._places = places = Places(self.config, wrap=self._retrying)
        self._sets = prepared_sets(self.config, places, self._payload)
        for part in self.config.parts():
            for item in part.workload:
                if not isinstance(item, Put | Mkdir):
                    places.locate(item.path)
        making = list(self._making())
        self._verifier = self._plan_verifier()
        places.open(self.plan.lanes)
        self._preparation = self._plan_preparation()
        if not self.config.prepare.skip_verification:
            self._preparation.survey()
        if self.config.cleanup:
            self._note_standing(making)
        if self.plan.op_log is not None:
            self._log = OpLogWriter(
                self.plan.op_log, endpoints=places.endpoints(), anchor=Anchor.now(), client_id=self.plan.client_id
            )
        return {"lanes": self.plan.lanes}

    def prepare(self, body: Body) -> Iterator[Body]:
        """Make this worker's share of what is missing; yields progress. Also again, before a repeat. With
        ``directories`` only those (true), or only objects.
        """
        assert self._preparation is not None
        for progress in self._preparation.run(body.get("directories")):
            yield progress.to_message()

    def resolve(self, body: Body) -> Body:
        """Find what each operation of a leg chooses from. Raises RunError for one that has nothing."""
        leg = self._legs[int(body.get("leg", 0))]
        if leg.again and self.plan.hosts > 1 and self._verifier is not None and self._verifier.board is not None:
            # Other hosts have made again, as they were prepared, objects that this one knows to be replaced.
            self._verifier.board.forget()
        grid = self._grid(leg)
        self._pools = resolve_pools(leg.config, self._opened(), self._sets, thinned=leg.thinned, grid=grid)
        return {"objects": {str(number): pool.count for number, pool in self._pools.items()}}

    def run(self, body: Body) -> Iterator[Body]:
        """Drive the lanes of a leg from ``start_ns`` (wall clock) on; yields snapshots, then ``done``, which says when
        the first operation began by that clock (``began_ns``).

        Times are told from ``origin_ns``, when the first worker began; without it from the start.
        """
        if self._verifier is not None and self._verifier.board is not None:
            self._verifier.board.unlink()
        leg = self._legs[int(body.get("leg", 0))]
        part, offset = self.plan.shares[leg.place], Anchor.now().offset_ns
        begin = int(body["start_ns"]) - offset
        before = max(0, int(body["start_ns"]) - int(body.get("origin_ns", body["start_ns"])))
        control, balance = self._begin(leg, begin), self._balance()
        collector = Collector(part.first_lane, part.lanes, self._log, endpoints=self._opened().endpoints())
        arrivals = self._arrivals(leg, begin)
        lanes = [
            self._lane(leg, control, index, recorder, arrivals) for index, recorder in enumerate(collector.recorders)
        ]
        threads = [threading.Thread(target=self._drive, args=(lane, collector), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        interval, origin, generating = round(leg.config.live_interval * 1e9), control.warm - before, 0
        try:
            for snapshot in collector.collect(
                origin, interval, first=before // interval, closed=lambda: control.closed
            ):
                times = {"start_s": (snapshot["start"] - origin) / 1e9, "end_s": (snapshot["end"] - origin) / 1e9}
                if snapshot["number"] != COOLING:
                    generating = sum(each.spent for each in self._generating)
                yield snapshot | times | self._verified()
        except BaseException as error:
            control.broke(error)
            collector.give_up()
            raise
        if control.fatal is not None:
            raise RunError(control.reason) from control.fatal
        yield {
            "done": True,
            "reason": control.reason,
            "missed": _missed(control, arrivals, lanes),
            "generating_ns": generating,
            "starved_ns": sum_known([lane.starved for lane in lanes]),
            "began_ns": None if (began := collector.began(begin)) is None else began + offset,
            "endpoints": [now.since(then).to_message() for now, then in zip(self._balance(), balance, strict=True)],
        }

    def finish(self, body: Body) -> Body:
        """Close the log, after the last leg; ``log`` counts its rows, None where there is none."""
        return {"log": self._close_log()}

    def _begin(self, leg: Leg, begin: int) -> Control:
        """The control of a leg, which is the one that goes on from here."""
        config, part = leg.config, self.plan.shares[leg.place]
        warm = begin + round(config.warmup * 1e9)
        self._control = control = Control(
            begin=begin,
            warm=warm,
            deadline=None if config.duration is None else warm + round(config.duration * 1e9),
            budget=part.budget,
            max_errors=self._error_limit(),
            cooldown=round(config.cooldown * 1e9),
            lanes=part.lanes,
        )
        self._leg = leg.number
        self._generating, self._verifying = [], []
        if self._stopping:
            control.stop("interrupted")
        return control

    def _grid(self, leg: Leg) -> Grid:
        return Grid(self.plan.host, self.plan.shares[leg.place].runs)

    def _plan_verifier(self) -> Verifier | None:
        if self.config.verify == "off":
            return None
        knowledge, replaces = knowledge_of(self._legs, self._opened(), self._sets, self._payload, self.plan.run_id)
        board = Board(self.plan.run_id if self.plan.places > 1 else None) if replaces else None
        return Verifier(self.config.verify, knowledge, board)

    def _verified(self) -> dict[str, Any]:
        """What was checked so far, where anything is."""
        if self._verifier is None:
            return {}
        counts = Verification(self._verifier.mode)
        for store in self._verifying:
            counts.merge(store.counts)
        return {"verification": counts.to_message()}

    def _plan_preparation(self) -> Preparation:
        prepare, part = self.config.prepare, self.plan.preparing
        return Preparation(
            sets=self._sets,
            stores=self._stores(),
            rank=part.rank,
            workers=part.workers,
            threads=part.threads,
            force=prepare.force_overwrite,
            max_errors=self.config.on_error.max_total_errors,
            single=SINGLE,
            part_size=PART_SIZE,
            stopping=lambda: self._stopping,
            trees=part.trees,
            wrote=self._note_prepared if self._verifier is not None and self._verifier.board is not None else None,
        )

    def _note_prepared(self, store: int, key: str) -> None:
        assert self._verifier is not None
        self._verifier.prepared(store, key)

    def drain(self, body: Body) -> Body:
        """End the phase that is under way as soon as the calls in flight have ended; with ``leg`` that leg alone, as
        if it had come to its end.
        """
        if "leg" in body:
            if self._control is not None and self._leg == body["leg"]:
                self._control.finish()
            return {}
        self._stopping = True
        if self._control is not None:
            self._control.stop(str(body["reason"]))
        return {}

    def cleanup(self, body: Body) -> Iterator[Body]:
        """Delete the objects that this worker made, or with ``directories`` the directories; yields progress."""
        made, failed, example = 0, 0, ""
        for number, store in enumerate(self._stores()):
            work = Cleanup(self._patient(store), self.plan.lanes)
            steps = work.run_directories if body["directories"] else work.run
            for progress in steps(self._keys(number, directories=bool(body["directories"]))):
                yield {"made": made + progress.made, "failed": failed + progress.failed}
            made += work.progress.made
            failed += work.progress.failed
            example = example or work.progress.example
        yield {"made": made, "failed": failed, "example": example}

    def _keys(self, store: int, *, directories: bool) -> Iterator[str]:
        """Keys of what this worker made on a store; with ``directories`` those, else objects."""
        for made in self._preparation.made if self._preparation else ():
            if made.prepared.store == store and (made.prepared.payload is None) == directories:
                yield from made.keys()
        for number, created in self._created:
            if number == store and created.directories == directories:
                names = map(created.name, range(created.count))
                yield from (key for key in names if (store, key) not in self._standing)
        if directories:
            yield from (key for number, key in self._new_directories if number == store)

    def _lane(self, leg: Leg, control: Control, index: int, recorder: Recorder, arrivals: Arrivals | None) -> Lane:
        config, part = leg.config, self.plan.shares[leg.place]
        generating = Generating(self._payload, control.warm)
        self._generating.append(generating)
        number, run_id = part.first_lane + index, leg.run_id(self.plan.run_id)
        stores = [self._checking(store, at) for at, store in enumerate(self._stores())]
        meters = [Metered(store, OneRecorder(recorder), at) for at, store in enumerate(stores)]
        builder = LaneBuilder(
            config=config,
            places=self._opened(),
            pools=self._pools,
            payload=generating.open,
            run_id=run_id,
            lane=number,
            lanes=part.total_lanes,
            meters=meters,
            grid=self._grid(leg),
            writing=lambda at, operation: self._writing(stores[at], run_id, operation),
        )
        steps, weights = builder.build()
        self._created.extend(builder.created)
        return Lane(
            number=number,
            steps=steps,
            weights=weights,
            seed=config.seed,
            control=control,
            recorder=recorder,
            meters=meters,
            arrivals=arrivals,
        )

    def _arrivals(self, leg: Leg, begin: int) -> Arrivals | None:
        config, part = leg.config, self.plan.shares[leg.place]
        if config.rate is None:
            return None
        return Arrivals(
            rate_phases(config.rate, config.warmup),
            begin,
            poisson=config.rate.arrivals == "poisson",
            turns=part.turns,
            of=part.total_lanes,
            seed=config.seed,
        )

    def _checking(self, store: ObjectStore, number: int) -> ObjectStore:
        if self._verifier is None:
            return store
        self._verifying.append(Verifying(store, self._verifier, number))
        return self._verifying[-1]

    def _writing(self, store: ObjectStore, run_id: str, operation: int) -> Callable[[], None] | None:
        """What tells a store which version that operation writes, where versions are told apart."""
        if self._verifier is None or self._verifier.board is None:
            return None
        return partial(setattr, store, "writing", self._verifier.knowledge.bit_of(run_id, operation))

    def _retrying(self, store: ObjectStore) -> ObjectStore:
        """What makes requests, with the retries that the configuration asks for: below what splits a call, so that a
        range is repeated, not the read that it is part of.
        """
        retries = self.config.on_error.retries
        if retries is None:
            return store
        policy = RetryPolicy(
            attempts=retries.attempts,
            base_delay=retries.base_delay,
            max_delay=retries.max_delay,
            deadline=retries.deadline,
        )
        return Retrying(store, policy, on_retry=lambda error, attempt, wait: note(self._note_retry))

    def _note_retry(self) -> None:
        """The call of this thread was repeated: where it is a lane's, the row of that call says so."""
        recorder: Recorder | None = getattr(self._driving, "recorder", None)
        if recorder is not None:
            recorder.retried()

    def _drive(self, lane: Lane, collector: Collector) -> None:
        self._driving.recorder = lane.recorder
        if lane.arrivals is None:
            # With planned arrivals what counts is to begin on time.
            as_batch()
        try:
            lane.run()
        finally:
            collector.ended()

    def _patient(self, store: ObjectStore) -> ObjectStore:
        """The store as it is to be used where nothing is measured, and nothing may be left behind."""
        return Retrying(store, RetryPolicy()) if self.config.on_error.retries is None else store

    def _error_limit(self) -> int | None:
        on_error = self.config.on_error
        return on_error.max_total_errors if on_error.action == "stop" else None

    def _payload(self, recipe: Recipe) -> Payload:
        return self._contents.open(recipe)

    def _making(self) -> Iterator[tuple[int, str, bool]]:
        """Of everything that the run may make: its store, its name up to the first number, and whether other runs
        may have made the same name.
        """
        places = self._places
        assert places is not None
        for prepared in self._sets:
            yield from ((prepared.store, prefix, False) for prefix in prepared.prefixes())
        for leg in self._legs:
            for number, item in enumerate(leg.config.workload):
                if isinstance(item, Put | Mkdir | Copy):
                    path = item.to if isinstance(item, Copy) else item.path
                    put, run_id = item if isinstance(item, Put) else None, leg.run_id(self.plan.run_id)
                    made = name_new(places, path, run_id, number, directory=isinstance(item, Mkdir), put=put)
                    yield from ((made.store, prefix, count_numbers(path) > 0) for prefix in made.prefixes)

    def _note_standing(self, making: list[tuple[int, str, bool]]) -> None:
        """Note what is there already and so is not this run's to delete: directories, and objects under masks."""
        for number, store in enumerate(self._stores()):
            prefixes = [prefix for owner, prefix, _ in making if owner == number]
            if self.plan.rank == 0 or (self.plan.place == 0 and self.config.distributed.own_namespaces):
                self._new_directories.extend((number, key) for key in missing_directories(store, prefixes))
            for prefix in {prefix for owner, prefix, masked in making if masked and owner == number}:
                pages = store.list_pages(prefix)
                self._standing.update((number, info.key) for page in pages for info in page.objects)

    def _close_log(self) -> dict[str, Any] | None:
        if self._log is None:
            return None
        self._log.close()
        return {"accepted": self._log.accepted, "written": self._log.written}

    def _balance(self) -> list[EndpointUse]:
        """What went so far through each of the endpoints that the target's calls are spread over."""
        balanced = (stack.balanced for stack in self._opened().stacks)
        return [use_of(one) for store in balanced if store is not None for one in store.statistics()]

    def _opened(self) -> Places:
        if self._places is None:
            raise RunError("the worker has no plan yet")
        return self._places

    def _stores(self) -> list[ObjectStore]:
        return self._opened().stores


def _missed(control: Control, arrivals: Arrivals | None, lanes: Sequence[Lane]) -> int:
    """How many operations were due in the window and never begun. None was, if lanes stopped for another reason."""
    if arrivals is None or control.stopping or control.deadline == ENDLESS or not control.take():
        return 0
    return sum(lane.missed for lane in lanes) + arrivals.missed(control.deadline)
