"""How long lanes spend on making the bytes that they write."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.contents import Recipe
from penstock.payload import Payload

__all__ = ["Generating"]


@attrs.define
class Generating:
    """The payloads of one lane, timed. ``spent`` is in nanoseconds and begins with the measured window, at ``warm``."""

    payloads: Callable[[Recipe], Payload]
    warm: int
    spent: int = 0

    def open(self, recipe: Recipe) -> Payload:
        """The payload of a recipe, timed here."""
        return _Timed(self.payloads(recipe), self)


@attrs.frozen(slots=True)
class _Timed:
    payload: Payload
    lane: Generating

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        begin = monotonic_ns()
        self.payload.fill(buffer, obj=obj, offset=offset)
        if begin >= self.lane.warm:
            self.lane.spent += monotonic_ns() - begin
