"""A store whose failed calls are repeated where that is safe.

This is the only place that retries: backends never do, and a run does so only when its configuration says so.
What is repeated is keyed on ``error.retryable`` alone:

- ``get`` while no byte was handed to the sink; afterwards the error is raised, for the reader has part of the
  object and a second answer could be another one.
- ``stat``, ``copy`` and ``delete`` always; of a batch only the keys that failed so.
- ``put`` always. With ``create`` or ``if_match`` a repeat may meet the object that an earlier attempt wrote and
  whose answer was lost. That is not "the key was taken": the earlier error is raised, no longer retryable,
  and says that the outcome is not known.
- each page of a listing, going on after the last entry that was yielded; on a store that lists in no order
  only the first page, for there is nowhere to go on from.
- the opening of a writer, also with ``create``: it shows nothing, so a repeat can't meet its own object.
- what a writer could not send. A retryable failure left its bytes with the backend's writer, so a repeat of
  ``write`` hands over nothing more, and one of ``commit`` begins it again. A commit whose answer was lost may meet
  what it has made itself; that is reported as it is for ``put``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from penstock import clocks
from penstock.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    ThrottledError,
)
from penstock.keys import sort_key
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["RetryPolicy", "Retrying", "repeating"]

_T = TypeVar("_T")


def _not_negative(_: object, field: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{field.name} can't be {value}; write seconds, 0 or more")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often, and how patiently.

    ``attempts`` counts the first one too: 1 repeats nothing. Before repeat number n (from 1) it waits a random
    time between 0 and ``base_delay * 2**(n-1)``, at most ``max_delay``: back-off with full jitter. All in seconds.
    A service that names a time to wait is given at least that, also above ``max_delay``. No repeat begins later
    than ``deadline`` after the call did (None: no limit); an attempt under way is not cut short.
    """

    attempts: int = attrs.field(default=5, validator=attrs.validators.ge(1))
    base_delay: float = attrs.field(default=0.1, validator=_not_negative)
    max_delay: float = attrs.field(default=10.0, validator=_not_negative)
    deadline: float | None = attrs.field(default=60.0, validator=_not_negative)

    def ceiling(self, repeat: int) -> float:
        """The longest wait in seconds before that repeat, counted from 1."""
        # The exponent is bounded because a float of 2**1024 does not exist.
        return min(self.max_delay, self.base_delay * 2.0 ** min(repeat - 1, 64))


class Retrying:
    """Repeats what may be repeated; see the module. It satisfies ``ObjectStore`` and owns the store.

    Each page of a listing has its own attempts and deadline, as each other call has.
    """

    def __init__(
        self,
        store: ObjectStore,
        policy: RetryPolicy,
        *,
        on_retry: Callable[[StoreError, int, float], None] | None = None,
        sleep: Callable[[float], None] = clocks.sleep,
        random: Callable[[], float] = random.random,
        clock: Callable[[], int] = clocks.monotonic_ns,
    ) -> None:
        """``on_retry`` gets the error, the number of the attempt that met it (from 1) and the wait in seconds.

        It is called before each wait by the thread that is in the call. ``random`` gives numbers of [0, 1),
        ``clock`` nanoseconds.
        """
        self._store = store
        self.policy = policy
        self._on_retry = on_retry
        self._sleep = sleep
        self._random = random
        self._clock = clock
        self.capabilities: Capabilities = store.capabilities
        # It raises nothing, so there is nothing to repeat.
        self.fill_many: object = getattr(store, "fill_many", None)

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        watched = _WatchedSink(sink)
        budget = _Budget(self)
        while True:
            try:
                return self._store.get(key, watched, start=start, length=length, if_match=if_match)
            except StoreError as error:
                if watched.touched or not budget.wait(error):
                    raise

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        budget = _Budget(self)
        lost: StoreError | None = None
        while True:
            try:
                return self._store.put(
                    key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
                )
            except (AlreadyExistsError, PreconditionFailedError) as conflict:
                if lost is None:
                    raise
                raise _outcome_unknown(lost, conflict) from conflict
            except StoreError as error:
                if not budget.wait(error):
                    raise
                # A throttled request was refused whole; after any other failure the object may be there.
                lost = lost if isinstance(error, ThrottledError) else error

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        budget = _Budget(self)
        while True:
            try:
                writer = self._store.open_writer(
                    key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
                )
                return _RetryingWriter(self, writer)
            except StoreError as error:
                if not budget.wait(error):
                    raise

    def stat(self, key: str, /) -> ObjectInfo:
        budget = _Budget(self)
        while True:
            try:
                return self._store.stat(key)
            except StoreError as error:
                if not budget.wait(error):
                    raise

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        pages: Iterator[Page] | None = None
        after, budget = start_after, _Budget(self)
        while True:
            try:
                if pages is None:
                    pages = self._store.list_pages(prefix, delimiter=delimiter, start_after=after, page_size=page_size)
                page = next(pages, None)
            except StoreError as error:
                lost_place = after != start_after and not self.capabilities.ordered
                if lost_place or not budget.wait(error):
                    raise
                pages = None
                continue
            if page is None:
                return
            yield page
            after, budget = _last_entry(page), _Budget(self)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        budget = _Budget(self)
        final: list[StoreError] = []
        again: list[StoreError] = []
        while True:
            try:
                failed = self._store.delete(keys)
            except StoreError as error:
                if budget.wait(error):
                    continue
                if not (final or again):
                    raise
                # Most keys of the batch may be gone: what is known of each says more than that a repeat failed.
                return final + again
            again = [error for error in failed if error.retryable]
            final += [error for error in failed if not error.retryable]
            if not again or not budget.wait(max(again, key=lambda error: error.retry_after or 0.0)):
                return final + again
            keys = _keys_of(again, keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        budget = _Budget(self)
        while True:
            try:
                return self._store.copy(source, target, metadata=metadata)
            except StoreError as error:
                if not budget.wait(error):
                    raise

    def close(self) -> None:
        self._store.close()


@attrs.frozen(slots=True)
class _Caller:
    """What a budget asks of its owner, for calls on anything but a store."""

    policy: RetryPolicy
    _on_retry: Callable[[StoreError, int, float], None] | None = None
    _sleep: Callable[[float], None] = clocks.sleep
    _random: Callable[[], float] = random.random
    _clock: Callable[[], int] = clocks.monotonic_ns


def repeating(
    call: Callable[[], _T],
    policy: RetryPolicy,
    *,
    on_retry: Callable[[StoreError, int, float], None] | None = None,
    sleep: Callable[[float], None] = clocks.sleep,
) -> _T:
    """Call, and call again while it fails retryably and ``policy`` allows: for what may always be repeated."""
    budget = _Budget(_Caller(policy, on_retry, sleep))
    while True:
        try:
            return call()
        except StoreError as error:
            if not budget.wait(error):
                raise


class _Budget:
    """The attempts and the time of one call."""

    __slots__ = ("_failed", "_owner", "_started")

    def __init__(self, owner: Retrying | _Caller) -> None:
        self._owner = owner
        self._failed = 0
        self._started = owner._clock()

    def wait(self, error: StoreError) -> bool:
        """Sleep and answer True when the call may be repeated."""
        owner, policy = self._owner, self._owner.policy
        self._failed += 1
        if not error.retryable or self._failed >= policy.attempts:
            return False
        delay = max(owner._random() * policy.ceiling(self._failed), error.retry_after or 0.0)
        spent = (owner._clock() - self._started) / 1e9
        if policy.deadline is not None and spent + delay > policy.deadline:
            return False
        if owner._on_retry is not None:
            owner._on_retry(error, self._failed, delay)
        owner._sleep(delay)
        return True


class _RetryingWriter:
    """Repeats what could not be sent. Each call has its own attempts and deadline."""

    __slots__ = ("_owner", "_writer")

    def __init__(self, owner: Retrying, writer: ObjectWriter) -> None:
        self._owner = owner
        self._writer = writer

    def write(self, data: Buffer, /) -> None:
        budget = _Budget(self._owner)
        while True:
            try:
                self._writer.write(data)
                return
            except StoreError as error:
                if not budget.wait(error):
                    raise
                data = b""

    def commit(self) -> ObjectInfo:
        budget = _Budget(self._owner)
        lost: StoreError | None = None
        while True:
            try:
                return self._writer.commit()
            except (AlreadyExistsError, PreconditionFailedError, ObjectNotFoundError) as conflict:
                # An upload that is finished is not found any more.
                if lost is None:
                    raise
                raise _outcome_unknown(lost, conflict) from conflict
            except StoreError as error:
                if not budget.wait(error):
                    raise
                lost = lost if isinstance(error, ThrottledError) else error

    def abort(self) -> None:
        self._writer.abort()


class _WatchedSink:
    """Forwards to a sink; ``touched`` as soon as a byte went there, also when the sink then refused it."""

    __slots__ = ("_commit", "_write", "reserve", "touched")

    def __init__(self, sink: Sink) -> None:
        self.reserve = sink.reserve
        self._write = sink.write
        self._commit = sink.commit
        self.touched = False

    def write(self, data: Buffer, /) -> None:
        self.touched = True
        self._write(data)

    def commit(self, nbytes: int, /) -> None:
        self.touched = True
        self._commit(nbytes)


def _outcome_unknown(lost: StoreError, conflict: StoreError) -> StoreError:
    lost.message += f"; the repeat found {type(conflict).__name__}, so the earlier attempt may have written the object"
    lost.retryable = False
    return lost


def _last_entry(page: Page) -> str:
    entries = [page.objects[-1].key] if page.objects else []
    return max([*entries, *page.prefixes[-1:]], key=sort_key)


def _keys_of(errors: Sequence[StoreError], keys: Sequence[str]) -> Sequence[str]:
    """The keys that the errors are about, all when one does not say.

    An error names the object's URI, whose end is the key. Two keys may fit, such as ``a`` and ``b/a``; then both
    are deleted again, which the caller asked for anyway.
    """
    known, found = set(keys), set[str]()
    for error in errors:
        uri = error.uri or ""
        fitting = known.intersection(uri[i:] for i in range(len(uri)))
        if not fitting:
            return keys
        found |= fitting
    return [key for key in keys if key in found]
