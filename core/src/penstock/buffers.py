"""Page-aligned memory for reads and writes.

O_DIRECT needs aligned memory, and reads into huge pages cost a fraction of the CPU that reads into 4 KiB
pages do, so large buffers are private anonymous mappings with ``MADV_HUGEPAGE``.
"""

from __future__ import annotations

import ctypes
import mmap

__all__ = ["PAGE", "aligned_buffer", "round_up"]

PAGE = 4096

_HUGE = 2 * 1024 * 1024
_MAPPING_FROM = 256 * 1024


def round_up(nbytes: int, multiple: int = PAGE) -> int:
    """The smallest multiple of ``multiple`` (a power of two) that is not below ``nbytes``."""
    return (nbytes + multiple - 1) & -multiple


def aligned_buffer(nbytes: int) -> memoryview:
    """Writable memory of exactly ``nbytes``, aligned to a page; to 2 MiB from that size on."""
    if nbytes < _MAPPING_FROM:
        return _slice_at(bytearray(nbytes + PAGE), nbytes, PAGE)
    if nbytes < _HUGE:
        return memoryview(_mapping(round_up(nbytes)))[:nbytes]
    return _slice_at(_mapping(round_up(nbytes, _HUGE) + _HUGE), nbytes, _HUGE)


def _mapping(nbytes: int) -> mmap.mmap:
    mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if nbytes >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def _slice_at(memory: bytearray | mmap.mmap, nbytes: int, alignment: int) -> memoryview:
    shift = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % alignment
    return memoryview(memory)[shift : shift + nbytes]
