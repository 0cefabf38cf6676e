"""A worker's end of the channel to its coordinator: the standard streams, kept clean of anything else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from penstock.launching import messages

__all__ = ["Channel", "ClosedChannelError"]


class ClosedChannelError(Exception):
    """The coordinator is gone: nobody is left to take what a worker says."""


class Channel:
    """Frames from standard input, and to what was standard output.

    From its making on, whatever prints to standard output reaches standard error instead, so that no library
    can break a frame.
    """

    def __init__(self) -> None:
        self._input = sys.stdin.buffer
        self._output = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one frame; any thread may. Waits while the coordinator is behind. Raises ClosedChannelError."""
        body = messages.encode(message)
        frame = memoryview(messages.header_of(body) + body)
        with self._lock:
            try:
                while frame:
                    frame = frame[self._output.write(frame) :]
            except OSError as error:
                raise ClosedChannelError from error

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the coordinator is gone."""
        header = self._input.read(messages.HEADER_BYTES)
        if len(header) < messages.HEADER_BYTES:
            return None
        length = messages.body_length(header)
        body = self._input.read(length)
        return messages.decode(body) if len(body) == length else None
