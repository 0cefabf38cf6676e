"""Figures of a job, from what its ranks have measured.

Accelerator utilization is that of DLIO and MLPerf Storage: of each rank and block, the computation of the steps that
count over the time that they took, which is that of the block without the excluded steps. Those at the start of a block
are excluded because they wait for the first batches. Samples per second are the samples of the steps that count over
the same time. (DLIO multiplies the batch by two fewer than all steps instead, whatever is excluded.) Bytes are those
that the stores moved, over the whole time of the block.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

import attrs

from penstock_training.train.rank import Block, Saved

__all__ = ["CheckpointFigures", "Figures", "RankFigures", "checkpoint_figures", "figures_of", "mean", "spread"]

_MIB = 1024 * 1024


@attrs.frozen
class RankFigures:
    """One rank in one epoch. ``au`` is a share of 1; it and ``samples_per_second`` are None where no step counts."""

    rank: int
    steps: int
    samples: int
    seconds: float
    compute: float
    load: float
    wait: float
    au: float | None
    samples_per_second: float | None
    nbytes: int
    calls: int
    errors: int


@attrs.frozen
class Figures:
    """All ranks in one epoch: the mean of their utilizations, the sum of their samples per second."""

    kind: str
    epoch: int
    begin_ns: int
    end_ns: int
    ranks: tuple[RankFigures, ...]

    @property
    def seconds(self) -> float:
        """From the first rank's begin to the last one's end."""
        return (self.end_ns - self.begin_ns) / 1e9

    @property
    def au(self) -> float | None:
        """A share of 1."""
        return mean(rank.au for rank in self.ranks)

    @property
    def samples_per_second(self) -> float | None:
        """Of all ranks."""
        known = [rank.samples_per_second for rank in self.ranks if rank.samples_per_second is not None]
        return sum(known) if known else None

    @property
    def nbytes(self) -> int:
        """What the stores delivered."""
        return sum(rank.nbytes for rank in self.ranks)

    @property
    def mib_per_second(self) -> float:
        """Of all ranks, over the whole time."""
        return self.nbytes / _MIB / self.seconds if self.seconds > 0 else 0.0


@attrs.frozen
class CheckpointFigures:
    """One checkpoint: written or read when the slowest rank had done it."""

    kind: str
    epoch: int
    step: int
    seconds: float
    nbytes: int

    @property
    def gib_per_second(self) -> float:
        """All bytes over the time of the slowest rank."""
        return self.nbytes / 1024**3 / self.seconds if self.seconds > 0 else 0.0


def figures_of(blocks: Iterable[Block], *, exclude_start: int, exclude_end: int) -> list[Figures]:
    """The figures of every epoch, and of every evaluation, in their order."""
    groups: dict[tuple[int, str], list[Block]] = {}
    for block in blocks:
        groups.setdefault((block.epoch, block.kind), []).append(block)
    # An evaluation, of the files of valid, comes after the epoch.
    return [_figures(kind, epoch, groups[epoch, kind], exclude_start, exclude_end) for epoch, kind in sorted(groups)]


def _figures(kind: str, epoch: int, blocks: Sequence[Block], start: int, end: int) -> Figures:
    ranks = sorted({block.rank for block in blocks})
    return Figures(
        kind,
        epoch,
        min(block.begin_ns for block in blocks),
        max(block.end_ns for block in blocks),
        tuple(_of_rank(rank, [block for block in blocks if block.rank == rank], start, end) for rank in ranks),
    )


def _of_rank(rank: int, blocks: Sequence[Block], start: int, end: int) -> RankFigures:
    steps = [step for block in blocks for step in block.steps]
    computed = taken = 0.0
    samples = 0
    for block in blocks:
        kept = block.steps[start : max(start, len(block.steps) - end)]
        if kept:
            left_out = sum(step.seconds for step in block.steps) - sum(step.seconds for step in kept)
            computed += sum(step.compute for step in kept)
            taken += (block.end_ns - block.begin_ns) / 1e9 - left_out
            samples += sum(step.samples for step in kept)
    return RankFigures(
        rank=rank,
        steps=len(steps),
        samples=sum(step.samples for step in steps),
        seconds=sum(block.end_ns - block.begin_ns for block in blocks) / 1e9,
        compute=sum(step.compute for step in steps),
        load=sum(step.load for step in steps),
        wait=sum(step.wait for step in steps),
        au=computed / taken if taken > 0 else None,
        samples_per_second=samples / taken if taken > 0 else None,
        nbytes=sum(block.counts.read for block in blocks),
        calls=sum(block.counts.calls for block in blocks),
        errors=sum(block.counts.errors for block in blocks),
    )


def checkpoint_figures(saved: Iterable[Saved]) -> list[CheckpointFigures]:
    """Every checkpoint that was written or read, in the order of their ends."""
    groups: dict[tuple[str, int, int, int], list[Saved]] = {}
    seen: dict[tuple[int, str, int, int], int] = {}
    for each in saved:
        # The same one may be read again.
        turn = seen[each.rank, each.kind, each.epoch, each.step] = (
            seen.get((each.rank, each.kind, each.epoch, each.step), 0) + 1
        )
        groups.setdefault((each.kind, each.epoch, each.step, turn), []).append(each)
    return [
        CheckpointFigures(kind, epoch, step, max(one.seconds for one in group), sum(one.nbytes for one in group))
        for (kind, epoch, step, _), group in groups.items()
    ]


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float], of: Callable[[Sequence[float]], float] = statistics.pstdev) -> float:
    """The standard deviation of all values, as NumPy's; 0 of none."""
    return of(values) if values else 0.0
