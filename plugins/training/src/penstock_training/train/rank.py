"""One rank: what it does from beginning to end, meeting the others after each step as all-reduce would make it.

It says what it has measured, block by block, so that nothing is lost when another rank is. A block is an epoch, or
what lies between two checkpoints of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import attrs
import numpy as np

from penstock.clocks import Anchor
from penstock.errors import RunError
from penstock.layers.timing import REAL, Timing
from penstock.urls import join
from penstock_training.datasets import file_name, write_dataset
from penstock_training.datasets.writing import Written, index_endings
from penstock_training.loading import Dataset
from penstock_training.train.batches import Batch, batches
from penstock_training.train.plan import Part, Plan
from penstock_training.train.saving import folder, read_share, write_share
from penstock_training.train.taps import Counts, Taps

__all__ = ["Block", "Meeting", "Rank", "Saved", "Step", "StoppedError", "part_recipe"]


class StoppedError(Exception):
    """The job is to end here: all ranks are told so at the same meeting."""


class Meeting(Protocol):
    """How a rank meets the others, and says what it has measured."""

    def meet(self, place: str) -> Any:
        """Wait until all ranks are at this place; gives what the coordinator has for it. Raises StoppedError."""

    def tell(self, what: Block | Saved | Written) -> None:
        """Pass on a measurement."""


@attrs.frozen(slots=True)
class Step:
    """One batch: seconds until it was there, of computation, and until all ranks had met; and when it was there."""

    loaded_ns: int
    load: float
    compute: float
    wait: float
    samples: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.load + self.compute + self.wait


@attrs.frozen(slots=True)
class Block:
    """Steps of one rank that follow each other. Times are nanoseconds since 1970."""

    rank: int
    kind: str
    epoch: int
    number: int
    begin_ns: int
    end_ns: int
    steps: tuple[Step, ...]
    counts: Counts


@attrs.frozen(slots=True)
class Saved:
    """What one rank wrote, or read, of one checkpoint."""

    rank: int
    kind: str
    epoch: int
    step: int
    begin_ns: int
    seconds: float
    nbytes: int


def part_recipe(plan: Plan, part: Part) -> Any:
    """The recipe of a part: files to evaluate on are none of those to train on."""
    return plan.recipe if part.kind == "train" else attrs.evolve(plan.recipe, seed=plan.recipe.seed + 1_000_003)


class Rank:
    """Runs a plan as one of its ranks."""

    def __init__(self, plan: Plan, rank: int, meeting: Meeting, taps: Taps, *, timing: Timing = REAL) -> None:
        self._plan = plan
        self._rank = rank
        self._meeting = meeting
        self._taps = taps
        self._timing = timing
        # A clock of a test has no wall beside it.
        self._anchor = Anchor.now() if timing is REAL else Anchor(0)
        self._steps = 0
        self._saved = 0

    def run(self) -> None:
        """Do what the plan says. Raises StoppedError where it was ended, and whatever went wrong."""
        plan = self._plan
        try:
            if plan.generate:
                self._generate()
            if plan.train:
                self._train()
            elif plan.checkpoint:
                self._only_checkpoints()
            if plan.generate and not plan.keep_files:
                # Nobody reads any more.
                self._meeting.meet("read")
        finally:
            if plan.generate and not plan.keep_files:
                self._remove()

    # Data.

    def _parts(self) -> list[Part]:
        return [part for part in (self._plan.training, self._plan.evaluation) if part.files]

    def _mine(self, part: Part) -> range:
        return range(self._rank, part.files, self._plan.ranks)

    def _generate(self) -> None:
        plan = self._plan
        self._meeting.meet("generate")
        for part in self._parts():
            write_dataset(
                part.uri,
                part_recipe(plan, part),
                part.files,
                numbers=self._mine(part),
                subfolders=part.subfolders,
                threads=max(1, plan.reading.threads),
                options=plan.options or None,
                done=self._meeting.tell,
            )
        self._meeting.meet("generated")

    def _remove(self) -> None:
        import penstock

        for part in self._parts():
            recipe = part_recipe(self._plan, part)
            names = (file_name(recipe, number, part.files, part.subfolders) for number in self._mine(part))
            uris = [join(part.uri, name + ending) for name in names for ending in ("", *index_endings(recipe))]
            for outcome in penstock.delete_many(uris, options=self._plan.options or None):
                if outcome.error is not None:
                    raise outcome.error

    # Epochs.

    def _train(self) -> None:
        plan = self._plan
        training, evaluation = self._meeting.meet("datasets")
        for epoch in range(1, plan.epochs + 1):
            self._meeting.meet(f"epoch {epoch}")
            done = self._epoch(plan.training, training, epoch)
            if plan.evaluate and _due(epoch, plan.eval_after_epoch, plan.epochs_between_evals):
                self._meeting.meet(f"evaluation {epoch}")
                self._epoch(plan.evaluation, evaluation, epoch)
            saves = plan.checkpoints
            if plan.checkpoint and _due(epoch, saves.after_epoch, saves.every_epochs):
                self._save(epoch, self._steps)
            if done:
                return

    def _epoch(self, part: Part, dataset: Dataset | None, epoch: int) -> bool:
        """Go through a dataset once; True where the job has all its steps."""
        plan, train = self._plan, part.kind == "train"
        random = np.random.default_rng([plan.seed, self._rank, epoch, int(train)])
        found = batches(plan, part, dataset, rank=self._rank, epoch=epoch, timing=self._timing)
        limit, number, taken = part.steps(plan.ranks), 0, 0
        with contextlib.closing(found):  # type: ignore[type-var]
            while taken < limit:
                number += 1
                with self._block(part, epoch, number) as steps:
                    while taken < limit:
                        steps.append(self._step(part, found, random))
                        taken += 1
                        self._steps += train
                        if train and (self._all_done or self._saves_now):
                            break
                if train and self._saves_now:
                    self._save(epoch, self._steps)
                if train and self._all_done:
                    return True
        return False

    @property
    def _all_done(self) -> bool:
        return self._steps == self._plan.total_steps

    @property
    def _saves_now(self) -> bool:
        every = self._plan.checkpoints.every_steps
        return self._plan.checkpoint and every > 0 and self._steps % every == 0

    def _step(self, part: Part, found: Iterator[Batch], random: np.random.Generator) -> Step:
        begin = self._timing.clock()
        batch = next(found, None)
        if batch is None:
            raise RunError(f"{part.uri} had fewer batches than its files say; look whether they are as they were made")
        loaded = self._timing.clock()
        if not part.compute.never:
            self._timing.sleep(part.compute.draw(random))
        computed = self._timing.clock()
        samples = batch.samples
        del batch
        self._meeting.meet("step")
        met = self._timing.clock()
        seconds = ((loaded - begin) / 1e9, (computed - loaded) / 1e9, (met - computed) / 1e9)
        return Step(self._anchor.wall(loaded), *seconds, samples)

    @contextlib.contextmanager
    def _block(self, part: Part, epoch: int, number: int) -> Iterator[list[Step]]:
        """Measures a block, and tells what it has even where it was cut short."""
        steps: list[Step] = []
        before, begin = self._taps.counts(), self._timing.clock()
        try:
            yield steps
        finally:
            end = self._timing.clock()
            moved = self._taps.counts() - before
            wall = self._anchor.wall
            self._meeting.tell(Block(self._rank, part.kind, epoch, number, wall(begin), wall(end), tuple(steps), moved))

    # Checkpoints.

    def _only_checkpoints(self) -> None:
        saves = self._plan.checkpoints
        random = np.random.default_rng([self._plan.seed, 2])
        for number in range(1, saves.writes + 1):
            self._timing.sleep(saves.pause.draw(random))
            self._save(number, number)
        for number in range(saves.reads):
            self._timing.sleep(saves.pause.draw(random))
            which = number % saves.writes + 1 if saves.writes else number + 1
            self._load(which, which)

    def _save(self, epoch: int, step: int) -> None:
        self._saved += 1
        place = folder(self._plan.checkpoints, epoch, step)
        seed = self._plan.seed * 1_000_003 + self._saved
        saves = self._plan.checkpoints
        self._timed("write", epoch, step, lambda: write_share(saves, place, rank=self._rank, seed=seed))

    def _load(self, epoch: int, step: int) -> None:
        saves = self._plan.checkpoints
        place = folder(saves, epoch, step)
        rank = (self._rank + saves.shift) % self._plan.ranks
        self._timed("read", epoch, step, lambda: read_share(saves, place, rank=rank))

    def _timed(self, kind: str, epoch: int, step: int, work: Callable[[], int]) -> None:
        self._meeting.meet(f"{kind} checkpoint {epoch} {step}")
        begin = self._timing.clock()
        nbytes = work()
        if self._plan.checkpoints.rank_sync:
            self._meeting.meet("synchronized")
        end = self._timing.clock()
        saved = Saved(self._rank, kind, epoch, step, self._anchor.wall(begin), (end - begin) / 1e9, nbytes)
        self._meeting.tell(saved)
        self._meeting.meet("saved")


def _due(epoch: int, first: int, every: int) -> bool:
    return every > 0 and epoch >= first and (epoch - first) % every == 0
