"""Finding the files of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import attrs

from penstock import Found, ObjectInfo
from penstock.errors import ObjectNotFoundError, UsageError
from penstock.globs import compile_glob, has_wildcard, unescape
from penstock_training.loading.table import FileTable

__all__ = ["Files", "find_files"]

Find = Callable[[str], Found]


@attrs.define
class Files:
    """What was found. ``indexes`` says for a file, by number, the ending of the index that lies beside it; ``alone``
    are files that were named one by one, of which it is not known.
    """

    table: FileTable = attrs.field(factory=FileTable)
    indexes: dict[int, str] = attrs.field(factory=dict)
    alone: set[int] = attrs.field(factory=set)


def find_files(find: Find, uris: Sequence[str], pattern: str | None, endings: Sequence[str], threads: int) -> Files:
    """List what the URIs name, in their order, each in the byte order of its keys.

    ``endings`` are those of indexes, which are files of their own only where what they would index is not there.
    Raises ObjectNotFoundError for a URI that names nothing.
    """
    files = Files()
    for uri, (base, infos) in _expanded(find, uris, pattern, threads):
        before = len(files.table)
        if isinstance(infos, tuple) and endings:
            files.alone.add(before)
        if endings:
            _add_indexed(files, base, list(infos), endings)
        else:
            for info in infos:
                files.table.add(base, info.key, info.size)
        if len(files.table) == before:
            what = f"no object below it matches {pattern}" if pattern is not None else "there is no object"
            raise ObjectNotFoundError(what, uri=uri, operation="list")
    return files


def _add_indexed(files: Files, base: str, infos: list[ObjectInfo], endings: Sequence[str]) -> None:
    keys = {info.key for info in infos}
    for info in infos:
        if any(info.key.endswith(ending) and info.key.removesuffix(ending) in keys for ending in endings):
            continue
        beside = next((ending for ending in endings if info.key + ending in keys), None)
        if beside is not None:
            files.indexes[len(files.table)] = beside
        files.table.add(base, info.key, info.size)


def _expanded(
    find: Find, uris: Sequence[str], pattern: str | None, threads: int
) -> Iterator[tuple[str, tuple[str, Iterable[ObjectInfo]]]]:
    def look(uri: str) -> tuple[str, Iterable[ObjectInfo]]:
        return _look(find(uri), pattern)

    if len(uris) == 1:
        yield uris[0], look(uris[0])
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="penstock-dataset") as pool:
        yield from zip(uris, pool.map(look, uris), strict=True)


def _look(found: Found, pattern: str | None) -> tuple[str, Iterable[ObjectInfo]]:
    store, key = found.store, found.key
    if has_wildcard(key):
        if pattern is not None:
            raise UsageError(f"{found.uri} is a glob already; leave the pattern out")
        cut = key.rfind("/", 0, compile_glob(key).start) + 1
        return store.uri, _listed(found, unescape(key[:cut]), key[cut:])
    key = unescape(key)
    if pattern is None and key and not key.endswith("/"):
        try:
            return store.uri, (store.stat(key),)
        except ObjectNotFoundError:
            pass  # then it is a directory, or nothing
    return store.uri, _listed(found, f"{key.rstrip('/')}/" if key else "", pattern)


def _listed(found: Found, prefix: str, pattern: str | None) -> Iterable[ObjectInfo]:
    objects = (info for info in found.store.list(prefix, pattern=pattern) if not info.key.endswith("/"))
    if found.store.capabilities.ordered:
        return objects
    by_bytes: Callable[[ObjectInfo], bytes] = lambda info: info.key.encode()  # noqa: E731
    return sorted(objects, key=by_bytes)
