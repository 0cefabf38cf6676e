"""Statistically random content: the key stream of AES-128 in counter mode.

The key is derived from the seed. The upper half of the counter is the object's number, mixed with the seed; the
lower half is the offset divided by 16. So any range of any object can be made by itself, no two objects share a
block, and no test of randomness tells the bytes from noise.
"""

from __future__ import annotations

import hashlib
import threading

from penstock.payloads.aes import KeyStream, open_key_stream
from penstock.payloads.hashing import absorb, mix

__all__ = ["RandomPayload"]

_BLOCK = 16


class RandomPayload:
    """A :class:`~penstock.payload.Payload`. Raises UsageError where there is no AES to use."""

    def __init__(self, seed: int) -> None:
        self._state = mix(seed)
        self._key = hashlib.blake2b(str(seed).encode(), digest_size=16, person=b"penstock fill").digest()
        self._threads = threading.local()
        self._threads.stream = open_key_stream(self._key)

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on."""
        if not buffer.nbytes:
            return
        block, within = divmod(offset, _BLOCK)
        counter = absorb(self._state, obj).to_bytes(8, "big") + block.to_bytes(8, "big")
        self._stream().fill(buffer, counter, within)

    def _stream(self) -> KeyStream:
        stream: KeyStream | None = getattr(self._threads, "stream", None)
        if stream is None:
            stream = self._threads.stream = open_key_stream(self._key)
        return stream
