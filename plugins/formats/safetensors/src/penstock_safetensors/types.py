"""The types of safetensors as NumPy's.

NumPy has no bfloat16 and no floats of 8 bits. The package ml_dtypes has them, under the names in SMALL; without it such
values are their bits, in a structured type of one field that has that name: ``array["bfloat16"]`` are the integers, and
writing such an array gives the same tensor again. Complex numbers of two float32 are ``C64``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from penstock.errors import FormatError, UsageError

__all__ = ["RANKS", "SMALL", "Types"]

_PLAIN = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4",
    "F32": "<f4", "F64": "<f8", "I64": "<i8", "U64": "<u8", "C64": "<c8",
}  # fmt: skip
#: Names in the file, the names that ml_dtypes has for them, and the integers of their size.
SMALL = {
    "BF16": ("bfloat16", "<u2"),
    "F8_E5M2": ("float8_e5m2", "u1"),
    "F8_E4M3": ("float8_e4m3fn", "u1"),
    "F8_E8M0": ("float8_e8m0fnu", "u1"),
}
#: The order of types in a file, as the library writes them: tensors of wide types come first, and all are aligned.
_ORDER = "C64 U64 I64 F64 F32 U32 I32 BF16 F16 U16 I16 F8_E8M0 F8_E4M3 F8_E5M2 I8 U8 BOOL"
RANKS = {name: rank for rank, name in enumerate(_ORDER.split())}


class Types:
    """Both directions, with ml_dtypes or without."""

    def __init__(self, small: Literal["auto", "ml_dtypes", "bits"]) -> None:
        module = None if small == "bits" else _ml_dtypes()
        if module is None and small == "ml_dtypes":
            raise UsageError("safetensors: ml_dtypes is not installed: pip install ml_dtypes, or say small_floats=bits")
        bits = {name: np.dtype([(known, code)]) for name, (known, code) in SMALL.items()}
        real = {name: np.dtype(getattr(module, known)) for name, (known, _) in SMALL.items()} if module else {}
        plain = {name: np.dtype(code) for name, code in _PLAIN.items()}
        self._by_name: Mapping[str, np.dtype[Any]] = plain | bits | real
        self._bits = {dtype: name for name, dtype in bits.items()}
        self._plain = {dtype: name for name, dtype in plain.items()}

    def dtype(self, name: str) -> np.dtype[Any]:
        """NumPy's type of a name in a file. Raises FormatError for one that is not known."""
        found = self._by_name.get(name)
        if found is None:
            raise FormatError(f"tensors of the type {name[:20]} are not read")
        return found

    def name(self, dtype: np.dtype[Any], tensor: str) -> str:
        """The name in a file of a NumPy type. Raises FormatError for one that has none."""
        found = self._bits.get(dtype) if dtype.names else self._plain.get(dtype)
        if found is None and not dtype.names:
            found = next((name for name, (known, _) in SMALL.items() if dtype.name == known), None)
        if found is None:
            raise FormatError(f"{tensor}: safetensors has no {dtype}; convert the array first")
        return found


@functools.cache
def _ml_dtypes() -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        return None
