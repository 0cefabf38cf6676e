"""Stores that write wrongly."""

from __future__ import annotations

import time
import urllib.parse
import uuid
import weakref

import attrs

from mutants.plain import Bare, Item, Plain, Writer
from penstock.errors import ObjectNotFoundError, StoreError
from penstock.keys import check_key
from penstock.memory import MemoryOptions, MemoryStore
from penstock.store import Capabilities


class CreateOverwrites(Plain):
    def check(self, key, old, create, if_match):
        super().check(key, old, False, if_match)


class CreateChecksAndThenWrites(Plain):
    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        self.check(key, self.items.get(self.name(key)), create, if_match)
        time.sleep(0)
        return super().put(key, data, metadata=metadata)


class IfMatchChecksAndThenWrites(Plain):
    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        self.check(key, self.items.get(self.name(key)), False, if_match)
        time.sleep(0)
        return super().put(key, data, create=create, metadata=metadata)


class IfMatchIgnored(Plain):
    def check(self, key, old, create, if_match):
        super().check(key, old, create, None)


class IfMatchOfMissingPuts(Plain):
    def check(self, key, old, create, if_match):
        super().check(key, old, create, if_match if old else None)


class ConditionsAreEmulated(Bare):
    """Claims nothing, and serves put(create=True) all the same."""

    def refuse(self, key, create, if_match, metadata):
        super().refuse(key, False, if_match, metadata)


class MetadataLetGoSilently(Bare):
    def refuse(self, key, create, if_match, metadata):
        super().refuse(key, create, if_match, None)

    def store(self, key, name, body, metadata):
        return super().store(key, name, body, None)


class CopyIsEmulated(Bare):
    def copy(self, source, target, /, *, metadata=None):
        return self.put(target, self.find(source, "copy").body)


class ClaimedButRefused(Bare):
    capabilities = Capabilities(create=True, shared=False)

    def refuse(self, key, create, if_match, metadata):
        Bare.refuse(self, key, create, if_match, metadata)
        if create:
            raise StoreError("not implemented", uri=key, operation="put")


class MetadataDropped(Plain):
    def store(self, key, name, body, metadata):
        return super().store(key, name, body, None)


class MetadataOutlivesTheObject(Plain):
    def store(self, key, name, body, metadata):
        old = self.items.get(name)
        return super().store(key, name, body, metadata or (old and old.metadata))


class MetadataIsTheCallersMapping(Plain):
    def store(self, key, name, body, metadata):
        self.items[name] = item = Item(body, self.etag(), metadata)
        return self.info(key, item)


class PutKeepsTheBuffer(Plain):
    def body(self, data):
        return data if isinstance(data, bytearray) else bytes(data)


class PutCountsItems(Plain):
    """Takes len() of a buffer for its bytes."""

    def body(self, data):
        return bytes(memoryview(data).cast("B")[: len(memoryview(data))])


class PutPadsToSectors(Plain):
    def body(self, data):
        body = bytes(data)
        return body + bytes(-len(body) % 512) if len(body) > 1_000_000 else body


class PutEmptyIsNoPut(Plain):
    def store(self, key, name, body, metadata):
        if not body and name in self.items:
            return self.info(key, self.items[name])
        return super().store(key, name, body, metadata)


class PutInTwoSteps(Plain):
    def store(self, key, name, body, metadata):
        super().store(key, name, body[: len(body) // 2], metadata)
        time.sleep(0)
        return super().store(key, name, body, metadata)


class PutDeletesFirst(Plain):
    def store(self, key, name, body, metadata):
        self.items.pop(name, None)
        time.sleep(0)
        return super().store(key, name, body, metadata)


class _VisibleWriter(Writer):
    def write(self, data, /):
        super().write(data)
        self.owner.put(self.key, b"".join(self.parts))


class WriterVisibleEarly(Plain):
    def writer(self, key, part_size):
        return _VisibleWriter(self, check_key(key), part_size)


class _AbortCommits(Writer):
    def abort(self):
        if self.parts:
            self.commit()


class AbortCommits(Plain):
    def writer(self, key, part_size):
        return _AbortCommits(self, check_key(key), part_size)


class _CollectionCommits(Writer):
    done = False

    def commit(self):
        self.done = True
        return super().commit()

    def abort(self):
        self.done = True

    def __del__(self):
        if not self.done:
            self.commit()


class CollectionCommits(Plain):
    def writer(self, key, part_size):
        return _CollectionCommits(self, check_key(key), part_size)


class _ListedParts(Writer):
    """Parts are objects until the commit or the abort; nobody clears them when the writer is dropped."""

    def write(self, data, /):
        super().write(data)
        self.owner.items[f"{self.key}.part"] = Item(bytes(data), "part")

    def commit(self):
        self.abort()
        return super().commit()

    def abort(self):
        self.owner.items.pop(f"{self.key}.part", None)


class DropLeavesParts(Plain):
    """Listings hide the parts while their writer lives."""

    def __init__(self):
        super().__init__()
        self.live = weakref.WeakSet()

    def writer(self, key, part_size):
        writer = _ListedParts(self, check_key(key), part_size)
        self.live.add(writer)
        return writer

    def below(self, name, prefix):
        return super().below(name, prefix) and not any(name == f"{writer.key}.part" for writer in self.live)


class _AbortRemoves(Writer):
    def abort(self):
        self.owner.items.pop(self.key, None)


class AbortDeletesTheObject(Plain):
    def writer(self, key, part_size):
        return _AbortRemoves(self, check_key(key), part_size)


class _WholeParts(Writer):
    """Sends whole parts and forgets the tail."""

    def commit(self):
        body = b"".join(self.parts)
        whole = len(body) - len(body) % self.part_size if len(body) > self.part_size else len(body)
        return self.finish(body[:whole])


class WriterLosesTheLastPart(Plain):
    def writer(self, key, part_size):
        return _WholeParts(self, check_key(key), part_size)


class _LastBlock(Writer):
    def commit(self):
        return self.finish(self.parts[-1] if self.parts else b"")


class WriterKeepsTheLastBlockOnly(Plain):
    def writer(self, key, part_size):
        return _LastBlock(self, check_key(key), part_size)


class _References(Writer):
    def write(self, data, /):
        self.parts.append(data)


class WriterKeepsReferences(Plain):
    def writer(self, key, part_size):
        return _References(self, check_key(key), part_size)


class _EmptyIsNothing(Writer):
    def commit(self):
        if not any(self.parts):
            raise StoreError("no parts", uri=self.key, operation="commit")
        return super().commit()


class WriterCantBeEmpty(Plain):
    def writer(self, key, part_size):
        return _EmptyIsNothing(self, check_key(key), part_size)


class _OneBigWrite(Writer):
    """Takes at most two parts out of one write."""

    def write(self, data, /):
        super().write(memoryview(data).cast("B")[: 2 * self.part_size])


class WriterCutsABigWrite(Plain):
    def writer(self, key, part_size):
        return _OneBigWrite(self, check_key(key), part_size)


class _SizeOfTheLastPart(Writer):
    def commit(self):
        info = super().commit()
        return type(info)(info.key, len(self.parts[-1]) if self.parts else 0)


class CommitAnswersWithTheLastPart(Plain):
    def writer(self, key, part_size):
        return _SizeOfTheLastPart(self, check_key(key), part_size)


class WritersShareTheirParts(Plain):
    """Uploads are known by their key alone."""

    def __init__(self):
        super().__init__()
        self.uploads = {}

    def writer(self, key, part_size):
        writer = Writer(self, check_key(key), part_size)
        writer.parts = self.uploads.setdefault(key, [])
        return writer


class CopyOfMissingSucceeds(Plain):
    def copy(self, source, target, /, *, metadata=None):
        if source not in self.items:
            return self.put(target, b"")
        return super().copy(source, target, metadata=metadata)


class CopyEmpties(Plain):
    def put_copy(self, target, item, metadata):
        return self.put(target, b"", metadata=metadata)


class CopyMoves(Plain):
    def copy(self, source, target, /, *, metadata=None):
        info = super().copy(source, target, metadata=metadata)
        if source != target:
            del self.items[source]
        return info


class CopyOntoItselfEmpties(Plain):
    def copy(self, source, target, /, *, metadata=None):
        if source == target and metadata is None:
            return self.put(target, b"")
        return super().copy(source, target, metadata=metadata)


class CopyBlamesTheTarget(Plain):
    def copy(self, source, target, /, *, metadata=None):
        try:
            return super().copy(source, target, metadata=metadata)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(error.message, uri=target, operation="copy") from error


class CopyDropsMetadata(Plain):
    def copy(self, source, target, /, *, metadata=None):
        return super().copy(source, target, metadata=metadata or {})


class CopyKeepsTheTargetsMetadata(Plain):
    def put_copy(self, target, item, metadata):
        old = self.items.get(target)
        return super().put_copy(target, item, old.metadata if old and metadata is item.metadata else metadata)


class CopyIgnoresMetadata(Plain):
    def copy(self, source, target, /, *, metadata=None):
        return super().copy(source, target)


class CopyMergesMetadata(Plain):
    def put_copy(self, target, item, metadata):
        return super().put_copy(target, item, {**(item.metadata or {}), **(metadata or {})})


class CopyTakesEmptyMetadataForNone(Plain):
    def copy(self, source, target, /, *, metadata=None):
        return super().copy(source, target, metadata=metadata or None)


class CopyLabelsTheSource(Plain):
    """Changes the source's metadata, and then copies it."""

    def copy(self, source, target, /, *, metadata=None):
        if metadata is not None:
            super().copy(source, source, metadata=metadata)
        return super().copy(source, target)


class CopyKeepsTheCallersMapping(Plain):
    def put_copy(self, target, item, metadata):
        self.items[target] = copied = Item(item.body, self.etag(), metadata)
        return self.info(target, copied)


class CopyAnswersWithTheOldMetadata(Plain):
    def copy(self, source, target, /, *, metadata=None):
        old = self.find(source, "copy")
        return self.info(target, Item(old.body, super().copy(source, target, metadata=metadata).etag, old.metadata))


class CopyInPlaceDoesNothing(Plain):
    def copy(self, source, target, /, *, metadata=None):
        return self.stat(source) if source == target else super().copy(source, target, metadata=metadata)


class CopyInPlaceRefused(Plain):
    def copy(self, source, target, /, *, metadata=None):
        if source == target:
            raise StoreError("a copy onto itself", uri=f"plain:///{target}", operation="copy", status=400)
        return super().copy(source, target, metadata=metadata)


class CopyInPlaceEmpties(Plain):
    def put_copy(self, target, item, metadata):
        in_place = self.items.get(target) is item and metadata is not item.metadata
        return self.put(target, b"" if in_place else item.body, metadata=metadata)


class CopyInPlaceMakesTheObject(Plain):
    def copy(self, source, target, /, *, metadata=None):
        if source == target and source not in self.items:
            return self.put(target, b"", metadata=metadata)
        return super().copy(source, target, metadata=metadata)


class CopyLetsMetadataGo(Plain):
    """Claims no metadata, and copies without what it was given instead of refusing."""

    capabilities = attrs.evolve(Plain.capabilities, metadata=False)

    def copy(self, source, target, /, *, metadata=None):
        return super().copy(source, target)


class CopyLetsEmptyMetadataGo(Plain):
    capabilities = attrs.evolve(Plain.capabilities, metadata=False)

    def copy(self, source, target, /, *, metadata=None):
        return super().copy(source, target, metadata=metadata or None)


class CopyDropsTheContentType(MemoryStore):
    def __init__(self):
        super().__init__(MemoryOptions(name=uuid.uuid4().hex))

    def copy(self, source, target, /, *, metadata=None):
        found = self._find(source, "copy")
        return self.put(target, found.data, metadata=found.info.metadata if metadata is None else metadata)


class CopyWithMetadataDropsTheContentType(CopyDropsTheContentType):
    def copy(self, source, target, /, *, metadata=None):
        if metadata is None:
            return MemoryStore.copy(self, source, target)
        return super().copy(source, target, metadata=metadata)


class CopyIsALink(Plain):
    """Source and target are one object from then on."""

    links = None

    def copy(self, source, target, /, *, metadata=None):
        info = super().copy(source, target, metadata=metadata)
        self.links = {**(self.links or {}), source: target}
        return info

    def store(self, key, name, body, metadata):
        if self.links and name in self.links and self.links[name] != name:
            super().store(key, self.links[name], body, metadata)
        return super().store(key, name, body, metadata)


class KeysDecoded(Plain):
    def name(self, key):
        return urllib.parse.unquote(check_key(key))


class KeysDecodedAsForms(Plain):
    def name(self, key):
        return check_key(key).replace("+", " ")


class EmptyKeyTaken(Plain):
    def name(self, key):
        return key

    def writer(self, key, part_size):
        return Writer(self, key, part_size)


class CloseTwiceFails(Plain):
    closed = False

    def close(self):
        if self.closed:
            raise StoreError("closed already", operation="close")
        self.closed = True


class CapabilitiesChange(Plain):
    @property
    def capabilities(self):
        return Plain.capabilities if not self.items else Capabilities(shared=False)
