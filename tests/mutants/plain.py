"""A healthy in-memory store in small steps, so that a mutant changes one of them."""

from __future__ import annotations

import itertools
import threading

import attrs

from penstock.errors import (
    AlreadyExistsError,
    NotAnObjectError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.keys import check_key, check_path_key
from penstock.store import Capabilities, ObjectInfo, Page


@attrs.frozen
class Item:
    body: bytes
    etag: str
    metadata: dict | None = None


class Plain:
    """Objects in a dictionary."""

    capabilities = Capabilities(
        create=True, if_match=True, metadata=True, copy=True, ordered=True, shared=False, delete_batch=100
    )
    _numbers = itertools.count(1)

    def __init__(self):
        self.items = {}
        self.lock = threading.RLock()

    # get and stat

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        item = self.find(key, "get")
        self.match(key, item, if_match)
        self.deliver(self.cut(item.body, start, length), sink)
        return self.range_info(key, item, start, length)

    def match(self, key, item, if_match):
        if if_match is not None and item.etag != if_match:
            raise PreconditionFailedError("another", uri=f"plain:///{key}", operation="get")

    def cut(self, body, start, length):
        return body[start : None if length is None else start + length]

    def deliver(self, data, sink):
        view = memoryview(data)
        while view:
            room = sink.reserve(view.nbytes)
            count = min(room.nbytes, view.nbytes)
            room[:count] = view[:count]
            sink.commit(count)
            view = view[count:]

    def range_info(self, key, item, start, length):
        return self.info(key, item)

    def stat(self, key, /):
        return self.info(key, self.find(key, "stat"))

    def find(self, key, operation):
        name = self.name(key)
        if name not in self.items:
            raise self.missing(key, operation)
        return self.items[name]

    def missing(self, key, operation):
        return ObjectNotFoundError("no such object", uri=f"plain:///{key}", operation=operation)

    def info(self, key, item):
        return ObjectInfo(key, len(item.body), None, item.etag, None, item.metadata)

    def name(self, key):
        return check_key(key)

    # put and copy

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        self.refuse(key, create, if_match, metadata)
        name = self.name(key)
        with self.lock:
            old = self.items.get(name)
            self.check(key, old, create, if_match)
            return self.store(key, name, self.body(data), metadata)

    def refuse(self, key, create, if_match, metadata):
        claims = self.capabilities
        for wanted, claimed in (
            (create, claims.create),
            (if_match is not None, claims.if_match),
            (metadata, claims.metadata),
        ):
            if wanted and not claimed:
                raise UnsupportedOperationError("not here", uri=key, operation="put")

    def check(self, key, old, create, if_match):
        if create and old is not None:
            raise AlreadyExistsError("taken", uri=f"plain:///{key}", operation="put")
        if if_match is not None and (old is None or old.etag != if_match):
            raise PreconditionFailedError("another", uri=f"plain:///{key}", operation="put")

    def body(self, data):
        return bytes(data)

    def store(self, key, name, body, metadata):
        self.items[name] = item = Item(body, self.etag(), dict(metadata) if metadata else None)
        return self.info(key, item)

    def etag(self):
        return f"v{next(self._numbers)}"

    def copy(self, source, target, /, *, metadata=None):
        claims = self.capabilities
        if not claims.copy or (metadata is not None and not claims.metadata):
            raise UnsupportedOperationError("not here", uri=target, operation="copy")
        with self.lock:
            item = self.find(source, "copy")
            return self.put_copy(target, item, item.metadata if metadata is None else metadata)

    def put_copy(self, target, item, metadata):
        return self.put(target, item.body, metadata=metadata)

    # writers

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        try:
            self.refuse(key, create, None, metadata)
        except UnsupportedOperationError as error:
            error.operation = "open_writer"
            raise
        writer = self.writer(key, part_size)
        writer.create, writer.metadata = create, dict(metadata) if metadata else None
        return writer

    def writer(self, key, part_size):
        check_key(key)
        return Writer(self, key, part_size)

    # listing

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        entries = self.entries(prefix, delimiter, start_after)
        return self.pages(entries, page_size)

    def entries(self, prefix, delimiter, start_after):
        with self.lock:
            found = [(name, self.info(name, item)) for name, item in self.items.items() if self.below(name, prefix)]
        rolled = self.roll(found, prefix, delimiter)
        later = [entry for entry in rolled if self.later(entry[0], start_after)]
        return sorted(later, key=lambda entry: self.order(entry[0]))

    def below(self, name, prefix):
        return name.startswith(prefix)

    def later(self, name, start_after):
        return not start_after or name.encode() > start_after.encode()

    def order(self, name):
        return name.encode()

    def roll(self, found, prefix, delimiter):
        rolled = {}
        for name, info in found:
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                rolled[name] = info
            else:
                rolled[name[: cut + len(delimiter)]] = None
        return list(rolled.items())

    def pages(self, entries, page_size):
        for at in range(0, len(entries), page_size):
            yield self.page(entries[at : at + page_size])

    def page(self, entries):
        return Page([info for _, info in entries if info], [name for name, info in entries if not info])

    # delete and close

    def delete(self, keys, /):
        failed = []
        with self.lock:
            for key in keys:
                try:
                    self.remove(key)
                except StoreError as error:
                    failed.append(error)
        return failed

    def remove(self, key):
        self.items.pop(key, None)

    def close(self):
        pass


class Writer:
    """Parts in a list, made one object at the commit."""

    def __init__(self, store, key, part_size):
        self.owner, self.key, self.part_size = store, key, part_size
        self.create, self.metadata = False, None
        self.parts = []

    def write(self, data, /):
        self.parts.append(bytes(data))

    def commit(self):
        return self.finish(b"".join(self.parts))

    def finish(self, body):
        try:
            return self.owner.put(self.key, body, create=self.create, metadata=self.metadata)
        except AlreadyExistsError as error:
            error.operation = "commit"
            raise

    def abort(self):
        self.parts = []


class Tree(Plain):
    """The same with real directories."""

    capabilities = attrs.evolve(Plain.capabilities, directories=True)

    def __init__(self):
        super().__init__()
        self.directories = set()

    def name(self, key):
        return check_path_key(key)

    def writer(self, key, part_size):
        check_path_key(key)
        return super().writer(key, part_size)

    def find(self, key, operation):
        if key.endswith("/") and operation == "stat" and key in self.directories:
            return Item(b"", None)
        if f"{key}/" in self.directories:
            raise NotAnObjectError("a directory", uri=f"plain:///{key}", operation=operation)
        return super().find(key, operation)

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        with self.lock:
            check_path_key(key)
            above = [key[: at + 1] for at, letter in enumerate(key) if letter == "/"]
            taken = f"{key}/" in self.directories or any(name[:-1] in self.items for name in above)
            if taken or (create and key in self.directories):
                raise AlreadyExistsError("a part of the path is taken", uri=f"plain:///{key}", operation="put")
            self.directories.update(above)
            if key.endswith("/"):
                return ObjectInfo(key, 0)
            return super().put(key, data, create=create, if_match=if_match, metadata=metadata)

    def roll(self, found, prefix, delimiter):
        if delimiter:
            names = [name for name in self.directories if name.startswith(prefix) and name != prefix]
            found = [*found, *((name, None) for name in names)]
        return super().roll(found, prefix, delimiter)

    def remove(self, key):
        if key.endswith("/"):
            self.remove_directory(key)
        else:
            super().remove(key)

    def remove_directory(self, key):
        if any(name.startswith(key) and name != key for name in [*self.items, *self.directories]):
            raise StoreError("the directory is not empty", uri=f"plain:///{key}", operation="delete")
        self.directories.discard(key)


class Bare(Plain):
    """The same with no capability at all."""

    capabilities = Capabilities(shared=False)


@attrs.frozen(slots=False)
class Reopen:
    """Opens the store of a name again: the same one in this process, an empty one in another."""

    kind: type
    name: str
    known = {}  # noqa: RUF012  (shared on purpose)

    def __call__(self):
        return self.known.setdefault(self.name, self.kind())
