"""Reading batches of samples: the threads, what they read by, and what becomes of a sample that is there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.errors import StoreError
from penstock_training.loading.arenas import Arenas
from penstock_training.loading.batches import Batch
from penstock_training.loading.checking import as_plain, at_least, one_of
from penstock_training.loading.collating import collate as default_collate
from penstock_training.loading.crew import Crew
from penstock_training.loading.items import Item
from penstock_training.loading.landing import StoppedError
from penstock_training.loading.split import SplitFiles
from penstock_training.loading.whole import WholeFiles

if TYPE_CHECKING:
    from penstock_training.loading.dataset import Dataset

__all__ = ["Fetcher", "Reading"]

_MIB = 1024 * 1024
_LOCAL, _REMOTE = 2, 16

#: Seconds that a consumer waits for one thread before it asks whether others would help, and seconds that a small
#: file takes that comes from memory.
_PATIENCE, _PACE = 0.01, 0.0001


@attrs.frozen(kw_only=True)
class Reading:
    """How samples are read; see :class:`~penstock_training.loading.Loader` for the meaning of each."""

    num_workers: int | None = attrs.field(default=None, converter=as_plain, validator=at_least(0))
    reader: Literal["whole", "range"] = attrs.field(default="whole", validator=one_of("whole", "range"))
    part_size: int = attrs.field(default=8 * _MIB, converter=as_plain, validator=at_least(1))
    parts_in_flight: int = attrs.field(default=4, converter=as_plain, validator=at_least(1))
    transform: Callable[[Item], Any] | None = None
    collate: Callable[[list[Any]], Any] = default_collate
    page_cache_mode: str | None = attrs.field(
        default=None, validator=one_of(None, "auto", "sequential", "random", "dontneed", "normal")
    )
    memory: int = 256 * _MIB


class Fetcher:
    """Reads batches of one dataset with threads of its own. Any thread may begin one.

    ``change`` is notified when a batch is done, and when all is stopped.
    """

    def __init__(self, dataset: Dataset, reading: Reading) -> None:
        self._dataset = dataset
        self._transform = reading.transform
        self._collate = reading.collate
        self.takes_rows = reading.transform is None and reading.collate is default_collate
        self._arenas = Arenas(reading.memory)
        self.change = threading.Condition()
        self.stopped = False
        self._source, lanes = self._opened(dataset, reading)
        self.crew = Crew(self.workers * lanes, begin_with=1 if self._source.is_quick else None)
        #: How many samples a job reads.
        self._together = 1.0

    def _opened(self, dataset: Dataset, reading: Reading) -> tuple[WholeFiles | SplitFiles, int]:
        ranged = reading.reader == "range"
        lanes = reading.parts_in_flight if ranged else 1
        opened = dataset.opened(
            page_cache_mode=reading.page_cache_mode,
            part_size=reading.part_size,
            threads=(_REMOTE if reading.num_workers is None else max(1, reading.num_workers)) * lanes,
        )
        if reading.num_workers is not None:
            self.workers = reading.num_workers
        else:
            self.workers = _LOCAL if opened.stores.of(0).capabilities.directories else _REMOTE
        if dataset.split is not None:
            split = SplitFiles(
                dataset.files, dataset.split, opened, self, part_size=reading.part_size, whole=not ranged
            )
            return split, 1
        whole = WholeFiles(
            dataset.files,
            opened.stores,
            self._arenas,
            self,
            part_size=reading.part_size if ranged else None,
            lanes=lanes,
        )
        return whole, lanes if whole.has_parts else 1

    def prepare(self, number: int, numbers: NDArray[np.int64]) -> Batch:
        """A batch of these samples, and what memory it takes; nothing is read yet."""
        batch = Batch(number, numbers.tolist(), self.change)
        if batch.numbers:
            self._source.prepare(batch, numbers)
        return batch

    def begin(self, batch: Batch) -> None:
        """Have a batch read. It is ``done`` some time after."""
        # Few enough samples in one job that all threads have work, many enough that they are handed over seldom.
        together = -(-len(batch.numbers) // (2 * self.workers or 1))
        jobs = list(self._source.jobs(batch, together)) if batch.numbers else [partial(self.settle, batch)]
        self._together = len(batch.numbers) / len(jobs)
        batch.expect(len(jobs))
        self.crew.submit(jobs)

    def read(self, numbers: NDArray[np.int64]) -> Any:
        """Read a batch now, and return it. Raises what reading it raises."""
        batch = self.prepare(0, numbers)
        self.begin(batch)
        while not (self.workers or batch.done):
            self.crew.help()
        self.wait(lambda: batch.done or self.stopped)
        if batch.failure is not None:
            raise batch.failure
        return batch.take()

    def wait(self, there: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until ``there`` holds, which is asked when ``change`` is notified. False: it does not after
        ``timeout`` seconds.

        Where one thread reads at first, this is where the others are called: when it keeps the consumer waiting, and
        not because there is so much to read.
        """
        with self.change:
            while self.crew.may_grow:
                patience = _PATIENCE if timeout is None else min(_PATIENCE, timeout)
                before = self.crew.done
                if self.change.wait_for(there, patience):
                    return True
                if (self.crew.done - before) * self._together * _PACE < patience:
                    self.crew.grow()
                if timeout is not None:
                    timeout -= patience
                    if not timeout:
                        return False
            return self.change.wait_for(there, timeout)

    def is_stopped(self) -> bool:
        """Whether nobody wants anything any more."""
        return self.stopped

    def wants(self, batch: Batch, place: int, /) -> bool:
        """Whether this sample is still to be read: not where an earlier one of its batch has failed."""
        return place < batch.failed_at and not self.stopped

    def take(self, batch: Batch, place: int, data: object, /) -> None:
        """Make the sample of what was read."""
        if self._transform is None:
            batch.values[place] = data
            return
        try:
            batch.values[place] = self._transform(self.item(batch.numbers[place], data))
        except BaseException as error:  # noqa: BLE001 - the consumer raises it
            self.fail(batch, place, error)

    def item(self, number: int, data: object) -> Item:
        """A sample with its names."""
        file, index = self._dataset.place(number)
        return Item(number, self._dataset.files.uri(file), index, data)

    def fail(self, batch: Batch, place: int, error: BaseException, /) -> None:
        """Keep an error for the consumer, with the name of the sample in it."""
        if isinstance(error, StoppedError):
            return
        name = self._dataset.name(batch.numbers[place])
        if isinstance(error, StoreError) and not error.uri:
            error.uri = name.partition("#")[0]
        error.add_note(f"sample {batch.numbers[place]} of the dataset: {name}")
        batch.fail(place, error)

    def settle(self, batch: Batch, /) -> None:
        """A job of this batch has ended; with the last one the batch is made of its samples."""
        if not batch.settle() or self.stopped:
            return
        value = None
        if batch.failure is None:
            try:
                value = self._made(batch)
            except BaseException as error:  # noqa: BLE001 - the consumer raises it
                first, last = (self._dataset.name(batch.numbers[place]) for place in (0, -1))
                error.add_note(f"the batch of {len(batch.numbers)} samples from {first} to {last}")
                batch.fail(0, error)
        batch.finish(value)

    def _made(self, batch: Batch) -> Any:
        if self.takes_rows and batch.stacked and batch.root is not None:
            return batch.root[: batch.room].reshape(len(batch.sizes), batch.sizes[0])
        return self._collate(batch.values)

    def stop(self) -> None:
        """Begin no more requests, and break off those under way. Returns at once."""
        self.stopped = True
        self.crew.stop()
        self._arenas.clear()
        with self.change:
            self.change.notify_all()

    def close(self) -> None:
        """Stop, and wait until every request has ended."""
        self.stop()
        self.crew.join()
