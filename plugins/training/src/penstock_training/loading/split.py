"""Samples within files of a format: which reads a batch takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from penstock.formats import Sample
from penstock_training.loading.batches import Batch
from penstock_training.loading.opened import Opened
from penstock_training.loading.splitting import Split
from penstock_training.loading.table import FileTable
from penstock_training.loading.whole import SMALL, Job, Taker

__all__ = ["SplitFiles"]

#: Samples of one file with about so many bytes between them are read together: it is what one request spans.
_GAP = 64 * 1024


class SplitFiles:
    """Plans and carries out the jobs of batches. Threads share it."""

    def __init__(
        self, files: FileTable, split: Split, opened: Opened, taker: Taker, *, part_size: int, whole: bool
    ) -> None:
        """Samples that lie close together are read in one job, up to ``part_size`` bytes of them; ``whole``: files
        that hold one sample take one request.
        """
        self._files = files
        self._split = split
        self._opened = opened
        self._taker = taker
        self._part_size = part_size
        self._whole = whole

    @property
    def is_quick(self) -> bool:
        """Whether samples are small and lie in real files, most likely; as for whole files, one thread may do then."""
        split, files = self._split, self._files
        nbytes = int(files.sizes().sum())
        small = nbytes <= SMALL * split.samples
        return small and self._opened.stores.of(0).capabilities.directories

    def prepare(self, batch: Batch, numbers: NDArray[np.int64]) -> None:
        """Find out what memory the samples take, at most."""
        batch.sizes = self._split.nbytes_of(numbers).tolist()
        batch.nbytes = sum(batch.sizes)
        if self._whole:
            files = set(self._split.places(numbers)[0])
            batch.nbytes += sum(self._files.size(file) for file in files if self._split.count(file) == 1)

    def jobs(self, batch: Batch, together: int) -> Iterator[Job]:
        """The jobs that read a batch; each reads what lies together, however many samples that are."""
        files, indexes = self._split.places(np.array(batch.numbers, dtype=np.int64))
        weights = batch.sizes
        group: list[int] = []
        held = 0
        for place in sorted(range(len(files)), key=lambda place: (files[place], indexes[place])):
            if group and not (
                files[place] == files[group[-1]]
                and (indexes[place] - indexes[group[-1]] - 1) * weights[place] <= _GAP
                and held + weights[place] <= self._part_size
            ):
                yield self._job(batch, files[group[0]], group, indexes)
                group, held = [], 0
            group.append(place)
            held += weights[place]
        if group:
            yield self._job(batch, files[group[0]], group, indexes)

    def _job(self, batch: Batch, file: int, places: Sequence[int], indexes: Sequence[int]) -> Job:
        return partial(self._read, batch, file, places, [indexes[place] for place in places])

    def _read(self, batch: Batch, file: int, places: Sequence[int], indexes: Sequence[int]) -> None:
        taker = self._taker
        if taker.wants(batch, min(places)):
            try:
                found = self._samples(file, indexes)
            except BaseException as error:  # noqa: BLE001 - the consumer raises it
                if len(places) == 1:
                    taker.fail(batch, places[0], error)
                else:
                    self._read_singly(batch, file, places, indexes)
            else:
                for place, sample in zip(places, found, strict=True):
                    taker.take(batch, place, sample)
        taker.settle(batch)

    def _read_singly(self, batch: Batch, file: int, places: Sequence[int], indexes: Sequence[int]) -> None:
        """Find out which sample it is that can't be read."""
        for place, index in sorted(zip(places, indexes, strict=True)):
            if not self._taker.wants(batch, place):
                return
            try:
                (sample,) = self._samples(file, [index])
            except BaseException as error:  # noqa: BLE001 - the consumer raises it
                self._taker.fail(batch, place, error)
                return
            self._taker.take(batch, place, sample)

    def _samples(self, file: int, indexes: Sequence[int]) -> Sequence[Sample]:
        if self._whole and self._split.count(file) == 1:
            with self._split.open_whole(self._files, self._opened.stores, file) as opened:
                return opened.read(indexes)
        with self._opened.samples.use(file) as opened:
            return opened.read(indexes)
