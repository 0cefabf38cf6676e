"""Batches of samples, read ahead by threads, in a deterministic order that can be resumed anywhere."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import attrs

from penstock.errors import UsageError
from penstock_training.loading.collating import collate as default_collate
from penstock_training.loading.dataset import Dataset
from penstock_training.loading.fetching import Reading
from penstock_training.loading.items import Item
from penstock_training.loading.iteration import AsyncIteration, Iteration, Pacing
from penstock_training.loading.plan import Plan
from penstock_training.loading.progress import Progress

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Loader"]

_MIB = 1024 * 1024


class Loader:
    """Batches of a dataset: iterate with ``for`` or ``async for``, once for each epoch.

    What the batches hold and their order follow from the dataset, ``batch_size``, ``shuffle``, ``seed``, ``epoch``,
    ``drop_last`` and the shard alone (:class:`~penstock_training.loading.Plan`), never from threads or speed.
    An epoch is repeated by the next iteration until :meth:`set_epoch` names another. There is one iteration at a
    time: a new one ends the one before.

    Samples: ``transform`` gets each :class:`Item` and gives the sample; without it the sample is ``item.data``.
    ``collate`` gets the list of a batch's samples and gives the batch (:func:`~penstock_training.loading.collate`).
    Both are called by the reading threads. Arrays of bytes are views of memory that belongs to the batch; it is used
    again when nobody holds a view of it any more.

    Reading: ``num_workers`` threads read ahead, each with a request of its own under way; None: 2 where the store has
    real directories, 16 elsewhere; 0: no threads, each batch is read when it is asked for. Small files of a directory
    one of them reads as long as that is quick; the others begin when it keeps the consumer waiting. ``prefetch``
    batches are read ahead of the one that is asked for, as long as ``max_bytes_in_flight`` is not exceeded: bytes are
    taken before they are requested and given back when the consumer has let go of the batch, or has asked for the two
    after it. A batch that is larger than this by itself is read when nothing else is being read.
    ``reader="range"`` reads files of more than ``part_size`` bytes as several ranges, ``parts_in_flight`` of each
    at once, and starts as many threads as that may take; in a file of a format it bounds its requests. ``whole`` is
    one request for each file. ``page_cache_mode`` is the ``page_cache`` of stores that are local files; others refuse
    it. ``timeout``: seconds that asking for a batch may take before it raises StoreTimeoutError, which names what is
    waited for; asking again waits again.

    Order: ``sequential`` gives the batches in order; ``completion`` gives each as soon as it is whole.

    Errors of reading, ``transform`` and ``collate`` are raised where their batch would have come, with the sample's
    name in the error (``error.uri`` or a note); the iteration is over then, and the state is that before the batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        drop_last: bool = False,
        num_workers: int | None = None,
        prefetch: int = 2,
        max_bytes_in_flight: int = 256 * _MIB,
        order: Literal["sequential", "completion"] = "sequential",
        shard_rank: int = 0,
        shard_world_size: int = 1,
        shard_worker: int = 0,
        shard_workers: int = 1,
        reader: Literal["whole", "range"] = "whole",
        part_size: int = 8 * _MIB,
        parts_in_flight: int = 4,
        transform: Callable[[Item], Any] | None = None,
        collate: Callable[[list[Any]], Any] = default_collate,
        timeout: float | None = None,
        page_cache_mode: Literal["auto", "sequential", "random", "dontneed", "normal"] | None = None,
    ) -> None:
        """``shard_worker`` of ``shard_workers`` is this process among those that read for one rank, such as the
        workers of a PyTorch DataLoader.
        """
        self.dataset = _checked(dataset, num_workers, timeout)
        self._plan = Plan(
            count=len(dataset),
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            drop_last=drop_last,
            shard_rank=shard_rank,
            shard_world_size=shard_world_size,
            shard_worker=shard_worker,
            shard_workers=shard_workers,
        )
        self._reading = Reading(
            num_workers=num_workers,
            reader=reader,
            part_size=part_size,
            parts_in_flight=parts_in_flight,
            transform=transform,
            collate=collate,
            page_cache_mode=page_cache_mode,
            memory=max_bytes_in_flight,
        )
        self._pacing = Pacing(prefetch=prefetch, max_bytes_in_flight=max_bytes_in_flight, order=order, timeout=timeout)
        self._progress = Progress(epoch=self._plan.epoch)
        #: Whether the next iteration begins where ``_progress`` is, not at the start of the epoch.
        self._going_on = False
        self._current: weakref.ref[Iteration] | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return self._plan.epoch

    @property
    def plan(self) -> Plan:
        """What the next iteration reads, from the start of its epoch."""
        return self._plan

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self._plan)

    def __iter__(self) -> Iteration:
        """Begin, or go on after :meth:`load_state_dict`. What it gives has ``close()`` and is a context manager."""
        self.close()
        if not self._going_on:
            self._progress = Progress(epoch=self._plan.epoch)
        self._going_on = False
        iteration = Iteration(self.dataset, self._plan, self._progress, self._reading, self._pacing)
        self._current = weakref.ref(iteration)
        return iteration

    def __aiter__(self) -> AsyncIteration:
        """The same for ``async for``; what it gives has ``aclose()``."""
        return AsyncIteration(iter(self))

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration. Where it is another one than the epoch of a state that was loaded, that
        state's place in it is forgotten.
        """
        self._plan = attrs.evolve(self._plan, epoch=epoch)
        epoch = self._plan.epoch
        if self._going_on and epoch != self._progress.epoch:
            self._going_on = False
        if not self._iterating and not self._going_on:
            self._progress = Progress(epoch=epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is: what was handed out, not what was read ahead. Plain values that JSON can hold."""
        return self._progress.state(self._made_of())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration gives just what was left when the state was taken.

        Raises UsageError for a state of another dataset, or of other options that change what batches hold; threads,
        prefetching, memory, reader and order may differ.
        """
        progress = Progress.of_state(state, self._made_of())
        self.close()
        self._plan = attrs.evolve(self._plan, epoch=progress.epoch)
        self._progress = progress
        self._going_on = True

    def close(self) -> None:
        """End the iteration: its threads and requests are gone on return. Harmless the second time."""
        iteration = self._current() if self._current is not None else None
        self._current = None
        if iteration is not None:
            iteration.close()

    def __getstate__(self) -> dict[str, Any]:
        # It pickles with the consumer's place; the iteration stays where it is.
        return {**self.__dict__, "_current": None, "_going_on": self._going_on or self._iterating}

    @property
    def _iterating(self) -> bool:
        iteration = self._current() if self._current is not None else None
        return iteration is not None and not iteration.over

    def _made_of(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "dataset": self.dataset.fingerprint,
            "samples": plan.count,
            "batch_size": plan.batch_size,
            "shuffle": plan.shuffle,
            "seed": plan.seed,
            "drop_last": plan.drop_last,
            "shard_rank": plan.shard_rank,
            "shard_world_size": plan.shard_world_size,
            "shard_worker": plan.shard_worker,
            "shard_workers": plan.shard_workers,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(dataset: Dataset, num_workers: int | None, timeout: float | None) -> Dataset:
    if not isinstance(dataset, Dataset):
        raise UsageError(f"a loader takes a dataset, not {type(dataset).__name__}; write Dataset(…) around the URIs")
    if timeout is not None and num_workers == 0:
        raise UsageError("a timeout needs a thread that reads; num_workers is at least 1 then")
    return dataset
