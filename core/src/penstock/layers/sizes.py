"""A cache of what ``stat`` says, so that who needs a size before a read need not ask twice.

Only ``stat`` is answered from it. A read always asks the store, delivers what is there now, whatever its size, and
corrects the cache by its answer. What this store changes is forgotten before and after the change, also when an answer
that began earlier comes later. What others change is noticed when the entry has grown old, or by the next read or
condition that fails; until then ``stat`` may give the old size and etag. A read with that etag as ``if_match`` raises
PreconditionFailedError, and the entry is gone. No byte is ever left out because of a size that was remembered.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from penstock.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from penstock.layers.forwarding import Forwarding
from penstock.layers.timing import REAL, Timing
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SizeCounts", "Sized", "Sizes"]

#: Keys share this many counters of changes. Two that share one only make an answer be forgotten in vain.
_STRIPES: Final = 1024


def _positive(_: object, field: attrs.Attribute[Any], value: float) -> None:
    if not value > 0:
        raise ValueError(f"{field.name} can't be {value}; write more than 0")


@attrs.frozen(kw_only=True)
class Sizes:
    """How many objects are remembered at most, the longest unused forgotten first, and for how many seconds."""

    limit: int = attrs.field(default=100_000, validator=_positive)
    ttl: float = attrs.field(default=60.0, validator=_positive)


@attrs.frozen(slots=True)
class SizeCounts:
    """``hits`` are answers from the cache, ``misses`` those that the store gave, ``entries`` what it holds now."""

    hits: int
    misses: int
    entries: int


@attrs.frozen(slots=True)
class _Entry:
    """``complete``: all that ``stat`` says, not only what another answer did."""

    info: ObjectInfo
    complete: bool
    born: int


class Sized(Forwarding):
    """A store whose ``stat`` is remembered; see the module. It owns the store."""

    def __init__(self, store: ObjectStore, sizes: Sizes, *, timing: Timing = REAL) -> None:
        super().__init__(store)
        self.sizes = sizes
        self._clock = timing.clock
        self._ttl = round(sizes.ttl * 1e9)
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._changes = [0] * _STRIPES
        self._hits = 0
        self._misses = 0

    def counts(self) -> SizeCounts:
        """How the cache has done so far."""
        with self._lock:
            return SizeCounts(self._hits, self._misses, len(self._entries))

    def known(self, key: str) -> ObjectInfo | None:
        """Size and etag, as they were heard of lately; None when they were not. It asks nobody."""
        entry = self._find(key)
        return entry.info if entry is not None else None

    def prefetch(self, keys: Iterable[str], *, concurrency: int = 32) -> int:
        """Ask for the objects that are not known yet, so many at a time, and say how many are known then.

        Absent ones count for nothing; other failures are raised. No more than ``limit`` can be remembered.
        """
        from concurrent.futures import ThreadPoolExecutor

        found = 0
        pending = iter(keys)
        with ThreadPoolExecutor(concurrency, thread_name_prefix="penstock-sizes") as pool:
            while batch := list(itertools.islice(pending, 64 * concurrency)):
                found += sum(pool.map(self._learn, batch))
        return found

    def stat(self, key: str, /) -> ObjectInfo:
        entry = self._find(key)
        if entry is not None and entry.complete:
            with self._lock:
                self._hits += 1
            return entry.info
        with self._lock:
            self._misses += 1
        with self._asking(key) as learn:
            info = self._store.stat(key)
            learn(_Entry(info, True, self._clock()))
        return info

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        with self._asking(key) as learn:
            info = self._store.get(key, sink, start=start, length=length, if_match=if_match)
            learn(self._merged(key, info))
        return info

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
        with self._changing(key):
            return self._store.put(
                key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )

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
        writer = self._store.open_writer(
            key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )
        return _SizedWriter(self, writer, key)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        with self._changing(*keys):
            return self._store.delete(keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        with self._changing(target):
            return self._store.copy(source, target, metadata=metadata)

    def _find(self, key: str) -> _Entry | None:
        now = self._clock()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if now - entry.born >= self._ttl:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry

    def _learn(self, key: str) -> bool:
        if self._find(key) is not None:
            return True
        try:
            self.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def _merged(self, key: str, info: ObjectInfo) -> _Entry:
        """What a read's answer says, together with the complete one of the very same object, if there is one."""
        entry = self._find(key)
        same = entry is not None and entry.info.etag is not None and entry.info.etag == info.etag
        if entry is not None and same and entry.info.size == info.size:
            return attrs.evolve(entry, born=self._clock())
        return _Entry(info, False, self._clock())

    @contextmanager
    def _asking(self, key: str) -> Iterator[Any]:
        """A call whose answer is to be remembered, unless the object was changed here since it began."""
        stripe = hash(key) % _STRIPES
        before = self._changes[stripe]

        def learn(entry: _Entry) -> None:
            with self._lock:
                if self._changes[stripe] != before:
                    return
                self._entries[key] = entry
                self._entries.move_to_end(key)
                if len(self._entries) > self.sizes.limit:
                    self._entries.popitem(last=False)

        try:
            yield learn
        except (PreconditionFailedError, ObjectNotFoundError):
            self._forget(key)
            raise

    @contextmanager
    def _changing(self, *keys: str) -> Iterator[None]:
        # Before, for answers that come while the change is made; after, for those that began meanwhile.
        self._forget(*keys)
        try:
            yield
        finally:
            self._forget(*keys)

    def _forget(self, *keys: str) -> None:
        with self._lock:
            for key in keys:
                self._changes[hash(key) % _STRIPES] += 1
                self._entries.pop(key, None)


class _SizedWriter:
    """A writer whose commit makes its key be forgotten. Dropping it drops the store's own, which is its abort."""

    def __init__(self, owner: Sized, writer: ObjectWriter, key: str) -> None:
        self._owner = owner
        self._writer = writer
        self._key = key

    def write(self, data: Buffer, /) -> None:
        self._writer.write(data)

    def commit(self) -> ObjectInfo:
        with self._owner._changing(self._key):
            return self._writer.commit()

    def abort(self) -> None:
        self._writer.abort()
