"""Following zstd data from frame to frame without unpacking it (RFC 8878, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final

__all__ = ["FRAME", "SKIPPABLE", "FramedFile"]

#: What a frame begins with, and what a frame to be skipped begins with after its first byte.
FRAME: Final = b"\x28\xb5\x2f\xfd"
SKIPPABLE: Final = b"\x2a\x4d\x18"

_MAGIC: Final = 4
_BLOCK: Final = 3
_RUN_LENGTH: Final = 1
_EMPTY: Final = bytes(_BLOCK)


class FramedFile:
    """Passes a file's bytes on, and knows whether they have ended within a frame."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        """``head`` was read from the file before."""
        self._file = file
        self._head = head
        self._step: Callable[[bytes], None] = self._take_magic
        self._held = b""
        self._needed = _MAGIC  # bytes that the next step takes
        self._passing = 0  # bytes before those
        self._checked = 0
        self._ended = False

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun that has not ended."""
        return bool(self._held or self._passing or self._step != self._take_magic)

    def read(self, size: int) -> bytes:
        """Some of the bytes, none at the end.

        Where a block ends, but not its frame, one without content follows at the end: of what is unpacked, the reader
        gives what did not fit into the room it had only when there is more to be unpacked.
        """
        data, self._head = self._head or self._file.read(size), b""
        if not data and not self._ended:
            self._ended = True
            at_block = self._step == self._take_block and not self._held and not self._passing
            return _EMPTY if at_block else b""
        at = 0
        while at < len(data):
            if self._passing:
                passed = min(self._passing, len(data) - at)
                self._passing -= passed
            else:
                passed = min(self._needed - len(self._held), len(data) - at)
                self._held += data[at : at + passed]
                if len(self._held) == self._needed:
                    held, self._held = self._held, b""
                    self._step(held)
            at += passed
        return data

    def _next(self, step: Callable[[bytes], None], needed: int, passing: int = 0) -> None:
        self._step, self._needed, self._passing = step, needed, passing

    def _take_magic(self, held: bytes) -> None:
        if held == FRAME:
            self._next(self._take_descriptor, 1)
        elif held[1:] == SKIPPABLE:
            self._next(self._take_size, 4)
        # Anything else is refused by whoever unpacks it.

    def _take_size(self, held: bytes) -> None:
        self._next(self._take_magic, _MAGIC, int.from_bytes(held, "little"))

    def _take_descriptor(self, held: bytes) -> None:
        content_size, is_single, has_checksum, dictionary = (
            held[0] >> 6,
            held[0] >> 5 & 1,
            held[0] >> 2 & 1,
            held[0] & 3,
        )
        self._checked = 4 * has_checksum
        window = 1 - is_single
        self._next(self._take_block, _BLOCK, window + (0, 1, 2, 4)[dictionary] + (is_single, 2, 4, 8)[content_size])

    def _take_block(self, held: bytes) -> None:
        value = int.from_bytes(held, "little")
        size = 1 if value >> 1 & 3 == _RUN_LENGTH else value >> 3
        if value & 1:
            self._next(self._take_magic, _MAGIC, size + self._checked)
        else:
            self._next(self._take_block, _BLOCK, size)
