"""Running a job: ranks as spawned processes, and the one that starts them, lets them meet, and keeps what they say."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

import attrs

from penstock.clocks import monotonic_ns, wall_ns
from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.oplog import join_parts, sort_log
from penstock_training.datasets.writing import Written
from penstock_training.train.plan import Plan
from penstock_training.train.rank import Block, Rank, Saved, StoppedError
from penstock_training.train.taps import Taps

__all__ = ["Finished", "execute"]

_LOOK = 0.2
_PATIENCE = 30.0


@attrs.define
class Finished:
    """What a job came to. ``status`` is done, failed or interrupted; times are nanoseconds since 1970."""

    begin_ns: int
    end_ns: int = 0
    status: str = "done"
    reason: str = ""
    error: BaseException | None = None
    blocks: list[Block] = attrs.field(factory=list)
    saved: list[Saved] = attrs.field(factory=list)
    written: Written = attrs.field(factory=Written)
    op_log: str | None = None
    op_log_rows: int = 0


#: Told of each measurement as it comes, and of what else there is to say.
View = Callable[[Block | Saved | Written | str], None]


def execute(plan: Plan, *, op_log: str | None = None, view: View = lambda _: None) -> Finished:
    """Run a plan and return what was measured, also where it failed or was interrupted.

    ``op_log`` is the path of the operation log of all ranks. Ctrl-C ends the job at the next meeting; the second one
    at once.
    """
    job = _Job(plan, op_log, view)
    with _Interrupts() as interrupts:
        try:
            job.start()
            job.serve(interrupts)
        except KeyboardInterrupt:
            job.note("interrupted", "interrupted")
            job.impatient = True
        except PenstockError as error:
            job.fail(error)
        finally:
            job.end()
    job.join_logs()
    return job.finished


class _Interrupts:
    """Counts Ctrl-C; from the second on it raises."""

    def __init__(self) -> None:
        self.count = 0
        self._before: Any = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            raise KeyboardInterrupt

    def __enter__(self) -> _Interrupts:
        # Only the main thread is interrupted, and may say what that means.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)


@attrs.define
class _Member:
    """A rank's process as the coordinator knows it. ``place`` is the meeting where it waits."""

    rank: int
    process: SpawnProcess
    link: Connection
    place: str | None = None
    ended: bool = False


class _Job:
    def __init__(self, plan: Plan, op_log: str | None, view: View) -> None:
        self._plan = plan
        self._log = op_log
        self._view = view
        self._members: list[_Member] = []
        self._selector = selectors.DefaultSelector()
        self._stopping = 0
        #: Whether ranks are ended without being waited for.
        self.impatient = False
        self.finished = Finished(wall_ns(), op_log=op_log)

    def _part(self, rank: int) -> str | None:
        if self._log is None:
            return None
        suffix = ".tsv.zst" if self._log.endswith(".zst") else ".tsv"
        return f"{self._log.removesuffix(suffix)}.rank-{rank}{suffix}"

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for rank in range(self._plan.ranks):
            here, there = context.Pipe()
            arguments = (self._plan, rank, there, self._part(rank))
            process = context.Process(target=_main, args=arguments, name=f"penstock-rank-{rank}", daemon=True)
            process.start()
            # Only the rank holds its end now, so its death is seen.
            there.close()
            member = _Member(rank, process, here)
            self._members.append(member)
            self._selector.register(here, selectors.EVENT_READ, member)

    def serve(self, interrupts: _Interrupts) -> None:
        while any(not member.ended for member in self._members) and not self._out_of_patience:
            if interrupts.count and not self._stopping:
                self.note("interrupted", "interrupted; what was measured until then is reported")
                self._view("interrupted: it ends after the step; interrupt again to end it at once")
                self._stop()
            for key, _ in self._selector.select(_LOOK):
                self._take(key.data)
            self._meet()

    @property
    def _out_of_patience(self) -> bool:
        """Whether ranks were told to end long ago; who has interrupted the job can do so again."""
        since = monotonic_ns() - self._stopping
        return self.finished.status == "failed" and bool(self._stopping) and since > _PATIENCE * 1e9

    def _take(self, member: _Member) -> None:
        try:
            kind, what = member.link.recv()
        except (EOFError, ConnectionError):
            self._gone(member)
            self._lost(member)
            return
        if kind == "meet":
            member.place = what
        elif kind == "tell":
            self._keep(what)
        elif kind == "failed":
            self.fail(what)
        else:
            self._gone(member)

    def _keep(self, what: Block | Saved | Written) -> None:
        if isinstance(what, Block):
            self.finished.blocks.append(what)
        elif isinstance(what, Saved):
            self.finished.saved.append(what)
        else:
            self.finished.written += what
        self._view(what)

    def _gone(self, member: _Member) -> None:
        member.ended, member.place = True, None
        self._selector.unregister(member.link)

    def _lost(self, member: _Member) -> None:
        member.process.join(_PATIENCE)
        code = member.process.exitcode
        cause = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        self.fail(WorkerLostError(member.rank, socket.gethostname(), cause))

    def _meet(self) -> None:
        waiting = [member for member in self._members if member.place is not None]
        if not waiting or self._stopping:
            return
        if len(waiting) < len(self._members):
            if any(member.ended for member in self._members):
                self.fail(RunError(f"a rank ended before the others, which wait at {waiting[0].place}"))
            return
        places = {member.place for member in waiting}
        if len(places) > 1:
            self.fail(RunError(f"ranks went apart: they wait at {' and '.join(sorted(map(str, places)))}"))
            return
        answer = self._answer(places.pop() or "")
        for member in waiting:
            member.place = None
            self._send(member, ("go", answer))

    def _answer(self, place: str) -> Any:
        """What ranks are given at a meeting."""
        if place != "datasets" or self._plan.reading.synthetic:
            return (None, None) if place == "datasets" else None
        from penstock_training.train.batches import open_dataset

        plan = self._plan
        training = open_dataset(plan, plan.training)
        return training, open_dataset(plan, plan.evaluation) if plan.evaluate and plan.evaluation.files else None

    def fail(self, error: BaseException) -> None:
        """Note the first failure, and end the others."""
        if self.finished.error is None:
            self.finished.error = error
            self.note("failed", str(error) or type(error).__name__)
        self._stop()

    def note(self, status: str, reason: str) -> None:
        if self.finished.status == "done":
            self.finished.status, self.finished.reason = status, reason

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = monotonic_ns()
            for member in self._members:
                if not member.ended:
                    self._send(member, ("stop", None))

    def _send(self, member: _Member, message: Any) -> None:
        try:
            member.link.send(message)
        except OSError:
            # It has ended; its own end of the pipe says how.
            return

    def end(self) -> None:
        """End every process."""
        self._stop()
        for member in self._members:
            member.link.close()
            if self.impatient or (self._out_of_patience and not member.ended):
                member.process.kill()
            member.process.join(_PATIENCE)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
            member.process.close()
        self._selector.close()
        self.finished.end_ns = wall_ns()

    def join_logs(self) -> None:
        """Make one log of what the ranks have logged; what was measured is kept where that fails."""
        named = [self._part(member.rank) for member in self._members]
        parts = [part for part in named if part is not None and os.path.exists(part)]
        if self._log is None or not parts:
            return
        try:
            self.finished.op_log_rows = join_parts(parts, self._log, distinct_threads=True).rows
            # Part after part is no order in which anything happened.
            sort_log(self._log, self._log)
        except PenstockError as error:
            self.fail(error)


def _main(plan: Plan, rank: int, link: Connection, log: str | None) -> None:
    """A rank's process."""
    # The terminal's Ctrl-C is for the coordinator, which decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    meeting = _LinkMeeting(link)
    try:
        with Taps(faults=plan.faults, log=log, client_id=f"rank-{rank}") as taps:
            Rank(plan, rank, meeting, taps).run()
    except StoppedError:
        pass
    except (EOFError, ConnectionError):
        # The coordinator is gone, and nobody is left to be told.
        if not meeting.broken:
            raise
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator reports it
        _say(link, ("failed", _portable(rank, error)))
    _say(link, ("ended", None))


def _say(link: Connection, message: Any) -> None:
    """Tell the coordinator, unless it is gone: then nobody is left to be told."""
    with contextlib.suppress(OSError):
        link.send(message)


def _portable(rank: int, error: Exception) -> Exception:
    """An error that another process can have."""
    if isinstance(error, PenstockError):
        return error
    return RunError(f"rank {rank}: {type(error).__name__}: {error}")


class _LinkMeeting:
    """A :class:`~penstock_training.train.rank.Meeting` by a pipe to the coordinator."""

    def __init__(self, link: Connection) -> None:
        self._link = link
        self.broken = False

    def meet(self, place: str) -> Any:
        self._send(("meet", place))
        return self._receive()

    def tell(self, what: Block | Saved | Written) -> None:
        self._send(("tell", what))
        if self._link.poll():
            self._receive()

    def _send(self, message: Any) -> None:
        try:
            self._link.send(message)
        except ConnectionError:
            self.broken = True
            raise

    def _receive(self) -> Any:
        try:
            word, answer = self._link.recv()
        except (EOFError, ConnectionError):
            self.broken = True
            raise
        if word == "stop":
            raise StoppedError
        return answer
