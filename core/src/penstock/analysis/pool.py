"""Processes that understand and count blocks of a log's text, which this one unpacks, hands out, and counts as well."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

from penstock.analysis.accumulating import Accumulator, Limits
from penstock.analysis.counting import Counter
from penstock.analysis.pairs import Array
from penstock.analysis.sharing import Bad, Done, Failed, Share, Start, Work, make_memory
from penstock.analysis.values import Selection
from penstock.environment import calm
from penstock.errors import OpLogError
from penstock.oplog.cells import Text
from penstock.oplog.columnar import ColumnLog, ColumnParser, make_room
from penstock.oplog.rows import bad_row

if TYPE_CHECKING:
    from typing import Self

__all__ = ["NotDivisibleError", "Pool"]

#: Blocks that each worker has, so that it need not wait.
_AHEAD: Final = 3
#: The place of a block that is counted here.
_NOWHERE: Final = -1


class NotDivisibleError(Exception):
    """A log can't be understood in parts: its columns change within."""


class _Worker:
    def __init__(self, memory: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - this program
                [sys.executable, "-m", "penstock.analysis.worker", str(theirs.fileno()), str(memory)],
                pass_fds=(theirs.fileno(), memory),
                env=os.environ | calm(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.channel = Connection(ours.detach())
        self.busy = 0


class Pool:
    """``workers`` processes, this one among them, that count blocks of text, which this one unpacks and hands out."""

    def __init__(self, workers: int, selection: Selection, limits: Limits | None) -> None:
        self.accumulator = Accumulator(selection, limits, exact=True)
        self._counter = Counter(self.accumulator)
        self._places = (workers - 1) * _AHEAD
        self._free = list(range(self._places))
        self._memory = make_memory(self._places)
        self._share = Share(self._memory, self._places)
        # Where the next block goes, and the place that this is, or None.
        self._room = self._own = make_room()
        self._place: int | None = None
        self._workers: list[_Worker] = []
        self._start = Start(self._places, selection, limits)
        self._count = workers - 1
        self._done: dict[int, Done] = {}
        self._bad: dict[int, Bad] = {}
        self._sent = 0

    def __enter__(self) -> Self:
        """Start the workers."""
        try:
            for _ in range(self._count):
                worker = _Worker(self._memory)
                self._workers.append(worker)
                self._send(worker, self._start)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.channel.close()
            worker.process.kill()
            worker.process.wait()
        self._workers = []
        os.close(self._memory)

    def read(self, log: ColumnLog, number: int, *, skip_bad_rows: bool, progress: Callable[[int], None]) -> int:
        """Have a log read; returns how many of its rows were bad. Raises OpLogError, and NotDivisibleError."""
        self._done, self._bad, self._sent, before = {}, {}, 0, 0
        for text in log.texts(self._next_room):
            if self._bad:
                break
            self._hand_out(log, number, text, skip_bad_rows)
            progress(log.position - before)
            before = log.position
        while any(worker.busy for worker in self._workers):
            self._hear()
        if self._bad:
            # Blocks go out in their order, so those before the first one with a bad row are done.
            first = min(self._bad)
            bad = self._bad[first]
            raise bad_row(log.name, self._lines_before(log, first) + bad.line, bad.text)
        bad_rows = sum(done.bad_rows for done in self._done.values())
        parser = ColumnParser(log.name, log.columns, bad=log.raise_bad, line=self._lines_before(log, self._sent))
        columns = log.last(parser)
        if columns is not None:
            self.accumulator.add(number, columns)
        return bad_rows + parser.bad_rows

    def finish(self) -> None:
        """Take from the workers what they counted."""
        for worker in self._workers:
            self._send(worker, None)
        for worker in self._workers:
            self.accumulator.merge(self._receive(worker))

    def _next_room(self) -> Array:
        """A place while a worker has not enough to do; else memory of this process."""
        self._hear(0)
        if self._place is None and any(worker.busy < _AHEAD for worker in self._workers):
            self._place = self._free.pop()
        self._room = self._own if self._place is None else self._share.room(self._place)
        return self._room

    def _hand_out(self, log: ColumnLog, number: int, text: Text, skip_bad_rows: bool) -> None:
        """Give a block to the worker that has least to do, or count it here if it is in no place."""
        if self._place is None or text.codes is not self._room:
            work = Work(self._sent, _NOWHERE, text.begin, text.end, number, log.columns, skip_bad_rows)
            self._take(self._counter.count(work, text))
        else:
            worker = min(self._workers, key=lambda one: one.busy)
            work = Work(self._sent, self._place, text.begin, text.end, number, log.columns, skip_bad_rows)
            self._place = None
            self._send(worker, work)
            worker.busy += 1
        self._sent += 1

    def _hear(self, seconds: float | None = None) -> None:
        """Wait for workers to have done something, as long as that; None for ever."""
        channels = {worker.channel: worker for worker in self._workers if worker.busy}
        for channel in cast("list[Connection]", wait(list(channels), seconds)):
            worker = channels[channel]
            done = self._receive(worker)
            worker.busy -= 1
            self._take(done)
            self._free.append(done.place)

    def _take(self, done: Done | Failed) -> None:
        if isinstance(done, Failed):
            raise NotDivisibleError
        self._done[done.number] = done
        if done.bad is not None:
            self._bad[done.number] = done.bad

    def _lines_before(self, log: ColumnLog, number: int) -> int:
        return log.header_line + sum(self._done[before].lines for before in range(number))

    def _send(self, worker: _Worker, message: Start | Work | None) -> None:
        try:
            worker.channel.send(message)
        except OSError:
            raise self._lost(worker) from None

    def _receive(self, worker: _Worker) -> Any:
        try:
            return worker.channel.recv()
        except (EOFError, OSError):
            raise self._lost(worker) from None

    def _lost(self, worker: _Worker) -> OpLogError:
        code = worker.process.wait()
        return OpLogError(f"a process that helped to read the logs ended with code {code}; try fewer workers, or none")
