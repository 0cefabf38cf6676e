"""The worker of a host: ``python -m penstock.engine.host``. It drives processes of its own there.

It is asked what a process is asked (:class:`penstock.engine.worker.Job`) and a little more
(:mod:`penstock.engine.parts`), and makes one stream of what its processes say, so that a controller's work grows with
hosts. A host that hears nothing for its lease drains its processes, keeps what they measured
(:mod:`penstock.engine.hostrecord`) and ends, with them.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock.clocks import monotonic_ns, sleep
from penstock.engine import board
from penstock.engine.hostcrew import HostCrew
from penstock.engine.hostfiles import HostFiles
from penstock.engine.hostleg import HostLeg, named
from penstock.engine.hostmerge import sum_reports
from penstock.engine.hostrecord import HostRecord
from penstock.engine.local import LocalLauncher
from penstock.engine.parts import HostPart, HostPlan
from penstock.engine.serving import Calls
from penstock.engine.worker import serve
from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.launchers import Body, Launcher, LaunchSpec
from penstock.launching.hosting import HostSettings
from penstock.launching.rules import check_environment, check_worker

__all__ = ["HostSession", "main"]

_TICK_SECONDS: Final = 0.25
#: At most so often, in nanoseconds, is the progress of a phase of objects told.
_PROGRESS_NS: Final = 250_000_000


class HostSession:
    """One run on one host: a :class:`~penstock.engine.worker.Job` and :class:`~penstock.engine.serving.Attendant`.

    ``launcher`` starts its processes; without one they are those of the local launcher.
    """

    def __init__(self, settings: HostSettings, launcher: Launcher | None = None) -> None:
        self._settings = settings
        self._launcher = launcher
        self._files = HostFiles(settings.scratch)
        self._plan: HostPlan | None = None
        self._crew: HostCrew | None = None
        self._record: HostRecord | None = None
        self._leg: HostLeg | None = None
        self._finished = False
        self._over = False
        self._ending = threading.Lock()
        self._silent = 0.0

    @property
    def name(self) -> str:
        return self._settings.name

    def open(self, body: Body) -> Body:
        """Start the processes of a :class:`~penstock.engine.parts.HostPlan`, and let each open its part."""
        plan = HostPlan.from_message(body)
        check_worker(plan.worker, host=self.name)
        check_environment(plan.environment, host=self.name, allow=self._settings.allow)
        if "PENSTOCK_CLOCK_SHIFT" in plan.environment:
            raise RunError(f"host {self.name}: its processes have the clock that it has itself; shift that")
        ranks = [part.rank for part in plan.parts]
        if self._crew is not None or not ranks or len(set(ranks)) < len(ranks):
            raise RunError(f"host {self.name} has a plan already, or this one has no processes")
        bodies = {part.rank: self._placed(part) for part in plan.parts}
        spec = LaunchSpec(
            environment=plan.environment,
            scratch=self._settings.scratch,
            worker=plan.worker,
            lease=self._settings.lease,
        )
        self._plan = plan
        self._crew = crew = HostCrew(self._launcher or LocalLauncher(first=ranks[0]), self._lose)
        crew.start(ranks, spec)
        self._record = HostRecord(self._settings.scratch, self.name, plan, crew.pids)
        answers = self._answers("open", bodies, needs_all=True)
        return {
            "lanes": sum(int(answer["lanes"]) for answer in answers.values()),
            "processes": [{"rank": rank, "pid": pid} for rank, pid in crew.pids.items()],
            "scratch": self._settings.scratch,
        }

    def prepare(self, body: Body) -> Iterator[Body]:
        """Let each make its share; yields their progress. Without the share of one the host is lost."""
        yield from self._progress("prepare", dict.fromkeys(self._live(), body), needs_all=True)

    def resolve(self, body: Body) -> Body:
        """Let those that have a part in a leg find what their operations choose from."""
        self._answers("resolve", dict.fromkeys(self._working(body), body))
        return {}

    def run(self, body: Body) -> Iterator[Body]:
        """Let them work; yields their snapshots as one, then the end."""
        _, crew, record = self._opened()
        self._leg = leg = HostLeg(crew, record, self._working(body), body, self._nobody)
        leg.begin()
        yield from leg.items()

    def drain(self, body: Body) -> Body:
        """End the phase that is under way, in every process."""
        self._opened()[1].call("drain", dict.fromkeys(self._live(), body))
        return {}

    def finish(self, body: Body) -> Body:
        """Let each close its part of the log; ``log`` counts the rows of all."""
        logs = [answer["log"] for answer in self._answers("finish", dict.fromkeys(self._live(), body)).values()]
        self._finished = True
        self._opened()[2].write()
        counted = [log for log in logs if log is not None]
        return {"log": sum_reports(counted) if counted else None, "processes": self._lost_ones()}

    def cleanup(self, body: Body) -> Iterator[Body]:
        """Let each delete the objects that it made, all at once; directories one process after the other, the last
        first, for the last has the deepest ones.
        """
        if not body["directories"]:
            yield from self._progress("cleanup", dict.fromkeys(self._live(), body))
            return
        done: list[Mapping[str, Any]] = []
        for rank in reversed(self._live()):
            report: Mapping[str, Any] = {}
            for report in self._progress("cleanup", {rank: body}):
                yield sum_reports([*done, report])
            done.append(report)

    def calls(self) -> Calls:
        return {
            "receive": self._files.receive,
            "files": lambda body: {"files": self._files.files()},
            "fetch": self._files.fetch,
            "release": self.release,
            "preflight": self.preflight,
        }

    def preflight(self, body: Body) -> Body:
        """What there is to say against a run here (:mod:`penstock.engine.preflight`)."""
        from penstock.engine.preflight import answer

        check_environment(body.get("environment", {}), host=self.name, allow=self._settings.allow)
        return answer(body, scratch=self._settings.scratch)

    def release(self, body: Body) -> Body:
        """All was fetched; what is left goes, but for what is to be kept."""
        keep = list(body.get("keep", ()))
        if self._record is not None and not keep:
            self._record.forget()
        self._files.release(keep)
        if self._record is not None and keep:
            self._record.end("ended")
        return {}

    def beat(self, body: Body) -> Body:
        """The lease goes on. ``clock`` are the controller's readings of this host's clock; the answer names the
        processes that were lost.
        """
        if self._record is not None and body.get("clock"):
            self._record.read_clock(body["clock"])
        return {"processes": self._lost_ones()}

    def heard(self) -> None:
        self._silent = 0.0

    def left(self) -> None:
        if self._finished or self._crew is None:
            self._end("ended", "")
        else:
            self._end("abandoned", "the controller was gone")

    def watch(self) -> None:
        """Keep the lease, in a thread of its own; ends the process.

        Counted in ticks: time in which this process was stopped says nothing of the controller.
        """
        while self._silent < self._settings.lease:
            sleep(_TICK_SECONDS)
            self._silent += _TICK_SECONDS
        self._end("abandoned", f"nothing was heard of the controller for {self._settings.lease:g} s")
        os._exit(0)

    def terminate(self) -> None:
        """Somebody on this host ends the process."""
        self._end("abandoned", "it was told to end (SIGTERM)")
        os._exit(128 + signal.SIGTERM)

    def _end(self, status: str, reason: str) -> None:
        with self._ending:
            if self._over:
                return
            self._over = True
            crew, record = self._crew, self._record
            if crew is not None and status == "abandoned":
                self._abandon(crew, reason)
            if crew is not None:
                crew.stop()
            if self._plan is not None:
                board.remove(self._plan.run_id)
            if self._leg is None:
                # Nothing was measured: there is nothing to keep.
                self.release({})
            elif record is not None:
                record.end(status, reason)

    def _abandon(self, crew: HostCrew, reason: str) -> None:
        """Let calls in flight end, and the log be closed, within the lease."""
        seconds = self._settings.lease / 2
        drained: Body = {"reason": reason}
        _within(seconds, crew, "drain", dict.fromkeys(crew.live(), drained))
        if self._leg is not None:
            self._leg.wait(seconds)
        if not self._finished:
            _within(seconds, crew, "finish", {rank: {} for rank in crew.live()})

    def _placed(self, part: HostPart) -> Body:
        """What a process opens, with paths in place of the names of files."""
        body = dict(part.body)
        if body.get("op_log") is not None:
            body["op_log"] = self._files.path(str(body["op_log"]))
        if body.get("inputs"):
            body["inputs"] = {name: self._files.path(str(file)) for name, file in body["inputs"].items()}
        return body

    def _progress(self, method: str, bodies: Mapping[int, Body], *, needs_all: bool = False) -> Iterator[Body]:
        working, reports = set(bodies), dict[int, Body]()
        errors: dict[int, PenstockError] = {}
        events, told = self._opened()[1].stream(method, bodies), monotonic_ns()
        while working:
            try:
                event = events.get(timeout=_PROGRESS_NS / 1e9)
            except queue.Empty:
                continue
            if event.item is not None:
                reports[event.rank] = event.item
            else:
                working.discard(event.rank)
                if event.error is not None:
                    errors[event.rank] = event.error
            if reports and monotonic_ns() - told >= _PROGRESS_NS:
                told = monotonic_ns()
                yield sum_reports(list(reports.values()))
        if reports:
            yield sum_reports(list(reports.values()))
        self._judge(method, errors, needs_all=needs_all)

    def _answers(self, method: str, bodies: Mapping[int, Body], *, needs_all: bool = False) -> dict[int, Body]:
        answers = self._opened()[1].call(method, bodies)
        errors = {rank: answer for rank, answer in answers.items() if isinstance(answer, PenstockError)}
        self._judge(method, errors, needs_all=needs_all)
        return {rank: answer for rank, answer in answers.items() if not isinstance(answer, PenstockError)}

    def _judge(self, method: str, errors: Mapping[int, PenstockError], *, needs_all: bool) -> None:
        """Raise the first error; that a process was lost only if nobody is left, or nobody may be missing."""
        plan, crew, _ = self._opened()
        for rank, error in sorted(errors.items()):
            if not isinstance(error, WorkerLostError):
                raise named(rank, error) if len(plan.parts) > 1 else error
            if not crew.live():
                raise self._nobody()
            if needs_all:
                # Whether others can go on without this host is for the controller to say.
                text = f"process {rank} was lost in {method}, so its share is missing: {error.cause}"
                raise WorkerLostError(plan.rank, self.name, text)

    def _working(self, body: Body) -> list[int]:
        """The ranks of those that have a part in a leg and are there."""
        plan, crew, _ = self._opened()
        share, live = int(body.get("share", 0)), crew.live()
        ranks = [part.rank for part in plan.parts if part.lanes[share] and part.rank in live]
        if not ranks:
            raise self._nobody()
        return ranks

    def _live(self) -> list[int]:
        _, crew, _ = self._opened()
        live = crew.live()
        if not live:
            raise self._nobody()
        return live

    def _nobody(self) -> WorkerLostError:
        plan, crew, _ = self._opened()
        causes = list(crew.lost.values())
        text = f"every process of it was lost; the last: {causes[-1]}" if causes else "none of its processes has a part"
        return WorkerLostError(plan.rank, self.name, text)

    def _lose(self, rank: int, cause: str) -> None:
        if self._record is not None:
            self._record.lose(rank, cause)

    def _lost_ones(self) -> list[dict[str, Any]]:
        if self._crew is None:
            return []
        pids = self._crew.pids
        return [{"rank": rank, "pid": pids[rank], "lost": cause} for rank, cause in self._crew.lost.items()]

    def _opened(self) -> tuple[HostPlan, HostCrew, HostRecord]:
        if self._plan is None or self._crew is None or self._record is None:
            raise RunError(f"host {self.name} has no plan yet")
        return self._plan, self._crew, self._record


def main() -> None:
    """Serve one run on this host."""
    try:
        settings = HostSettings.from_environment()
    except RunError as error:
        sys.exit(f"penstock: {error}")
    session = HostSession(settings)
    threading.Thread(target=session.watch, daemon=True).start()
    # What manages hosts ends their processes so, a while before it kills them. The main thread waits for requests.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=session.terminate).start())
    serve(session, session)


def _within(seconds: float, crew: HostCrew, method: str, bodies: Mapping[int, Body]) -> None:
    """Ask, and wait no longer than that for the answers."""
    thread = threading.Thread(target=crew.call, args=(method, bodies), daemon=True)
    thread.start()
    thread.join(seconds)


if __name__ == "__main__":
    main()
