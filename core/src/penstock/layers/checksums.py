"""Checksums that are stored with the objects and checked when they are read.

A put stores the checksum of its bytes as metadata of the object, under ``penstockcrc32c`` (or the other algorithm's
name), where the store keeps metadata; the layer shows it as :attr:`~penstock.store.ObjectInfo.checksum` and keeps it
out of ``metadata``. It goes with a copy, and is gone when the copy gets other metadata. The checksum of a writer is
known only when it has ended, and the contract has no place for it then; its objects are checked against the checksum
that the service keeps, if it keeps one, as all others are.

A read of a whole object is compared with the checksum that its answer carries, the stored one or the service's.
Other bytes raise ChecksumMismatchError when all have been delivered. A range can't be compared; that fewer bytes came
than the object's size says is LengthMismatchError in either case.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from penstock.errors import ChecksumMismatchError, LengthMismatchError
from penstock.layers.digests import ALGORITHMS, Digesting, matches
from penstock.layers.forwarding import Forwarding
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checksummed", "Checksums"]


@attrs.frozen(kw_only=True)
class Checksums:
    """Which checksum is computed: crc32c (which needs the extra ``penstock[checksum]``), crc32, md5, sha1, sha256."""

    algorithm: str = attrs.field(default="crc32c", validator=attrs.validators.in_(ALGORITHMS))


class Checksummed(Forwarding):
    """A store whose bytes are checked; see the module. It owns the store.

    ``checked`` counts reads and writes that were compared and found right, ``unchecked`` whole reads of objects
    without a checksum that can be computed here.
    """

    def __init__(self, store: ObjectStore, checksums: Checksums, *, base_uri: str = "") -> None:
        """``base_uri`` plus a key is the URI that errors name. Raises UsageError where a package is missing."""
        super().__init__(store)
        self.checksums = checksums
        self._base = base_uri
        self._algorithms = (checksums.algorithm,)
        self._name = f"penstock{checksums.algorithm}"
        Digesting(self._algorithms)
        self._lock = threading.Lock()
        self.checked = 0
        self.unchecked = 0

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        whole = start == 0 and length is None
        watched = _DigestedSink(sink, Digesting(self._algorithms if whole else ()))
        info = self._shown(self._store.get(key, watched, start=start, length=length, if_match=if_match))
        due = max(info.size - start, 0) if length is None else max(min(length, info.size - start), 0)
        if watched.digesting.nbytes != due:
            raise LengthMismatchError(
                f"{watched.digesting.nbytes} bytes came, {due} are due", uri=self._base + key, operation="get"
            )
        if whole:
            self._require(key, info, watched.digesting, "get")
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
        digesting = Digesting(self._algorithms)
        digesting.update(data)
        if self.capabilities.metadata:
            metadata = {**(metadata or {}), self._name: self._hex(digesting)}
        info = self._store.put(
            key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
        )
        # With what the service has found, not with what it was told.
        self._require(key, info, digesting, "put")
        return self._shown(info)

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
        return _ChecksummedWriter(self, writer, key, Digesting(self._algorithms))

    def stat(self, key: str, /) -> ObjectInfo:
        return self._shown(self._store.stat(key))

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        for page in self._store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size):
            yield Page([self._shown(info) for info in page.objects], page.prefixes)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        return self._shown(self._store.copy(source, target, metadata=metadata))

    def _hex(self, digesting: Digesting) -> str:
        return (digesting.text(self.checksums.algorithm) or "").partition(":")[2]

    def _shown(self, info: ObjectInfo) -> ObjectInfo:
        """The answer with the checksum where it belongs."""
        if info.metadata is None or self._name not in info.metadata:
            return info
        metadata = {name: value for name, value in info.metadata.items() if name != self._name}
        stored = f"{self.checksums.algorithm}:{info.metadata[self._name]}"
        return attrs.evolve(info, metadata=metadata or None, checksum=stored)

    def _require(self, key: str, info: ObjectInfo, digesting: Digesting, operation: str) -> None:
        right = matches(info.checksum, digesting)
        if right is False:
            raise ChecksumMismatchError(
                f"the checksum is {digesting.text(self.checksums.algorithm)}, what was stored has {info.checksum}",
                uri=self._base + key,
                operation=operation,
            )
        with self._lock:
            if right:
                self.checked += 1
            elif operation == "get":
                self.unchecked += 1


class _DigestedSink:
    """Forwards to a sink what it computes the checksum of."""

    def __init__(self, sink: Sink, digesting: Digesting) -> None:
        self._sink = sink
        self.digesting = digesting
        self._room = memoryview(b"")

    def write(self, data: Buffer, /) -> None:
        self.digesting.update(data)
        self._sink.write(data)

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = self._sink.reserve(nbytes)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        # Before: a sink may use its room again once it has taken it.
        self.digesting.update(self._room[:nbytes])
        self._sink.commit(nbytes)
        self._room = self._room[nbytes:]


class _ChecksummedWriter:
    """A writer whose bytes are compared with the service's checksum. Dropping it drops the store's own writer."""

    def __init__(self, owner: Checksummed, writer: ObjectWriter, key: str, digesting: Digesting) -> None:
        self._owner = owner
        self._writer = writer
        self._key = key
        self._digesting = digesting

    def write(self, data: Buffer, /) -> None:
        # Before: a write that fails retryably has taken its bytes.
        self._digesting.update(data)
        self._writer.write(data)

    def commit(self) -> ObjectInfo:
        info = self._owner._shown(self._writer.commit())
        self._owner._require(self._key, info, self._digesting, "commit")
        return info

    def abort(self) -> None:
        self._writer.abort()
