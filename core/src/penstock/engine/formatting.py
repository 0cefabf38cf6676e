"""Payloads whose objects are files of a data format."""

from __future__ import annotations

import threading

from penstock.formats import DataFormat
from penstock.payload import Payload

__all__ = ["FormattedPayload"]


class FormattedPayload:
    """Files of a format, each with ``content`` bytes of another payload's object of the same number in it.

    A file is made whole and kept until its thread asks for another, so parts of one object are cheap in any order.
    """

    def __init__(self, payload: Payload, codec: DataFormat, content: int) -> None:
        self._payload = payload
        self._codec = codec
        self._content = content
        self._kept = threading.local()

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Bytes beyond the file's end are zeros."""
        if getattr(self._kept, "obj", None) != obj:
            self._kept.data = self._file(obj)
            self._kept.obj = obj
        part = self._kept.data[offset : offset + buffer.nbytes]
        buffer[: part.nbytes] = part
        if part.nbytes < buffer.nbytes:
            buffer[part.nbytes :] = bytes(buffer.nbytes - part.nbytes)

    def _file(self, obj: int) -> memoryview:
        offset = 0

        def fill(room: memoryview) -> None:
            nonlocal offset
            self._payload.fill(room, obj=obj, offset=offset)
            offset += room.nbytes

        data = bytearray()
        for piece in self._codec.encode(self._codec.synthesize(self._content, fill)):
            data += memoryview(piece)
        return memoryview(data)
