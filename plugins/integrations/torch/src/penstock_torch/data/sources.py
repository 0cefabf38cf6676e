"""What both kinds of dataset are made of: samples, and what becomes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from penstock.errors import UsageError
from penstock_torch.data.tensors import to_tensors
from penstock_training.loading import Dataset, Item

__all__ = ["Transform", "samples_of", "value_of"]

#: Gets a sample, whose arrays are tensors, and gives what the dataset gives.
Transform = Callable[[Item], Any]


def samples_of(
    source: Dataset | str | Sequence[str],
    format: str | None,
    pattern: str | None,
    options: Mapping[str, Any] | None,
) -> Dataset:
    """The dataset that was given, or that is made of URIs."""
    if not isinstance(source, Dataset):
        return Dataset(source, format=format, pattern=pattern, options=options)
    if format is not None or pattern is not None or options is not None:
        raise UsageError("format, pattern and options belong to URIs; a Dataset has its own")
    return source


@attrs.frozen(slots=True)
class _Value:
    transform: Transform | None

    def __call__(self, item: Item) -> Any:
        data = to_tensors(item.data)
        return data if self.transform is None else self.transform(attrs.evolve(item, data=data))


def value_of(transform: Transform | None) -> Transform:
    """What a dataset gives for a sample; without a transform its data. It pickles if the transform does."""
    return _Value(transform)
