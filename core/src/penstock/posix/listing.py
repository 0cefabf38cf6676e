"""Listing a directory tree as keys, in their byte order, without holding more than the directories being read.

Entries of one directory are sorted with ``/`` after the names of directories. As every key below a directory
begins with just that, walking directories in this order gives the keys in order: ``a-b``, ``a.b``, ``a/x``, ``a0``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from penstock.posix.replace import TEMPORARY

__all__ = ["walk"]

_HIDDEN = TEMPORARY.encode()
# What happens to a name when its file is removed, replaced, or part of a loop while the walk is on.
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


def walk(root: bytes, prefix: str, *, recursive: bool, start_after: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield the key and state of each regular file below ``root/`` whose key begins with ``prefix``, in byte order.

    Directories show, with a trailing slash and None, when not ``recursive``. ``start_after`` is exclusive; what
    lies wholly before it is not read. A symbolic link to one of its own parents is not descended into.
    A prefix that no key can have, such as one that climbs by ``..``, has no keys. Raises OSError when a directory
    can't be read.
    """
    directory, slash, _ = prefix.rpartition("/")
    segments = directory.split("/") if slash else []
    if "\0" in prefix or any(part in ("", ".", "..") or part.startswith(TEMPORARY) for part in segments):
        return
    for name, status in _Walk(root, prefix.encode(), recursive, start_after.encode()):
        try:
            key = name.decode()
        except UnicodeDecodeError:
            continue
        yield key, status


class _Walk:
    """The walk over names as bytes. A stack of its own, because trees may be deeper than Python's."""

    def __init__(self, root: bytes, prefix: bytes, recursive: bool, after: bytes) -> None:
        self._root = root
        self._prefix = prefix
        self._recursive = recursive
        self._after = after

    def __iter__(self) -> Iterator[tuple[bytes, os.stat_result | None]]:
        top = self._prefix[: self._prefix.rfind(b"/") + 1]
        stack = [self._entries(top)]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
            elif not name.endswith(b"/"):
                if status := _regular(self._root + name):
                    yield name, status
            elif not self._recursive:
                if name > self._after:
                    yield name, None
            elif not self._is_loop(name):
                stack.append(self._entries(name))

    def _entries(self, directory: bytes) -> Iterator[bytes]:
        """Names below one directory that are wanted, sorted; directories end with a slash."""
        names = []
        try:
            with os.scandir(self._root + directory) as entries:
                for entry in entries:
                    name = _marked(entry)
                    if name and self._wanted(full := directory + name):
                        names.append(full)
        except OSError as error:
            not_a_directory = error.errno == errno.ENOTDIR and not directory
            if error.errno not in _VANISHED or not_a_directory:
                raise
        names.sort(reverse=True)
        while names:
            yield names.pop()

    def _wanted(self, name: bytes) -> bool:
        if not name.startswith(self._prefix):
            return False
        return name > self._after or (name.endswith(b"/") and self._after.startswith(name))

    def _is_loop(self, directory: bytes) -> bool:
        path = self._root + directory
        if not os.path.islink(path[:-1]):
            return False
        try:
            target = os.stat(path)
            while path != self._root:
                path = path[: path.rindex(b"/", 0, -1) + 1]
                if os.path.samestat(target, os.stat(path)):
                    return True
        except OSError:
            return True
        return False


def _marked(entry: os.DirEntry[bytes]) -> bytes:
    """The name, with a slash after a directory's; nothing for what is neither directory nor regular file."""
    name = entry.name
    if name.startswith(_HIDDEN):
        return b""
    try:
        if entry.is_dir():
            return name + b"/"
        return name if entry.is_file() else b""
    except OSError as error:
        if error.errno in _VANISHED or error.errno == errno.EACCES:
            # A link whose target can't be seen: there is nothing that a get would find.
            return b""
        raise


def _regular(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError as error:
        if error.errno in _VANISHED:
            return None
        raise
