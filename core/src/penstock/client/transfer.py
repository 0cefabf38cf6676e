"""Copying and moving one object, within a store or from one to another, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from penstock.buffers import aligned_buffer
from penstock.errors import LengthMismatchError, StoreError, UsageError
from penstock.sinks import Collect
from penstock.store import ObjectInfo, ObjectStore
from penstock.writers import GuardedWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Copied", "Place", "copy_object", "move_object", "part_size_for"]

#: An object of at most this many bytes is copied by one get and one put; of a longer one this much is held.
WHOLE = 8 * 1024 * 1024
_LEAST_ROOM = 64 * 1024
_ROOM = 1024 * 1024

Watch = Callable[[int], None]


@attrs.frozen(slots=True)
class Place:
    """A key in a contract-level store, and the URI for messages."""

    store: ObjectStore
    key: str
    uri: str


@attrs.frozen(slots=True)
class Copied:
    """The source as it was read (None after a server-side copy), and the target as it was written."""

    source: ObjectInfo | None
    target: ObjectInfo


def copy_object(
    source: Place,
    target: Place,
    *,
    if_absent: bool = False,
    metadata: bool = True,
    watch: Watch | None = None,
) -> Copied:
    """Copy one object. ``watch`` gets the number of bytes of each step, and ends the copy when it raises.

    Within one store that can, the server copies, always with the content type. Otherwise the bytes stream through
    this process, at most two parts of them at a time; ``metadata`` and the content type go along where the target
    keeps them. An object of more than WHOLE bytes, or than one put takes, is written in parts, and then they are
    asked for by one ``stat`` before its first part is sent; StoreError is raised when that was of another object
    than the one read.
    """
    if source.store is target.store and source.key == target.key:
        raise UsageError(f"{source.uri}: source and target are the same object")
    if source.store is target.store and source.store.capabilities.copy and not if_absent:
        kept: Mapping[str, str] | None = {} if not metadata and source.store.capabilities.metadata else None
        info = source.store.copy(source.key, target.key, metadata=kept)
        if watch is not None:
            watch(info.size)
        return Copied(None, info)
    relay = _Relay(source, target, if_absent=if_absent, metadata=metadata, watch=watch)
    try:
        info = source.store.get(source.key, relay)
        return Copied(info, relay.finish(info))
    except BaseException as error:
        relay.abort()
        # A backend may dress up what its sink raised; the reason is the target's own error.
        if relay.failure is not None and relay.failure is not error:
            raise relay.failure from None
        raise


def move_object(
    source: Place, target: Place, *, if_absent: bool = False, metadata: bool = True, watch: Watch | None = None
) -> ObjectInfo:
    """Copy, then delete the source if the target is whole and the source is still the object that was copied.

    Otherwise StoreError is raised and the source stays. That also protects an object that has two URIs: its move
    onto itself changes the source.
    """
    before = source.store.stat(source.key)
    written = copy_object(source, target, if_absent=if_absent, metadata=metadata, watch=watch).target
    if written.size != before.size:
        raise LengthMismatchError(
            f"the copy has {written.size} bytes of {before.size}; the source is kept", uri=target.uri, operation="move"
        )
    after = source.store.stat(source.key)
    if (after.size, after.etag, after.modified_ns) != (before.size, before.etag, before.modified_ns):
        raise StoreError("the object changed while it was moved; it is kept", uri=source.uri, operation="move")
    for error in source.store.delete([source.key]):
        raise error
    return written


def part_size_for(store: ObjectStore, asked: int) -> int:
    """The part size nearest to what was asked that the backend allows."""
    limits = store.capabilities
    size = max(asked, limits.min_part)
    return size if limits.max_part is None else min(size, limits.max_part)


class _Relay:
    """A sink that passes an object on: gathered and put while it is short, written in parts when it is not."""

    def __init__(self, source: Place, target: Place, *, if_absent: bool, metadata: bool, watch: Watch | None) -> None:
        self._source = source
        self._target = target
        self._if_absent = if_absent
        self._metadata = metadata
        self._watch = watch
        limit = target.store.capabilities.max_put
        self._limit = WHOLE if limit is None else min(WHOLE, limit)
        self._head = Collect()
        self._writer: GuardedWriter | None = None
        self._room = memoryview(b"")
        self._begun: ObjectInfo | None = None
        self.failure: BaseException | None = None

    def write(self, data: Buffer, /) -> None:
        view = memoryview(data).cast("B")
        if self._writer is None and self._head.nbytes + view.nbytes > self._limit:
            self._begin_writer()
        if self._writer is None:
            self._head.write(view)
        else:
            self._send(view)
        self._seen(view.nbytes)

    def reserve(self, nbytes: int, /) -> memoryview:
        if self._writer is None:
            left = self._limit - self._head.nbytes
            if left >= min(nbytes, _LEAST_ROOM):
                return self._head.reserve(min(nbytes, left))
            self._begin_writer()
        return self._room

    def commit(self, nbytes: int, /) -> None:
        if self._writer is None:
            self._head.commit(nbytes)
        else:
            self._send(self._room[:nbytes])
        self._seen(nbytes)

    def finish(self, info: ObjectInfo) -> ObjectInfo:
        """Make the target visible; ``info`` is what the read returned."""
        store, key = self._target.store, self._target.key
        if self._writer is None and self._head.nbytes > self._limit:
            self._begin_writer()
        if self._writer is not None:
            self._require_same(info)
            return self._writer.commit()
        return store.put(
            key,
            self._head.view(),
            create=self._if_absent,
            metadata=self._kept(info) if self._metadata else None,
            content_type=info.content_type if self._metadata else None,
        )

    def abort(self) -> None:
        """Leave nothing at the target."""
        if self._writer is not None:
            self._writer.abort()

    def _kept(self, info: ObjectInfo) -> Mapping[str, str] | None:
        return (info.metadata or None) if self._target.store.capabilities.metadata else None

    def _require_same(self, info: ObjectInfo) -> None:
        begun = self._begun
        if begun is not None and (begun.size, begun.etag or info.etag) != (info.size, info.etag or begun.etag):
            raise StoreError(
                "the object changed while it was copied", uri=self._source.uri, operation="copy", retryable=True
            )

    def _begin_writer(self) -> None:
        store, key = self._target.store, self._target.key
        try:
            metadata, content_type = None, None
            if self._metadata:
                # The read says what the object is only at its end, and some stores want it at the beginning.
                self._begun = begun = self._source.store.stat(self._source.key)
                metadata, content_type = self._kept(begun), begun.content_type
            writer = store.open_writer(
                key,
                part_size=part_size_for(store, WHOLE),
                create=self._if_absent,
                metadata=metadata,
                content_type=content_type,
            )
            self._writer = GuardedWriter(writer, key)
            self._room = aligned_buffer(_ROOM)
        except BaseException as error:
            self.failure = error
            raise
        head, self._head = self._head, Collect()
        if head.nbytes:
            self._send(head.view())

    def _send(self, data: memoryview) -> None:
        assert self._writer is not None
        try:
            self._writer.write(data)
        except BaseException as error:
            self.failure = error
            raise

    def _seen(self, nbytes: int) -> None:
        if self._watch is None:
            return
        try:
            self._watch(nbytes)
        except BaseException as error:
            self.failure = error
            raise
