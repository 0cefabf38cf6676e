"""What a launcher has to bring: a way for whole messages to one worker and back."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Link"]


class Link(Protocol):
    """Carries frames both ways, each whole and in order. A frame is one message's bytes, at most ``MAX_FRAME``.

    One task sends and one receives, at the same time. Links are made by the launcher, on both of its sides.
    """

    async def send(self, frame: bytes, /) -> None:
        """Hand a frame over; may wait while the other end is behind. Raises ConnectionError when that is gone."""

    async def receive(self) -> bytes | None:
        """The next frame; None when the other end is gone and what it sent has been received. Never raises for that,
        nor for a frame that was cut off."""

    async def close(self) -> None:
        """Tell the other end that nothing more comes, and wait until it has ended or, after seconds, was ended.

        Harmless when it has been closed or killed before.
        """

    def kill(self) -> None:
        """End the other end at once where it can be reached, and this one in any case: whoever waits in ``send`` or
        ``receive`` gets to know. Never waits, never raises."""

    async def cause(self) -> str:
        """Why the other end is gone, as far as is known, in a few words: ``killed by SIGKILL``, ``exit code 3: …``,
        ``the connection was reset``. Asked once it is gone; waits no longer than seconds."""
