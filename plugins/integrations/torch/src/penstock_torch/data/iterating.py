"""Samples or batches one after the other, shared out over ranks and DataLoader workers, read ahead by threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.utils.data import IterableDataset as TorchIterableDataset
from torch.utils.data import default_collate, get_worker_info

from penstock.errors import UsageError
from penstock_torch.data.sources import Transform, samples_of, value_of
from penstock_torch.data.tensors import to_tensors
from penstock_training.loading import Dataset, Loader
from penstock_training.loading import collate as stacked

if TYPE_CHECKING:
    from typing import Self

__all__ = ["IterableDataset", "Iteration"]

_MIB = 1024 * 1024
#: Samples that are read together where they are given one by one.
_TOGETHER = 32


class IterableDataset(TorchIterableDataset):  # type: ignore[misc]
    """An iterable dataset whose order follows from (seed, epoch) alone and that goes on exactly where it was.

    With ``batch_size`` it gives batches, for ``DataLoader(dataset, batch_size=None)``: their content does not depend
    on how many workers there are. Without, it gives samples and the DataLoader makes batches of what its workers
    give. Either way each sample of an epoch comes once, over all ranks and workers, or is left out by ``drop_last``.

    The iterator has ``state_dict`` and ``load_state_dict``, which ``torchdata``'s StatefulDataLoader uses: it goes on
    mid-epoch, with the same number of workers, with just what had not been given. It reads nothing before it is asked.
    :meth:`set_epoch` reaches persistent workers too; without it the next iteration repeats the epoch.

    The rank is that of ``torch.distributed`` when the iteration begins in this process, or when the dataset is sent to
    a worker; where that is not initialised, and nothing is said, there is one rank.
    """

    def __init__(
        self,
        source: Dataset | str | Sequence[str],
        *,
        format: str | None = None,
        pattern: str | None = None,
        options: Mapping[str, Any] | None = None,
        transform: Transform | None = None,
        batch_size: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        drop_last: bool = False,
        shard_rank: int | None = None,
        shard_world_size: int | None = None,
        threads: int | None = None,
        prefetch: int = 2,
        max_bytes_in_flight: int = 256 * _MIB,
    ) -> None:
        """``source``, ``format``, ``pattern``, ``options`` and ``transform`` are those of
        :class:`penstock_torch.MapDataset`. ``collate`` makes a batch of a list of samples. Without it, arrays of
        one shape are stacked as :func:`penstock_training.loading.collate` does, and after a ``transform`` samples are
        put together by torch's ``default_collate``.

        In each process ``threads`` read ahead (None: 2 on local files, 16 elsewhere; 0: none), up to ``prefetch``
        batches, or as many blocks of 32 samples, and ``max_bytes_in_flight``. ``drop_last`` gives every rank the same
        number of batches.
        """
        if (shard_rank is None) != (shard_world_size is None):
            raise UsageError("shard_rank and shard_world_size come together")
        if collate is not None and batch_size is None:
            raise UsageError("collate makes batches; give batch_size too")
        self.samples = samples_of(source, format, pattern, options)
        self.batch_size = batch_size
        self._shard = None if shard_rank is None or shard_world_size is None else (shard_rank, shard_world_size)
        self._plain = transform is None and collate is None
        self._value = value_of(transform)
        self._collate = collate or default_collate
        self._shuffle = shuffle
        self._seed = seed
        self._drop_last = drop_last
        self._threads = threads
        self._prefetch = prefetch
        self._max_bytes = max_bytes_in_flight
        # Shared memory, which the workers of a DataLoader see also when they outlive an epoch.
        self._epoch = torch.tensor(epoch, dtype=torch.int64).share_memory_()
        iter(self._loader(0, 1)).close()  # what is impossible is said here

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration, in this process and in the workers it has."""
        self._epoch.fill_(epoch)

    @property
    def shard(self) -> tuple[int, int]:
        """The rank and the number of ranks."""
        if self._shard is not None:
            return self._shard
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        return 0, 1

    def __len__(self) -> int:
        """How many batches all workers of this rank give in an epoch. Raises TypeError without ``batch_size``, for
        then each worker's last batch counts too.
        """
        if self.batch_size is None:
            raise TypeError("a dataset that gives samples has no length; give batch_size, or ask len(dataset.samples)")
        return len(self._loader(0, 1))

    def __iter__(self) -> Iteration:
        worker = get_worker_info()
        place = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return Iteration(self._loader(*place), single=self.batch_size is None)

    def _loader(self, worker: int, workers: int) -> Loader:
        rank, world = self.shard
        batches = self.batch_size is not None
        return Loader(
            self.samples,
            batch_size=_TOGETHER if self.batch_size is None else self.batch_size,
            shuffle=self._shuffle,
            seed=self._seed,
            epoch=self.epoch,
            drop_last=self._drop_last,
            shard_rank=rank,
            shard_world_size=world,
            shard_worker=worker,
            shard_workers=workers,
            # Arrays are stacked before they are tensors: files of one size lie side by side already.
            transform=None if self._plain and batches else self._value,
            collate=stacked if self._plain and batches else self._collate if batches else list,
            num_workers=self._threads,
            prefetch=self._prefetch,
            max_bytes_in_flight=self._max_bytes,
        )

    def __getstate__(self) -> dict[str, Any]:
        # torch.distributed stays behind, in the process that knows the rank.
        return {**self.__dict__, "_shard": self.shard}


class Iteration:
    """One epoch of an :class:`IterableDataset` in one process, which nothing is read for before it is asked.

    :meth:`state_dict` says what was given, in plain values that JSON can hold.
    """

    def __init__(self, loader: Loader, *, single: bool) -> None:
        """``single``: samples, not batches, are given."""
        self._loader = loader
        self._single = single
        self._batches: Iterator[Any] | None = None
        #: With samples: those of the batch at hand, how many of them were given, and the state before that batch.
        self._batch: list[Any] = []
        self._given = 0
        self._before: dict[str, Any] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._single:
            return to_tensors(self._next_batch())
        while self._given >= len(self._batch):
            self._before = self._loader.state_dict()
            # What was given of this batch before the state was taken is passed over.
            self._given, self._batch = self._given - len(self._batch), []
            self._batch = self._next_batch()
        self._given += 1
        return self._batch[self._given - 1]

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is."""
        if self._given < len(self._batch) and self._before is not None:
            return {"loader": self._before, "given": self._given}
        return {"loader": self._loader.state_dict(), "given": self._given - len(self._batch)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on there. Raises UsageError for a state of another dataset, other options or another worker."""
        self.close()
        try:
            loader, given = state["loader"], int(state["given"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no state of a penstock dataset: {error!r}") from None
        self._loader.load_state_dict(loader)
        self._batch, self._given, self._before = [], given, None

    def close(self) -> None:
        """End it; no thread and no request is left."""
        self._batches = None
        self._loader.close()

    def _next_batch(self) -> Any:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)
