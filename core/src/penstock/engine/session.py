"""What a worker process does with its plan: open, prepare, resolve, run, clean up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from penstock.clocks import Anchor
from penstock.engine.arrivals import Arrivals, rate_phases
from penstock.engine.board import Board
from penstock.engine.build import PART_SIZE, SINGLE, LaneBuilder, name_new
from penstock.engine.cleanup import Cleanup, missing_directories
from penstock.engine.collector import Collector
from penstock.engine.contents import Contents, Recipe
from penstock.engine.control import ENDLESS, Control
from penstock.engine.generating import Generating
from penstock.engine.knowing import Knowledge, PreparedContent, copy_names, put_contents
from penstock.engine.lanes import Lane
from penstock.engine.objects import Pool
from penstock.engine.places import Places
from penstock.engine.plan import WorkerPlan, share
from penstock.engine.pools import resolve_pools
from penstock.engine.prepare import Preparation
from penstock.engine.sets import PreparedSet, prepared_sets
from penstock.engine.steps import Created
from penstock.engine.threads import bind
from penstock.engine.verifying import Verifier, Verifying
from penstock.errors import RunError
from penstock.launchers import Body
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.metering import Metered, OneRecorder
from penstock.oplog import OpLogWriter
from penstock.payload import Payload
from penstock.records import Recorder
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

    def open(self, body: Body) -> Body:
        """Open every store of the plan, and the log."""
        self.plan = WorkerPlan.from_message(body)
        if self.plan.cpu is not None:
            bind(self.plan.cpu)
        self.config = self.plan.load_config()
        self._contents = Contents(self.config.seed)
        self._places = places = Places(self.config)
        self._sets = prepared_sets(self.config, places, self._payload)
        for item in self.config.workload:
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
        """Make this worker's share of what is missing; yields progress."""
        assert self._preparation is not None
        for progress in self._preparation.run():
            yield progress.to_message()

    def resolve(self, body: Body) -> Body:
        """Find what each operation chooses from. Raises RunError for one that has nothing."""
        places = self._opened()
        self._pools = resolve_pools(self.config, places, self._sets)
        return {"objects": {str(number): pool.count for number, pool in self._pools.items()}}

    def run(self, body: Body) -> Iterator[Body]:
        """Drive the lanes from ``start_ns`` (wall clock) on; yields snapshots, then ``done``."""
        if self._verifier is not None and self._verifier.board is not None:
            self._verifier.board.unlink()
        begin = int(body["start_ns"]) - Anchor.now().offset_ns
        warm = begin + round(self.config.warmup * 1e9)
        duration = self.config.duration
        control = Control(
            begin=begin,
            warm=warm,
            deadline=None if duration is None else warm + round(duration * 1e9),
            budget=self.plan.budget,
            max_errors=self._error_limit(),
        )
        self._control = control
        if self._stopping:
            control.stop("interrupted")
        collector = Collector(self.plan.first_lane, self.plan.lanes, self._log, endpoints=self._opened().endpoints())
        arrivals = self._arrivals(begin)
        lanes = [self._lane(control, index, recorder, arrivals) for index, recorder in enumerate(collector.recorders)]
        threads = [threading.Thread(target=_drive, args=(lane, collector), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        interval = round(self.config.live_interval * 1e9)
        try:
            for snapshot in collector.collect(warm, interval):
                times = {"start_s": (snapshot["start"] - warm) / 1e9, "end_s": (snapshot["end"] - warm) / 1e9}
                yield snapshot | times | self._verified()
        except BaseException as error:
            control.broke(error)
            collector.give_up()
            raise
        log = self._close_log()
        if control.fatal is not None:
            raise RunError(control.reason) from control.fatal
        yield {
            "done": True,
            "reason": control.reason,
            "log": log,
            "missed": _missed(control, arrivals, lanes),
            "generating_ns": sum(each.spent for each in self._generating),
        }

    def _plan_verifier(self) -> Verifier | None:
        if self.config.verify == "off":
            return None
        puts = put_contents(self.config, self._opened(), self._payload, self.plan.run_id)
        prepared = [PreparedContent(each) for each in self._sets]
        replaces = any(not put.own for put in puts)
        board = Board(self.plan.run_id if self.plan.workers > 1 else None) if replaces else None
        copies = copy_names(self.config, self._opened(), self.plan.run_id)
        return Verifier(self.config.verify, Knowledge([*prepared, *puts], copies), board)

    def _verified(self) -> dict[str, Any]:
        """What was checked so far, where anything is."""
        if self._verifier is None:
            return {}
        counts = Verification(self._verifier.mode)
        for store in self._verifying:
            counts.merge(store.counts)
        return {"verification": counts.to_message()}

    def _plan_preparation(self) -> Preparation:
        prepare = self.config.prepare
        threads = prepare.concurrency or self.config.concurrency
        workers = min(self.plan.workers, threads)
        first, last = share(threads, self.plan.rank, self.plan.workers)
        return Preparation(
            sets=self._sets,
            stores=[self._retrying(store, None) for store in self._stores()],
            rank=self.plan.rank,
            workers=workers,
            threads=max(last - first, 1),
            force=prepare.force_overwrite,
            max_errors=self.config.on_error.max_total_errors,
            single=SINGLE,
            part_size=PART_SIZE,
            stopping=lambda: self._stopping,
        )

    def drain(self, body: Body) -> Body:
        """End the phase that is under way as soon as the calls in flight have ended."""
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

    def _lane(self, control: Control, index: int, recorder: Recorder, arrivals: Arrivals | None) -> Lane:
        plan, config = self.plan, self.config
        generating = Generating(self._payload, control.warm)
        self._generating.append(generating)
        number = plan.first_lane + index
        meters = [
            Metered(self._checking(self._retrying(store, recorder), endpoint), OneRecorder(recorder), endpoint)
            for endpoint, store in enumerate(self._stores())
        ]
        builder = LaneBuilder(
            config=config,
            places=self._opened(),
            pools=self._pools,
            payload=generating.open,
            run_id=plan.run_id,
            lane=number,
            lanes=plan.total_lanes,
            meters=meters,
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

    def _arrivals(self, begin: int) -> Arrivals | None:
        config, plan = self.config, self.plan
        if config.rate is None:
            return None
        return Arrivals(
            rate_phases(config.rate, config.warmup),
            begin,
            poisson=config.rate.arrivals == "poisson",
            rank=plan.rank,
            workers=plan.workers,
            seed=config.seed,
        )

    def _checking(self, store: ObjectStore, number: int) -> ObjectStore:
        if self._verifier is None:
            return store
        self._verifying.append(Verifying(store, self._verifier, number))
        return self._verifying[-1]

    def _retrying(self, store: ObjectStore, recorder: Recorder | None) -> ObjectStore:
        retries = self.config.on_error.retries
        if retries is None:
            return store
        policy = RetryPolicy(
            attempts=retries.attempts,
            base_delay=retries.base_delay,
            max_delay=retries.max_delay,
            deadline=retries.deadline,
        )
        if recorder is None:
            return Retrying(store, policy)
        return Retrying(store, policy, on_retry=lambda error, attempt, wait: recorder.retried())

    def _patient(self, store: ObjectStore) -> ObjectStore:
        """The store as it is to be used where nothing is measured, and nothing may be left behind."""
        return Retrying(store, RetryPolicy()) if self.config.on_error.retries is None else self._retrying(store, None)

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
        for number, item in enumerate(self.config.workload):
            if isinstance(item, Put | Mkdir | Copy):
                path = item.to if isinstance(item, Copy) else item.path
                put = item if isinstance(item, Put) else None
                made = name_new(places, path, self.plan.run_id, number, directory=isinstance(item, Mkdir), put=put)
                yield from ((made.store, prefix, count_numbers(path) > 0) for prefix in made.prefixes)

    def _note_standing(self, making: list[tuple[int, str, bool]]) -> None:
        """Note what is there already and so is not this run's to delete: directories, and objects under masks."""
        for number, store in enumerate(self._stores()):
            prefixes = [prefix for owner, prefix, _ in making if owner == number]
            if self.plan.rank == 0:
                self._new_directories.extend((number, key) for key in missing_directories(store, prefixes))
            for prefix in {prefix for owner, prefix, masked in making if masked and owner == number}:
                pages = store.list_pages(prefix)
                self._standing.update((number, info.key) for page in pages for info in page.objects)

    def _close_log(self) -> dict[str, Any] | None:
        if self._log is None:
            return None
        self._log.close()
        return {"accepted": self._log.accepted, "written": self._log.written}

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


def _drive(lane: Lane, collector: Collector) -> None:
    try:
        lane.run()
    finally:
        collector.ended()
