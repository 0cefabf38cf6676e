"""A loader as a tf.data.Dataset."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from penstock.errors import UsageError
from penstock_tensorflow.signatures import signature_of, tensors_of
from penstock_training.loading import Loader
from penstock_training.loading.iteration import Iteration

__all__ = ["TensorBatches"]

#: How far tf.data may have read ahead of the consumer whose place is asked for.
_REMEMBERED = 4096


@attrs.define(slots=True)
class _Begun:
    """An iteration whose first batch was taken to see what batches are like."""

    iteration: Iteration
    first: Any
    epoch: int


class TensorBatches:
    """The batches of a loader for tf.data, with places to resume from.

    :meth:`dataset` may be iterated over any number of times: each time is an epoch of the loader, the one that its
    ``set_epoch`` named. One iteration at a time, as the loader has it.

    tf.data takes batches before its consumer asks for them, so what the loader has handed out says nothing of where
    training is. Count the batches that training took, and ask :meth:`state_dict` for the state after these.
    """

    def __init__(self, loader: Loader, *, output_signature: Any = None) -> None:
        """Without ``output_signature`` it is that of the first batch, which is read now and is the first one of the
        first iteration; see :func:`~penstock_tensorflow.signatures.signature_of`. Raises UsageError where that is no
        tensor, and where there is no batch.
        """
        if not isinstance(loader, Loader):
            raise UsageError(f"TensorBatches takes a loader, not {type(loader).__name__}; write Loader(dataset, …)")
        self.loader = loader
        self._lock = threading.Lock()
        self._states: deque[dict[str, Any]] = deque()
        self._forgotten = 0
        self._begun: _Begun | None = None
        self._signature = output_signature
        if output_signature is None:
            self._peek()

    @property
    def output_signature(self) -> Any:
        """What tf.data knows of the batches."""
        return self._signature

    def dataset(self, *, sized: bool = False) -> Any:
        """The ``tf.data.Dataset``; tf.data does not shard it among workers: the loader's ``shard_rank`` does.

        With ``sized`` it has the length of an epoch, which ``fit`` of Keras asks for. tf.data then refuses an
        iteration that resumes, for it is shorter.
        """
        import tensorflow as tf

        dataset = tf.data.Dataset.from_generator(self._batches, output_signature=self._signature)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        if sized:
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(self.loader)))
        return dataset.with_options(options)

    def state_dict(self, taken: int) -> dict[str, Any]:
        """The state after ``taken`` batches of the iteration that is under way, or that ended last; 0: its beginning.

        Plain values that JSON can hold. Raises UsageError for more batches than tf.data has asked for, and for a place
        that lies thousands of batches behind what it has asked for.
        """
        with self._lock:
            if not self._states:
                return self.loader.state_dict()
            place = taken - self._forgotten
            if taken < 0 or place >= len(self._states):
                most = self._forgotten + len(self._states) - 1
                raise UsageError(f"{taken} batches were not taken; tf.data has asked for {most} in this iteration")
            if place < 0:
                raise UsageError(
                    f"the state after {taken} batches is forgotten; those from {self._forgotten} on are kept"
                )
            return self._states[place]

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next iteration gives exactly what was left when the state was taken. Raises UsageError."""
        self._drop()
        self.loader.load_state_dict(state)
        with self._lock:
            self._states.clear()

    def close(self) -> None:
        """End what the loader reads. Harmless the second time."""
        self._drop()
        self.loader.close()

    def _peek(self) -> None:
        resumed = self.loader.state_dict()
        iteration = iter(self.loader)
        begin = self.loader.state_dict()
        try:
            first = next(iteration)
        except StopIteration:
            raise UsageError(
                f"the loader has no batch left to tell the signature by (state {resumed}); pass output_signature"
            ) from None
        self._signature = signature_of(first)
        self._begun = _Begun(iteration, first, self.loader.epoch)
        self._restart(begin)

    def _restart(self, begin: dict[str, Any]) -> None:
        with self._lock:
            self._states.clear()
            self._states.append(begin)
            self._forgotten = 0

    def _note(self) -> None:
        with self._lock:
            self._states.append(self.loader.state_dict())
            if len(self._states) > _REMEMBERED:
                self._states.popleft()
                self._forgotten += 1

    def _drop(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.iteration.close()

    def _batches(self) -> Iterator[Any]:
        begun, self._begun = self._begun, None
        if begun is not None and not begun.iteration.over and begun.epoch == self.loader.epoch:
            with begun.iteration:
                self._note()
                yield tensors_of(begun.first, self._signature)
                # The loader uses the memory of a batch again when nobody has it.
                begun.first = None
                yield from self._rest(begun.iteration)
        else:
            iteration = iter(self.loader)
            self._restart(self.loader.state_dict())
            with iteration:
                yield from self._rest(iteration)

    def _rest(self, iteration: Iteration) -> Iterator[Any]:
        for batch in iteration:
            self._note()
            yield tensors_of(batch, self._signature)
