"""Batches of a loader as arrays on devices."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.errors import UsageError
from penstock_training.loading import Loader
from penstock_training.loading.iteration import Iteration

__all__ = ["DeviceBatches", "DeviceIteration"]


class DeviceBatches:
    """Iterates over a loader's batches, each array in them a ``jax.Array``; everything else stays as it is.

    Without ``sharding`` arrays go to JAX's default device. With one, such as
    ``NamedSharding(mesh, PartitionSpec("data"))``, each process hands over the rows that its loader read, and the
    array is that of all processes: give each loader its ``shard_rank``. ``ahead`` batches are on their way to the
    devices before they are asked for.

    Types are JAX's own: without ``jax_enable_x64`` 64-bit numbers become 32-bit ones.

    :meth:`state_dict` is that of the last batch that was handed out, not of those on their way, so that
    :meth:`load_state_dict` goes on with exactly the rest.
    """

    def __init__(self, loader: Loader, *, sharding: Any = None, ahead: int = 1) -> None:
        if not isinstance(loader, Loader):
            raise UsageError(f"DeviceBatches takes a loader, not {type(loader).__name__}; write Loader(dataset, …)")
        if ahead < 0:
            raise UsageError(f"ahead is {ahead}; it is at least 0")
        self.loader = loader
        self.sharding = sharding
        self.ahead = ahead
        self._state: dict[str, Any] | None = None

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return len(self.loader)

    def __iter__(self) -> DeviceIteration:
        """Begin an epoch, or go on after :meth:`load_state_dict`. What it gives has ``close()``."""
        batches = iter(self.loader)
        self._state = self.loader.state_dict()
        return DeviceIteration(self, batches)

    def place(self, batch: Any) -> Any:
        """Put the arrays of one batch on devices; it returns before they have arrived there."""
        if isinstance(batch, Mapping):
            return {name: self.place(value) for name, value in batch.items()}
        if isinstance(batch, tuple):
            return tuple(self.place(value) for value in batch)
        if isinstance(batch, np.ndarray | np.generic) and batch.dtype.kind in "biufcV" and batch.dtype.names is None:
            return self._put(np.asarray(batch))
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where the consumer is. Plain values that JSON can hold."""
        return self.loader.state_dict() if self._state is None else self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration gives just what was left when the state was taken. Raises UsageError, as the loader."""
        self.loader.load_state_dict(state)
        self._state = None

    def _put(self, array: np.ndarray[Any, Any]) -> Any:
        import jax

        if self.sharding is None:
            return jax.device_put(array)
        place: Any = jax.make_array_from_process_local_data
        return place(self.sharding, array)


class DeviceIteration:
    """One epoch of :class:`DeviceBatches`. It ends with the epoch, an error, or :meth:`close`."""

    def __init__(self, owner: DeviceBatches, batches: Iteration) -> None:
        self._owner = owner
        self._batches = batches
        self._coming: deque[tuple[Any, dict[str, Any]]] = deque()
        self._over = False
        self._failure: Exception | None = None

    def __iter__(self) -> DeviceIteration:
        return self

    def __next__(self) -> Any:
        owner = self._owner
        while not self._over and len(self._coming) <= owner.ahead:
            try:
                batch = next(self._batches)
            except StopIteration:
                self._over = True
            except Exception as error:  # noqa: BLE001 - raised in its turn, after the batches before it
                self._over, self._failure = True, error
            else:
                self._coming.append((owner.place(batch), owner.loader.state_dict()))
        if not self._coming:
            failure, self._failure = self._failure, None
            raise failure or StopIteration
        arrived, owner._state = self._coming.popleft()
        return arrived

    def close(self) -> None:
        """End the loader's threads and requests. Harmless the second time."""
        self._over, self._failure = True, None
        self._coming.clear()
        self._batches.close()
