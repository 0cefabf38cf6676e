"""What a layer does with the calls that it has nothing to add to: it hands them on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.errors import StoreError
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Forwarding", "flat"]


class Forwarding:
    """A layer that changes nothing; others replace what they change. It satisfies ``ObjectStore``, owns the store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.capabilities: Capabilities = store.capabilities

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        return self._store.get(key, sink, start=start, length=length, if_match=if_match)

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
        return self._store.open_writer(
            key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )

    def stat(self, key: str, /) -> ObjectInfo:
        return self._store.stat(key)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        return self._store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        return self._store.delete(keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        return self._store.copy(source, target, metadata=metadata)

    def close(self) -> None:
        self._store.close()


def flat(data: Buffer) -> memoryview:
    """The bytes of a buffer in a row, without a copy where they lie so."""
    view = memoryview(data)
    # An empty array of wider items can't be cast.
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
