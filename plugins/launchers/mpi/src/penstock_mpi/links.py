"""A link of penstock over the post: frames of one session with one other rank."""

from __future__ import annotations

import anyio

from penstock_mpi.letters import Kind, Letter, pack, pieces
from penstock_mpi.mailbox import Flag, Mailbox
from penstock_mpi.post import Post

__all__ = ["MpiLink"]


class MpiLink:
    """A :class:`penstock.launching.Link`. The post's thread hands it what comes with :meth:`deliver` and :meth:`lose`.

    ``patience`` is how many seconds ``close`` waits for the word of the other end that it has ended. 0 is for that end:
    it has its last word in :meth:`part`, when it knows why.
    """

    def __init__(self, post: Post, rank: int, session: int, *, patience: float) -> None:
        self.rank = rank
        self.session = session
        self._post = post
        self._patience = patience
        self._pieces = bytearray()
        self._frames: Mailbox[bytes] = Mailbox()
        self._parted = False
        if (cause := post.lost(rank)) is not None:
            self.lose(cause)

    def deliver(self, letter: Letter) -> None:
        """Take a letter of this session."""
        if letter.kind is Kind.CLOSED:
            self.lose(letter.data.decode(errors="replace") or "it closed the link")
        elif letter.kind is Kind.PIECE or self._pieces:
            self._pieces += letter.data
            if letter.kind is Kind.LAST:
                whole, self._pieces = bytes(self._pieces), bytearray()
                self._frames.put(whole)
        else:
            self._frames.put(letter.data)

    def lose(self, cause: str) -> None:
        """Nothing more comes. The first cause is kept."""
        self._frames.close(cause)

    async def send(self, frame: bytes, /) -> None:
        if self._parted or self._frames.cause is not None:
            raise ConnectionError(self._frames.cause or "closed")
        gone = Flag()
        letters = list(pieces(self.session, frame))
        for letter in letters[:-1]:
            self._post.send(self.rank, letter, session=self.session)
        self._post.send(self.rank, letters[-1], session=self.session, done=gone.set)
        if not await gone.wait():
            raise ConnectionError(self._frames.cause or "closed")

    async def receive(self) -> bytes | None:
        return await self._frames.get()

    async def close(self) -> None:
        if not self._patience:
            self.lose("closed")
            return
        self.part("")
        with anyio.move_on_after(self._patience):
            await self._frames.closed()
        self.lose("it did not end in time")

    def kill(self) -> None:
        self._post.drop(self.rank, self.session)
        self.part("given up")
        self.lose("given up")

    async def cause(self) -> str:
        return self._frames.cause or "it closed the link"

    def part(self, why: str) -> None:
        """Tell the other end, once, that this one is gone."""
        if not self._parted:
            self._parted = True
            self._post.send(self.rank, pack(Kind.CLOSED, self.session, why.encode()), session=self.session)
