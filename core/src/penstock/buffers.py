"""Page-aligned memory for reads and writes.

O_DIRECT needs aligned memory, and reads into huge pages cost a fraction of the CPU that reads into 4 KiB
pages do, so large buffers are private anonymous mappings with ``MADV_HUGEPAGE``.
"""

from __future__ import annotations

import ctypes
import mmap

__all__ = ["PAGE", "aligned_buffer", "equal", "first_difference", "round_up"]

PAGE = 4096

_HUGE = 2 * 1024 * 1024
_MAPPING_FROM = 256 * 1024
_PIECE = 256 * 1024

# A plain call through ctypes lets other threads run meanwhile.
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_memcmp.restype = ctypes.c_int


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


def equal(one: memoryview, other: memoryview) -> bool:
    """Whether two views of bytes are the same, at the speed of memory and without Python's lock."""
    if one.nbytes != other.nbytes:
        return False
    return not one.nbytes or not _memcmp(_address(one), _address(other), one.nbytes)


def first_difference(one: memoryview, other: memoryview) -> int | None:
    """Where two views of bytes begin to differ; where the shorter one ends, at the latest. None: nowhere."""
    import numpy as np

    nbytes = min(one.nbytes, other.nbytes)
    for begin in range(0, nbytes, _PIECE):
        parts = (view[begin : min(begin + _PIECE, nbytes)] for view in (one, other))
        left, right = (np.frombuffer(part, dtype=np.uint8) for part in parts)
        differs = left != right
        if differs.any():
            return begin + int(np.argmax(differs))
    return None if one.nbytes == other.nbytes else nbytes


def _address(view: memoryview) -> int:
    # ctypes alone gives no address of memory that can't be written.
    import numpy as np

    address: int = np.frombuffer(view, dtype=np.uint8).__array_interface__["data"][0]
    return address


def _mapping(nbytes: int) -> mmap.mmap:
    mapping = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if nbytes >= _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        mapping.madvise(mmap.MADV_HUGEPAGE)
    return mapping


def _slice_at(memory: bytearray | mmap.mmap, nbytes: int, alignment: int) -> memoryview:
    shift = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % alignment
    return memoryview(memory)[shift : shift + nbytes]
