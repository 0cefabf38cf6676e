"""The contract of a storage backend: nine synchronous methods over one bucket, container or directory.

A backend implements :class:`ObjectStore` and :class:`ObjectWriter` (both are Protocols: there is nothing to
inherit) and offers itself by a :class:`StoreType`. Everything richer, globs, trees, copies across backends,
retries, metering, is built once on these methods. The laws are numbered in :class:`ObjectStore`, and the
conformance kit, :mod:`penstock.testing`, holds one example for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs

from penstock.errors import StoreError
from penstock.service import StoreService

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock.urls import StoreURL

__all__ = [
    "API_VERSION",
    "Address",
    "Capabilities",
    "FillsMany",
    "ObjectInfo",
    "ObjectStore",
    "ObjectWriter",
    "Page",
    "Sink",
    "StoreType",
]

#: Version of this contract. It grows only when a method changes its meaning; additions do not raise it.
API_VERSION = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(slots=True)
class ObjectInfo:
    """What a store says of one object. What the backend lacks, or did not say in this answer, is None.

    ``size`` is in bytes and always that of the whole object, also in the answer to a range read.
    ``modified_ns`` is in nanoseconds since 1970 in UTC. ``etag`` changes whenever the bytes do. ``checksum`` is that
    of the bytes as the service keeps it: the algorithm, a colon and lower-case hex, such as ``crc32c:e3069283``.
    """

    key: str
    size: int
    modified_ns: int | None = None
    etag: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] | None = None
    version: str | None = None
    storage_class: str | None = None
    checksum: str | None = None

    @property
    def modified(self) -> datetime | None:
        """The time of the last change, in UTC, to the microsecond."""
        if self.modified_ns is None:
            return None
        return _EPOCH + timedelta(microseconds=self.modified_ns // 1000)


@attrs.frozen(slots=True)
class Page:
    """One answer of a listing: objects, and with a delimiter the common prefixes among them.

    Never empty of both. Prefixes end with the delimiter.
    """

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str] = ()


@attrs.frozen(slots=True, kw_only=True)
class Capabilities:
    """What a backend can do. What it does not claim it refuses with UnsupportedOperationError."""

    #: ``put`` and a writer's ``commit`` with ``create=True`` fail atomically when the key is taken.
    create: bool = False
    #: ``put(if_match=etag)`` replaces only the object of that etag, atomically.
    if_match: bool = False
    #: ``metadata=…`` of ``put`` and ``open_writer`` is kept and comes back from stat.
    metadata: bool = False
    #: ``copy`` moves no byte through this client.
    copy: bool = False
    #: Listings come in the byte order of the keys' UTF-8, so ``start_after`` costs nothing.
    ordered: bool = False
    #: Keys form real directories: ``a`` and ``a/b`` can't both be objects, directories outlive the objects in
    #: them, and a key ending in ``/`` makes, finds and removes a directory.
    directories: bool = False
    #: Other processes see the same objects.
    shared: bool = True
    #: The most keys that one ``delete`` sends in one request.
    delete_batch: int = 1
    #: Largest body of one put in bytes, None: no limit.
    max_put: int | None = None
    #: Bounds of a writer's part in bytes; the last part may be smaller. None: no upper limit.
    min_part: int = 1
    max_part: int | None = None


@runtime_checkable
class Sink(Protocol):
    """Where a read delivers, in order. Called by one thread at a time.

    Either ``write`` bytes, or ``reserve`` room, fill it from its start, and ``commit`` what was filled. Both
    may alternate in one read.
    """

    def write(self, data: Buffer, /) -> None:
        """Take these bytes; the caller may reuse them on return."""

    def reserve(self, nbytes: int, /) -> memoryview:
        """Writable room of format ``B`` to fill in place.

        It is page-aligned where the sink owns its memory. It may be longer than asked, and shorter: at least
        one byte, and at least ``min(nbytes, 64 KiB)`` unless the sink's own end is nearer. A new reservation
        forgets one that was not committed. Raises LengthMismatchError when a sink of fixed length is full.
        """

    def commit(self, nbytes: int, /) -> None:
        """Take the first ``nbytes`` of the last reservation."""


class ObjectWriter(Protocol):
    """One object being written in bounded memory. It belongs to one thread.

    Nothing is visible before ``commit`` returns. ``abort``, and dropping the writer, leave no object, no parts
    and no temporary file. Core adds the ``with`` rule (:class:`penstock.writers.GuardedWriter`), so a backend
    has just these three methods.

    ``write`` and ``commit`` raise the failure of a part, at the latest the ``commit``. A retryable one leaves the
    writer open: its bytes were taken, and the next call (``write(b"")`` will do, or ``commit`` once more) sends
    again what failed. After any other failure only ``abort`` is left.
    """

    def write(self, data: Buffer, /) -> None:
        """Append these bytes; the caller may reuse them on return."""

    def commit(self) -> ObjectInfo:
        """Make the object visible, whole, replacing one of that key. The writer is finished.

        Of a writer that was opened with ``create`` it replaces nothing: it raises AlreadyExistsError.
        """

    def abort(self) -> None:
        """Leave nothing behind. Harmless on a writer that is finished."""


class ObjectStore(Protocol):
    """One bucket, container or directory. Threads share it; any thread may call anything at any time.

    1. Each call is a knowable number of requests: get, put, stat, copy, delete and each page are one; a writer
       is one per part plus begin and finish, or a single put if it never filled a part. No hidden HEAD, no cache.
    2. ``get`` delivers ``[start, start+length)`` cut at the object's end. A missing object raises before any
       byte; a failure within the body raises after what was delivered, never a short success.
    3. ``put`` is atomic: a reader sees the old object or the new one. The buffer is free on return.
    4. A writer shows nothing until ``commit`` returns.
    5. ``list_pages`` yields every key with that string prefix exactly once, and no empty page. Deleting a missing
       key succeeds. A missing key's ``stat`` raises with the key.
    6. Stores do not pickle; their options do, and every error does. Processes are spawned, never forked.
    7. A backend never retries; one layer above does, by ``error.retryable``.
    8. Only errors of :mod:`penstock.errors` leave a store, chained from what the SDK raised.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do; constant over its life."""

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        """Deliver the object, or ``length`` bytes of it from ``start``, to ``sink``.

        At or beyond the end: nothing is delivered and the call succeeds. ``length=None`` means to the end.
        ``if_match``: raise PreconditionFailedError, before any byte, unless the object has that etag; a missing
        object still is ObjectNotFoundError. Every backend has it.
        """

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
        """Store these bytes under this key, replacing what was there.

        ``create``: raise AlreadyExistsError when the key is taken. ``if_match``: raise PreconditionFailedError
        unless the object there has that etag. Either without its capability is Unsupported, as is ``metadata``;
        a ``content_type`` that the backend can't keep is let go.
        """

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
        """Begin an object that is sent in parts of ``part_size`` bytes, the last one shorter.

        ``create``, ``metadata`` and ``content_type`` mean what they mean to ``put``. A key that is taken raises
        AlreadyExistsError here or from ``commit``, also when it was taken while the writer was open; nothing is
        replaced. What lacks its capability is Unsupported here, before any byte is taken.
        """

    def stat(self, key: str, /) -> ObjectInfo:
        """What the store knows of the object, without its bytes."""

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        """Yield every object whose key starts with ``prefix``, in pages of at most ``page_size`` entries.

        With the delimiter ``/`` (the only one every backend has; another may be Unsupported) keys that hold it
        after the prefix are rolled up into common prefixes. ``start_after`` is exclusive and compares as UTF-8.
        """

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        """Delete these keys and return one error for each that failed; an absent key is no failure.

        At most ``capabilities.delete_batch`` keys go into one request. A failure of the whole call raises.
        """

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        """Copy one object within the store, atomically for readers of ``target``, with its metadata and type.

        With ``metadata`` the target gets these instead of the source's, all of them replaced; then both keys may
        be the same, which changes the metadata of an object in place. Without that capability it is Unsupported.
        """

    def close(self) -> None:
        """Give back what the store holds. Closing twice is harmless."""


class FillsMany(Protocol):
    """What a store may have besides the nine methods, where reads are too quick to be made one by one.

    A layer that has to see every read does not hand it on. Who finds no ``fill_many``, or None, calls ``get``.
    """

    def fill_many(self, keys: Sequence[str], rooms: Sequence[memoryview], /) -> int:
        """Read object i, whole, into room i, which is writable and has just its size; return how many came.

        They come in order. It stops at the first that is not to be had so, for whatever reason, without an error:
        a ``get`` of that one says which. What is in its room is of no use then.
        """


@attrs.frozen(slots=True)
class Address:
    """Where a URI points: ``options`` names the store (a part of its options), ``key`` the object in it.

    ``base`` is the store's own URI, to which a key is appended to give the object's: ``s3://bucket/``,
    ``file:///``. ``key`` may also be a prefix, or empty.
    """

    base: str
    key: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    #: The bucket or container in it. Empty: the URI names the service, whose buckets can be listed but which is no
    #: store. None: the backend has none.
    bucket: str | None = None


@attrs.frozen(slots=True, kw_only=True)
class StoreType:
    """A backend as its plugin offers it. Describing it opens nothing and imports no SDK.

    ``parse`` splits a URI; ``open`` gets an instance of ``options`` and the number of threads that will call
    the store at once (a hint for pools). ``descend``, where a backend has it, gives the options of a store whose
    root lies at a prefix of another; without it core puts the prefix before each key.
    """

    #: The schemes served; the first is the one printed. ``gs`` and ``gcs`` may be one type.
    schemes: tuple[str, ...]
    #: One sentence for ``penstock plugins``.
    summary: str
    #: An attrs class whose fields are made by :func:`penstock.options.option`.
    options: type[Any]
    parse: Callable[[StoreURL], Address]
    open: Callable[[Any, int], ObjectStore]
    descend: Callable[[Address], Address] | None = None
    #: The service around the store, of the same options: its endpoint, buckets and unfinished uploads. It may
    #: connect, but only when it is used.
    service: Callable[[Any], StoreService] | None = None
    #: What the store will be able to do, for the table of backends.
    capabilities: Capabilities = attrs.field(factory=Capabilities)
    #: URI form shown in help, such as ``s3://bucket/key``.
    form: str = ""
    api: int = API_VERSION
