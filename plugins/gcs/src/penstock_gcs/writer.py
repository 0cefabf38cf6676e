"""Streaming: a resumable upload, or one put when no part was filled."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.buffers import aligned_buffer, round_up
from penstock.errors import AlreadyExistsError, StoreError
from penstock.store import ObjectInfo
from penstock_gcs.checksums import crc32c, flat, to_base64
from penstock_gcs.resources import info_of, require_stored
from penstock_gcs.sessions import GRANULE, UploadSession, cancel
from penstock_gcs.wire import Wire

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["GCSWriter", "cancel_abandoned"]


class GCSWriter:
    """An :class:`~penstock.store.ObjectWriter`.

    It holds one part. A part is sent when more than it is there, so the last one, however long, ends the upload:
    as many requests as parts, and one to begin. Whole parts of a large write go out of the caller's memory.
    After a retryable failure the writer asks the service what it has and sends the rest; until then it keeps what was
    written, which may be more than a part.
    """

    def __init__(
        self,
        wire: Wire,
        key: str,
        part_size: int,
        resource: str,
        condition: bytes,
        send_whole: Callable[[memoryview, int], ObjectInfo],
        *,
        verify: bool,
    ) -> None:
        """``resource`` is the object's JSON without the brace at its end; ``send_whole`` puts an object at once."""
        self._wire = wire
        self._key = key
        self._part = round_up(max(part_size, GRANULE), GRANULE)
        self._resource = f"{resource}}}".encode()
        self._send_whole = send_whole
        self._verify = verify
        self._uri = wire.base + key
        self._session = UploadSession(wire, self._uri, condition)
        self._buffer = memoryview(b"")
        self._fill = 0
        # What was taken and could not be sent, behind the buffer.
        self._spill = bytearray()
        self._failed = False
        self._size = 0
        self._crc = 0
        # Why the object can't be; the service may say so long before the commit, which is to raise it.
        self._taken: AlreadyExistsError | None = None
        self._ended = ""
        # Cancelling takes a request, which no collection of garbage should make: the store does it later.
        self._drop = weakref.finalize(self, _abandon, wire.abandoned, self._session)
        self._drop.atexit = False

    def write(self, data: Buffer, /) -> None:
        self._require_open("write")
        view = flat(data)
        if self._verify:
            self._crc = crc32c(view, self._crc)
        self._size += view.nbytes
        try:
            self._recover("write")
        except StoreError as error:
            self._fail(error, view)
            raise
        self._append(view, "write")

    def commit(self) -> ObjectInfo:
        """Make the object visible. A lost answer is made good by the next call, which asks what became of it."""
        self._require_open("commit")
        try:
            if self._spill:
                self._recover("commit")
            info = self._finish()
        except StoreError as error:
            self._fail(error, memoryview(b""))
            raise
        self._end("committed")
        return info

    def abort(self) -> None:
        if self._ended in ("committed", "aborted"):
            return
        target = self._session.target
        self._end("aborted")
        if target:
            cancel(self._wire, target)

    def _append(self, view: memoryview, operation: str) -> None:
        """Take all of ``view``; after a failure its rest is in the spill."""
        at, part = 0, self._part
        try:
            while at < view.nbytes:
                if self._fill == part:
                    self._flush(operation)
                elif not self._fill and view.nbytes - at > part:
                    begin = self._session.at
                    try:
                        self._send(view[at : at + part], None, operation)
                    finally:
                        at += self._session.at - begin
                else:
                    count = min(part - self._fill, view.nbytes - at)
                    self._room()[self._fill : self._fill + count] = view[at : at + count]
                    self._fill += count
                    at += count
        except StoreError as error:
            self._fail(error, view[at:])
            raise

    def _flush(self, operation: str, total: int | None = None) -> dict[str, Any] | None:
        """Send what the buffer holds; what the service does not have then moves to its front."""
        begin = self._session.at
        try:
            return self._send(self._buffer[: self._fill], total, operation)
        finally:
            # A service that lost bytes, which ends the writer, is before where it was.
            gone = max(self._session.at - begin, 0)
            rest = max(self._fill - gone, 0)
            if gone and rest:
                self._buffer[:rest] = self._buffer[gone : self._fill]
            self._fill = rest

    def _send(self, data: memoryview, total: int | None, operation: str) -> dict[str, Any] | None:
        session = self._session
        if self._taken is None:
            checksum = b""
            if self._verify and total is not None:
                checksum = f"x-goog-hash: crc32c={to_base64(self._crc)}\r\n".encode()
            begin = session.at
            try:
                if not session.target:
                    session.begin(self._resource, operation)
                return session.send(data, total, checksum, operation)
            except AlreadyExistsError as error:
                self._taken, session.at = error, begin
        # Nothing can come of it, which the commit will say.
        session.at += data.nbytes
        return None

    def _recover(self, operation: str) -> None:
        """After a failure, send what is left over of it."""
        if not self._failed:
            return
        if self._fill:
            self._flush(operation)
        self._failed = False
        spill, self._spill = self._spill, bytearray()
        self._append(memoryview(spill), operation)

    def _finish(self) -> ObjectInfo:
        found = None
        if self._session.target or self._taken is not None:
            found = self._flush("commit", self._size)
        if self._taken is not None:
            self._taken.operation = "commit"
            raise self._taken
        if found is None:
            return self._send_whole(self._buffer[: self._fill], self._crc)
        require_stored(found, self._size, self._crc if self._verify else None)
        return info_of(found, self._key)

    def _room(self) -> memoryview:
        if not self._buffer.nbytes:
            self._buffer = aligned_buffer(self._part)
        return self._buffer

    def _fail(self, error: StoreError, rest: memoryview) -> None:
        error.uri = error.uri or self._uri
        if error.retryable:
            self._failed = True
            self._spill += rest
        else:
            self._ended = "failed"
            self._buffer, self._spill = memoryview(b""), bytearray()

    def _end(self, how: str) -> None:
        self._ended = how
        self._drop.detach()
        self._buffer, self._fill, self._spill = memoryview(b""), 0, bytearray()

    def _require_open(self, operation: str) -> None:
        if self._ended:
            raise StoreError(f"the writer has {self._ended} already", uri=self._uri, operation=operation)


def _abandon(abandoned: deque[bytes], session: UploadSession) -> None:
    if session.target:
        abandoned.append(session.target)


def cancel_abandoned(wire: Wire) -> None:
    """Cancel the sessions of writers that were dropped."""
    while wire.abandoned:
        try:
            target = wire.abandoned.popleft()
        except IndexError:
            return
        cancel(wire, target)
