"""One pass over the batches of a loader."""

from __future__ import annotations

import itertools
import os
import weakref
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread
import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.errors import StoreTimeoutError, UsageError
from penstock_training.loading.batches import Batch
from penstock_training.loading.checking import as_plain, at_least, one_of
from penstock_training.loading.dataset import Dataset
from penstock_training.loading.fetching import Fetcher, Reading
from penstock_training.loading.plan import Plan
from penstock_training.loading.progress import Progress

if TYPE_CHECKING:
    from typing import Self

__all__ = ["AsyncIteration", "Iteration", "Pacing"]


@attrs.frozen(kw_only=True)
class Pacing:
    """How far an iteration reads ahead, and how it hands out; see :class:`~penstock_training.loading.Loader`."""

    prefetch: int = attrs.field(default=2, converter=as_plain, validator=at_least(0))
    max_bytes_in_flight: int = attrs.field(default=256 * 1024 * 1024, converter=as_plain, validator=at_least(1))
    order: Literal["sequential", "completion"] = attrs.field(
        default="sequential", validator=one_of("sequential", "completion")
    )
    timeout: float | None = attrs.field(default=None, validator=at_least(0, kind=float))


class Iteration:
    """An iterator over batches, which one consumer uses. Closing it ends its threads and requests.

    Whether there is memory for one more batch is decided here alone, when the consumer asks for one: nothing else
    gives memory back, so no reading thread ever waits for it.
    """

    def __init__(self, dataset: Dataset, plan: Plan, progress: Progress, reading: Reading, pacing: Pacing) -> None:
        self._progress = progress
        self._pacing = pacing
        self._dataset = dataset
        #: Batches that are being read or wait to be handed out, in the order in which they were begun.
        self._begun: dict[int, Batch] = {}
        #: Batches that the consumer has, and may still look at.
        self._held: deque[Batch] = deque()
        self._process = os.getpid()
        self._over = False
        self._fetcher = Fetcher(dataset, reading)
        self._rest = _batches(plan, progress)
        #: The batch to begin next, of which is known what memory it takes; None after the last.
        self._coming = self._next()
        self._finalizer = weakref.finalize(self, _stop_here, self._fetcher, self._process)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if not self._advance():
            raise StopIteration
        self._wait(None)
        return self._hand_out()

    @property
    def over(self) -> bool:
        """Whether there is nothing more to come."""
        return self._over

    def close(self) -> None:
        """End it: no thread and no request is left on return. Harmless the second time."""
        self._over = True
        self._begun.clear()
        self._held.clear()
        if self._process == os.getpid():
            self._finalizer.detach()
            self._fetcher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self) -> bool:
        """Begin what there is room for. False at the end."""
        if self._process != os.getpid():
            raise UsageError("this iteration was begun before the process forked; iterate over the loader anew")
        if self._over:
            return False
        self._give_back()
        ahead = self._pacing.prefetch if self._fetcher.workers else 0
        while len(self._begun) <= ahead and (batch := self._coming) is not None:
            if self._begun and self._in_flight() + batch.nbytes > self._pacing.max_bytes_in_flight:
                break
            self._begun[batch.number] = batch
            self._fetcher.begin(batch)
            self._coming = self._next()
        if not self._begun:
            self.close()
        return not self._over

    def _next(self) -> Batch | None:
        found = next(self._rest, None)
        return None if found is None else self._fetcher.prepare(*found)

    def _in_flight(self) -> int:
        return sum(batch.nbytes for batch in itertools.chain(self._begun.values(), self._held))

    def _give_back(self) -> None:
        # A loop still has the last batch when it asks for the next one; what is older, and still held, is held on
        # purpose, and not the loader's any more.
        while len(self._held) > 1:
            self._held.popleft()
        if self._held and self._held[0].let_go:
            self._held.clear()

    def _ready(self) -> Batch | None:
        """The batch to hand out next, if it is there. Called with the fetcher's lock held, or by its only thread."""
        batches = iter(self._begun.values())
        if self._pacing.order == "sequential":
            first = next(batches, None)
            return first if first is not None and first.done else None
        return next((batch for batch in batches if batch.done), None)

    def _wait(self, waiter: _Waiter | None) -> None:
        """Return when a batch can be handed out, when the waiter is called off, or when all is over."""
        if not self._fetcher.workers:
            while self._ready() is None and not self._fetcher.stopped:
                self._fetcher.crew.help()
            return
        fetcher = self._fetcher

        def there() -> bool:
            return self._ready() is not None or fetcher.stopped or (waiter is not None and waiter.called_off)

        if not fetcher.wait(there, self._pacing.timeout):
            raise self._timed_out()

    def _timed_out(self) -> StoreTimeoutError:
        batch = next(iter(self._begun.values()))
        names = f"{self._dataset.name(batch.numbers[0])} to {self._dataset.name(batch.numbers[-1])}"
        return StoreTimeoutError(
            f"batch {batch.number} was not there after {self._pacing.timeout} s; it has {len(batch.numbers)} samples "
            f"from {names}",
            operation="get",
        )

    def _hand_out(self) -> Any:
        batch = self._ready()
        if batch is None:
            raise StopIteration  # closed while it was waited for
        del self._begun[batch.number]
        if batch.failure is not None:
            self.close()
            raise batch.failure
        self._progress.hand_out(batch.number)
        if self._coming is None and not self._begun:
            self.close()
        else:
            self._held.append(batch)
        return batch.take()


class _Waiter:
    called_off = False


class AsyncIteration:
    """An :class:`Iteration` for ``async for``. What is there already is handed out without a hop to a thread."""

    def __init__(self, iteration: Iteration) -> None:
        self._iteration = iteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        await anyio.lowlevel.checkpoint()
        iteration = self._iteration
        if not iteration._advance():
            raise StopAsyncIteration
        if iteration._ready() is None:
            await self._wait()
        try:
            return iteration._hand_out()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """End it: no thread and no request is left on return."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._iteration.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _wait(self) -> None:
        waiter, change = _Waiter(), self._iteration._fetcher.change
        try:
            # A thread that only waits may be left behind; one that reads, because there are no others, may not.
            workers = bool(self._iteration._fetcher.workers)
            await anyio.to_thread.run_sync(self._iteration._wait, waiter, abandon_on_cancel=workers)
        except BaseException:
            # Cancelled: the thread that waits is let go, and no batch was taken.
            waiter.called_off = True
            with change:
                change.notify_all()
            raise


def _batches(plan: Plan, progress: Progress) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """What was not handed out yet."""
    handed = frozenset(progress.ahead)
    found = enumerate(plan.batches(progress.batches), progress.batches)
    return ((number, numbers) for number, numbers in found if number not in handed)


def _stop_here(fetcher: Fetcher, process: int) -> None:
    # A forked child has neither the threads nor, perhaps, the locks of its parent.
    if os.getpid() == process:
        fetcher.stop()
