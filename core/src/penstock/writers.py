"""The guarded writer: the ``with`` rule and the finished states, once for every backend."""

from __future__ import annotations

import weakref
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.errors import StoreError
from penstock.store import ObjectInfo, ObjectWriter

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

__all__ = ["GuardedWriter"]


class GuardedWriter:
    """An object being written, as a context manager.

    Leaving the block commits; leaving it by an exception aborts, as does dropping the writer. After a failed
    ``write`` or ``commit`` the object can no longer appear.
    """

    def __init__(self, writer: ObjectWriter, key: str) -> None:
        self._writer = writer
        self._key = key
        self._nbytes = 0
        self._info: ObjectInfo | None = None
        self._drop = weakref.finalize(self, writer.abort)
        # At interpreter exit threads and sockets may be gone already; the process's end is the abort.
        self._drop.atexit = False

    @property
    def info(self) -> ObjectInfo | None:
        """What the store said at the commit; None before it."""
        return self._info

    def tell(self) -> int:
        """Bytes written so far."""
        return self._nbytes

    def write(self, data: Buffer, /) -> None:
        """Append these bytes; the caller may reuse them on return. A failure aborts."""
        self._require_open()
        try:
            self._writer.write(data)
        except BaseException:
            self.abort()
            raise
        self._nbytes += memoryview(data).nbytes

    def commit(self) -> ObjectInfo:
        """Make the object visible. A failure aborts."""
        self._require_open()
        try:
            self._info = self._writer.commit()
        except BaseException:
            self.abort()
            raise
        self._drop.detach()
        return self._info

    def close(self) -> ObjectInfo:
        """Commit, unless that was done already."""
        return self._info or self.commit()

    def abort(self) -> None:
        """Leave nothing behind. Harmless on a writer that is finished."""
        self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._drop.alive:
            self.commit()

    def _require_open(self) -> None:
        if not self._drop.alive:
            state = "committed" if self._info else "aborted"
            raise StoreError(f"the writer was {state} already", uri=self._key, operation="write")
