"""What the laws share: reading, listing, and the check of an error."""

from __future__ import annotations

import functools
import hashlib
import pickle
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from penstock.errors import PenstockError, StoreError, UnsupportedOperationError
from penstock.store import ObjectInfo, ObjectStore, Page
from penstock.testing.sinks import CheckedSink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "PATIENCE_S",
    "THREADS",
    "broken",
    "check_error",
    "check_pickle",
    "contend",
    "listed",
    "noise",
    "pages",
    "part_size",
    "put_all",
    "raises",
    "read",
    "refused",
    "same_object",
    "together",
    "write",
]

#: How long a call that hangs is waited for, in seconds.
PATIENCE_S = 60.0
THREADS = "the law of threads (any thread may call anything at any time)"

#: How many calls stand for one that overlaps another, where calls never overlap.
_ENOUGH = 20

_FIELDS = ("message", "uri", "operation", "status", "code", "request_id", "retryable", "retry_after")


def broken(law: str, what: str, remedy: str) -> AssertionError:
    """The failure of a law, as its message should read."""
    return AssertionError(f"{law} is broken: {what}.\n  remedy: {remedy}")


def noise(nbytes: int, seed: object = 0) -> bytes:
    """Bytes in which no part repeats, so that a lost, doubled or moved part is seen; the same in every run."""
    return hashlib.shake_128(repr(seed).encode()).digest(nbytes)


def part_size(store: ObjectStore) -> int:
    """A legal size of a writer's parts, odd wherever the store allows it."""
    return max(store.capabilities.min_part, 5_003)


def read(
    store: ObjectStore, key: str, /, *, start: int = 0, length: int | None = None, sink: CheckedSink | None = None
) -> bytes:
    """What ``get`` delivers, after the checks of how it treated the sink."""
    target = CheckedSink() if sink is None else sink
    store.get(key, target, start=start, length=length)
    target.check()
    return target.view()


def write(store: ObjectStore, key: str, chunks: Iterable[Buffer], /, *, create: bool = False) -> ObjectInfo:
    """Write one object through a writer."""
    writer = store.open_writer(key, part_size=part_size(store), create=create)
    for chunk in chunks:
        writer.write(chunk)
    return writer.commit()


def put_all(store: ObjectStore, keys: Iterable[str], /) -> None:
    """Put a small object, whose bytes name it, under each key."""
    for key in keys:
        store.put(key, key.encode())


def pages(
    store: ObjectStore, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
) -> list[Page]:
    """Every page of a listing, checked against the law of pages."""
    found = list(store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size))
    for page in found:
        entries = len(page.objects) + len(page.prefixes)
        if not entries:
            raise broken("law 5 (list_pages)", "a page is empty", "yield a page only when it holds an entry")
        if entries > page_size:
            raise broken(
                "law 5 (list_pages)",
                f"a page holds {entries} entries, page_size is {page_size}",
                "count objects and common prefixes together and cut the page there",
            )
    return found


def listed(
    store: ObjectStore, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
) -> list[str]:
    """Keys and common prefixes of a listing, as they came, after the check that none came twice.

    Within a page objects and prefixes are merged by their UTF-8.
    """
    names: list[str] = []
    for page in pages(store, prefix, delimiter=delimiter, start_after=start_after, page_size=page_size):
        objects = [info.key for info in page.objects]
        names += sorted([*objects, *page.prefixes], key=str.encode) if page.prefixes else objects
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise broken(
            "law 5 (list_pages)",
            f"{twice[:5]} came more than once",
            "begin each page after the last entry of the page before; yield a common prefix once",
        )
    return names


@contextmanager
def raises(kind: type[PenstockError], key: str | None, operation: str | None, law: str) -> Iterator[None]:
    """The block must raise ``kind``, carrying ``key`` and ``operation`` where they are given."""
    try:
        yield
    except kind as error:
        if isinstance(error, StoreError):
            check_error(error, key, operation)
    except Exception as error:
        raise broken(
            law,
            f"{operation} of {key!r} raised {type(error).__name__} ({error}), not {kind.__name__}",
            f"translate what the backend raises into penstock.errors.{kind.__name__}, chained with 'from'",
        ) from error
    else:
        raise broken(
            law,
            f"{operation} of {key!r} succeeded where it has to raise {kind.__name__}",
            f"raise penstock.errors.{kind.__name__}",
        )


@contextmanager
def refused(key: str | None, operation: str, capability: str) -> Iterator[None]:
    """The block uses a capability that is not claimed, and must be refused as unsupported."""
    law = f"the capability {capability!r}, which the store does not claim,"
    with raises(UnsupportedOperationError, key, operation, law):
        yield


def check_error(error: StoreError, key: str | None, operation: str | None) -> None:
    """An error names its object and its operation, and pickles with all its fields."""
    law = "the law of errors (law 5, law 6)"
    if key is not None and not (error.uri or "").endswith(key):
        raise broken(law, f"{type(error).__name__} has uri={error.uri!r}, not the URI of {key!r}", "pass uri=")
    if operation is not None and error.operation != operation:
        raise broken(
            law,
            f"{type(error).__name__} has operation={error.operation!r}, not {operation!r}",
            "pass operation= with the name of the method that was called",
        )
    check_pickle(error)


def check_pickle(error: StoreError) -> None:
    """The error survives a pickle, class, message and fields."""
    remedy = "give a class of your own __reduce__, or raise the classes of penstock.errors as they are"
    law = "law 6 (every error pickles)"
    try:
        # The kit pickles only what it has just made itself.
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
    except Exception as cause:
        raise broken(law, f"{type(error).__name__} does not pickle: {cause}", remedy) from cause
    if type(again) is not type(error):
        raise broken(law, f"{type(error).__name__} comes back as {type(again).__name__}", remedy)
    for name in _FIELDS:
        if getattr(again, name) != getattr(error, name):
            raise broken(law, f"the field {name} of {type(error).__name__} is lost in a pickle", remedy)


def same_object(one: ObjectInfo, two: ObjectInfo) -> None:
    """Two answers about one unchanged object don't contradict each other."""
    for field in attrs.fields(ObjectInfo):
        left, right = getattr(one, field.name), getattr(two, field.name)
        if left is not None and right is not None and left != right:
            raise broken(
                "the law of ObjectInfo",
                f"{field.name} of {one.key!r} is {left!r} in one answer and {right!r} in another",
                "leave a field None where an answer does not say it",
            )


@contextmanager
def _fast_switching() -> Iterator[None]:
    # Threads interleave as finely as the interpreter can, which brings races out.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(*calls: Callable[[], None]) -> None:
    """Run the calls at the same time, each in a thread; the first error is raised again."""
    barrier = threading.Barrier(len(calls))
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            barrier.wait(PATIENCE_S)
            call()
        except BaseException as error:  # noqa: BLE001  (it is raised again below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    with _fast_switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads), f"{THREADS}: a call has hung for {PATIENCE_S:.0f} s"
    if isinstance(errors[0] if errors else None, AssertionError):
        raise errors[0]
    if errors:
        raise broken(THREADS, f"{type(errors[0]).__name__}: {errors[0]}", "guard shared state") from errors[0]


def contend(*calls: Callable[[int], None], rounds: int = 80) -> None:
    """Repeat the calls, each in a thread of its own, until others have run during each of them ``rounds`` times.

    Each gets the number of its turn, from 0. Counting overlaps, not calls, makes the threads meet however unevenly
    they are scheduled. A store that lets one call in at a time ends the test by the number of its calls.
    """
    turns = [0] * len(calls)
    met = [0] * len(calls)
    stop = threading.Event()

    def repeat(index: int, call: Callable[[int], None]) -> None:
        try:
            while not stop.is_set():
                others = sum(turns) - turns[index]
                call(turns[index])
                turns[index] += 1
                met[index] += sum(turns) - turns[index] > others
                if min(met) >= rounds or min(turns) >= _ENOUGH * rounds:
                    stop.set()
        finally:
            stop.set()

    together(*(functools.partial(repeat, index, call) for index, call in enumerate(calls)))
