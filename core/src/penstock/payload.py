"""The contract of a payload: where the bytes that a benchmark writes come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

__all__ = ["API_VERSION", "Payload", "PayloadType"]

API_VERSION = 1


class Payload(Protocol):
    """An endless family of byte streams, one for each object number.

    The bytes depend on the seed, the object and the offset alone, so any part can be made, or checked, without
    the rest. Any thread may call it at any time.
    """

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on."""


@attrs.frozen(slots=True, kw_only=True)
class PayloadType:
    """A payload as its plugin offers it: ``open(seed)`` makes one. The name is what ``fill:`` says.

    ``open`` raises UsageError, with the remedy, where something that it needs is not installed.
    """

    name: str
    summary: str
    open: Callable[[int], Payload]
    #: Nothing in it repeats or compresses, so dedup and compress factors can be put on top and will hold.
    unique: bool = True
    api: int = API_VERSION
