"""Which samples a process reads, and in which order: pure functions of numbers, without I/O.

The samples of a dataset are numbered from 0. An epoch puts them in an order, cuts the order into steps of
``shard_world_size * batch_size`` samples, and gives each rank its ``batch_size`` of every step, side by side. What
remains at the end is shared evenly, so ranks differ by at most one sample, and by a batch only where fewer samples
remain than there are ranks; with ``drop_last`` it is left out, and every rank has the same number of batches.

The processes that read for one rank, such as the workers of a PyTorch DataLoader, take its batches in turn: process
``w`` of ``n`` reads batches ``w, w + n, …``. So what the batches hold does not depend on how many processes read.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.errors import UsageError
from penstock_training.loading.checking import as_plain, at_least, is_number, is_truth

__all__ = ["Order", "Plan"]

Numbers = NDArray[np.int64]

#: Up to this many samples an order is a table, 4 bytes for each; beyond it nothing is held.
_TABLE = 1 << 20
_ROUNDS = 8
#: Positions that are worked out together where a plan is walked through.
_BLOCK = 4096


@attrs.frozen(kw_only=True)
class Order:
    """The order of ``count`` samples in one epoch: as they are numbered, or shuffled.

    A shuffled order is a function of ``count``, ``seed`` and ``epoch`` alone, the same on every machine and with every
    version of NumPy. Up to 2**20 samples every order is equally likely (random keys, sorted) and takes 4 bytes per
    sample; beyond that it is a Feistel permutation of the positions (Black and Rogaway, "Ciphers with arbitrary finite
    domains", 2002), which holds nothing and answers for any position at once.
    """

    count: int = attrs.field(converter=as_plain, validator=at_least(0))
    shuffle: bool = attrs.field(default=False, converter=as_plain, validator=is_truth)
    seed: int = attrs.field(default=0, converter=as_plain, validator=is_number)
    epoch: int = attrs.field(default=0, converter=as_plain, validator=is_number)

    def __len__(self) -> int:
        return self.count

    def take(self, positions: Numbers) -> Numbers:
        """The numbers of the samples at these positions, each in ``[0, count)``."""
        if not self.shuffle:
            return positions
        if self.count <= _TABLE:
            numbers: Numbers = self._table[positions].astype(np.int64)
            return numbers
        return _permuted(positions, self.count, self._keys)

    @functools.cached_property
    def _table(self) -> NDArray[np.uint32]:
        return _sorted_by_key(self.count, self._keys)

    @functools.cached_property
    def _keys(self) -> NDArray[np.uint64]:
        return _keys_of(self.seed, self.epoch)


@attrs.frozen(kw_only=True)
class Plan:
    """The batches that one process reads in one epoch; see the module.

    ``len(plan)`` is their number. Any of them can be asked for, in any order, so a reader goes on wherever it stopped.
    Raises UsageError for a rank or a worker that there is not, and for sizes below 1.
    """

    count: int = attrs.field(converter=as_plain, validator=at_least(0))
    batch_size: int = attrs.field(default=1, converter=as_plain, validator=at_least(1))
    shuffle: bool = attrs.field(default=False, converter=as_plain, validator=is_truth)
    seed: int = attrs.field(default=0, converter=as_plain, validator=is_number)
    epoch: int = attrs.field(default=0, converter=as_plain, validator=is_number)
    drop_last: bool = attrs.field(default=False, converter=as_plain, validator=is_truth)
    shard_rank: int = attrs.field(default=0, converter=as_plain, validator=at_least(0))
    shard_world_size: int = attrs.field(default=1, converter=as_plain, validator=at_least(1))
    shard_worker: int = attrs.field(default=0, converter=as_plain, validator=at_least(0))
    shard_workers: int = attrs.field(default=1, converter=as_plain, validator=at_least(1))

    def __attrs_post_init__(self) -> None:
        for place, places in (("shard_rank", "shard_world_size"), ("shard_worker", "shard_workers")):
            if getattr(self, place) >= getattr(self, places):
                raise UsageError(
                    f"{place} is {getattr(self, place)}; with {places} {getattr(self, places)} it is less than that"
                )

    @functools.cached_property
    def order(self) -> Order:
        """The order of all samples, of every rank."""
        return Order(count=self.count, shuffle=self.shuffle, seed=self.seed, epoch=self.epoch)

    @property
    def rank_batches(self) -> int:
        """How many batches all processes of this rank read."""
        return self._steps + (1 if self._rest[1] else 0)

    @property
    def samples(self) -> int:
        """How many samples this process reads."""
        last = (
            self._rest[1] if self._rest[1] and (self.rank_batches - 1) % self.shard_workers == self.shard_worker else 0
        )
        return (len(self) - bool(last)) * self.batch_size + last

    def __len__(self) -> int:
        return max(0, -(-(self.rank_batches - self.shard_worker) // self.shard_workers))

    def batch(self, number: int) -> Numbers:
        """The numbers of the samples in batch ``number``, in ``[0, len(self))``. Raises IndexError."""
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self)} batches, and no number {number}")
        return self.order.take(self._positions(number))

    def batches(self, start: int = 0) -> Iterator[Numbers]:
        """The batches ``start, start + 1, …`` to the end."""
        together = max(1, _BLOCK // self.batch_size)
        for first in range(start, len(self), together):
            found = [self._positions(number) for number in range(first, min(first + together, len(self)))]
            numbers = self.order.take(np.concatenate(found))
            ends = np.cumsum([len(positions) for positions in found])
            yield from np.split(numbers, ends[:-1])

    @property
    def _steps(self) -> int:
        return self.count // (self.shard_world_size * self.batch_size)

    @property
    def _rest(self) -> tuple[int, int]:
        """Where this rank's share of what remains after the steps begins, and how many samples it is."""
        if self.drop_last:
            return 0, 0
        begin = self._steps * self.shard_world_size * self.batch_size
        share, more = divmod(self.count - begin, self.shard_world_size)
        return begin + share * self.shard_rank + min(self.shard_rank, more), share + (self.shard_rank < more)

    def _positions(self, number: int) -> Numbers:
        of_rank = self.shard_worker + number * self.shard_workers
        if of_rank < self._steps:
            begin, length = (of_rank * self.shard_world_size + self.shard_rank) * self.batch_size, self.batch_size
        else:
            begin, length = self._rest
        return np.arange(begin, begin + length, dtype=np.int64)


def _keys_of(seed: int, epoch: int) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(f"penstock order {seed} {epoch}".encode(), digest_size=8 * _ROUNDS).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit numbers in which every bit of the input sways every bit of the output (the finalizer of
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _sorted_by_key(count: int, keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
    # The keys are all different, so no two samples tie.
    values = _mixed(_mixed(np.arange(count, dtype=np.uint64) + keys[0]) ^ keys[1])
    return np.argsort(values).astype(np.uint32)


def _permuted(positions: Numbers, count: int, keys: NDArray[np.uint64]) -> Numbers:
    bits = np.uint64((count - 1).bit_length())
    values = _ciphered(positions.astype(np.uint64), bits, keys)
    while (outside := np.flatnonzero(values >= count)).size:
        # Going on from what lies outside until it comes back keeps it a permutation.
        values[outside] = _ciphered(values[outside], bits, keys)
    return values.astype(np.int64)


def _ciphered(values: NDArray[np.uint64], bits: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    low_bits = bits // np.uint64(2)
    low_mask = (np.uint64(1) << low_bits) - np.uint64(1)
    high_mask = (np.uint64(1) << (bits - low_bits)) - np.uint64(1)
    low, high = values & low_mask, values >> low_bits
    for number, key in enumerate(keys):
        if number % 2:
            low = low ^ (_mixed(high ^ key) & low_mask)
        else:
            high = high ^ (_mixed(low ^ key) & high_mask)
    return (high << low_bits) | low
