"""Rank 0's view of the others: who they are, and the sessions with them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import anyio

from penstock.errors import RunError
from penstock_mpi.letters import Kind, Letter, pack
from penstock_mpi.links import MpiLink
from penstock_mpi.node import Node, this_node
from penstock_mpi.post import Post

__all__ = ["Ranks"]

#: How long the last words may take to reach the others, and theirs to come.
_FAREWELL_SECONDS = 20.0
#: How long a link waits for the word that its worker has ended: that has its lease to do so, but its launcher has not.
_CLOSE_SECONDS = 14.0
#: A rank learns of rank 0's life once in this part of its lease.
_BEATS_PER_LEASE = 10


class Ranks:
    """Made once in the process of rank 0, and lasting as long as it: one session after the other passes through it."""

    def __init__(self) -> None:
        self.post = Post(self._deliver, self._lose)
        self.mine = this_node()
        self._nodes: dict[int, Node] = {}
        self._versions: dict[int, str] = {}
        self._left: set[int] = set()
        self._links: dict[tuple[int, int], MpiLink] = {}
        self._session = 0
        self._changed = threading.Condition()

    def start(self, lease: float) -> None:
        """Begin to hear the others, who end when they hear nothing for ``lease`` seconds."""
        self.post.start()
        self.post.beat(int(lease / _BEATS_PER_LEASE * 1e9))

    async def roll_call(self, seconds: float) -> Mapping[int, Node]:
        """The nodes of all other ranks, as soon as all have reported.

        Raises RunError that names the ranks that did not, or that are of another version.
        """
        others = set(range(1, self.post.size))
        with anyio.move_on_after(seconds):
            while any(rank not in self._nodes and self.post.lost(rank) is None for rank in others):
                await anyio.sleep(0.01)
        missing = [self._describe(rank, seconds) for rank in sorted(others) if self._is_missing(rank)]
        if missing:
            raise RunError("; ".join(missing))
        here = version("penstock-mpi")
        other = [rank for rank in sorted(others) if self._versions[rank] != here]
        if other:
            told = "; ".join(f"rank {rank} on {self._nodes[rank].name} has {self._versions[rank]}" for rank in other)
            raise RunError(
                f"penstock-mpi is {here} on rank 0 ({self.mine.name}), but {told}: install the same version everywhere"
            )
        return {rank: self._nodes[rank] for rank in sorted(others)}

    def begin(self) -> int:
        """The number of a new session."""
        self._session += 1
        return self._session

    def open(self, rank: int, session: int, orders: Mapping[str, Any]) -> MpiLink:
        """Ask a rank to serve a session, and the link to it."""
        link = MpiLink(self.post, rank, session, patience=_CLOSE_SECONDS)
        self._links[rank, session] = link
        self.post.send(rank, pack(Kind.BEGIN, session, json.dumps(orders).encode()), session=session)
        return link

    def forget(self, links: Sequence[MpiLink]) -> None:
        """Nothing of these links is awaited any more."""
        for link in links:
            self._links.pop((link.rank, link.session), None)

    def dismiss(self) -> bool:
        """Tell all others that no session follows, and stop the post. Whether each has heard it: then all of them can
        come together to finalise MPI.
        """
        others = [rank for rank in range(1, self.post.size) if self.post.lost(rank) is None]
        for rank in others:
            self.post.send(rank, pack(Kind.LEAVE))
        with self._changed:
            self._changed.wait_for(
                lambda: all(rank in self._left or self._is_missing(rank) for rank in others),
                _FAREWELL_SECONDS,
            )
        agreed = all(rank in self._left for rank in others)
        for rank in others:
            self.post.send(rank, pack(Kind.PART, int(agreed)))
        return self.post.end(_FAREWELL_SECONDS / 4) and agreed

    def _deliver(self, letter: Letter) -> None:
        if letter.kind is Kind.HELLO:
            said = json.loads(letter.data)
            self._versions[letter.rank] = said["version"]
            self._nodes[letter.rank] = Node.from_message(said["node"])
        elif letter.kind is Kind.LEFT:
            with self._changed:
                self._left.add(letter.rank)
                self._changed.notify_all()
        elif (link := self._links.get((letter.rank, letter.session))) is not None:
            link.deliver(letter)

    def _lose(self, rank: int, cause: str) -> None:
        for link in list(self._links.values()):
            if link.rank == rank:
                link.lose(cause)
        with self._changed:
            self._changed.notify_all()

    def _is_missing(self, rank: int) -> bool:
        return rank not in self._nodes or self.post.lost(rank) is not None

    def _describe(self, rank: int, seconds: float) -> str:
        where = f"rank {rank} on {self._nodes[rank].name}" if rank in self._nodes else f"rank {rank}"
        if cause := self.post.lost(rank):
            return f"{where} is lost: {cause}; start the job again, without that host if it is broken"
        return (
            f"{where} did not report within {seconds:g} s: every rank has to run the same penstock command "
            "(mpirun --display map says where each of them is)"
        )
