"""A dataset as a source of Grain: samples by number."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

from penstock_training.loading import Dataset, Item

__all__ = ["GrainSource"]


class GrainSource:
    """What ``grain.MapDataset.source`` and ``grain.DataLoader`` take: length, samples by number, several at once.

    An element is the sample's data, or what ``transform`` makes of its :class:`Item`. It pickles, for Grain's worker
    processes; threads share it. Grain keeps the ``repr`` in the states of its iterators and compares it when one is
    restored, so it names the dataset by what is in it: names, sizes and format.
    """

    def __init__(self, dataset: Dataset, *, transform: Callable[[Item], Any] | None = None) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.dataset)

    def __getitem__(self, number: SupportsIndex) -> Any:
        """One sample. Raises IndexError."""
        return self._element(self.dataset[operator.index(number)])

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """These samples, in the order asked: many requests at once, neighbours as one."""
        return [self._element(item) for item in self.dataset.__getitems__([operator.index(each) for each in numbers])]

    def _getitems(self, indices: Sequence[int]) -> list[Any]:
        # The name by which Grain reads a batch at once.
        return self.__getitems__(indices)

    def __repr__(self) -> str:
        made = "" if self.transform is None else f", transform={_name_of(self.transform)}"
        return f"GrainSource({self.dataset.fingerprint}{made})"

    def _element(self, item: Item) -> Any:
        return item.data if self.transform is None else self.transform(item)


def _name_of(function: Callable[..., Any]) -> str:
    # The default one of many callables holds an address, which is another one in each process.
    return str(getattr(function, "__qualname__", type(function).__qualname__))
