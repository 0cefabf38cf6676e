"""Random content at the speed of memory: a seeded pool, combined with a key for each block.

Block ``b`` of object ``o`` is the pool XOR a 64-bit key that is hashed from (seed, o, b), repeated. Blocks of
different objects, and of one object, differ in every word; within a block the words are the pool's, which are
independent of each other. So nothing repeats at any alignment a deduplicating store looks at, and no compressor
finds anything. The work is one NumPy operation per block, without the GIL.
"""

from __future__ import annotations

import numpy as np

from penstock.payloads.hashing import mix

__all__ = ["BLOCK", "PooledPayload"]

#: Bytes of the pool, and so of a block.
BLOCK = 1024 * 1024

_WORD = 8


class PooledPayload:
    """A :class:`~penstock.payload.Payload`; the pool takes one mebibyte."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        generator = np.random.SFC64(seed & ((1 << 128) - 1))
        self._pool = generator.random_raw(BLOCK // _WORD)

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on."""
        position = 0
        while position < buffer.nbytes:
            block, within = divmod(offset + position, BLOCK)
            nbytes = min(BLOCK - within, buffer.nbytes - position)
            self._fill_block(buffer[position : position + nbytes], mix(self._seed, obj, block), within)
            position += nbytes

    def _fill_block(self, buffer: memoryview, key: int, within: int) -> None:
        head = min(-within % _WORD, buffer.nbytes)
        tail = (buffer.nbytes - head) % _WORD
        if head:
            buffer[:head] = self._words(key, within, head)
        if tail:
            buffer[buffer.nbytes - tail :] = self._words(key, within + buffer.nbytes - tail, tail)
        words = (buffer.nbytes - head) // _WORD
        if words:
            first = (within + head) // _WORD
            out = np.frombuffer(buffer, dtype=np.uint64, count=words, offset=head)
            np.bitwise_xor(self._pool[first : first + words], np.uint64(key), out=out)

    def _words(self, key: int, begin: int, nbytes: int) -> bytes:
        first = begin // _WORD
        words = self._pool[first : (begin + nbytes + _WORD - 1) // _WORD] ^ np.uint64(key)
        return words.tobytes()[begin % _WORD :][:nbytes]
