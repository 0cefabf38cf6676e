"""Files that are written: nothing is visible before they are closed, and nothing is stored by accident.

A file becomes an object when it is closed. Leaving its ``with`` block on an exception discards it, and so does letting
go of it: a finalizer never commits, for it can't know whether all was written. It warns instead.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
import weakref
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from fsspec.core import OpenFile

from penstock import GuardedWriter
from penstock.errors import StoreError
from penstock_fsspec.places import Place

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock_fsspec.filesystem import PenstockFileSystem

__all__ = ["WriteFile"]

#: Writes below this many bytes are gathered, so that a store sees no flood of small ones.
_GATHER = 256 * 1024

_open_files: weakref.WeakSet[WriteFile] = weakref.WeakSet()
_inherited: list[WriteFile] = []


def _keep_the_parents() -> None:
    # In a forked child: to let go of a writer would abort the upload that the parent is still at.
    _inherited.extend(_open_files)


os.register_at_fork(after_in_child=_keep_the_parents)


class WriteFile(io.BufferedIOBase):
    """A file opened with ``wb`` or ``xb``. It belongs to one thread, and to the process that opened it.

    Within a transaction (``autocommit`` false) closing it keeps it back until :meth:`commit` or :meth:`discard`.
    """

    def __init__(
        self,
        fs: PenstockFileSystem,
        path: str,
        mode: str,
        place: Place,
        *,
        part_size: int,
        autocommit: bool = True,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> None:
        super().__init__()
        self.fs = fs
        self.path = path
        self.mode = mode
        self.blocksize = part_size
        self.autocommit = autocommit
        self._process = os.getpid()
        self._gathered = bytearray()
        self._nbytes = 0
        self._done = False
        self._shut = False
        self._abandoned = False
        # Last, so that a file which can't be opened has nothing to warn of.
        self._writer: GuardedWriter | None = place.store.open_writer(
            place.key, part_size=part_size, if_absent=mode == "xb", metadata=metadata, content_type=content_type
        )
        _open_files.add(self)

    @property
    def closed(self) -> bool:
        """Whether no more can be written."""
        return self._shut

    @property
    def full_name(self) -> str:
        """The path with its scheme."""
        return str(self.fs.unstrip_protocol(self.path))

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return not self._shut

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        """Bytes written so far."""
        return self._nbytes

    def write(self, data: Buffer, /) -> int:
        """Append these bytes and return their number. A failure means that the object can't appear any more."""
        view = memoryview(data)
        nbytes = view.nbytes
        if self._abandoned:
            return nbytes
        writer = self._require_open()
        if len(self._gathered) + nbytes >= _GATHER:
            self._spill(writer)
        if nbytes >= _GATHER:
            writer.write(view)
        else:
            self._gathered += view.cast("B") if nbytes else b""
        self._nbytes += nbytes
        return nbytes

    def flush(self) -> None:
        """Nothing: what was written is not visible before the file is closed, so there is nothing to hurry for."""

    def close(self) -> None:
        """Make the object visible, or within a transaction ready to become so. Harmless the second time."""
        if self._shut:
            return
        if _failed_within_open_file(self):
            self.discard()
            return
        self._shut = True
        if self.autocommit:
            self.commit()

    def commit(self) -> None:
        """Make the object visible, whole. Nothing on a file that is finished."""
        self._shut = True
        if self._done:
            return
        self._done = True
        writer = self._mine()
        try:
            self._spill(writer)
            writer.commit()
        except BaseException:
            writer.abort()
            raise
        finally:
            self._writer = None
            self.fs._changed(self.path)

    def discard(self) -> None:
        """Leave nothing behind. Nothing on a file that is finished."""
        self._shut = True
        if self._done or self._writer is None:
            return
        self._done = True
        writer = self._mine()
        self._writer, self._gathered = None, bytearray()
        writer.abort()

    def abandon(self) -> None:
        """Discard, and let what wraps the file go on writing its last bytes, which go nowhere."""
        self.discard()
        self._abandoned = True

    def __enter__(self) -> WriteFile:
        self._require_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        else:
            self.close()

    def __del__(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is None or self._done or self._process != os.getpid():
            return
        if not self._shut:
            warnings.warn(
                f"{self.full_name} was dropped before it was closed, so nothing was stored; use it in a with block",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )
        self.discard()

    def __reduce__(self) -> Any:
        raise TypeError("a file that is being written does not pickle; open it where it is written")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.full_name}>"

    def _spill(self, writer: GuardedWriter) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, bytearray()
            writer.write(gathered)

    def _mine(self) -> GuardedWriter:
        assert self._writer is not None
        if self._process != os.getpid():
            raise StoreError("the file was opened by another process; write it there", uri=self.path, operation="write")
        return self._writer

    def _require_open(self) -> GuardedWriter:
        if self._shut:
            raise ValueError("I/O operation on closed file.")
        return self._mine()


def _failed_within_open_file(file: WriteFile) -> bool:
    """Whether ``with fsspec.open(…)`` is closing this file because its block raised.

    fsspec's OpenFile closes its files either way and keeps the exception to itself. What its ``__exit__`` was given
    tells the two apart, and only that: an exception that is merely being handled somewhere is no reason to discard.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is OpenFile.__exit__.__code__:
            owner, outcome = frame.f_locals.get("self"), frame.f_locals.get("args", ())
            if any(each is file for each in getattr(owner, "fobjects", ())):
                return any(part is not None for part in outcome)
        frame = frame.f_back
    return False
