"""Store: every rich operation over one opened store of nine methods."""

from __future__ import annotations

import io
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, overload

from penstock.client import listing, removal, trees
from penstock.client.streams import RangedFile, ReadStream
from penstock.client.transfer import Place, copy_object, move_object, part_size_for
from penstock.client.trees import Existing
from penstock.client.values import CommonPrefix, Count, Outcome, Removal, TreeReport
from penstock.errors import LengthMismatchError, ObjectNotFoundError, UnsupportedOperationError, UsageError
from penstock.sinks import Collect, Into
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Sink
from penstock.writers import GuardedWriter

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

    from penstock.layers.stack import Stack

__all__ = ["Store"]

_MIB = 1024 * 1024


class Store:
    """An opened store with everything a user wants of it. Threads share it; keys are relative to its root.

    Sizes and offsets are bytes. It owns the contract-level store, :attr:`raw`, and closes it with itself, or when
    it is dropped and nothing that came from it is in use.
    """

    def __init__(self, store: ObjectStore, uri: str, *, threads: int = 16) -> None:
        """``uri`` plus a key is the object's URI. ``threads`` is how many work at once on trees and batches."""
        self.raw = store
        self.uri = uri
        self.threads = threads
        #: The layers that :func:`penstock.connect` has put on it, with what they count; None without any.
        self.stack: Stack | None = None
        self._close = weakref.finalize(self, _close_here, store, os.getpid())

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do."""
        return self.raw.capabilities

    def get(self, key: str, *, if_match: str | None = None) -> memoryview:
        """The whole object, in memory of its own. Raises ObjectNotFoundError.

        ``if_match``, here and in the other reads, raises PreconditionFailedError unless the object has that etag.
        """
        sink = Collect()
        self.raw.get(key, sink, if_match=if_match)
        return sink.view()

    def get_into(self, key: str, buffer: Buffer, *, if_match: str | None = None) -> int:
        """Read the whole object into a writable buffer and return its size.

        Raises LengthMismatchError when it does not fit; what fitted is in the buffer then.
        """
        return self._read_into(key, Into(buffer), 0, None, if_match)

    def get_range(self, key: str, offset: int, length: int | None = None, *, if_match: str | None = None) -> memoryview:
        """The bytes ``[offset, offset + length)``, cut at the object's end; to the end without a length."""
        _check_range(offset, length)
        sink = Collect()
        self.raw.get(key, sink, start=offset, length=length, if_match=if_match)
        return sink.view()

    def get_range_into(
        self, key: str, buffer: Buffer, offset: int, length: int | None = None, *, if_match: str | None = None
    ) -> int:
        """Read from ``offset`` on into a writable buffer and return the number of bytes, 0 at the end or beyond it.

        Without a length as many as the buffer holds; a length that does not fit raises LengthMismatchError.
        """
        room = memoryview(buffer).nbytes
        _check_range(offset, length)
        if length is not None and length > room:
            raise LengthMismatchError(
                f"{length} bytes do not fit into a buffer of {room}", uri=self.uri + key, operation="get"
            )
        return self._read_into(key, Into(buffer), offset, room if length is None else length, if_match)

    def open_read(
        self,
        key: str,
        *,
        offset: int = 0,
        length: int | None = None,
        chunk_size: int = _MIB,
        max_bytes: int = 8 * _MIB,
        if_match: str | None = None,
    ) -> ReadStream:
        """One read as chunks of at most ``chunk_size``, as they arrive; at most ``max_bytes`` wait to be taken."""
        _check_range(offset, length)
        if chunk_size < 1 or max_bytes < 1:
            raise UsageError("chunk_size and max_bytes are at least 1 byte")
        # Bound to self, so that the store stays open while the stream is read.
        return ReadStream(
            lambda sink: self.raw.get(key, sink, start=offset, length=length, if_match=if_match),
            chunk_size=chunk_size,
            max_bytes=max_bytes,
        )

    def open_file(self, key: str, *, buffer_size: int = 256 * 1024) -> io.BufferedReader:
        """A read-only, seekable file. Each refill of the buffer is one range read. Raises ObjectNotFoundError.

        When another object takes the key, the next refill raises PreconditionFailedError.
        """

        def read(key: str, sink: Sink, start: int, length: int, if_match: str | None) -> ObjectInfo:
            return self.raw.get(key, sink, start=start, length=length, if_match=if_match)

        return io.BufferedReader(RangedFile(key, self.stat, read), buffer_size)

    def put(
        self,
        key: str,
        data: Buffer,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        """Store these bytes, atomically, replacing what was there.

        ``if_absent`` raises AlreadyExistsError when the key is taken, ``if_match`` PreconditionFailedError unless
        the object there has that etag; a backend without the capability raises UnsupportedOperationError. Data too
        long for one put goes in parts, unless ``if_match`` is given, which is for one put only.
        """
        limit = self.capabilities.max_put
        nbytes = memoryview(data).nbytes
        if limit is not None and nbytes > limit and if_match is None:
            with self.open_writer(key, if_absent=if_absent, metadata=metadata, content_type=content_type) as writer:
                writer.write(data)
            assert writer.info is not None
            return writer.info
        return self.raw.put(
            key, data, create=if_absent, if_match=if_match, metadata=metadata, content_type=content_type
        )

    def open_writer(
        self,
        key: str,
        *,
        part_size: int = 8 * _MIB,
        if_absent: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> GuardedWriter:
        """Write an object in bounded memory. Leaving the ``with`` block commits; an exception leaves no object.

        ``part_size`` is brought within the backend's bounds. The rest is as in :meth:`put`; with ``if_absent`` a key
        that is taken raises AlreadyExistsError here or at the latest at the commit, and keeps its object.
        """
        writer = self.raw.open_writer(
            key,
            part_size=part_size_for(self.raw, part_size),
            create=if_absent,
            metadata=metadata,
            content_type=content_type,
        )
        return GuardedWriter(_HeldWriter(writer, self), key)

    def stat(self, key: str) -> ObjectInfo:
        """What the store knows of the object. Raises ObjectNotFoundError."""
        return self.raw.stat(key)

    def exists(self, key: str) -> bool:
        """Whether there is such an object. Only "not found" is False; every other failure raises."""
        try:
            self.raw.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def get_metadata(self, key: str) -> Mapping[str, str]:
        """The metadata that was stored with the object, empty when there is none. Raises ObjectNotFoundError.

        A backend without metadata raises UnsupportedOperationError.
        """
        self._require_metadata(key, "get_metadata")
        return self.raw.stat(key).metadata or {}

    def set_metadata(self, key: str, metadata: Mapping[str, str]) -> ObjectInfo:
        """Replace all of an object's metadata, in one step and without moving its bytes; ``{}`` takes all away.

        Raises ObjectNotFoundError, and UnsupportedOperationError where the backend can't.
        """
        self._require_metadata(key, "set_metadata")
        return self.raw.copy(key, key, metadata=metadata)

    def is_directory(self, key: str) -> bool:
        """Whether the backend has directories and this is one; False on stores that only have keys."""
        return trees.is_directory(self.raw, key)

    @overload
    def list(
        self,
        prefix: str = "",
        *,
        recursive: Literal[True] = True,
        pattern: str | None = None,
        regex: str | None = None,
        start_after: str = "",
    ) -> Iterator[ObjectInfo]: ...

    @overload
    def list(
        self,
        prefix: str = "",
        *,
        recursive: bool,
        pattern: str | None = None,
        regex: str | None = None,
        start_after: str = "",
    ) -> Iterator[ObjectInfo | CommonPrefix]: ...

    def list(
        self,
        prefix: str = "",
        *,
        recursive: bool = True,
        pattern: str | None = None,
        regex: str | None = None,
        start_after: str = "",
    ) -> Iterator[ObjectInfo] | Iterator[ObjectInfo | CommonPrefix]:
        """Every object whose key starts with ``prefix``, to the letter, page by page in constant memory.

        ``a/`` does not take ``ab/x``, ``a`` does. Not recursive: common prefixes up to the next ``/`` instead of
        what is below them. ``pattern`` is a glob, ``regex`` an expression; either must match all of the key after
        the prefix. ``*`` stays within a segment, ``**`` does not, ``[*]`` is a star. Ordered by the keys' UTF-8
        where the capabilities say so; ``start_after`` is exclusive.
        """
        return self._list(prefix, recursive, pattern, regex, start_after)

    def count(self, prefix: str = "", *, pattern: str | None = None, regex: str | None = None) -> Count:
        """The number and the bytes of the objects that :meth:`list` would yield."""
        return listing.count(self._list(prefix, True, pattern, regex, ""))

    def delete(self, key: str) -> None:
        """Delete exactly this object. An absent one is no failure. Never a directory."""
        if key.endswith("/") and self.capabilities.directories:
            raise UsageError(f"{self.uri}{key} names a directory; use remove_directory")
        for error in self.raw.delete([key]):
            raise error

    def delete_many(self, keys: Iterable[str]) -> Sequence[Outcome]:
        """Delete these objects, in batches and concurrently; one outcome per distinct key, in the order given."""
        order = dict.fromkeys(keys)
        found = ((key, 0) for key in order)
        outcomes = {done.key: done for done in removal.delete_listed(self.raw, self.uri, found, self.threads)}
        return [outcomes[key] for key in order]

    def delete_prefix(
        self,
        prefix: str,
        *,
        pattern: str | None = None,
        dry_run: bool = False,
        watch: Callable[[Outcome], None] | None = None,
    ) -> Removal:
        """Delete every object that :meth:`list` would yield; listing and deleting overlap.

        The prefix counts to the letter: ``a/`` does not take ``ab/x``, and an empty one takes everything. ``watch``
        sees each outcome. Directories stay; see :meth:`remove_directory`.
        """
        found = ((info.key, info.size) for info in self.list(prefix, pattern=pattern))
        if dry_run:
            outcomes: Iterator[Outcome] = (Outcome(key, None, nbytes) for key, nbytes in found)
        else:
            outcomes = removal.delete_listed(self.raw, self.uri, found, self.threads)
        return _removal(outcomes, watch)

    def copy(
        self, source: str, target: str, *, to: Store | None = None, if_absent: bool = False, metadata: bool = True
    ) -> ObjectInfo:
        """Copy one object, to another store when ``to`` is given: by the server within one store that can, else
        streamed in bounded memory. ``metadata=False`` leaves metadata behind, and when it streams the content type
        too; with them a streamed object of more than 8 MiB, or than one put takes, costs one ``stat`` more.
        """
        places = self._place(source), (to or self)._place(target)
        return copy_object(*places, if_absent=if_absent, metadata=metadata).target

    def move(
        self, source: str, target: str, *, to: Store | None = None, if_absent: bool = False, metadata: bool = True
    ) -> ObjectInfo:
        """As :meth:`copy`; then delete the source, if the target is whole and the source did not change meanwhile."""
        places = self._place(source), (to or self)._place(target)
        return move_object(*places, if_absent=if_absent, metadata=metadata)

    def copy_tree(
        self,
        source: str,
        target: str,
        *,
        to: Store | None = None,
        existing: Existing = "replace",
        move: bool = False,
        dry_run: bool = False,
        metadata: bool = True,
        watch: Callable[[int], None] | None = None,
    ) -> TreeReport:
        """Copy what a key, a directory or prefix, or a glob names, keeping the tree below it; see
        :func:`penstock.client.trees.select` for the names, :class:`~penstock.client.trees.TreeJob` for the rest.

        Failures of single objects are in the answer; ``check()`` raises the first. Raises ObjectNotFoundError when
        the source names nothing.
        """
        job = trees.plan(
            trees.select(self.raw, self.uri, source, trees=True),
            (to or self).raw,
            (to or self).uri,
            target,
            existing=existing,
            move=move,
            dry_run=dry_run,
            metadata=metadata,
            threads=self.threads,
            watch=watch,
        )
        return trees.report_of(trees.transfers(job))

    def make_directory(self, key: str, *, exist_ok: bool = True) -> None:
        """Make a directory, with its parents; on stores that only have keys its marker object, ``key/``."""
        self.raw.put(_directory(key), b"", create=not exist_ok)

    def remove_directory(
        self, key: str, *, recursive: bool = False, watch: Callable[[Outcome], None] | None = None
    ) -> Removal:
        """Remove a directory, or its marker object. One that is not empty raises StoreError, unless ``recursive``:
        then everything below it goes too, and what could not is in the answer. Absent is no failure.
        """
        if not recursive:
            removal.remove_directory(self.raw, _directory(key))
            return Removal(0, 0)
        return _removal(removal.remove_tree(self.raw, self.uri, _directory(key), self.threads), watch)

    def detach(self) -> ObjectStore:
        """Hand over the contract-level store; closing it is the caller's business from now on."""
        self._close.detach()
        return self.raw

    def close(self) -> None:
        """Give back what the store holds. Harmless the second time."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def _place(self, key: str) -> Place:
        return Place(self.raw, key, self.uri + key)

    def _list(
        self, prefix: str, recursive: bool, pattern: str | None, regex: str | None, start_after: str
    ) -> Iterator[ObjectInfo | CommonPrefix]:
        # A generator of this object's own, so that the store stays open until the listing ends.
        yield from listing.entries(
            self.raw, prefix, recursive=recursive, pattern=pattern, regex=regex, start_after=start_after
        )

    def _require_metadata(self, key: str, operation: str) -> None:
        if not self.capabilities.metadata:
            raise UnsupportedOperationError(
                "this backend keeps no metadata with an object", uri=self.uri + key, operation=operation
            )

    def _read_into(self, key: str, sink: Into, start: int, length: int | None, if_match: str | None) -> int:
        try:
            self.raw.get(key, sink, start=start, length=length, if_match=if_match)
        except LengthMismatchError as error:
            error.uri = error.uri or self.uri + key
            error.operation = error.operation or "get"
            raise
        return sink.nbytes


class _HeldWriter:
    """A backend's writer that keeps the store it came from open."""

    __slots__ = ("_store", "_writer", "abort", "commit", "write")

    def __init__(self, writer: ObjectWriter, store: Store) -> None:
        self._writer = writer
        self._store = store
        self.write = writer.write
        self.commit = writer.commit
        self.abort = writer.abort


def _close_here(store: ObjectStore, process: int) -> None:
    # A forked child has the parent's connections; ending them is the parent's business.
    if os.getpid() == process:
        store.close()


def _check_range(offset: int, length: int | None) -> None:
    if offset < 0 or (length is not None and length < 0):
        raise UsageError(f"offset {offset}, length {length}: neither can be negative")


def _directory(key: str) -> str:
    if not key.strip("/"):
        raise UsageError("name a directory below the store's root")
    return f"{key.removesuffix('/')}/"


def _removal(outcomes: Iterator[Outcome], watch: Callable[[Outcome], None] | None) -> Removal:
    objects, nbytes, failures = 0, 0, []
    for outcome in outcomes:
        if outcome.error is not None:
            failures.append(outcome)
        else:
            objects += 1
            nbytes += outcome.nbytes
        if watch is not None:
            watch(outcome)
    return Removal(objects, nbytes, failures)
