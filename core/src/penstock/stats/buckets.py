"""Size buckets: the classes of object size by which results are told apart."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["BOUNDS", "LABELS", "bucket_of"]

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB

#: The largest size of each bucket but the last, which has none.
BOUNDS: Final = (
    0,
    8 * _KIB,
    64 * _KIB,
    512 * _KIB,
    4 * _MIB,
    32 * _MIB,
    256 * _MIB,
    2048 * _MIB,
)
#: What the buckets are called, by their number.
LABELS: Final = (
    "zero",
    "1B-8KiB",
    "8KiB-64KiB",
    "64KiB-512KiB",
    "512KiB-4MiB",
    "4MiB-32MiB",
    "32MiB-256MiB",
    "256MiB-2GiB",
    ">2GiB",
)


def _make_table() -> npt.NDArray[np.int8]:
    """Buckets by sign and exponent of a size, as a double, less a half: all bounds are powers of two."""
    exponents = np.arange(1 << 11) - 1023
    positive = np.searchsorted(np.array(BOUNDS, np.float64), 2.0 ** np.clip(exponents, -1, 62), side="right")
    return np.concatenate([positive, np.zeros_like(positive)]).astype(np.int8)


_TABLE = _make_table()
_EXPONENT = np.uint64(52)


def bucket_of(sizes: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """The number of each size's bucket; upper bounds belong to their bucket, so 8192 bytes are in ``1B-8KiB``."""
    values = np.asarray(np.asarray(sizes, dtype=np.int64), dtype=np.float64) - 0.5
    buckets: npt.NDArray[np.int8] = _TABLE[(values.view(np.uint64) >> _EXPONENT).view(np.int64)]
    return buckets
