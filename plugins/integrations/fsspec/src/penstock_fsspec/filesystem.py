"""The file system: bytes in and out of what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import fsspec
from fsspec.callbacks import DEFAULT_CALLBACK, Callback
from fsspec.spec import AbstractFileSystem
from fsspec.utils import isfilelike, tokenize

from penstock import ObjectInfo
from penstock.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    PenstockError,
    UnsupportedOperationError,
    UsageError,
)
from penstock.samples import StoreFile
from penstock.samples.spans import together
from penstock_fsspec.changing import Changing
from penstock_fsspec.listings import shared_listings
from penstock_fsspec.places import Places
from penstock_fsspec.ranges import Reading, Wanted, read, read_many, resolve
from penstock_fsspec.reading import ReadFile
from penstock_fsspec.transfers import Pairs, fetch, is_silent, send, whole_file
from penstock_fsspec.wrapping import TextFile, compressed
from penstock_fsspec.writing import WriteFile

__all__ = ["PenstockFileSystem"]

_MIB = 1024 * 1024


class PenstockFileSystem(Changing):
    """A scheme of penstock as a file system of fsspec.

    Threads share it, it pickles, and a forked child may go on with it. Every call is synchronous.
    """

    def __init__(
        self,
        *,
        default_block_size: int = 4 * _MIB,
        default_cache_type: str = "readahead",
        read_part_size: int = 8 * _MIB,
        read_concurrency: int = 16,
        merge_gap: int = 64 * 1024,
        write_part_size: int = 8 * _MIB,
        use_listings_cache: bool = False,
        listings_expiry_time: float | None = None,
        max_paths: int | None = None,
        asynchronous: bool = False,
        loop: object = None,
        **store_options: Any,
    ) -> None:
        """Sizes are bytes. All other arguments are options of the store; UnknownOptionError names one it has not.

        ``default_block_size`` and ``default_cache_type`` are what :meth:`open` reads with where it is not told;
        ``read_part_size``, ``read_concurrency`` and ``merge_gap`` are those of
        :class:`~penstock_fsspec.ranges.Reading`. ``use_listings_cache``, ``listings_expiry_time`` (seconds) and
        ``max_paths`` are fsspec's. ``asynchronous`` and ``loop`` are what asynchronous callers say of themselves;
        they wrap this file system in threads. A mapping under the name of another protocol is for that one, as
        fsspec has it.
        """
        if self._cached:
            return
        super().__init__()
        _require(default_block_size=default_block_size, write_part_size=write_part_size)
        _require(read_part_size=read_part_size, read_concurrency=read_concurrency)
        _require(0, merge_gap=merge_gap)
        self.blocksize = default_block_size
        self.cache_type = default_cache_type
        self.reading = Reading(part_size=read_part_size, concurrency=read_concurrency, merge_gap=merge_gap)
        self.write_part_size = write_part_size
        store_options = {name: value for name, value in store_options.items() if not _is_of_another(name, value)}
        self.places = Places(self.scheme, store_options)
        self.places.check()
        kept = (use_listings_cache, listings_expiry_time, max_paths)
        self.dircache = shared_listings(tokenize(self.scheme, store_options, *kept), *kept)

    def open(
        self,
        path: Any,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: Mapping[str, Any] | None = None,
        compression: str | None = None,
        *,
        cache_type: str | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        autocommit: bool | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> Any:
        """Open a file: ``r``, ``w`` (replacing what is there) or ``x`` (which must not be there), text without ``b``.

        ``block_size`` is what a read fetches at least, of a write the size of its parts; ``cache_type`` one of
        fsspec's caches. A file that is written becomes visible when it is closed, whole, and not at all when its
        ``with`` block raises. ``metadata`` and ``content_type`` are stored with it.
        """
        path = self._strip_protocol(path)
        kind = mode.replace("t", "").replace("b", "")
        if kind not in ("r", "w", "x"):
            raise UnsupportedOperationError(
                f"the mode {mode!r}: objects are read, or written whole; read it and write it anew",
                uri=self.places.uri(path),
                operation="open",
            )
        if kind == "r":
            if metadata or content_type:
                raise UsageError("metadata and content_type are for files that are written")
            raw: Any = self._reader(path, block_size, cache_type, cache_options)
        else:
            if cache_type or cache_options:
                raise UsageError("cache_type and cache_options are for files that are read")
            commit = not self._intrans if autocommit is None else autocommit
            raw = self._writer(path, f"{kind}b", block_size, commit, metadata, content_type)
        if compression is not None:
            raw = compressed(raw, path, compression, kind)
        if "b" in mode:
            return raw
        return TextFile(raw, encoding=encoding, errors=errors, newline=newline)

    def cat_file(self, path: Any, start: int | None = None, end: int | None = None) -> bytes:
        """The bytes ``[start:end]`` of a file, negative ones counting from its end. Raises FileNotFoundError."""
        place = self._place(path)
        size = place.store.stat(place.key).size if _negative(start, end) else None
        return bytes(read(place, self.reading, *resolve(start, end, size))[0])

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | Sequence[int | None] | None,
        ends: int | Sequence[int | None] | None,
        max_gap: int | None = None,
        on_error: Literal["return", "raise"] = "return",
    ) -> list[Any]:
        """Ranges of many files: neighbours are one request, ``max_gap`` bytes apart at most, several at once.

        ``max_gap`` is the file system's ``merge_gap`` unless given. A range that could not be read has its error in
        the answer, or raises it.
        """
        if not isinstance(paths, list):
            raise TypeError(f"paths is a list, not {type(paths).__name__}")
        begins, stops = _spread(starts, len(paths)), _spread(ends, len(paths))
        failed: dict[int, Exception] = {}
        wanted: list[Wanted] = []
        sizes = self._sizes({path for path, *ends in zip(paths, begins, stops, strict=True) if _negative(*ends)})
        for number, (path, start, end) in enumerate(zip(paths, begins, stops, strict=True)):
            size = sizes.get(path)
            if isinstance(size, Exception):
                failed[number] = size
            else:
                wanted.append(Wanted(number, self._place(path), *resolve(start, end, size)))
        gap = self.reading.merge_gap if max_gap is None else max_gap
        answers: list[Any] = list(read_many(wanted, self.reading, gap, len(paths)))
        for number, error in failed.items():
            answers[number] = error
        if on_error == "raise":
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def cat(self, path: Any, recursive: bool = False, on_error: Literal["raise", "omit", "return"] = "raise") -> Any:
        """The bytes of one file; of a list, a glob or a tree those of each by its name, several at once."""
        paths = self.expand_path(path, recursive=recursive)
        if len(paths) == 1 and not isinstance(path, list) and paths[0] == self._strip_protocol(path):
            return self.cat_file(paths[0])
        answers: dict[str, Any] = {}

        def fetch_one(number: int) -> None:
            try:
                answers[paths[number]] = self.cat_file(paths[number])
            except PenstockError as error:
                if on_error == "raise":
                    raise
                if on_error == "return":
                    answers[paths[number]] = error

        if recursive:
            paths = [name for name in paths if not self.isdir(name)]
        together(fetch_one, len(paths), self.reading.concurrency)
        return {name: answers[name] for name in paths if name in answers}

    def pipe_file(self, path: Any, value: Any, mode: Literal["overwrite", "create"] = "overwrite") -> None:
        """Store these bytes, whole or not at all. With ``create`` a name that is taken raises FileExistsError."""
        path = self._strip_protocol(path)
        if self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(value)
            return
        place = self._place(path)
        try:
            place.store.put(place.key, value, if_absent=mode == "create")
        finally:
            self._changed(path)

    def pipe(self, path: Any, value: Any = None) -> None:
        """Store bytes under one name, or a mapping of names to bytes, several at once."""
        if not isinstance(path, Mapping):
            self.pipe_file(path, value)
            return
        items = list(path.items())
        width = 1 if self._intrans else self.reading.concurrency
        together(lambda number: self.pipe_file(*items[number]), len(items), width)

    def get_file(
        self, rpath: Any, lpath: Any = None, callback: Callback = DEFAULT_CALLBACK, outfile: Any = None
    ) -> None:
        """Copy one file to a local one, which nobody sees before it is whole, or to an open file.

        A directory is made, not filled.
        """
        place = self._place(rpath)
        outfile = lpath if outfile is None and isfilelike(lpath) else outfile
        try:
            if outfile is not None:
                fetch(place, self.reading, outfile.write, callback.set_size, callback.relative_update)
                return
            with whole_file(os.fspath(lpath)) as write:
                fetch(place, self.reading, write, callback.set_size, callback.relative_update)
        except ObjectNotFoundError:
            if outfile is not None or not self.isdir(rpath):
                raise
            os.makedirs(lpath, exist_ok=True)

    def put_file(
        self,
        lpath: Any,
        rpath: Any,
        callback: Callback = DEFAULT_CALLBACK,
        mode: Literal["overwrite", "create"] = "overwrite",
    ) -> None:
        """Copy one local file, whole or not at all. A directory is made, where the storage has any."""
        if os.path.isdir(lpath):
            self.makedirs(rpath, exist_ok=True)
            return
        path = self._strip_protocol(rpath)
        if self._intrans:
            with open(lpath, "rb") as source, self.open(path, "xb" if mode == "create" else "wb") as target:
                while data := source.read(self.write_part_size):
                    callback.relative_update(target.write(data))
            return
        try:
            send(
                self._place(path),
                os.fspath(lpath),
                self.write_part_size,
                create=mode == "create",
                size=callback.set_size,
                watch=callback.relative_update,
            )
        finally:
            self._changed(path)

    def get(
        self,
        rpath: Any,
        lpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
    ) -> None:
        """Copy files or trees to local ones, several at once; one after the other where a callback watches."""
        if not is_silent(callback):
            super().get(rpath, lpath, recursive=recursive, callback=callback, maxdepth=maxdepth)
            return
        pairs = Pairs(self)
        AbstractFileSystem.get(pairs, rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        together(lambda number: self.get_file(*pairs.found[number]), len(pairs.found), self.reading.concurrency)

    def put(
        self,
        lpath: Any,
        rpath: Any,
        recursive: bool = False,
        callback: Callback = DEFAULT_CALLBACK,
        maxdepth: int | None = None,
    ) -> None:
        """Copy local files or trees, several at once; one after the other where a callback watches."""
        if self._intrans or not is_silent(callback):
            super().put(lpath, rpath, recursive=recursive, callback=callback, maxdepth=maxdepth)
            return
        pairs = Pairs(self)
        AbstractFileSystem.put(pairs, lpath, rpath, recursive=recursive, maxdepth=maxdepth)
        together(lambda number: self.put_file(*pairs.found[number]), len(pairs.found), self.reading.concurrency)

    def sign(self, path: Any, expiration: int = 100) -> str:
        """Not offered: penstock has no signed URLs."""
        raise UnsupportedOperationError(
            "penstock signs no URLs; use the SDK of the service", uri=self.places.uri(self._strip_protocol(path))
        )

    def _reader(
        self, path: str, block_size: int | None, cache_type: str | None, cache_options: Mapping[str, Any] | None
    ) -> ReadFile:
        place = self._place(path)
        return ReadFile(
            self,
            path,
            place.store.stat(place.key),
            block_size=block_size or self.blocksize,
            cache_type=cache_type or self.cache_type,
            cache_options=cache_options,
        )

    def _writer(
        self,
        path: str,
        mode: str,
        block_size: int | None,
        autocommit: bool,
        metadata: Mapping[str, str] | None,
        content_type: str | None,
    ) -> WriteFile:
        place = self._place(path)
        if mode == "xb" and place.store.exists(place.key):
            # Those who come between this and the commit are refused then.
            raise AlreadyExistsError("the name is taken", uri=place.uri, operation="open")
        file = WriteFile(
            self,
            path,
            mode,
            place,
            part_size=block_size or self.write_part_size,
            autocommit=autocommit,
            metadata=metadata,
            content_type=content_type,
        )
        if not autocommit:
            self.transaction.files.append(file)
        return file

    def _file_of(self, path: str, info: ObjectInfo) -> StoreFile:
        return self.reading.file(self._place(path), info)

    def _sizes(self, paths: set[str]) -> dict[str, int | PenstockError]:
        """The sizes of files, asked for several at once; of those that can't be had the errors."""
        names = sorted(paths)
        found: dict[str, int | PenstockError] = {}

        def ask(number: int) -> None:
            place = self._place(names[number])
            try:
                found[names[number]] = place.store.stat(place.key).size
            except PenstockError as error:
                found[names[number]] = error

        together(ask, len(names), self.reading.concurrency)
        return found


def _require(least: int = 1, **settings: object) -> None:
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"{name} is a whole number of at least {least}, not {value!r}")


def _is_of_another(name: str, value: object) -> bool:
    return isinstance(value, Mapping) and name in fsspec.available_protocols()


def _negative(start: int | None, end: int | None) -> bool:
    return (start or 0) < 0 or (end or 0) < 0


def _spread(bounds: int | Sequence[int | None] | None, count: int) -> Sequence[int | None]:
    """One bound for each of ``count`` ranges."""
    if bounds is None or isinstance(bounds, int):
        return [bounds] * count
    if len(bounds) != count:
        raise ValueError(f"{count} paths and {len(bounds)} bounds; give one for each path, or a single one")
    return bounds
