"""How reads fared that were checked against what had been written, and what the check cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Verification"]

_SUMS = ("reads", "nbytes", "stale", "torn", "corrupt", "wrong_size", "unknown", "cpu_ns")


@attrs.define
class Verification:
    """Counts of one worker, or of several.

    ``reads`` were checked, ``nbytes`` of them. Those found wrong are among them: ``stale``, ``torn`` and ``corrupt``
    by their bytes, ``wrong_size`` by their number. ``unknown`` were not checked because nobody knows what the object
    should hold; ``example`` is the key of one. ``cpu_ns`` is the processor time that checking took.
    """

    mode: str = ""
    reads: int = 0
    nbytes: int = 0
    stale: int = 0
    torn: int = 0
    corrupt: int = 0
    wrong_size: int = 0
    unknown: int = 0
    cpu_ns: int = 0
    example: str = ""

    @property
    def wrong(self) -> int:
        """Reads that were not what was written."""
        return self.stale + self.torn + self.corrupt + self.wrong_size

    def merge(self, other: Verification) -> None:
        """Add what ``other`` counts."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.mode = self.mode or other.mode
        self.example = self.example or other.example

    def since(self, earlier: Verification) -> Verification:
        """What has come since ``earlier``, of the same worker."""
        counts = {name: getattr(self, name) - getattr(earlier, name) for name in _SUMS}
        return attrs.evolve(self, **counts, example=self.example if counts["unknown"] else "")

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        return attrs.asdict(self)

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Verification:
        """What :meth:`to_message` was called on."""
        return cls(**message)
