"""``mem://``: objects in this process's memory. The reference for the conformance kit.

Stores of one name share their objects; other processes have their own. ``mem://name/key``; the name may be empty.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from penstock import clocks
from penstock.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from penstock.hookspecs import hookimpl
from penstock.keys import check_key, sort_key
from penstock.options import option
from penstock.store import Address, Capabilities, ObjectInfo, Page, Sink, StoreType

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock.urls import StoreURL

__all__ = ["MemoryOptions", "MemoryStore"]

_CAPABILITIES = Capabilities(
    create=True, if_match=True, metadata=True, copy=True, ordered=True, shared=False, delete_batch=1000
)


@attrs.frozen(kw_only=True)
class MemoryOptions:
    """Options of ``mem://``."""

    name: str = option("", help="which of this process's in-memory stores", query=False)


@attrs.frozen(slots=True)
class _Object:
    data: bytes
    info: ObjectInfo


@attrs.frozen(slots=True)
class _Facts:
    """What goes with the bytes of a put or a writer: its conditions, and what is kept beside them."""

    create: bool
    if_match: str | None
    metadata: dict[str, str] | None
    content_type: str | None


class _Space:
    """The objects of one name.

    ``keys`` sorts lazily, so that puts stay cheap: new keys wait, unsorted, for the next listing, and deleted ones
    are dropped by the listing that finds many of them.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[str, _Object] = {}
        self.versions = itertools.count(1)
        self._sorted: list[bytes] = []
        self._new: list[bytes] = []
        self._gone = 0

    def keys(self) -> list[bytes]:
        """Every key as UTF-8, in order, and perhaps some that are deleted. The list never changes."""
        with self.lock:
            if self._gone * 2 > len(self._sorted):
                self._sorted, self._new, self._gone = sorted(map(sort_key, self.objects)), [], 0
            elif self._new:
                # Two runs, of which the first is in order already, merge in one pass.
                merged = self._sorted + sorted(self._new)
                merged.sort()
                self._sorted, self._new = merged, []
            return self._sorted

    def added(self, key: str) -> None:
        """Note a key that was not there; the caller holds the lock."""
        self._new.append(sort_key(key))

    def removed(self) -> None:
        """Note that a key is no more; the caller holds the lock."""
        self._gone += 1


_spaces: dict[str, _Space] = {}
_spaces_lock = threading.Lock()


class MemoryStore:
    """An :class:`~penstock.store.ObjectStore` over a dict; see the module."""

    capabilities = _CAPABILITIES

    def __init__(self, options: MemoryOptions) -> None:
        with _spaces_lock:
            self._space = _spaces.setdefault(options.name, _Space())
        self._base = f"mem://{options.name}/"

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        found = self._find(key, "get")
        if if_match is not None and found.info.etag != if_match:
            raise self._another(key, "get")
        end = None if length is None else start + length
        data = memoryview(found.data)[start:end]
        if data.nbytes:
            sink.write(data)
        return found.info

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
        facts = _Facts(create, if_match, dict(metadata) if metadata else None, content_type)
        return self._store(check_key(key), bytes(data), facts, "put")

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> _MemoryWriter:
        facts = _Facts(create, None, dict(metadata) if metadata else None, content_type)
        check_key(key)
        return _MemoryWriter(lambda body: self._store(key, body, facts, "commit"))

    def stat(self, key: str, /) -> ObjectInfo:
        return self._find(key, "stat").info

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        entries = self._entries(prefix, delimiter, start_after)
        while chunk := list(itertools.islice(entries, page_size)):
            objects = [entry for entry in chunk if isinstance(entry, ObjectInfo)]
            yield Page(objects, [entry for entry in chunk if isinstance(entry, str)])

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        space = self._space
        with space.lock:
            for key in keys:
                if space.objects.pop(key, None) is not None:
                    space.removed()
        return ()

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        # Held throughout, so that metadata in place can't bring back the bytes that a put has just replaced.
        with self._space.lock:
            found = self._find(source, "copy")
            info = found.info
            kept = info.metadata if metadata is None else metadata
            return self.put(target, found.data, metadata=kept, content_type=info.content_type)

    def close(self) -> None:
        """The objects live on: another store of this name finds them."""

    def _store(self, key: str, body: bytes, facts: _Facts, operation: str) -> ObjectInfo:
        space = self._space
        with space.lock:
            old = space.objects.get(key)
            if facts.create and old is not None:
                raise AlreadyExistsError("the key is taken", uri=self._base + key, operation=operation)
            if facts.if_match is not None and (old is None or old.info.etag != facts.if_match):
                raise self._another(key, operation)
            etag = f"{next(space.versions):x}"
            info = ObjectInfo(key, len(body), clocks.wall_ns(), etag, facts.content_type, facts.metadata)
            space.objects[key] = _Object(body, info)
            if old is None:
                space.added(key)
        return info

    def _find(self, key: str, operation: str) -> _Object:
        found = self._space.objects.get(key)
        if found is None:
            check_key(key)
            raise ObjectNotFoundError("no such object", uri=self._base + key, operation=operation)
        return found

    def _another(self, key: str, operation: str) -> StoreError:
        return PreconditionFailedError("the object is another one", uri=self._base + key, operation=operation)

    def _entries(self, prefix: str, delimiter: str, start_after: str) -> Iterator[ObjectInfo | str]:
        objects, keys = self._space.objects, self._space.keys()
        begin, after = sort_key(prefix), sort_key(start_after)
        position = max(bisect.bisect_left(keys, begin), bisect.bisect_right(keys, after) if after else 0)
        last, previous = b"", None
        for encoded in itertools.islice(keys, position, None):
            if not encoded.startswith(begin):
                return
            found = objects.get(encoded.decode())
            # A key that was deleted and put again may stand there twice.
            if found is None or encoded == last:
                continue
            last = encoded
            head, mark, _ = found.info.key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if not mark:
                yield found.info
            elif (common := prefix + head + delimiter) != previous:
                previous = common
                if sort_key(common) > after:
                    yield common


class _MemoryWriter:
    """Gathers the parts; nothing is shared before the commit, so there is nothing to undo."""

    def __init__(self, store: Callable[[bytes], ObjectInfo]) -> None:
        self._store = store
        self._parts: list[bytes] = []

    def write(self, data: Buffer, /) -> None:
        self._parts.append(bytes(data))

    def commit(self) -> ObjectInfo:
        return self._store(b"".join(self._parts))

    def abort(self) -> None:
        self._parts.clear()


def _parse(url: StoreURL) -> Address:
    return Address(f"mem://{url.authority}/", url.path.removeprefix("/"), {"name": url.authority})


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    return (
        StoreType(
            schemes=("mem",),
            summary="objects in this process's memory",
            options=MemoryOptions,
            parse=_parse,
            open=lambda options, threads: MemoryStore(options),
            capabilities=_CAPABILITIES,
            form="mem://name/key",
        ),
    )
