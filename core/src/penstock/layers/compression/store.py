"""The store whose objects are kept compressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import attrs

from penstock.errors import LengthMismatchError, ObjectNotFoundError, PreconditionFailedError, StoreError
from penstock.keys import check_key, sort_key
from penstock.layers.compression.frames import FOOTER, GUARD, Compressor, Decoding, Table, read_table, table_length
from penstock.layers.forwarding import Forwarding, flat
from penstock.sinks import Collect, Discard
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Compressed", "Compression"]

_SUFFIX: Final = ".zst"
#: What is read of an object's end at first: the table of some thousand frames.
_TAIL: Final = 64 * 1024
#: How often an object that changes between two requests is looked at again, before it is read in a single one.
_LOOKS: Final = 3
#: Tables that a listing asks for at once, where there are more of them.
_AT_ONCE: Final = 16


@attrs.frozen(kw_only=True)
class Compression:
    """``level`` is that of zstd, 1 (quick) to 22 (small); ``frame_size`` how many bytes of an object go into a frame.

    Smaller frames make ranges cheaper and the object larger. ``list_sizes`` says whose sizes a listing gives: ``exact``
    for the object's, ``stored`` for those of what the store keeps, which cost no request.
    """

    level: int = attrs.field(default=3, validator=[attrs.validators.ge(1), attrs.validators.le(22)])
    frame_size: int = attrs.field(
        default=4 * 1024 * 1024, validator=[attrs.validators.ge(1024), attrs.validators.le(1024**3)]
    )
    list_sizes: Literal["exact", "stored"] = attrs.field(
        default="exact", validator=attrs.validators.in_(("exact", "stored"))
    )


class Compressed(Forwarding):
    """A store whose objects are kept compressed; see the package. It owns the store."""

    def __init__(self, store: ObjectStore, compression: Compression, *, base_uri: str = "") -> None:
        """``base_uri`` plus a key is the URI that errors name."""
        super().__init__(store)
        self.compression = compression
        self._base = base_uri
        self.capabilities = attrs.evolve(store.capabilities, ordered=False)

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        name = self._name(key)
        if name == key:
            return self._store.get(key, sink, start=start, length=length, if_match=if_match)
        with self._named(key, "get"):
            if start or length is not None:
                info = self._get_range(key, sink, start, length, if_match)
                if info is not None:
                    return info
            end = None if length is None else start + length
            return self._get_through(key, Decoding(sink, start=start, end=end), if_match)

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
        name, view = self._name(key), flat(data)
        if name != key:
            data = self._compress(view)
        with self._named(key, "put"):
            info = self._store.put(
                name, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )
        return _shown(info, key, view.nbytes)

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
        with self._named(key, "open_writer"):
            writer = self._store.open_writer(
                self._name(key), part_size=part_size, create=create, metadata=metadata, content_type=content_type
            )
        return _CompressingWriter(self, writer, key) if self._name(key) != key else writer

    def stat(self, key: str, /) -> ObjectInfo:
        name = self._name(key)
        if name == key:
            return self._store.stat(key)
        with self._named(key, "stat"):
            for _ in range(_LOOKS):
                info = self._store.stat(name)
                size = self._size(info)
                if size is not None:
                    return _shown(info, key, size)
            return self._get_through(key, Decoding(Discard()), None)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        after = sort_key(start_after) if start_after else None
        # Whatever comes after a key is stored after it as well, so nothing is missed by beginning there.
        for page in self._store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size):
            found = [(info, key) for info in page.objects if (key := self._key(info.key)) is not None]
            wanted = [
                (info, key)
                for info, key in found
                if key.startswith(prefix) and (after is None or sort_key(key) > after)
            ]
            objects = self._listed(wanted)
            if objects or page.prefixes:
                yield Page(objects, page.prefixes)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        failed = self._store.delete([self._name(key) for key in keys])
        for error in failed:
            _bare(error)
        return failed

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        with self._named(source, "copy"):
            info = self._store.copy(self._name(source), self._name(target), metadata=metadata)
            if self._name(target) == target:
                return info
            size = self._size(info)
        return _shown(info, target, size) if size is not None else self.stat(target)

    def _name(self, key: str) -> str:
        """The key under which an object is stored. Directories, where they are real, hold no bytes."""
        check_key(key)
        return key if key.endswith("/") and self.capabilities.directories else key + _SUFFIX

    def _key(self, name: str) -> str | None:
        """The key of a stored object, None where it is none of this layer's."""
        if name.endswith("/") and self.capabilities.directories:
            return name
        return name[: -len(_SUFFIX)] if name.endswith(_SUFFIX) and name != _SUFFIX else None

    def _compress(self, view: memoryview) -> bytes:
        compressor, step = Compressor(self.compression.level), self.compression.frame_size
        frames = [compressor.frame(view[begin : begin + step]) for begin in range(0, view.nbytes, step)]
        return b"".join([*frames, compressor.table()])

    def _get_through(self, key: str, decoding: Decoding, if_match: str | None) -> ObjectInfo:
        """Read all that is stored, in one request."""
        info = self._store.get(self._name(key), decoding, if_match=if_match)
        if decoding.received != info.size:
            raise LengthMismatchError(f"{decoding.received} of {info.size} stored bytes came")
        decoding.finish()
        return _shown(info, key, decoding.nbytes)

    def _get_range(
        self, key: str, sink: Sink, start: int, length: int | None, if_match: str | None
    ) -> ObjectInfo | None:
        """Read the frames that hold a range. None where it has to be read otherwise; nothing was delivered then."""
        for _ in range(_LOOKS):
            info = self._store.stat(self._name(key))
            if if_match is not None and info.etag != if_match:
                raise PreconditionFailedError("the object is another one", uri=self._base + key, operation="get")
            if info.etag is None:
                return None
            try:
                table = self._table(info)
            except PreconditionFailedError:
                if if_match is not None:
                    raise
                continue
            if table is None:
                return None
            end = table.size if length is None else min(start + length, table.size)
            if start >= end:
                return _shown(info, key, table.size)
            span = table.span(start, end)
            decoding = Decoding(sink, start=start, end=end, offset=span.offset)
            try:
                self._store.get(self._name(key), decoding, start=span.start, length=span.length, if_match=info.etag)
            except PreconditionFailedError:
                if decoding.delivered or if_match is not None:
                    raise
                continue
            decoding.finish()
            if decoding.delivered != end - start:
                raise LengthMismatchError(f"{decoding.delivered} of {end - start} bytes came")
            return _shown(info, key, table.size)
        return None

    def _size(self, info: ObjectInfo) -> int | None:
        """How large the object of a stored one is; None if it has changed since ``info`` was said of it."""
        try:
            table = self._table(info)
            if table is not None:
                return table.size
            decoding = Decoding(Discard())
            found = self._store.get(info.key, decoding, if_match=info.etag)
        except (PreconditionFailedError, ObjectNotFoundError):
            return None
        if found.size != info.size:
            return None
        decoding.finish()
        return decoding.nbytes

    def _table(self, info: ObjectInfo) -> Table | None:
        """The table of a stored object, None where it has none. Raises where the object is not there any more."""
        tail = self._tail(info, min(info.size, _TAIL))
        length = table_length(tail[-FOOTER:])
        if length is None or length > info.size:
            return None
        if length + GUARD > len(tail) < info.size:
            tail = self._tail(info, min(length + GUARD, info.size))
        return read_table(tail, length, info.size)

    def _tail(self, info: ObjectInfo, length: int) -> bytes:
        sink = Collect()
        self._store.get(info.key, sink, start=info.size - length, length=length, if_match=info.etag)
        return bytes(sink.view())

    def _listed(self, found: Sequence[tuple[ObjectInfo, str]]) -> list[ObjectInfo]:
        """What a page shows of these stored objects; those that are gone by now it does not."""
        if self.compression.list_sizes == "stored":
            return [_shown(info, key, info.size) for info, key in found]
        if len(found) <= _AT_ONCE:
            shown = [self._list_one(one) for one in found]
        else:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(min(_AT_ONCE, len(found)), thread_name_prefix="penstock-table") as pool:
                shown = list(pool.map(self._list_one, found))
        return [info for info in shown if info is not None]

    def _list_one(self, one: tuple[ObjectInfo, str]) -> ObjectInfo | None:
        info, key = one
        if key == info.key:
            return info
        size = self._size(info)
        if size is not None:
            return _shown(info, key, size)
        try:
            return self.stat(key)
        except ObjectNotFoundError:
            return None

    @contextmanager
    def _named(self, key: str, operation: str) -> Iterator[None]:
        """Errors name the object and the call as the user knows them."""
        try:
            yield
        except StoreError as error:
            _bare(error)
            error.uri = error.uri or self._base + key
            error.operation = operation
            raise


class _CompressingWriter:
    """Compresses what it is given, a frame at a time. Dropping it drops the store's own writer, which is its abort."""

    def __init__(self, owner: Compressed, writer: ObjectWriter, key: str) -> None:
        self._owner = owner
        self._writer = writer
        self._key = key
        self._compressor = Compressor(owner.compression.level)
        self._gathered = bytearray()
        self._nbytes = 0
        self._failed = False
        self._ended = False

    def write(self, data: Buffer, /) -> None:
        view = flat(data)
        self._nbytes += view.nbytes
        size, taken = self._owner.compression.frame_size, 0
        try:
            if self._failed:
                self._send(b"")
            while len(self._gathered) + view.nbytes - taken >= size:
                count = max(size - len(self._gathered), 0)
                self._gathered += view[taken : taken + count]
                taken += count
                self._send(self._next_frame(size))
        finally:
            # Whatever failed, the bytes have been taken.
            self._gathered += view[taken:]

    def commit(self) -> ObjectInfo:
        while self._gathered:
            self._send(self._next_frame(self._owner.compression.frame_size))
        if not self._ended:
            self._ended = True
            self._send(self._compressor.table())
        with self._owner._named(self._key, "commit"):
            return _shown(self._writer.commit(), self._key, self._nbytes)

    def abort(self) -> None:
        self._gathered.clear()
        self._writer.abort()

    def _next_frame(self, size: int) -> bytes:
        with memoryview(self._gathered)[:size] as piece:
            frame = self._compressor.frame(piece)
        del self._gathered[:size]
        return frame

    def _send(self, data: bytes) -> None:
        # The store's writer takes what it is given, also when it fails in a way that may pass.
        with self._owner._named(self._key, "write"):
            self._failed = True
            self._writer.write(data)
            self._failed = False


def _shown(info: ObjectInfo, key: str, size: int) -> ObjectInfo:
    """What is said of a stored object, as of the object; the service's checksum is of other bytes."""
    return attrs.evolve(info, key=key, size=size, checksum=None)


def _bare(error: StoreError) -> None:
    if error.uri is not None:
        error.uri = error.uri.removesuffix(_SUFFIX)
