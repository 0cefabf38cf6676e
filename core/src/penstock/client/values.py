"""What the rich operations return, beside the contract's own values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.errors import PenstockError

__all__ = ["CommonPrefix", "Count", "Outcome", "Removal", "Transfer", "TreeReport"]


@attrs.frozen(slots=True)
class CommonPrefix:
    """An entry of a listing that is not recursive: what the keys below it start with. Ends with ``/``."""

    key: str


@attrs.frozen(slots=True)
class Count:
    """The number of objects and the sum of their sizes in bytes."""

    objects: int
    nbytes: int


@attrs.frozen(slots=True)
class Outcome:
    """What became of one key: ``error`` is None when it is gone. ``nbytes`` is its size where it was listed."""

    key: str
    error: PenstockError | None = None
    nbytes: int = 0


@attrs.frozen(slots=True)
class Removal:
    """What a removal did, or with ``dry_run`` would do: objects, their bytes, and the outcomes that failed."""

    objects: int
    nbytes: int
    failures: Sequence[Outcome] = ()

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        for outcome in self.failures:
            if outcome.error is not None:
                raise outcome.error


@attrs.frozen(slots=True)
class Transfer:
    """What became of one object of a tree. Keys are relative to their stores.

    ``state``: ``copied``, ``skipped`` (the target is up to date), ``planned`` (a dry run), ``failed``.
    """

    source: str
    target: str
    nbytes: int
    state: Literal["copied", "skipped", "planned", "failed"]
    error: PenstockError | None = None


@attrs.frozen(slots=True)
class TreeReport:
    """What a copy of a tree did. ``nbytes`` counts the copied objects; failures keep their errors."""

    copied: int
    skipped: int
    nbytes: int
    failures: Sequence[Transfer] = ()

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        for transfer in self.failures:
            if transfer.error is not None:
                raise transfer.error
