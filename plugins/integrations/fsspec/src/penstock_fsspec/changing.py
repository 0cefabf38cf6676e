"""Making, removing, copying and moving what is there."""

from __future__ import annotations

from typing import Any, Literal

from fsspec.spec import AbstractFileSystem

import penstock
from penstock.errors import (
    AlreadyExistsError,
    InvalidURIError,
    ObjectNotFoundError,
    PenstockError,
    UnsupportedOperationError,
    UsageError,
)
from penstock.samples.spans import together
from penstock_fsspec.places import Place
from penstock_fsspec.transfers import Pairs
from penstock_fsspec.tree import Tree

__all__ = ["Changing"]


class Changing(Tree):
    """The names of a store under change."""

    def mkdir(self, path: Any, create_parents: bool = True) -> None:
        """Make a directory on files, a bucket where the path names one. Raises FileExistsError where it is.

        Elsewhere on object stores nothing is made: a directory there is what names have in common. Without
        ``create_parents`` the one above must be there.
        """
        path = self._strip_protocol(path)
        place = self.places.find(path)
        if not place.store.capabilities.directories:
            if place.key:
                self._refuse_file(place)
            else:
                penstock.create_bucket(self.places.uri(path), options=self.places.options)
        else:
            if not create_parents and not self.isdir(self._parent(path)):
                raise ObjectNotFoundError("the directory above is not there", uri=place.uri, operation="mkdir")
            place.store.make_directory(place.key, exist_ok=False)
        self._changed(path)

    def makedirs(self, path: Any, exist_ok: bool = False) -> None:
        """Make a directory and those above it, on files; see :meth:`mkdir`. It makes no bucket."""
        path = self._strip_protocol(path)
        place = self.places.find(path)
        if place.store.capabilities.directories:
            if place.key or not exist_ok:
                self._make(place, exist_ok)
        else:
            self._refuse_file(place)
            if not exist_ok and self.isdir(path):
                raise AlreadyExistsError("the directory is there", uri=place.uri, operation="makedirs")
        self._changed(path)

    def rmdir(self, path: Any) -> None:
        """Remove an empty directory, a marker object that stands for one, or an empty bucket.

        Raises FileNotFoundError, and StoreError where it is not empty.
        """
        path = self._strip_protocol(path)
        place = self.places.find(path)
        self._require_directory(place)
        if place.key:
            place.store.remove_directory(place.key)
        elif place.store.capabilities.directories:
            raise UsageError(f"{place.uri} is the root; it is not removed")
        else:
            penstock.delete_bucket(self.places.uri(path), options=self.places.options)
        self._changed(path)

    def rm_file(self, path: Any) -> None:
        """Delete one file. Raises FileNotFoundError, and IsADirectoryError for a directory."""
        path = self._strip_protocol(path)
        if self.info(path, refresh=True)["type"] == "directory":
            raise IsADirectoryError(f"{self.places.uri(path)} is a directory; remove it with recursive=True")
        place = self.places.find(path)
        place.store.delete(place.key)
        self._changed(path)

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Delete files, in batches; with ``recursive`` directories and all below them, to the letter of their name.

        Globs are expanded. A path that is given and not there raises FileNotFoundError, as does a directory without
        ``recursive`` raise IsADirectoryError; both before anything is deleted. A bucket is emptied, not removed.
        """
        if recursive and maxdepth is None:
            for each in self._named(path):
                self._remove_tree(each)
            return
        paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
        kinds: dict[str, str] = {}

        def look(number: int) -> None:
            kinds[paths[number]] = self.info(paths[number], refresh=True)["type"]

        together(look, len(paths), 16)
        directories = [name for name in paths if kinds[name] == "directory"]
        if directories and not recursive:
            uri = self.places.uri(directories[0])
            raise IsADirectoryError(f"{uri} is a directory; remove it with recursive=True")
        self._delete([name for name in paths if kinds[name] != "directory"])
        for name in reversed(directories):
            if self.isdir(name) and not self.ls(name, refresh=True):
                self.rmdir(name)

    def cp_file(self, path1: Any, path2: Any) -> None:
        """Copy one file, by the service itself where both names are in one store. A directory is made, not filled."""
        source, target = self._place(path1), self._place(path2)
        try:
            source.store.copy(source.key, target.key, to=target.store)
        except ObjectNotFoundError:
            if not self.isdir(path1):
                raise
            self.makedirs(path2, exist_ok=True)
        finally:
            self._changed(self._strip_protocol(path2))

    def copy(
        self,
        path1: Any,
        path2: Any,
        recursive: bool = False,
        maxdepth: int | None = None,
        on_error: Literal["raise", "ignore"] | None = None,
    ) -> None:
        """Copy files or trees within the file system, several at once.

        ``on_error``: what vanishes meanwhile raises, or is left out, which is what a recursive copy does unless told.
        """
        pairs = Pairs(self)
        AbstractFileSystem.copy(pairs, path1, path2, recursive=recursive, maxdepth=maxdepth)
        ignore = on_error == "ignore" or (on_error is None and recursive)

        def copy_one(number: int) -> None:
            try:
                self.cp_file(*pairs.found[number])
            except FileNotFoundError:
                if not ignore:
                    raise

        together(copy_one, len(pairs.found), 16)

    def mv(self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        """Copy, then delete the source when all of it has arrived and did not change meanwhile."""
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if source == target:
            return
        if self._kind(source) == "file":
            if str(path2).endswith("/") or self.isdir(target):
                target = f"{target}/{source.rpartition('/')[2]}"
            begin, end = self.places.find(source), self.places.find(target)
            begin.store.move(begin.key, end.key, to=end.store)
            self._changed(source, target)
        else:
            self.copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise")
            self.rm(path1, recursive=recursive, maxdepth=maxdepth)

    def touch(self, path: Any, truncate: bool = True) -> None:
        """Make an empty file. Without ``truncate`` one that is there raises: its time can't be set."""
        path = self._strip_protocol(path)
        place = self.places.find(path)
        try:
            place.store.put(place.key, b"", if_absent=not truncate)
        except AlreadyExistsError:
            raise UnsupportedOperationError(
                "an object's time can't be changed without its bytes", uri=place.uri, operation="touch"
            ) from None
        finally:
            self._changed(path)

    def _make(self, place: Place, exist_ok: bool) -> None:
        try:
            place.store.make_directory(place.key, exist_ok=exist_ok)
        except UsageError:
            raise AlreadyExistsError("the root is there", uri=place.uri, operation="makedirs") from None

    def _refuse_file(self, place: Place) -> None:
        if place.key and place.store.exists(place.key):
            raise AlreadyExistsError("a file has this name", uri=place.uri, operation="mkdir")

    def _named(self, path: Any) -> list[str]:
        """The paths that a path, a glob or a list names; each is there."""
        paths = self.expand_path(path)
        for each in paths:
            self.info(each, refresh=True)
        return [str(each) for each in paths]

    def _remove_tree(self, path: str) -> None:
        try:
            place = self.places.find(path)
        except InvalidURIError:
            raise UsageError(f"{self.places.uri(path)} is no place in a bucket; remove its buckets by name") from None
        if place.key:
            if not place.store.capabilities.directories or not place.store.is_directory(place.key):
                place.store.delete(place.key)
            place.store.remove_directory(place.key, recursive=True).check()
        elif place.store.capabilities.directories:
            raise UsageError(f"{place.uri} is the root; it is not removed")
        else:
            place.store.delete_prefix("").check()
        self._changed(path)

    def _delete(self, paths: list[str]) -> None:
        groups: dict[int, tuple[Place, list[str]]] = {}
        for path in paths:
            place = self.places.find(path)
            groups.setdefault(id(place.store), (place, []))[1].append(place.key)
        failures: list[PenstockError] = []
        for place, keys in groups.values():
            failures += [outcome.error for outcome in place.store.delete_many(keys) if outcome.error is not None]
        self._changed(*paths)
        if failures:
            raise failures[0]
