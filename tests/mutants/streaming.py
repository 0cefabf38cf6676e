"""Stores whose writers treat create, metadata or content_type wrongly."""

from __future__ import annotations

import contextlib
import time
import uuid

from mutants.plain import Bare, Item, Plain, Writer
from penstock.errors import AlreadyExistsError, StoreError, UnsupportedOperationError
from penstock.keys import check_key
from penstock.memory import MemoryOptions, MemoryStore


class _CreateIgnored(Writer):
    def finish(self, body):
        self.create = False
        return super().finish(body)


class WriterIgnoresCreate(Plain):
    def writer(self, key, part_size):
        return _CreateIgnored(self, check_key(key), part_size)


class WriterChecksCreateAtTheOpeningOnly(WriterIgnoresCreate):
    """Claims create, and the commit replaces what came after the opening."""

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        if create and key in self.items:
            raise AlreadyExistsError("taken", uri=f"plain:///{key}", operation="open_writer")
        return super().open_writer(key, part_size=part_size, create=create, metadata=metadata)


class _CheckedBefore(Writer):
    def finish(self, body):
        self.owner.check(self.key, self.owner.items.get(self.key), self.create, None)
        time.sleep(0)
        self.create = False
        return super().finish(body)

    def commit(self):
        try:
            return super().commit()
        except AlreadyExistsError as error:
            error.operation = "commit"
            raise


class WriterChecksCreateAndThenWrites(Plain):
    def writer(self, key, part_size):
        return _CheckedBefore(self, check_key(key), part_size)


class _CreateOfOnePart(Writer):
    """Only the put of what is short carries the condition."""

    def finish(self, body):
        self.create = self.create and len(body) < self.part_size
        return super().finish(body)


class WriterIgnoresCreateOfManyParts(Plain):
    def writer(self, key, part_size):
        return _CreateOfOnePart(self, check_key(key), part_size)


class _CreateOfManyParts(Writer):
    def finish(self, body):
        self.create = self.create and len(body) >= self.part_size
        return super().finish(body)


class WriterIgnoresCreateOfOnePart(Plain):
    def writer(self, key, part_size):
        return _CreateOfManyParts(self, check_key(key), part_size)


class WriterCreateReservesTheKey(Plain):
    """An empty object holds the place until the commit."""

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        if create:
            try:
                self.put(key, b"", create=True)
            except AlreadyExistsError as error:
                error.operation = "open_writer"
                raise
        return super().open_writer(key, part_size=part_size, metadata=metadata)


class _CleansUpTheKey(Writer):
    def finish(self, body):
        try:
            return super().finish(body)
        except AlreadyExistsError:
            self.owner.items.pop(self.key, None)
            raise


class WriterRefusedByCreateRemovesTheObject(Plain):
    def writer(self, key, part_size):
        return _CleansUpTheKey(self, check_key(key), part_size)


class _CreateKeepsSilent(Writer):
    def finish(self, body):
        with contextlib.suppress(AlreadyExistsError):
            return super().finish(body)
        return self.owner.stat(self.key)


class WriterCreateKeepsSilent(Plain):
    """Replaces nothing and says that all went well."""

    def writer(self, key, part_size):
        return _CreateKeepsSilent(self, check_key(key), part_size)


class _CreateRaisesAnything(Writer):
    def finish(self, body):
        try:
            return super().finish(body)
        except AlreadyExistsError as error:
            raise StoreError("precondition failed", uri=error.uri, operation="commit") from error


class WriterCreateRaisesAnyError(Plain):
    def writer(self, key, part_size):
        return _CreateRaisesAnything(self, check_key(key), part_size)


class WriterCreateClaimedButRefused(Plain):
    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        if create:
            raise UnsupportedOperationError("only put can", uri=f"plain:///{key}", operation="open_writer")
        return super().open_writer(key, part_size=part_size, metadata=metadata)


class WriterCreateIsEmulated(Bare):
    """Claims nothing, and lets a writer ask for create all the same."""

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        return super().open_writer(key, part_size=part_size, metadata=metadata)


class WriterRefusesCreateAtTheCommit(Bare):
    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        writer = super().open_writer(key, part_size=part_size, metadata=metadata)
        writer.create = create
        return writer


class WriterLetsMetadataGo(Bare):
    """Claims no metadata, and drops what a writer is given instead of refusing it."""

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        return super().open_writer(key, part_size=part_size, create=create)


class _MetadataDropped(Writer):
    def finish(self, body):
        self.metadata = None
        return super().finish(body)


class WriterDropsMetadata(Plain):
    def writer(self, key, part_size):
        return _MetadataDropped(self, check_key(key), part_size)


class _MetadataOfOnePart(Writer):
    def finish(self, body):
        self.metadata = self.metadata if len(body) < self.part_size else None
        return super().finish(body)


class WriterDropsMetadataOfManyParts(Plain):
    def writer(self, key, part_size):
        return _MetadataOfOnePart(self, check_key(key), part_size)


class WriterKeepsTheCallersMapping(Plain):
    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        writer = super().open_writer(key, part_size=part_size, create=create, metadata=metadata)
        writer.metadata = metadata
        return writer


class _MetadataOfTheOld(Writer):
    def finish(self, body):
        old = self.owner.items.get(self.key)
        self.metadata = self.metadata or (old and old.metadata)
        return super().finish(body)


class WriterInheritsMetadata(Plain):
    def writer(self, key, part_size):
        return _MetadataOfTheOld(self, check_key(key), part_size)


class WriterShowsMetadataEarly(Plain):
    """The old object wears the new metadata while the writer is open."""

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        writer = super().open_writer(key, part_size=part_size, create=create, metadata=metadata)
        if metadata and key in self.items:
            old = self.items[key]
            self.items[key] = Item(old.body, old.etag, dict(metadata))
        return writer


class WriterDropsTheContentType(MemoryStore):
    def __init__(self):
        super().__init__(MemoryOptions(name=uuid.uuid4().hex))

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        return super().open_writer(key, part_size=part_size, create=create, metadata=metadata)


class WriterMakesUpAContentType(WriterDropsTheContentType):
    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        how = {"create": create, "metadata": metadata, "content_type": "binary/octet-stream"}
        return MemoryStore.open_writer(self, key, part_size=part_size, **how)
