"""The post of one rank: the only code that calls MPI once it is started, from one thread.

MPI libraries wait by spinning, and a call on a rank that is cut off may never return. So nothing here waits in MPI:
the thread looks for messages, starts what is to be sent and asks what is done, and sleeps between; shortly after
traffic, longer without. It hands every letter to the reader that was named for it.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from mpi4py import MPI

from penstock.clocks import monotonic_ns
from penstock_mpi.letters import Kind, Letter, pack, unpack

__all__ = ["Done", "Post"]

#: The tag of every message: an application that shares the communicator is unlikely to use it.
_TAG = 7167
#: Seconds between two looks, and for how long after something came or went: less often the longer nothing does.
_PACES = ((0.0002, 20_000_000), (0.008, 500_000_000))
_IDLE = 0.025
#: How often the library is asked who died.
_ASK_NS = 200_000_000
#: How many messages to one rank are on their way at once.
_WINDOW = 4

#: Told of a message: True when it went, False when it never will.
Done = Callable[[bool], None]


@attrs.define(slots=True)
class _Route:
    """What goes to, and comes from, one other rank."""

    waiting: collections.deque[tuple[int, bytearray, Done | None]] = attrs.field(factory=collections.deque)
    going: list[tuple[Any, bytearray, Done | None]] = attrs.field(factory=list)
    coming: collections.deque[tuple[Any, bytearray]] = attrs.field(factory=collections.deque)
    heard_ns: int = 0
    lost: str | None = None


class Post:
    """``deliver`` gets every letter and ``lose`` every rank that is lost, with the cause, both in the post's thread."""

    def __init__(self, deliver: Callable[[Letter], None], lose: Callable[[int, str], None]) -> None:
        self._comm = MPI.COMM_WORLD
        self._comm.Set_errhandler(MPI.ERRORS_RETURN)
        self.rank: int = self._comm.Get_rank()
        self.size: int = self._comm.Get_size()
        #: Whether to ask the library who died; set to False when it can't tell.
        self.asks = True
        #: Rank 0 is lost when nothing came for so long; None: never. Only of other ranks.
        self.lease_ns: int | None = None
        self._deliver = deliver
        self._lose = lose
        self._routes = {rank: _Route(heard_ns=monotonic_ns()) for rank in range(self.size) if rank != self.rank}
        self._abandoned: list[Any] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._asked_ns = 0
        self._beat_ns: int | None = None
        self._beaten_ns = 0
        self._thread = threading.Thread(target=self._work, name="penstock-mpi", daemon=True)

    def start(self) -> None:
        """Begin to carry letters."""
        self._thread.start()

    def beat(self, every_ns: int) -> None:
        """Tell all other ranks every so often that this one is there."""
        self._beat_ns = every_ns
        self._wake.set()

    def send(self, rank: int, letter: bytearray, *, session: int = 0, done: Done | None = None) -> None:
        """Send a letter of :func:`~penstock_mpi.letters.pack`. Letters to one rank arrive in order."""
        with self._lock:
            route = self._routes[rank]
            if route.lost is None and not self._ended.is_set():
                route.waiting.append((session, letter, done))
                self._wake.set()
                return
        if done is not None:
            done(False)

    def drop(self, rank: int, session: int) -> None:
        """Send nothing of a session that has not gone yet."""
        with self._lock:
            route = self._routes[rank]
            dropped = [done for of, _, done in route.waiting if of == session]
            route.waiting = collections.deque(item for item in route.waiting if item[0] != session)
        _tell(dropped, False)

    def lost(self, rank: int) -> str | None:
        """Why a rank counts as lost."""
        return self._routes[rank].lost

    def end(self, seconds: float) -> bool:
        """Send what waits, for at most so long, and stop. Whether all of it went."""
        deadline = monotonic_ns() + int(seconds * 1e9)
        while busy := any(route.waiting or route.going for route in self._routes.values() if route.lost is None):
            if monotonic_ns() > deadline or not self._thread.is_alive():
                break
            self._ended.wait(0.005)
        self._ended.set()
        self._wake.set()
        self._thread.join(seconds)
        return not busy

    def _work(self) -> None:
        lively_ns = monotonic_ns()
        while not self._ended.is_set():
            now = monotonic_ns()
            try:
                moved = self._look(now)
            except MPI.Exception as error:
                moved = self._judge(error)
            if moved:
                lively_ns = now
            quiet = now - lively_ns
            self._wake.wait(next((pause for pause, until in _PACES if quiet < until), _IDLE))
            self._wake.clear()

    def _look(self, now: int) -> bool:
        """One round. Whether anything moved."""
        if now - self._asked_ns > _ASK_NS:
            self._asked_ns = now
            self._ask()
            self._check_lease(now)
        if self._beat_ns is not None and now - self._beaten_ns > self._beat_ns:
            self._beaten_ns = now
            for rank in self._routes:
                self.send(rank, pack(Kind.BEAT))
        moved = self._take(now)
        for rank, route in self._routes.items():
            if route.waiting or route.going:
                moved |= self._push(rank, route)
        return moved

    def _take(self, now: int) -> bool:
        """Begin to receive what has come, and hand out what is here, each rank's in order."""
        status = MPI.Status()
        moved = False
        while (message := self._comm.Improbe(MPI.ANY_SOURCE, _TAG, status)) is not None:
            room = bytearray(status.Get_count(MPI.BYTE))
            self._routes[status.Get_source()].coming.append((message.Irecv([room, MPI.BYTE]), room))
            moved = True
        for rank, route in self._routes.items():
            while route.coming and route.coming[0][0].Test():
                _, room = route.coming.popleft()
                route.heard_ns = now
                self._deliver(unpack(rank, room))
                moved = True
        return moved

    def _push(self, rank: int, route: _Route) -> bool:
        """Begin to send what waits, and forget what has gone."""
        moved = False
        while route.lost is None and len(route.going) < _WINDOW:
            with self._lock:
                if not route.waiting:
                    break
                _, letter, done = route.waiting.popleft()
            route.going.append((self._comm.Isend([letter, MPI.BYTE], dest=rank, tag=_TAG), letter, done))
            moved = True
        while route.going and route.going[0][0].Test():
            _, _, done = route.going.pop(0)
            _tell([done], True)
            moved = True
        return moved

    def _ask(self) -> None:
        """Ask the library who died."""
        if not self.asks:
            return
        try:
            dead = self._comm.Get_failed()
        except (NotImplementedError, MPI.Exception):
            self.asks = False
            return
        count = dead.Get_size()
        if count:
            self._comm.Ack_failed(count)
            everybody = self._comm.Get_group()
            for rank in dead.Translate_ranks(list(range(count)), everybody):
                self._fail(rank, "its MPI process has died")
            everybody.Free()
        dead.Free()

    def _check_lease(self, now: int) -> None:
        if self.lease_ns is None:
            return
        silent = now - self._routes[0].heard_ns
        if silent > self.lease_ns:
            self._fail(0, f"nothing came from rank 0 for {silent / 1e9:.0f} s")

    def _judge(self, error: MPI.Exception) -> bool:
        """What an error of the library means: a rank that died, or the end of it all."""
        self._asked_ns = 0
        dead = {getattr(MPI, name, None) for name in ("ERR_PROC_FAILED", "ERR_PROC_FAILED_PENDING")}
        if self.asks and error.Get_error_class() in dead:
            self._ask()
            return True
        for rank in self._routes:
            self._fail(rank, f"the MPI library failed: {error}")
        return False

    def _fail(self, rank: int, cause: str) -> None:
        with self._lock:
            route = self._routes[rank]
            if route.lost is not None:
                return
            route.lost = cause
            unsent = [done for *_, done in (*route.waiting, *route.going)]
            # The library may still read and write these.
            self._abandoned.extend((*route.going, *route.coming))
            route.waiting.clear()
            route.going.clear()
            route.coming.clear()
        _tell(unsent, False)
        self._lose(rank, cause)


def _tell(them: Iterable[Done | None], went: bool) -> None:
    for done in them:
        if done is not None:
            done(went)
