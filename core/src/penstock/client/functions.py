"""Every operation by URI: ``penstock.get("s3://bucket/key")``.

Stores are opened at the first use and kept; see :class:`penstock.client.StoreCache`. What these functions return
has whole URIs where a store's methods have keys, so every listed entry can be handed to another function. A bare
path is a file's URI. ``options`` are those of the store, as in :func:`penstock.connect`.
"""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import attrs

from penstock.client.store import Store
from penstock.client.stores import Found, default_cache
from penstock.client.streams import ReadStream
from penstock.client.trees import Existing
from penstock.client.values import CommonPrefix, Count, Outcome, Removal, TreeReport
from penstock.store import ObjectInfo
from penstock.writers import GuardedWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "copy",
    "copy_tree",
    "count",
    "delete",
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
    "make_directory",
    "move",
    "open_file",
    "open_read",
    "open_writer",
    "put",
    "remove_directory",
    "set_metadata",
    "stat",
    "sync",
    "upload",
]

Options = Mapping[str, Any] | None


def get(uri: str, *, if_match: str | None = None, options: Options = None) -> memoryview:
    """The whole object; see :meth:`Store.get`."""
    found = _find(uri, options)
    return found.store.get(found.key, if_match=if_match)


def get_into(uri: str, buffer: Buffer, *, if_match: str | None = None, options: Options = None) -> int:
    """Read the whole object into a writable buffer; see :meth:`Store.get_into`."""
    found = _find(uri, options)
    return found.store.get_into(found.key, buffer, if_match=if_match)


def get_range(
    uri: str, offset: int, length: int | None = None, *, if_match: str | None = None, options: Options = None
) -> memoryview:
    """A part of the object, cut at its end; see :meth:`Store.get_range`."""
    found = _find(uri, options)
    return found.store.get_range(found.key, offset, length, if_match=if_match)


def get_range_into(
    uri: str,
    buffer: Buffer,
    offset: int,
    length: int | None = None,
    *,
    if_match: str | None = None,
    options: Options = None,
) -> int:
    """Read a part of the object into a writable buffer; see :meth:`Store.get_range_into`."""
    found = _find(uri, options)
    return found.store.get_range_into(found.key, buffer, offset, length, if_match=if_match)


def open_read(
    uri: str,
    *,
    offset: int = 0,
    length: int | None = None,
    chunk_size: int = 1024 * 1024,
    if_match: str | None = None,
    options: Options = None,
) -> ReadStream:
    """The object's bytes as they arrive, in bounded memory; see :meth:`Store.open_read`."""
    found = _find(uri, options)
    return found.store.open_read(found.key, offset=offset, length=length, chunk_size=chunk_size, if_match=if_match)


def open_file(uri: str, *, buffer_size: int = 256 * 1024, options: Options = None) -> io.BufferedReader:
    """A read-only, seekable file; see :meth:`Store.open_file`."""
    found = _find(uri, options)
    return found.store.open_file(found.key, buffer_size=buffer_size)


def put(
    uri: str,
    data: Buffer,
    *,
    if_absent: bool = False,
    if_match: str | None = None,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> ObjectInfo:
    """Store these bytes, atomically; see :meth:`Store.put`."""
    found = _find(uri, options)
    info = found.store.put(
        found.key, data, if_absent=if_absent, if_match=if_match, metadata=metadata, content_type=content_type
    )
    return _whole(found.store, info)


def open_writer(
    uri: str,
    *,
    part_size: int = 8 * 1024 * 1024,
    if_absent: bool = False,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> GuardedWriter:
    """Write an object in bounded memory; see :meth:`Store.open_writer`."""
    found = _find(uri, options)
    return found.store.open_writer(
        found.key, part_size=part_size, if_absent=if_absent, metadata=metadata, content_type=content_type
    )


def stat(uri: str, *, options: Options = None) -> ObjectInfo:
    """What the store knows of the object; see :meth:`Store.stat`."""
    found = _find(uri, options)
    return _whole(found.store, found.store.stat(found.key))


def exists(uri: str, *, options: Options = None) -> bool:
    """False only when there is no such object; see :meth:`Store.exists`."""
    found = _find(uri, options)
    return found.store.exists(found.key)


def get_metadata(uri: str, *, options: Options = None) -> Mapping[str, str]:
    """The metadata that was stored with the object; see :meth:`Store.get_metadata`."""
    found = _find(uri, options)
    return found.store.get_metadata(found.key)


def set_metadata(uri: str, metadata: Mapping[str, str], *, options: Options = None) -> ObjectInfo:
    """Replace all of an object's metadata in one step; see :meth:`Store.set_metadata`."""
    found = _find(uri, options)
    return _whole(found.store, found.store.set_metadata(found.key, metadata))


@overload
def list(  # noqa: A001
    uri: str,
    *,
    recursive: Literal[True] = True,
    pattern: str | None = None,
    regex: str | None = None,
    options: Options = None,
) -> Iterator[ObjectInfo]: ...


@overload
def list(  # noqa: A001
    uri: str, *, recursive: bool, pattern: str | None = None, regex: str | None = None, options: Options = None
) -> Iterator[ObjectInfo | CommonPrefix]: ...


def list(  # noqa: A001
    uri: str,
    *,
    recursive: bool = True,
    pattern: str | None = None,
    regex: str | None = None,
    options: Options = None,
) -> Iterator[ObjectInfo] | Iterator[ObjectInfo | CommonPrefix]:
    """Every object whose URI starts with ``uri``, to the letter; see :meth:`Store.list`. Keys are whole URIs."""
    found = _find(uri, options)
    entries = found.store.list(found.key, recursive=recursive, pattern=pattern, regex=regex)
    return (_whole(found.store, entry) for entry in entries)


def count(uri: str, *, pattern: str | None = None, regex: str | None = None, options: Options = None) -> Count:
    """The number and bytes of what :func:`list` would yield."""
    found = _find(uri, options)
    return found.store.count(found.key, pattern=pattern, regex=regex)


def delete(uri: str, *, options: Options = None) -> None:
    """Delete exactly this object; absent is no failure; see :meth:`Store.delete`."""
    found = _find(uri, options)
    found.store.delete(found.key)


def delete_many(uris: Iterable[str], *, options: Options = None) -> Sequence[Outcome]:
    """Delete these objects, of any number of stores; one outcome per distinct URI, in the order given."""
    names: dict[str, Found] = {uri: _find(uri, options) for uri in uris}
    groups: dict[int, tuple[Store, builtins.list[str]]] = {}
    for found in names.values():
        groups.setdefault(id(found.store), (found.store, []))[1].append(found.key)
    done = {
        (number, outcome.key): outcome
        for number, (store, keys) in groups.items()
        for outcome in store.delete_many(keys)
    }
    return [attrs.evolve(done[id(found.store), found.key], key=uri) for uri, found in names.items()]


def delete_prefix(
    uri: str,
    *,
    pattern: str | None = None,
    dry_run: bool = False,
    watch: Callable[[Outcome], None] | None = None,
    options: Options = None,
) -> Removal:
    """Delete every object whose URI starts with ``uri``, to the letter; see :meth:`Store.delete_prefix`."""
    found = _find(uri, options)
    return found.store.delete_prefix(found.key, pattern=pattern, dry_run=dry_run, watch=watch)


def copy(
    source: str, target: str, *, if_absent: bool = False, metadata: bool = True, options: Options = None
) -> ObjectInfo:
    """Copy one object, also across backends; see :meth:`Store.copy`. ``options`` are for both ends."""
    begin, end = _find(source, options), _find(target, options)
    info = begin.store.copy(begin.key, end.key, to=end.store, if_absent=if_absent, metadata=metadata)
    return _whole(end.store, info)


def move(
    source: str, target: str, *, if_absent: bool = False, metadata: bool = True, options: Options = None
) -> ObjectInfo:
    """Copy one object, then delete the source, when the target is whole; see :meth:`Store.move`."""
    begin, end = _find(source, options), _find(target, options)
    info = begin.store.move(begin.key, end.key, to=end.store, if_absent=if_absent, metadata=metadata)
    return _whole(end.store, info)


def copy_tree(
    source: str,
    target: str,
    *,
    existing: Existing = "replace",
    move: bool = False,
    dry_run: bool = False,
    metadata: bool = True,
    watch: Callable[[int], None] | None = None,
    options: Options = None,
) -> TreeReport:
    """Copy what a URI, a directory or prefix, or a glob names, keeping the tree; see :meth:`Store.copy_tree`."""
    begin, end = _find(source, options), _find(target, options)
    return begin.store.copy_tree(
        begin.key,
        end.key,
        to=end.store,
        existing=existing,
        move=move,
        dry_run=dry_run,
        metadata=metadata,
        watch=watch,
    )


def upload(path: str, uri: str, *, existing: Existing = "replace", options: Options = None) -> TreeReport:
    """Copy a file, a directory's tree or a glob's matches to a store; see :meth:`Store.copy_tree`."""
    return _local_tree(default_cache().find(path), _find(uri, options), existing)


def download(uri: str, path: str, *, existing: Existing = "replace", options: Options = None) -> TreeReport:
    """Copy an object, a prefix's tree or a glob's matches to local files; see :meth:`Store.copy_tree`."""
    return _local_tree(_find(uri, options), default_cache().find(path), existing)


def sync(source: str, target: str, *, options: Options = None) -> TreeReport:
    """Copy a tree, leaving out what is current at the target; see :func:`penstock.client.trees.is_current`.

    Nothing is deleted at the target.
    """
    return copy_tree(source, target, existing="sync", options=options)


def make_directory(uri: str, *, exist_ok: bool = True, options: Options = None) -> None:
    """Make a directory, or its marker object; see :meth:`Store.make_directory`."""
    found = _find(uri, options)
    found.store.make_directory(found.key, exist_ok=exist_ok)


def remove_directory(uri: str, *, recursive: bool = False, options: Options = None) -> Removal:
    """Remove a directory, or its marker object; see :meth:`Store.remove_directory`."""
    found = _find(uri, options)
    return found.store.remove_directory(found.key, recursive=recursive)


def _local_tree(begin: Found, end: Found, existing: Existing) -> TreeReport:
    return begin.store.copy_tree(begin.key, end.key, to=end.store, existing=existing)


def _find(uri: str, options: Options) -> Found:
    return default_cache().find(uri, options)


@overload
def _whole(store: Store, entry: ObjectInfo) -> ObjectInfo: ...


@overload
def _whole(store: Store, entry: ObjectInfo | CommonPrefix) -> ObjectInfo | CommonPrefix: ...


def _whole(store: Store, entry: ObjectInfo | CommonPrefix) -> ObjectInfo | CommonPrefix:
    return attrs.evolve(entry, key=store.uri + entry.key)
