"""A source of samples for ``torchdata.nodes``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchdata.nodes import BaseNode

from penstock_torch.data.iterating import IterableDataset, Iteration

__all__ = ["Node"]


class Node(BaseNode):  # type: ignore[misc]
    """The samples, or batches, of an :class:`penstock_torch.IterableDataset` as the root of a graph of nodes.

    Each reset begins the dataset's epoch anew, or goes on where a state was taken. It reads ahead by itself, so it
    takes no ``Prefetcher``. It needs the package torchdata.
    """

    def __init__(self, dataset: IterableDataset) -> None:
        super().__init__()
        self.dataset = dataset
        self._iteration: Iteration | None = None

    def reset(self, initial_state: Mapping[str, Any] | None = None) -> None:
        super().reset(initial_state)
        if self._iteration is not None:
            self._iteration.close()
        self._iteration = iter(self.dataset)
        if initial_state is not None:
            self._iteration.load_state_dict(initial_state)

    def next(self) -> Any:
        return next(self._running)

    def get_state(self) -> dict[str, Any]:
        return self._running.state_dict()

    @property
    def _running(self) -> Iteration:
        if self._iteration is None:
            self._iteration = iter(self.dataset)
        return self._iteration
