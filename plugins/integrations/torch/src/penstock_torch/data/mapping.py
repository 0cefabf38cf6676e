"""Samples by number, for samplers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset as TorchDataset

from penstock_torch.data.sources import Transform, samples_of, value_of
from penstock_training.loading import Dataset

__all__ = ["MapDataset"]


class MapDataset(TorchDataset):  # type: ignore[misc]
    """A map-style dataset: a sampler says which samples, a batch of them is read concurrently.

    A sample is what its format says, with tensors for arrays, or without a format one tensor of the file's bytes;
    tensors share the memory that was read into, and may be written to (:func:`penstock_torch.to_tensors`).
    It works with any number of DataLoader workers, forked, spawned or from a fork server: it pickles with its listing,
    and each process opens the stores for itself when it first reads. Errors name the object's URI.
    """

    def __init__(
        self,
        source: Dataset | str | Sequence[str],
        *,
        format: str | None = None,
        pattern: str | None = None,
        options: Mapping[str, Any] | None = None,
        transform: Transform | None = None,
    ) -> None:
        """``source`` is a :class:`penstock_training.loading.Dataset`, or the URIs to make one of; ``format``,
        ``pattern`` and ``options`` (of the stores) belong to these. ``transform`` gets each sample as a
        :class:`penstock_training.loading.Item` and gives what the dataset gives; without it that is ``item.data``.
        """
        self.samples = samples_of(source, format, pattern, options)
        self._value = value_of(transform)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        """One sample. Raises IndexError."""
        return self._value(self.samples[number])

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """These samples, read concurrently, neighbours in one request; what a DataLoader calls for a batch."""
        return [self._value(item) for item in self.samples.__getitems__(numbers)]

    def close(self) -> None:
        """Close what this process has open."""
        self.samples.close()
