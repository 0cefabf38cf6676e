"""Batches of samples, read ahead by threads, in a deterministic order that can be resumed anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from penstock_training.loading.collating import collate as default_collate
from penstock_training.loading.dataset import Dataset, Item

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
    real directories, 16 elsewhere; 0: no threads, each batch is read when it is asked for. ``prefetch`` batches are
    read ahead of the one that is asked for, as long as ``max_bytes_in_flight`` is not exceeded: bytes are taken
    before they are requested and given back when the consumer has let go of the batch, or has asked for the two
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
        raise NotImplementedError

    def __len__(self) -> int:
        """How many batches an epoch has."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        """Begin, or go on after :meth:`load_state_dict`. What it gives has ``close()`` and is a context manager."""
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[Any]:
        """The same for ``async for``; what it gives has ``aclose()``."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iteration. Where it is another one than the epoch of a state that was loaded, that
        state's place in it is forgotten.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is: what was handed out, not what was read ahead. Plain values that JSON can hold."""
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration gives just what was left when the state was taken.

        Raises UsageError for a state of another dataset, or of other options that change what batches hold; threads,
        prefetching, memory, reader and order may differ.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the iteration: its threads and requests are gone on return. Harmless the second time."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
