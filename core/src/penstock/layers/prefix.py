"""A store whose root lies at a prefix of another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from penstock.errors import StoreError
from penstock.keys import check_key
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Prefixed"]


class Prefixed:
    """Puts ``prefix`` before each key on the way in and takes it off on the way out. It owns the store."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        """``prefix`` ends with ``/``."""
        self._store = store
        self._prefix = prefix
        self.capabilities: Capabilities = store.capabilities

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        return self._bare(self._store.get(self._full(key), sink, start=start, length=length, if_match=if_match))

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
        full = self._full(key)
        return self._bare(
            self._store.put(full, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type)
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
            self._full(key), part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )
        return _PrefixedWriter(writer, self._bare)

    def stat(self, key: str, /) -> ObjectInfo:
        return self._bare(self._store.stat(self._full(key)))

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        after = self._prefix + start_after if start_after else ""
        cut = len(self._prefix)
        for page in self._store.list_pages(
            self._prefix + prefix, delimiter=delimiter, start_after=after, page_size=page_size
        ):
            objects = [self._bare(info) for info in page.objects if info.key != self._prefix]
            prefixes = [name[cut:] for name in page.prefixes]
            if objects or prefixes:
                yield Page(objects, prefixes)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        return self._store.delete([self._full(key) for key in keys])

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        return self._bare(self._store.copy(self._full(source), self._full(target), metadata=metadata))

    def close(self) -> None:
        self._store.close()

    def _full(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _bare(self, info: ObjectInfo) -> ObjectInfo:
        return attrs.evolve(info, key=info.key[len(self._prefix) :])


@attrs.frozen
class _PrefixedWriter:
    writer: ObjectWriter
    bare: Callable[[ObjectInfo], ObjectInfo]

    def write(self, data: Buffer, /) -> None:
        self.writer.write(data)

    def commit(self) -> ObjectInfo:
        return self.bare(self.writer.commit())

    def abort(self) -> None:
        self.writer.abort()
