"""The operations of :mod:`penstock` as coroutines, for any event loop that anyio serves.

Each runs in a thread, at most :data:`THREADS` at once per event loop, apart from anyio's own threads. A hop to a
thread costs tens of microseconds: for many small objects call the plain functions from threads of your own.

Cancellation: a call that has begun is not interrupted; the coroutine waits for it, then raises, so a put is
either whole or not there. What waits for a free thread is cancelled at once, as are listings and streams between
two steps; their threads end with them.
"""

from __future__ import annotations

import builtins
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import anyio
import anyio.lowlevel
import anyio.to_thread

from penstock.client import buckets, functions
from penstock.client.buckets import ABANDONED_AFTER, UploadRemoval
from penstock.client.functions import Options
from penstock.client.trees import Existing
from penstock.client.values import CommonPrefix, Count, Outcome, Removal, TreeReport
from penstock.formats import Sample
from penstock.samples import SampleFormat, reading, writing
from penstock.service import BucketInfo, UploadInfo
from penstock.store import ObjectInfo
from penstock.writers import GuardedWriter

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = [
    "THREADS",
    "Writer",
    "abort_upload",
    "abort_uploads",
    "copy",
    "copy_tree",
    "count",
    "create_bucket",
    "delete",
    "delete_bucket",
    "delete_many",
    "delete_prefix",
    "download",
    "exists",
    "get",
    "get_into",
    "get_metadata",
    "get_range",
    "get_range_into",
    "list",
    "list_buckets",
    "list_uploads",
    "make_directory",
    "move",
    "open_file",
    "open_read",
    "open_writer",
    "put",
    "read_samples",
    "remove_directory",
    "set_metadata",
    "stat",
    "sync",
    "upload",
    "write_samples",
]

#: How many calls of one event loop run at once.
THREADS = 64

_STEP = 256
_T = TypeVar("_T")
_limiter: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("penstock.aio")


async def get(uri: str, *, if_match: str | None = None, options: Options = None) -> memoryview:
    """See :func:`penstock.get`."""
    return await _run(partial(functions.get, uri, if_match=if_match, options=options))


async def get_into(uri: str, buffer: Buffer, *, if_match: str | None = None, options: Options = None) -> int:
    """See :func:`penstock.get_into`."""
    return await _run(partial(functions.get_into, uri, buffer, if_match=if_match, options=options))


async def get_range(
    uri: str, offset: int, length: int | None = None, *, if_match: str | None = None, options: Options = None
) -> memoryview:
    """See :func:`penstock.get_range`."""
    return await _run(partial(functions.get_range, uri, offset, length, if_match=if_match, options=options))


async def get_range_into(
    uri: str,
    buffer: Buffer,
    offset: int,
    length: int | None = None,
    *,
    if_match: str | None = None,
    options: Options = None,
) -> int:
    """See :func:`penstock.get_range_into`."""
    call = partial(functions.get_range_into, uri, buffer, offset, length, if_match=if_match, options=options)
    return await _run(call)


async def open_read(
    uri: str,
    *,
    offset: int = 0,
    length: int | None = None,
    chunk_size: int = 1024 * 1024,
    if_match: str | None = None,
    options: Options = None,
) -> AsyncIterator[memoryview]:
    """The chunks of an object, ``async for``; see :func:`penstock.open_read`. Leaving the loop ends the read."""
    begin = partial(
        functions.open_read,
        uri,
        offset=offset,
        length=length,
        chunk_size=chunk_size,
        if_match=if_match,
        options=options,
    )
    stream = await _run(begin)
    try:
        while (chunk := await _run(partial(next, stream, None))) is not None:
            yield chunk
    finally:
        with anyio.CancelScope(shield=True):
            await _run(stream.close)


async def open_file(uri: str, *, buffer_size: int = 256 * 1024, options: Options = None) -> anyio.AsyncFile[bytes]:
    """See :func:`penstock.open_file`; ``async with await open_file(uri) as file``, and its methods are awaited."""
    return anyio.wrap_file(await _run(partial(functions.open_file, uri, buffer_size=buffer_size, options=options)))


async def open_writer(
    uri: str,
    *,
    part_size: int = 8 * 1024 * 1024,
    if_absent: bool = False,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> Writer:
    """See :func:`penstock.open_writer`; ``async with await open_writer(uri) as writer``."""
    begin = partial(
        functions.open_writer,
        uri,
        part_size=part_size,
        if_absent=if_absent,
        metadata=metadata,
        content_type=content_type,
        options=options,
    )
    return Writer(await _run(begin))


class Writer:
    """An object being written, by one task at a time. Leaving the block commits; an exception, or being cancelled,
    leaves no object.
    """

    def __init__(self, writer: GuardedWriter) -> None:
        self._writer = writer

    @property
    def info(self) -> ObjectInfo | None:
        """What the store said at the commit; None before it."""
        return self._writer.info

    def tell(self) -> int:
        """Bytes written so far."""
        return self._writer.tell()

    async def write(self, data: Buffer, /) -> None:
        """Append these bytes; the caller may reuse them afterwards. A failure aborts."""
        await _run(partial(self._writer.write, data))

    async def commit(self) -> ObjectInfo:
        """Make the object visible. A failure aborts."""
        return await _run(self._writer.commit)

    async def close(self) -> ObjectInfo:
        """Commit, unless that was done already."""
        return await _run(self._writer.close)

    async def abort(self) -> None:
        """Leave nothing behind. Harmless on a writer that is finished. Cancellation does not keep it from that."""
        with anyio.CancelScope(shield=True):
            await _run(self._writer.abort)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await _run(partial(self._writer.__exit__, kind, error, trace))
        except BaseException:
            await self.abort()
            raise


async def put(
    uri: str,
    data: Buffer,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> ObjectInfo:
    """See :func:`penstock.put`."""
    call = partial(
        functions.put,
        uri,
        data,
        if_absent=if_absent,
        if_match=if_match,
        metadata=metadata,
        content_type=content_type,
        options=options,
    )
    return await _run(call)


async def stat(uri: str, *, options: Options = None) -> ObjectInfo:
    """See :func:`penstock.stat`."""
    return await _run(partial(functions.stat, uri, options=options))


async def exists(uri: str, *, options: Options = None) -> bool:
    """See :func:`penstock.exists`."""
    return await _run(partial(functions.exists, uri, options=options))


async def get_metadata(uri: str, *, options: Options = None) -> Mapping[str, str]:
    """See :func:`penstock.get_metadata`."""
    return await _run(partial(functions.get_metadata, uri, options=options))


async def set_metadata(uri: str, metadata: Mapping[str, str], *, options: Options = None) -> ObjectInfo:
    """See :func:`penstock.set_metadata`."""
    return await _run(partial(functions.set_metadata, uri, metadata, options=options))


@overload
def list(  # noqa: A001
    uri: str,
    *,
    recursive: Literal[True] = True,
    pattern: str | None = None,
    regex: str | None = None,
    options: Options = None,
) -> AsyncIterator[ObjectInfo]: ...


@overload
def list(  # noqa: A001
    uri: str, *, recursive: bool, pattern: str | None = None, regex: str | None = None, options: Options = None
) -> AsyncIterator[ObjectInfo | CommonPrefix]: ...


def list(  # noqa: A001
    uri: str,
    *,
    recursive: bool = True,
    pattern: str | None = None,
    regex: str | None = None,
    options: Options = None,
) -> AsyncIterator[Any]:
    """See :func:`penstock.list`; ``async for``."""
    return _listed(partial(functions.list, uri, recursive=recursive, pattern=pattern, regex=regex, options=options))


async def count(uri: str, *, pattern: str | None = None, regex: str | None = None, options: Options = None) -> Count:
    """See :func:`penstock.count`."""
    return await _run(partial(functions.count, uri, pattern=pattern, regex=regex, options=options))


async def delete(uri: str, *, options: Options = None) -> None:
    """See :func:`penstock.delete`."""
    await _run(partial(functions.delete, uri, options=options))


async def delete_many(uris: Iterable[str], *, options: Options = None) -> Sequence[Outcome]:
    """See :func:`penstock.delete_many`."""
    return await _run(partial(functions.delete_many, builtins.list(uris), options=options))


async def delete_prefix(
    uri: str, *, pattern: str | None = None, dry_run: bool = False, options: Options = None
) -> Removal:
    """See :func:`penstock.delete_prefix`."""
    return await _run(partial(functions.delete_prefix, uri, pattern=pattern, dry_run=dry_run, options=options))


async def copy(
    source: str, target: str, *, if_absent: bool = False, metadata: bool = True, options: Options = None
) -> ObjectInfo:
    """See :func:`penstock.copy`."""
    return await _run(partial(functions.copy, source, target, if_absent=if_absent, metadata=metadata, options=options))


async def move(
    source: str, target: str, *, if_absent: bool = False, metadata: bool = True, options: Options = None
) -> ObjectInfo:
    """See :func:`penstock.move`."""
    return await _run(partial(functions.move, source, target, if_absent=if_absent, metadata=metadata, options=options))


async def copy_tree(
    source: str,
    target: str,
    *,
    existing: Existing = "replace",
    move: bool = False,
    dry_run: bool = False,
    metadata: bool = True,
    options: Options = None,
) -> TreeReport:
    """See :func:`penstock.copy_tree`."""
    call = partial(
        functions.copy_tree,
        source,
        target,
        existing=existing,
        move=move,
        dry_run=dry_run,
        metadata=metadata,
        options=options,
    )
    return await _run(call)


async def upload(path: str, uri: str, *, existing: Existing = "replace", options: Options = None) -> TreeReport:
    """See :func:`penstock.upload`."""
    return await _run(partial(functions.upload, path, uri, existing=existing, options=options))


async def download(uri: str, path: str, *, existing: Existing = "replace", options: Options = None) -> TreeReport:
    """See :func:`penstock.download`."""
    return await _run(partial(functions.download, uri, path, existing=existing, options=options))


async def sync(source: str, target: str, *, options: Options = None) -> TreeReport:
    """See :func:`penstock.sync`."""
    return await _run(partial(functions.sync, source, target, options=options))


async def make_directory(uri: str, *, exist_ok: bool = True, options: Options = None) -> None:
    """See :func:`penstock.make_directory`."""
    await _run(partial(functions.make_directory, uri, exist_ok=exist_ok, options=options))


async def remove_directory(uri: str, *, recursive: bool = False, options: Options = None) -> Removal:
    """See :func:`penstock.remove_directory`."""
    return await _run(partial(functions.remove_directory, uri, recursive=recursive, options=options))


def list_buckets(uri: str, *, options: Options = None) -> AsyncIterator[BucketInfo]:
    """See :func:`penstock.list_buckets`; ``async for``."""
    return _listed(partial(buckets.list_buckets, uri, options=options))


async def create_bucket(uri: str, *, options: Options = None) -> None:
    """See :func:`penstock.create_bucket`."""
    await _run(partial(buckets.create_bucket, uri, options=options))


async def delete_bucket(uri: str, *, options: Options = None) -> None:
    """See :func:`penstock.delete_bucket`."""
    await _run(partial(buckets.delete_bucket, uri, options=options))


def list_uploads(uri: str, *, options: Options = None) -> AsyncIterator[UploadInfo]:
    """See :func:`penstock.list_uploads`; ``async for``."""
    return _listed(partial(buckets.list_uploads, uri, options=options))


async def abort_upload(upload: UploadInfo, *, options: Options = None) -> None:
    """See :func:`penstock.abort_upload`."""
    await _run(partial(buckets.abort_upload, upload, options=options))


async def abort_uploads(
    uri: str, *, older_than: float = ABANDONED_AFTER, dry_run: bool = False, options: Options = None
) -> UploadRemoval:
    """See :func:`penstock.abort_uploads`."""
    call = partial(buckets.abort_uploads, uri, older_than=older_than, dry_run=dry_run, options=options)
    return await _run(call)


def read_samples(
    uri: str,
    format: str | SampleFormat | None = None,
    *,
    format_options: Mapping[str, Any] | None = None,
    max_bytes: int = 256 * 1024 * 1024,
    options: Options = None,
) -> AsyncIterator[Sample]:
    """See :func:`penstock.read_samples`; ``async for``."""
    return _listed(
        partial(
            reading.read_samples,
            uri,
            format,
            format_options=format_options,
            max_bytes=max_bytes,
            options=options,
        ),
        most=1,
    )


async def write_samples(
    uri: str,
    samples: Iterable[Sample],
    format: str | SampleFormat | None = None,
    *,
    format_options: Mapping[str, Any] | None = None,
    part_size: int = 8 * 1024 * 1024,
    if_absent: bool = False,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> ObjectInfo:
    """See :func:`penstock.write_samples`. The samples are taken in a thread."""
    call = partial(
        writing.write_samples,
        uri,
        samples,
        format,
        format_options=format_options,
        part_size=part_size,
        if_absent=if_absent,
        metadata=metadata,
        content_type=content_type,
        options=options,
    )
    return await _run(call)


async def _run(call: Callable[[], _T]) -> _T:
    return await anyio.to_thread.run_sync(call, limiter=_own_limiter())


def _own_limiter() -> anyio.CapacityLimiter:
    # A limiter belongs to one event loop, so each loop has its own.
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(THREADS)
        _limiter.set(limiter)
        return limiter


async def _listed(begin: Callable[[], Iterator[Any]], most: int = _STEP) -> AsyncIterator[Any]:
    entries = await _run(begin)
    size = 1
    while step := await _run(partial(_take, entries, size)):
        for entry in step:
            yield entry
        # The first entry comes alone, so that nobody waits for more than it.
        size = most


def _take(entries: Iterator[_T], size: int) -> Sequence[_T]:
    return [*itertools.islice(entries, size)]
