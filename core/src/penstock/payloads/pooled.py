"""Random content at the speed of memory: a seeded pool, combined with a key for each block.

Block ``b`` of object ``o`` is the pool XOR a 64-bit key that is hashed from (seed, o, b), repeated. Blocks of
different objects, and of one object, differ in every word; within a block the words are the pool's, which are
independent of each other. So nothing repeats at any alignment a deduplicating store looks at, and no compressor
finds anything. The work is one NumPy operation per block, without the GIL.
"""

from __future__ import annotations

import numpy as np

from penstock.payloads.hashing import absorb, mix

__all__ = ["BLOCK", "PooledPayload"]

#: Bytes of the pool, and so of a block.
BLOCK = 1024 * 1024

_WORD = 8


class PooledPayload:
    """A :class:`~penstock.payload.Payload`; the pool takes one mebibyte."""

    def __init__(self, seed: int) -> None:
        self._state = mix(seed)
        generator = np.random.SFC64(seed & ((1 << 128) - 1))
        self._pool = generator.random_raw(BLOCK // _WORD)

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        """Overwrite ``buffer`` with the bytes of object ``obj`` from ``offset`` on."""
        state = absorb(self._state, obj)
        block, within = divmod(offset, BLOCK)
        if not (within | buffer.nbytes) % _WORD and within + buffer.nbytes <= BLOCK:
            # The usual case: whole words of one block.
            self._fill_words(buffer, absorb(state, block), within // _WORD)
            return
        position = 0
        while position < buffer.nbytes:
            nbytes = min(BLOCK - within, buffer.nbytes - position)
            self._fill_block(buffer[position : position + nbytes], absorb(state, block), within)
            position += nbytes
            block, within = block + 1, 0

    def _fill_words(self, buffer: memoryview, key: int, first: int) -> None:
        if buffer.nbytes:
            out = np.frombuffer(buffer, dtype=np.uint64)
            np.bitwise_xor(self._pool[first : first + out.size], np.uint64(key), out=out)

    def _fill_block(self, buffer: memoryview, key: int, within: int) -> None:
        head = min(-within % _WORD, buffer.nbytes)
        tail = (buffer.nbytes - head) % _WORD
        if head:
            buffer[:head] = self._words(key, within, head)
        if tail:
            buffer[buffer.nbytes - tail :] = self._words(key, within + buffer.nbytes - tail, tail)
        self._fill_words(buffer[head : buffer.nbytes - tail], key, (within + head) // _WORD)

    def _words(self, key: int, begin: int, nbytes: int) -> bytes:
        first = begin // _WORD
        words = self._pool[first : (begin + nbytes + _WORD - 1) // _WORD] ^ np.uint64(key)
        return words.tobytes()[begin % _WORD :][:nbytes]
