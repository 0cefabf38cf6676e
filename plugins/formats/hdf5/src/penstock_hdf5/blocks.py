"""A file that answers ranges as the file object that h5py reads from.

HDF5 reads what tells where data lies in many small pieces, so those come from blocks that are kept, the ones used last.
The data itself is fetched before HDF5 asks for it, exactly, all ranges of a read together: what is handed to
:meth:`BlockFile.lend` is answered without waiting. So h5py's lock, which one thread in the process has at a time, is
not held while data is on its way; only blocks that are not there yet are read while it is.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from penstock.errors import FormatError
from penstock.formats import RangeReader

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["BlockFile"]


class BlockFile:
    """Read-only. Any thread may call anything but ``seek`` and ``readinto``, which h5py calls under its lock."""

    def __init__(self, file: RangeReader, *, block_size: int, cache_size: int) -> None:
        self._file: RangeReader | None = file
        self.size = file.size
        self._failure: BaseException | None = None
        self._block_size = block_size
        self._blocks: OrderedDict[int, memoryview] = OrderedDict()
        self._most = max(cache_size // block_size, 1)
        self._lent: dict[int, list[memoryview]] = {}
        self._lock = threading.Lock()
        self._at = 0

    @contextlib.contextmanager
    def lend(self, views: Mapping[int, memoryview]) -> Iterator[None]:
        """Answer reads that begin at these places from these bytes."""
        with self._lock:
            for start, view in views.items():
                self._lent.setdefault(start, []).append(view)
        try:
            yield
        finally:
            with self._lock:
                for start in views:
                    self._lent[start].pop()
                    if not self._lent[start]:
                        del self._lent[start]

    def check(self) -> None:
        """Raise what a read raised since the last check. HDF5 may have taken the zeros for what the file has."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def let_go(self) -> None:
        """Forget the file and all that was read of it. What reads afterwards raises ValueError."""
        with self._lock:
            self._file = None
            self._blocks.clear()
        self._failure = None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As a file's."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """As a file's."""
        return self._at

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill all of ``buffer``; with zeros where that fails, see :meth:`check`."""
        room = memoryview(buffer).cast("B")
        try:
            self._fill(room, self._at)
        except BaseException as error:  # noqa: BLE001  (an error in here leaves HDF5 with a file that it never closes)
            # The frames hold h5py's objects, which may not outlive Python.
            error.__traceback__ = None
            self._failure = self._failure or error
            room[:] = bytes(len(room))
        self._at += len(room)
        return len(room)

    def read(self, nbytes: int, /) -> bytes:
        """As a file's."""
        room = bytearray(max(min(nbytes, self.size - self._at), 0))
        self.readinto(room)
        return bytes(room)

    def _fill(self, room: memoryview, at: int) -> None:
        if at + len(room) > self.size:
            raise FormatError(f"the file ends at byte {self.size}, before what it says is in it")
        lent = self._lent_at(at)
        if lent is not None and len(lent) >= len(room):
            room[:] = lent[: len(room)]
            return
        done = 0
        while done < len(room):
            number, skip = divmod(at + done, self._block_size)
            block = self._block(number)
            take = min(len(block) - skip, len(room) - done)
            room[done : done + take] = block[skip : skip + take]
            done += take

    def _lent_at(self, at: int) -> memoryview | None:
        with self._lock:
            views = self._lent.get(at)
            return max(views, key=len) if views else None

    def _block(self, number: int) -> memoryview:
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
                return block
            file = self._file
        if file is None:
            raise ValueError("the file is closed")
        start = number * self._block_size
        block = file.read(start, min(self._block_size, self.size - start))
        with self._lock:
            self._blocks[number] = block
            while len(self._blocks) > self._most:
                self._blocks.popitem(last=False)
        return block
