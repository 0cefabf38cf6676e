"""What is there: names, kinds, sizes and times of objects and directories."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, ClassVar, Literal

from fsspec.spec import AbstractFileSystem
from fsspec.utils import stringify_path, tokenize

import penstock
from penstock import CommonPrefix, ObjectInfo
from penstock.errors import InvalidURIError, NotAnObjectError, ObjectNotFoundError, UnsupportedOperationError
from penstock_fsspec.listings import Entry, Listings
from penstock_fsspec.places import Place, Places

__all__ = ["Tree"]

_FACTS = ("etag", "content_type", "metadata", "version", "storage_class", "checksum")


class Tree(AbstractFileSystem):  # type: ignore[misc]
    """Directories as fsspec sees them.

    On object stores a directory is what the names below it have in common: it is there while something is below it,
    or while somebody's marker object (``name/``) stands for it. On files it is a directory.
    """

    #: The scheme of penstock's URIs.
    scheme: ClassVar[str] = ""
    #: Whether paths are those of a file system, where a relative one belongs to the working directory.
    local: ClassVar[bool] = False

    places: Places
    dircache: Listings

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        given: str = stringify_path(path)
        text = given
        for protocol in cls.protocol:
            for mark in ("://", "::"):
                text = text.removeprefix(protocol + mark)
        if cls.local:
            if text != given and text[:1] not in ("/", "."):
                # A URI is absolute; some libraries make two slashes of its three.
                text = f"/{text}"
            # Two slashes at the front would stay two.
            return f"/{os.path.abspath(text).lstrip('/')}"
        return text.rstrip("/") or ("/" if text.startswith("/") else "")

    @classmethod
    def _parent(cls, path: Any) -> str:
        text = cls._strip_protocol(path)
        above, slash, _ = text.rpartition("/")
        return str(above or slash)

    @property
    def fsid(self) -> str:
        """The same for file systems that reach the same storage with the same options."""
        return f"{self.protocol[0]}_{tokenize(self.scheme, self.places.options)}"

    def ls(self, path: Any, detail: bool = True, refresh: bool = False) -> list[Any]:
        """What is directly below a directory, or the one entry of a file.

        ``refresh`` asks the store also where a kept listing has the answer. Raises FileNotFoundError.
        """
        path = self._strip_protocol(path)
        entries = None if refresh else self.dircache.find(path)
        if entries is None:
            changes = self.dircache.changes
            entries = self._listing(path)
            if not (len(entries) == 1 and entries[0]["name"] == path):
                self.dircache.keep(path, entries, changes)
        return entries if detail else sorted(entry["name"] for entry in entries)

    def info(self, path: Any, refresh: bool = False) -> Entry:
        """Name, size and kind of one file or directory, with what the store says besides.

        ``mtime`` is a datetime in UTC, ``etag`` changes whenever the bytes do. Raises FileNotFoundError.
        """
        path = self._strip_protocol(path)
        if not refresh:
            kept = self.dircache.find(self._parent(path)) if path else None
            for entry in kept or ():
                if entry["name"] == path:
                    return entry
        try:
            place = self.places.find(path)
        except InvalidURIError:
            if path:
                self._buckets(path)
            return _directory(path)
        if place.key:
            try:
                return self._entry(path, place.store.stat(place.key))
            except NotAnObjectError:
                pass
            except ObjectNotFoundError:
                self._require_directory(place)
        else:
            self._require_directory(place)
        return _directory(path)

    def exists(self, path: Any, refresh: bool = False) -> bool:
        """Whether there is such a file or directory. Only "not found" is False; every other failure raises."""
        try:
            self.info(path, refresh)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: Any) -> bool:
        """Whether this is a directory; raises as :meth:`exists` does."""
        return self._kind(path) == "directory"

    def isfile(self, path: Any) -> bool:
        """Whether this is a file; raises as :meth:`exists` does."""
        return self._kind(path) == "file"

    def walk(
        self,
        path: Any,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Literal["omit", "raise"] | Callable[[OSError], object] = "omit",
        detail: bool = False,
    ) -> Iterator[tuple[str, Any, Any]]:
        """As ``os.walk``. What vanished meanwhile is left out; a directory that may not be read raises."""
        seen = _raise_others if on_error == "omit" else on_error
        yield from super().walk(path, maxdepth=maxdepth, topdown=topdown, on_error=seen, detail=detail)

    def find(self, path: Any, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False) -> Any:
        """All files below a path, sorted by name: from one flat listing, where no depth is given."""
        path = self._strip_protocol(path)
        try:
            place = self.places.find(path) if maxdepth is None else None
        except InvalidURIError:
            place = None
        if place is None or (withdirs and place.store.capabilities.directories):
            found = super().find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        else:
            found = self._flat(path, place, withdirs)
        if list(found) == [path] and not found[path]:
            found = {path: self.info(path)}
        return {name: found[name] for name in sorted(found)} if detail else sorted(found)

    def du(self, path: Any, total: bool = True, maxdepth: int | None = None, withdirs: bool = False) -> Any:
        """Bytes in the files below a path, or with ``total=False`` those of each."""
        found = self.find(path, maxdepth=maxdepth, withdirs=withdirs, detail=True)
        sizes = {name: entry["size"] for name, entry in found.items()}
        return sum(sizes.values()) if total else sizes

    def modified(self, path: Any) -> datetime:
        """When the object got the bytes that it has, in UTC. Raises UnsupportedOperationError where nobody knows."""
        entry = self.info(path, refresh=True)
        if entry["type"] == "directory" and self.places.find(entry["name"]).store.capabilities.directories:
            place = self.places.find(entry["name"])
            entry = self._entry(entry["name"], place.store.stat(place.prefix))
        if "mtime" not in entry:
            raise UnsupportedOperationError("the store tells no time of this", uri=self.places.uri(entry["name"]))
        return entry["mtime"]  # type: ignore[no-any-return]

    def created(self, path: Any) -> datetime:
        """When the object was made, in UTC.

        Objects are replaced, never changed, so that is when they were modified; files don't tell.
        """
        path = self._strip_protocol(path)
        if self.places.find(path).store.capabilities.directories:
            raise UnsupportedOperationError("files do not tell when they were made", uri=self.places.uri(path))
        return self.modified(path)

    def ukey(self, path: Any) -> str:
        """Text that changes whenever the file does, asked of the store itself."""
        entry = self.info(path, refresh=True)
        version = entry.get("etag") or (entry["size"], entry.get("mtime"))
        return str(tokenize(self.scheme, entry["name"], entry["type"], version))

    def checksum(self, path: Any) -> int:
        """:meth:`ukey` as a number."""
        return int(self.ukey(path), 16)

    def invalidate_cache(self, path: Any = None) -> None:
        """Forget the listings that a path is in, or all of them."""
        super().invalidate_cache(path)
        self.dircache.forget(None if path is None else self._strip_protocol(path))

    def _place(self, path: Any) -> Place:
        return self.places.find(self._strip_protocol(path))

    def _changed(self, *paths: str) -> None:
        for path in paths:
            self.invalidate_cache(path)

    def _kind(self, path: Any) -> str | None:
        try:
            return str(self.info(path)["type"])
        except FileNotFoundError:
            return None

    def _entry(self, path: str, info: ObjectInfo) -> Entry:
        entry: Entry = {"name": path, "size": info.size, "type": "file"}
        if info.modified is not None:
            entry["mtime"] = info.modified
        entry |= {name: value for name in _FACTS if (value := getattr(info, name)) is not None}
        return entry

    def _listing(self, path: str) -> list[Entry]:
        try:
            place = self.places.find(path)
        except InvalidURIError:
            return self._buckets(path)
        entries = []
        marked = False
        for found in place.store.list(place.prefix, recursive=False):
            if isinstance(found, CommonPrefix):
                entries.append(_directory(place.path(found.key)))
            elif found.key == place.prefix:
                marked = True
            elif found.key.endswith("/"):
                entries.append(_directory(place.path(found.key)))
            else:
                entries.append(self._entry(place.path(found.key), found))
        if entries or marked or not place.key:
            return entries
        entry = self.info(path, refresh=True)
        return [] if entry["type"] == "directory" else [entry]

    def _flat(self, path: str, place: Place, withdirs: bool) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        above = {""}
        for info in place.store.list(place.prefix):
            below = info.key[len(place.prefix) :]
            if withdirs:
                parent = below.rpartition("/")[0]
                while parent not in above:
                    above.add(parent)
                    parent = parent.rpartition("/")[0]
            if below and not below.endswith("/"):
                name = place.path(info.key)
                found[name] = self._entry(name, info)
        if withdirs:
            names = [place.path(place.prefix + name) for name in above if name]
            found = {name: _directory(name) for name in names if name not in found} | found
        kind = self._kind(path) if not found or (withdirs and place.key) else None
        if kind == "directory" and withdirs and path:
            found[path] = _directory(path)
        elif kind == "file" and not found:
            found[path] = self.info(path)
        return found

    def _buckets(self, path: str) -> list[Entry]:
        above = f"{path}/" if path else ""
        uri = self.places.uri(above)
        return [_directory(above + bucket.name) for bucket in penstock.list_buckets(uri, options=self.places.options)]

    def _require_directory(self, place: Place) -> None:
        """Raise FileNotFoundError unless something is below it, or it is a directory."""
        store = place.store
        if place.key and store.capabilities.directories:
            if store.is_directory(place.key):
                return
        else:
            for _ in store.raw.list_pages(place.prefix, page_size=1):
                return
            if not place.key:
                return
        raise ObjectNotFoundError("no such file or directory", uri=place.uri, operation="stat")


def _directory(path: str) -> Entry:
    return {"name": path, "size": 0, "type": "directory"}


def _raise_others(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
