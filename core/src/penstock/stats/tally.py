"""Tallies: what records add up to, by operation and size bucket.

A failed call counts as an error of its operation, in the bucket ``zero`` since nothing that it moved counts, and
stays out of counts, bytes and latencies. Calls of the warm-up are counted apart and stay out of everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt

from penstock.records import WARMUP, Op
from penstock.stats.buckets import LABELS, bucket_of
from penstock.stats.histogram import Histogram

__all__ = ["ALL", "FAMILIES", "READS", "Cell", "Tally", "family_of"]

#: The operations of each family; ``ALL`` has every one.
FAMILIES: Final[Mapping[str, frozenset[str]]] = {
    "GET": frozenset({"GET", "GET_RANGE"}),
    "PUT": frozenset({"PUT"}),
    "META": frozenset(op.name for op in Op) - {"GET", "GET_RANGE", "PUT"},
}
ALL: Final = "ALL"
#: The operations whose records hold when the first byte of a body arrived.
READS: Final = (Op.GET, Op.GET_RANGE)

_OPS: Final = {op.name: op for op in Op}
_FAMILY: Final = {operation: family for family, members in FAMILIES.items() for operation in members}
_GROUPS: Final = 16  # room for the size buckets in one byte beside the operation's code
_NUMBERS: Final = ("count", "errors", "nbytes", "objects", "retries")
_HISTOGRAMS: Final = ("service", "first_byte", "response", "lag")
_CELL_BYTES: Final = 1500  # of a cell's objects, without their arrays


def family_of(operation: str) -> str:
    """GET, PUT or META. Raises KeyError for a name that is no operation's."""
    return _FAMILY[operation]


@attrs.define(slots=True)
class Cell:
    """What calls of one kind add up to. ``count`` is of those that succeeded, ``nbytes`` what they moved.

    ``objects`` is how many objects they dealt with: those listed, or deleted in batches. ``retries`` counts the
    repeated attempts of all calls. ``service`` is from start to end, ``first_byte`` from start to the first byte of
    a read's body, ``response`` from when a planned call was due to its end. ``lag`` is how late a planned call
    started, from when it was due to its start; it alone counts failed calls too, for it says nothing of the storage.
    """

    count: int = 0
    errors: int = 0
    nbytes: int = 0
    objects: int = 0
    retries: int = 0
    service: Histogram = attrs.Factory(Histogram)
    first_byte: Histogram = attrs.Factory(Histogram)
    response: Histogram = attrs.Factory(Histogram)
    lag: Histogram = attrs.Factory(Histogram)

    @property
    def mean_bytes(self) -> float:
        """Bytes moved by a call, on average."""
        return self.nbytes / self.count if self.count else 0.0

    def merge(self, other: Cell) -> None:
        """Add what ``other`` counts."""
        # Written out: this is most of what a controller of many hosts does.
        self.count += other.count
        self.errors += other.errors
        self.nbytes += other.nbytes
        self.objects += other.objects
        self.retries += other.retries
        self.service.merge(other.service)
        self.first_byte.merge(other.first_byte)
        self.response.merge(other.response)
        self.lag.merge(other.lag)

    def compact(self) -> None:
        """Take as little memory as possible."""
        for name in _HISTOGRAMS:
            getattr(self, name).compact()

    @property
    def memory(self) -> int:
        """Bytes that it takes now, about."""
        histograms: Iterable[Histogram] = (getattr(self, name) for name in _HISTOGRAMS)
        return _CELL_BYTES + sum(each.memory for each in histograms)

    def to_message(self) -> dict[str, Any]:
        """Everything, exactly, as what JSON can hold."""
        message: dict[str, Any] = {name: getattr(self, name) for name in _NUMBERS}
        return message | {name: getattr(self, name).to_message() for name in _HISTOGRAMS}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Cell:
        """What :meth:`to_message` was called on."""
        made = cls()
        for name in _NUMBERS:
            setattr(made, name, int(message[name]))
        for name in _HISTOGRAMS:
            setattr(made, name, Histogram.from_message(message[name]))
        return made


class Tally:
    """Cells by operation and size bucket. It belongs to one thread."""

    __slots__ = ("cells", "warmup", "warmup_errors")

    def __init__(self) -> None:
        self.cells: dict[tuple[str, int], Cell] = {}
        #: Calls of the warm-up, failed ones included, and how many of them failed.
        self.warmup = 0
        self.warmup_errors = 0

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Count rows of :attr:`penstock.records.RecordBuffer.rows`."""
        if len(rows) == 0:
            return
        failed = rows["error"] != 0
        warming = (rows["flags"] & WARMUP) != 0
        if warming.any():
            self.warmup += int(warming.sum())
            self.warmup_errors += int((warming & failed).sum())
            rows, failed = rows[~warming], failed[~warming]
        if failed.any():
            self._add_failed(rows[failed])
            rows = rows[~failed]
        groups = rows["op"] * np.uint8(_GROUPS) + bucket_of(rows["nbytes"]).view(np.uint8)
        for group, members in _grouped(groups, rows):
            self._add_group(Op(group // _GROUPS), group % _GROUPS, members)

    def _add_failed(self, rows: npt.NDArray[Any]) -> None:
        for code, members in _grouped(rows["op"], rows):
            cell = self.cell(Op(code).name, 0)
            cell.errors += len(members)
            cell.retries += _retries(members)
            planned = members["due"] > 0
            if planned.any():
                cell.lag.record((members["start"] - members["due"])[planned])

    def _add_group(self, op: Op, bucket: int, rows: npt.NDArray[Any]) -> None:
        cell = self.cell(op.name, bucket)
        cell.count += len(rows)
        cell.nbytes += int(rows["nbytes"].sum())
        cell.objects += int(rows["n_objects"].sum(dtype=np.int64))
        cell.retries += _retries(rows)
        start, end = rows["start"], rows["end"]
        cell.service.record(end - start)
        if op in READS:
            first = rows["first"]
            some = first > 0
            cell.first_byte.record((first - start) if some.all() else (first - start)[some])
        due = rows["due"]
        planned = due > 0
        if planned.any():
            cell.response.record((end - due)[planned])
            cell.lag.record((start - due)[planned])

    def cell(self, operation: str, bucket: int) -> Cell:
        """The cell of an operation and bucket, made if there is none yet."""
        found = self.cells.get((operation, bucket))
        if found is None:
            found = self.cells[operation, bucket] = Cell()
        return found

    def merge(self, other: Tally) -> None:
        """Add what ``other`` counts."""
        self.warmup += other.warmup
        self.warmup_errors += other.warmup_errors
        for (operation, bucket), cell in other.cells.items():
            self.cell(operation, bucket).merge(cell)

    def operations(self) -> list[str]:
        """The operations that were called, in the order of :class:`penstock.records.Op`."""
        return sorted({operation for operation, _ in self.cells}, key=_OPS.__getitem__)

    def operation(self, name: str) -> Cell:
        """An operation's sum over all buckets, to be read only; empty if it was never called."""
        return _sum(cell for (operation, _), cell in self.cells.items() if operation == name)

    def roll_up(self, family: str) -> Cell:
        """The sum of a family, META, GET or PUT, or of ALL, to be read only. Raises KeyError for another name."""
        if family == ALL:
            return _sum(self.cells.values())
        members = FAMILIES[family]
        return _sum(cell for (operation, _), cell in self.cells.items() if operation in members)

    @property
    def count(self) -> int:
        """Calls that succeeded."""
        return sum(cell.count for cell in self.cells.values())

    @property
    def errors(self) -> int:
        """Calls that failed."""
        return sum(cell.errors for cell in self.cells.values())

    @property
    def nbytes(self) -> int:
        """Bytes moved by calls that succeeded."""
        return sum(cell.nbytes for cell in self.cells.values())

    def compact(self) -> None:
        """Take as little memory as possible; for a tally that nothing more is added to."""
        for cell in self.cells.values():
            cell.compact()

    @property
    def memory(self) -> int:
        """Bytes that it takes now, about."""
        return sum(cell.memory for cell in self.cells.values())

    def to_message(self) -> dict[str, Any]:
        """Everything, exactly, as what JSON can hold."""
        cells = [
            {"operation": operation, "bucket": bucket} | cell.to_message()
            for (operation, bucket), cell in self.cells.items()
        ]
        return {"warmup": self.warmup, "warmup_errors": self.warmup_errors, "cells": cells}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Tally:
        """What :meth:`to_message` was called on. Raises ValueError or KeyError for a message that makes no sense."""
        made = cls()
        made.warmup, made.warmup_errors = int(message["warmup"]), int(message["warmup_errors"])
        for cell in message["cells"]:
            operation, bucket = str(cell["operation"]), int(cell["bucket"])
            if operation not in _OPS or not 0 <= bucket < len(LABELS):
                raise ValueError(f"no operation {operation} with size bucket {bucket}")
            made.cells[operation, bucket] = Cell.from_message(cell)
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        mine, theirs = (self.warmup, self.warmup_errors), (other.warmup, other.warmup_errors)
        return mine == theirs and self.cells == other.cells

    __hash__ = None  # type: ignore[assignment]


def _sum(cells: Iterable[Cell]) -> Cell:
    found = list(cells)
    if len(found) == 1:
        return found[0]
    total = Cell()
    for cell in found:
        total.merge(cell)
    return total


def _retries(rows: npt.NDArray[Any]) -> int:
    return int(rows["attempts"].sum(dtype=np.int64)) - len(rows)


def _grouped(groups: npt.NDArray[np.uint8], rows: npt.NDArray[Any]) -> Iterable[tuple[int, npt.NDArray[Any]]]:
    """Each group that occurs and its rows. Sorting bytes is a radix sort: one pass over them."""
    counts = np.bincount(groups, minlength=1)
    present = np.flatnonzero(counts)
    if len(present) == 1:
        yield int(present[0]), rows
        return
    ordered = rows[np.argsort(groups, kind="stable")]
    end = 0
    for group in present:
        begin, end = end, end + int(counts[group])
        yield int(group), ordered[begin:end]
