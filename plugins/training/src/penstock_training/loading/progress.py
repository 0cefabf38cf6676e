"""Where the consumer of a loader is, and the state that says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from penstock.errors import UsageError

__all__ = ["Progress"]

_VERSION = 1


@attrs.define(kw_only=True)
class Progress:
    """Which batches of an epoch were handed out: those below ``batches``, and in completion order those ``ahead``."""

    epoch: int
    batches: int = 0
    ahead: set[int] = attrs.field(factory=set)

    def hand_out(self, number: int) -> None:
        """This batch went to the consumer."""
        self.ahead.add(number)
        while self.batches in self.ahead:
            self.ahead.remove(self.batches)
            self.batches += 1

    def rest(self, count: int) -> Iterator[int]:
        """The numbers of the batches that were not handed out, of ``count`` in all."""
        return (number for number in range(self.batches, count) if number not in self.ahead)

    def state(self, made_of: Mapping[str, Any]) -> dict[str, Any]:
        """Plain values for a state; ``made_of`` is what decides what the batches hold."""
        return {
            "version": _VERSION,
            "epoch": self.epoch,
            "batches": self.batches,
            "ahead": sorted(self.ahead),
            "of": dict(made_of),
        }

    @staticmethod
    def of_state(state: Mapping[str, Any], made_of: Mapping[str, Any]) -> Progress:
        """The progress that a state tells of. Raises UsageError where it belongs to another loader, or is none."""
        try:
            version, epoch, batches = (int(state[name]) for name in ("version", "epoch", "batches"))
            ahead, found = {int(number) for number in state["ahead"]}, dict(state["of"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no state of a loader: {error!r}") from None
        if version != _VERSION:
            raise UsageError(f"the state is of version {version}; this release reads version {_VERSION}")
        for name in dict.fromkeys([*made_of, *found]):
            if found.get(name) != made_of.get(name):
                what = "is of another dataset" if name == "dataset" else f"was taken with another {name}"
                raise UsageError(
                    f"the state {what}: {found.get(name)!r}, this loader has {made_of.get(name)!r}; "
                    "make the loader as it was, or begin the epoch anew"
                )
        return Progress(epoch=epoch, batches=batches, ahead=ahead)
